"""Record what comes back, once, whatever its order, and move the deployments that await it."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from firmware import queries as releases
from firmware.models import FirmwareRelease
from hubs.gateway import HubGateway, Phase, Report, Verdict
from hubs.operations import record_versions
from portal.ground import sql
from portal.ground.clock import Clock
from scheduling import reactions
from scheduling.models import LOT_SPAN, Deployment, Lot
from scheduling.operations import placing
from scheduling.operations.deployments.keys import keys

logger = logging.getLogger(__name__)
COLLECT = 2_000

ANSWER = """
UPDATE scheduling_command command
SET answered_at = %(now)s, outcome = report.outcome, version = report.version,
    verdict = coalesce(verdict, CASE WHEN sent_at IS NOT NULL THEN %(accepted)s::smallint END)
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[],
            %(outcomes)s::smallint[], %(versions)s::bigint[], %(hubs)s::bigint[])
    AS report (deployment_id, phase, attempt, outcome, version, hub), scheduling_deployment deployment
WHERE command.deployment_id = report.deployment_id AND command.phase = report.phase
  AND command.attempt = report.attempt AND command.answered_at IS NULL
  AND deployment.id = report.deployment_id AND deployment.hub_id = report.hub
RETURNING command.deployment_id, command.phase, command.attempt, deployment.hub_id
"""
STRAY = """
INSERT INTO scheduling_strayreport (hub, deployment_id, phase, attempt, outcome, version, received_at)
SELECT report.hub, report.deployment_id, report.phase, report.attempt, report.outcome, report.version, %(now)s
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[],
            %(outcomes)s::smallint[], %(versions)s::bigint[], %(hubs)s::bigint[])
    AS report (deployment_id, phase, attempt, outcome, version, hub)
WHERE NOT EXISTS (
    SELECT FROM scheduling_command command JOIN scheduling_deployment deployment
        ON deployment.id = command.deployment_id
    WHERE command.deployment_id = report.deployment_id AND command.phase = report.phase
      AND command.attempt = report.attempt AND deployment.hub_id = report.hub)
ON CONFLICT DO NOTHING
"""
REACT = """
WITH reacted AS (
UPDATE scheduling_deployment deployment SET
    state = reaction.state, ending = reaction.ending, phase = reaction.phase,
    tries = CASE WHEN reaction.restart THEN 0 ELSE deployment.tries END,
    awaiting = false, next_at = reaction.next_at, moved_at = %(now)s,
    first_miss_at = CASE WHEN reaction.missed THEN coalesce(deployment.first_miss_at, %(now)s) END,
    ended_at = CASE WHEN reaction.next_at IS NULL THEN %(now)s::timestamptz END
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[], %(states)s::text[],
            %(endings)s::text[], %(next_phases)s::smallint[], %(restarts)s::boolean[],
            %(misses)s::boolean[], %(nexts)s::timestamptz[])
    AS reaction (id, answered_phase, answered_attempt, state, ending, phase, restart, missed, next_at)
WHERE deployment.id = reaction.id AND deployment.phase = reaction.answered_phase
  AND deployment.attempt = reaction.answered_attempt AND deployment.awaiting
RETURNING deployment.id, deployment.state)
SELECT id / %(span)s, count(*) FROM reacted WHERE state = 'cancelled' GROUP BY 1
"""
# the trigger has moved the lot's counts by now: a lot without an open hub is never due again
WAKE = """
UPDATE scheduling_lot lot SET due_at = CASE
    WHEN provisional + booked + staging + staged + activating + held > 0
    THEN least(lot.due_at, earliest.next_at) END
FROM (SELECT deployment.id / %(span)s AS lot_id, min(deployment.next_at) AS next_at
      FROM scheduling_deployment deployment WHERE deployment.id = ANY (%(deployments)s) GROUP BY 1) earliest
WHERE lot.id = earliest.lot_id
"""


def collect(*, gateway: HubGateway, clock: Clock) -> int:
    """Fetch reports, record them, and only then acknowledge them; return how many came."""
    came = gateway.collect(limit=COLLECT, now=clock())
    reports = [report for report in came if isinstance(report, Report)]
    if reports:
        record_reports(reports=reports, now=clock())
        gateway.acknowledge(reports=[report.id for report in reports])
    return len(reports)


@dataclass(frozen=True, slots=True)
class _Target:
    """What a lot's release wants of its hubs, and how long it waits."""

    version: int
    predecessors: frozenset[int] | None
    slot_start: datetime
    retry_at: datetime


