"""Tests of the geometry of pictures."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import pictures
from portal.pictures import LEAST_WIDTH

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
