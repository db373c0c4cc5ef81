"""
The Gate: the one transaction that asks every rule again and writes command rows.

It makes no call to the outside.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction

from firmware.models import ReleaseState
from hubs.gateway import Command, Outcome, Phase, Verdict
from hubs.models import BOOKABLE
from portal.ground import sql
from portal.ground.clock import Clock
from scheduling import reactions
from scheduling.lifecycle import Ending
from scheduling.models import Consent
from scheduling.operations import placing, stages
from scheduling.operations.bookings import cancel_lots
from scheduling.operations.deployments.claims import LOOK_AGAIN, OURS, Claim, enter, ours, wait_for_room
from scheduling.operations.deployments.halted import IN_HALTED_PART, PARTS, Parts
from scheduling.operations.deployments.leaving import Leaving, instructions
from scheduling.operations.deployments.protection import NOT_NOW, PROTECTED, protection
from scheduling.operations.deployments.receipts import NOT_RECEIVED
from scheduling.queries import eligibility

LAST_WORD = timedelta(seconds=15)
"""Between a command's last valid moment and its silence: time for the carrier to say that it was not carried out."""

# What surely did nothing is taken back, and its try does not count. Nor does a read count that the carrier never
# took: silence is the hub's only when the question reached the carrier.
RECALL = f"""
WITH recalled AS (
    UPDATE scheduling_command command SET answered_at = %(now)s, outcome = %(expired)s
    FROM scheduling_deployment deployment
    WHERE {OURS} AND deployment.awaiting
      AND command.deployment_id = deployment.id AND command.phase = deployment.phase
      AND command.attempt = deployment.attempt AND command.answered_at IS NULL
      AND (command.verdict = %(refused_late)s
           OR (command.phase = %(verify)s AND command.valid_until <= %(now)s AND {NOT_RECEIVED})
           OR (command.sent_at IS NULL AND (
                   command.valid_until <= %(now)s OR %(halted)s
                   OR (command.phase <> %(verify)s AND {IN_HALTED_PART})
                   OR (command.phase = %(activate)s AND {NOT_NOW})
                   OR (NOT %(published)s AND command.phase <> %(verify)s))))
    RETURNING command.deployment_id, command.phase)
UPDATE scheduling_deployment deployment
SET state = CASE WHEN recalled.phase = %(activate)s THEN 'staged' ELSE deployment.state END,
    awaiting = false, tries = deployment.tries - 1, next_at = %(now)s, moved_at = %(now)s
FROM recalled WHERE deployment.id = recalled.deployment_id
"""  # noqa: S608 - our own constant
SLOT_OVER = f"""
UPDATE scheduling_deployment deployment SET state = 'missed', awaiting = false, next_at = NULL, moved_at = %(now)s,
    ended_at = %(now)s,
    ending = CASE
        WHEN state = 'held' OR %(halted)s OR {IN_HALTED_PART} THEN %(by_halt)s
        WHEN state = 'provisional' THEN %(no_consent)s
        WHEN first_miss_at IS NOT NULL THEN %(unreachable)s
        WHEN state = 'staging' THEN %(not_staged)s
        WHEN state = 'staged' AND %(closed_slot)s THEN %(network_closed)s
        WHEN state = 'staged' AND {PROTECTED.format(when="slot")} THEN %(protected_window)s
        WHEN state = 'staged' AND %(waited)s THEN %(no_turn)s
        ELSE %(slot_passed)s END
WHERE {OURS} AND state IN ('provisional', 'booked', 'staging', 'staged', 'held')
"""  # noqa: S608 - our own constant
GRACE_OVER = f"""
UPDATE scheduling_deployment deployment SET state = 'missed', ending = %(unreachable)s, next_at = NULL,
    moved_at = %(now)s, ended_at = %(now)s
WHERE {OURS} AND state = 'staged' AND first_miss_at <= %(grace_began)s
"""  # noqa: S608 - our own constant
# Without the carrier's receipt nobody knows that a command has arrived, so its silence says nothing: it is sent
# again under the same key, which is carried out once however often it comes, and the wait begins then.
NO_RECEIPT = f"""
UPDATE scheduling_deployment deployment SET next_at = %(answer_by)s
FROM scheduling_command command
WHERE {OURS} AND deployment.awaiting AND deployment.next_at <= %(now)s
  AND command.deployment_id = deployment.id AND command.phase = deployment.phase
  AND command.attempt = deployment.attempt AND {NOT_RECEIVED} AND command.answered_at IS NULL
  AND command.valid_until > %(now)s
"""  # noqa: S608 - our own constant
SILENT = f"""
UPDATE scheduling_deployment deployment SET
    state = CASE WHEN phase = %(verify)s AND tries >= %(verify_attempts)s THEN 'unconfirmed' ELSE state END,
    ending = CASE WHEN phase = %(verify)s AND tries >= %(verify_attempts)s THEN %(silent)s ELSE ending END,
    ended_at = CASE WHEN phase = %(verify)s AND tries >= %(verify_attempts)s THEN %(now)s::timestamptz END,
    next_at = CASE WHEN phase = %(verify)s AND tries >= %(verify_attempts)s THEN NULL
              ELSE %(now)s::timestamptz END,
    tries = CASE WHEN phase = %(activate)s THEN 0 ELSE tries END,
    -- an activation without an answer may have happened: read, never activate again
    phase = CASE WHEN phase = %(activate)s THEN %(verify)s ELSE phase END,
    first_miss_at = coalesce(first_miss_at, %(now)s),
    silent = silent OR state = 'activating',
    awaiting = false, moved_at = %(now)s
WHERE {OURS} AND awaiting AND next_at <= %(now)s
"""  # noqa: S608 - our own constant
HOLD = f"""
UPDATE scheduling_deployment deployment SET state = 'held', awaiting = false, next_at = %(slot_end)s, moved_at = %(now)s
WHERE {OURS} AND (%(halted)s OR {IN_HALTED_PART})
  AND (state IN ('provisional', 'booked', 'staged') OR (state = 'staging' AND NOT awaiting))
"""  # noqa: S608 - our own constants
# A hub whose model was corrected is not what was booked: its counts, its stage and its evidence are another model's.
STILL_ELIGIBLE = """(
    (hub.lead_id = %(supplier)s OR hub.other_id IS NOT DISTINCT FROM %(supplier)s)
    AND hub.model_id = ANY (%(models)s) AND hub.model_id = deployment.model_id AND hub.network_id = %(network)s
    AND hub.hardware_version BETWEEN %(minimum_hardware)s AND %(maximum_hardware)s
    AND hub.status = ANY (%(bookable)s))"""
