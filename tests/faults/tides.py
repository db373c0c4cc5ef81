"""
The clock of a lane's database: it runs faster than time does, stands still, and leaps.

`clock_timestamp()` is the one source of time. A function of that name in the schema `public` goes before
PostgreSQL's own for the application's role.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

PUBLIC_FIRST = "ALTER ROLE portal SET search_path = public, pg_catalog"
"""For a superuser, once in a cluster."""
RUN = """
CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
$$ SELECT '{moment}'::timestamptz + (pg_catalog.clock_timestamp() - '{real}'::timestamptz) * {speed} $$
"""


def run_from(*, moment: datetime) -> None:
    """Let the database's time run on from a moment, at the speed of the settings."""
    _set(moment, settings.SPEED)


def leap(*, span: timedelta) -> None:
    """Let so much of the database's time pass at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT public.clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    _set(moment + span, settings.SPEED)


def _set(moment: datetime, speed: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.clock_timestamp()")
        real: datetime = cursor.fetchone()[0]
        cursor.execute(
            RUN.format(moment=moment.astimezone(UTC).isoformat(), real=real.isoformat(), speed=speed)
        )
