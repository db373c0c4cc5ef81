"""Tests of the report of a release: what DCC reads of it, its evidence pack, and the key that is published."""

import io
import zipfile
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from firmware.models import FirmwareRelease, Part, ReleaseState
from firmware.operations import decisions
from firmware.operations.groups import AUDITORS
from portal.ground import clock
from portal.ground.models import AuditEntry
from portal.models import User
from scheduling import packs
from scheduling.lifecycle import Ending, State
from scheduling.models import Booking
from scheduling.operations import halts
from scheduling.operations.asked_rehearsals import digest_of, finish
from tests.factories import UserFactory
from tests.portal.test_access import assert_obeys_policy
from tests.scheduling import world as worlds
from tests.scheduling.test_asked_rehearsals import FOUND, taken
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.test_packs import rolled_out
from tests.scheduling.world import World


@pytest.fixture
def world(db: None) -> World:
    """A published release of which nothing is booked."""
    return worlds.make(now=clock.now())


def auditor() -> User:
    """Return somebody who may read everything, and decide nothing."""
    person = User.objects.filter(email="auditor@dcc.example").first() or UserFactory.create(
        email="auditor@dcc.example"
    )
    person.groups.add(Group.objects.get(name=AUDITORS))
    return person


def read(client: Client, world: World) -> str:
    """Return the words of the page, as an auditor reads it."""
    client.force_login(auditor())
    page = client.get(reverse("release-report", args=[world.release.pk])).content.decode()
    assert_obeys_policy(page)
    return " ".join(page.split())


class TestPage:
    def test_says_what_is_not_there_yet(self, world: World, client: Client) -> None:
        page = read(client, world)

        assert world.release.digest in page
        assert "It was never halted." in page
        assert "Nobody booked, and DCC allocated nothing." in page
        assert "No other Supplier had to be asked" in page
        assert "No evidence was kept: no hub has been activated." in page
        assert "Tolerated bad rate, %" in page
        assert "release.published" in page
        assert str(world.approver) in page

    def test_tells_of_the_halt_and_what_could_not_be_undone(self, world: World, client: Client) -> None:
        page = read(client, rolled_out(world))

        assert "It was halted once." in page
        assert "by the portal itself: the whole release</h3>" in page
        assert "Early warning: of 50 hubs" in page
        assert "50 hubs had been commanded to activate." in page
        assert "What was known at the halt" in page
        assert f"by {world.staff}: =Known, and left out" in page
        assert f"Model {world.model}, episode 1" in page
        assert "beyond the limit" in page
        assert page.count("<polyline") == 2
        assert Booking.objects.get().reference in page
        assert "1 booking of 1 Supplier. 50 hubs were commanded to activate: 5 succeeded, 15 are bad" in page

    def test_tells_of_a_halt_by_hand_what_had_been_kept_last(self, world: World, client: Client) -> None:
        stage(world, 60)
        activate(50)
        end(2, world=world, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=world.clock())
        world.clock.move(minutes=2)
        decisions.halt(release=world.release, by=world.staff, reason="Odd.", now=world.clock())
        end(9, world=world, state=State.SUCCEEDED)

        page = read(client, world)

        assert f"by {world.staff}: the whole release</h3> <p>Odd.</p>" in page
        known = page.partition("What was known at the halt")[2].partition("</table>")[0]
        assert f"Model {world.model}, episode 1" in known
        assert [cell.partition("<")[0] for cell in known.split('<td class="health-number">')[1:5]] == [
            *("50", "0", "2", "48")
        ]
        assert "Never resumed" in page

    def test_tells_of_the_part_that_was_halted_and_left_out(self, world: World, client: Client) -> None:
        stage(world, 60)
        activate(50)
        for part in (Part(model=world.model), Part(network=world.network)):
            decisions.halt(release=world.release, by=world.staff, reason="Odd.", now=world.clock(), part=part)

        page = read(client, world)

        assert "It was halted 2 times, and a part of it is halted now." in page
        assert f"by {world.staff}: hub model {world.model}</h3>" in page
        assert "50 hubs had been commanded to activate." in page
        assert f"by {world.staff}: network {world.network}</h3>" in page
        assert f"what had been commanded to activate of network {world.network}." in page

    def test_tells_of_what_was_rehearsed(self, world: World, client: Client) -> None:
        assert "Nobody rehearsed it." in read(client, world)
        rehearsal = taken(world)
        finish(rehearsal=rehearsal.pk, token=1, result=FOUND, now=world.clock())

        page = read(client, world)

        assert "A silent defect in 2 % of the hubs, to 1,000 hubs, in numbers alone, seed 1" in page
        assert "It halts by itself after 42.5 hours on average" in page
        assert f"{digest_of(result=FOUND)[:12]}…" in page
        assert f'href="{reverse("rehearsals", args=[world.release.pk])}"' in page

    def test_counts_consents_and_objections(self, world: World, client: Client) -> None:
        world.shared(3)
        world.slot(start=timedelta(days=20), room=10)
        world.book()

        page = read(client, world)

        assert "1 question was asked about shared hubs: to be answered 1." in page
        assert "provisional 3" in page

    @pytest.mark.parametrize("state", [ReleaseState.HALTED, ReleaseState.CLOSED, ReleaseState.WITHDRAWN])
    def test_is_there_for_every_release_that_was_published(
        self, state: ReleaseState, world: World, client: Client
    ) -> None:
        ended_at = None if state == ReleaseState.HALTED else clock.now()
        FirmwareRelease.objects.filter(pk=world.release.pk).update(state=state, ended_at=ended_at)

        assert f"<dd> {state.label}" in read(client, world)

    def test_is_not_there_for_a_release_that_never_was(self, world: World, client: Client) -> None:
        FirmwareRelease.objects.filter(pk=world.release.pk).update(
            state=ReleaseState.WITHDRAWN, ended_at=clock.now(), published_at=None
        )
        client.force_login(world.staff)

        assert client.get(reverse("release-report", args=[world.release.pk])).status_code == 404
        assert client.post(reverse("evidence-pack", args=[world.release.pk])).status_code == 404

    def test_is_linked_from_the_desk_and_from_the_control_room(self, world: World, client: Client) -> None:
        address = reverse("release-report", args=[world.release.pk])
        client.force_login(world.staff)

        for page in (
            reverse("admin:firmware_firmwarerelease_change", args=[world.release.pk]),
            reverse("control-room"),
        ):
            assert f'href="{address}"' in client.get(page).content.decode()


