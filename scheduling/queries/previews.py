"""What a booking would do, in numbers, before anybody commits to it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from firmware import queries as releases
from firmware.models import FirmwareRelease
from hubs.models import Network, Supplier
from scheduling import planning
from scheduling.eligibility import Refusal
from scheduling.models import Booking, HubSelection, ProtectedWindow
from scheduling.queries import eligibility, guards, plans
from scheduling.queries.parts import Destination, Outlook, placed
from scheduling.queries.parts import Part as PartOfBooking
from scheduling.queries.parts import groups as groups_of

PROTECTED = "The slots that have room are not available for them: protected windows."


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
class Ask:
    """
    What another Supplier of so many of the hubs would be asked.

    It has to agree to `explicit` of them, whose slots are near; to the others its silence is consent.
    """

    supplier: Supplier
    hubs: int
    explicit: int


@dataclass(frozen=True, slots=True)
class Preview:
    """
    Where the chosen hubs would go, which would not, how many would go in each soft window, and who would be asked.
    """

    parts: Sequence[Part]
    unplaced: Sequence[Unplaced]
    warnings: Mapping[ProtectedWindow, int] = field(default_factory=dict)
    asks: Sequence[Ask] = ()

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
    release = selection.release
    guard = guards.guard_for(release=release, supplier=selection.supplier, now=now)
    hubs_chosen, parameters = eligibility.chosen_hubs(selection=selection, now=now)
    groups = guards.counted(guard=guard, hubs=hubs_chosen, parameters=parameters)
    rooms = plans.rooms(timing=timing, release=release, supplier=selection.supplier, groups=groups, now=now)
    open_on = Counter(room.network for room in rooms if not room.closed)
    names = dict(Network.objects.values_list("id", "name"))
    in_slot: Counter[tuple[int, datetime, datetime]] = Counter()
    left = {group.number: group.hubs for group in groups}
    placed = plans.place(timing=timing, rooms=rooms, groups=groups)
    for placement in placed.placements:
        in_slot[placement.network, placement.start_at, placement.end_at] += placement.hubs
        left[placement.group] -= placement.hubs
    unplaced: Counter[tuple[str, str]] = Counter()
    for group in groups:
        if hubs := left[group.number]:
            is_protected = group.number in placed.protected
            why = PROTECTED if is_protected else _why(timing.plan, open_on[group.network])
            unplaced[names[group.network], why] += hubs
    return Preview(
        sorted(
            (
                Part(names[network], start_at, end_at, hubs, release.policy.cut_off.before(start_at))
                for (network, start_at, end_at), hubs in in_slot.items()
            ),
            key=lambda part: (part.start_at, part.network),
        ),
        [Unplaced(network, hubs, why) for (network, why), hubs in sorted(unplaced.items())],
        guard.warnings(groups=groups, placements=placed.placements),
        _asks(release, groups, placed.placements, now),
    )


def _asks(
    release: FirmwareRelease,
    groups: Sequence[guards.Group],
    placements: Sequence[planning.Placement],
    now: datetime,
) -> list[Ask]:
    """Count the hubs about which other Suppliers would be asked, the most first."""
    near = release.policy.explicit_consent_within.after(now)
    asked: Counter[int] = Counter()
    explicit: Counter[int] = Counter()
    for placement in placements:
        if (partner := groups[placement.group].partner) is not None:
            asked[partner] += placement.hubs
            explicit[partner] += placement.hubs if placement.start_at < near else 0
    suppliers = Supplier.objects.in_bulk(list(asked))
    return [Ask(suppliers[partner], hubs, explicit[partner]) for partner, hubs in asked.most_common()]


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
    guard = guards.guard_for(release=booking.release, supplier=booking.supplier, now=now)
    groups = groups_of(booking=booking, part=part, to=to, guard=guard, now=now)
    moved = placed(booking=booking, outlook=outlook, groups=groups, to=to, now=now)
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
            Unplaced(names[network], hubs, "No room there, clear of their protected windows.")
            for network, hubs in sorted(moved.lacking.items())
        ],
        guard.warnings(groups=groups, placements=moved.placements),
        _asks(booking.release, groups, moved.placements, now),
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
            _way_forward(Refusal(int(reason)), selection.release),
        )
        for reason, count in counts
    ]


def _way_forward(refusal: Refusal, release: FirmwareRelease) -> str:
    if refusal is Refusal.HALTED:
        parts = " and ".join(str(halt.part) for halt in releases.halted_parts(release=release))
        if parts:
            return f"Wait until DCC resumes it for {parts}. The page of the release says why it was halted."
    return refusal.way_forward
