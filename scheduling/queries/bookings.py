"""A Supplier's bookings, as its people see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, Min, QuerySet

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from portal.ground import sql
from scheduling.lifecycle import Ending, State
from scheduling.models import LOT_SPAN, Booking, Lot


def of_supplier(*, supplier: Supplier) -> QuerySet[Booking]:
    """Return a Supplier's bookings, newest first; abandoned ones never were."""
    return (
        Booking.objects.filter(supplier=supplier, abandoned_at=None)
        .select_related("release", "booked_by")
        .order_by("-id")
    )


@dataclass(frozen=True, slots=True)
class Span:
    """When the first of a booking's slots begins and the last ends, and until when it can be changed."""

    first_start: datetime | None
    last_end: datetime | None
    change_until: datetime | None


def span(*, booking: Booking) -> Span:
    """Return the span of a booking's slots; `change_until` is the last cut-off among them."""
    row = booking.lots.aggregate(
        start=Min("slot__start_at"), end=Max("slot__end_at"), until=Max("change_until")
    )
    return Span(row["start"], row["end"], row["until"])


def next_slots(*, supplier: Supplier, now: datetime, limit: int) -> Sequence[Lot]:
    """Return the Supplier's next lots with hubs still to go, earliest slot first."""
    return list(
        Lot.objects.filter(supplier=supplier, slot__end_at__gt=now, due_at__isnull=False)
        .select_related("slot", "network", "booking", "release")
        .order_by("slot__start_at", "id")[:limit]
    )


@dataclass(frozen=True, slots=True)
class HubLine:
    """One hub of a booking."""

    deployment: int
    hub: int
    network: str
    slot_start: datetime
    state: State
    ending: Ending
    moved_at: datetime
    change_until: datetime


# Raw SQL: the page of deployments is taken from each lot's stretch of the primary key, with no other index. Ordered
# by lot first, though the ids say the lot: that lets PostgreSQL stop at the lot in which the page is full.
# What was moved on is listed where it went.
_COUNT = " ".join(f"WHEN '{state}' THEN lot.{state}" for state in State if state != State.CANCELLED)
_COUNT += " ELSE lot.cancelled - lot.moved"
HUBS = f"""
SELECT deployment.id, deployment.hub_id, network.name, slot.start_at, deployment.state, deployment.ending,
       deployment.moved_at, lot.change_until
FROM (
    SELECT deployment.* FROM scheduling_lot lot
    CROSS JOIN LATERAL (
        SELECT * FROM scheduling_deployment
        WHERE id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1 AND id > %(after)s
          AND (%(state)s::text IS NULL OR state = %(state)s) AND ending <> 'moved'
        ORDER BY id LIMIT %(limit)s) deployment
    WHERE lot.booking_id = %(booking)s AND lot.id >= %(after)s / %(span)s
      AND (%(state)s::text IS NULL OR CASE %(state)s {_COUNT} END > 0)
    ORDER BY lot.id, deployment.id LIMIT %(limit)s) deployment
JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
JOIN scheduling_slot slot ON slot.id = lot.slot_id
JOIN hubs_network network ON network.id = lot.network_id
ORDER BY deployment.id
"""  # noqa: S608 - our own columns


def hubs(*, booking: Booking, after: int, limit: int, state: State | None = None) -> list[HubLine]:
    """Return up to `limit` hubs of a booking whose deployment's id is above `after`, in the order of the ids."""
    lines = sql.rows(
        HUBS, {"booking": booking.pk, "after": after, "limit": limit, "state": state, "span": LOT_SPAN}
    )
    return [
        HubLine(deployment, hub, network, start_at, State(where), Ending(ending), moved_at, until)
        for deployment, hub, network, start_at, where, ending, moved_at, until in lines
    ]


def unplaced(*, booking: Booking, limit: int) -> list[int]:
    """Return the CHF IDs for which no slot had room, in order."""
    return list(booking.unplaced_hubs.order_by("hub").values_list("hub", flat=True)[:limit])


def of_release(*, supplier: Supplier, release: FirmwareRelease) -> QuerySet[Booking]:
    """Return a Supplier's bookings for one release, newest first."""
    return of_supplier(supplier=supplier).filter(release=release)
