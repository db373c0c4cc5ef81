"""Hubs to slots, as rules."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduling.planning import Placement, Room, as_early_as_possible, lots

DAY = datetime(2026, 3, 29, tzinfo=UTC)


def room(number: int, places: int) -> Room:
    """Return a slot that begins so many hours into the day."""
    start = DAY + timedelta(hours=number)
    return Room(slot=number, network=1, start_at=start, end_at=start + timedelta(hours=1), room=places)


ROOMS = st.lists(st.integers(0, 50), max_size=20).map(
    lambda places: [room(number, place) for number, place in enumerate(places)]
)


class TestAsEarlyAsPossible:
    @given(ROOMS, st.integers(0, 600))
    def test_places_all_that_there_is_room_for_and_never_more_than_a_slot_takes(
        self, rooms: list[Room], hubs: int
    ) -> None:
        placements = as_early_as_possible(rooms=reversed(rooms), hubs=hubs)

        assert sum(placement.hubs for placement in placements) == min(hubs, sum(room.room for room in rooms))
        for placement in placements:
            assert 0 < placement.hubs <= rooms[placement.slot].room

    @given(ROOMS, st.integers(1, 600))
    def test_leaves_no_room_in_an_earlier_slot(self, rooms: list[Room], hubs: int) -> None:
        placed = {p.slot: p.hubs for p in as_early_as_possible(rooms=rooms, hubs=hubs)}
        for slot in rooms[: max(placed, default=0)]:
            assert placed.get(slot.slot, 0) == slot.room


class TestLots:
    @given(st.lists(st.integers(1, 5_000), max_size=5), st.integers(1, 1_000))
    def test_cut_every_placement_evenly_and_lose_no_hub(self, sizes: list[int], size: int) -> None:
        placements = [
            Placement(number, 1, DAY, DAY + timedelta(hours=1), hubs) for number, hubs in enumerate(sizes)
        ]
        cut = lots(placements=placements, size=size)
        for placement in placements:
            parts = [part for of, part in cut if of is placement]
            assert sum(parts) == placement.hubs
            assert max(parts) <= size
            assert max(parts) - min(parts) <= 1
