"""How long a hub is left alone around its change of supplier (pure)."""

from datetime import date, datetime, time, timedelta

from portal.ground import uk_time

DAY = timedelta(days=1)
PROTECTED_FROM = time(18)
"""On the day before, in UK time."""


def protected_span(*, effective_on: date) -> tuple[datetime, datetime]:
    """Return the half-open span around a change, in UTC: from 18:00 the day before to the end of the day after."""
    return (
        uk_time.from_local(datetime.combine(effective_on - DAY, PROTECTED_FROM)),
        uk_time.day_bounds(effective_on + DAY)[1],
    )
