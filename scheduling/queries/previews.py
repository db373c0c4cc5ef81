"""What a booking would do, in numbers, before anybody commits to it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hubs.models import Network
from scheduling.eligibility import Refusal
from scheduling.models import Booking, HubSelection, ProtectedWindow
from scheduling.queries import plans, windows
from scheduling.queries.parts import Destination, Outlook, placed
from scheduling.queries.parts import Part as PartOfBooking
from scheduling.queries.parts import groups as groups_of

PROTECTED = "The slots that have room are in their protected windows."


@dataclass(frozen=True, slots=True)
class Part:
    """So many hubs of one network in one slot, and until when that can be changed."""

    network: str
    start_at: datetime
    end_at: datetime
    hubs: int
    change_until: datetime


@dataclass(frozen=True, slots=True)
class Unplaced:
    """So many hubs of one network that no slot would take, and why."""

    network: str
    hubs: int
    why: str


@dataclass(frozen=True, slots=True)
class Preview:
    """Where the chosen hubs would go, which would not, and how many would go in each soft window."""

    parts: Sequence[Part]
    unplaced: Sequence[Unplaced]
    warnings: Mapping[ProtectedWindow, int] = field(default_factory=dict)

    @property
    def placed(self) -> int:
        """Hubs that would be booked."""
        return sum(part.hubs for part in self.parts)

    @property
    def left_over(self) -> int:
        """Hubs that would not."""
        return sum(unplaced.hubs for unplaced in self.unplaced)

    @property
    def slots(self) -> int:
        """Slots that would be used."""
        return len(self.parts)

    @property
    def first_start(self) -> datetime:
        """When the first slot begins."""
        return min(part.start_at for part in self.parts)

    @property
    def last_end(self) -> datetime:
        """When the last slot ends."""
        return max(part.end_at for part in self.parts)


def needed(*, selection: HubSelection) -> dict[int, int]:
    """Return the chosen hubs that may go, by network id, as judged when they were chosen."""
    return {int(network): hubs for network, hubs in selection.eligible.items() if hubs}


def preview(*, selection: HubSelection, timing: plans.Timing, now: datetime) -> Preview:
    """
    Say where the hubs of a selection would go by a plan, as of now and without taking anything.

    In one slot, a network that has no slot then, or too little room, leaves its hubs over; booking would refuse.
    """
    wanted = needed(selection=selection)
    release = selection.release
    guard = windows.guard_for(release=release, supplier=selection.supplier, now=now)
    groups = windows.by_group(selection=selection, guard=guard, needed=wanted, now=now)
    rooms = plans.rooms(
        timing=timing, release=release, supplier=selection.supplier, needed=wanted, guard=guard, now=now
    )
    open_on = Counter(room.network for room in rooms if not room.closed)
    names = dict(Network.objects.values_list("id", "name"))
    in_slot: Counter[tuple[int, datetime, datetime]] = Counter()
    left: Counter[tuple[int, int]] = Counter(groups)
    placed = plans.place(timing=timing, rooms=rooms, groups=groups, guard=guard)
    placements = [placement for one in placed.values() for placement in one.placements]
    for placement in placements:
        in_slot[placement.network, placement.start_at, placement.end_at] += placement.hubs
        left[placement.network, placement.group] -= placement.hubs
    unplaced: Counter[tuple[str, str]] = Counter()
    for (network, group), hubs in left.items():
        if hubs:
            is_protected = group in placed[network].protected
            why = PROTECTED if is_protected else _why(timing.plan, open_on[network])
            unplaced[names[network], why] += hubs
    return Preview(
        sorted(
            (
                Part(names[network], start_at, end_at, hubs, release.policy.cut_off.before(start_at))
                for (network, start_at, end_at), hubs in in_slot.items()
            ),
            key=lambda part: (part.start_at, part.network),
        ),
        [Unplaced(network, hubs, why) for (network, why), hubs in sorted(unplaced.items())],
        guard.warnings(placements=placements),
    )


def _why(plan: Booking.Plan, open_slots: int) -> str:
    """Say why hubs of a network have no place, when so many of its open slots are within the plan."""
    if plan == Booking.Plan.EARLIEST:
        return "No open slot has room for them."
    which = {
        Booking.Plan.ONE_SLOT: "at that time",
        Booking.Plan.RANGE: "between the two chosen",
        Booking.Plan.SPREAD: "within these days and hours",
    }[plan]
    if not open_slots:
        return f"This network has no open slot {which}."
    if open_slots == 1:
        return f"Its one open slot {which} has no room for them."
    return f"Its {open_slots:,} open slots {which} have no room left."


def move_preview(
    *, booking: Booking, part: PartOfBooking, outlook: Outlook, to: Destination, now: datetime
) -> Preview:
    """Say where the hubs of a part of a booking would go, as of now and without moving anything."""
    names = dict(Network.objects.values_list("id", "name"))
    guard = windows.guard_for(release=booking.release, supplier=booking.supplier, now=now)
    groups = groups_of(booking=booking, part=part, outlook=outlook, to=to, guard=guard, now=now)
    moved = placed(booking=booking, outlook=outlook, of_group=groups, to=to, guard=guard, now=now)
    in_slot: Counter[tuple[int, datetime, datetime]] = Counter()
    for placement in moved.placements:
        in_slot[placement.network, placement.start_at, placement.end_at] += placement.hubs
    cut_off = booking.release.policy.cut_off
    found = [
        Part(names[network], start_at, end_at, hubs, cut_off.before(start_at))
        for (network, start_at, end_at), hubs in in_slot.items()
    ]
    return Preview(
        sorted(found, key=lambda part: (part.start_at, part.network)),
        [
            Unplaced(names[network], hubs, "No room there, clear of your windows.")
            for network, hubs in sorted(moved.lacking.items())
        ],
        guard.warnings(placements=moved.placements),
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """So many hubs or rows that cannot go, and what can be done about it (for `components/refusals`)."""

    count: int
    what: str
    why: str


def refusals(*, selection: HubSelection) -> list[Refused]:
    """Return why chosen hubs, or lines of the file, may not go, the most frequent reason first."""
    unit = "line" if selection.method == HubSelection.Method.FILE else "hub"
    counts = sorted(selection.refused.items(), key=lambda item: -item[1])
    return [
        Refused(
            count,
            f"{count:,} {unit}{'' if count == 1 else 's'}: {Refusal(int(reason)).label}",
            Refusal(int(reason)).way_forward,
        )
        for reason, count in counts
    ]
