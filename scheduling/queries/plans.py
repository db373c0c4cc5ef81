"""Where hubs go by a plan, as of now and without taking anything: one answer for the preview and the booking."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from scheduling import planning
from scheduling.models import Booking
from scheduling.queries import slots

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
    now: datetime,
) -> list[planning.Room]:
    """
    Return the slots that a plan may use on the networks of the `needed` hubs, with the Supplier's room in them.

    Full ones are among them, except for the earliest plan, which asks for no more than it can fill.
    """
    if timing.plan == Booking.Plan.EARLIEST:
        return slots.rooms(release=release, supplier=supplier, needed=needed, now=now)
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
    *, timing: Timing, rooms: list[planning.Room], needed: Mapping[int, int]
) -> dict[int, list[planning.Placement]]:
    """Return what each network's slots take of its `needed` hubs, by network id."""
    rule = planning.spread_evenly if timing.plan == Booking.Plan.SPREAD else planning.as_early_as_possible
    return {
        network: rule(rooms=[room for room in rooms if room.network == network], hubs=hubs)
        for network, hubs in needed.items()
    }
