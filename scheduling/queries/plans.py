"""Where hubs go by a plan, as of now and without taking anything: one answer for the preview and the booking."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from scheduling import planning
from scheduling.models import Booking
from scheduling.queries import guards, slots

EVERY_PLACE = 2**31 - 1
INSTANT = timedelta(microseconds=1)
"""What a half-open span needs beyond its last start."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How a person wants the slots chosen, with what that plan needs to know (see `Booking`)."""

    plan: Booking.Plan
    start_at: datetime | None = None
    last_start_at: datetime | None = None
    hours: planning.Hours | None = None
    not_before: datetime | None = None
    """No slot begins earlier."""
    in_reserve: bool = False
    """DCC allocates: its reserve is there to be used, and fair shares do not bind."""


def rooms(
    *,
    timing: Timing,
    release: FirmwareRelease,
    supplier: Supplier,
    groups: Sequence[guards.Group],
    now: datetime,
) -> list[planning.Room]:
    """
    Return the slots that a plan may use on the networks of the groups, with the Supplier's room in them.

    Full ones are among them, except for the earliest plan, which asks for no more than it can fill: unless some
    hubs cannot go everywhere, and every slot may have to be tried.
    """
    needed = hubs_by_network(groups=groups)
    if timing.plan == Booking.Plan.EARLIEST:
        places = dict.fromkeys(needed, EVERY_PLACE) if any(group.closed for group in groups) else needed
        return slots.rooms(
            release=release,
            supplier=supplier,
            needed=places,
            now=now,
            not_before=timing.not_before,
            in_reserve=timing.in_reserve,
        )
    start, end = _bounds(timing)
    found = slots.rooms_between(
        release=release,
        supplier=supplier,
        networks=needed,
        start=max(start, timing.not_before or start),
        end=end,
        now=now,
        in_reserve=timing.in_reserve,
    )
    if timing.hours is None:
        return found
    hours = timing.hours
    return [room for room in found if hours.hold(start_at=room.start_at, end_at=room.end_at)]


def _bounds(timing: Timing) -> tuple[datetime, datetime]:
    """Return the half-open span in which the slots begin."""
    if timing.hours is not None:
        return timing.hours.bounds
    assert timing.start_at is not None  # noqa: S101 - booking_starts_as_its_plan_wants holds it
    return timing.start_at, (timing.last_start_at or timing.start_at) + INSTANT


def hubs_by_network(*, groups: Sequence[guards.Group]) -> dict[int, int]:
    """Add the hubs of groups up by network id."""
    found: Counter[int] = Counter()
    for group in groups:
        found[group.network] += group.hubs
    return dict(found)


@dataclass(frozen=True, slots=True)
class Placed:
    """Where hubs go, group by group; `protected` are the groups left over although there is room at other times."""

    placements: Sequence[planning.Placement]
    protected: frozenset[int]


def place(*, timing: Timing, rooms: Sequence[planning.Room], groups: Sequence[guards.Group]) -> Placed:
    """
    Place the hubs of groups, each clear of what it is closed for.

    Groups that are closed at the same times are planned as one, and share the places that it gets: hubs that
    nobody else has to be asked about first.
    """
    rule = planning.spread_evenly if timing.plan == Booking.Plan.SPREAD else planning.fill
    alike: dict[int, dict[tuple[tuple[datetime, datetime], ...], list[guards.Group]]] = {}
    for group in sorted(groups, key=lambda group: (group.partner is not None, group.number)):
        alike.setdefault(group.network, {}).setdefault(group.closed, []).append(group)
    placements: list[planning.Placement] = []
    protected: set[int] = set()
    for network, classes in alike.items():
        members = list(classes.values())
        there = [room for room in rooms if room.network == network]
        planned = planning.clear_of_windows(
            rooms=there,
            groups={kind: sum(group.hubs for group in same) for kind, same in enumerate(members)},
            clear=dict(enumerate(planning.clear_slots(rooms=there, closed=classes))),
            plan=lambda offered, hubs: rule(rooms=offered, hubs=hubs),
        )
        theirs: dict[int, list[planning.Placement]] = {}
        for placement in planned.placements:
            theirs.setdefault(placement.group, []).append(placement)
        for kind, same in enumerate(members):
            shared = _shared(theirs.get(kind, ()), same)
            placements += shared
            if kind in planned.protected:
                found = Counter[int]()
                for placement in shared:
                    found[placement.group] += placement.hubs
                protected.update(group.number for group in same if found[group.number] < group.hubs)
    return Placed(
        sorted(placements, key=lambda one: (one.start_at, one.slot, one.group)), frozenset(protected)
    )


def _shared(
    placements: Sequence[planning.Placement], groups: Sequence[guards.Group]
) -> list[planning.Placement]:
    """Give the places of some groups to one after the other."""
    shared = []
    waiting = [(group.number, group.hubs) for group in groups]
    place = 0
    for placement in placements:
        left = placement.hubs
        while left:
            number, hubs = waiting[place]
            taken = min(left, hubs)
            shared.append(replace(placement, group=number, hubs=taken))
            left -= taken
            waiting[place] = (number, hubs - taken)
            if taken == hubs:
                place += 1
    return shared
