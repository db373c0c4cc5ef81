"""The one source of time: the database's clock, so that no worker's own clock matters."""

from collections.abc import Callable
from datetime import UTC, datetime

from django.db import connection

Clock = Callable[[], datetime]
"""Anything that answers with the present moment as an aware UTC datetime."""


def now() -> datetime:
    """Return the database's present moment (not the start of the transaction), in UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment.astimezone(UTC)
