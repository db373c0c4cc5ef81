"""
Hubs on which carrying out keeps failing: set aside, so that they hold up nobody else, until DCC decides.

A hub is struck when a command for it fails by itself; after a few strikes it is set aside, and so is the one on
which worker after worker dies.
"""

from datetime import datetime, timedelta

from portal.ground import sql
from scheduling.models import LOT_SPAN

STRIKES = 3
"""Failures of a single hub's command before it is set aside."""
PAUSE = timedelta(seconds=30)
"""A hub that was struck is left alone so long."""
ERROR_LENGTH = 500

LEFT_ALONE = f"""ARRAY(
    SELECT deployment_id FROM scheduling_quarantine
    WHERE deployment_id BETWEEN lot.id * {LOT_SPAN} AND lot.id * {LOT_SPAN} + {LOT_SPAN - 1}
      AND (since IS NOT NULL OR last_at > %(now)s - %(pause)s::interval) AND lapsed_at IS NULL
    ORDER BY deployment_id)"""  # noqa: S608 - our own constants
"""The deployments of a lot that nobody may touch now: set aside, or struck just before."""
STRIKE = """
INSERT INTO scheduling_quarantine AS known (deployment_id, strikes, error, last_at, since)
VALUES (%(deployment)s, %(strikes)s, %(error)s, %(now)s,
        CASE WHEN %(strikes)s >= %(limit)s THEN %(now)s::timestamptz END)
ON CONFLICT (deployment_id) DO UPDATE SET
    strikes = known.strikes + excluded.strikes, error = excluded.error, last_at = excluded.last_at,
    since = CASE WHEN known.strikes + excluded.strikes >= %(limit)s THEN coalesce(known.since, excluded.last_at) END
"""


def strike(*, deployment: int, error: str, now: datetime) -> None:
    """Count a failure of this deployment's command; the last one that it may have sets it aside."""
    _strike(deployment, 1, error, now)


def set_aside(*, deployment: int, error: str, now: datetime) -> None:
    """Set a deployment aside at once."""
    _strike(deployment, STRIKES, error, now)


def _strike(deployment: int, strikes: int, error: str, now: datetime) -> None:
    sql.run(
        STRIKE,
        {
            "deployment": deployment,
            "strikes": strikes,
            "limit": STRIKES,
            "error": error[:ERROR_LENGTH],
            "now": now,
        },
    )