@transaction.atomic(durable=True)
def record_reports(*, reports: Sequence[Report], now: datetime) -> None:
    """
    Record each answer once and move the deployments that still await it.

    A late or repeated answer changes nothing. A report for a command that was never admitted, or from another
    hub than the one commanded, is kept as stray.
    """
    # the hub too: an answer of the wrong one must not hide that of the right one
    first_of_key = {
        (report.deployment, report.phase, report.attempt, report.hub): report for report in reversed(reports)
    }
    # in the order of their ids, as everything that locks lots does
    lots = (
        Lot.objects.filter(pk__in={report.deployment // LOT_SPAN for report in reports})
        .order_by("id")
        .select_for_update()
    )
    slot_of = {lot.pk: lot.slot_id for lot in lots}
    targets = _targets(list(slot_of), now)
    terms = _report_terms(list(first_of_key.values()), now)
    answered = [
        first_of_key[deployment, Phase(phase), attempt, hub]
        for deployment, phase, attempt, hub in sql.rows(ANSWER, terms)
    ]
    if strays := sql.run(STRAY, terms):
        logger.error("%s reports came for commands that were never admitted", strays)
    if answered:
        freed: Counter[int] = Counter()
        for lot, cancelled in sql.rows(REACT, {**_reactions(answered, targets, now), "span": LOT_SPAN}):
            freed[slot_of[lot]] += cancelled
        placing.free_places(places=freed)
        sql.run(WAKE, {"span": LOT_SPAN, "deployments": [report.deployment for report in answered]})
    record_versions(
        versions={report.hub: report.version for report in answered if report.version is not None}
    )


def _report_terms(reports: Sequence[Report], now: datetime) -> dict[str, Any]:
    return {
        **keys(reports),
        "outcomes": [int(report.outcome) for report in reports],
        "versions": [report.version for report in reports],
        "hubs": [report.hub for report in reports],
        "accepted": int(Verdict.ACCEPTED),
        "now": now,
    }


def _targets(lots: Sequence[int], now: datetime) -> dict[int, _Target]:
    """Return what the release of each lot wants, by lot id."""
    rows = Lot.objects.filter(pk__in=lots).values_list("id", "release_id", "slot__start_at")
    of_release = {
        release.pk: (
            release.version.number,
            None
            if release.has_no_predecessor
            else frozenset(releases.eligible_versions(release=release).values_list("number", flat=True)),
            release.policy.retry_interval.after(now),
        )
        for release in FirmwareRelease.objects.filter(pk__in={row[1] for row in rows}).select_related(
            "version", "policy"
        )
    }
    return {
        lot: _Target(of_release[release][0], of_release[release][1], start, of_release[release][2])
        for lot, release, start in rows
    }


def _reactions(reports: Sequence[Report], targets: Mapping[int, _Target], now: datetime) -> dict[str, Any]:
    tries = dict(
        Deployment.objects.filter(pk__in=[report.deployment for report in reports]).values_list("id", "tries")
    )
    decided: dict[str, list[Any]] = {
        name: [] for name in ("states", "endings", "next_phases", "restarts", "misses", "nexts")
    }
    for report in reports:
        target = targets[report.deployment // LOT_SPAN]
        reaction = reactions.to_report(
            phase=report.phase,
            tries=tries[report.deployment],
            outcome=report.outcome,
            version=report.version,
            target=target.version,
            predecessors=target.predecessors,
        )
        moments = {
            reactions.Wait.NEVER: None,
            reactions.Wait.NOW: now,
            reactions.Wait.SLOT: max(now, target.slot_start),
            reactions.Wait.RETRY: target.retry_at,
        }
        decided["states"].append(str(reaction.state))
        decided["endings"].append(str(reaction.ending))
        decided["next_phases"].append(int(reaction.phase))
        decided["restarts"].append(reaction.restart)
        decided["misses"].append(reaction.missed)
        decided["nexts"].append(moments[reaction.wait])
    return {**keys(reports), **decided, "now": now}
