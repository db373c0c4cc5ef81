"""
Record what comes back, once, whatever its order, and move the deployments that await it.

Every report is counted as one kind (`ReportKind`): nothing that came is left unsaid, and nothing that makes no sense
holds up what does.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError, transaction

from firmware import queries as releases
from firmware.models import FirmwareRelease
from hubs.gateway import HubGateway, Phase, Report, UnreadableReport, Verdict
from hubs.operations import record_versions
from portal.ground import sql
from portal.ground.clock import Clock
from scheduling import reactions
from scheduling.lifecycle import FINAL, State
from scheduling.models import LOT_SIZE, LOT_SPAN, Lot, ReportKind
from scheduling.operations import placing
from scheduling.operations.deployments.claims import LEASE
from scheduling.operations.deployments.keys import keys

logger = logging.getLogger(__name__)
COLLECT = 2_000
TEXT_LENGTH = 1_000

# A command that surely never left has no answer: whoever reports on it did not hear of it from us.
ANSWER = """
UPDATE scheduling_command command
SET answered_at = %(now)s, outcome = report.outcome, version = report.version,
    verdict = coalesce(verdict, %(accepted)s::smallint)
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[],
            %(outcomes)s::smallint[], %(versions)s::bigint[], %(hubs)s::bigint[])
    AS report (deployment_id, phase, attempt, outcome, version, hub), scheduling_deployment deployment
WHERE command.deployment_id = report.deployment_id AND command.phase = report.phase
  AND command.attempt = report.attempt AND command.answered_at IS NULL AND command.sent_at IS NOT NULL
  AND deployment.id = report.deployment_id AND deployment.hub_id = report.hub
RETURNING command.deployment_id, command.phase, command.attempt, deployment.hub_id, deployment.tries
"""
KNOWN = """
SELECT command.deployment_id, command.phase, command.attempt, deployment.hub_id
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[])
    AS report (deployment_id, phase, attempt)
JOIN scheduling_command command USING (deployment_id, phase, attempt)
JOIN scheduling_deployment deployment ON deployment.id = command.deployment_id
WHERE command.sent_at IS NOT NULL
"""
STRAY = """
INSERT INTO scheduling_strayreport (hub, deployment_id, phase, attempt, outcome, version, received_at)
SELECT hub, deployment_id, phase, attempt, outcome, version, %(now)s
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[],
            %(outcomes)s::smallint[], %(versions)s::bigint[], %(hubs)s::bigint[])
    AS report (deployment_id, phase, attempt, outcome, version, hub)
ON CONFLICT DO NOTHING
"""
REACT = """
WITH reacted AS (
    UPDATE scheduling_deployment deployment SET
        state = reaction.state, ending = reaction.ending, phase = reaction.next_phase,
        tries = CASE WHEN reaction.restart THEN 0 ELSE deployment.tries END,
        awaiting = false, next_at = reaction.next_at, moved_at = %(now)s,
        first_miss_at = CASE WHEN reaction.missed THEN coalesce(deployment.first_miss_at, %(now)s) END,
        ended_at = CASE WHEN reaction.next_at IS NULL THEN %(now)s::timestamptz END
    FROM unnest(%(deployments)s::bigint[], %(attempts)s::smallint[], %(chosen)s::int[])
        AS answered (id, attempt, number)
    JOIN unnest(%(numbers)s::int[], %(phases)s::smallint[], %(states)s::text[], %(endings)s::text[],
                %(next_phases)s::smallint[], %(restarts)s::boolean[], %(misses)s::boolean[], %(nexts)s::timestamptz[])
        AS reaction (number, phase, state, ending, next_phase, restart, missed, next_at) USING (number)
    WHERE deployment.id = answered.id AND deployment.attempt = answered.attempt
      AND deployment.phase = reaction.phase AND deployment.awaiting
    RETURNING deployment.id, deployment.state, deployment.next_at)
SELECT id / %(span)s, count(*), min(next_at), count(*) FILTER (WHERE state = %(cancelled)s),
       count(*) FILTER (WHERE state = ANY (%(final)s))
FROM reacted GROUP BY 1
"""
# the trigger has moved the lot's counts by now: a lot without an open hub is never due again
WAKE = """
UPDATE scheduling_lot lot SET due_at = CASE
    WHEN provisional + booked + staging + staged + activating + held > 0
    THEN least(lot.due_at, moved.next_at) END
FROM unnest(%(lots)s::bigint[], %(nexts)s::timestamptz[]) AS moved (lot_id, next_at)
WHERE lot.id = moved.lot_id
"""
# those that have waited longest, and as many as can use the room; who is being looked at sees it anyway
WAKE_WAITING = """
UPDATE scheduling_lot SET due_at = %(now)s, waits = false
WHERE id IN (SELECT id FROM scheduling_lot WHERE release_id = %(release)s AND waits ORDER BY id
             LIMIT %(lots)s FOR UPDATE SKIP LOCKED)
