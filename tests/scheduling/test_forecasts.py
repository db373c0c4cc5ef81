"""Whether a release would fit: the reckoning, and the page on DCC's desk."""

import re
from datetime import timedelta

from django.test import Client
from django.urls import reverse

from firmware.models import FirmwareRelease
from hubs.operations import count_fleet
from portal.models import User
from scheduling.models import CapacityPattern, Slot, Weekday
from scheduling.operations import slots
from scheduling.queries import forecasts, standings
from scheduling.queries.forecasts import Forecast, NetworkForecast
from tests import factories
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.world import World


def forecast(world: World, *to_come: tuple[timedelta, int]) -> Forecast:
    """Reckon with slots of an hour that the patterns would make, so long from now and with so much capacity."""
    release = standings.with_facts(FirmwareRelease.objects.order_by("pk")).get()
    spans = [
        (world.clock() + start, world.clock() + start + timedelta(hours=1), capacity)
        for start, capacity in to_come
    ]
    count_fleet(now=world.clock())
    return forecasts.forecast(release=release, to_come={world.network.pk: spans}, now=world.clock())


def only(found: Forecast) -> NetworkForecast:
    [network] = found.networks
    return network


class TestForecast:
    def test_ends_with_the_slot_that_takes_the_last_hub(self, world: World) -> None:
        world.hubs(5)
        for hours in (5, 6, 7):
            world.slot(start=timedelta(hours=hours), room=3)

        found = forecast(world)

        assert (found.short, found.hubs, found.ends_at) == (0, 5, world.slots[1].end_at)
        assert only(found).fits

    def test_says_where_it_is_short_and_by_how_much(self, world: World) -> None:
        world.hubs(8)
        world.slot(start=timedelta(hours=5), room=5)

        found = forecast(world)

        assert (found.short, found.ends_at, only(found).short_with_reserve) == (3, None, 3)

    def test_keeps_the_reserve_and_leaves_out_what_is_taken(self, world: World) -> None:
        world.hubs(8)
        world.release.policy.reserve_percent = 30
        world.release.policy.save()
        slot = world.slot(start=timedelta(hours=5), room=10)
        Slot.objects.filter(pk=slot.pk).update(taken=2)

        one = only(forecast(world))

        assert (one.capacity, one.taken, one.reserve, one.room, one.short) == (10, 2, 3, 5, 3)
        assert one.short_with_reserve == 0

    def test_counts_no_slot_whose_cut_off_has_passed_or_outside_the_period(self, world: World) -> None:
        world.hubs(2)
        world.slot(start=timedelta(minutes=59), room=9)
        world.slot(start=timedelta(days=60), room=9)

        assert (only(forecast(world)).slots, only(forecast(world)).short) == (0, 2)

    def test_goes_on_with_the_patterns_beyond_the_slots_that_are_made(self, world: World) -> None:
        world.hubs(5)
        world.slot(start=timedelta(hours=6), room=3)
        early, late = timedelta(hours=5), timedelta(hours=7)

        one = only(forecast(world, (late, 4), (early, 100), (timedelta(days=70), 100)))

        assert (one.slots, one.room) == (2, 7)
        assert one.ends_at == world.clock() + late + timedelta(hours=1)

    def test_counts_hubs_that_are_booked_as_placed(self, world: World) -> None:
        world.hubs(4)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()

        one = only(forecast(world))

        assert (one.hubs, one.room, one.short) == (1, 0, 1)


def result(page: str) -> str:
    """Return the sentence that the page begins with."""
    return page.partition('<p class="desk-consequence">')[2].partition("</p>")[0]


def cells(page: str) -> str:
    """Return the words of the table, without its elements."""
    table = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return " ".join(re.sub("<[^>]+>", " ", table).split())


