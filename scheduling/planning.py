"""Hubs to slots: which slot takes how many. Pure rules; the database takes the places."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise

from portal.ground.uk_time import LONDON, day_bounds
from scheduling import calendar

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """
    The weekdays and hours, between two dates, that a plan may use: all by the UK wall clock.

    `weekdays` are as `date.weekday` numbers them, and are those on which a slot begins. Hours that close at or
    before they open reach into the next morning; those that close when they open are the whole day.
    """

    weekdays: tuple[int, ...]
    opens: time
    closes: time
    first_day: date
    last_day: date

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """The half-open span, in UTC, in which a slot may begin."""
        return day_bounds(self.first_day)[0], day_bounds(self.last_day)[1]

    def hold(self, *, start_at: datetime, end_at: datetime) -> bool:
        """Say whether a slot begins on one of the days and never leaves the hours."""
        day = start_at.astimezone(LONDON).date()
        if day.weekday() not in self.weekdays or not self.first_day <= day <= self.last_day:
            return False
        if self.opens == self.closes:
            return True  # nothing leaves a whole day: the next one follows at once
        return any(
            all(opens <= begin and end <= closes for begin, end in _wall_spans(start_at, end_at))
            for opens, closes in self._windows(day)
        )

    def _windows(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        """Yield the naive local spans of the hours that could hold a slot beginning on a day."""
        over_midnight = timedelta(days=self.closes <= self.opens)
        yield datetime.combine(day, self.opens), datetime.combine(day, self.closes) + over_midnight
        if over_midnight:
            before = day - timedelta(days=1)
            yield datetime.combine(before, self.opens), datetime.combine(day, self.closes)


def _wall_spans(start_at: datetime, end_at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Cut a span at the whole hours, where UK clocks change, into naive local ones that run without a jump."""
    while start_at < end_at:
        cut = min(start_at.replace(minute=0, second=0, microsecond=0) + HOUR, end_at)
        begin = start_at.astimezone(LONDON).replace(tzinfo=None, fold=0)
        yield begin, begin + (cut - start_at)
        start_at = cut


@dataclass(frozen=True, slots=True)
class Room:
    """An open slot as the planner sees it: where, when, and how many hubs it still takes."""

    slot: int
    network: int
    start_at: datetime
    end_at: datetime
    room: int
    closed: str = ""
    """Why it takes none of them, in a word: protected, maintenance or incident; nothing where it is open."""


@dataclass(frozen=True, slots=True)
class Placement:
    """So many hubs of one network, and of one group of hubs that must not go just anywhere, in one slot."""

    slot: int
    network: int
    start_at: datetime
    end_at: datetime
    hubs: int
    group: int = 0


@dataclass(frozen=True, slots=True)
class Nights:
    """Some nights in a row, by the dates on which their slots begin, and how many hubs they take together."""

    first: date
    last: date
    hubs: int


def nights_in_a_row(
    *, rooms: Mapping[date, Mapping[int, int]], needed: Mapping[int, int], nights: int
) -> Nights | None:
    """
    Return so many nights in a row that take the most of the `needed` hubs of each network id, the earliest of such.

    `rooms` are by date and network id; None where there is no room at all.
    """
    ways = []
    for first in sorted(rooms):
        dates = [first + timedelta(days=number) for number in range(nights)]
        room = Counter[int]()
        for day in dates:
            room.update(rooms.get(day, {}))
        ways.append(
            Nights(dates[0], dates[-1], sum(min(hubs, room[network]) for network, hubs in needed.items()))
        )
    best = max(ways, key=lambda way: way.hubs, default=None)
    return best if best and best.hubs else None


@dataclass(frozen=True, slots=True)
class Extent:
    """How far placements reach: hubs in them and left over, slots, and from when to when."""

    placed: int
    left_over: int
    slots: int
    first_start: datetime
    last_end: datetime


def extent(*, placements: Sequence[Placement], hubs: int) -> Extent | None:
    """Say how far the placements of so many hubs reach; None where there are no placements."""
    if not placements:
        return None
    placed = sum(placement.hubs for placement in placements)
    return Extent(
        placed,
        hubs - placed,
        len(by_slot(placements=placements)),
        min(placement.start_at for placement in placements),
        max(placement.end_at for placement in placements),
    )


def by_slot(*, placements: Iterable[Placement]) -> Counter[int]:
    """Add the hubs of placements up by slot id."""
    found: Counter[int] = Counter()
    for placement in placements:
        found[placement.slot] += placement.hubs
    return found


def as_early_as_possible(*, rooms: Iterable[Room], hubs: int) -> list[Placement]:
    """Fill the slots of one network in order of their start, until all `hubs` are placed or no room is left."""
    return fill(rooms=sorted(rooms, key=_start), hubs=hubs)


def _start(room: Room) -> tuple[datetime, int]:
    return room.start_at, room.slot


def fill(*, rooms: Iterable[Room], hubs: int) -> list[Placement]:
    """Fill slots in the order given, asking for no more of them than it takes to place all `hubs`."""
    placements = []
    for room in rooms if hubs else ():
        if taken := min(room.room, hubs):
            placements.append(Placement(room.slot, room.network, room.start_at, room.end_at, taken))
            hubs -= taken
        if not hubs:
            break
    return placements


