"""
Carry deployments out: claim a lot, pass the Gate, send, and record what comes back.

The unit of work is the lot. A worker claims one that is due, with a lease and a fencing token; whatever it
writes afterwards names that token. The Gate is one transaction that asks every rule again and writes command
rows; it makes no call to the outside. The sender stamps a command as sent, commits, and only then calls the
carrier. Reports come in lots of their own and move deployments once, whatever their order.

Raw SQL throughout, because every statement moves up to a thousand rows, and states are compared and set in
the statement itself.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from firmware import locks
from firmware import queries as releases
from firmware.models import FirmwareRelease, ReleaseState
from firmware.operations import decisions, stored_images
from hubs import gateway as door
from hubs.gateway import HubGateway, Outcome, Phase, Report, Verdict
from hubs.models import BOOKABLE
from hubs.operations import record_versions
from portal.ground import sql
from portal.ground.clock import Clock
from scheduling import reactions
from scheduling.lifecycle import Ending
from scheduling.models import LOT_SPAN, Consent, Deployment, Lot
from scheduling.operations import placing
from scheduling.operations.bookings import cancel_lots
from scheduling.queries import eligibility, windows

logger = logging.getLogger(__name__)
LEASE = timedelta(seconds=settings.LEASE_SECONDS)
SEND = 50
"""Commands handed over at a time; between two times the halt, the slot and the token are asked again."""
COLLECT = 2_000
LAST_WORD = timedelta(seconds=15)
"""Between a command's last valid moment and its silence: time for the carrier to say that it was not carried out."""
LOOK_AGAIN = timedelta(seconds=30)
"""When a deployment that the Gate did not admit is looked at again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's hold on one lot: only this token may write for it."""

    lot: Lot
    token: int

    @property
    def first(self) -> int:
        """The lowest id of the lot's deployments."""
        return self.lot.pk * LOT_SPAN

    @property
    def last(self) -> int:
        """The highest id that the lot's deployments can have."""
        return self.first + LOT_SPAN - 1


class LeaseLost(Exception):
    """Another worker has the lot by now; whatever was under way here is its business."""


CLAIM = """
UPDATE scheduling_lot SET lease_until = %(now)s + %(lease)s, token = token + 1
WHERE id = (
    SELECT id FROM scheduling_lot
    WHERE due_at <= %(now)s AND (lease_until IS NULL OR lease_until <= %(now)s)
    ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, token
"""


def claim(*, now: datetime) -> Claim | None:
    """Take the lot that has been due longest and that no living worker holds; None where nothing is due."""
    claimed = sql.rows(CLAIM, {"now": now, "lease": LEASE})
    if not claimed:
        return None
    [(lot_id, token)] = claimed
    lot = Lot.objects.select_related("slot", "release__policy", "release__version", "consent").get(pk=lot_id)
    return Claim(lot, token)


def carry_out(*, gateway: HubGateway, clock: Clock, lots: int) -> int:
    """
    Claim and advance due lots, at most `lots` of them, and none any more after a third of a lease.

    Returns how many there were.
    """
    began = clock()
    for done in range(lots):
        now = clock()
        if now - began > LEASE / 3 or not (claimed := claim(now=now)):
            return done
        try:
            advance(claimed=claimed, gateway=gateway, clock=clock)
        except LeaseLost:
            logger.warning("lot %s was taken over by another worker", claimed.lot.pk)
    return lots


def advance(*, claimed: Claim, gateway: HubGateway, clock: Clock) -> None:
    """
    Take every due deployment of the lot one step further, and hand the lot back.

    :raises LeaseLost: if the lot was taken over meanwhile; nothing is half done then
    """
    image_whole = _image_is_whole(claimed.lot, clock)
    admit(claimed=claimed, image_whole=image_whole, clock=clock)
    while send(claimed=claimed, gateway=gateway, clock=clock):
        pass
    _hand_back(claimed)


def _image_is_whole(lot: Lot, clock: Clock) -> bool:
    """Hash the stored image again before anything is staged; a changed one halts its release."""
    if not (lot.booked or lot.staging):
        return True
    try:
        stored_images.verify_stored_image(release=lot.release)
    except stored_images.ImageChanged as changed:
        logger.error("release %s: %s", lot.release_id, changed)
        if lot.release.state == ReleaseState.PUBLISHED:
            decisions.halt(
                release=lot.release, by=None, reason=f"Halted by the portal: {changed}", now=clock()
            )
        return False
    return True


