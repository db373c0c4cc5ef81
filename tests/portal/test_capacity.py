"""How full the networks are, as DCC reads it."""

import csv
import io
from datetime import UTC, date, datetime, timedelta

import pytest
from django.test import Client

from firmware.models import RolloutPolicy
from hubs.models import Network
from portal import capacity as desk
from portal.ground import clock
from scheduling.lifecycle import State
from scheduling.models import Slot
from scheduling.queries import capacity
from tests.scheduling import world as worlds
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.world import World

ADDRESS = "/admin/capacity/"


@pytest.fixture
def world(db: None) -> World:
    """Ten hubs are booked, three of them carried out; the release keeps three in ten places back."""
    world = worlds.make(now=clock.now())
    stage(world, 10)
    RolloutPolicy.objects.update(reserve_percent=30)
    Slot.objects.update(capacity=100)
    activate(3)
    end(2, world=world, state=State.SUCCEEDED)
    return world


def monday(moment: datetime) -> date:
    """Return the Monday of a moment's week, in Great Britain."""
    day = moment.astimezone(capacity.LONDON).date()
    return day - timedelta(days=day.weekday())


class TestWeeks:
    def test_say_what_is_kept_back_booked_and_used(self, world: World) -> None:
        [slot] = Slot.objects.all()

        [week], _ = capacity.weeks(first=monday(slot.start_at), number=1)

        assert (week.week, week.network, week.slots) == (monday(slot.start_at), world.network.name, 1)
        assert (week.capacity, week.reserve, week.booked, week.used) == (100, 30, 10, 3)
        assert (week.to_come, week.kept_back, week.free) == (7, 30, 60)

    def test_keep_nothing_back_where_no_release_may_be_deployed(self, world: World) -> None:
        slot = Slot.objects.get()
        Slot.objects.create(
            network=Network.objects.exclude(pk=world.network.pk).earliest("pk"),
            start_at=slot.start_at,
            end_at=slot.end_at,
            capacity=50,
        )

        found, _ = capacity.weeks(first=monday(slot.start_at), number=1)

        assert sorted((week.capacity, week.reserve, week.free) for week in found) == [
            (50, 0, 50),
            (100, 30, 60),
        ]

    def test_keep_back_no_more_than_is_left(self, world: World) -> None:
        Slot.objects.update(capacity=12)

        [week], _ = capacity.weeks(first=monday(Slot.objects.get().start_at), number=1)

        assert (week.reserve, week.kept_back, week.free) == (3, 2, 0)

    def test_begin_at_midnight_in_great_britain(self, world: World) -> None:
        before_midnight = datetime(2026, 7, 5, 22, 30, tzinfo=UTC)
        Slot.objects.update(start_at=before_midnight, end_at=before_midnight + timedelta(minutes=20))
        assert [week.week for week in capacity.weeks(first=date(2026, 6, 29), number=2)[0]] == [
            date(2026, 6, 29)
        ]

        Slot.objects.update(
            start_at=before_midnight + timedelta(minutes=30), end_at=before_midnight + timedelta(hours=2)
        )
        assert [week.week for week in capacity.weeks(first=date(2026, 6, 29), number=2)[0]] == [
            date(2026, 7, 6)
        ]
        assert capacity.weeks(first=date(2026, 6, 29), number=1) == ([], [])

    def test_say_who_booked(self, world: World) -> None:
        _, [one] = capacity.weeks(first=monday(Slot.objects.get().start_at), number=1)

        assert (one.supplier, one.network, one.booked, one.used) == ("Northern", world.network.name, 10, 3)


class TestPage:
    def test_draws_what_the_queries_say(self, world: World, client: Client) -> None:
        client.force_login(world.staff)

        page = " ".join(client.get(ADDRESS).content.decode().split())

        assert "Capacity by week" in page
        for number in (3, 7, 30, 60):
            assert f'<td data-value="{number}">' in page
        assert "Booked by each Supplier, by week" in page
        assert "Northern</th>" in page

    def test_names_the_largest_suppliers_and_puts_the_others_together(self) -> None:
        week = date(2026, 7, 6)
        booked = [
            capacity.BookedBy(week, "North", 1, f"Supplier {number:02}", number, 100 - number, 0)
            for number in range(12)
        ]

        chart = desk.shares_chart(booked, [week], "")

        assert chart
        assert [series.word for series in chart.series] == [
            *(f"Supplier {number:02}" for number in range(7)),
            "5 others",
        ]
        assert list(chart.rows[0].values) == [*range(100, 93, -1), sum(range(89, 94))]
        assert len({(series.colour, series.look) for series in chart.series}) == 8

    def test_says_what_would_be_here(self, world: World, client: Client) -> None:
        client.force_login(world.staff)

        page = client.get(f"{ADDRESS}?from=2001-01-01").content.decode()

        assert "No slot begins in these weeks" in page
        assert "chart.umd" not in page

    @pytest.mark.parametrize("asked", ["", "what", "0001-01-01", "9999-12-31", "2026-02-30"])
    def test_takes_any_week_that_one_asks_for(self, world: World, client: Client, asked: str) -> None:
        client.force_login(world.staff)
        assert client.get(ADDRESS, {"from": asked, "network": "what"}).status_code == 200

    def test_asks_a_fixed_number_of_questions(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        few = queries_of(client, ADDRESS)
        for number in range(5):
            world.slot(start=timedelta(days=1 + number), room=5)

        assert len(queries_of(client, ADDRESS)) == len(few)


class TestFiles:
    def test_have_the_same_numbers(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        week = monday(Slot.objects.get().start_at).isoformat()

        def rows(name: str) -> list[list[str]]:
            text = client.get(f"{ADDRESS}{name}.csv").getvalue().decode("utf-8-sig")  # type: ignore[attr-defined]
            return list(csv.reader(io.StringIO(text)))[1:]

        assert rows("weeks") == [[week, world.network.name, "1", "100", "30", "10", "3", "30", "60"]]
        assert rows("suppliers") == [[week, world.network.name, "Northern", "10", "3"]]