# Only who was asked can have agreed. An inventory can name another Supplier beside the one that booked, and whoever
# that is has not been asked; an override asks nobody.
ASKED_WHOM_IT_CONCERNS = f"""(
    %(is_override)s OR {eligibility.PARTNER} IS NULL
    OR {eligibility.PARTNER} IS NOT DISTINCT FROM %(partner)s::smallint)"""
# a halt is nobody's consent: what the other Supplier has not answered is provisional again
UNHOLD = f"""
UPDATE scheduling_deployment deployment SET
    state = CASE WHEN %(is_asked)s THEN 'provisional' ELSE 'booked' END,
    next_at = CASE WHEN %(is_asked)s THEN %(slot_end)s::timestamptz
              ELSE greatest(%(now)s, %(staging_from)s)::timestamptz END,
    phase = %(read)s, tries = 0, first_miss_at = NULL, moved_at = %(now)s
WHERE {OURS} AND state = 'held' AND NOT {IN_HALTED_PART}
"""  # noqa: S608 - our own constants
NOT_ELIGIBLE = f"""
UPDATE scheduling_deployment deployment SET state = 'cancelled', next_at = NULL, moved_at = %(now)s, ended_at = %(now)s,
    ending = CASE WHEN {STILL_ELIGIBLE} THEN %(no_consent)s ELSE %(not_eligible)s END
FROM hubs_communicationshub hub
WHERE {OURS} AND hub.chf_id = deployment.hub_id
  AND deployment.state IN ('booked', 'staging', 'staged') AND NOT deployment.awaiting
  AND deployment.next_at <= %(now)s AND NOT ({STILL_ELIGIBLE} AND {ASKED_WHOM_IT_CONCERNS})
"""  # noqa: S608 - our own constants
# Activations take what room there is, in the order of their ids: of the open stage of their model first, which may be
# for its first hubs alone, then of what may be in flight.
ADMIT = f"""
WITH due AS (
    SELECT id, model_id, stage.number, stage.room,
           stage.chosen IS NULL OR EXISTS (
               SELECT FROM scheduling_firsthub first
               WHERE first.stage_id = stage.chosen AND first.deployment_id = deployment.id) AS may_be_in_it
    FROM scheduling_deployment deployment
    LEFT JOIN unnest(%(models_with_stage)s::int[], %(stages)s::int[], %(stage_rooms)s::int[],
                     %(stages_chosen)s::bigint[])
        AS stage (model_id, number, room, chosen) USING (model_id)
    WHERE %(activates)s AND {OURS} AND NOT awaiting AND next_at <= %(now)s
      AND phase = %(activate)s AND state = 'staged' AND NOT {NOT_NOW}),
ready AS (
    SELECT *, row_number() OVER (PARTITION BY model_id ORDER BY may_be_in_it DESC, id) AS place FROM due),
chosen AS (
    SELECT id FROM ready WHERE number IS NOT NULL AND may_be_in_it AND (room IS NULL OR place <= room)
    ORDER BY id LIMIT %(room)s),
moved AS (
    UPDATE scheduling_deployment deployment SET
        state = CASE WHEN phase IN (%(read)s, %(stage)s) THEN 'staging' ELSE 'activating' END,
        stage = CASE WHEN phase = %(activate)s
            THEN (%(stages)s::int[])[array_position(%(models_with_stage)s::int[], model_id)] ELSE stage END,
        attempt = attempt + 1, tries = tries + 1, awaiting = true, next_at = %(answer_by)s, moved_at = %(now)s
    WHERE {OURS} AND NOT awaiting AND next_at <= %(now)s
      AND (   (phase IN (%(read)s, %(stage)s) AND state IN ('booked', 'staging') AND %(may_stage)s)
           OR id IN (SELECT id FROM chosen)
           OR (phase = %(verify)s AND state = 'activating' AND %(may_verify)s))
    RETURNING id, phase, attempt, hub_id),
admitted AS (
    INSERT INTO scheduling_command (deployment_id, phase, attempt, token, admitted_at, valid_until, sent_at)
    SELECT id, phase, attempt, %(token)s, %(now)s,
           CASE phase WHEN %(verify)s THEN %(silent_at)s WHEN %(activate)s THEN %(activate_until)s ELSE %(until)s END,
           %(stamp)s
    FROM moved)
SELECT id, phase, attempt, hub_id, (SELECT count(*) FROM ready) - (SELECT count(*) FROM chosen)
FROM (SELECT) always LEFT JOIN moved ON true ORDER BY id
"""  # noqa: S608 - our own constants
# One look at the lot says which of the other statements have anything to do. Nobody else moves its deployments
# meanwhile: whoever does holds the row of the lot, which we have locked.
LOOK = sql.Often(f"""
SELECT count(*) FILTER (WHERE next_at <= %(now)s),
       count(*) FILTER (WHERE next_at <= %(now)s AND state IN ('booked', 'staging', 'staged') AND NOT awaiting),
       count(*) FILTER (WHERE next_at <= %(now)s AND state = 'staged' AND phase = %(activate)s),
       count(*) FILTER (WHERE awaiting AND next_at <= %(now)s),
       count(*) FILTER (WHERE awaiting AND EXISTS (
           SELECT FROM scheduling_command command
           WHERE command.deployment_id = deployment.id AND command.phase = deployment.phase
             AND command.attempt = deployment.attempt AND {NOT_RECEIVED})),
       count(*) FILTER (WHERE first_miss_at <= %(grace_began)s),
       count(*) FILTER (WHERE state = 'held')
FROM scheduling_deployment deployment WHERE {OURS} AND ended_at IS NULL
""")  # noqa: S608 - our own constant
# what only waits for room stays due: whoever makes room wakes the lot
LOOK_LATER = f"""
UPDATE scheduling_deployment deployment SET next_at = CASE
        WHEN state <> 'activating' AND %(slot_end)s > %(now)s THEN least(%(slot_end)s, %(later)s)
        ELSE %(later)s END
WHERE {OURS} AND ended_at IS NULL AND next_at <= %(now)s
  AND NOT (%(waits)s AND state = 'staged' AND phase = %(activate)s AND %(may_activate)s AND NOT {NOT_NOW})
"""  # noqa: S608 - our own constants


