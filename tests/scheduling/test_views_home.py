"""The first page: what needs somebody, in numbers, and always the same few questions."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from firmware.models import AvailabilityPeriod, Part
from firmware.operations import decisions
from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, HubStatus
from hubs.operations import count_fleet
from portal.ground.uk_time import LONDON
from scheduling.models import Booking, Deployment
from scheduling.operations import bookings, tallies
from scheduling.queries import standings
from scheduling.views.wording import time_left
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.world import World, in_no_stage


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

        assert "<strong>3 hubs to book</strong> for Spring release by <time" in page
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

    def test_says_which_part_of_a_release_is_halted(self, todays_world: World, client: Client) -> None:
        todays_world.hubs(1)
        count_fleet(now=todays_world.clock())
        part = Part(model=todays_world.model)
        decisions.halt(
            release=todays_world.release,
            by=todays_world.staff,
            reason="Odd.",
            now=todays_world.clock(),
            part=part,
        )

        page = home(client, todays_world)

        assert f"<strong>Halted for {part}.</strong> The rest goes on." in page

    def test_says_until_when_the_hubs_left_can_be_booked(self, todays_world: World, client: Client) -> None:
        todays_world.hubs(3)
        slot = todays_world.slot(start=timedelta(days=3), room=1)
        count_fleet(now=todays_world.clock())

        page = home(client, todays_world)

        until = (slot.start_at - timedelta(hours=1)).astimezone(LONDON)  # the cut-off of the last slot
        assert f"{until:%a %-d %b %Y, %H:%M}" in page.split("3 hubs to book")[1].split("</li>")[0]

    def test_names_the_networks_where_they_differ_in_that(self, todays_world: World, client: Client) -> None:
        other = factories.NetworkProfileFactory.create(network__code="south").network
        AvailabilityPeriod.objects.create(
            release=todays_world.release,
            network=other,
            start_at=todays_world.clock(),
            end_at=todays_world.clock() + timedelta(days=20),
        )
        full = factories.NetworkProfileFactory.create(network__code="full").network
        AvailabilityPeriod.objects.create(
            release=todays_world.release,
            network=full,
            start_at=todays_world.clock(),
            end_at=todays_world.clock() + timedelta(days=10),
        )
        hubs = todays_world.hubs(3)
        CommunicationsHub.objects.filter(pk=hubs[0].pk).update(network=other)
        count_fleet(now=todays_world.clock())

        line = home(client, todays_world).split("3 hubs to book")[1].split("</li>")[0]

        assert line.index(f"on {other.name} by") < line.index(f"on {todays_world.network.name} by")
        assert full.name not in line

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
        # networks of these; counts, versions, own and national lots, tallies; deadlines; exemptions; troubles; the
        # latest bookings, the next slots, the latest bookings' progress; questions to answer, for page and menu;
        # proposals; how the releases fare, and which parts of them are halted; the first steps
        many = queries_of(client, address)
        assert len(many) == len(few) == 28, "\n".join(many)
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


class TestTroubles:
    @pytest.fixture
    def missed(self, todays_world: World) -> Booking:
        """Four hubs of one booking: two missed, one failed, one done; room for four more in two days."""
        todays_world.hubs(4)
        todays_world.slot(start=timedelta(hours=5), room=4)
        todays_world.slot(start=timedelta(days=2), room=4)
        count_fleet(now=todays_world.clock())
        booking = todays_world.book()
        todays_world.clock.move(hours=7)
        self.end(todays_world, booking, ["missed", "missed", "failed", "succeeded"])
        return booking

    def end(self, world: World, booking: Booking, states: list[str]) -> None:
        """Let the hubs of a booking end so, in the order of their ids."""
        lots = [lot.pk for lot in booking.lots.all()]
        first, last = lots[0] * 2_048, lots[-1] * 2_048 + 2_047
        hubs = list(Deployment.objects.filter(pk__range=(first, last), ended_at=None).order_by("pk"))
        for deployment, state in zip(hubs, states, strict=True):
            for step in {"missed": [], "failed": ["staging"]}.get(state, ["staging", "staged", "activating"]):
                with in_no_stage():
                    Deployment.objects.filter(pk=deployment.pk).update(state=step)
            Deployment.objects.filter(pk=deployment.pk).update(
                state=state, ended_at=world.clock(), next_at=None
            )
            if state == "succeeded":
                CommunicationsHub.objects.filter(pk=deployment.hub_id).update(
                    installed_version=world.release.version
                )
        tallies.count_fleet(now=world.clock())

    def rebook(self, world: World, *hubs: int) -> Booking:
        world.clock.move(minutes=1)
        booking = world.book(world.choose_ids("\n".join(format_eui64(hub) for hub in hubs)))
        tallies.count_fleet(now=world.clock())
        return booking

    def hubs_of(self, booking: Booking, state: str) -> list[int]:
        lots = booking.lots.values_list("pk", flat=True)
        return [
            deployment.hub_id
            for deployment in Deployment.objects.filter(state=state).order_by("pk")
            if deployment.lot_id in lots
        ]

    def troubles(self, world: World, limit: int = 5) -> dict[str, dict[str, int]]:
        shown = standings.standings(
            supplier=world.northern,
            releases_shown=standings.with_facts(type(world.release).objects.all()),
        )
        found, total = standings.troubles(supplier=world.northern, shown=shown, limit=limit)
        assert total >= len(found)
        return {
            trouble.booking.reference: {str(state): hubs for state, hubs in trouble.counts}
            for trouble in found
        }

    def test_are_the_hubs_that_ended_badly(self, missed: Booking, todays_world: World) -> None:
        assert self.troubles(todays_world) == {missed.reference: {"failed": 1, "missed": 2}}

    def test_leave_out_hubs_that_were_booked_again(self, missed: Booking, todays_world: World) -> None:
        self.rebook(todays_world, self.hubs_of(missed, "missed")[0])
        assert self.troubles(todays_world) == {missed.reference: {"failed": 1, "missed": 1}}

    def test_are_none_when_all_were_booked_again(self, missed: Booking, todays_world: World) -> None:
        self.rebook(todays_world, *self.hubs_of(missed, "missed"), *self.hubs_of(missed, "failed"))
        assert self.troubles(todays_world) == {}

    def test_are_told_by_the_last_booking_of_a_hub_alone(self, missed: Booking, todays_world: World) -> None:
        again = self.rebook(todays_world, *self.hubs_of(missed, "missed"))
        todays_world.clock.move(days=3)
        self.end(todays_world, again, ["missed", "succeeded"])
        assert self.troubles(todays_world) == {
            missed.reference: {"failed": 1},
            again.reference: {"missed": 1},
        }

    def test_come_back_when_the_new_booking_is_cancelled(self, missed: Booking, todays_world: World) -> None:
        again = self.rebook(todays_world, *self.hubs_of(missed, "missed"))
        bookings.cancel(booking=again, by=todays_world.person, reason="", now=todays_world.clock())
        assert self.troubles(todays_world) == {missed.reference: {"failed": 1, "missed": 2}}

    def test_are_not_taken_for_booked_again_by_a_booking_of_other_hubs(
        self, missed: Booking, todays_world: World
    ) -> None:
        [other] = todays_world.hubs(1)
        self.rebook(todays_world, other.pk)
        assert self.troubles(todays_world) == {missed.reference: {"failed": 1, "missed": 2}}

    def test_count_no_more_as_missed_than_are_left_where_too_many_were_booked_since(
        self, missed: Booking, todays_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(standings, "MOST_BOOKED_AGAIN", 0)
        self.rebook(todays_world, *self.hubs_of(missed, "missed"))
        # one hub is left, the failed one
        assert self.troubles(todays_world) == {missed.reference: {"failed": 1, "missed": 1}}
        self.rebook(todays_world, *self.hubs_of(missed, "failed"))
        assert self.troubles(todays_world) == {missed.reference: {"failed": 1}}

    def test_leave_the_home_page_when_booked_again(
        self, missed: Booking, todays_world: World, client: Client
    ) -> None:
        assert f"in {missed.reference}" in home(client, todays_world)
        self.rebook(todays_world, *self.hubs_of(missed, "missed"), *self.hubs_of(missed, "failed"))
        assert "Nothing waits for you." in home(client, todays_world)


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
