"""Questions about people, and about whether the portal does its work."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db.models import CharField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Concat, NullIf, Trim
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from hubs.models import Supplier
from portal import checks, tokens
from portal.ground import asking, sql
from portal.ground.roles import SupplierRole
from portal.ground.uk_time import day_bounds
from portal.models import Heartbeat, Invitation, User
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


def people_of(*, supplier: Supplier) -> QuerySet[User]:
    """Return everybody of a Supplier, those whose access has ended included, by address."""
    return User.objects.filter(supplier=supplier).order_by("email")


def invitations_of(*, supplier: Supplier) -> QuerySet[Invitation]:
    """
    Return a Supplier's invitations that nobody has accepted, the newest first.

    Each names its `inviter`: a colleague, or DCC, whose people a Supplier does not know.
    """
    named = Trim(Concat("first_name", Value(" "), "last_name"))
    colleague = User.objects.filter(pk=OuterRef("invited_by"), supplier=supplier).values(
        name=Coalesce(NullIf(named, Value("")), "email", output_field=CharField())
    )
    inviter = Coalesce(Subquery(colleague), Value("DCC"), output_field=CharField())
    found = Invitation.objects.filter(supplier=supplier, accepted_at=None).annotate(inviter=inviter)
    return found.order_by("-invited_at", "-pk")


@dataclass(frozen=True, slots=True)
class Deed:
    """What a person of a Supplier did, without the facts, which may be about another's things."""

    pk: int
    recorded_at: datetime
    who: str
    email: str
    role: str
    verb: str
    subject: str
    reason: str

    @property
    def acting_as(self) -> str:
        """Name the role in which they did it; empty where the record is older than roles in it."""
        return SupplierRole(self.role).label if self.role in SupplierRole else ""

    @property
    def what(self) -> str:
        """Write the act as people do."""
        return self.verb.replace(".", " ").replace("_", " ").capitalize()


_DEEDS = """
SELECT entry.id, entry.recorded_at,
    coalesce(nullif(trim(person.first_name || ' ' || person.last_name), ''), person.email),
    person.email, entry.role, entry.verb, entry.subject, entry.reason
FROM portal_user person
-- of each person the next, by their own index: the record of everybody is long
CROSS JOIN LATERAL (
    SELECT * FROM ground_auditentry
    WHERE actor_id = person.id AND id {beyond} %(start)s
        AND verb LIKE %(act)s AND recorded_at >= %(first)s AND recorded_at < %(last)s
    ORDER BY id {order} LIMIT %(limit)s
) entry
WHERE person.supplier_id = %(supplier)s AND person.id = coalesce(%(person)s, person.id)
ORDER BY entry.id {order} LIMIT %(limit)s
"""
DEEDS = _DEEDS.format(beyond="<", order="DESC")
DEEDS_UPWARDS = _DEEDS.format(beyond=">", order="ASC")
DEEDS_AT_A_TIME = 2_000
NEWEST = (1 << 63) - 1
LIKE_MEANS = str.maketrans({"\\": r"\\", "%": r"\%", " ": "_"})
"""What people type as one; a space stands for the dots and dashes of verbs."""


def deeds(
    *,
    supplier: Supplier,
    start: int | None,
    limit: int,
    is_upwards: bool = False,
    person: User | None = None,
    act: str | None = None,
    first_day: date | None = None,
    last_day: date | None = None,
) -> list[Deed]:
    """
    Return what a Supplier's people did, the newest first or, `is_upwards`, the oldest, at most `limit` of them.

    `start` is the key of the last one on the page before; `act` what a verb begins with, as people write it; the days
    are in the UK.
    """
    first = day_bounds(first_day)[0] if first_day else datetime.min.replace(tzinfo=UTC)
    last = day_bounds(last_day)[1] if last_day else datetime.max.replace(tzinfo=UTC)
    begins = (act or "").strip().lower().translate(LIKE_MEANS)
    asked = {
        "supplier": supplier.pk,
        "start": (0 if is_upwards else NEWEST) if start is None else start,
        "act": f"{begins}%",
        "first": first,
        "last": last,
        "person": person.pk if person else None,
        "limit": limit,
    }
    return [Deed(*row) for row in sql.rows(DEEDS_UPWARDS if is_upwards else DEEDS, asked)]


def every_deed(
    *,
    supplier: Supplier,
    person: User | None = None,
    act: str | None = None,
    first_day: date | None = None,
    last_day: date | None = None,
) -> Iterator[Deed]:
    """Yield all that a Supplier's people did, the newest first, as `deeds` narrows it; read in pages."""
    start: int | None = None
    while page := deeds(
        supplier=supplier,
        start=start,
        limit=DEEDS_AT_A_TIME,
        person=person,
        act=act,
        first_day=first_day,
        last_day=last_day,
    ):
        yield from page
        start = page[-1].pk


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
    """Ask Redis on a new connection, once: the broker's own would be patient, and try again."""
    server = Redis.from_url(
        settings.REDIS_ADDRESS,
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


def second_factors_of(*, user: User) -> dict[str, list[Authenticator]]:
    """Return what somebody can give beside their password, by kind, the oldest first."""
    held: dict[str, list[Authenticator]] = {kind: [] for kind in Authenticator.Type.values}
    for row in Authenticator.objects.filter(user_id=user.pk).order_by("created_at", "pk"):
        held[row.type].append(row)
    return held


@asking.trusted("how many of the Supplier's people have no second factor, and not which")
def people_without_second_factor(*, supplier: Supplier) -> int:
    """Return how many people of a Supplier can sign in, and have no second factor."""
    factors = Authenticator.objects.exclude(type=Authenticator.Type.RECOVERY_CODES)
    people = User.objects.filter(supplier=supplier, is_active=True)
    return people.exclude(pk__in=factors.values("user_id")).count()