class Admission(NamedTuple):
    """
    How many commands the Gate wrote, at which moment, and whether hubs wait for room: in flight, or in a stage.

    `leaving` are those that it stamped; `may_be_more` says that others, of before, may be left to send.
    """

    commands: int
    at: datetime
    waits: bool
    leaving: Leaving
    may_be_more: bool


class _Look(NamedTuple):
    """How many deployments of the lot, not yet ended, are such that a statement of the Gate may concern them."""

    due: int
    to_begin: int
    """Due, and not activated yet."""
    to_activate: int
    overdue: int
    """Without an answer, for too long."""
    unreceived: int
    """With a command of which nobody knows whether the carrier has it."""
    missed: int
    """Not reached since the grace began, if they are still to be activated."""
    held: int


@transaction.atomic(durable=True)
def admit(*, claimed: Claim, image_whole: bool, clock: Clock, stamps: bool = False) -> Admission:
    """
    The Gate: end what is over, and write a command for every due deployment that every rule lets through.

    Holds the release's lock shared until it commits; a halt takes it alone. So a halt that has committed is
    seen here, and one that waits here commits after this. A caller that hands the commands over at once has it
    `stamps` them as sent, in the same transaction that asked every rule.

    :raises LeaseLost: if another worker has claimed the lot
    """
    lot = claimed.lot
    now = enter(claimed=claimed, clock=clock)
    terms, first = _terms(claimed, image_whole, now)
    found = first
    if (
        not terms["published"]
        or terms["part_halted"]
        or terms["is_over"]
        or found.overdue
        or found.unreceived
        or found.missed
        or found.held
    ):
        _put_in_order(claimed, terms)
        found = _Look(*sql.rows(LOOK, terms)[0])
    gone = sql.run(NOT_ELIGIBLE, terms) if found.to_begin else 0
    stamp = {"stamp": now if stamps else None}
    admitted = sql.rows(ADMIT, terms | stamp | _budget(lot.release_id, terms, found))
    left = admitted[0][4]
    commands = [row for row in admitted if row[0] is not None]
    if found.due > gone + len(commands):
        sql.run(LOOK_LATER, terms | {"waits": left > 0})
    if left:
        wait_for_room(claimed=claimed)
    if claimed.lot.halts_seen != terms["halts_seen"]:
        sql.run(SEEN, {"lot": claimed.lot.pk, "halts_seen": terms["halts_seen"]})
    if gone:  # last: slots are locked after what is in flight
        placing.free_places(places={lot.slot_id: gone})
    return Admission(
        len(commands),
        now,
        waits=left > 0,
        leaving=Leaving(
            _instructions(claimed, commands, terms) if stamps else (), now, terms["stops"], is_whole=True
        ),
        may_be_more=first.unreceived > 0 or not stamps,
    )


