"""
Decide about hubs that were set aside because carrying them out kept failing (see `deployments.aside`).

Either the hub is taken back, and goes on where it was, or its deployment ends. What is decided is decided under the
locks of the lots, as everything that moves deployments: of two who decide at once the second finds nothing left, and
of a decision and a report the first comes to be.

Only what is being activated has others wait for it: a stage ends with its last hub. There time decides where nobody
else does.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import transaction

from firmware import queries as releases
from hubs.gateway import Outcome, Phase, Verdict
from hubs.identifiers import format_eui64
from portal.ground import audit, sql
from portal.ground.clock import Clock
from portal.ground.stopping import KeepGoing, always
from scheduling.lifecycle import Ending, State
from scheduling.models import LOT_SPAN, Lot, Quarantine
from scheduling.operations.deployments.gate import LAST_WORD
from scheduling.operations.deployments.receipts import NOT_RECEIVED
from scheduling.operations.deployments.reports import wake_waiting
from scheduling.operations.exceptions import MAY_DECIDE
from scheduling.queries import quarantine

if TYPE_CHECKING:
    from portal.models import User

MOST = 1_000
"""Hubs about which one decision can be."""
KEPT = timedelta(days=28)
"""How long people can read in the list of what time has decided."""


class UnableToDecide(Exception):
    """Nothing was decided; the message says why and what to do."""


# A command without a receipt is sent again under its key at once, whatever its hub was waiting for: until then nobody
# knows that it has arrived. Whoever awaits the answer to one that did arrive waits on.
GO_ON = f"""
UPDATE scheduling_deployment deployment SET next_at = %(now)s
FROM scheduling_command command
WHERE deployment.id = ANY (%(deployments)s) AND deployment.awaiting AND deployment.next_at > %(now)s
  AND command.deployment_id = deployment.id AND command.phase = deployment.phase
  AND command.attempt = deployment.attempt AND {NOT_RECEIVED} AND command.answered_at IS NULL
  AND command.valid_until > %(now)s
"""  # noqa: S608 - our own constant


@transaction.atomic(durable=True)
def take_back(*, deployments: Collection[int], by: "User", reason: str, now: datetime) -> int:
    """
    Let hubs that were set aside go on where they were, by the ids of their deployments; return how many there were.

    Their lots are due at once. Those about which something was decided meanwhile, or that ended, are left alone.

    :raises UnableToDecide: with the sentence that the person reads
    """
    kept = _kept(deployments, by, reason)
    ids = [one.deployment for one in kept]
    sql.run(GO_ON, {"deployments": ids, "now": now})
    Quarantine.objects.filter(pk__in=ids).delete()
    Lot.objects.filter(pk__in={pk // LOT_SPAN for pk in ids}).update(due_at=now)
    _record(kept, "quarantine.taken_back", by, reason, now)
    return len(kept)


@dataclass(frozen=True, slots=True)
class Ended:
    """How many hubs ended in which way."""

    missed: int
    unconfirmed: int


# an activation that began may have happened, whatever came of it
END = """
UPDATE scheduling_deployment
SET state = CASE state WHEN 'activating' THEN 'unconfirmed' ELSE 'missed' END, ending = %(set_aside)s,
    awaiting = false, next_at = NULL, moved_at = %(now)s, ended_at = %(now)s
WHERE id = ANY (%(deployments)s) AND ended_at IS NULL
RETURNING id, state
"""
# a lot without an open hub is never due again, whoever holds it
SETTLE = """
UPDATE scheduling_lot SET due_at = NULL, lease_until = NULL
WHERE id = ANY (%(lots)s) AND provisional + booked + staging + staged + activating + held = 0
"""


@transaction.atomic(durable=True)
def end(*, deployments: Collection[int], by: "User", reason: str, now: datetime) -> Ended:
    """
    End the deployments of hubs that were set aside, by their ids: missed, or unconfirmed where activation had begun.

    They keep their places in their slots, and go back to their bookers, as other missed hubs do. Those about which
    something was decided meanwhile, or that ended by themselves, are left alone.

    :raises UnableToDecide: with the sentence that the person reads
    """
    kept = _kept(deployments, by, reason)
    ended = _end(kept, now)
    Quarantine.objects.filter(pk__in=[one.deployment for one in kept]).delete()
    unconfirmed = {pk for pk, state in ended.items() if state == State.UNCONFIRMED}
    _make_room([one for one in kept if one.deployment in unconfirmed], now)
    _record(kept, "quarantine.ended", by, reason, now)
    return Ended(missed=len(ended) - len(unconfirmed), unconfirmed=len(unconfirmed))


def _end(kept: Collection[quarantine.Kept], now: datetime) -> dict[int, str]:
    """End deployments whose lots are locked; return the state of each that has ended, by id."""
    ids = [one.deployment for one in kept]
    ended = dict(sql.rows(END, {"deployments": ids, "set_aside": Ending.SET_ASIDE, "now": now}))
    sql.run(SETTLE, {"lots": sorted({pk // LOT_SPAN for pk in ids})})
    return ended


def _make_room(gone: Collection[quarantine.Kept], now: datetime) -> None:
    """Wake as many lots as can use what these held in flight."""
    for release, freed in sorted(Counter(one.release for one in gone).items()):
        wake_waiting(release=release, ended=freed, now=now)


# What surely did nothing is taken back, as the Gate does it, and its try does not count.
NEVER_DONE = """
WITH recalled AS (
    UPDATE scheduling_command command SET answered_at = %(now)s, outcome = %(expired)s
    FROM scheduling_deployment deployment
    WHERE deployment.id = ANY (%(deployments)s) AND deployment.awaiting AND deployment.phase = %(activate)s
      AND command.deployment_id = deployment.id AND command.phase = deployment.phase
      AND command.attempt = deployment.attempt AND command.answered_at IS NULL
      AND (command.sent_at IS NULL OR command.verdict = %(refused_late)s)
    RETURNING command.deployment_id)
