"""Tell a supervisor whether this process lives and can serve, and people whether the work is being done."""

import functools
import logging
from dataclasses import dataclass

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from portal import checks, queries
from portal.ground import apart, clock
from scheduling.queries import health

logger = logging.getLogger(__name__)
EVERY_SECONDS = 5
"""How often the page asks for itself again."""
SET_ASIDE = 20
"""Hubs set aside that the page names; there should be none."""
PATIENCE = 2
"""Seconds that PostgreSQL has for each answer."""


@login_not_required
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Answer, which is all that is asked."""
    return HttpResponse("alive\n", content_type="text/plain")


@login_not_required
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """
    Say what answers, and 503 when this process cannot serve; within some seconds, even when a server hangs.

    Not without PostgreSQL, nor while it takes no writes, nor before every migration that this version knows is
    applied. Without Redis it can: people sign in, book, cancel, and above all
    halts. All web hosts share one Redis, so a balancer that took its silence for theirs would take away the last
    of them. It is named here, and on the health page, for people to see to.
    """
    services = {**_ask_postgresql(), "redis": queries.redis_answers()}
    can_serve = services["postgresql"] and services["writable"] and services["migrated"]
    return JsonResponse(services, status=200 if can_serve else 503)


# Without a table of migrations the second question would be refused as a whole.
TAKES_WRITES = "SELECT current_setting('transaction_read_only'), to_regclass('django_migrations') IS NOT NULL"
MIGRATIONS_TO_COME = """
SELECT known.app || '.' || known.name
FROM unnest($1::text[], $2::text[]) AS known (app, name)
WHERE NOT EXISTS (
    SELECT FROM django_migrations applied WHERE applied.app = known.app AND applied.name = known.name)
"""


def _ask_postgresql() -> dict[str, bool]:
    """Ask on a new connection: this thread's own might hang for as long as the server does."""
    answers = {"postgresql": False, "writable": False, "migrated": False}
    try:
        [(read_only, has_migrations)] = apart.ask(statement=TAKES_WRITES, within=PATIENCE)
        answers |= {"postgresql": True, "writable": read_only == "off"}
        if has_migrations == "t":
            apps, names = _known_migrations()
            to_come = apart.ask(statement=MIGRATIONS_TO_COME, parameters=[apps, names], within=PATIENCE)
            answers["migrated"] = not to_come
    except (apart.NoAnswer, apart.Refused) as error:
        logger.error("PostgreSQL does not answer: %s", error)
    if answers["postgresql"] and not answers["writable"]:
        logger.error("PostgreSQL takes no writes")
    if answers["postgresql"] and not answers["migrated"]:
        logger.error("migrations are not applied")
    return answers


@functools.cache
def _known_migrations() -> tuple[str, str]:
    """Return the apps and the names of this version's migrations, as arrays of PostgreSQL."""
    known = sorted(MigrationLoader(None).disk_migrations)
    return (
        "{" + ",".join(app for app, _ in known) + "}",
        "{" + ",".join(name for _, name in known) + "}",
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One check with its reading, as the page shows it."""

    check: checks.Check
    reading: str
    standing: checks.Standing


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show DCC staff what works, what waits, and what to look into; asked by htmx, only what changes."""
    found = queries.health_of_all(now=clock.now())
    lines = {
        name: [_line(check, found.readings[check.name]) for check in group]
        for name, group in checks.GROUPS.items()
    }
    context = {
        "health": found,
        "groups": lines,
        "worries": [_line(check, found.readings[check.name]) for check in found.worries],
        "set_aside": health.set_aside(limit=SET_ASIDE) if found.readings["set_aside"] else [],
        "every_seconds": EVERY_SECONDS,
    }
    if request.headers.get("HX-Request"):
        return render(request, "admin/health/_live.html", context)
    context |= {**admin.site.each_context(request), "title": "Health"}
    return render(request, "admin/health/page.html", context)


def _line(check: checks.Check, reading: float | None) -> Line:
    return Line(check, check.written(reading), check.standing(reading))