def _put_in_order(claimed: Claim, terms: Mapping[str, Any]) -> None:
    """Take back, end and hold what time, silence or a stop has decided."""
    sql.run(RECALL, terms)
    if terms["is_over"]:
        sql.run(SLOT_OVER, terms)
    sql.run(GRACE_OVER, terms)
    sql.run(NO_RECEIPT, terms)
    sql.run(SILENT, terms)
    if terms["halted"] or (terms["published"] and terms["part_halted"]):
        sql.run(HOLD, terms)
    if terms["published"]:
        sql.run(UNHOLD, terms)
    elif not terms["halted"]:
        lot = claimed.lot
        cancel_lots(lots=[(lot.pk, lot.slot_id)], ending=Ending.WITHDRAWN, now=terms["now"])


def _budget(release: int, terms: Mapping[str, Any], found: _Look) -> dict[str, Any]:
    """Lock what is in flight and the open stages, where anything is to be activated, as parameters of the Gate."""
    if not terms["may_activate"] or not found.to_activate:
        return {
            "activates": False,
            "room": 0,
            "models_with_stage": [],
            "stages": [],
            "stage_rooms": [],
            "stages_chosen": [],
        }
    budget = stages.lock(release=release, now=terms["now"])
    return {
        "activates": True,
        "room": budget.room,
        "models_with_stage": list(budget.stages),
        "stages": [stage.number for stage in budget.stages.values()],
        "stage_rooms": [stage.room for stage in budget.stages.values()],
        "stages_chosen": [stage.chosen for stage in budget.stages.values()],
    }