# -- the Gate ------------------------------------------------------------------------------------------------

PROTECTED = """(%(own_{when})s OR (%(some_{when})s AND EXISTS (
    SELECT FROM hubs_communicationshub hub WHERE hub.chf_id = deployment.hub_id
      AND (hub.payment_mode = ANY (%(modes_{when})s::smallint[])
           OR EXISTS (SELECT FROM scheduling_protectedhub listed WHERE listed.hub = hub.chf_id
                        AND listed.window_id = ANY (%(lists_{when})s::bigint[]))
           OR EXISTS (SELECT FROM scheduling_groupedhub member WHERE member.hub = hub.chf_id
                        AND member.group_id = ANY (%(groups_{when})s::bigint[]))
           OR EXISTS (SELECT FROM hubs_changeofsupplier change WHERE change.hub = hub.chf_id
                        AND change.effective_on = ANY (%(changes_{when})s::date[]))))))"""
"""
A hub is in a hard protected window of one of its Suppliers, or around its change of supplier: `now`, or at any
moment of the `slot`.
"""
NOT_NOW = f"(%(closed_now)s OR {PROTECTED.format(when='now')})"
"""A hub must not be activated at this moment."""

# What surely did nothing is taken back, and its try does not count. Nor does a read count that the carrier never
# took: silence is the hub's only when the question reached the carrier.
RECALL = f"""
WITH recalled AS (
    UPDATE scheduling_command command SET answered_at = %(now)s, outcome = %(expired)s
    FROM scheduling_deployment deployment
    WHERE deployment.id BETWEEN %(first)s AND %(last)s AND deployment.awaiting
      AND command.deployment_id = deployment.id AND command.phase = deployment.phase
      AND command.attempt = deployment.attempt AND command.answered_at IS NULL
      AND (command.verdict = %(refused_late)s
           OR (command.verdict IS NULL AND command.phase = %(verify)s AND command.valid_until <= %(now)s)
           OR (command.sent_at IS NULL AND (
                   command.valid_until <= %(now)s OR %(halted)s
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
        WHEN state = 'held' OR %(halted)s THEN %(by_halt)s
        WHEN state = 'provisional' THEN %(no_consent)s
        WHEN first_miss_at IS NOT NULL THEN %(unreachable)s
        WHEN state = 'staging' THEN %(not_staged)s
        WHEN state = 'staged' AND %(closed_slot)s THEN %(network_closed)s
        WHEN state = 'staged' AND {PROTECTED.format(when="slot")} THEN %(protected_window)s
        ELSE %(slot_passed)s END
WHERE id BETWEEN %(first)s AND %(last)s
  AND state IN ('provisional', 'booked', 'staging', 'staged', 'held') AND %(now)s >= %(slot_end)s
"""  # noqa: S608 - our own constant
GRACE_OVER = """
UPDATE scheduling_deployment SET state = 'missed', ending = %(unreachable)s, next_at = NULL, moved_at = %(now)s,
    ended_at = %(now)s
WHERE id BETWEEN %(first)s AND %(last)s AND state = 'staged' AND first_miss_at <= %(grace_began)s
"""
# Without the carrier's receipt nobody knows that a command has arrived, so its silence says nothing: it is sent
# again under the same key, which is carried out once however often it comes, and the wait begins then.
NO_RECEIPT = """
UPDATE scheduling_deployment deployment SET next_at = %(answer_by)s
FROM scheduling_command command
WHERE deployment.id BETWEEN %(first)s AND %(last)s AND deployment.awaiting AND deployment.next_at <= %(now)s
  AND command.deployment_id = deployment.id AND command.phase = deployment.phase
  AND command.attempt = deployment.attempt AND command.verdict IS NULL AND command.answered_at IS NULL
  AND command.valid_until > %(now)s
"""
SILENT = """
UPDATE scheduling_deployment SET
    state = CASE WHEN phase = %(verify)s AND tries >= %(verify_attempts)s THEN 'unconfirmed' ELSE state END,
    ending = CASE WHEN phase = %(verify)s AND tries >= %(verify_attempts)s THEN %(silent)s ELSE ending END,
    ended_at = CASE WHEN phase = %(verify)s AND tries >= %(verify_attempts)s THEN %(now)s::timestamptz END,
    next_at = CASE WHEN phase = %(verify)s AND tries >= %(verify_attempts)s THEN NULL
              ELSE %(now)s::timestamptz END,
    tries = CASE WHEN phase = %(activate)s THEN 0 ELSE tries END,
    -- an activation without an answer may have happened: read, never activate again
    phase = CASE WHEN phase = %(activate)s THEN %(verify)s ELSE phase END,
    first_miss_at = coalesce(first_miss_at, %(now)s),
    awaiting = false, moved_at = %(now)s
WHERE id BETWEEN %(first)s AND %(last)s AND awaiting AND next_at <= %(now)s
"""
HOLD = """
UPDATE scheduling_deployment SET state = 'held', awaiting = false, next_at = %(slot_end)s, moved_at = %(now)s
WHERE id BETWEEN %(first)s AND %(last)s
  AND (state IN ('provisional', 'booked', 'staged') OR (state = 'staging' AND NOT awaiting))
"""
STILL_ELIGIBLE = """(
    (hub.lead_id = %(supplier)s OR hub.other_id IS NOT DISTINCT FROM %(supplier)s)
    AND hub.model_id = ANY (%(models)s) AND hub.network_id = %(network)s
    AND hub.hardware_version BETWEEN %(minimum_hardware)s AND %(maximum_hardware)s
    AND hub.status = ANY (%(bookable)s))"""
