"""The room of a week, hour by hour, for a person to choose from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import F, Max, Sum
from django.db.models.functions import TruncHour

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from portal.ground import sql
from scheduling.models import Lot, Slot
from scheduling.queries import slots


@dataclass(frozen=True, slots=True)
class OpenHour:
    """The open slots of one network that begin in one hour, taken together."""

    hour: datetime
    slots: int
    room: int
    """Hubs that the Supplier can still put into them."""
    first_start: datetime
    last_start: datetime
    fits_at: datetime | None
    """The first start at which all the chosen hubs of every network can go, where there is one."""
    closed: str
    """Why no slot of it takes hubs of the Supplier: `incident`, `maintenance`, `protected`, or nothing."""


# Raw SQL: the Supplier's room is an expression of its own, and adding it up here sends an hour in place of its slots.
HOURS = f"""
WITH room AS MATERIALIZED (
    {slots.ROOM} AND slot.network_id = ANY (%(wanted_networks)s)
        AND slot.start_at >= %(start)s AND slot.start_at < %(end)s),
begins AS (
    SELECT start_at, count(*) = cardinality(%(wanted_networks)s::smallint[]) AND bool_and(room >= wanted.hubs) AS fits
    FROM room
    JOIN unnest(%(wanted_networks)s::smallint[], %(wanted_hubs)s::int[]) AS wanted (network_id, hubs)
        USING (network_id)
    GROUP BY start_at)
SELECT date_trunc('hour', start_at, 'UTC') AS hour, count(*), sum(room)::bigint, min(start_at), max(start_at),
       min(start_at) FILTER (WHERE fits), CASE WHEN bool_and(closed <> '') THEN min(closed) ELSE '' END
FROM room JOIN begins USING (start_at)
WHERE network_id = %(shown)s
GROUP BY hour ORDER BY hour
"""  # noqa: S608 - our own statement


def open_hours(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    needed: Mapping[int, int],
    network: int,
    start: datetime,
    end: datetime,
    now: datetime,
) -> Sequence[OpenHour]:
    """Return the hours with open slots of one network, full ones too, that begin in a half-open span."""
    terms = slots.terms_of_room(release=release, supplier=supplier, now=now)
    wanted = {"wanted_networks": list(needed), "wanted_hubs": list(needed.values())}
    rows = sql.rows(HOURS, terms | wanted | {"shown": network, "start": start, "end": end})
    return [OpenHour(*row) for row in rows]


def passed_hours(
    *, release: FirmwareRelease, network: int, start: datetime, end: datetime, now: datetime
) -> dict[datetime, datetime]:
    """Return the hours with slots that can no longer be booked, and the last start in each."""
    [opened] = [period.start_at for period in release.periods.all() if period.network_id == network]
    rows = (
        Slot.objects.filter(
            network=network,
            start_at__gte=max(start, opened),
            start_at__lt=min(end, slots.bookable_from(release=release, now=now)),
        )
        .values(hour=TruncHour("start_at", tzinfo=UTC))
        .annotate(last=Max("start_at"))
        .order_by()
    )
    return {row["hour"]: row["last"] for row in rows}


def own_hours(*, supplier: Supplier, network: int, start: datetime, end: datetime) -> dict[datetime, int]:
    """Return how many hubs the Supplier has booked on a network, by the hour in which their slots begin."""
    rows = (
        Lot.objects.filter(
            supplier=supplier, network=network, slot__start_at__gte=start, slot__start_at__lt=end
        )
        .values(hour=TruncHour("slot__start_at", tzinfo=UTC))
        .annotate(hubs=Sum(F("size") - F("cancelled")))
        .order_by()
    )
    return {row["hour"]: row["hubs"] for row in rows if row["hubs"]}
