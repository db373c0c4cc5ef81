"""
Record what comes back, once, whatever its order, and move the deployments that await it.

Every report is counted as one kind (`ReportKind`): nothing that came is left unsaid, and nothing that makes no sense
holds up what does.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import InterfaceError, OperationalError, transaction

from hubs.gateway import HubGateway, Outcome, Phase, Report, UnreadableReport, Verdict
from hubs.operations import record_versions
from portal.ground import sql, turns
from portal.ground.clock import Clock
from scheduling import reactions
from scheduling.lifecycle import FINAL, State
from scheduling.models import LOT_SIZE, LOT_SPAN, ReportKind
from scheduling.operations import halts, placing
from scheduling.operations.deployments.claims import LEASE
from scheduling.operations.deployments.keys import keys
from scheduling.operations.deployments.known import Known

logger = logging.getLogger(__name__)
COLLECT = 2_000
TEXT_LENGTH = 1_000
NO_VERSION = -(2**63)
"""In place of a version that no report can have."""

# In the order of their ids, as everything that locks lots does; not their slots, nor the keys that others refer to.
LOCK = """
SELECT lot.id, lot.release_id, lot.slot_id, slot.start_at
FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
WHERE lot.id = ANY (%(lots)s::bigint[]) ORDER BY lot.id FOR NO KEY UPDATE OF lot
"""
# Answer and reaction in one statement. A command that surely never left has no answer: whoever reports on it did not
# hear of it from us. A report is of few kinds, and the reaction to a kind depends on how often it was tried.
RECORD = """
WITH asked AS MATERIALIZED (
    SELECT id, hub_id, tries FROM scheduling_deployment WHERE id = ANY (%(deployments)s::bigint[])),
answered AS (
    UPDATE scheduling_command command
    SET answered_at = %(now)s, outcome = (%(outcomes)s::smallint[])[report.kind],
        version = nullif((%(versions)s::bigint[])[report.kind], %(no_version)s),
        verdict = coalesce(verdict, %(accepted)s::smallint)
    FROM asked, unnest(%(deployments)s::bigint[], %(attempts)s::smallint[], %(hubs)s::bigint[], %(chosen)s::int[])
        WITH ORDINALITY AS report (deployment_id, attempt, hub, kind, number)
    WHERE command.deployment_id = report.deployment_id
      AND command.phase = (%(phases)s::smallint[])[report.kind]
      AND command.attempt = report.attempt AND command.answered_at IS NULL AND command.sent_at IS NOT NULL
      AND asked.id = report.deployment_id AND asked.hub_id = report.hub
    RETURNING command.deployment_id, command.phase, command.attempt, report.kind, report.number,
              least(asked.tries, %(most_tries)s) AS tries),
reacted AS (
    UPDATE scheduling_deployment deployment SET
        state = reaction.state, ending = reaction.ending, phase = reaction.next_phase,
        tries = CASE WHEN reaction.restart THEN 0 ELSE deployment.tries END,
        awaiting = false, next_at = reaction.next_at, moved_at = %(now)s,
        first_miss_at = CASE WHEN reaction.missed THEN coalesce(deployment.first_miss_at, %(now)s) END,
        ended_at = CASE WHEN reaction.next_at IS NULL THEN %(now)s::timestamptz END
    FROM answered
    JOIN unnest(%(reactions)s::int[], %(tries)s::smallint[], %(states)s::text[], %(endings)s::text[],
                %(next_phases)s::smallint[], %(restarts)s::boolean[], %(misses)s::boolean[], %(nexts)s::timestamptz[])
        AS reaction (kind, tries, state, ending, next_phase, restart, missed, next_at) USING (kind, tries)
    WHERE deployment.id = answered.deployment_id AND deployment.attempt = answered.attempt
      AND deployment.phase = answered.phase AND deployment.awaiting
    RETURNING deployment.id, deployment.state, deployment.next_at)
SELECT answers.numbers, lots.*
FROM (SELECT array_agg(number) AS numbers FROM answered) answers LEFT JOIN (
    SELECT id / %(span)s, count(*), min(next_at), count(*) FILTER (WHERE state = %(cancelled)s),
           count(*) FILTER (WHERE state = ANY (%(final)s))
    FROM reacted GROUP BY 1 ORDER BY 1) lots ON true
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
# the trigger has moved the lot's counts by now: a lot without an open hub is never due again, and a holder who died
# has it no longer
WAKE = """
UPDATE scheduling_lot lot SET
    due_at = CASE WHEN provisional + booked + staging + staged + activating + held > 0
                  THEN least(lot.due_at, moved.next_at) END,
    lease_until = CASE WHEN provisional + booked + staging + staged + activating + held > 0
                       THEN lot.lease_until END
FROM unnest(%(lots)s::bigint[], %(nexts)s::timestamptz[]) AS moved (lot_id, next_at)
WHERE lot.id = moved.lot_id
"""
# Those that have waited longest, and as many as can use the room; who is being looked at sees it anyway. Where every
# stage is full, room in flight is of no use: the next stage wakes them when it opens.
WAKE_WAITING = """
UPDATE scheduling_lot SET due_at = %(now)s, waits = false
WHERE id IN (SELECT id FROM scheduling_lot WHERE release_id = %(release)s AND waits AND EXISTS (
                 SELECT FROM scheduling_stage WHERE release_id = %(release)s AND closed_at IS NULL
                   AND (size IS NULL OR admitted < size))
             ORDER BY id LIMIT %(lots)s FOR UPDATE SKIP LOCKED)
"""
UNREADABLE = """
INSERT INTO scheduling_oddreport AS known (reason, text, first_at, last_at, times)
VALUES (%(reason)s, %(text)s, %(now)s, %(now)s, 1)
ON CONFLICT (text) DO UPDATE SET reason = excluded.reason, last_at = excluded.last_at, times = known.times + 1
"""
COUNT = sql.Often("""
INSERT INTO scheduling_reportcount AS known (day, kind, reports)
SELECT %(now)s::date, kind, reports FROM unnest(%(kinds)s::text[], %(reports)s::bigint[]) AS came (kind, reports)
ORDER BY kind
ON CONFLICT (day, kind) DO UPDATE SET reports = known.reports + excluded.reports
""")