# Only who was asked can have agreed. An inventory can name another Supplier beside the one that booked, and whoever
# that is has not been asked; an override asks nobody.
ASKED_WHOM_IT_CONCERNS = f"""(
    %(is_override)s OR {eligibility.PARTNER} IS NULL
    OR {eligibility.PARTNER} IS NOT DISTINCT FROM %(partner)s::smallint)"""
# a halt is nobody's consent: what the other Supplier has not answered is provisional again
UNHOLD = """
UPDATE scheduling_deployment SET
    state = CASE WHEN %(is_asked)s THEN 'provisional' ELSE 'booked' END,
    next_at = CASE WHEN %(is_asked)s THEN %(slot_end)s::timestamptz ELSE %(now)s::timestamptz END,
    phase = %(read)s, tries = 0, first_miss_at = NULL, moved_at = %(now)s
WHERE id BETWEEN %(first)s AND %(last)s AND state = 'held'
"""
NOT_ELIGIBLE = f"""
UPDATE scheduling_deployment deployment SET state = 'cancelled', next_at = NULL, moved_at = %(now)s, ended_at = %(now)s,
    ending = CASE WHEN {STILL_ELIGIBLE} THEN %(no_consent)s ELSE %(not_eligible)s END
FROM hubs_communicationshub hub
WHERE deployment.id BETWEEN %(first)s AND %(last)s AND hub.chf_id = deployment.hub_id
  AND deployment.state IN ('booked', 'staging', 'staged') AND NOT deployment.awaiting
  AND deployment.next_at <= %(now)s AND NOT ({STILL_ELIGIBLE} AND {ASKED_WHOM_IT_CONCERNS})
"""  # noqa: S608 - our own constants
ADMIT = f"""
WITH due AS (
    SELECT id, phase, attempt + 1 AS attempt FROM scheduling_deployment deployment
    WHERE id BETWEEN %(first)s AND %(last)s AND NOT awaiting AND next_at <= %(now)s
      AND (   (phase IN (%(read)s, %(stage)s) AND state IN ('booked', 'staging') AND %(may_stage)s)
           OR (phase = %(activate)s AND state = 'staged' AND %(may_activate)s AND NOT {NOT_NOW})
           OR (phase = %(verify)s AND state = 'activating' AND %(may_verify)s))
    ORDER BY id FOR UPDATE),
moved AS (
    UPDATE scheduling_deployment deployment SET
        state = CASE WHEN due.phase IN (%(read)s, %(stage)s) THEN 'staging' ELSE 'activating' END,
        attempt = due.attempt, tries = tries + 1, awaiting = true, next_at = %(answer_by)s, moved_at = %(now)s
    FROM due WHERE deployment.id = due.id
    RETURNING deployment.id, due.phase, due.attempt)
INSERT INTO scheduling_command (deployment_id, phase, attempt, token, admitted_at, valid_until)
SELECT id, phase, attempt, %(token)s, %(now)s,
       -- nothing is activated after its silence was taken for an answer
       CASE phase WHEN %(verify)s THEN %(silent_at)s WHEN %(activate)s
       THEN least(%(activate_until)s, %(silent_at)s)
       ELSE %(until)s END
FROM moved
"""  # noqa: S608 - our own constant
LOOK_LATER = """
UPDATE scheduling_deployment SET next_at = CASE
        WHEN state <> 'activating' AND %(slot_end)s > %(now)s THEN least(%(slot_end)s, %(later)s)
        ELSE %(later)s END
WHERE id BETWEEN %(first)s AND %(last)s AND ended_at IS NULL AND next_at <= %(now)s
"""


