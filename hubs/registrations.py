"""When a change of supplier takes effect, and how long its hub is left alone around it (pure)."""

from datetime import date, datetime, time, timedelta

from portal.ground import uk_time

DAY = timedelta(days=1)
PROTECTED_FROM = time(18)
"""On the day before, in UK time."""


def effective_at(*, effective_on: date) -> datetime:
    """Return the moment, in UTC, from which the gaining Supplier has the hub: 00:00 UK time of the day."""
    return uk_time.day_bounds(effective_on)[0]


def protected_span(*, effective_on: date) -> tuple[datetime, datetime]:
    """Return the half-open span around a change, in UTC: from 18:00 the day before to the end of the day after."""
    return (
        uk_time.from_local(datetime.combine(effective_on - DAY, PROTECTED_FROM)),
        uk_time.day_bounds(effective_on + DAY)[1],
    )
