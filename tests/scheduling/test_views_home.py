"""The first page: what needs somebody, in numbers, and always the same few questions."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from firmware.operations import decisions
from hubs.models import HubStatus
from hubs.operations import count_fleet
from scheduling.models import Deployment
from scheduling.operations import tallies
from scheduling.queries import standings
from scheduling.views.wording import time_left
from tests.scheduling import world as worlds
from tests.scheduling.world import World


def home(client: Client, world: World) -> str:
    client.force_login(world.person)
    return " ".join(client.get(reverse("scheduling:home")).content.decode().split())


def queries_of(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in captured.captured_queries]


class TestHome:
    def test_says_what_is_left_to_book_and_how_long(self, todays_world: World, client: Client) -> None:
        todays_world.hubs(3)
        count_fleet(now=todays_world.clock())

        page = home(client, todays_world)

        assert "<strong>3 hubs to book</strong> for Spring release, 59 days left" in page
        assert "Book 3 hubs" in page

    def test_counts_neither_foreign_hubs_nor_booked_ones_as_left(
        self, todays_world: World, client: Client
    ) -> None:
        todays_world.hubs(3)
        todays_world.hubs(5, supplier=todays_world.southern)
        todays_world.slot(start=timedelta(hours=5), room=2)
        todays_world.book()
        count_fleet(now=todays_world.clock())

        page = home(client, todays_world)

        assert "<strong>1 hub to book</strong>" in page
        assert "In Great Britain 2 hubs are booked, 0 of them have ended." in page

    def test_names_the_bookings_whose_hubs_ended_badly(self, todays_world: World, client: Client) -> None:
        todays_world.hubs(2)
        count_fleet(now=todays_world.clock())
        todays_world.slot(start=timedelta(hours=5), room=2)
        booking = todays_world.book()
        Deployment.objects.update(state="missed", ended_at=timezone.now(), next_at=None)

        page = home(client, todays_world)

        assert f"<strong>2 hubs missed</strong> in {booking.reference}, Spring release" in page

    def test_says_that_a_halted_release_takes_no_booking(self, todays_world: World, client: Client) -> None:
        todays_world.hubs(1)
        count_fleet(now=todays_world.clock())
        decisions.halt(
            release=todays_world.release, by=todays_world.staff, reason="Silence.", now=todays_world.clock()
        )

        page = home(client, todays_world)

        assert "Halted: nothing can be booked now." in page
        assert "Nothing waits for you." in page

    def test_asks_the_same_questions_however_much_there_is(self, todays_world: World, client: Client) -> None:
        todays_world.hubs(2)
        todays_world.slot(start=timedelta(hours=5), room=20)
        count_fleet(now=todays_world.clock())
        todays_world.book()
        client.force_login(todays_world.person)
        address = reverse("scheduling:home")
        few = queries_of(client, address)
        worlds.publish(
            model=todays_world.model,
            network=todays_world.network,
            staff=todays_world.staff,
            approver=todays_world.approver,
            now=todays_world.clock(),
            version=0x01000003,
        )
        for _ in range(3):
            todays_world.hubs(2)
            todays_world.book()
        count_fleet(now=todays_world.clock())

        # session, user, Supplier, clock; releases and their models, predecessors, versions of these, periods,
        # networks of these; counts, versions, own and national lots, tallies; troubles and their bookings; the latest
        # bookings, the next slots, the latest bookings' progress
        many = queries_of(client, address)
        assert len(many) == len(few) == 19, "\n".join(many)
        assert not [query for query in many if "hubs_communicationshub" in query]


class TestStandings:
    @pytest.fixture
    def counted(self, todays_world: World) -> World:
        """Four eligible hubs, two of them booked, and two that the release is not for."""
        todays_world.hubs(3)
        todays_world.hubs(1, status=HubStatus.SUSPENDED)
        todays_world.hubs(1, status=HubStatus.RECOVERY)
        todays_world.hubs(1, hardware_version=-1)
        todays_world.slot(start=timedelta(hours=5), room=2)
        todays_world.book()
        tallies.count_fleet(now=todays_world.clock())
        return todays_world

    def standing(self, world: World) -> standings.Standing:
        releases = type(world.release).objects.all()
        [standing] = standings.standings(
            supplier=world.northern, releases_shown=standings.with_facts(releases)
        )
        return standing

    def test_divide_the_hubs_into_booked_left_and_done(self, counted: World) -> None:
        standing = self.standing(counted)
        assert (standing.booked, standing.left, standing.done, standing.total) == (2, 2, 0, 4)

    def test_do_not_wait_for_the_next_count_to_know_what_is_done(self, counted: World) -> None:
        counted.clock.move(hours=5)
        counted.work()
        expected = (0, 2, 2, 4)
        standing = self.standing(counted)
        assert (standing.booked, standing.left, standing.done, standing.total) == expected

        tallies.count_fleet(now=counted.clock())
        standing = self.standing(counted)
        assert (standing.booked, standing.left, standing.done, standing.total) == expected


class TestTimeLeft:
    @pytest.mark.parametrize(
        ("span", "words"),
        [
            (timedelta(days=3, hours=5), "3 days left"),
            (timedelta(hours=30), "30 hours left"),
            (timedelta(minutes=90), "90 minutes left"),
            (timedelta(seconds=61), "1 minute left"),
            (timedelta(seconds=1), "1 minute left"),
            (timedelta(), "over"),
        ],
    )
    def test_speaks_in_the_largest_unit_that_says_enough(
        self, span: timedelta, words: str, todays_world: World
    ) -> None:
        now = todays_world.clock()

        assert time_left(until=now + span, now=now) == words