@transaction.atomic(durable=True)
def admit(*, claimed: Claim, image_whole: bool, clock: Clock) -> int:
    """
    The Gate: end what is over, and write a command for every due deployment that every rule lets through.

    Holds the release's lock shared until it commits; a halt takes it alone. So a halt that has committed is
    seen here, and one that waits here commits after this.

    :raises LeaseLost: if another worker has claimed the lot
    """
    lot = claimed.lot
    now = _enter(claimed, clock)
    terms = _terms(claimed, image_whole, now)
    sql.run(RECALL, terms)
    sql.run(SLOT_OVER, terms)
    sql.run(GRACE_OVER, terms)
    sql.run(NO_RECEIPT, terms)
    sql.run(SILENT, terms)
    if terms["halted"]:
        sql.run(HOLD, terms)
    elif terms["published"]:
        sql.run(UNHOLD, terms)
    else:
        cancel_lots(lots=[(lot.pk, lot.slot_id)], ending=Ending.WITHDRAWN, now=now)
    if gone := sql.run(NOT_ELIGIBLE, terms):
        placing.free_places(places={lot.slot_id: gone})
    admitted = sql.run(ADMIT, terms)
    sql.run(LOOK_LATER, terms)
    return admitted


def _enter(claimed: Claim, clock: Clock) -> datetime:
    """
    Lock the lot's row, then take the release's lock shared; renew the lease and return the moment of all this.

    In this order: whoever waits for the lot, which the recording of reports can hold for long, must not make a
    halt wait as well.

    :raises LeaseLost: if the token is no longer the lot's
    """
    mine = Lot.objects.filter(pk=claimed.lot.pk, token=claimed.token)
    if not list(mine.select_for_update(no_key=True).values_list("pk")):
        raise LeaseLost
    locks.admit_shared(release_id=claimed.lot.release_id)
    now = clock()
    mine.update(lease_until=now + LEASE)
    return now


def _terms(claimed: Claim, image_whole: bool, now: datetime) -> dict[str, Any]:
    """Ask every rule of the release anew, under its lock, and return them as the parameters of the Gate."""
    lot, slot = claimed.lot, claimed.lot.slot
    release = FirmwareRelease.objects.select_related("policy").get(pk=lot.release_id)
    policy = release.policy
    published = release.state == ReleaseState.PUBLISHED
    period = release.periods.filter(network_id=lot.network_id, start_at__lte=now, end_at__gt=now).first()
    in_period = period is not None
    until = min(slot.end_at, period.end_at) if period else slot.end_at
    protection = _protection(lot, now)
    return {
        **protection,
        "first": claimed.first,
        "last": claimed.last,
        "token": claimed.token,
        "now": now,
        "slot_end": slot.end_at,
        "until": until,
        # a command must not be followed in a window that begins after it is given
        "activate_until": min(until, protection["clear_until"]),
        "grace_began": policy.grace.before(now),
        "silent_at": policy.silence_deadline.after(now),
        "answer_by": policy.silence_deadline.after(now) + LAST_WORD,
        "later": now + LOOK_AGAIN,
        "published": published,
        "halted": release.state == ReleaseState.HALTED,
        "may_stage": published and in_period and image_whole and lot.staging_from <= now < slot.end_at,
        "may_activate": published and in_period and slot.holds(now),
        # what began has to be read back also after a withdrawal; nothing at all is asked during a halt
        "may_verify": release.state != ReleaseState.HALTED,
        "supplier": lot.supplier_id,
        "partner": lot.consent and lot.consent.supplier_id,
        "is_override": lot.is_override,
        "network": lot.network_id,
        "models": list(release.hub_models.values_list("id", flat=True)),
        "minimum_hardware": release.minimum_hardware,
        "maximum_hardware": release.maximum_hardware,
        "bookable": [int(status) for status in BOOKABLE],
        "is_asked": Consent.objects.filter(lots=lot, state=Consent.State.ASKED).exists(),
        "verify_attempts": reactions.VERIFY_ATTEMPTS,
        **{phase.name.lower(): int(phase) for phase in Phase},
        "expired": int(Outcome.EXPIRED),
        "refused_late": int(Verdict.EXPIRED),
        "by_halt": Ending.HALTED,
        "network_closed": Ending.NETWORK_CLOSED,
        "protected_window": Ending.PROTECTED_WINDOW,
        "unreachable": Ending.UNREACHABLE,
        "not_staged": Ending.NOT_STAGED,
        "slot_passed": Ending.SLOT_PASSED,
        "silent": Ending.SILENT,
        "not_eligible": Ending.NO_LONGER_ELIGIBLE,
        "no_consent": Ending.NO_CONSENT,
    }


