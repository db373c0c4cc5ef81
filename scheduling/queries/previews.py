"""What a booking would do, in numbers, before anybody commits to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hubs.models import Network
from scheduling import planning
from scheduling.eligibility import Refusal
from scheduling.models import Booking, HubSelection
from scheduling.queries import slots


@dataclass(frozen=True, slots=True)
class Part:
    """So many hubs of one network in one slot, and until when that can be changed."""

    network: str
    start_at: datetime
    end_at: datetime
    hubs: int
    change_until: datetime


@dataclass(frozen=True, slots=True)
class Preview:
    """Where the chosen hubs would go; `unplaced` counts those without room by the name of their network."""

    parts: Sequence[Part]
    unplaced: Mapping[str, int]

    @property
    def placed(self) -> int:
        """Hubs that would be booked."""
        return sum(part.hubs for part in self.parts)

    @property
    def left_over(self) -> int:
        """Hubs that would not."""
        return sum(self.unplaced.values())

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


def preview(
    *, selection: HubSelection, plan: Booking.Plan, start_at: datetime | None, now: datetime
) -> Preview:
    """
    Say where the hubs of a selection would go by a plan, as of now and without taking anything.

    In one slot, a network that has no slot then, or too little room, leaves its hubs over; booking would refuse.
    """
    wanted = needed(selection=selection)
    release = selection.release
    if plan == Booking.Plan.EARLIEST:
        rooms = slots.rooms(release=release, supplier=selection.supplier, needed=wanted, now=now)
    else:
        assert start_at  # noqa: S101 - one slot has a start
        rooms = slots.rooms_between(
            release=release,
            supplier=selection.supplier,
            networks=wanted,
            start=start_at,
            end=start_at + timedelta(microseconds=1),
            now=now,
        )
    names = dict(Network.objects.values_list("id", "name"))
    parts: list[Part] = []
    unplaced: dict[str, int] = {}
    for network, hubs in wanted.items():
        placements = planning.as_early_as_possible(
            rooms=[room for room in rooms if room.network == network], hubs=hubs
        )
        placed = sum(placement.hubs for placement in placements)
        if placed < hubs:
            unplaced[names[network]] = hubs - placed
        parts += [
            Part(
                names[network],
                placement.start_at,
                placement.end_at,
                placement.hubs,
                release.policy.cut_off.before(placement.start_at),
            )
            for placement in placements
        ]
    return Preview(sorted(parts, key=lambda part: (part.start_at, part.network)), unplaced)


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
