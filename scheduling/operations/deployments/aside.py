"""
Hubs on which carrying out keeps failing: set aside, so that they hold up nobody else, until DCC decides.

A hub is struck when a command for it fails by itself; after a few strikes it is set aside, and so is the one on
which worker after worker dies.
"""

from datetime import datetime, timedelta

from portal.ground import sql

STRIKES = 3
"""Failures of a single hub's command before it is set aside."""
PAUSE = timedelta(seconds=30)
"""A hub that was struck is left alone so long."""
ERROR_LENGTH = 500

KEPT = """
SELECT deployment_id FROM scheduling_quarantine
WHERE deployment_id BETWEEN %(first)s AND %(last)s AND (since IS NOT NULL OR last_at > %(after)s)
  AND lapsed_at IS NULL
ORDER BY deployment_id
"""
STRIKE = """
INSERT INTO scheduling_quarantine AS known (deployment_id, strikes, error, last_at, since)
VALUES (%(deployment)s, %(strikes)s, %(error)s, %(now)s,
        CASE WHEN %(strikes)s >= %(limit)s THEN %(now)s::timestamptz END)
ON CONFLICT (deployment_id) DO UPDATE SET
    strikes = known.strikes + excluded.strikes, error = excluded.error, last_at = excluded.last_at,
    since = CASE WHEN known.strikes + excluded.strikes >= %(limit)s THEN coalesce(known.since, excluded.last_at) END
"""


def of(*, first: int, last: int, now: datetime) -> list[int]:
    """Return the deployments from `first` to `last` that nobody may touch now: set aside, or struck just before."""
    return [
        deployment for (deployment,) in sql.rows(KEPT, {"first": first, "last": last, "after": now - PAUSE})
    ]


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