def collect_all(
    *,
    gateway: HubGateway,
    clock: Clock,
    keep_going: Callable[[], bool] = lambda: True,
    known: Known | None = None,
) -> int:
    """
    Collect until little more waits, for a third of a lease, and as long as we are to `keep_going`.

    Returns how many reports came; nought also where somebody else is collecting, who is told the same.
    """
    began = clock()
    known = known or Known()
    total = 0
    with turns.turn(name="collecting reports", lease=LEASE, clock=clock) as is_ours:
        while is_ours and (came := collect(gateway=gateway, clock=clock, known=known)):
            total += came
            if came < COLLECT // 2 or not keep_going() or clock() - began > LEASE / 3:
                break
    return total


def collect(*, gateway: HubGateway, clock: Clock, known: Known | None = None) -> int:
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
        halts.check(releases=_record(readable, now, known or Known()), now=now)
    for odd in came:
        if isinstance(odd, UnreadableReport):
            keep_unreadable(reason=odd.reason, text=odd.text, now=now)
    gateway.acknowledge(reports=[report.id for report in came if report.id is not None])
    return len(came)


def _record(reports: Sequence[Report], now: datetime, known: Known) -> set[int]:
    """
    Record reports; where that fails for one of them, halve them until it is found, and keep that one aside.

    Returns the ids of the releases of which hubs have ended.
    """
    try:
        return record_reports(reports=reports, now=now, known=known)
    except (OperationalError, InterfaceError):
        raise  # the database's trouble, not a report's
    except Exception as error:
        if len(reports) > 1:
            middle = len(reports) // 2
            return _record(reports[:middle], now, known) | _record(reports[middle:], now, known)
        logger.exception("a report cannot be recorded")
        keep_unreadable(
            reason=f"{type(error).__name__} while it was recorded", text=repr(reports[0]), now=now
        )
        return set()


@transaction.atomic(durable=True)
def keep_unreadable(*, reason: str, text: str, now: datetime) -> None:
    """Keep something that came back and cannot be recorded; the same again is counted."""
    logger.error("something came back that is no report: %s", reason)
    printable = text.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
    sql.run(UNREADABLE, {"reason": reason[:TEXT_LENGTH], "text": printable[:TEXT_LENGTH], "now": now})
    count(came={ReportKind.UNREADABLE: 1}, now=now)


class _Lot(NamedTuple):
    """What reports on the hubs of a lot are about."""

    release: int
    slot: int
    slot_start: datetime