UPDATE scheduling_deployment deployment
SET state = 'staged', awaiting = false, tries = deployment.tries - 1, next_at = %(now)s, moved_at = %(now)s
FROM recalled WHERE deployment.id = recalled.deployment_id
RETURNING deployment.id
"""
PORTION = 200
"""Hubs whose lots are locked at a time."""


def lapse(*, clock: Clock, keep_going: KeepGoing = always) -> int:
    """
    End, as unconfirmed, what was set aside while it was being activated, once it has been silent for too long.

    That is the silence deadline of its release, from the moment at which it was set aside: nothing was sent after
    that, so none of its commands is valid any more, and what comes back yet is late. An activation that surely was
    never done is taken back instead; its hub holds up nobody while it waits for DCC. Returns how many ended.
    """
    lapsed, after, now = 0, 0, clock()
    moments = quarantine.deadlines(now=now - LAST_WORD)
    while moments and keep_going():
        found = quarantine.silent_too_long(moments=moments, after=after, limit=PORTION)
        if not found:
            break
        lapsed += _lapse(found, moments, clock())
        after = found[-1].deployment
    return lapsed


@transaction.atomic(durable=True)
def _lapse(found: Collection[quarantine.Kept], moments: Mapping[int, datetime], now: datetime) -> int:
    """Do what `lapse` says with these; what somebody else is at is left to the next time."""
    lots = Lot.objects.filter(pk__in={one.deployment // LOT_SPAN for one in found}).order_by("id")
    ours = set(lots.select_for_update(skip_locked=True).values_list("pk", flat=True))
    within = [one.deployment for one in found if one.deployment // LOT_SPAN in ours]
    kept = quarantine.silent_too_long(moments=moments, among=within, limit=len(within))
    terms = {
        "deployments": [one.deployment for one in kept],
        "activate": int(Phase.ACTIVATE),
        "expired": int(Outcome.EXPIRED),
        "refused_late": int(Verdict.EXPIRED),
        "now": now,
    }
    back = {pk for (pk,) in sql.rows(NEVER_DONE, terms)}
    gone = [one for one in kept if one.deployment not in back]
    ended = _end(gone, now)
    Quarantine.objects.filter(pk__in=list(ended)).update(lapsed_at=now)
    _make_room(kept, now)
    _record(
        gone,
        "quarantine.lapsed",
        None,
        "Set aside while being activated, and neither an answer nor a decision came within the silence deadline: what "
        "these hubs run is not known.",
        now,
    )
    return len(ended)


def _kept(deployments: Collection[int], by: "User", reason: str) -> list[quarantine.Kept]:
    """Lock the lots, and return which of the deployments are set aside and have not ended."""
    if not by.has_perm(MAY_DECIDE):
        raise UnableToDecide("Only a DCC release manager can decide about hubs that were set aside.")
    if not reason.strip():
        raise UnableToDecide("Say in a few words why: it stays on record.")
    if len(deployments) > MOST:
        raise UnableToDecide(
            f"These are {len(deployments):,} hubs; a decision can be about {MOST:,} at most. Filter the list, and "
            "decide about them in several steps."
        )
    lots = Lot.objects.filter(pk__in={pk // LOT_SPAN for pk in deployments})
    list(lots.order_by("id").select_for_update(no_key=True).values_list("pk"))
    kept = quarantine.open_among(deployments=deployments)
    if not kept:
        raise UnableToDecide(
            "None of these hubs is set aside any more: somebody has decided about them, or they have ended "
            "meanwhile. The list shows what is left."
        )
    return kept


def _record(
    kept: Collection[quarantine.Kept], verb: str, by: "User | None", reason: str, now: datetime
) -> None:
    for release in sorted({one.release for one in kept}):
        concerned = [one for one in kept if one.release == release]
        audit.record(
            actor=by,
            verb=verb,
            subject=releases.subject(release_id=release),
            reason=reason,
            facts={
                "hubs": len(concerned),
                "which": [
                    {"chf_id": format_eui64(one.hub), "deployment": one.deployment, "was": one.state}
                    for one in concerned
                ],
            },
            now=now,
        )


# In small portions, since a broken adapter can have struck very many; what is being struck at this moment is passed.
# What time has decided is kept for people to read.
SWEEP = """
DELETE FROM scheduling_quarantine WHERE deployment_id IN (
    SELECT kept.deployment_id FROM scheduling_quarantine kept
    JOIN scheduling_deployment deployment ON deployment.id = kept.deployment_id
    WHERE deployment.ended_at IS NOT NULL AND (kept.lapsed_at IS NULL OR kept.lapsed_at < %(long_ago)s)
    ORDER BY kept.deployment_id LIMIT %(limit)s FOR UPDATE OF kept SKIP LOCKED)
"""
SWEPT = 10_000


def sweep(*, clock: Clock, keep_going: KeepGoing = always) -> int:
    """
    Let time decide where it has to (see `lapse`), and forget the strikes of deployments that have ended.

    These ended without a decision, by a late report or by being cancelled, or by time and long ago. Returns how many
    were forgotten.
    """
    lapse(clock=clock, keep_going=keep_going)
    forgotten = 0
    while keep_going():
        forgotten += (swept := sql.run(SWEEP, {"limit": SWEPT, "long_ago": clock() - KEPT}))
        if swept < SWEPT:
            break
    return forgotten