"""
UNREADABLE = """
INSERT INTO scheduling_oddreport AS known (reason, text, first_at, last_at, times)
VALUES (%(reason)s, %(text)s, %(now)s, %(now)s, 1)
ON CONFLICT (text) DO UPDATE SET reason = excluded.reason, last_at = excluded.last_at, times = known.times + 1
"""
COUNT = """
INSERT INTO scheduling_reportcount AS known (day, kind, reports)
SELECT %(now)s::date, kind, reports FROM unnest(%(kinds)s::text[], %(reports)s::bigint[]) AS came (kind, reports)
ORDER BY kind
ON CONFLICT (day, kind) DO UPDATE SET reports = known.reports + excluded.reports
"""


def collect_all(*, gateway: HubGateway, clock: Clock, keep_going: Callable[[], bool] = lambda: True) -> int:
    """Collect until little more waits, for a third of a lease, and as long as we are to `keep_going`."""
    began = clock()
    total = 0
    while came := collect(gateway=gateway, clock=clock):
        total += came
        if came < COLLECT // 2 or not keep_going() or clock() - began > LEASE / 3:
            break
    return total


def collect(*, gateway: HubGateway, clock: Clock) -> int:
    """
    Fetch reports, record them, and only then acknowledge them; return how many came.

    One that cannot be recorded is kept as it is, and holds up no other.
    """
    came = gateway.collect(limit=COLLECT, now=clock())
    if not came:
        return 0
    now = clock()
    readable = [report for report in came if isinstance(report, Report)]
    if readable:
        _record(readable, now)
    for odd in came:
        if isinstance(odd, UnreadableReport):
            keep_unreadable(reason=odd.reason, text=odd.text, now=now)
    gateway.acknowledge(reports=[report.id for report in came if report.id is not None])
    return len(came)


def _record(reports: Sequence[Report], now: datetime) -> None:
    """Record reports; where that fails for one of them, halve them until it is found, and keep that one aside."""
    try:
        record_reports(reports=reports, now=now)
    except (OperationalError, InterfaceError):
        raise  # the database's trouble, not a report's
    except Exception as error:
        if len(reports) > 1:
            middle = len(reports) // 2
            _record(reports[:middle], now)
            _record(reports[middle:], now)
            return
        logger.exception("a report cannot be recorded")
        keep_unreadable(
            reason=f"{type(error).__name__} while it was recorded", text=repr(reports[0]), now=now
        )


@transaction.atomic(durable=True)
def keep_unreadable(*, reason: str, text: str, now: datetime) -> None:
    """Keep something that came back and cannot be recorded; the same again is counted."""
    logger.error("something came back that is no report: %s", reason)
    printable = text.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
    sql.run(UNREADABLE, {"reason": reason[:TEXT_LENGTH], "text": printable[:TEXT_LENGTH], "now": now})
    _count({ReportKind.UNREADABLE: 1}, now)


@dataclass(frozen=True, slots=True)
class _Target:
    """What a lot's release wants of its hubs, and how long it waits."""

    release: int
    version: int
    predecessors: frozenset[int] | None
    slot_start: datetime
    retry_at: datetime


