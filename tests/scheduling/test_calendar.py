"""Weekly spans by the UK wall clock, and how much of a period spans cover."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.ground.uk_time import LONDON
from scheduling import calendar
from scheduling.calendar import Weekly

SPRING = datetime(2026, 3, 29, tzinfo=UTC)
"""The clocks go forward at 01:00 UTC, from 01:00 to 02:00."""
AUTUMN = datetime(2026, 10, 25, tzinfo=UTC)
"""The clocks go back at 01:00 UTC, from 02:00 to 01:00."""
DAY = timedelta(days=1)
HALF_HOUR = timedelta(minutes=30)
EVERY_DAY = range(7)


def utc(day: datetime, hour: int, minute: int = 0) -> datetime:
    return day.replace(hour=hour, minute=minute)


class TestWeekly:
    def test_runs_over_midnight(self) -> None:
        winter = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday

        spans = Weekly([0], time(18), time(11)).spans(start=winter, end=winter + 8 * DAY)

        assert spans == [
            (utc(winter, 18), utc(winter + DAY, 11)),
            (utc(winter + 7 * DAY, 18), utc(winter + 8 * DAY, 11)),
        ]

    def test_of_the_same_hour_lasts_a_whole_day(self) -> None:
        winter = datetime(2026, 1, 5, tzinfo=UTC)

        [(start, end)] = Weekly([0], time(), time()).spans(start=winter, end=winter + DAY)

        assert end - start == DAY

    def test_touches_a_period_that_begins_in_its_middle(self) -> None:
        winter = datetime(2026, 1, 6, tzinfo=UTC)  # the Tuesday after

        assert Weekly([0], time(18), time(11)).spans(start=utc(winter, 3), end=utc(winter, 4)) == [
            (utc(winter - DAY, 18), utc(winter, 11))
        ]
        assert Weekly([0], time(18), time(11)).spans(start=utc(winter, 11), end=utc(winter, 12)) == []

    def test_keeps_to_its_days(self) -> None:
        winter = datetime(2026, 1, 5, tzinfo=UTC)
        weekly = Weekly(EVERY_DAY, time(1), time(2), first=date(2026, 1, 6), last=date(2026, 1, 7))

        spans = weekly.spans(start=winter, end=winter + 30 * DAY)

        assert [start for start, _ in spans] == [utc(winter + DAY, 1), utc(winter + 2 * DAY, 1)]

    @pytest.mark.parametrize(
        ("day", "starts", "ends", "opens", "closes"),
        [
            # 01:30 does not exist in the spring night: the clocks' change stands for it
            (SPRING, time(1, 30), time(3), (1, 0), (2, 0)),
            (SPRING, time(0, 30), time(1, 30), (0, 30), (1, 0)),
            # 01:30 exists twice in the autumn night: from the first to the last
            (AUTUMN, time(1, 30), time(3), (0, 30), (3, 0)),
            (AUTUMN, time(0, 30), time(1, 30), (23, 30), (1, 30)),
        ],
    )
    def test_never_shrinks_where_the_clocks_change(
        self, day: datetime, starts: time, ends: time, opens: tuple[int, int], closes: tuple[int, int]
    ) -> None:
        [(start, end)] = Weekly([6], starts, ends).spans(start=day - timedelta(hours=1), end=day + DAY)

        assert (start.hour, start.minute) == opens
        assert (end.hour, end.minute) == closes

    def test_of_nothing_but_the_left_out_hour_is_not_there(self) -> None:
        assert Weekly([6], time(1), time(2)).spans(start=SPRING, end=SPRING + DAY) == []

    @given(
        night=st.sampled_from([SPRING, AUTUMN]),
        starts=st.times().map(lambda at: at.replace(second=0, microsecond=0)),
        ends=st.times().map(lambda at: at.replace(second=0, microsecond=0)),
        weekdays=st.sets(st.integers(0, 6), min_size=1),
        minutes=st.integers(-2 * 1440, 2 * 1440),
    )
    def test_holds_every_moment_whose_wall_clock_lies_in_it_and_no_other(
        self, night: datetime, starts: time, ends: time, weekdays: set[int], minutes: int
    ) -> None:
        """Asked minute by minute, by the wall clock alone; a repeated hour is in whole where the span cuts it."""
        moment = night + timedelta(minutes=minutes)
        spans = Weekly(weekdays, starts, ends).spans(start=moment, end=moment + timedelta(minutes=1))
        local = moment.astimezone(LONDON)
        twice = local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()
        at, day = local.time(), local.weekday()
        if starts < ends:
            inside = day in weekdays and starts <= at < ends
        else:
            inside = (day in weekdays and at >= starts) or ((day - 1) % 7 in weekdays and at < ends)

        protected = any(opens <= moment < closes for opens, closes in spans)

        if twice:  # a span that begins or ends in the repeated hour reaches from its first pass to its last
            assert protected >= inside
        else:
            assert protected == inside


class TestMerged:
    def test_joins_what_overlaps_or_touches(self) -> None:
        day = AUTUMN
        spans = [(utc(day, 3), utc(day, 4)), (utc(day, 1), utc(day, 2)), (utc(day, 2), utc(day, 3))]

        assert calendar.merged(spans=[*spans, (utc(day, 6), utc(day, 7))]) == [
            (utc(day, 1), utc(day, 4)),
            (utc(day, 6), utc(day, 7)),
        ]


class TestOverlap:
    @given(
        spans=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), max_size=6),
        start=st.integers(0, 25),
        length=st.integers(1, 5),
    )
    def test_agrees_with_asking_every_span(
        self, spans: list[tuple[int, int]], start: int, length: int
    ) -> None:
        def at(hour: int) -> datetime:
            return AUTUMN + timedelta(hours=hour)

        real = [(at(opens), at(opens + lasts)) for opens, lasts in spans]

        found = calendar.overlap(spans=calendar.merged(spans=real), start=at(start), end=at(start + length))

        assert found == any(opens < at(start + length) and closes > at(start) for opens, closes in real)


class TestCovered:
    def test_counts_every_hour_once_and_only_within(self) -> None:
        day = AUTUMN
        spans = [(utc(day, 1), utc(day, 4)), (utc(day, 2), utc(day, 5)), (utc(day, 9), utc(day, 12))]

        assert calendar.covered(spans=spans, start=utc(day, 2), end=utc(day, 10)) == timedelta(hours=4)


class TestCover:
    @given(
        st.lists(
            st.lists(st.tuples(st.integers(-10, 60), st.integers(1, 20)), max_size=4).map(
                lambda spans: [
                    (SPRING + begin * HALF_HOUR, SPRING + (begin + length) * HALF_HOUR)
                    for begin, length in spans
                ]
            ),
            max_size=12,
        )
    )
    def test_is_what_all_spans_cover_together(self, groups: list[list[calendar.Span]]) -> None:
        period = {"start": SPRING, "end": SPRING + DAY}
        cover = calendar.Cover(**period)
        together: list[calendar.Span] = []

        for spans in groups:
            together += spans
            foretold = cover.with_more(spans=spans)
            cover.add(spans=spans)
            assert foretold == cover.total == calendar.covered(spans=together, **period)