def _instructions(
    claimed: Claim, rows: Iterable[tuple[Any, ...]], terms: Mapping[str, Any]
) -> Sequence[Command]:
    until = {
        terms["read"]: terms["until"],
        terms["stage"]: terms["until"],
        terms["activate"]: terms["activate_until"],
        terms["verify"]: terms["silent_at"],
    }
    return instructions(
        claimed=claimed,
        rows=((key, phase, attempt, hub, until[phase]) for key, phase, attempt, hub, _ in rows),
    )


# Of one release and one network, under the lock: what can have changed since it was published.
RULES = sql.Often(f"""
SELECT release.state,{PARTS},
       (SELECT max(end_at) FROM firmware_availabilityperiod period
        WHERE period.release_id = release.id AND period.network_id = %(network)s
          AND period.start_at <= %(now)s AND period.end_at > %(now)s),
       EXISTS (SELECT FROM scheduling_consent consent WHERE consent.id = %(consent)s AND consent.state = %(asked)s)
FROM firmware_firmwarerelease release WHERE release.id = %(release)s
""")  # noqa: S608 - our own constant
SEEN = "UPDATE scheduling_lot SET halts_seen = %(halts_seen)s WHERE id = %(lot)s"


def _terms(claimed: Claim, image_whole: bool, now: datetime) -> tuple[dict[str, Any], _Look]:
    """Ask every rule of the release anew, under its lock; return the parameters of the Gate, and a look at the lot."""
    lot, slot = claimed.lot, claimed.lot.slot
    release, policy = lot.release, lot.release.policy
    asked = {
        **ours(claimed=claimed),
        "activate": int(Phase.ACTIVATE),
        "release": lot.release_id,
        "network": lot.network_id,
        "now": now,
        "grace_began": policy.grace.before(now),
        "consent": lot.consent_id,
        "asked": Consent.State.ASKED,
    }
    rules, [look] = sql.several([RULES, LOOK], asked)
    [(state, *found, period_end, is_asked)] = rules
    parts = Parts(*found)
    published = state == ReleaseState.PUBLISHED
    in_period = period_end is not None
    until = min(slot.end_at, period_end) if in_period else slot.end_at
    silent_at = policy.silence_deadline.after(now)
    stops = protection(lot=lot, now=now)
    terms = {
        **asked,
        **stops,
        **parts.parameters,
        "part_halted": parts.any,
        "halts_seen": parts.changes,
        "stops": (state, parts.halts),
        "token": claimed.token,
        "slot_end": slot.end_at,
        "staging_from": lot.staging_from,
        "until": until,
        # a command must not be followed in a window that begins after it is given; nothing is activated after its
        # silence was taken for an answer
        "activate_until": min(until, stops["clear_until"], silent_at),
        "silent_at": silent_at,
        "answer_by": silent_at + LAST_WORD,
        "later": now + LOOK_AGAIN,
        "published": published,
        "halted": state == ReleaseState.HALTED,
        "is_over": now >= slot.end_at,
        "may_stage": published and in_period and image_whole and lot.staging_from <= now < slot.end_at,
        "may_activate": published and in_period and slot.holds(now),
        # what began has to be read back also after a withdrawal; nothing at all is asked during a halt
        "may_verify": state != ReleaseState.HALTED,
        "supplier": lot.supplier_id,
        "partner": lot.consent and lot.consent.supplier_id,
        "is_override": lot.is_override,
        "models": [model.pk for model in release.hub_models.all()],
        "minimum_hardware": release.minimum_hardware,
        "maximum_hardware": release.maximum_hardware,
        "bookable": [int(status) for status in BOOKABLE],
        "is_asked": is_asked,
        "verify_attempts": reactions.VERIFY_ATTEMPTS,
        **{phase.name.lower(): int(phase) for phase in Phase},
        "expired": int(Outcome.EXPIRED),
        "refused_late": int(Verdict.EXPIRED),
        "by_halt": Ending.HALTED,
        "network_closed": Ending.NETWORK_CLOSED,
        "protected_window": Ending.PROTECTED_WINDOW,
        "unreachable": Ending.UNREACHABLE,
        "not_staged": Ending.NOT_STAGED,
        "waited": lot.waits,
        "no_turn": Ending.NO_TURN,
        "slot_passed": Ending.SLOT_PASSED,
        "silent": Ending.SILENT,
        "not_eligible": Ending.NO_LONGER_ELIGIBLE,
        "no_consent": Ending.NO_CONSENT,
    }
    return terms, _Look(*look)
