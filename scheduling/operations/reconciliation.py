"""
Reconcile the carrier's log, the commands, the deployments and the counters, portion by portion.

An excess, something that reached a hub and that nobody admitted, halts every release and is told to DCC. A mere
difference in counters is kept for people to read, and mended only when somebody asks for it.

Raw SQL where counters are set to what is counted in the same statement or under their lock.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet, Value

from firmware.models import FirmwareRelease, ReleaseState
from firmware.operations import decisions
from hubs.gateway import Accountable, GatewayUnavailable, HubGateway, ReceivedCommand
from portal.ground import audit, sql
from portal.ground.clock import Clock
from portal.ground.stopping import KeepGoing, always
from scheduling.lifecycle import State
from scheduling.models import LOT_SPAN, Finding, Mismatch, Notice, Reconciliation
from scheduling.operations.notices import owing
from scheduling.queries import reconciliation as questions

if TYPE_CHECKING:
    from portal.models import User

logger = logging.getLogger(__name__)
KEPT = timedelta(days=28)
"""How long a pass that found nothing is remembered."""


def reconcile(
    *, gateway: HubGateway, clock: Clock, portions: int, keep_going: KeepGoing = always
) -> Reconciliation | None:
    """
    Go on with the pass that is under way, or begin one, for at most so many portions; return it once it is finished.

    An excess is acted on before the next portion is read. Two at once do no harm: what another has compared
    meanwhile is not recorded twice.
    """
    act(clock=clock)  # on what somebody found who died before it was done
    under_way = _under_way(clock())
    for _ in range(portions):
        if not keep_going():
            break
        if not under_way.log_done:
            _read_log(under_way, gateway, clock)
        elif not under_way.lots_done:
            _read_lots(under_way, clock())
        else:
            _finish(under_way, clock())
        act(clock=clock)
        under_way.refresh_from_db()
        if under_way.finished_at:
            return under_way
    return None


def _under_way(now: datetime) -> Reconciliation:
    """Return the pass that is not finished, or begin the next one where the last has ended in the carrier's log."""
    if going := Reconciliation.objects.filter(finished_at=None).first():
        return going
    before = Reconciliation.objects.order_by("-id").values_list("log_to", flat=True).first() or 0
    try:
        with transaction.atomic():
            return Reconciliation.objects.create(started_at=now, log_from=before, log_to=before)
    except IntegrityError:  # reconciliation_one_under_way: somebody else has just begun it
        return Reconciliation.objects.get(finished_at=None)


def start_over(*, now: datetime, from_log: int | None = None) -> None:
    """Let the pass that is under way begin again, and read the carrier's log from a position, if one is given."""
    _under_way(now)
    position = F("log_from") if from_log is None else Value(from_log)
    Reconciliation.objects.filter(finished_at=None).update(
        started_at=now,
        log_from=position,
        log_to=position,
        log_done=False,
        commands=0,
        lots_to=0,
        lots_done=False,
        lots=0,
    )


def _read_log(under_way: Reconciliation, gateway: HubGateway, clock: Clock) -> None:
    commands: Sequence[ReceivedCommand] = ()
    silent = not isinstance(gateway, Accountable)
    if isinstance(gateway, Accountable):
        try:
            commands = gateway.received(after=under_way.log_to, limit=questions.COMMANDS)
        except GatewayUnavailable as reason:
            logger.warning("the carrier's log could not be read: %s", reason)
            silent = True
    with transaction.atomic():
        # whoever has read this portion meanwhile has moved the mark
        ours = Reconciliation.objects.filter(pk=under_way.pk, log_to=under_way.log_to, log_done=False)
        if not _is_locked(ours):
            return
        _keep(under_way, questions.received(commands=commands), clock())
        ours.update(
            log_to=commands[-1].position if commands else F("log_to"),
            log_done=len(commands) < questions.COMMANDS,
            log_silent=silent,
            commands=F("commands") + len(commands),
        )