class TestWhoMay:
    @pytest.mark.parametrize("name", ["release-report", "evidence-pack"])
    def test_is_nobody_without_the_right_to_see_releases(
        self, world: World, client: Client, name: str
    ) -> None:
        client.force_login(UserFactory.create())
        ask = client.get if name == "release-report" else client.post

        assert ask(reverse(name, args=[world.release.pk])).status_code == 403
        client.force_login(world.person)
        assert ask(reverse(name, args=[world.release.pk])).status_code == 404
        assert not AuditEntry.objects.filter(verb="release.evidence_taken").exists()


class TestPack:
    def test_is_sent_signed_and_put_on_record(
        self, transactional_db: None, now: datetime, client: Client, settings: Settings
    ) -> None:
        world = worlds.make(now=now)
        person = auditor()
        client.force_login(person)

        answer = client.post(reverse("evidence-pack", args=[world.release.pk]))

        assert answer.status_code == 200
        assert answer["Content-Type"] == "application/zip"
        assert answer["Content-Disposition"].startswith(
            f'attachment; filename="evidence-{world.release.cpl_entry_id.lower()}-'
        )
        file = io.BytesIO(answer.getvalue())
        key = packs.public_key(text=client.get("/evidence-key.pem").content.decode())
        assert packs.verify(file=file, key=key).holds
        assert "report.html" in zipfile.ZipFile(file).namelist()
        assert AuditEntry.objects.get(verb="release.evidence_taken").actor == person


class TestKey:
    @pytest.mark.django_db
    def test_is_published_without_the_secret(self, client: Client, settings: Settings) -> None:
        page = client.get("/evidence-key.pem").content.decode()

        assert page.startswith("-----BEGIN PUBLIC KEY-----")
        signer = packs.private_key(text=settings.EVIDENCE_KEY)
        packs.public_key(text=page).verify(signer.sign(b"words"), b"words")
