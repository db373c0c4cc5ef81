"""Numbers and moments in the words that several pages use."""

from datetime import datetime, timedelta

from django.db.models import TextChoices

from scheduling.queries.standings import Standing


class Stand(TextChoices):
    """How a Supplier's hubs stand with a release; the values choose the colour and the shape."""

    DONE = "succeeded", "Done"
    BOOKED = "booked", "Booked"
    LEFT = "provisional", "Left to book"


def bar_of(standing: Standing) -> dict[Stand, int]:
    """Return a standing as the parts of a bar."""
    return {Stand.DONE: standing.done, Stand.BOOKED: standing.booked, Stand.LEFT: standing.left}


def time_left(*, until: datetime, now: datetime) -> str:
    """Say how long there is until a moment, in the largest unit that says enough."""
    left = until - now
    if left <= timedelta():
        return "over"
    for length, unit in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour")):
        if left >= 2 * length:
            return f"{left // length} {unit}s left"
    minutes = max(left // timedelta(minutes=1), 1)
    return f"{minutes} minute{'' if minutes == 1 else 's'} left"