def _read_lots(under_way: Reconciliation, now: datetime) -> None:
    with transaction.atomic():
        ours = Reconciliation.objects.filter(pk=under_way.pk, lots_to=under_way.lots_to, lots_done=False)
        if not _is_locked(ours):
            return
        portion = questions.lots(after=under_way.lots_to)
        _keep(under_way, portion.found, now)
        ours.update(
            lots_to=F("lots_to") if portion.last is None else portion.last,
            lots_done=portion.last is None,
            lots=F("lots") + portion.lots,
        )


def _finish(under_way: Reconciliation, now: datetime) -> None:
    with transaction.atomic():
        ours = Reconciliation.objects.filter(pk=under_way.pk, finished_at=None)
        if not _is_locked(ours):
            return
        _keep(under_way, [*questions.counters(), *questions.enforcement()], now)
        ours.update(finished_at=now)
    forgotten = Reconciliation.objects.filter(finished_at__lt=now - KEPT, findings=None)
    forgotten.exclude(pk=under_way.pk).delete()


def _is_locked(ours: QuerySet[Reconciliation]) -> bool:
    return bool(list(ours.select_for_update().values_list("pk")))


def _keep(under_way: Reconciliation, found: Sequence[questions.Found], now: datetime) -> None:
    """Keep what was found; an excess that is known already is kept once."""
    for one in found:
        logger.error("reconciliation: %s: %s: %s", one.kind.label, one.subject, one.words)
    Finding.objects.bulk_create(
        [
            Finding(
                reconciliation=under_way,
                kind=one.kind,
                is_excess=one.is_excess,
                subject=one.subject,
                words=one.words,
                found_at=now,
            )
            for one in found
        ],
        ignore_conflicts=True,
    )


# -- an excess -----------------------------------------------------------------------------------------------


def act(*, clock: Clock) -> int:
    """
    Halt every published release for the excesses that nobody has acted on, and tell DCC; return how many there were.

    The halts commit one by one, and before anything is said: whoever dies in between leaves the rest to the next.
    """
    new = Finding.objects.filter(is_excess=True, acted_at=None).order_by("id")
    found = list(new.values_list("pk", "kind"))
    if not found:
        return 0
    counts = Counter(Mismatch(kind) for _, kind in found)
    words = "; ".join(
        f"{kind.label[0].lower()}{kind.label[1:]} ({hubs:,})" for kind, hubs in sorted(counts.items())
    )
    halted = []
    for release in FirmwareRelease.objects.filter(state=ReleaseState.PUBLISHED).order_by("pk"):
        try:
            decisions.halt(
                release=release,
                by=None,
                reason=f"Halted by the portal, which found more than it had admitted: {words}.",
                now=clock(),
            )
        except decisions.UnableToHalt:  # it has ended in this moment
            logger.warning("release %s could not be halted for an excess", release.pk)
        else:
            halted.append(release)
    now = clock()
    with transaction.atomic():
        mine = new.filter(pk__in=[pk for pk, _ in found]).select_for_update()
        if len(list(mine.values_list("pk"))) != len(found):
            return 0  # somebody else has said it
        new.filter(pk__in=[pk for pk, _ in found]).update(acted_at=now)
        audit.record(
            actor=None,
            verb="fleet.excess_found",
            subject=f"finding:{found[0][0]}",
            reason=words,
            facts={
                "findings": len(found),
                "halted": [release.pk for release in halted],
                **{str(kind): hubs for kind, hubs in sorted(counts.items())},
            },
            now=now,
        )
        owing.owe(
            kind=Notice.Kind.EXCESS,
            subject_key=f"finding:{found[0][0]}",
            addresses=_staff(),
            context={
                "findings": len(found),
                "kinds": [{"words": kind.label, "commands": hubs} for kind, hubs in sorted(counts.items())],
                "halted": [release.name for release in halted],
                "found": owing.shown(now),
                "url": f"{owing.address_of('admin:scheduling_finding_changelist')}?is_excess=1",
            },
            now=now,
        )
    logger.critical("an excess was found, and %s releases were halted: %s", len(halted), words)
    return len(found)


