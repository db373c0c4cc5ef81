"""What a Supplier sees of DCC's default allocation: that it comes, what it took, and how to get out of it."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from firmware.models import AvailabilityPeriod
from hubs.operations import count_fleet
from portal.ground.uk_time import LONDON
from scheduling.models import Booking, Exemption
from scheduling.operations import allocations, exceptions
from scheduling.queries import deadlines
from scheduling.queries.exceptions import Portion
from tests import factories
from tests.scheduling.test_exceptions import DAY, queue
from tests.scheduling.world import World


@pytest.fixture
def world(todays_world: World, client: Client) -> World:
    """Five hubs of the Northern Supplier, seen by its person."""
    todays_world.hubs(5)
    count_fleet(now=todays_world.clock())
    client.force_login(todays_world.person)
    return todays_world


def its_day_has_come(world: World) -> None:
    """Let this be the moment of the allocation, whatever day of the week it is."""
    now = world.clock()
    AvailabilityPeriod.objects.update(
        start_at=now - 67 * DAY - timedelta(milliseconds=1), end_at=now + 33 * DAY
    )


def page(client: Client, name: str, *arguments: object) -> str:
    response = client.get(reverse(f"scheduling:{name}", args=arguments))
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


class TestWhatIsToCome:
    @pytest.mark.parametrize("name", ["home", "release"])
    def test_says_when_and_how_many(self, name: str, world: World, client: Client) -> None:
        period = world.release.periods.get()
        moment = deadlines.allocation_at(period=period, policy=world.release.policy).astimezone(LONDON)
        arguments = [world.release.pk] if name == "release" else []

        shown = page(client, name, *arguments)

        assert "DCC allocates to slots: 5 hubs of yours as of now. You can move them afterwards." in shown
        assert f"{moment:%-d %b %Y}" in shown.split("What nobody has booked by")[1].split("DCC")[0]

    def test_counts_what_is_left_and_not_exempt(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=5), room=1)
        world.book()
        Exemption.objects.create(
            release=world.release,
            supplier=world.northern,
            hubs=3,
            reason="Hospital",
            expires_at=world.clock() + DAY,
            made_by=world.staff,
            made_at=world.clock(),
        )

        assert "DCC allocates to slots: 1 hub of yours as of now. You can move it" in page(client, "home")

    @pytest.mark.parametrize("is_for_all", [True, False])
    def test_is_nothing_where_all_is_exempt(self, is_for_all: bool, world: World, client: Client) -> None:
        Exemption.objects.create(
            release=world.release,
            supplier=world.northern,
            network=None if is_for_all else world.network,
            reason="Hospital",
            expires_at=world.clock() + DAY,
            made_by=world.staff,
            made_at=world.clock(),
        )

        assert "DCC allocates" not in page(client, "home")

    def test_is_every_working_day_once_it_has_begun(self, world: World, client: Client) -> None:
        its_day_has_come(world)

        shown = page(client, "home")

        assert "DCC allocates what is not booked on every working day now: 5 hubs of yours." in shown

    def test_is_the_next_of_several_networks(self, world: World, client: Client) -> None:
        other = factories.NetworkFactory.create(code="south")
        factories.AvailabilityPeriodFactory.create(
            release=world.release,
            network=other,
            start_at=world.clock(),
            end_at=world.clock() + 10 * DAY,
        )
        for hub in world.hubs(2):
            type(hub).objects.filter(pk=hub.pk).update(network=other)
        count_fleet(now=world.clock())

        assert "DCC allocates to slots: 2 hubs of yours" in page(client, "home")


class TestAnAllocatedBooking:
    @pytest.fixture
    def booking(self, world: World) -> Booking:
        its_day_has_come(world)
        world.slot(start=20 * DAY, room=3)
        allocations.allocate(clock=world.clock)
        return Booking.objects.get()

    def test_says_by_whom_why_and_until_when(self, booking: Booking, world: World, client: Client) -> None:
        shown = page(client, "booking", booking.reference)

        assert "<strong>Allocated by DCC</strong> on" in shown
        assert "3 hubs were not booked by then." in shown
        assert "You can move them until" in shown
        assert "If you do not book them, DCC decides about them." in shown
        assert "Allocated for DCC by the portal: 3 hubs" in shown
        assert "None" not in shown

    def test_is_in_the_list_as_dcc_s(self, booking: Booking, client: Client) -> None:
        assert ">DCC<" in page(client, "bookings")

    def test_of_an_override_says_the_reason(self, world: World, client: Client) -> None:
        queue(world, world.hubs(1))
        world.slot(start=timedelta(hours=5), room=3)
        decision = exceptions.ask_override(
            portion=Portion(world.release), reason="Safety", by=world.staff, now=world.clock()
        )
        exceptions.approve_override(decision=decision, by=world.approver, now=world.clock())
        allocations.allocate(clock=world.clock)

        shown = page(client, "booking", Booking.objects.get().reference)

        assert "in spite of protected windows. Its reason: Safety" in shown

    def test_can_be_cancelled_and_moved_like_any_other(self, booking: Booking, client: Client) -> None:
        for name in ("change", "cancel", "booked-hubs", "export", "calendar"):
            assert client.get(reverse(f"scheduling:{name}", args=[booking.reference])).status_code == 200