def _protection(lot: Lot, now: datetime) -> dict[str, Any]:
    """Ask what of the lot's slot must not be touched, now and in all of it, as parameters of the Gate."""
    suppliers = [lot.supplier_id, *([lot.consent.supplier_id] if lot.consent else [])]
    if lot.is_override:  # DCC decided that what Suppliers protect does not hold for these hubs
        suppliers = []
    answer = windows.stops(suppliers=suppliers, network=lot.network_id, slot=lot.slot, now=now)
    terms: dict[str, Any] = {"clear_until": answer.until}
    for when, stops in (("now", answer.now), ("slot", answer.slot)):
        terms |= {
            f"closed_{when}": stops.by_dcc,
            f"own_{when}": stops.everything,
            f"some_{when}": stops.some,
            f"modes_{when}": list(stops.modes),
            f"lists_{when}": list(stops.lists),
            f"groups_{when}": list(stops.groups),
            f"changes_{when}": list(stops.changes),
        }
    return terms


# -- the sender ----------------------------------------------------------------------------------------------

# A command that was sent without a receipt is sent again under the same key: the fleet answers the same.
UNSENT = f"""
SELECT command.deployment_id, command.phase, command.attempt, deployment.hub_id, command.valid_until
FROM scheduling_command command JOIN scheduling_deployment deployment
    ON deployment.id = command.deployment_id AND deployment.phase = command.phase
   AND deployment.attempt = command.attempt AND deployment.awaiting
WHERE command.deployment_id BETWEEN %(first)s AND %(last)s AND command.verdict IS NULL
  AND command.answered_at IS NULL AND command.valid_until > %(now)s
  AND (command.phase = %(verify)s OR %(published)s)
  AND (command.phase <> %(activate)s OR NOT {NOT_NOW})
ORDER BY command.deployment_id LIMIT %(limit)s
"""  # noqa: S608 - our own constant
# the Gate takes these back when it next looks, or, when the stop is over by then, lets them leave
KEPT_BACK = f"""
UPDATE scheduling_deployment deployment SET next_at = %(now)s
FROM scheduling_command command
WHERE deployment.id BETWEEN %(first)s AND %(last)s AND deployment.awaiting AND deployment.next_at > %(now)s
  AND command.deployment_id = deployment.id AND command.phase = deployment.phase
  AND command.attempt = deployment.attempt AND command.sent_at IS NULL
  AND (%(halted)s OR (NOT %(published)s AND command.phase <> %(verify)s)
       OR (command.phase = %(activate)s AND {NOT_NOW}))
"""  # noqa: S608 - our own constant
STAMP = """
UPDATE scheduling_command command SET sent_at = coalesce(sent_at, %(now)s)
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[])
    AS sent (deployment_id, phase, attempt)
WHERE command.deployment_id = sent.deployment_id AND command.phase = sent.phase
  AND command.attempt = sent.attempt
"""
RECEIPTS = """
UPDATE scheduling_command command SET verdict = sent.verdict
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[],
            %(verdicts)s::smallint[]) AS sent (deployment_id, phase, attempt, verdict)
WHERE command.deployment_id = sent.deployment_id AND command.phase = sent.phase
  AND command.attempt = sent.attempt
"""
# what the carrier refused as too late was surely not done: the Gate takes it back when it next looks
LOOK_NOW = """
UPDATE scheduling_deployment deployment SET next_at = %(now)s
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[])
    AS late (id, phase, attempt)
WHERE deployment.id = late.id AND deployment.phase = late.phase AND deployment.attempt = late.attempt
  AND deployment.awaiting
"""