def spread_evenly(*, rooms: Iterable[Room], hubs: int) -> list[Placement]:
    """
    Give every slot of one network its even part of `hubs`, as far as its room goes; in order of their start.

    What does not fit into a slot is spread again over the others, until all are placed or no room is left. So
    slots with room to spare differ by one hub at most, and those that have the one more lie evenly among them.
    """
    ordered = sorted(rooms, key=_start)
    level = _level([room.room for room in ordered], hubs)
    roomy = [room.slot for room in ordered if room.room > level]
    over = min(hubs - sum(min(room.room, level) for room in ordered), len(roomy))
    topped = {slot for number, slot in enumerate(roomy) if number * over % len(roomy) < over}
    return [
        Placement(room.slot, room.network, room.start_at, room.end_at, taken)
        for room in ordered
        if (taken := min(room.room, level) + (room.slot in topped))
    ]


def _level(rooms: Sequence[int], hubs: int) -> int:
    """Return the largest part that every slot can be given, those with less room as much as they take."""
    level = 0
    for place, room in enumerate(sorted(rooms)):
        level = min(room, hubs // (len(rooms) - place))
        if level < room:
            return level
        hubs -= room
    return level


def clear_slots(*, rooms: Iterable[Room], closed: Iterable[Iterable[calendar.Span]]) -> list[frozenset[int]]:
    """Return for each of some sets of spans the ids of the slots that share no moment with any of them."""
    ordered = sorted(rooms, key=_start)
    starts = [room.start_at for room in ordered]
    longest = max((room.end_at - room.start_at for room in ordered), default=timedelta())
    every = frozenset(room.slot for room in ordered)
    return [
        # only slots near a span are asked: most are far from most
        every.difference(
            room.slot
            for opens, closes in spans
            for room in ordered[bisect_left(starts, opens - longest) : bisect_left(starts, closes)]
            if room.end_at > opens
        )
        for spans in closed
    ]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the hubs of one network go; `protected` are the groups that room is left for, but in their windows."""

    placements: Sequence[Placement]
    protected: frozenset[int]


def clear_of_windows(
    *,
    rooms: Sequence[Room],
    groups: Mapping[int, int],
    clear: Mapping[int, Set[int]],
    plan: Callable[[Iterable[Room], int], Sequence[Placement]],
) -> Placed:
    """
    Place the hubs of one network, in number by group, by a plan, each group only in slots that are clear for it (ids).

    The plan is offered the slots with room that are left, in order of their start.

    Those with the fewest slots choose first. Who finds no room then takes that of hubs that can go elsewhere:
    as many are placed as can be.
    """
    ordered = sorted(rooms, key=_start)
    by_slot = {room.slot: room for room in ordered}
    left = Counter({slot: room.room for slot, room in by_slot.items()})
    placed: Counter[tuple[int, int]] = Counter()
    waiting: dict[int, int] = {}
    for group in sorted(groups, key=lambda group: (len(clear[group]), group)):
        # made as the plan asks for them: an early one looks at few
        offered = (
            Room(room.slot, room.network, room.start_at, room.end_at, left[room.slot])
            for room in ordered
            if left[room.slot] and room.slot in clear[group]
        )
        waiting[group] = groups[group]
        for placement in plan(offered, groups[group]):
            placed[placement.slot, group] += placement.hubs
            left[placement.slot] -= placement.hubs
            waiting[group] -= placement.hubs
    for group in waiting:
        while waiting[group] and (freed := _make_way(group, waiting[group], clear, left, placed)):
            waiting[group] -= freed
    placements = [
        Placement(slot, room.network, room.start_at, room.end_at, hubs, group)
        for (slot, group), hubs in placed.items()
        if hubs
        for room in [by_slot[slot]]
    ]
    return Placed(
        sorted(placements, key=lambda placement: (placement.start_at, placement.slot, placement.group)),
        frozenset(
            group
            for group, hubs in waiting.items()
            if hubs and any(left[slot] for slot in by_slot if slot not in clear[group])
        ),
    )


def _make_way(
    group: int,
    hubs: int,
    clear: Mapping[int, Set[int]],
    left: Counter[int],
    placed: Counter[tuple[int, int]],
) -> int:
    """
    Place some of a group's hubs by moving others along the shortest chain that ends in a slot with room.

    Returns how many; nought means that there is no such chain, so that no plan places more (Ford and Fulkerson).
    """
    came_from: dict[int, tuple[int, int]] = {}  # group -> (the group that takes its place, in this slot)
    seen, queue = {group}, [group]
    for mover in queue:
        for slot in sorted(clear[mover]):
            if left[slot]:
                chain = [(mover, slot)]
                while chain[-1][0] != group:
                    chain.append(came_from[chain[-1][0]])
                # each pair is a group and the slot that it enters; the one before it in the chain leaves that slot
                moved = min(
                    [hubs, left[slot]]
                    + [placed[entered, leaver] for (leaver, _), (_, entered) in pairwise(chain)]
                )
                left[slot] -= moved
                for enters, entered in chain:
                    placed[entered, enters] += moved
                for (leaver, _), (_, entered) in pairwise(chain):
                    placed[entered, leaver] -= moved
                return moved
            for other in clear:
                if other not in seen and placed[slot, other]:
                    seen.add(other)
                    came_from[other] = (mover, slot)
                    queue.append(other)
    return 0


def lots(*, placements: Sequence[Placement], size: int) -> list[tuple[Placement, int]]:
    """Cut placements into lots of at most `size` hubs, as even as they come, in the order given."""
    cut = []
    for placement in placements:
        number = -(-placement.hubs // size)
        share, rest = divmod(placement.hubs, number)
        cut += [(placement, share + (index < rest)) for index in range(number)]
    return cut
