"""
UK local time and working days.

Instants are aware datetimes; results are in UTC. A working day is Monday to Friday, less the bank
holidays of England and Wales. Working time stands still on other days, so every moment of a weekend
counts as 00:00 of the next working day: that keeps "two working days before" in step with the order
of the slots it is asked for. For the same reason calendar days stand still at 01:00 while the hour
that autumn repeats goes by for the first time, and an hour that spring leaves out counts as its end.
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
        """Return the moment this long before `at`, in UTC; a later `at` never has an earlier answer."""
        if self.amount and self.unit == "working days":
            return add_working_days(at, -self.amount)
        if self.amount and self.unit == "days":  # calendar days keep the wall clock's time
            return _instant(_wall(at) - timedelta(days=self.amount))
        return at.astimezone(UTC) - self._exact()

    def after(self, at: datetime) -> datetime:
        """
        Return the earliest moment whose `before` is not before `at`, in UTC.

        So a slot starts at or after `after(now)` exactly when `before` of its start has not passed,
        and the two can be asked in either direction.
        """
        if self.amount and self.unit == "working days":
            reached = add_working_days(at, self.amount).astimezone(LONDON)
            day = reached.date()
            if reached.time() == time():  # the days off just before it count as the same moment
                while not is_working_day(day - timedelta(days=1)):
                    day -= timedelta(days=1)
            return datetime.combine(day, reached.time(), LONDON).astimezone(UTC)
        if self.amount and self.unit == "days":
            wall = _wall(at)
            if _instant(wall - timedelta(hours=1)) == _instant(wall):  # the hour left out ends here
                wall -= timedelta(hours=1)
            wall += timedelta(days=self.amount)
            first = _instant(wall, fold=0)
            return first if _wall(first) == wall else _instant(wall)
        return at.astimezone(UTC) + self._exact()

    def _exact(self) -> timedelta:
        return timedelta(**{self.unit: self.amount}) if self.amount else timedelta()


def _wall(at: datetime) -> datetime:
    """Return the naive UK local time of an instant, standing still in the first pass of a repeated hour."""
    local = at.astimezone(LONDON)
    wall = local.replace(tzinfo=None)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        return wall.replace(minute=0, second=0, microsecond=0)
    return wall.replace(fold=0)


def _instant(wall: datetime, *, fold: int = 1) -> datetime:
    """Return the instant of a naive UK local time, in UTC: of a repeated hour the pass that `fold` says."""
    early, late = (wall.replace(tzinfo=LONDON, fold=which).astimezone(UTC) for which in (0, 1))
    if early > late:  # left out; UK clocks change on the hour
        return early.replace(minute=0, second=0, microsecond=0)
    return late if fold else early


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


def bound(wall: datetime, *, is_last: bool) -> datetime:
    """
    Return the instant at which a span that people give by the UK wall clock begins, or ends (`is_last`), in UTC.

    A time that happens twice means the first pass as a beginning and the last as an end, so a span never shrinks
    in autumn; one that the clocks leave out in spring means the moment at which they go forward.
    """
    return _instant(wall, fold=int(is_last))
