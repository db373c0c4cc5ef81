"""How long records are kept: no longer than the table says, and no shorter."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.operations import count_fleet
from portal import retention
from portal.ground import clock
from portal.ground.models import AuditEntry
from portal.ground.roles import SupplierRole
from portal.models import Invitation, Session, User
from portal.operations import INVITATION_LIFETIME, invite
from portal.retention import KINDS
from scheduling.models import HubSelection, Notice, OddReport, SelectionRow
from scheduling.operations import bookings, notices, proposals
from scheduling.operations.bookings import leaving
from tests.scheduling import world as worlds
from tests.scheduling.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world() -> World:
    """Nothing but a published release, by a clock that tests move."""
    return worlds.make(now=clock.now())


def forget(world: World, **span: float) -> dict[str, int]:
    """Let time pass, and forget; return what was forgotten, without noughts."""
    world.clock.move(**span)
    return {name: count for name, count in retention.forget(clock=world.clock).items() if count}


def uploaded(world: World) -> HubSelection:
    """Return a selection from a file of two hubs, one of them unknown."""
    [hub] = world.hubs(1)
    return world.choose_ids(f"CHF ID\n{format_eui64(hub.chf_id)}\nFF-00-00-00-00-00-00-01\n")


class TestProposals:
    def test_are_kept_for_a_year_and_then_on_record_alone(self, world: World) -> None:
        User.objects.create_user(email="colleague@northern.example.com", supplier=world.northern)
        world.hubs(1)
        world.slot(start=timedelta(days=9), room=5)
        booking = world.book()
        proposal = proposals.propose(
            wish=proposals.to_cancel(booking=booking),
            forecast=leaving(hubs_by_slot={world.slots[0].pk: 1}),
            by=world.person,
            reason="Spring tariff",
            now=world.clock(),
        )
        world.clock.moment = proposal.until

        assert "proposals" not in forget(world, days=364)
        assert forget(world, days=2)["proposals"] == 1
        assert AuditEntry.objects.filter(verb="proposal.made").exists()


class TestUploadedRows:
    def test_are_kept_for_ninety_days_and_then_their_numbers_alone(self, world: World) -> None:
        selection = uploaded(world)

        assert forget(world, days=89) == {}
        assert SelectionRow.objects.filter(selection=selection).count() == 2
        assert forget(world, days=2) == {"uploaded_rows": 1}

        assert not SelectionRow.objects.exists()
        selection.refresh_from_db()
        assert selection.refused
        assert forget(world, days=90) == {}

    def test_are_kept_while_a_booking_needs_them(self, world: World) -> None:
        selection = uploaded(world)
        world.slot(start=timedelta(days=9), room=5)
        booking = world.book(selection)

        assert forget(world, days=91) == {}
        bookings.cancel(booking=booking, by=world.person, reason="", now=booking.created_at)
        assert bookings.finish(now=world.clock()) == [booking.pk]

        assert forget(world) == {"uploaded_rows": 1}

    def test_are_said_to_be_gone(self, world: World, client: Client) -> None:
        selection = uploaded(world)
        count_fleet(now=world.clock())
        client.force_login(world.person)
        address = reverse("scheduling:refused", args=[selection.pk])
        assert client.get(address).status_code == 200

        forget(world, days=91)
        client.force_login(world.person)  # that session was forgotten as well

        gone = client.get(address)
        assert gone.status_code == 410
        assert "is deleted after 90 days" in gone.content.decode()


class TestEmails:
    def test_lose_their_words_after_two_years_and_stay_sent(self, world: World) -> None:
        notices.owe(
            kind=Notice.Kind.HALTED,
            subject_key="release:1",
            addresses=["ops@northern.example"],
            context={"subject": "Halted", "text": "Hubs", "html": "<p>Hubs</p>"},
            now=world.clock(),
        )
        sent: dict[str, Any] = {"sent_at": world.clock(), "next_try_at": None}
        Notice.objects.update(**sent, subject="Halted", text="Hubs", html="<p>Hubs</p>", calendar="BEGIN")
        [before] = Notice.objects.values()

        assert forget(world, days=729) == {}
        assert forget(world, days=2) == {"emails": 1}

        [after] = Notice.objects.values()
        assert after == before | {"text": "", "html": "", "calendar": "", "context": {}}
        assert forget(world) == {}

    def test_that_are_owed_keep_their_words(self, world: World) -> None:
        notices.owe(
            kind=Notice.Kind.HALTED,
            subject_key="release:1",
            addresses=["ops@northern.example"],
            context={"subject": "Halted", "text": "Hubs", "html": "<p>Hubs</p>"},
            now=world.clock(),
        )

        assert forget(world, days=9_000) == {}


class TestUnreadableReports:
    def test_go_a_year_after_they_last_came(self, world: World) -> None:
        now = world.clock()
        OddReport.objects.create(reason="No JSON", text="MPAN 1", first_at=now, last_at=now, times=1)

        assert forget(world, days=364) == {}
        assert forget(world, days=2) == {"unreadable_reports": 1}
        assert not OddReport.objects.exists()


class TestInvitations:
    def test_that_nobody_accepted_go_and_the_decision_stays(self, world: World) -> None:
        invite(
            email="new@northern.example",
            supplier=world.northern,
            role=SupplierRole.OPERATIONS,
            by=world.staff,
            now=world.clock(),
        )
        lifetime = INVITATION_LIFETIME.days

        assert forget(world, days=lifetime + 89) == {}
        assert forget(world, days=2)["unused_invitations"] == 1

        assert not Invitation.objects.exists()
        assert AuditEntry.objects.filter(verb="invitation.made").exists()


class TestSessions:
    def test_go_when_they_have_run_out(self, world: World, client: Client) -> None:
        client.force_login(world.person)

        assert forget(world, seconds=settings.SESSION_COOKIE_AGE - 60) == {}
        assert forget(world, seconds=120) == {"sessions": 1}
        assert not Session.objects.exists()


class TestAttempts:
    def test_go_when_they_count_no_more(self, world: World) -> None:
        cache.set("counted", 1, timeout=600)

        assert forget(world, seconds=590) == {}
        assert forget(world, seconds=20) == {"attempts": 1}


class TestForget:
    def test_stops_where_it_is_asked_to(self, world: World) -> None:
        uploaded(world)
        world.clock.move(days=91)

        assert not any(retention.forget(clock=world.clock, keep_going=lambda: False).values())
        assert SelectionRow.objects.exists()

    def test_leaves_what_is_fresh_of_every_kind(self, world: World) -> None:
        assert forget(world) == {}


class TestDocumentation:
    def test_says_how_long_everything_is_kept(self) -> None:
        written = (settings.BASE_DIR / "docs" / "operator.md").read_text()

        assert retention.as_markdown() in written, retention.as_markdown()
        assert len(KINDS) == len({kind.title for kind in KINDS.values()})