@transaction.atomic(durable=True)
def record_reports(*, reports: Sequence[Report], now: datetime, known: Known | None = None) -> set[int]:
    """
    Record each answer once and move the deployments that still await it; `known` is what was read before.

    Returns the ids of the releases of which hubs have ended.

    A late or repeated answer changes nothing but its count. A report for a command that was never sent, or from
    another hub than the one commanded, is kept as stray.
    """
    # the hub too: an answer of the wrong one must not hide that of the right one
    first_of_key = {_key(report): report for report in reversed(reports)}
    named = sorted({report.deployment // LOT_SPAN for report in reports})
    lots = {lot: _Lot(*facts) for lot, *facts in sql.rows(LOCK, {"lots": sql.numbers(named)})}
    ours = [report for report in first_of_key.values() if report.deployment // LOT_SPAN in lots]
    moved, answered = 0, []
    resolved: Counter[int] = Counter()
    if ours:
        freed: Counter[int] = Counter()
        wakes: dict[int, datetime | None] = {}
        recorded = sql.rows(RECORD, _terms(ours, lots, known or Known(), now))
        answered = [ours[number - 1] for number in recorded[0][0] or ()]
        for _, lot, hubs, next_at, cancelled, ended in recorded:
            if lot is not None:
                moved += hubs
                wakes[lot] = next_at
                freed[lots[lot].slot] += cancelled
                resolved[lots[lot].release] += ended
        if +freed:
            placing.free_places(places=+freed)
        sql.run(WAKE, {"lots": sql.array(wakes), "nexts": sql.array(wakes.values())})
        for release in sorted(+resolved):
            wake_waiting(release=release, ended=resolved[release], now=now)
    odd = 0
    if len(answered) < len(first_of_key):
        keys_answered = {_key(report) for report in answered}
        odd = _keep_strays([report for key, report in first_of_key.items() if key not in keys_answered], now)
    count(
        came={
            ReportKind.ANSWER: moved,
            ReportKind.LATE: len(answered) - moved,
            ReportKind.REPEATED: len(reports) - len(answered) - odd,
            ReportKind.STRAY: odd,
        },
        now=now,
    )
    record_versions(
        versions={report.hub: report.version for report in answered if report.version is not None}
    )
    return set(+resolved)


def wake_waiting(*, release: int, ended: int, now: datetime) -> None:
    """Wake as many of the lots that wait for room as can use what hubs that `ended` have left in flight."""
    sql.run(WAKE_WAITING, {"release": release, "now": now, "lots": 1 + ended // LOT_SIZE})


def _key(report: Report) -> tuple[int, int, int, int]:
    return report.deployment, report.phase, report.attempt, report.hub


def _keep_strays(reports: Sequence[Report], now: datetime) -> int:
    """Keep those that answer nothing that was ever sent to their hub; return how many there are."""
    if not reports:
        return 0
    asked = set(sql.rows(KNOWN, keys(reports)))
    strays = [report for report in reports if _key(report) not in asked]
    if strays:
        logger.error("%s reports came for commands that were never sent", len(strays))
        terms = {
            **keys(strays),
            "outcomes": sql.numbers([report.outcome.value for report in strays]),
            "versions": sql.array(report.version for report in strays),
            "hubs": sql.numbers([report.hub for report in strays]),
            "now": now,
        }
        sql.run(STRAY, terms)
    return len(strays)


def count(*, came: Mapping[str, int], now: datetime) -> None:
    """Count reports, so many of each kind, among those of the day."""
    kinds = sorted(kind for kind, reports in came.items() if reports)
    sql.run(COUNT, {"kinds": kinds, "reports": [came[kind] for kind in kinds], "now": now})


def _terms(
    reports: Sequence[Report], lots: Mapping[int, _Lot], known: Known, now: datetime
) -> dict[str, Any]:
    """Return the parameters of RECORD: few different kinds of reports, which of them each is, and what follows."""
    # by the lot's id: it is looked up for each report, where the lot itself would be hashed anew
    numbers: dict[tuple[int, Phase, Outcome, int | None], int] = {}
    chosen = [
        numbers.setdefault(
            (report.deployment // LOT_SPAN, report.phase, report.outcome, report.version), len(numbers) + 1
        )
        for report in reports
    ]
    followed: list[tuple[int, int, reactions.Reaction, datetime | None]] = []
    for (lot_id, phase, outcome, version), number in numbers.items():
        lot = lots[lot_id]
        target = known.target(release=lot.release)
        moments: dict[reactions.Wait, datetime | None] = {
            reactions.Wait.NEVER: None,
            reactions.Wait.NOW: now,
            reactions.Wait.SLOT: max(now, lot.slot_start),
            reactions.Wait.RETRY: target.retry_interval.after(now),
        }
        for tries in range(reactions.MOST_TRIES + 1):
            reaction = reactions.to_report(
                phase=phase,
                tries=tries,
                outcome=outcome,
                version=version,
                target=target.version,
                predecessors=target.predecessors,
            )
            followed.append((number, tries, reaction, moments[reaction.wait]))
    return {
        "deployments": sql.numbers([report.deployment for report in reports]),
        "attempts": sql.numbers([report.attempt for report in reports]),
        "hubs": sql.numbers([report.hub for report in reports]),
        "chosen": sql.numbers(chosen),
        "phases": sql.numbers([phase.value for _, phase, _, _ in numbers]),
        "outcomes": sql.numbers([outcome.value for _, _, outcome, _ in numbers]),
        "versions": sql.numbers([NO_VERSION if version is None else version for _, _, _, version in numbers]),
        "no_version": NO_VERSION,
        "reactions": sql.numbers([number for number, _, _, _ in followed]),
        "tries": sql.numbers([tries for _, tries, _, _ in followed]),
        "states": sql.array(str(reaction.state) for _, _, reaction, _ in followed),
        "endings": sql.array(str(reaction.ending) for _, _, reaction, _ in followed),
        "next_phases": sql.array(int(reaction.phase) for _, _, reaction, _ in followed),
        "restarts": sql.array(reaction.restart for _, _, reaction, _ in followed),
        "misses": sql.array(reaction.missed for _, _, reaction, _ in followed),
        "nexts": sql.array(next_at for _, _, _, next_at in followed),
        "most_tries": reactions.MOST_TRIES,
        "accepted": int(Verdict.ACCEPTED),
        "now": now,
        "span": LOT_SPAN,
        "cancelled": State.CANCELLED,
        "final": list(FINAL),
    }
