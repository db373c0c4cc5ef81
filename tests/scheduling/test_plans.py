"""Plans for groups of hubs: nobody over room, nobody in what it is closed for, and as many placed as can be."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduling import calendar
from scheduling.models import Booking
from scheduling.planning import Hours, Room
from scheduling.queries.guards import Group
from scheduling.queries.plans import Timing, place
from tests.scheduling.test_planning import flow

NIGHT = datetime(2026, 10, 25, tzinfo=UTC)
"""The clocks go back in it."""
HOUR = timedelta(hours=1)
SLOTS = 5


def spans(hours: list[tuple[int, int]]) -> tuple[calendar.Span, ...]:
    """Return spans of hours from the night on, merged."""
    return tuple(
        calendar.merged(
            spans=[(NIGHT + start * HOUR, NIGHT + (start + length) * HOUR) for start, length in hours]
        )
    )


# few different closures, so that groups share them, as those of different Suppliers do
CLOSURES = st.lists(st.tuples(st.integers(-1, SLOTS), st.integers(1, 3)), max_size=2).map(spans)
GROUPS = st.lists(
    st.tuples(st.integers(1, 2), st.sampled_from([None, 7, 8]), st.integers(1, 6), CLOSURES),
    min_size=1,
    max_size=6,
)
ROOMS = st.lists(st.integers(0, 5), min_size=2 * SLOTS, max_size=2 * SLOTS)
EVERY_HOUR = Hours(
    tuple(range(7)), NIGHT.time(), NIGHT.time(), NIGHT.date(), NIGHT.date() + timedelta(days=1)
)
TIMINGS = st.sampled_from([Timing(Booking.Plan.EARLIEST), Timing(Booking.Plan.SPREAD, hours=EVERY_HOUR)])


class TestPlace:
    @given(timing=TIMINGS, given_groups=GROUPS, places=ROOMS)
    def test_places_as_many_as_can_be_and_none_where_it_is_closed(
        self,
        timing: Timing,
        given_groups: list[tuple[int, int | None, int, tuple[calendar.Span, ...]]],
        places: list[int],
    ) -> None:
        groups, first = [], 0
        for number, (network, partner, hubs, closed) in enumerate(given_groups):
            groups.append(Group(number, network, partner, first, hubs, closed))
            first += hubs
        rooms = [
            Room(
                slot, 1 + slot // SLOTS, NIGHT + slot % SLOTS * HOUR, NIGHT + (slot % SLOTS + 1) * HOUR, room
            )
            for slot, room in enumerate(places)
        ]

        placed = place(timing=timing, rooms=rooms, groups=groups)

        taken: Counter[int] = Counter()
        went: Counter[int] = Counter()
        for one in placed.placements:
            group = groups[one.group]
            assert one.hubs > 0
            assert one.network == group.network == rooms[one.slot].network
            assert group.is_clear(start=one.start_at, end=one.end_at)
            taken[one.slot] += one.hubs
            went[one.group] += one.hubs
        assert all(taken[room.slot] <= room.room for room in rooms)
        assert all(went[group.number] <= group.hubs for group in groups)
        for network in (1, 2):
            there = [group for group in groups if group.network == network]
            clear = {
                group.number: {
                    room.slot for room in rooms if group.is_clear(start=room.start_at, end=room.end_at)
                }
                for group in there
            }
            most = flow(
                {room.slot: room.room for room in rooms if room.network == network},
                {group.number: group.hubs for group in there},
                clear,
            )
            assert sum(went[group.number] for group in there) == most
        assert all(went[number] < groups[number].hubs for number in placed.protected)

    @given(given_groups=GROUPS)
    def test_gives_hubs_that_nobody_is_asked_about_the_earlier_of_the_places_that_groups_share(
        self, given_groups: list[tuple[int, int | None, int, tuple[calendar.Span, ...]]]
    ) -> None:
        groups = [
            Group(number, 1, partner, number * 10, hubs)
            for number, (_, partner, hubs, _) in enumerate(given_groups)
        ]
        rooms = [Room(slot, 1, NIGHT + slot * HOUR, NIGHT + (slot + 1) * HOUR, 4) for slot in range(20)]

        placed = place(timing=Timing(Booking.Plan.EARLIEST), rooms=rooms, groups=groups)

        asked = [one.start_at for one in placed.placements if groups[one.group].partner is not None]
        free = [one.start_at for one in placed.placements if groups[one.group].partner is None]
        assert not asked or not free or max(free) <= min(asked)
