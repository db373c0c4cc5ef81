"""Which hubs a first stage tries, as rules."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from scheduling.first_stage import Cell, Pick, choose

VALUES = st.tuples(*[st.integers(1, 4)] * 5)
CELLS = st.lists(
    st.builds(Cell, VALUES, st.integers(0, 5), st.integers(0, 30), st.integers(0, 3)),
    max_size=40,
    unique_by=lambda cell: cell.values,
)


def hubs(picks: Sequence[Pick]) -> int:
    return sum(pick.pilots + pick.others for pick in picks)


def shown(cells: Sequence[Cell], numbers: Sequence[int]) -> set[tuple[int, int]]:
    """Return the values, each with its dimension, of cells of which there is at least one hub."""
    return {
        value
        for cell, number in zip(cells, numbers, strict=True)
        if number
        for value in enumerate(cell.values)
    }


class TestChoose:
    @given(CELLS, st.integers(0, 200))
    def test_takes_no_more_than_there_are_and_all_that_there_is_room_for(
        self, cells: list[Cell], room: int
    ) -> None:
        picks = choose(cells=cells, room=room)

        assert all(
            pick.pilots <= cell.pilots and pick.others <= cell.others
            for cell, pick in zip(cells, picks, strict=True)
        )
        assert hubs(picks) == min(room, sum(cell.pilots + cell.others for cell in cells))

    @given(CELLS, st.integers(0, 60))
    def test_shows_something_new_with_each_hub_as_long_as_there_is_anything(
        self, cells: list[Cell], room: int
    ) -> None:
        picks = choose(cells=cells, room=room)

        before = shown(cells, [cell.taken for cell in cells])
        could = before | shown(cells, [cell.pilots + cell.others for cell in cells])
        now = before | shown(cells, [pick.pilots + pick.others for pick in picks])
        assert len(now) - len(before) >= min(room, len(could - before))

    @given(CELLS, st.integers(0, 200))
    def test_takes_pilots_before_others_once_everything_is_shown(self, cells: list[Cell], room: int) -> None:
        picks = choose(cells=cells, room=room)

        could = shown(cells, [cell.pilots + cell.others for cell in cells])
        shows = could - shown(cells, [cell.taken for cell in cells])
        others = sum(pick.others for pick in picks)
        pilots_left = sum(cell.pilots - pick.pilots for cell, pick in zip(cells, picks, strict=True))
        # another than a pilot is taken only for something that no hub before it shows
        assert not pilots_left or others <= len(shows)

    @given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.integers(0, 300))
    def test_is_even_as_far_as_there_are_hubs(self, numbers: list[int], room: int) -> None:
        cells = [Cell((place,), pilots=0, others=number) for place, number in enumerate(numbers)]

        taken = [pick.others for pick in choose(cells=cells, room=room)]

        most = max(taken)
        assert all(count >= most - 1 or count == number for count, number in zip(taken, numbers, strict=True))

    def test_weighs_what_is_in_the_stage_already(self) -> None:
        cells = [Cell((1, 1), 0, 10, taken=5), Cell((2, 2), 0, 10), Cell((3, 3), 0, 10)]

        assert choose(cells=cells, room=2) == [Pick(), Pick(others=1), Pick(others=1)]
        assert choose(cells=cells, room=10) == [Pick(), Pick(others=5), Pick(others=5)]

    def test_stays_even_where_there_are_very_many_kinds_of_hubs(self) -> None:
        cells = [
            Cell((network, hardware, version, mode, supplier), pilots=1, others=9)
            for network in range(4)
            for hardware in range(5)
            for version in range(5)
            for mode in range(2)
            for supplier in range(60)
        ]

        picks = choose(cells=cells, room=120)

        of_supplier = Counter[int]()
        for cell, pick in zip(cells, picks, strict=True):
            of_supplier[cell.values[4]] += pick.pilots + pick.others
        assert set(of_supplier.values()) == {2}