def _staff() -> list[str]:
    """Return the addresses of DCC's people who can sign in."""
    people = get_user_model().objects.filter(is_staff=True, is_active=True)
    return sorted(people.values_list("email", flat=True))


# -- mend counters -------------------------------------------------------------------------------------------

_EACH = ", ".join(f"count(*) FILTER (WHERE state = '{state}') AS {state}" for state in State)
_SET = ", ".join(f"{state} = rows.{state}" for state in State)
MEND_LOT = f"""
UPDATE scheduling_lot lot SET {_SET}
FROM (SELECT {_EACH} FROM scheduling_deployment
      WHERE id BETWEEN %(id)s * %(span)s AND %(id)s * %(span)s + %(span)s - 1) rows
WHERE lot.id = %(id)s AND ({", ".join(f"lot.{state}" for state in State)})
    IS DISTINCT FROM ({", ".join(f"rows.{state}" for state in State)})
"""  # noqa: S608 - our own constants
# Beside the tally, as everything is: what moves meanwhile adds its own changes. One look at all of the deployments.
MEND_TALLY = f"""
INSERT INTO scheduling_tallychange (release_id, network_id, model_id, stage, state, hubs)
SELECT coalesce(rows.release_id, tallied.release_id), coalesce(rows.network_id, tallied.network_id),
       coalesce(rows.model_id, tallied.model_id), coalesce(rows.stage, tallied.stage),
       coalesce(rows.state, tallied.state), coalesce(rows.hubs, 0) - coalesce(tallied.hubs, 0)
FROM (SELECT lot.release_id, lot.network_id, model_id, stage, state, count(*) AS hubs
      FROM scheduling_deployment deployment JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
      GROUP BY 1, 2, 3, 4, 5) rows
FULL JOIN (SELECT release_id, network_id, model_id, stage, state, sum(hubs) AS hubs
           FROM ({questions.TALLIED}) tallied GROUP BY 1, 2, 3, 4, 5) tallied
    ON (tallied.release_id, tallied.network_id, tallied.model_id, tallied.stage, tallied.state)
     = (rows.release_id, rows.network_id, rows.model_id, rows.stage, rows.state)
WHERE coalesce(rows.hubs, 0) <> coalesce(tallied.hubs, 0)
"""  # noqa: S608 - our own constants
# What moves meanwhile is taken up later, on top of it.
MEND_OUTCOMES = f"""
INSERT INTO scheduling_outcometally AS tally
    (release_id, supplier_id, network_id, model_id, day, state, ending, is_activated, hubs)
SELECT release_id, supplier_id, network_id, model_id, day, state, ending, is_activated, there - kept
FROM ({questions.OUTCOMES_ONE_BY_ONE}) AS differ
    (release_id, supplier_id, network_id, model_id, day, state, ending, is_activated, there, kept)
ORDER BY 1, 2, 5, 3, 4, 6, 7, 8
ON CONFLICT (release_id, supplier_id, day, network_id, model_id, state, ending, is_activated)
DO UPDATE SET hubs = tally.hubs + excluded.hubs
"""  # noqa: S608 - our own constants
# Locked first, counted by a statement of its own: whoever has moved hubs and waits for the lock adds its own change.
LOCK = {
    Mismatch.IN_FLIGHT: "SELECT FROM scheduling_inflight WHERE release_id = %(id)s FOR NO KEY UPDATE",
    Mismatch.STAGE: "SELECT FROM scheduling_stage WHERE release_id = %(id)s ORDER BY id FOR NO KEY UPDATE",
    Mismatch.SLOT: "SELECT FROM scheduling_slot WHERE id = %(id)s FOR NO KEY UPDATE",
    Mismatch.LOT: "SELECT FROM scheduling_lot WHERE id = %(id)s FOR NO KEY UPDATE",
}
_RESOLVED = "('succeeded', 'failed', 'unconfirmed')"
MEND_IN_FLIGHT = f"""
UPDATE scheduling_inflight in_flight SET activating = tallied.activating, resolved = tallied.resolved,
    floor = policy.in_flight_floor, percent = policy.in_flight_percent, ceiling = policy.in_flight_ceiling
FROM (SELECT coalesce(sum(hubs) FILTER (WHERE state = 'activating'), 0) AS activating,
             coalesce(sum(hubs) FILTER (WHERE state IN {_RESOLVED}), 0) AS resolved
      FROM ({questions.TALLIED}) tallied WHERE stage > 0 AND release_id = %(id)s) tallied,
     firmware_rolloutpolicy policy
WHERE in_flight.release_id = %(id)s AND policy.release_id = %(id)s
"""  # noqa: S608 - our own constants
MEND_STAGES = f"""
UPDATE scheduling_stage stage SET admitted = tallied.admitted, resolved = tallied.resolved,
    full_at = CASE WHEN tallied.admitted = stage.size THEN stage.full_at END
FROM (SELECT kept.id,
             coalesce(sum(hubs) FILTER (WHERE state = 'activating' OR state IN {_RESOLVED}), 0) AS admitted,
             coalesce(sum(hubs) FILTER (WHERE state IN {_RESOLVED}), 0) AS resolved
      FROM scheduling_stage kept LEFT JOIN ({questions.TALLIED}) tallied
          ON tallied.release_id = kept.release_id AND tallied.model_id = kept.model_id
         AND tallied.stage = kept.number
      WHERE kept.release_id = %(id)s GROUP BY kept.id) tallied
WHERE tallied.id = stage.id AND (stage.admitted, stage.resolved) <> (tallied.admitted, tallied.resolved)
"""  # noqa: S608 - our own constants
MEND_SLOT = """
UPDATE scheduling_slot SET taken = (
    SELECT coalesce(sum(size - cancelled), 0) FROM scheduling_lot WHERE slot_id = %(id)s)
WHERE id = %(id)s
"""
MEND = {
    Mismatch.LOT: MEND_LOT,
    Mismatch.IN_FLIGHT: MEND_IN_FLIGHT,
    Mismatch.STAGE: MEND_STAGES,
    Mismatch.SLOT: MEND_SLOT,
}


