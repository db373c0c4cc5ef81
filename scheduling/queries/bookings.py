"""A Supplier's bookings, as its people see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, Min, QuerySet

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from portal.ground import sql
from scheduling.lifecycle import Ending, State
from scheduling.models import LOT_SPAN, Booking, Lot, UnplacedHub


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
# What was moved on is listed where it went, and what has another Supplier by now is that one's alone.
SEEN = """EXISTS (
    SELECT FROM hubs_communicationshub seen
    WHERE seen.chf_id = {hub} AND %(supplier)s IN (seen.lead_id, seen.other_id))"""
"""A hub is the Supplier's today, whoever had it when it was booked."""
_COUNT = " ".join(f"WHEN '{state}' THEN lot.{state}" for state in State if state != State.CANCELLED)
_COUNT += " ELSE lot.cancelled - lot.moved"
_HUBS = f"""
SELECT deployment.id, deployment.hub_id, network.name, slot.start_at, deployment.state, deployment.ending,
       deployment.moved_at, lot.change_until
FROM (
    SELECT deployment.* FROM scheduling_lot lot
    CROSS JOIN LATERAL (
        SELECT * FROM scheduling_deployment
        WHERE id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1 AND id {{beyond}} %(start)s
          AND (%(state)s::text IS NULL OR state = %(state)s) AND ending NOT IN ('moved', 'carried_over')
          AND {SEEN.format(hub="hub_id")}
        ORDER BY id {{order}} LIMIT %(limit)s) deployment
    WHERE lot.booking_id = %(booking)s AND lot.id {{beyond}}= %(start)s / %(span)s
      AND (%(state)s::text IS NULL OR CASE %(state)s {_COUNT} END > 0)
    ORDER BY lot.id {{order}}, deployment.id {{order}} LIMIT %(limit)s) deployment
JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
JOIN scheduling_slot slot ON slot.id = lot.slot_id
JOIN hubs_network network ON network.id = lot.network_id
ORDER BY deployment.id {{order}}
"""  # noqa: S608 - our own columns
HUBS = _HUBS.format(beyond=">", order="ASC")
HUBS_BACKWARDS = _HUBS.format(beyond="<", order="DESC")


def hubs(
    *, booking: Booking, start: int, limit: int, is_backwards: bool = False, state: State | None = None
) -> list[HubLine]:
    """
    Return up to `limit` hubs of a booking whose deployment's id is above `start`, in the order of the ids.

    Where it goes `is_backwards`, those whose id is below, in the opposite order. Hubs that have another Supplier by now
    are left out.
    """
    lines = sql.rows(
        HUBS_BACKWARDS if is_backwards else HUBS,
        {
            "booking": booking.pk,
            "supplier": booking.supplier_id,
            "start": start,
            "limit": limit,
            "state": state,
            "span": LOT_SPAN,
        },
    )
    return [
        HubLine(deployment, hub, network, start_at, State(where), Ending(ending), moved_at, until)
        for deployment, hub, network, start_at, where, ending, moved_at, until in lines
    ]


UNPLACED = f"""
SELECT hub, why FROM scheduling_unplacedhub
WHERE booking_id = %(booking)s AND hub > %(after)s AND {SEEN.format(hub="hub")}
ORDER BY hub LIMIT %(limit)s
"""  # noqa: S608 - our own constant


def unplaced(*, booking: Booking, limit: int, after: int = -(2**63)) -> list[tuple[int, UnplacedHub.Why]]:
    """
    Return up to `limit` CHF IDs above `after` that found no place, with what kept them out, in order.

    Hubs that have another Supplier by now are left out.
    """
    terms = {"booking": booking.pk, "supplier": booking.supplier_id, "after": after, "limit": limit}
    return [(hub, UnplacedHub.Why(why)) for hub, why in sql.rows(UNPLACED, terms)]


def of_release(*, supplier: Supplier, release: FirmwareRelease) -> QuerySet[Booking]:
    """Return a Supplier's bookings for one release, newest first."""
    return of_supplier(supplier=supplier).filter(release=release)