@transaction.atomic(durable=True)
def record_reports(*, reports: Sequence[Report], now: datetime) -> None:
    """
    Record each answer once and move the deployments that still await it.

    A late or repeated answer changes nothing but its count. A report for a command that was never sent, or from
    another hub than the one commanded, is kept as stray.
    """
    # the hub too: an answer of the wrong one must not hide that of the right one
    first_of_key = {_key(report): report for report in reversed(reports)}
    # in the order of their ids, as everything that locks lots does; not their slots, nor the keys that others refer to
    lots = (
        Lot.objects.filter(pk__in={report.deployment // LOT_SPAN for report in reports})
        .order_by("id")
        .select_for_update(no_key=True, of=("self",))
        .values_list("id", "release_id", "slot_id", "slot__start_at")
    )
    known = {lot: (release, slot, start) for lot, release, slot, start in lots}
    targets = _targets({lot: (release, start) for lot, (release, _, start) in known.items()}, now)
    answered = {
        (deployment, phase, attempt, hub): tries
        for deployment, phase, attempt, hub, tries in sql.rows(
            ANSWER, _report_terms(list(first_of_key.values()), now)
        )
    }
    moved = 0
    if answered:
        resolved: Counter[int] = Counter()
        freed: Counter[int] = Counter()
        wakes: dict[int, datetime | None] = {}
        reacted = sql.rows(REACT, _reactions(first_of_key, answered, targets, now))
        for lot, hubs, next_at, cancelled, ended in sorted(reacted):
            moved += hubs
            wakes[lot] = next_at
            freed[known[lot][1]] += cancelled
            resolved[known[lot][0]] += ended
        placing.free_places(places=freed)
        sql.run(WAKE, {"lots": sql.array(wakes), "nexts": sql.array(wakes.values())})
        for release in sorted(+resolved):
            sql.run(
                WAKE_WAITING,
                {"release": release, "now": now, "lots": 1 + resolved[release] // LOT_SIZE},
            )
    odd = _keep_strays([report for key, report in first_of_key.items() if key not in answered], now)
    _count(
        {
            ReportKind.ANSWER: moved,
            ReportKind.LATE: len(answered) - moved,
            ReportKind.REPEATED: len(reports) - len(answered) - odd,
            ReportKind.STRAY: odd,
        },
        now,
    )
    record_versions(
        versions={
            report.hub: report.version
            for key, report in first_of_key.items()
            if report.version is not None and key in answered
        }
    )


def _key(report: Report) -> tuple[int, int, int, int]:
    return report.deployment, report.phase.value, report.attempt, report.hub


def _report_terms(reports: Sequence[Report], now: datetime) -> dict[str, Any]:
    return {
        **keys(reports),
        "outcomes": sql.numbers([report.outcome.value for report in reports]),
        "versions": sql.array(report.version for report in reports),
        "hubs": sql.numbers([report.hub for report in reports]),
        "accepted": int(Verdict.ACCEPTED),
        "now": now,
    }


def _keep_strays(reports: Sequence[Report], now: datetime) -> int:
    """Keep those that answer nothing that was ever sent to their hub; return how many there are."""
    if not reports:
        return 0
    asked = set(sql.rows(KNOWN, keys(reports)))
    strays = [report for report in reports if _key(report) not in asked]
    if strays:
        logger.error("%s reports came for commands that were never sent", len(strays))
        sql.run(STRAY, _report_terms(strays, now))
    return len(strays)


def _count(came: Mapping[str, int], now: datetime) -> None:
    kinds = sorted(kind for kind, reports in came.items() if reports)
    sql.run(COUNT, {"kinds": kinds, "reports": [came[kind] for kind in kinds], "now": now})


def _targets(lots: Mapping[int, tuple[int, datetime]], now: datetime) -> dict[int, _Target]:
    """Return what the release of each lot wants, by lot id; `lots` has its release and when its slot begins."""
    wanted = {}
    for release in FirmwareRelease.objects.filter(
        pk__in={release for release, _ in lots.values()}
    ).select_related("version", "policy"):
        predecessors = None
        if not release.has_no_predecessor:
            older = releases.eligible_versions(release=release).values_list("number", flat=True)
            predecessors = frozenset(older)
        wanted[release.pk] = release.version.number, predecessors, release.policy.retry_interval.after(now)
    targets = {}
    for lot, (release_id, start) in lots.items():
        version, predecessors, retry_at = wanted[release_id]
        targets[lot] = _Target(release_id, version, predecessors, start, retry_at)
    return targets


def _reactions(
    reports: Mapping[tuple[int, int, int, int], Report],
    answered: Mapping[tuple[int, int, int, int], int],
    targets: Mapping[int, _Target],
    now: datetime,
) -> dict[str, Any]:
    """Return the parameters of REACT: few different reactions, and which of them each deployment has."""
    numbers: dict[tuple[Any, ...], int] = {}
    decided: list[tuple[Phase, reactions.Reaction, datetime | None]] = []
    deployments, attempts, chosen = [], [], []
    for key, tries in answered.items():
        report, target = reports[key], targets[key[0] // LOT_SPAN]
        kind = (target.release, target.slot_start, report.phase, report.outcome, report.version, tries)
        if kind not in numbers:
            numbers[kind] = len(decided)
            reaction = reactions.to_report(
                phase=report.phase,
                tries=tries,
                outcome=report.outcome,
                version=report.version,
                target=target.version,
                predecessors=target.predecessors,
            )
            moments: dict[reactions.Wait, datetime | None] = {
                reactions.Wait.NEVER: None,
                reactions.Wait.NOW: now,
                reactions.Wait.SLOT: max(now, target.slot_start),
                reactions.Wait.RETRY: target.retry_at,
            }
            decided.append((report.phase, reaction, moments[reaction.wait]))
        deployments.append(key[0])
        attempts.append(key[2])
        chosen.append(numbers[kind])
    return {
        "deployments": sql.numbers(deployments),
        "attempts": sql.numbers(attempts),
        "chosen": sql.numbers(chosen),
        "numbers": sql.array(range(len(decided))),
        "phases": sql.array(int(phase) for phase, _, _ in decided),
        "states": sql.array(str(reaction.state) for _, reaction, _ in decided),
        "endings": sql.array(str(reaction.ending) for _, reaction, _ in decided),
        "next_phases": sql.array(int(reaction.phase) for _, reaction, _ in decided),
        "restarts": sql.array(reaction.restart for _, reaction, _ in decided),
        "misses": sql.array(reaction.missed for _, reaction, _ in decided),
        "nexts": sql.array(next_at for _, _, next_at in decided),
        "now": now,
        "span": LOT_SPAN,
        "cancelled": State.CANCELLED,
        "final": list(FINAL),
    }
