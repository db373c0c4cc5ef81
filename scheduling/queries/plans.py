"""Where hubs go by a plan, as of now and without taking anything: one answer for the preview and the booking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from scheduling import planning
from scheduling.models import Booking
from scheduling.queries import slots, windows

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


def rooms(
    *,
    timing: Timing,
    release: FirmwareRelease,
    supplier: Supplier,
    needed: Mapping[int, int],
    guard: windows.Guard,
    now: datetime,
) -> list[planning.Room]:
    """
    Return the slots that a plan may use on the networks of the `needed` hubs, with the Supplier's room in them.

    Full ones are among them, except for the earliest plan, which asks for no more than it can fill: unless some
    hubs cannot go everywhere, and every slot may have to be tried.
    """
    if timing.plan == Booking.Plan.EARLIEST:
        places = dict.fromkeys(needed, EVERY_PLACE) if guard.windows else needed
        return slots.rooms(release=release, supplier=supplier, needed=places, now=now)
    start, end = _bounds(timing)
    found = slots.rooms_between(
        release=release, supplier=supplier, networks=needed, start=start, end=end, now=now
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


def place(
    *,
    timing: Timing,
    rooms: Sequence[planning.Room],
    groups: Mapping[tuple[int, int], int],
    guard: windows.Guard,
) -> dict[int, planning.Placed]:
    """Place hubs, in number by network id and group (see `windows.Guard`), clear of their windows, by network id."""
    rule = planning.spread_evenly if timing.plan == Booking.Plan.SPREAD else planning.as_early_as_possible
    of_network: dict[int, dict[int, int]] = {}
    for (network, group), hubs in groups.items():
        of_network.setdefault(network, {})[group] = hubs
    return {
        network: planning.clear_of_windows(
            rooms=[room for room in rooms if room.network == network],
            groups=hubs_by_group,
            is_clear=lambda group, room: guard.is_clear(group=group, start=room.start_at, end=room.end_at),
            plan=lambda offered, hubs: rule(rooms=offered, hubs=hubs),
        )
        for network, hubs_by_group in of_network.items()
    }
