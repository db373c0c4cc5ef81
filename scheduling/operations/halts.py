"""
The early warning: hold what came back from hubs against its limits, and stop a release that trips.

It needs the database and nothing else. Whoever records answers looks at the releases concerned at once; the timetable
looks at all of them, and keeps the evidence as it grows.
"""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction

from firmware import locks
from firmware.models import FirmwareRelease, ReleaseState
from firmware.operations import decisions
from hubs.models import HubModel, Network
from portal.ground import sql
from scheduling.operations import cohorts, stages
from scheduling.queries import evidence
from scheduling.queries.evidence import Look, Watched

logger = logging.getLogger(__name__)

# One row for each stream and minute, and none where nothing has changed since the last.
KEEP = f"""
INSERT INTO scheduling_evidence AS kept
    (release_id, model_id, network_id, at, seen_at, episode, good, bad, waiting, tolerated, evidence, threshold)
SELECT %(release)s, seen.model_id, seen.network_id, date_trunc('minute', %(now)s::timestamptz), %(now)s, seen.episode,
       seen.good, seen.bad, seen.waiting, %(tolerated)s, seen.evidence, seen.threshold
FROM unnest(%(models)s::bigint[], %(networks)s::bigint[], %(episodes)s::int[], %(good)s::bigint[], %(bad)s::bigint[],
            %(waiting)s::bigint[], %(evidence)s::float8[], %(threshold)s::float8[])
    AS seen (model_id, network_id, episode, good, bad, waiting, evidence, threshold)
LEFT JOIN LATERAL ({evidence.LAST_KEPT.format(before="true")}) last ON true
WHERE (last.episode, last.good, last.bad, last.waiting)
      IS DISTINCT FROM (seen.episode, seen.good, seen.bad, seen.waiting)
ORDER BY seen.model_id, seen.network_id
ON CONFLICT (release_id, model_id, network_id, at) DO UPDATE SET
    seen_at = excluded.seen_at, episode = excluded.episode, good = excluded.good, bad = excluded.bad,
    waiting = excluded.waiting, evidence = excluded.evidence, threshold = excluded.threshold
"""  # noqa: S608 - our own constant


def watch(*, now: datetime) -> int:
    """
    Look at every published release as `stop_bad` does, and at what its bad hubs have in common; return how many halted.

    One that cannot be looked at keeps nobody from looking at the others.
    """
    halted = stop_bad(now=now)
    cohorts.keep_all(now=now)
    return halted


def stop_bad(*, now: datetime) -> int:
    """Look at every published release, keep what speaks against it, and halt those that trip; return how many did."""
    stages.cut_off(now=now)
    published = FirmwareRelease.objects.filter(state=ReleaseState.PUBLISHED).order_by("pk")
    halted = 0
    for release in published.values_list("pk", flat=True):
        try:
            seen = evidence.look(release=release, now=now)
            _keep(release, seen, now)
            halted += seen.stops and trip(release=release, now=now)
        except Exception:
            logger.exception("release %s could not be looked at", release)
    return halted


def check(*, releases: Iterable[int], now: datetime) -> int:
    """Look at some releases, by id, because hubs of theirs have ended; halt those that trip, and return how many."""
    return sum(
        trip(release=release, now=now)
        for release in sorted(releases)
        if evidence.look(release=release, now=now).stops
    )


@transaction.atomic
def trip(*, release: int, now: datetime) -> bool:
    """
    Halt a release, by id, if what came back still says so once nobody can admit a command; return whether it was.

    Asked again under the lock: a release that was resumed meanwhile is not halted for what was known before.
    """
    locks.take_exclusive(release_id=release)
    stages.cut_off(now=now)
    seen = evidence.look(release=release, now=now)
    if not seen.stops:
        return False
    _keep(release, seen, now)
    halting = FirmwareRelease.objects.get(pk=release)
    if halting.state != ReleaseState.PUBLISHED:  # what comes back from a halted release goes on saying so
        return False
    reason = _why(seen)
    is_late = seen.worst is not None and seen.worst.reading.trips and seen.worst.is_late
    try:
        decisions.halt(
            release=halting,
            by=None,
            reason=reason,
            now=now,
            facts=_facts(seen) | {"in_common": cohorts.at_halt(release=release, now=now, is_late=is_late)},
        )
    except decisions.UnableToHalt:  # halted, withdrawn or closed at the same moment
        return False
    logger.critical("release %s was halted: %s", release, reason)
    return True


def _keep(release: int, seen: Look, now: datetime) -> None:
    # what a later look found has its own tally, and no episode of the others
    watched = [one for one in seen.watched if one.stream.hubs and not one.is_late]
    if watched:
        terms = {
            "release": release,
            "now": now,
            "tolerated": seen.tolerated,
            "models": [one.model for one in watched],
            "networks": [one.network for one in watched],
            "episodes": [one.episode for one in watched],
            "good": [one.stream.good for one in watched],
            "bad": [one.stream.bad for one in watched],
            "waiting": [one.stream.waiting for one in watched],
            "evidence": [one.reading.evidence for one in watched],
            "threshold": [one.reading.limit for one in watched],
        }
        sql.run(KEEP, terms)


def _why(seen: Look) -> str:
    """Return the sentences on why the release has to stop, as it does."""
    worst = seen.worst
    if worst is None or not worst.reading.trips:
        return (
            f"Early warning: {seen.refused:,} hubs refused the image, because its hash or their hardware did not "
            f"match; {evidence.REFUSALS} are enough to stop. Compare the stored image and the hub models of the "
            "release with the CPL before anybody resumes it."
        )
    stream = worst.stream
    if worst.is_late:
        return (
            f"Early warning: of {stream.hubs:,} hubs {_where(worst)} that were looked at again a day or two after "
            f"they had succeeded, {stream.bad:,} are bad ({stream.bad / stream.hubs:.1%}), where "
            f"{seen.tolerated:.2%} are tolerated. They had answered well, and then fell silent or went back to another "
            "version. Nothing more is activated until it is known what they have in common."
        )
    waiting = f"; {stream.waiting:,} have yet to answer" if stream.waiting else ""
    return (
        f"Early warning: of {stream.hubs:,} hubs {_where(worst)} that were activated, {stream.bad:,} are bad "
        f"({stream.bad / stream.hubs:.1%}), where {seen.tolerated:.2%} are tolerated{waiting}. Bad hubs failed, came "
        "back with another version, or did not answer in time. Nothing more is activated until it is known what they "
        "have in common."
    )


def _where(watched: Watched) -> str:
    if watched.network is not None:
        return f"on network {Network.objects.get(pk=watched.network)}"
    return f"of model {HubModel.objects.get(pk=watched.model or 0)}"


def _facts(seen: Look) -> dict[str, Any]:
    return {
        "tolerated": seen.tolerated,
        "refused": seen.refused,
        "streams": [
            {
                "model": one.model,
                "network": one.network,
                "is_late": one.is_late,
                "episode": one.episode,
                "good": one.stream.good,
                "bad": one.stream.bad,
                "waiting": one.stream.waiting,
                "evidence": round(one.reading.evidence, 4),
                "limit": round(one.reading.limit, 4),
            }
            for one in seen.watched
        ],
    }
