"""DCC's weekly patterns of capacity, and how far the slots made from them are kept back, booked and used."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Q

from firmware.models import OPEN_TO_SUPPLIERS
from hubs.models import Network
from portal.ground import sql
from portal.ground.uk_time import LONDON
from scheduling.models import CapacityPattern


def overlapping(
    *, network: Network, weekday: int, starts: time, ends: time | None, besides: int | None
) -> CapacityPattern | None:
    """
    Return a pattern of the network and weekday that shares a time of day with `starts` to `ends`.

    `ends` of None, or 00:00, means midnight; `besides` is the pattern that is being changed.
    """
    others = CapacityPattern.objects.filter(network=network, weekday=weekday)
    if besides is not None:
        others = others.exclude(pk=besides)
    others = others.filter(Q(ends=None) | Q(ends=time()) | Q(ends__gt=starts))
    if ends is not None and ends != time():
        others = others.filter(starts__lt=ends)
    return others.select_related("network").order_by("starts").first()


@dataclass(frozen=True, slots=True)
class Week:
    """
    The slots of a network that begin in a week, from its Monday (UK), in hubs.

    `reserve` is what the releases that may be deployed then keep back from Suppliers, by the one that keeps most;
    `used` are booked places whose hub was carried out, well or badly.
    """

    week: date
    network: str
    network_id: int
    slots: int
    capacity: int
    reserve: int
    booked: int
    used: int

    @property
    def to_come(self) -> int:
        """Booked places whose hub was not carried out: yet, or not at all."""
        return self.booked - self.used

    @property
    def kept_back(self) -> int:
        """What is left of the reserve: DCC's own bookings are made from it, once the rest is taken."""
        return min(self.reserve, self.capacity - self.booked)

    @property
    def free(self) -> int:
        """What Suppliers can still book."""
        return self.capacity - self.booked - self.kept_back


@dataclass(frozen=True, slots=True)
class BookedBy:
    """Places of a network that a Supplier has booked in the slots of a week, and those of them that were used."""

    week: date
    network: str
    network_id: int
    supplier: str
    supplier_id: int
    booked: int
    used: int


WEEK = "date_trunc('week', slot.start_at AT TIME ZONE 'Europe/London')::date"
WITHIN = "slot.start_at >= %(start)s AND slot.start_at < %(end)s"
# As many places as are reserved of each slot by itself, as those who book are told. The few periods are looked up once.
WEEKS = f"""
WITH kept AS MATERIALIZED (
    SELECT period.network_id, period.start_at, period.end_at, policy.reserve_percent AS percent
    FROM firmware_availabilityperiod period
    JOIN firmware_firmwarerelease release ON release.id = period.release_id AND release.state = ANY (%(open)s)
    JOIN firmware_rolloutpolicy policy ON policy.release_id = release.id
    WHERE period.start_at < %(end)s AND period.end_at > %(start)s)
SELECT week, network.name, network_id, slots, capacity, reserve, booked
FROM (
    SELECT {WEEK} AS week, slot.network_id, count(*) AS slots, sum(slot.capacity)::bigint AS capacity,
           sum(slot.capacity * coalesce((
               SELECT max(percent) FROM kept
               WHERE kept.network_id = slot.network_id
                 AND slot.start_at >= kept.start_at AND slot.end_at <= kept.end_at), 0) / 100)::bigint AS reserve,
           sum(slot.taken)::bigint AS booked
    FROM scheduling_slot slot WHERE {WITHIN} GROUP BY 1, 2) counted
JOIN hubs_network network ON network.id = counted.network_id
ORDER BY 2, 1
"""  # noqa: S608 - our own constants
SHARES = f"""
SELECT week, network.name, network_id, supplier.name, supplier_id, booked, used
FROM (
    SELECT {WEEK} AS week, slot.network_id, lot.supplier_id, sum(lot.size - lot.cancelled)::bigint AS booked,
           sum(lot.activating + lot.succeeded + lot.failed + lot.unconfirmed)::bigint AS used
    FROM scheduling_slot slot JOIN scheduling_lot lot ON lot.slot_id = slot.id
    WHERE {WITHIN} GROUP BY 1, 2, 3) counted
JOIN hubs_network network ON network.id = counted.network_id
JOIN hubs_supplier supplier ON supplier.id = counted.supplier_id
WHERE booked > 0 ORDER BY 2, 1, 4
"""  # noqa: S608 - our own constants


def _span(first: date, weeks: int) -> dict[str, datetime]:
    """Return when so many weeks begin and end in UK time, the first on a Monday."""
    return {
        "start": datetime.combine(first, time(), LONDON),
        "end": datetime.combine(first + timedelta(weeks=weeks), time(), LONDON),
    }


def weeks(*, first: date, number: int) -> tuple[Sequence[Week], Sequence[BookedBy]]:
    """
    Return how far each network is kept back, booked and used in so many weeks, the first from a Monday on, and by whom.

    From the slots and lots that begin then, so it costs the same however many hubs were booked before; two queries.
    """
    terms = _span(first, number)
    shares = [BookedBy(*row) for row in sql.rows(SHARES, terms)]
    used: dict[tuple[date, int], int] = defaultdict(int)
    for one in shares:
        used[one.week, one.network_id] += one.used
    rows = sql.rows(WEEKS, terms | {"open": [str(state) for state in OPEN_TO_SUPPLIERS]})
    return [Week(*(*row, used[row[0], row[2]])) for row in rows], shares
