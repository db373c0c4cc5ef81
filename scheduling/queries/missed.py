"""What hubs that were missed in their slots go back with: why, and where they could go next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from portal.ground import sql
from scheduling import planning
from scheduling.lifecycle import Ending
from scheduling.models import LOT_SPAN, Booking, Slot
from scheduling.queries import eligibility, guards, plans

# Raw SQL: the hubs of some lots, found by their stretch of the primary key. OFFSET keeps PostgreSQL from joining
# a whole table of deployments instead.
IN_LOTS = """unnest(%(lots)s::bigint[]) AS listed (id) CROSS JOIN LATERAL (
    SELECT hub_id, ending FROM scheduling_deployment
    WHERE id BETWEEN listed.id * %(span)s AND listed.id * %(span)s + %(span)s - 1 AND state = 'missed'
    OFFSET 0) missed"""
BY_REASON = f"SELECT ending, count(*) FROM {IN_LOTS} GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608 - our own statement
HUBS = f"""
SELECT hub.chf_id AS hub, hub.network_id, hub.model_id, hub.payment_mode, {eligibility.PARTNER} AS partner,
       {eligibility.REFUSAL} AS refusal
FROM {IN_LOTS} JOIN hubs_communicationshub hub ON hub.chf_id = missed.hub_id {eligibility.OPEN_DEPLOYMENT}
"""  # noqa: S608 - our own statement


def by_reason(*, lots: Sequence[int]) -> Mapping[Ending, int]:
    """Count the missed hubs of some lots by what kept them, the most frequent reason first."""
    rows = sql.rows(BY_REASON, {"lots": list(lots), "span": LOT_SPAN})
    return {Ending(ending): hubs for ending, hubs in rows}


@dataclass(frozen=True, slots=True)
class WayForward:
    """How many missed hubs may be booked again, and how many of them would go in which slot, in order of time."""

    may_go: int
    slots: Sequence[tuple[Slot, int]]


def way_forward(*, booking: Booking, lots: Sequence[int], now: datetime) -> WayForward:
    """
    Say where the missed hubs of some lots of a booking could go, as early as possible and clear for every one.

    As of now and without taking anything; by the rules of booking, so hubs that were booked again have no part in it.
    """
    release, supplier = booking.release, booking.supplier
    groups = guards.counted(
        guard=guards.guard_for(release=release, supplier=supplier, now=now),
        hubs=HUBS,
        parameters=eligibility.rules(release=release, supplier=supplier, now=now)
        | {"lots": list(lots), "span": LOT_SPAN},
    )
    timing = plans.Timing(Booking.Plan.EARLIEST)
    rooms = plans.rooms(timing=timing, release=release, supplier=supplier, groups=groups, now=now)
    found = planning.by_slot(placements=plans.place(timing=timing, rooms=rooms, groups=groups).placements)
    places = Slot.objects.filter(pk__in=found).select_related("network").order_by("start_at", "network__name")
    return WayForward(sum(group.hubs for group in groups), [(slot, found[slot.pk]) for slot in places])
