"""Make slots from DCC's weekly patterns, for as long as releases are available."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import transaction

from firmware.models import AvailabilityPeriod, ReleaseState
from portal.ground import sql
from portal.ground.uk_time import LONDON, day_bounds
from scheduling.models import CapacityPattern

# Raw SQL, because thousands of slots are made or changed at once: a slot that has begun is left alone, and
# no capacity falls below what is taken. Slots that are right already are not locked, and the others in the order
# of their ids, as everybody who locks slots does: bookings wait for them.
LOCK = """
SELECT slot.id FROM scheduling_slot slot
LEFT JOIN unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[], %(capacities)s::int[])
    AS wanted (start_at, end_at, capacity) USING (start_at)
WHERE slot.network_id = %(network)s AND slot.start_at > %(now)s
  AND (slot.capacity <> greatest(coalesce(wanted.capacity, 0), slot.taken)
       OR (slot.taken = 0 AND slot.end_at <> wanted.end_at))
ORDER BY slot.id FOR UPDATE OF slot
"""
UPSERT = """
INSERT INTO scheduling_slot (network_id, start_at, end_at, capacity, taken)
SELECT %(network)s, start_at, end_at, capacity, 0
FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[], %(capacities)s::int[])
    AS wanted (start_at, end_at, capacity)
WHERE NOT EXISTS (
    SELECT FROM scheduling_slot slot
    WHERE slot.network_id = %(network)s AND slot.start_at = wanted.start_at
      AND slot.id <> ALL (%(locked)s::bigint[]))
ORDER BY start_at
ON CONFLICT (network_id, start_at) DO UPDATE SET
    capacity = greatest(excluded.capacity, scheduling_slot.taken),
    end_at = CASE WHEN scheduling_slot.taken = 0 THEN excluded.end_at ELSE scheduling_slot.end_at END
WHERE scheduling_slot.capacity <> greatest(excluded.capacity, scheduling_slot.taken)
   OR (scheduling_slot.taken = 0 AND scheduling_slot.end_at <> excluded.end_at)
"""
CLOSE = """
UPDATE scheduling_slot SET capacity = taken
WHERE id = ANY (%(locked)s::bigint[]) AND capacity <> taken AND start_at <> ALL (%(starts)s::timestamptz[])
"""


def open_slots(*, now: datetime) -> int:
    """
    Make or change the slots of every network up to the end of its last availability period, network by network.

    Returns the number of slots made, changed or closed. Slots that have begun stay as they are.
    """
    ends: dict[int, datetime] = {}
    for period in AvailabilityPeriod.objects.exclude(
        release__state__in=[ReleaseState.DRAFT, ReleaseState.WITHDRAWN, ReleaseState.CLOSED]
    ):
        ends[period.network_id] = max(period.end_at, ends.get(period.network_id, period.end_at))
    changed = 0
    for network, end in sorted(ends.items()):
        patterns = list(CapacityPattern.objects.filter(network=network))
        spans = list(spans_of(patterns=patterns, start=now, end=end))
        parameters: dict[str, Any] = {
            "network": network,
            "now": now,
            "starts": [start for start, _, _ in spans],
            "ends": [end for _, end, _ in spans],
            "capacities": [capacity for _, _, capacity in spans],
        }
        with transaction.atomic():
            parameters["locked"] = [slot for (slot,) in sql.rows(LOCK, parameters)]
            changed += sql.run(UPSERT, parameters) + sql.run(CLOSE, parameters)
    return changed


def spans_of(
    *, patterns: Sequence[CapacityPattern], start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, int]]:
    """
    Yield (start, end, capacity) of the slots that the patterns make between two instants, in UTC.

    A pattern begins and ends by the UK wall clock and is stepped in real time, so the hour that a spring night
    skips has no slots and the hour that an autumn night repeats has them twice.
    """
    day = start.astimezone(LONDON).date()
    while day_bounds(day)[0] < end:
        for pattern in patterns:
            if pattern.weekday == day.weekday():
                opens, closes = _bounds(pattern, day)
                length = timedelta(minutes=pattern.slot_minutes)
                while opens + length <= closes:
                    if opens > start and opens + length <= end:
                        yield opens, opens + length, pattern.capacity
                    opens += length
        day += timedelta(days=1)


def _bounds(pattern: CapacityPattern, day: date) -> tuple[datetime, datetime]:
    opens = datetime.combine(day, pattern.starts, LONDON).astimezone(UTC)
    if pattern.ends is None or pattern.ends == time():
        return opens, day_bounds(day)[1]
    return opens, datetime.combine(day, pattern.ends, LONDON).astimezone(UTC)
