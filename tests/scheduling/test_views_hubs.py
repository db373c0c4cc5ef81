"""The hubs that a Supplier sees, and one of them."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, FirmwareVersion
from hubs.operations import count_fleet
from portal.ground.roles import SupplierRole
from scheduling.eligibility import Refusal
from scheduling.lifecycle import State
from scheduling.models import Deployment
from scheduling.operations import quarantine
from scheduling.operations.deployments import aside
from scheduling.queries import eligibility, hubs, standings
from scheduling.queries.hubs import OpenDeployment
from tests.factories import UserFactory
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.world import World


@pytest.fixture
def world(todays_world: World, client: Client) -> World:
    """A world with three hubs, a slot, and the northern person signed in."""
    todays_world.hubs(3)
    todays_world.slot(start=timedelta(hours=5), room=100)
    count_fleet(now=todays_world.clock())
    client.force_login(todays_world.person)
    return todays_world


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def shown(response: Any) -> list[int]:
    return [line.hub.pk for line in response.context["listing"].page.lines]


def shared(world: World, **facts: Any) -> CommunicationsHub:
    """Add a hub whose electricity is the southern Supplier's and whose gas is the northern one's."""
    return world.hubs(1, supplier=world.southern, gas_supplier=world.northern, **facts)[0]


class TestHubs:
    def test_lists_own_and_shared_hubs_and_no_others(self, world: World, client: Client) -> None:
        both = shared(world)
        world.hubs(1, supplier=world.southern)

        response = client.get(reverse("scheduling:hubs"))

        own = CommunicationsHub.objects.filter(import_supplier=world.northern).values_list("pk", flat=True)
        assert set(shown(response)) == {*own, both.pk}
        assert [row.record.role for row in response.context["table"].rows] == ["Lead"] * 3 + ["Other"]

    def test_pages_forwards_and_backwards(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.views.hubs.PAGE", 2)
        first = client.get(reverse("scheduling:hubs"), {"network": world.network.pk})
        second = client.get(first.context["next"])
        back = client.get(second.context["previous"])

        assert (len(shown(first)), len(shown(second)), shown(back)) == (2, 1, shown(first))

    def test_finds_one_by_its_identifier_and_nothing_foreign(self, world: World, client: Client) -> None:
        own = CommunicationsHub.objects.filter(import_supplier=world.northern).first()
        foreign = world.hubs(1, supplier=world.southern)[0]
        assert own is not None

        assert shown(client.get(reverse("scheduling:hubs"), {"search": f"{own.pk:016x}"})) == [own.pk]
        assert "No hub of yours matches" in words(
            client.get(reverse("scheduling:hubs"), {"search": format_eui64(foreign.pk)})
        )

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [({"search": "hello"}, "is neither a CHF ID"), ({"network": "99"}, "Select a valid choice.")],
    )
    def test_says_what_it_cannot_read(
        self, query: dict[str, str], sentence: str, world: World, client: Client
    ) -> None:
        assert sentence in words(client.get(reverse("scheduling:hubs"), query))

    def test_offers_to_go_on_where_it_stopped_looking(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hubs.queries.WINDOW", 1)
        world.hubs(1_100)
        world.hubs(1, payment_mode=2)
        count_fleet(now=world.clock())

        response = client.get(reverse("scheduling:hubs"), {"payment_mode": 2})

        assert "Continue the search" in words(response)
        assert shown(response) == []
        for _ in range(3):
            if not shown(response):
                response = client.get(response.context["listing"].next)
        assert len(shown(response)) == 1

    def test_shows_where_each_is_booked_by_us(self, world: World, client: Client) -> None:
        booking = world.book()

        page = words(client.get(reverse("scheduling:hubs")))

        assert page.count(f'href="/bookings/{booking.reference}/"') == 3

    def test_asks_the_same_questions_for_few_and_many(self, world: World, client: Client) -> None:
        world.book()
        few = queries_of(client, reverse("scheduling:hubs"))
        world.hubs(40)
        world.book()

        # session, user, Supplier, clock; the filter's choices; keys, their ends, the hubs; deployments, lots,
        # which are set aside; the filters that one keeps; questions to answer, for the menu
        many = queries_of(client, reverse("scheduling:hubs"))
        assert len(few) == len(many) == 13, "\n".join(many)


class TestHub:
    def test_names_its_meter_points_whole_to_those_who_work_with_them(
        self, world: World, client: Client
    ) -> None:
        [hub] = world.hubs(1, mpan=1234567890126, mprn=3938424403)
        address = reverse("scheduling:hub", args=[hub.chf_id])

        assert "1234567890126" in words(client.get(address))
        client.force_login(UserFactory.create(supplier=world.northern, role=SupplierRole.READ_ONLY))
        masked = words(client.get(address))

        assert "•••••••••0126" in masked
        assert "••••••4403" in masked
        assert "1234567890126" not in masked
        assert "3938424403" not in masked

    def address(self, hub: CommunicationsHub) -> str:
        return reverse("scheduling:hub", args=[hub.pk])

    def test_names_the_other_supplier_only_by_role_and_participant_id(
        self, world: World, client: Client
    ) -> None:
        page = words(client.get(self.address(shared(world))))

        assert f"Lead Supplier, {world.southern.import_participant_id} (electricity)" in page
        assert world.southern.name not in page
        assert Refusal.NOT_LEAD.label in page

    def test_tells_its_story_and_where_it_is_booked(self, world: World, client: Client) -> None:
        hub = world.hubs(1)[0]
        booking = world.book(world.choose_ids(f"{hub.pk:016X}"))

        page = words(client.get(self.address(hub)))

        assert f"Booked in {booking.reference}" in page
        assert Refusal.OPEN_DEPLOYMENT.label in page

    def test_hides_what_the_other_supplier_booked(self, world: World, client: Client) -> None:
        hub = shared(world)
        world.slot(start=timedelta(hours=6), room=5)
        selection = world.choose_ids(f"{hub.pk:016X}", supplier=world.southern)
        booking = world.book(selection)
        assert booking.hubs == 1

        page = words(client.get(self.address(hub)))

        assert booking.reference not in page
        assert "Booked by the other Supplier" in page
        assert hubs.open_deployments(hubs=[hub.pk], supplier=world.northern) == {
            hub.pk: OpenDeployment(State.PROVISIONAL, "Booked by the other Supplier", "")
        }

    def test_says_that_dcc_looks_into_it_without_the_error(self, world: World, client: Client) -> None:
        world.book()
        poisoned, well = Deployment.objects.order_by("id")[:2]
        aside.set_aside(deployment=poisoned.pk, error="KeyError: 0x17", now=world.clock())
        aside.strike(deployment=well.pk, error="KeyError: 0x17", now=world.clock())

        page = words(client.get(self.address(poisoned.hub)))
        assert page.count("<strong>DCC looks into it</strong>") == 2  # at the head, and in its story
        assert "nothing more is asked of it until DCC has decided" in page
        assert "KeyError" not in page
        assert "DCC looks into it" not in words(client.get(self.address(well.hub)))
        assert words(client.get(reverse("scheduling:hubs"))).count("DCC looks into it") == 1

    def test_says_what_dcc_decided(self, world: World, client: Client) -> None:
        world.book()
        poisoned = Deployment.objects.order_by("id")[0]
        aside.set_aside(deployment=poisoned.pk, error="KeyError: 0x17", now=world.clock())
        quarantine.end(deployments=[poisoned.pk], by=world.staff, reason="Internal", now=world.clock())

        page = words(client.get(self.address(poisoned.hub)))
        assert "The hub was taken out, because carrying it out kept failing" in page
        assert "DCC looks into it" not in page
        assert "Internal" not in page

    def test_tells_the_other_supplier_nothing_of_it(self, world: World, client: Client) -> None:
        hub = shared(world)
        world.slot(start=timedelta(hours=6), room=5)
        world.book(world.choose_ids(f"{hub.pk:016X}", supplier=world.southern))
        aside.set_aside(deployment=Deployment.objects.get().pk, error="x", now=world.clock())

        assert "DCC looks into it" not in words(client.get(self.address(hub)))

    def test_asks_a_fixed_number_of_questions(self, world: World, client: Client) -> None:
        hub = world.hubs(1)[0]
        before = queries_of(client, self.address(hub))
        world.book()

        # session, user, Supplier, clock; the hub; releases and their models, predecessors, versions of these,
        # periods, networks of these, halts; deployments (open); changes of supplier; versions and verdicts; the story;
        # questions to answer, for the menu
        after = queries_of(client, self.address(hub))
        assert len(before) == 18, "\n".join(before)
        # once booked: the lots of the open deployment and of the story, whether these are set aside, and its commands
        assert len(after) <= 23, "\n".join(after)


class TestVerdicts:
    def test_go_by_the_rules_of_the_booking(self, world: World) -> None:
        versions = list(FirmwareVersion.objects.all())
        for has_no_predecessor in (False, True):
            [release] = standings.with_facts(type(world.release).objects.all())
            release.has_no_predecessor = has_no_predecessor

            ours = eligibility.rules(
                release=release, supplier=world.northern, versions=versions, now=world.clock()
            )

            assert ours == eligibility.rules(release=release, supplier=world.northern, now=world.clock())