def send(*, claimed: Claim, gateway: HubGateway, clock: Clock) -> int:
    """
    Hand at most 50 admitted commands to the carrier, after asking the halt, the slot and the token again.

    Returns how many were handed over; nought means that nothing is left to send.

    :raises LeaseLost: if the lot or the carrier says that another worker has it
    """
    commands, now = _about_to_send(claimed, clock)
    if not commands:
        return 0
    receipts = gateway.send(commands=commands, now=now)
    if any(receipt.verdict is Verdict.STALE_TOKEN for receipt in receipts):
        raise LeaseLost
    sql.run(RECEIPTS, {**_keys(receipts), "verdicts": [int(receipt.verdict) for receipt in receipts]})
    if late := [receipt for receipt in receipts if receipt.verdict is Verdict.EXPIRED]:
        sql.run(LOOK_NOW, {**_keys(late), "now": now})
    return len(commands)


@transaction.atomic(durable=True)
def _about_to_send(claimed: Claim, clock: Clock) -> tuple[list[door.Command], datetime]:
    """Choose the next commands and stamp them as sent, before any of them leaves."""
    lot = claimed.lot
    now = _enter(claimed, clock)
    state = FirmwareRelease.objects.values_list("state", flat=True).get(pk=lot.release_id)
    terms = {
        "first": claimed.first,
        "last": claimed.last,
        "now": now,
        **_protection(lot, now),
        "verify": int(Phase.VERIFY),
        "activate": int(Phase.ACTIVATE),
        "published": state == ReleaseState.PUBLISHED,
        "halted": state == ReleaseState.HALTED,
        "limit": SEND,
    }
    if not terms["published"] or terms["closed_now"] or terms["own_now"] or terms["some_now"]:
        sql.run(KEPT_BACK, terms)
    if terms["halted"]:
        return [], now
    unsent = sql.rows(UNSENT, terms)
    commands = [
        door.Command(
            deployment=deployment,
            phase=Phase(phase),
            attempt=attempt,
            hub=hub,
            lot=lot.pk,
            token=claimed.token,
            valid_until=valid_until,
            digest=lot.release.digest if phase in (Phase.STAGE, Phase.ACTIVATE) else "",
            version=lot.release.version.number if phase in (Phase.STAGE, Phase.ACTIVATE) else 0,
        )
        for deployment, phase, attempt, hub, valid_until in unsent
    ]
    if commands:
        sql.run(STAMP, {**_keys(commands), "now": now})
    return commands, now


def _keys(things: Iterable[door.Command] | Iterable[door.Receipt] | Iterable[Report]) -> dict[str, list[int]]:
    keys = [(thing.deployment, int(thing.phase), thing.attempt) for thing in things]
    return {
        "deployments": [deployment for deployment, _, _ in keys],
        "phases": [phase for _, phase, _ in keys],
        "attempts": [attempt for _, _, attempt in keys],
    }


HAND_BACK = """
UPDATE scheduling_lot SET lease_until = NULL, due_at = (
    SELECT min(next_at) FROM scheduling_deployment
    WHERE id BETWEEN %(first)s AND %(last)s AND ended_at IS NULL)
WHERE id = %(lot)s AND token = %(token)s
"""


@transaction.atomic
def _hand_back(claimed: Claim) -> None:
    # the row lock first: reports recorded meanwhile are then in what the next statement sees
    Lot.objects.select_for_update().filter(pk=claimed.lot.pk, token=claimed.token).first()
    sql.run(
        HAND_BACK,
        {"first": claimed.first, "last": claimed.last, "lot": claimed.lot.pk, "token": claimed.token},
    )


# -- what comes back -----------------------------------------------------------------------------------------

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
    reports = gateway.collect(limit=COLLECT, now=clock())
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
        **_keys(reports),
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
    return {**_keys(reports), **decided, "now": now}


# -- when a release is halted, resumed or withdrawn ----------------------------------------------------------

WAKE_STOPPED = """
UPDATE scheduling_lot SET due_at = %(now)s
WHERE id IN (
    SELECT lot.id FROM scheduling_lot lot JOIN firmware_firmwarerelease release ON release.id = lot.release_id
    WHERE lot.due_at > %(now)s AND CASE
        WHEN release.state = 'published' THEN lot.held > 0
        WHEN release.state = 'halted' THEN lot.provisional + lot.booked + lot.staged > 0
        ELSE lot.provisional + lot.booked + lot.staging + lot.staged + lot.held > 0 END
    ORDER BY lot.id FOR UPDATE OF lot SKIP LOCKED)
"""


def wake_stopped(*, now: datetime) -> int:
    """
    Make the lots due whose release was halted, resumed, withdrawn or closed, so that the Gate sees to them.

    The decision itself touches the release alone and needs nobody to be awake. Returns how many lots woke.
    """
    return sql.run(WAKE_STOPPED, {"now": now})
