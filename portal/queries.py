"""Questions about people, and about whether the portal does its work."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from portal import checks, tokens
from portal.models import Heartbeat, Invitation
from scheduling.queries import health
from scheduling.queries.health import Backlog

logger = logging.getLogger(__name__)
SILENT = timedelta(seconds=60)
"""Six heartbeats; by then others may take its lots."""
JUST_NOW = timedelta(hours=1)
"""For so long a process that fell silent is news."""
PATIENCE = 2
"""Seconds that Redis has for its answer."""


def invitation_of(*, token: str) -> Invitation | None:
    """Return the invitation that a link belongs to, used or not, with who invited and for whom."""
    return (
        Invitation.objects.filter(token_digest=tokens.digest(token))
        .select_related("supplier", "invited_by")
        .first()
    )


@dataclass(frozen=True, slots=True)
class Process:
    """A worker or beat, and for how long it has been silent."""

    heartbeat: Heartbeat
    silence: timedelta

    @property
    def is_silent(self) -> bool:
        """Say whether it has been, for longer than a living one ever is."""
        return self.silence > SILENT


@dataclass(frozen=True, slots=True)
class Health:
    """Every reading by the name of its check, with the processes and the networks' backlogs behind them."""

    as_of: datetime
    readings: Mapping[str, float | None]
    processes: Sequence[Process]
    backlogs: Sequence[Backlog]

    @property
    def worries(self) -> list[checks.Check]:
        """The checks that somebody has to look into."""
        return [
            check
            for check in checks.every()
            if check.standing(self.readings[check.name]) is checks.Standing.WORRY
        ]


def health_of_all(*, now: datetime) -> Health:
    """Take every reading: from small tables and partial indexes, in a few statements, and from Redis."""
    processes = [
        Process(heartbeat, now - heartbeat.seen_at)
        for heartbeat in Heartbeat.objects.order_by("kind", "name")
    ]
    backlogs = health.backlog(now=now)
    return Health(
        as_of=now,
        readings={**_of_processes(processes), **_of_backlogs(backlogs, now), **_of_the_rest(now)},
        processes=processes,
        backlogs=backlogs,
    )


def _of_processes(processes: Sequence[Process]) -> dict[str, float | None]:
    living = [process.heartbeat for process in processes if not process.is_silent]
    kinds = [heartbeat.kind for heartbeat in living]
    return {
        "workers": kinds.count(Heartbeat.Kind.WORKER),
        "beats": kinds.count(Heartbeat.Kind.BEAT),
        "silent_processes": sum(SILENT < process.silence <= JUST_NOW for process in processes),
        "versions": len({heartbeat.version for heartbeat in living}),
        "redis_answers": float(redis_answers()),
    }


def _of_backlogs(backlogs: Sequence[Backlog], now: datetime) -> dict[str, float | None]:
    oldest = min((backlog.oldest for backlog in backlogs if backlog.oldest), default=None)
    return {
        "oldest_due": _age(oldest, now),
        "due_lots": sum(backlog.due for backlog in backlogs),
        "due_hubs": sum(backlog.due_hubs for backlog in backlogs),
        "leased_lots": sum(backlog.leased for backlog in backlogs),
        "waiting_lots": sum(backlog.wait for backlog in backlogs),
        "deadly_lots": sum(backlog.deadly for backlog in backlogs),
        "unanswered_lots": sum(backlog.unanswered for backlog in backlogs),
    }


def _of_the_rest(now: datetime) -> dict[str, float | None]:
    found = health.standing(now=now, most=checks.MOST)
    return {
        "fleet_count_age": _age(found.counted_at, now),
        "stray_reports": found.stray_reports,
        "forged_answers": found.forged_answers,
        "unreadable_reports": found.unreadable_reports,
        "reclaims_of_an_hour": found.reclaims_of_an_hour,
        "reclaims_of_a_day": found.reclaims_of_a_day,
        "set_aside": found.set_aside,
        "lapsed": found.lapsed,
        "excesses": found.excesses,
        "differences": found.differences,
        "reconciliation_age": _age(found.reconciled_at, now),
        "log_was_read": None if found.log_was_read is None else float(found.log_was_read),
        "half_made_bookings": found.half_made_bookings,
        "unfinished_allocations": found.unfinished_allocations,
        "exceptions": found.exceptions,
        "late_exceptions": found.late_exceptions,
        "overdue_changes": _age(found.overdue_since, now),
        "owed_notices": found.owed_notices,
        "oldest_notice": _age(found.oldest_notice, now),
    }


def _age(moment: datetime | None, now: datetime) -> float | None:
    return (now - moment).total_seconds() if moment else None


def redis_answers() -> bool:
    """Ask Redis on a new connection, once: the cache's own would be patient, and try again."""
    server = Redis.from_url(
        settings.CACHES["default"]["LOCATION"],
        socket_connect_timeout=PATIENCE,
        socket_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return bool(server.ping())
    except (RedisError, OSError) as error:
        logger.error("Redis does not answer: %s", error)
        return False
    finally:
        server.close()
