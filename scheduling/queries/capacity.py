"""DCC's weekly patterns of capacity, and how far the slots made from them are kept back, booked and used."""

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
# As many places as are reserved of each slot by itself, as those who book are told.
WEEKS = f"""
SELECT {WEEK}, network.name, slot.network_id, count(*), sum(slot.capacity)::bigint,
       sum(slot.capacity * coalesce(kept.percent, 0) / 100)::bigint, sum(slot.taken)::bigint,
       coalesce(sum(carried_out.hubs), 0)::bigint
FROM scheduling_slot slot JOIN hubs_network network ON network.id = slot.network_id
LEFT JOIN LATERAL (
    SELECT max(policy.reserve_percent) AS percent
    FROM firmware_availabilityperiod period
    JOIN firmware_firmwarerelease release ON release.id = period.release_id AND release.state = ANY (%(open)s)
    JOIN firmware_rolloutpolicy policy ON policy.release_id = release.id
    WHERE period.network_id = slot.network_id
      AND slot.start_at >= period.start_at AND slot.end_at <= period.end_at) kept ON true
LEFT JOIN (
    SELECT lot.slot_id, sum(lot.activating + lot.succeeded + lot.failed + lot.unconfirmed) AS hubs
    FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id WHERE {WITHIN}
    GROUP BY 1) carried_out ON carried_out.slot_id = slot.id
WHERE {WITHIN} GROUP BY 1, 2, 3 ORDER BY 2, 1
"""  # noqa: S608 - our own constants
SHARES = f"""
SELECT {WEEK}, network.name, slot.network_id, supplier.name, supplier.id, sum(lot.size - lot.cancelled)::bigint,
       sum(lot.activating + lot.succeeded + lot.failed + lot.unconfirmed)::bigint
FROM scheduling_slot slot
JOIN scheduling_lot lot ON lot.slot_id = slot.id
JOIN hubs_network network ON network.id = slot.network_id
JOIN hubs_supplier supplier ON supplier.id = lot.supplier_id
WHERE {WITHIN} GROUP BY 1, 2, 3, 4, 5 HAVING sum(lot.size - lot.cancelled) > 0 ORDER BY 2, 1, 4
"""  # noqa: S608 - our own constants


def _span(first: date, weeks: int) -> dict[str, datetime]:
    """Return when so many weeks begin and end in UK time, the first on a Monday."""
    return {
        "start": datetime.combine(first, time(), LONDON),
        "end": datetime.combine(first + timedelta(weeks=weeks), time(), LONDON),
    }


def weeks(*, first: date, number: int) -> Sequence[Week]:
    """Return how far each network is kept back, booked and used in so many weeks, the first from a Monday on."""
    terms = _span(first, number) | {"open": [str(state) for state in OPEN_TO_SUPPLIERS]}
    return [Week(*row) for row in sql.rows(WEEKS, terms)]


def booked_by(*, first: date, number: int) -> Sequence[BookedBy]:
    """Return what each Supplier has booked of each network in the same weeks."""
    return [BookedBy(*row) for row in sql.rows(SHARES, _span(first, number))]
