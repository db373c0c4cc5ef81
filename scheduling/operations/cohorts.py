"""Keep what the bad hubs of a release have in common, for pages to read: it warns, and halts nothing."""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from firmware.models import OPEN_TO_SUPPLIERS, FirmwareRelease
from scheduling.models import Cohort
from scheduling.queries import cohorts

logger = logging.getLogger(__name__)
EVERY = timedelta(minutes=10)
"""How long what was found stands, where no further hub is bad."""
FEW = 50
"""One bad hub more among so many changes nothing that a page would show: it waits as long."""
PATIENCE = 2_000
"""Milliseconds for each question on the way of a halt, which waits for nobody."""
TOLD = 6
"""Cohorts of each halt that stay with it."""


def keep(*, release: int, now: datetime, is_rough: bool = False, is_late: bool = False) -> int:
    """
    Look what the bad hubs of a release, by id, have in common, where that may have changed; return how many cohorts.

    A beginning of the evidence forgets what was found before it. A rough look lets a few more bad hubs wait. Where it
    `is_late`, or too few are bad otherwise, it is about those that were found bad when they were looked at again.
    """
    of = FirmwareRelease.objects.select_related("policy").get(pk=release)
    among = cohorts.watched(release=release)
    if is_late or among.bad < cohorts.LEAST:
        later = cohorts.looked_at_again(release=of, now=now)
        among = later if later.bad >= cohorts.LEAST else among
    kept = list(Cohort.objects.filter(release=release))
    bad = sum(one.bad for one in kept if one.kind == Cohort.Kind.SUPPLIER)
    if among.bad < cohorts.LEAST:
        if kept:
            Cohort.objects.filter(release=release).delete()
        return 0
    unknown = among.bad - bad
    if (
        not is_late
        and 0 <= unknown <= (among.bad // FEW if is_rough else 0)
        and now - max(one.seen_at for one in kept) < EVERY
    ):
        return len(kept)
    found = cohorts.find(release=of, among=among, now=now)
    with transaction.atomic():
        # in the order of their keys, as everybody writes them who looks at the same moment
        Cohort.objects.bulk_create(
            found,
            update_conflicts=True,
            unique_fields=["release", "kind", "value"],
            update_fields=["bad", "hubs", "is_estimate", "evidence", "threshold", "seen_at"],
        )
        Cohort.objects.filter(release=release, seen_at__lt=now).delete()
    return len(found)


def keep_all(*, now: datetime) -> None:
    """Look at every release that is published or halted; one that cannot be looked at keeps nobody from the others."""
    for release in (
        FirmwareRelease.objects.filter(state__in=OPEN_TO_SUPPLIERS)
        .order_by("pk")
        .values_list("pk", flat=True)
    ):
        try:
            keep(release=release, now=now, is_rough=True)
        except Exception:
            logger.exception("what the bad hubs of release %s have in common could not be found", release)


def at_halt(*, release: int, now: datetime, is_late: bool) -> dict[str, Any]:
    """
    Return what the bad hubs have in common as a halt keeps it; nothing where that cannot be said at once.

    Where what they showed late halts the release, it is about those that were looked at again.

    Within the halt's transaction, of which it spoils nothing.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {PATIENCE}")
            keep(release=release, now=now, is_late=is_late)
            found = cohorts.in_common(releases=[release]).get(release)
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    except Exception:
        logger.exception("what the bad hubs of release %s have in common could not be found", release)
        return {}
    if found is None:
        return {}
    return {
        "bad": found.bad,
        "hubs": found.hubs,
        "is_estimate": found.is_estimate,
        "sentence": found.sentence,
        "lines": [
            {
                "kind": line.kind,
                "words": line.words,
                "bad": line.bad,
                "hubs": line.hubs,
                "rate": line.rate,
                "times": line.times,
                "is_only_bad": line.is_only_bad,
                "warns": line.warns,
            }
            for line in found.lines[:TOLD]
        ],
    }
