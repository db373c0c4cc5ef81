"""What Suppliers see of a hub that went from one to the other: the loser nothing, the gainer what comes after."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import ChangeOfSupplier, CommunicationsHub, Supplier
from hubs.operations import count_fleet
from portal.models import User
from scheduling.eligibility import Refusal
from scheduling.lifecycle import State
from scheduling.models import Booking, Deployment
from scheduling.operations import changes, registrations
from scheduling.operations.bookings import UnableToCancel
from scheduling.queries import parts
from scheduling.queries.parts import Obstacle, Part
from scheduling.views.bookings import STOP_POLLING
from tests.portal.matrix import Cast, read
from tests.portal.test_matrix import SUPPLIERS
from tests.scheduling.addresses import address_of
from tests.scheduling.test_registrations import GAS, change
from tests.scheduling.world import World


def text_of(response: Any) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    return " ".join(content.decode().split())


def change_today(world: World, hubs: Sequence[CommunicationsHub], gaining: Supplier, **facts: Any) -> date:
    """Let a change of yesterday take effect now."""
    day = (world.clock.move(seconds=1) - timedelta(days=1)).date()
    change(hubs, gaining, on=day, **facts)
    registrations.take_effect(now=world.clock())
    return day


def names(response: Any, hub: CommunicationsHub) -> bool:
    """Say whether an answer names a hub, however it writes it."""
    said = text_of(response).upper()
    return format_eui64(hub.pk) in said or f"{hub.pk:016X}" in said or str(hub.pk) in said


class TestTheLosingSupplier:
    @pytest.fixture
    def cast(self, todays_world: World) -> Cast:
        return Cast(todays_world)

    @pytest.mark.parametrize("name", sorted({line.route for line in read(SUPPLIERS)}))
    def test_reads_the_hub_on_no_page(self, name: str, cast: Cast, client: Client) -> None:
        client.force_login(cast.world.person)
        path = address_of(name, cast)
        change_today(cast.world, [cast.hub], cast.world.southern)

        response = client.get(path)

        if name == "first-steps":
            assert response.status_code == 405  # a form alone is sent there
        elif name == "hub":
            assert response.status_code == 404
        else:
            assert response.status_code in (200, STOP_POLLING)
            assert not names(response, cast.hub)

    @pytest.mark.parametrize("name", ["booked-hubs", "export"])
    def test_read_it_there_before(self, name: str, cast: Cast, client: Client) -> None:
        """Prove that the test above looks where the hub was."""
        client.force_login(cast.world.person)

        assert names(client.get(address_of(name, cast)), cast.hub)

    def test_keeps_the_number(self, cast: Cast, client: Client) -> None:
        client.force_login(cast.world.person)
        change_today(cast.world, [cast.hub], cast.world.southern)

        page = text_of(client.get(address_of("booking", cast)))

        assert "With a new Supplier</dt><dd>1 hub, counted as cancelled here" in page
        assert "Went with the hub to its new Supplier: 1 hub</strong>" in page

    def test_reads_it_neither_when_it_was_done_before(self, cast: Cast, client: Client) -> None:
        world = cast.world
        world.clock.move(hours=4, minutes=30)
        for _ in range(12):
            world.work()
            world.clock.move(minutes=6)
        assert Deployment.objects.get(hub=cast.hub).state == State.SUCCEEDED
        client.force_login(world.person)
        assert names(client.get(address_of("export", cast)), cast.hub)
        change_today(world, [cast.hub], world.southern)

        for name in ("booked-hubs", "export"):
            assert not names(client.get(address_of(name, cast)), cast.hub)

    def test_reads_it_neither_when_it_found_no_place(self, todays_world: World, client: Client) -> None:
        world = todays_world
        hubs = world.hubs(3)
        world.slot(start=timedelta(hours=5), room=1)
        booking = world.book()
        left = [CommunicationsHub.objects.get(pk=row.hub) for row in booking.unplaced_hubs.order_by("hub")]
        client.force_login(world.person)
        change_today(world, left[:1], world.southern)

        for name in ("booking", "export"):
            response = client.get(reverse(f"scheduling:{name}", args=[booking.reference]))
            said = text_of(response)
            assert [format_eui64(hub.pk) in said for hub in left] == [False, True]
        assert len(hubs) == 3

    def test_gets_its_row_of_a_file_back_as_one_of_no_hub(self, todays_world: World, client: Client) -> None:
        world = todays_world
        [hub] = world.hubs(1)
        world.slot(start=timedelta(hours=5), room=1)
        count_fleet(now=world.clock())
        selection = world.choose_ids(f"{hub.pk:016X}\n00DB000000000010")
        change_today(world, [hub], world.southern)
        world.hubs(1)
        client.force_login(world.person)

        said = text_of(client.get(reverse("scheduling:refused", args=[selection.pk])))

        assert said.count(Refusal.NOT_FOUND.label) == 2
        assert Refusal.NOT_LEAD.label not in said

    def test_cannot_find_out_by_changing_its_booking(self, cast: Cast) -> None:
        change_today(cast.world, [cast.hub], cast.world.southern)
        part = Part(hubs=[cast.hub.pk])

        outlook = parts.outlook(booking=cast.booking, part=part, now=cast.world.clock())

        assert outlook.refused == {Obstacle.NOT_BOOKED: 1}
        with pytest.raises(UnableToCancel, match="1 not in this booking"):
            changes.cancel_part(
                booking=cast.booking,
                part=part,
                only_if_all=False,
                by=cast.world.person,
                reason="",
                now=cast.world.clock(),
            )


class TestTheStoryOfAHub:
    @pytest.fixture
    def hub(self, todays_world: World) -> CommunicationsHub:
        [hub] = todays_world.hubs(1)
        todays_world.slot(start=timedelta(hours=5), room=5)
        count_fleet(now=todays_world.clock())
        return hub

    def page(self, client: Client, person: User, hub: CommunicationsHub) -> str:
        client.force_login(person)
        return text_of(client.get(reverse("scheduling:hub", args=[hub.pk])))

    def southern(self, world: World) -> User:
        return User.objects.create_user(email="person@southern.example.com", supplier=world.southern)

    def test_tells_its_supplier_of_a_change_that_is_ahead_and_not_whose_it_will_be(
        self, todays_world: World, hub: CommunicationsHub, client: Client
    ) -> None:
        day = todays_world.clock().date() + timedelta(days=9)
        change([hub], todays_world.southern, on=day)

        page = self.page(client, todays_world.person, hub)

        assert "Change of supplier registered: electricity import" in page
        assert f"From {day:%-d %B %Y}, 00:00, the meter is another Supplier&#x27;s." in page
        assert "Nothing is activated from" in page
        for word in (todays_world.southern.name, todays_world.southern.import_participant_id):
            assert str(word) not in page

    def test_tells_nobody_of_what_was_before(
        self, todays_world: World, hub: CommunicationsHub, client: Client
    ) -> None:
        booking = todays_world.book()
        change_today(todays_world, [hub], todays_world.southern)
        person = self.southern(todays_world)

        page = self.page(client, person, hub)

        assert "Change of supplier in effect: electricity import" in page
        assert "the meter is yours" in page
        assert "Change of supplier registered" not in page
        assert booking.reference not in page
        [own] = Booking.objects.filter(supplier=todays_world.southern)
        assert f"Came with the hub, booked in {own.reference}" in page

    def test_goes_on_for_a_supplier_that_keeps_a_meter(
        self, todays_world: World, hub: CommunicationsHub, client: Client
    ) -> None:
        CommunicationsHub.objects.filter(pk=hub.pk).update(gas_supplier=todays_world.northern)
        change_today(todays_world, [hub], todays_world.southern)

        page = self.page(client, todays_world.person, hub)

        assert "Change of supplier registered: electricity import" in page
        assert "Change of supplier in effect: electricity import" in page
        assert "the meter is another Supplier&#x27;s" in page

    def test_begins_for_a_supplier_of_both_meters_when_it_had_the_first(
        self, todays_world: World, hub: CommunicationsHub, client: Client
    ) -> None:
        CommunicationsHub.objects.filter(pk=hub.pk).update(gas_supplier=todays_world.northern)
        change([hub], todays_world.southern, on=todays_world.clock().date() - timedelta(days=3))
        change_today(todays_world, [hub], todays_world.southern, role=GAS)

        page = self.page(client, self.southern(todays_world), hub)

        assert page.count("in effect") == 2
        assert "registered" not in page
        assert ChangeOfSupplier.objects.exclude(applied_at=None).count() == 2
