"""Tests of the geometry of pictures."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import pictures
from portal.pictures import APART, BOTTOM, COURSE_LEFT, COURSE_TOP, LEAST_WIDTH, RIGHT, TOP, course

COUNTS = st.dictionaries(
    st.sampled_from(["booked", "staged", "succeeded", "failed"]), st.integers(0, 40_000_000)
)


class TestBar:
    @given(COUNTS)
    def test_fills_the_width_without_gap_or_overlap(self, counts: Mapping[str, int]) -> None:
        parts = pictures.bar(counts)

        edge = 0.0
        for part in parts:
            assert part.x == pytest.approx(edge, abs=0.01)
            edge = part.x + part.width
        assert edge == pytest.approx(100 if parts else 0, abs=0.01)

    @given(COUNTS)
    def test_leaves_nothing_out_but_zeros(self, counts: Mapping[str, int]) -> None:
        assert {part.state: part.count for part in pictures.bar(counts)} == {
            state: count for state, count in counts.items() if count
        }

    def test_keeps_three_failures_in_millions_visible(self) -> None:
        _, failed = pictures.bar({"succeeded": 20_000_000, "failed": 3})

        assert failed.width > LEAST_WIDTH / 2
        assert failed.share == "under 0.1 %"

    def test_keeps_the_order_given(self) -> None:
        assert [part.state for part in pictures.bar({"failed": 1, "booked": 2})] == ["failed", "booked"]


class TestShareOf:
    @pytest.mark.parametrize(
        ("count", "total", "words"),
        [
            (0, 10, "0 %"),
            (1, 3, "33.3 %"),
            (10, 10, "100 %"),
            (9_999_999, 10_000_000, "over 99.9 %"),
            (1, 10_000_000, "under 0.1 %"),
            (0, 0, "0 %"),
        ],
    )
    def test_never_rounds_something_away(self, count: int, total: int, words: str) -> None:
        assert pictures.share_of(count, total) == words


class TestLabelOf:
    def test_makes_a_word_of_a_name(self) -> None:
        assert pictures.label_of("not_reached") == "Not reached"


class TestShareOfLimit:
    @pytest.mark.parametrize(
        ("share", "words"),
        [
            (0.0, "0 % of the limit"),
            (0.0001, "under 1 % of the limit"),
            (0.125, "12 % of the limit"),
            (0.9999, "99 % of the limit"),
            (1.0, "beyond the limit"),
            (7.0, "beyond the limit"),
        ],
    )
    def test_says_all_of_it_only_where_it_is_reached(self, share: float, words: str) -> None:
        assert pictures.share_of_limit(share) == words


SINCE = datetime(2026, 10, 24, 22, tzinfo=UTC)
UNTIL = datetime(2026, 10, 25, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


class TestLines:
    def lines(self, **tracks: list[tuple[datetime, float]]) -> dict[str, pictures.Line]:
        return {line.letter: line for line in pictures.lines(tracks, since=SINCE, until=UNTIL)}

    def test_go_in_steps_from_the_first_share_to_the_end(self) -> None:
        line = self.lines(A=[(SINCE, 0.0), (SINCE + 4 * HOUR, 0.75)])["A"]

        assert line.corners == "52.0,216.0 370.0,216.0 370.0,114.0 688,114.0"
        assert line.y == line.mark_y == 114.0

    def test_stay_within_the_picture(self) -> None:
        line = self.lines(A=[(SINCE - HOUR, -3.0), (UNTIL + HOUR, 9.0)])["A"]

        assert line.corners == "52.0,216.0 688.0,216.0 688.0,12.0 688,12.0"

    def test_are_a_point_where_there_is_one_moment(self) -> None:
        [line] = pictures.lines({"A": [(SINCE, 1.0)]}, since=SINCE, until=SINCE)

        assert line.corners == "688.0,80.0 688,80.0"

    @given(st.lists(st.floats(0, 3), min_size=1, max_size=12))
    def test_have_marks_that_do_not_cover_each_other(self, shares: list[float]) -> None:
        tracks = {chr(ord("A") + place): [(SINCE, share)] for place, share in enumerate(shares)}

        marks = sorted(line.mark_y for line in self.lines(**tracks).values())

        assert all(after - before >= APART - 0.01 for before, after in pairwise(marks))
        assert marks[0] >= TOP - 0.01
        assert marks[-1] <= BOTTOM + 0.01


class TestTicks:
    def test_are_at_even_distances(self) -> None:
        assert pictures.ticks(since=SINCE, until=UNTIL, number=3) == [
            (52.0, SINCE),
            (370.0, SINCE + 4 * HOUR),
            (688.0, UNTIL),
        ]

    def test_are_one_where_there_is_one_moment(self) -> None:
        assert pictures.ticks(since=SINCE, until=SINCE) == [(688.0, SINCE)]


class TestCourse:
    POINTS = ((0.0, 0, 0), (0.1, 50, 1), (1.0, 550, 3), (2.0, 4_000, 60))

    def test_goes_in_steps_by_tens_from_the_first_day_to_the_last(self) -> None:
        found = course(points=self.POINTS, openings=((0.0, 1), (1.0, 2)), halted_at=2.0)

        corners = [tuple(map(float, corner.split(","))) for corner in found.commanded.split()]
        assert corners[0] == (COURSE_LEFT, BOTTOM)
        assert corners[-1] == (RIGHT, found.commanded_y)
        assert [x for x, _ in corners] == sorted(x for x, _ in corners)
        assert [words for _, words in found.marks] == ["0", "10", "100", "1,000", "10,000"]
        heights = [y for y, _ in found.marks]
        assert heights[0] == BOTTOM
        assert heights[-1] == COURSE_TOP
        assert COURSE_TOP < found.commanded_y < found.bad_y < BOTTOM
        assert found.halted_x == RIGHT

    def test_has_no_mark_of_a_stage_that_opens_right_after_another(self) -> None:
        openings = ((0.0, 1), (1.0, 2), (1.01, 3), (2.0, 4))
        found = course(points=self.POINTS, openings=openings, halted_at=None)
        assert [opened.words for opened in found.openings] == ["1", "2", "4"]
        assert found.halted_x is None

    @pytest.mark.parametrize(
        ("until", "words"),
        [
            (0.01, ["0 min", "4 min", "7 min", "11 min", "14 min"]),
            (1.0, ["0 h", "6 h", "12 h", "18 h", "24 h"]),
            (8.0, ["day 0", "day 2", "day 4", "day 6", "day 8"]),
        ],
    )
    def test_counts_time_in_what_fits(self, until: float, words: list[str]) -> None:
        found = course(points=((0.0, 0, 0), (until, 5, 1)), openings=(), halted_at=None)
        assert [each for _, each in found.ticks] == words

    def test_stays_within_the_picture_where_nothing_happened(self) -> None:
        found = course(points=((0.0, 0, 0),), openings=(), halted_at=None)
        assert found.commanded_y == found.bad_y == BOTTOM