class TestPage:
    def address(self, todays_world: World) -> str:
        return reverse("admin:scheduling_slot_fit", args=[todays_world.release.pk])

    def words(self, client: Client, todays_world: World) -> str:
        return " ".join(client.get(self.address(todays_world)).content.decode().split())

    def test_says_that_it_fits_and_when_it_would_end(self, todays_world: World, client: Client) -> None:
        todays_world.hubs(2)
        count_fleet(now=todays_world.clock())
        CapacityPattern.objects.bulk_create(
            CapacityPattern(
                network=todays_world.network, weekday=day, starts="02:00", ends="03:00", capacity=1
            )
            for day in Weekday
        )
        client.force_login(todays_world.staff)

        of_patterns = self.words(client, todays_world)
        slots.open_slots(now=todays_world.clock())

        assert "It fits: 2 hubs would be done by" in of_patterns
        assert "done by" in cells(of_patterns)
        assert "<svg" in of_patterns
        assert result(self.words(client, todays_world)) == result(of_patterns)

    def test_says_where_it_is_short(self, todays_world: World, client: Client) -> None:
        todays_world.hubs(3)
        count_fleet(now=todays_world.clock())
        todays_world.slot(start=timedelta(hours=5), room=1)
        client.force_login(todays_world.staff)

        shown = self.words(client, todays_world)

        assert "It does not fit: 2 of 3 hubs would have no room." in shown
        assert "short of 2; 2 even with the reserve" in cells(shown)
        assert ">Short of 2</text>" in shown

    def test_names_suppliers_whose_windows_leave_too_little_of_a_period_that_came_later(
        self, todays_world: World, client: Client
    ) -> None:
        todays_world.protect(start=timedelta(hours=1), length=timedelta(days=20))  # a third of sixty days
        client.force_login(todays_world.staff)
        assert "leave too little" not in self.words(client, todays_world)

        todays_world.release.periods.update(end_at=todays_world.clock() + timedelta(days=25))
        shown = self.words(client, todays_world)

        assert "Protected windows that leave too little" in shown
        assert '<th scope="row">Northern</th> <td>North</td> <td>80 % of the period</td>' in shown

    def test_is_linked_from_the_release_before_it_is_published(
        self, todays_world: World, client: Client
    ) -> None:
        draft = factories.RolloutPolicyFactory.create().release
        client.force_login(todays_world.staff)

        desk = client.get(reverse("admin:firmware_firmwarerelease_change", args=[draft.pk])).content.decode()
        address = reverse("admin:scheduling_slot_fit", args=[draft.pk])

        assert f'href="{address}"' in desk
        assert "no availability period yet" in client.get(address).content.decode()

    def test_asks_the_same_questions_for_one_network_or_many(
        self, todays_world: World, client: Client
    ) -> None:
        client.force_login(todays_world.staff)
        few = queries_of(client, self.address(todays_world))
        period = todays_world.release.periods.get()
        for code in ("south", "central"):
            network = factories.NetworkFactory.create(code=code)
            todays_world.release.periods.create(
                network=network, start_at=period.start_at, end_at=period.end_at
            )
            for hours in (5, 6):
                at = todays_world.clock() + timedelta(hours=hours)
                Slot.objects.create(network=network, start_at=at, end_at=at + timedelta(hours=1), capacity=2)

        many = queries_of(client, self.address(todays_world))

        assert len(few) == len(many), "\n".join(many)

    def test_is_not_there_for_a_supplier_nor_for_a_stranger(
        self, todays_world: World, client: Client
    ) -> None:
        southern = User.objects.create_user(
            email="person@southern.example.com", supplier=todays_world.southern
        )
        assert client.get(self.address(todays_world)).status_code == 302
        for person in (todays_world.person, southern):
            client.force_login(person)
            assert client.get(self.address(todays_world)).status_code == 404
            assert client.post(self.address(todays_world)).status_code == 404

    def test_is_refused_to_staff_who_may_not_see_slots(self, todays_world: World, client: Client) -> None:
        client.force_login(User.objects.create_user(email="clerk@dcc.example.com", is_staff=True))

        assert client.get(self.address(todays_world)).status_code == 403

    def test_does_not_exist_for_an_unknown_release(self, todays_world: World, client: Client) -> None:
        client.force_login(todays_world.staff)

        assert client.get(reverse("admin:scheduling_slot_fit", args=[10**6])).status_code == 404
