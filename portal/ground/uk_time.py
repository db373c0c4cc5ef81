"""
UK local time and working days.

Instants are aware datetimes; results are in UTC. A working day is Monday to Friday, less the bank
holidays of England and Wales. Working time stands still on other days, so every moment of a weekend
counts as 00:00 of the next working day: that keeps "two working days before" in step with the order
of the slots it is asked for.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, Self, cast, get_args
from zoneinfo import ZoneInfo

import holidays

LONDON = ZoneInfo("Europe/London")
Unit = Literal["seconds", "minutes", "hours", "days", "working days"]
_BANK_HOLIDAYS = holidays.country_holidays("GB", subdiv="ENG")
_WORDS = re.compile(r"(\d{1,5}) (second|minute|hour|day|working day)s?")
_SHOWN = "a whole number and a unit, such as “2 working days”, “72 hours” or “3 minutes”"


class UnreadableSpan(ValueError):
    """The words are not those of a span."""


class AmbiguousLocalTime(ValueError):
    """The local time happens twice, or never, because the clocks change."""


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time in the unit in which people agreed it."""

    amount: int
    unit: Unit

    @classmethod
    def parse(cls, words: str) -> Self:
        """
        Read a span from its words, such as "2 working days".

        :raises UnreadableSpan: naming the form that is wanted
        """
        if not (match := _WORDS.fullmatch(" ".join(words.lower().split()))):
            raise UnreadableSpan(f"“{words}” is not a span: give {_SHOWN}.")
        unit = match[2] + "s"
        assert unit in get_args(Unit)  # noqa: S101 - the pattern admits no other
        return cls(int(match[1]), cast(Unit, unit))

    def __str__(self) -> str:
        return f"{self.amount} {self.unit.removesuffix('s') if self.amount == 1 else self.unit}"

    def before(self, at: datetime) -> datetime:
        """Return the moment this long before `at`, in UTC."""
        return self._shift(at, -1)

    def after(self, at: datetime) -> datetime:
        """Return the moment this long after `at`, in UTC: the earliest whose `before` is not before `at`."""
        return self._shift(at, 1)

    def _shift(self, at: datetime, sign: int) -> datetime:
        if self.unit == "working days":
            return add_working_days(at, sign * self.amount)
        if self.unit == "days":  # calendar days keep the wall clock's time
            local = at.astimezone(LONDON)
            return (local + timedelta(days=sign * self.amount)).astimezone(UTC)
        return at.astimezone(UTC) + sign * timedelta(**{self.unit: self.amount})


def is_working_day(day: date) -> bool:
    """Say whether `day` is a working day in England and Wales."""
    return day.weekday() < 5 and day not in _BANK_HOLIDAYS


def add_working_days(at: datetime, days: int) -> datetime:
    """Move `at` by whole working days, forwards or back, at the same UK wall-clock time; return UTC."""
    local = at.astimezone(LONDON)
    day, clock = local.date(), local.time()
    if not is_working_day(day):
        clock = time()
        while not is_working_day(day):
            day += timedelta(days=1)
    step = timedelta(days=1 if days > 0 else -1)
    for _ in range(abs(days)):
        day += step
        while not is_working_day(day):
            day += step
    return datetime.combine(day, clock, LONDON).astimezone(UTC)


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the half-open span of a UK local day in UTC: 23, 24 or 25 hours."""
    start = datetime.combine(day, time(), LONDON)
    return start.astimezone(UTC), datetime.combine(day + timedelta(days=1), time(), LONDON).astimezone(UTC)


def from_local(at: datetime, *, offset: timedelta | None = None) -> datetime:
    """
    Return the instant of a naive UK local time, in UTC.

    `offset` chooses between the two instants of a local time that happens twice.

    :raises AmbiguousLocalTime: if the time does not exist, or exists twice and no offset fits
    """
    candidates = {
        candidate.astimezone(UTC)
        for fold in (0, 1)
        if (candidate := at.replace(tzinfo=LONDON, fold=fold))
        .astimezone(UTC)
        .astimezone(LONDON)
        .replace(tzinfo=None)
        == at
    }
    if offset is not None:
        candidates = {instant for instant in candidates if instant.astimezone(LONDON).utcoffset() == offset}
    if len(candidates) == 1:
        return candidates.pop()
    if not candidates:
        raise AmbiguousLocalTime(f"{at:%d %b %Y %H:%M} does not exist in UK time: the clocks go forward.")
    raise AmbiguousLocalTime(
        f"{at:%d %b %Y %H:%M} happens twice in UK time, as BST and as GMT: choose which is meant."
    )
