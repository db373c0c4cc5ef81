"""Hubs to slots, as rules."""

import itertools
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portal.ground.uk_time import LONDON
from scheduling.planning import (
    Hours,
    Nights,
    Placement,
    Room,
    as_early_as_possible,
    clear_of_windows,
    clear_slots,
    lots,
    nights_in_a_row,
    spread_evenly,
)

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


class TestSpreadEvenly:
    @given(ROOMS, st.integers(0, 600))
    def test_places_all_that_there_is_room_for_and_never_more_than_a_slot_takes(
        self, rooms: list[Room], hubs: int
    ) -> None:
        placements = spread_evenly(rooms=reversed(rooms), hubs=hubs)

        assert sum(placement.hubs for placement in placements) == min(hubs, sum(room.room for room in rooms))
        assert [p.slot for p in placements] == sorted({p.slot for p in placements})
        for placement in placements:
            assert 0 < placement.hubs <= rooms[placement.slot].room

    @given(ROOMS, st.integers(0, 600))
    def test_gives_a_slot_with_room_to_spare_at_most_one_hub_less_than_any_other(
        self, rooms: list[Room], hubs: int
    ) -> None:
        placed = {p.slot: p.hubs for p in spread_evenly(rooms=rooms, hubs=hubs)}
        most = max(placed.values(), default=0)
        for slot in rooms:
            taken = placed.get(slot.slot, 0)
            assert taken == slot.room or taken >= most - 1

    @given(st.integers(1, 40), st.integers(1, 40))
    def test_lays_few_hubs_evenly_over_many_slots(self, slots: int, hubs: int) -> None:
        placed = spread_evenly(rooms=[room(number, 1_000) for number in range(slots)], hubs=hubs)
        if hubs <= slots:
            gaps = [later.slot - earlier.slot for earlier, later in itertools.pairwise(placed)]
            assert len(placed) == hubs
            assert max(gaps, default=0) - min(gaps, default=0) <= 1


SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)
"""The nights on which UK clocks change."""
DATES = st.sampled_from([SPRING, AUTUMN]).flatmap(
    lambda night: st.integers(-3, 3).map(lambda days: night + timedelta(days=days))
)
CLOCKS = st.builds(time, st.integers(0, 23), st.sampled_from([0, 5, 30, 45]))
HOURS = st.builds(
    lambda weekdays, opens, closes, one, other: Hours(
        tuple(sorted(weekdays)), opens, closes, min(one, other), max(one, other)
    ),
    st.sets(st.integers(0, 6), min_size=1),
    CLOCKS,
    CLOCKS,
    DATES,
    DATES,
)
STARTS = st.builds(
    lambda day, minutes: datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes),
    DATES,
    st.integers(0, 24 * 12).map(lambda number: 5 * number),
)
LENGTHS = st.integers(1, 8 * 12).map(lambda number: timedelta(minutes=5 * number))


def inside(hours: Hours, moment: datetime) -> bool:
    """Say whether the wall clock shows a time within the hours."""
    wall = moment.astimezone(LONDON).time()
    if hours.opens < hours.closes:
        return hours.opens <= wall < hours.closes
    return hours.opens == hours.closes or wall >= hours.opens or wall < hours.closes


