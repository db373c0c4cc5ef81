"""The one source of time: the database's clock, so that no worker's own clock matters."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from threading import Lock
from typing import Any

from django.db import connection

from portal.ground import sql

Clock = Callable[[], datetime]
"""Anything that answers with the present moment as an aware UTC datetime."""


def now() -> datetime:
    """Return the database's present moment (not the start of the transaction), in UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment.astimezone(UTC)


_DATABASES = now


class VirtualClock:
    """
    A clock for rehearsals: its time stands still but for a microsecond whenever somebody asks.

    So no two moments are the same, as with a real clock, and what came after what can be told from the stamps; also
    where several threads ask.
    """

    def __init__(self, *, moment: datetime) -> None:
        self._moment = moment
        self._lock = Lock()

    def __call__(self) -> datetime:
        """Return the present moment."""
        with self._lock:
            self._moment += timedelta(microseconds=1)
            return self._moment

    def move_on(self, *, to: datetime) -> None:
        """
        Let time pass until a moment.

        :raises ValueError: if that is over
        """
        if to < self._moment:
            raise ValueError(f"It is {self._moment} by now: time does not go back to {to}.")
        self._moment = to


def now_and_rows(
    *, clock: Clock, statement: str, parameters: Mapping[str, Any]
) -> tuple[datetime, list[tuple[Any, ...]]]:
    """
    Return the present moment and what a SELECT answers: in one round trip, where the clock is the database's.

    It is an `Often` if the statement is.
    """
    if clock is not _DATABASES:
        return clock(), sql.rows(statement, parameters)
    asked = sql.rows(_with_moment(statement), parameters)
    return asked[0][0].astimezone(UTC), [tuple(row) for _, is_there, *row in asked if is_there]


@lru_cache(maxsize=None, typed=True)
def _with_moment(statement: str) -> str:
    told = f"SELECT true AS is_there, answer.* FROM ({statement}) answer"  # noqa: S608 - the caller's own statement
    asked = f"SELECT clock_timestamp(), asked.* FROM (SELECT) always LEFT JOIN ({told}) asked ON true"  # noqa: S608 - as above
    return sql.Often(asked) if isinstance(statement, sql.Often) else asked


def several_then_now(
    *, clock: Clock, statements: Sequence[str], parameters: Mapping[str, Any]
) -> tuple[list[list[tuple[Any, ...]]], datetime]:
    """Execute statements as `sql.several` does; return the rows of each, and the moment after them."""
    if clock is not _DATABASES:
        return sql.several(statements, parameters), clock()
    *found, [(moment,)] = sql.several([*statements, "SELECT clock_timestamp()"], parameters)
    return found, moment.astimezone(UTC)
