"""Hubs set aside, as DCC's people see them and decide about them, and nobody else can."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import reverse

from firmware.operations import groups as staff_groups
from hubs.identifiers import format_eui64
from portal.ground.models import AuditEntry
from portal.ground.uk_time import LONDON
from portal.models import User
from scheduling.admin.quarantine import QuarantineAdmin
from scheduling.lifecycle import State
from scheduling.models import Deployment, OddReport, Quarantine, Reclaim, ReportCount, ReportKind
from scheduling.operations import quarantine as acts
from scheduling.operations.deployments import aside
from scheduling.operations.deployments.gate import LAST_WORD
from tests.scheduling.test_exceptions import member
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.world import World, in_no_stage

LIST = reverse("admin:scheduling_quarantine_changelist")
TROUBLE = "CommandRefused: no such hub"


@pytest.fixture
def world(todays_world: World) -> World:
    """A world with three booked hubs of one Supplier set aside, one of them activating, and one that is well."""
    world = todays_world
    world.hubs(4)
    world.slot(start=timedelta(hours=5), room=5)
    world.book()
    for deployment in kept():
        aside.set_aside(deployment=deployment.pk, error=TROUBLE, now=world.clock())
    with in_no_stage():
        for state in (State.STAGING, State.STAGED, State.ACTIVATING):
            Deployment.objects.filter(pk=kept()[0].pk).update(state=state)
    return world


def kept() -> list[Deployment]:
    return list(Deployment.objects.order_by("id")[:3])


@pytest.fixture
def manager(world: World) -> User:
    return member("manager@dcc.example.com", staff_groups.OPERATIONS)


@pytest.fixture
def second(world: World) -> User:
    return member("second@dcc.example.com", staff_groups.APPROVERS)


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def listed(response: Any) -> list[int]:
    return sorted(row.pk for row in response.context["cl"].result_list)


def result_list(client: Client) -> list[Any]:
    return list(client.get(LIST).context["cl"].result_list)


def decide(client: Client, action: str, *deployments: Deployment, **typed: str) -> Any:
    chosen = {ACTION_CHECKBOX_NAME: [deployment.pk for deployment in deployments]}
    return client.post(LIST, {"action": action, **chosen, **typed}, follow=True)


class TestTheList:
    def test_says_what_is_to_be_known_of_each(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        page = words(client.get(LIST))

        for deployment in kept():
            assert format_eui64(deployment.hub_id) in page
        for said in ("Spring release", "Northern", "North", "Activating", "Booked", "Read its version"):
            assert said in page
        assert "The carrier does not take its command: no such hub" in page
        assert "CommandRefused" not in page

    def test_leaves_out_what_has_ended(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)
        gone = kept()[1]
        Deployment.objects.filter(pk=gone.pk).update(
            state=State.CANCELLED, ended_at=world.clock(), next_at=None
        )

        assert gone.pk not in listed(client.get(LIST))
        assert client.get(reverse("admin:scheduling_quarantine_change", args=[gone.pk])).status_code == 302

    def test_is_searched_by_chf_id_booking_and_error(
        self, world: World, manager: User, client: Client
    ) -> None:
        client.force_login(manager)
        one = kept()[2]
        reference = client.get(LIST).context["cl"].result_list[0].reference

        for typed in (format_eui64(one.hub_id), format_eui64(one.hub_id).replace("-", "").lower()):
            assert listed(client.get(LIST, {"q": typed})) == [one.pk]
        assert len(listed(client.get(LIST, {"q": reference}))) == 3
        assert len(listed(client.get(LIST, {"q": "no such"}))) == 3
        assert listed(client.get(LIST, {"q": "another matter"})) == []

    def test_is_filtered(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        assert listed(client.get(LIST, {"state": "activating"})) == [kept()[0].pk]
        for name, key in (
            ("release", world.release.pk),
            ("supplier", world.northern.pk),
            ("network", world.network.pk),
        ):
            assert len(listed(client.get(LIST, {name: key}))) == 3
        assert len(listed(client.get(LIST, {"supplier": world.southern.pk, "state": "nonsense"}))) == 3

    def test_asks_as_much_for_one_hub_as_for_many(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)
        many = len(queries_of(client, LIST))
        Quarantine.objects.exclude(pk=kept()[0].pk).delete()

        assert len(queries_of(client, LIST)) == many

    def test_is_read_by_an_approver_who_may_not_decide(
        self, world: World, second: User, client: Client
    ) -> None:
        client.force_login(second)

        assert "Take the chosen hubs back" not in words(client.get(LIST))
        decide(client, "end", *kept(), confirmed="yes", reason="x")
        assert len(listed(client.get(LIST))) == 3

    def test_does_not_exist_for_a_supplier(self, world: World, client: Client) -> None:
        client.force_login(world.person)

        assert client.get(LIST).status_code == 404
        assert client.post(LIST).status_code == 404

    def test_is_closed_to_staff_without_a_group(self, world: World, client: Client) -> None:
        client.force_login(User.objects.create_user(email="new@dcc.example.com", is_staff=True))

        assert client.get(LIST).status_code == 403

    def test_is_found_from_the_exceptions_queue(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        page = words(client.get(reverse("admin:scheduling_hubexception_changelist")))

        assert f'<a href="{LIST}">Hubs set aside because carrying them out kept failing: 3</a>' in page

    def test_shows_one_with_its_error_as_it_came(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        page = words(client.get(reverse("admin:scheduling_quarantine_change", args=[kept()[0].pk])))

        assert TROUBLE in page
        assert format_eui64(kept()[0].hub_id) in page


class TestWhatTimeDecides:
    def test_is_told_before_it_does(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        page = words(client.get(LIST))

        assert "unless DCC has decided by then, they end unconfirmed" in page
        decides = [QuarantineAdmin(Quarantine, site).time_decides(row) for row in result_list(client)]
        then = (world.clock() + timedelta(minutes=120) + LAST_WORD).astimezone(LONDON)
        assert [moment for moment in decides if moment] == [f"{then:%a %-d %b %Y, %H:%M}"]
        one = words(client.get(reverse("admin:scheduling_quarantine_change", args=[kept()[0].pk])))
        assert one.count(f"{then:%a %-d %b %Y, %H:%M}") == 1

    def test_is_listed_by_itself_and_offers_no_decision(
        self, world: World, manager: User, client: Client
    ) -> None:
        client.force_login(manager)
        one = kept()[0]
        world.clock.move(hours=3)
        assert acts.lapse(clock=world.clock) == 1

        assert listed(client.get(LIST)) == [row.pk for row in kept()[1:]]
        page = client.get(LIST, {"decision": "lapsed"})
        assert listed(page) == [one.pk]
        assert "They ended unconfirmed: what they run is not known" in words(page)
        assert "End the chosen hubs" not in words(page)
        assert "End the chosen hubs" in words(client.get(LIST))
        assert TROUBLE in words(client.get(reverse("admin:scheduling_quarantine_change", args=[one.pk])))

    def test_is_no_longer_anybody_elses_to_decide(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)
        chosen = kept()
        world.clock.move(hours=3)
        acts.lapse(clock=world.clock)

        page = words(decide(client, "end", *chosen, confirmed="yes", reason="x"))

        assert "Ended: 2 missed, 0 unconfirmed. 1 hub had been decided about or had ended meanwhile." in page


class TestEnd:
    def test_says_in_numbers_what_it_does_and_then_does_it(
        self, world: World, manager: User, client: Client
    ) -> None:
        client.force_login(manager)

        page = words(decide(client, "end", *kept()))
        assert "It is about <strong>3 hubs</strong>: 1 activating, 2 booked." in page
        assert "<strong>2</strong> become missed, and <strong>1</strong>, whose activation has begun" in page
        assert Quarantine.objects.count() == 3

        page = words(decide(client, "end", *kept(), confirmed="yes", reason="Broken"))
        assert "Ended: 2 missed, 1 unconfirmed." in page
        assert [one.state for one in kept()] == [State.UNCONFIRMED, State.MISSED, State.MISSED]
        assert AuditEntry.objects.get(verb="quarantine.ended").actor == manager

    def test_asks_for_a_reason(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        page = words(decide(client, "end", *kept(), confirmed="yes", reason=" "))

        assert "This field is required" in page
        assert Quarantine.objects.count() == 3

    def test_says_how_many_somebody_else_decided_about(
        self, world: World, manager: User, client: Client
    ) -> None:
        client.force_login(manager)
        chosen = kept()
        decide(client, "take_back", chosen[1], confirmed="yes", reason="x")

        page = words(decide(client, "end", *chosen, confirmed="yes", reason="x"))
        assert "Ended: 1 missed, 1 unconfirmed. 1 hub had been decided about or had ended meanwhile." in page
        page = words(decide(client, "end", *chosen, confirmed="yes", reason="x"))
        assert "None of these hubs is set aside any more" in page

    def test_is_about_so_many_at_most(
        self, world: World, manager: User, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.operations.quarantine.MOST", 2)
        client.force_login(manager)

        assert "A decision can be about 2 hubs at most." in words(decide(client, "end", *kept()))


class TestTakeBack:
    def test_says_in_numbers_what_it_does_and_then_does_it(
        self, world: World, manager: User, client: Client
    ) -> None:
        client.force_login(manager)

        page = words(decide(client, "take_back", *kept()[1:]))
        assert "Each hub goes on where it was, at once" in page
        assert "<strong>2 hubs</strong>: 2 booked." in page

        page = words(decide(client, "take_back", *kept()[1:], confirmed="yes", reason="Mended"))
        assert "2 hubs taken back, and due at once." in page
        assert Quarantine.objects.count() == 1
        assert AuditEntry.objects.get(verb="quarantine.taken_back").reason == "Mended"


class TestReportsAndReclaims:
    def test_are_listed_for_every_member_of_staff(self, world: World, client: Client) -> None:
        client.force_login(member("auditor@dcc.example.com", staff_groups.AUDITORS))
        now = world.clock()
        OddReport.objects.create(reason="no JSON", text="{", first_at=now, last_at=now, times=3)
        ReportCount.objects.create(day=now.date(), kind=ReportKind.LATE, reports=12_345)
        Reclaim.objects.create(lot_id=77, token=3, lease_until=now, reclaimed_at=now)

        for name, said, search in (
            ("oddreport", "no JSON", {"q": "JSON"}),
            ("reportcount", "Answer that nobody waited for any more", {"kind": "late"}),
            ("reclaim", "77", {"q": "77"}),
        ):
            page = client.get(reverse(f"admin:scheduling_{name}_changelist"), search)
            assert said in words(page)
            assert len(listed(page)) == 1