class TestHours:
    @given(HOURS, STARTS, LENGTHS)
    @example(  # the wall clock reads 01:30 at both ends, and 01:59 and 01:00 in between
        Hours((6,), time(1, 15), time(1, 45), AUTUMN, AUTUMN),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        timedelta(hours=1),
    )
    @example(  # the whole day goes on after midnight
        Hours((1,), time(0), time(0), date(2026, 11, 24), date(2026, 11, 24)),
        datetime(2026, 11, 24, 23, 30, tzinfo=UTC),
        timedelta(hours=1),
    )
    def test_hold_what_never_leaves_them_and_begins_on_their_days(
        self, hours: Hours, start_at: datetime, length: timedelta
    ) -> None:
        day = start_at.astimezone(LONDON).date()
        on_a_day = day.weekday() in hours.weekdays and hours.first_day <= day <= hours.last_day
        minutes = [
            start_at + timedelta(minutes=5 * number) for number in range(length // timedelta(minutes=5))
        ]
        within = all(inside(hours, minute) for minute in minutes)

        assert hours.hold(start_at=start_at, end_at=start_at + length) is (on_a_day and within)

    @given(HOURS, STARTS, LENGTHS)
    def test_bound_every_slot_that_they_hold(
        self, hours: Hours, start_at: datetime, length: timedelta
    ) -> None:
        first, end = hours.bounds
        if hours.hold(start_at=start_at, end_at=start_at + length):
            assert first <= start_at < end

    @pytest.mark.parametrize(("night", "held"), [(SPRING, [0, 2]), (AUTUMN, [0, 1, 1, 2])])
    def test_have_an_hour_less_or_more_when_the_clocks_change(self, night: date, held: list[int]) -> None:
        hours = Hours((6,), time(0), time(3), night, night)
        begin = hours.bounds[0]
        starts = [begin + timedelta(hours=number) for number in range(24)]

        found = [start for start in starts if hours.hold(start_at=start, end_at=start + timedelta(hours=1))]

        assert [start.astimezone(LONDON).hour for start in found] == held

    @pytest.mark.parametrize(
        ("start", "weekdays", "held"),
        [
            (datetime(2026, 11, 24, 23, tzinfo=UTC), (1,), True),
            (datetime(2026, 11, 25, 1, tzinfo=UTC), (1,), False),
            (datetime(2026, 11, 25, 1, tzinfo=UTC), (2,), True),
            (datetime(2026, 11, 25, 4, 30, tzinfo=UTC), (2,), False),
        ],
    )
    def test_reach_over_midnight_on_the_days_on_which_slots_begin(
        self, start: datetime, weekdays: tuple[int, ...], held: bool
    ) -> None:
        hours = Hours(weekdays, time(22), time(5), date(2026, 11, 24), date(2026, 11, 27))

        assert hours.hold(start_at=start, end_at=start + timedelta(hours=1)) is held


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


def flow(rooms: Mapping[int, int], groups: Mapping[int, int], clear: Mapping[int, set[int]]) -> int:
    """Return how many hubs can be placed at most: by Hall's theorem, the least cut over all sets of groups."""
    names = list(groups)
    return min(
        sum(groups[name] for name in names if name not in chosen)
        + sum(room for slot, room in rooms.items() if any(slot in clear[name] for name in chosen))
        for size in range(len(names) + 1)
        for chosen in itertools.combinations(names, size)
    )


class TestClearOfWindows:
    @given(
        rooms=st.lists(st.integers(0, 4), min_size=1, max_size=5),
        groups=st.dictionaries(st.integers(0, 3), st.integers(1, 6), min_size=1),
        shut=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 4))),
    )
    def test_places_as_many_as_can_be_and_none_in_its_windows(
        self, rooms: list[int], groups: dict[int, int], shut: set[tuple[int, int]]
    ) -> None:
        offered = [room(slot, places) for slot, places in enumerate(rooms)]
        clear = {group: {slot for slot in range(len(rooms)) if (group, slot) not in shut} for group in groups}

        placed = clear_of_windows(
            rooms=offered,
            groups=groups,
            clear=clear,
            plan=lambda rooms, hubs: as_early_as_possible(rooms=rooms, hubs=hubs),
        )

        taken: Counter[int] = Counter()
        went: Counter[int] = Counter()
        for placement in placed.placements:
            assert placement.hubs > 0
            assert placement.slot in clear[placement.group]
            taken[placement.slot] += placement.hubs
            went[placement.group] += placement.hubs
        assert all(taken[slot] <= room for slot, room in enumerate(rooms))
        assert all(went[group] <= hubs for group, hubs in groups.items())
        assert sum(went.values()) == flow(dict(enumerate(rooms)), groups, clear)
        assert placed.protected == {
            group
            for group, hubs in groups.items()
            if went[group] < hubs
            and any(rooms[slot] > taken[slot] for slot in range(len(rooms)) if slot not in clear[group])
        }

    def test_moves_those_out_of_the_way_that_can_go_elsewhere(self) -> None:
        """Group 1 would take the first slot, and only one of group 2's could go; in truth all three can."""
        placed = clear_of_windows(
            rooms=[room(slot, 1) for slot in (1, 2, 3)],
            groups={1: 1, 2: 2},
            clear={1: {1, 2}, 2: {1, 3}},
            plan=lambda rooms, hubs: as_early_as_possible(rooms=rooms, hubs=hubs),
        )

        assert [(one.slot, one.group) for one in placed.placements] == [(1, 2), (2, 1), (3, 2)]
        assert placed.protected == frozenset()


class TestClearSlots:
    @given(
        starts=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 4)), max_size=8),
        spans=st.lists(st.tuples(st.integers(-2, 22), st.integers(1, 6)), max_size=4),
    )
    def test_are_those_that_share_no_moment_with_a_span(
        self, starts: list[tuple[int, int]], spans: list[tuple[int, int]]
    ) -> None:
        rooms = [
            Room(number, 1, DAY + start * timedelta(hours=1), DAY + (start + length) * timedelta(hours=1), 1)
            for number, (start, length) in enumerate(starts)
        ]
        closed = [
            (DAY + start * timedelta(hours=1), DAY + (start + length) * timedelta(hours=1))
            for start, length in spans
        ]

        assert clear_slots(rooms=rooms, closed=[closed, []]) == [
            {
                room.slot
                for room in rooms
                if not any(opens < room.end_at and closes > room.start_at for opens, closes in closed)
            },
            {room.slot for room in rooms},
        ]


class TestNightsInARow:
    MONDAY = date(2026, 3, 30)

    def rooms(self, *places: int) -> dict[date, dict[int, int]]:
        """Return so much room on one network, night after night; a night without any has no slot."""
        return {self.MONDAY + timedelta(days=day): {1: room} for day, room in enumerate(places) if room}

    def test_are_the_earliest_that_take_all(self) -> None:
        found = nights_in_a_row(rooms=self.rooms(1, 2, 3, 4, 5), needed={1: 9}, nights=3)

        assert found == Nights(self.MONDAY + timedelta(days=1), self.MONDAY + timedelta(days=3), 9)

    def test_are_those_that_take_the_most_where_none_take_all(self) -> None:
        found = nights_in_a_row(rooms=self.rooms(1, 0, 3, 4, 0, 5), needed={1: 90}, nights=3)

        assert found == Nights(self.MONDAY + timedelta(days=3), self.MONDAY + timedelta(days=5), 9)

    def test_count_no_more_room_on_a_network_than_its_hubs_need(self) -> None:
        rooms = {self.MONDAY: {1: 100}, self.MONDAY + timedelta(days=7): {1: 5, 2: 5}}

        found = nights_in_a_row(rooms=rooms, needed={1: 4, 2: 4}, nights=3)

        assert found == Nights(self.MONDAY + timedelta(days=7), self.MONDAY + timedelta(days=9), 8)

    def test_are_none_without_any_room(self) -> None:
        assert nights_in_a_row(rooms={}, needed={1: 4}, nights=3) is None
        assert nights_in_a_row(rooms=self.rooms(4), needed={2: 4}, nights=3) is None
