"""The week of windows: where its picture draws each span, and what its table says."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from hubs.operations import count_fleet
from scheduling.models import Incident, Maintenance
from scheduling.queries import weeks
from scheduling.queries.weeks import Entry, Sort
from scheduling.views import weeks as pictures
from tests import factories
from tests.scheduling.world import World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TOP, HEIGHT = pictures.TOP, pictures.HEIGHT
AUTUMN = date(2026, 10, 19)
"""A Monday; on its Sunday the clocks go back."""
SPRING = date(2026, 3, 23)
"""A Monday; on its Sunday the clocks go forward."""
PLAIN = date(2026, 1, 5)


def at(day: date, hour: int, minute: int = 0) -> datetime:
    """Return an instant by UTC."""
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


def entry(start: datetime, end: datetime | None, sort: Sort = Sort.HARD) -> Entry:
    return Entry(start, end, sort, "Tariff", "All our hubs", "April prices")


def draw(*entries: Entry, first: date = PLAIN) -> pictures.Week:
    return pictures.draw(first=first, entries=entries, today=first, edit=lambda one: "")


def hours(bar: pictures.Bar) -> tuple[float, float]:
    """Return in which rows of the picture a bar begins and ends."""
    return (bar.y - TOP) / HEIGHT, (bar.y + bar.height - TOP) / HEIGHT


class TestDraw:
    def test_puts_a_span_into_its_day_and_hours(self) -> None:
        [bar] = draw(entry(at(PLAIN + DAY, 2, 30), at(PLAIN + DAY, 5))).bars

        assert hours(bar) == (2.5, 5)
        assert bar.x == pictures.LEFT + pictures.COLUMN + 2

    def test_parts_a_span_at_midnight_and_at_the_ends_of_the_week(self) -> None:
        bars = draw(entry(at(PLAIN - DAY, 20), at(PLAIN + DAY, 3)), entry(at(PLAIN + 6 * DAY, 22), None)).bars

        assert [hours(bar) for bar in bars] == [(0, 24), (0, 3), (22, 24)]

    def test_gives_the_hour_that_comes_twice_two_rows(self) -> None:
        sunday = AUTUMN + 6 * DAY
        week = draw(
            entry(at(sunday, 0, 30), at(sunday, 1, 30)), entry(at(AUTUMN, 0), at(AUTUMN, 2)), first=AUTUMN
        )

        assert [mark.word for mark in week.hours[:4]] == ["00:00", "01:00", "01:00 again", "02:00"]
        # 01:30 BST to 01:30 GMT; on the Monday from 01:00 BST to 03:00 BST, past the row that it has not
        assert sorted(map(hours, week.bars)) == [(1, 4), (1.5, 2.5)]
        assert [len(column.left_out) for column in week.columns] == [1] * 6 + [0]

    def test_leaves_out_the_hour_that_does_not_come(self) -> None:
        sunday = SPRING + 6 * DAY
        week = draw(entry(at(sunday, 0), at(sunday, 2)), first=SPRING)

        assert [hours(bar) for bar in week.bars] == [(0, 3)]  # 00:00 GMT to 03:00 BST
        assert [column.left_out for column in week.columns] == [[]] * 6 + [[TOP + HEIGHT]]

    def test_puts_what_overlaps_side_by_side(self) -> None:
        spans = [(1, 4), (2, 3), (3, 5), (6, 7)]
        bars = draw(*(entry(at(PLAIN, start), at(PLAIN, end)) for start, end in spans)).bars

        places = [
            (hours(bar), round((bar.x - pictures.LEFT - 2) / 53), round(bar.width / 53)) for bar in bars
        ]
        assert places == [((1, 4), 0, 1), ((2, 3), 1, 1), ((3, 5), 1, 1), ((6, 7), 0, 2)]

    def test_says_how_much_it_had_no_room_for(self) -> None:
        week = draw(*(entry(at(PLAIN, 1), at(PLAIN, 2)) for _ in range(pictures.MOST_LANES + 2)))

        assert len(week.bars) == pictures.MOST_LANES
        assert (week.undrawn, week.columns[0].undrawn) == (2, 2)

    @pytest.mark.parametrize(
        ("sort", "words"),
        [
            (Sort.HARD, "■ Hard"),
            (Sort.SOFT, "□ Soft"),
            (Sort.MAINTENANCE, "× DCC"),
            (Sort.INCIDENT, "! DCC"),
        ],
    )
    def test_tells_each_sort_by_a_word_and_a_shape(self, sort: Sort, words: str) -> None:
        [bar] = draw(entry(at(PLAIN, 1), at(PLAIN, 5), sort)).bars

        assert [said for _, said in bar.words] == [words, "Tariff"]


class TestMonday:
    @pytest.mark.parametrize(
        ("asked", "monday"),
        [
            ("2026-10-25", AUTUMN),
            ("2026-10-19", AUTUMN),
            ("", PLAIN),
            ("soon", PLAIN),
            ("9999-12-31", date(2026, 12, 28)),
            ("0001-01-01", date(2025, 12, 29)),
        ],
    )
    def test_is_that_of_the_week_asked_for(self, asked: str, monday: date) -> None:
        bounds = {"first": date(2026, 1, 1), "last": date(2026, 12, 31)}

        assert pictures.monday(asked=asked, today=PLAIN + 2 * DAY, **bounds) == monday


class TestEntries:
    def test_are_own_windows_and_what_dcc_closes_on_own_networks(self, world: World) -> None:
        world.hubs(1)
        count_fleet(now=world.clock())
        elsewhere = factories.NetworkFactory.create(code="elsewhere", name="Elsewhere")
        start = world.clock()
        world.protect(start=HOUR, reason="Once")
        world.protect(weekdays=127, starts="20:00", ends="02:00", is_hard=False, reason="Weekly")
        world.protect(start=HOUR, supplier=world.southern, reason="Theirs")
        world.protect(start=-9 * DAY, reason="Past")
        for network in (world.network, elsewhere):
            Maintenance.objects.create(
                network=network, start_at=start + 2 * HOUR, end_at=start + 3 * HOUR, reason="Mast"
            )
        down = {"network": world.network, "opened_at": start - HOUR, "summary": "Down"}
        Incident.objects.create(category=2, **down)
        Incident.objects.create(category=3, **down)
        Incident.objects.create(category=1, closed_at=start - HOUR / 2, **down)
        Incident.objects.create(category=1, expected_end_at=start - HOUR / 2, **down)

        found = weeks.entries(supplier=world.northern, start=start, end=start + DAY)

        assert [(one.sort, one.reason, one.end_at) for one in found] == [
            (Sort.SOFT, "Weekly", at(AUTUMN + 6 * DAY, 2)),
            (Sort.INCIDENT, "Down", None),
            (Sort.HARD, "Once", start + 2 * HOUR),
            (Sort.MAINTENANCE, "Mast", start + 3 * HOUR),
            (Sort.SOFT, "Weekly", at(AUTUMN + 7 * DAY, 2)),
        ]

    def test_leave_out_weekly_ones_that_are_over_or_to_come(self, world: World) -> None:
        today = world.clock().date()
        weekly: dict[str, Any] = {"weekdays": 127, "starts": "03:00", "ends": "04:00"}
        world.protect(**weekly, valid_until=today - DAY)
        world.protect(**weekly, valid_from=today + 2 * DAY)

        assert weeks.entries(supplier=world.northern, start=world.clock(), end=world.clock() + DAY) == []


class TestWeek:
    @pytest.fixture
    def world(self, todays_world: World, client: Client) -> World:
        """A world whose northern person is signed in."""
        client.force_login(todays_world.person)
        return todays_world

    def test_shows_the_same_as_a_picture_and_as_a_table(self, world: World, client: Client) -> None:
        window = world.protect(start=HOUR, reason="April prices")
        Maintenance.objects.create(
            network=world.network, start_at=window.start_at, end_at=window.end_at, reason="Mast work"
        )

        assert window.start_at is not None
        response = client.get("/windows/week/", {"week": window.start_at.date()})

        page = " ".join(response.content.decode().split())
        picture, _, table = page.partition("The same as a table")
        for reason in ("April prices", "Mast work"):
            assert reason in picture
            assert reason in table
        assert f'href="/windows/{window.pk}/"' in picture
        assert f'href="/windows/{window.pk}/"' in table

    def test_leads_to_the_weeks_beside_it(self, world: World, client: Client) -> None:
        response = client.get("/windows/week/", {"week": "2026-10-21"})

        assert (response.context["before"], response.context["after"]) == (
            "?week=2026-10-12",
            "?week=2026-10-26",
        )
        assert "19 October to 25 October 2026" in " ".join(response.content.decode().split())
        assert "Nothing in this week" in response.content.decode()