def mend(*, by: "User | None", now: datetime) -> list[questions.Found]:
    """
    Set the counters that do not agree to what is counted, each under its own lock; return those that still do not.

    Lots after their deployments, then the tallies, and what follows from these. It reads every deployment, so it is
    for people to ask for. What a CHECK refuses stays as it is.
    """
    portions = [questions.lots(after=0)]
    while portions[-1].last is not None:
        portions.append(questions.lots(after=portions[-1].last))
    of_lots = [one for portion in portions for one in portion.found if one.kind == Mismatch.LOT]
    before = [*of_lots, *questions.counters()]
    for one in of_lots:
        _mend(one)
    with transaction.atomic():
        sql.run(MEND_TALLY, {"span": LOT_SPAN})
        sql.run(MEND_OUTCOMES, {"span": LOT_SPAN})
    for one in questions.counters():
        if one.kind in MEND:
            _mend(one)
    after = questions.counters()
    if before:
        audit.record(
            actor=by,
            verb="counters.mended",
            subject="counters",
            reason=f"{len(before):,} counters did not agree with what they count.",
            facts={"found": [f"{one.subject}: {one.words}" for one in before[:100]], "left": len(after)},
            now=now,
        )
    return after


def _mend(one: questions.Found) -> None:
    terms = {"id": one.row, "span": LOT_SPAN}
    try:
        with transaction.atomic():
            sql.rows(LOCK[one.kind], terms)
            sql.run(MEND[one.kind], terms)
    except IntegrityError as refusal:
        logger.error("%s cannot be mended: %s", one.subject, refusal)
