"""Spans of time: those that a week repeats by the UK wall clock, and how much of a period spans cover."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from portal.ground import uk_time

Span = tuple[datetime, datetime]
"""A half-open span of instants."""


@dataclass(frozen=True, slots=True)
class Weekly:
    """
    The same hours on some weekdays (0 is Monday), by the UK wall clock.

    Where `ends` is not after `starts` the hours run into the next day. `first` and `last` are the days, both
    included, on which they may begin; None means no limit.
    """

    weekdays: Collection[int]
    starts: time
    ends: time
    first: date | None = None
    last: date | None = None

    def spans(self, *, start: datetime, end: datetime) -> list[Span]:
        """Return the spans that touch the half-open span from `start` to `end`, whole, in order, in UTC."""
        day = start.astimezone(uk_time.LONDON).date() - timedelta(days=1)  # yesterday's may run into today
        last = end.astimezone(uk_time.LONDON).date()
        if self.first:
            day = max(day, self.first)
        if self.last:
            last = min(last, self.last)
        found = []
        while day <= last:
            if day.weekday() in self.weekdays:
                over_midnight = self.ends <= self.starts
                opens = uk_time.bound(datetime.combine(day, self.starts), is_last=False)
                closes = uk_time.bound(
                    datetime.combine(day + timedelta(days=over_midnight), self.ends), is_last=True
                )
                if opens < closes and opens < end and closes > start:
                    found.append((opens, closes))
            day += timedelta(days=1)
        return found


def merged(*, spans: Iterable[Span]) -> list[Span]:
    """Join the spans that overlap or touch; return them in order."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def overlap(*, spans: Sequence[Span], start: datetime, end: datetime) -> bool:
    """Say whether any of the `merged` spans shares a moment with the half-open span from `start` to `end`."""
    after = bisect_left(spans, (end,))
    return after > 0 and spans[after - 1][1] > start


def covered(*, spans: Iterable[Span], start: datetime, end: datetime) -> timedelta:
    """Return how much of the half-open span from `start` to `end` the spans cover together."""
    clipped = [(max(opens, start), min(closes, end)) for opens, closes in spans]
    return sum(
        (closes - opens for opens, closes in merged(spans=[span for span in clipped if span[0] < span[1]])),
        start=timedelta(),
    )


class Cover:
    """How much of the half-open span from `start` to `end` is covered, while spans are added one after another."""

    def __init__(self, *, start: datetime, end: datetime) -> None:
        self._start, self._end = start, end
        self._opens: list[datetime] = []
        self._closes: list[datetime] = []
        self.total = timedelta()

    def with_more(self, *, spans: Iterable[Span]) -> timedelta:
        """Return how much would be covered with these spans, too."""
        return sum((self._gain(span) for span in self._clipped(spans)), start=self.total)

    def add(self, *, spans: Iterable[Span]) -> None:
        """Cover these spans."""
        for opens, closes in self._clipped(spans):
            self.total += self._gain((opens, closes))
            met = self._met((opens, closes))
            if met:
                opens = min(opens, self._opens[met.start])
                closes = max(closes, self._closes[met.stop - 1])
            self._opens[met.start : met.stop] = [opens]
            self._closes[met.start : met.stop] = [closes]

    def _clipped(self, spans: Iterable[Span]) -> list[Span]:
        clipped = [(max(opens, self._start), min(closes, self._end)) for opens, closes in spans]
        return merged(spans=[span for span in clipped if span[0] < span[1]])

    def _met(self, span: Span) -> range:
        """Return the places of the covered spans that overlap or touch a span; where it would go if none does."""
        return range(bisect_left(self._closes, span[0]), bisect_right(self._opens, span[1]))

    def _gain(self, span: Span) -> timedelta:
        opens, closes = span
        taken = (
            min(closes, self._closes[place]) - max(opens, self._opens[place]) for place in self._met(span)
        )
        return closes - opens - sum(taken, start=timedelta())


def forever(moment: datetime) -> datetime:
    """Return a moment later than any that matters beside `moment`: the end of what has no end yet."""
    return moment.astimezone(UTC) + timedelta(days=36_500)
