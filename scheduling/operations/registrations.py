"""
Let changes of supplier take effect, and carry the open deployments of their hubs over to the gaining Supplier.

"The deployment follows the hub": it ends in the lot of whoever booked it, and begins again in the same slot in a lot
of the Lead that the hub has now. Its place is the same one, so no slot is touched. Where the Lead stays and the other
Supplier is a new one, the hub stays in its booking, and the new one is asked.

Locks are taken as a change of a booking takes them (see `changes`): bookings first, then lots, each in the order of
their ids; at last hubs, which whoever records reports locks after lots as well.

Raw SQL throughout, because one statement moves twenty thousand hubs out of as many lots and into new ones.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import F

from firmware.models import FirmwareRelease
from hubs.gateway import Phase
from hubs.operations import registrations as fleet
from portal.ground import audit, sql, uk_time
from portal.ground.stopping import KeepGoing, always
from scheduling.lifecycle import CANCELLABLE, Ending, State
from scheduling.models import LOT_SIZE, LOT_SPAN, Booking, Consent, Lot
from scheduling.operations import notices
from scheduling.operations.bookings import new_reference

logger = logging.getLogger(__name__)
BATCH = 20_000
"""Hubs that change their Supplier in one transaction."""
BATCHES = 5
"""Batches of one call, a matter of some seconds each; the timetable calls again."""
TRIES = 5
LATE = timedelta(hours=6)
"""
For so long after a change deployments are looked for that it did not find: a booking was still being written, or the
hub was being activated, and it turned out that it was never contacted.
"""
FIRST = -(2**63)


class _Overtaken(Exception):
    """A deployment went into a lot that is not locked, between the look and the lock."""


def take_effect(*, now: datetime, batches: int = BATCHES, keep_going: KeepGoing = always) -> int:
    """
    Let the changes of supplier that are due take effect, in the order of the hubs, and tell the gaining Suppliers.

    Each batch is a transaction of its own: its hubs have their new Suppliers, and their open deployments belong to
    them. A deployment that is activating stays where it is until it ends. Nothing is done while an import of
    registrations is being written; the timetable comes again. Returns how many hubs changed.
    """
    changed, after = 0, FIRST
    for _ in range(batches):
        if not (keep_going() and fleet.has_due(now=now)):
            break
        hubs = _try(partial(_take_batch, after, now))
        if not hubs:
            return changed
        changed, after = changed + len(hubs), hubs[-1]
    if keep_going() and not fleet.has_due(now=now):
        for _ in range(batches):
            if len(_try(partial(_catch_up, now))) < BATCH or not keep_going():
                break
        notices.owe_carried_over(now=now)
    return changed


def _try(batch: Callable[[], Sequence[int]]) -> Sequence[int]:
    """Carry a batch out, and again if it was overtaken; return its hubs, none where it has to wait."""
    for _ in range(TRIES):
        try:
            return batch()
        except _Overtaken:
            continue
    logger.warning("changes of supplier wait: their bookings are being changed all the time")
    return []


@transaction.atomic(durable=True)
def _take_batch(after: int, now: datetime) -> Sequence[int]:
    """Let one batch take effect; return its hubs in order, none where somebody else writes changes."""
    if not fleet.lock():
        return []
    hubs = fleet.gather_due(after=after, limit=BATCH, now=now)
    if hubs:
        locked = _lock("SELECT hub FROM due_change", now)
        fleet.take_effect(now=now)
        _carry_over(locked, now)
    return hubs


# Who booked before is taken for the Lead before: what stood in the way then is not known any more. The day narrows
# the search, by the index that there is; workers that were away for longer have no hub that is activating. One look at
# an index for each hub, whatever the planner makes of a night in which everything changes.
LEFT_BEHIND = """
INSERT INTO changed_supplier (hub, was_lead, lead, other)
SELECT hub.chf_id, lot.supplier_id, hub.lead_id, hub.other_id
FROM (SELECT DISTINCT hub FROM hubs_changeofsupplier
      WHERE effective_on >= %(since)s AND applied_at > %(after)s) recent
CROSS JOIN LATERAL (
    SELECT id, state FROM scheduling_deployment WHERE hub_id = recent.hub AND ended_at IS NULL OFFSET 0) deployment
CROSS JOIN LATERAL (
    SELECT supplier_id FROM scheduling_lot WHERE id = deployment.id / %(span)s OFFSET 0) lot
CROSS JOIN LATERAL (
    SELECT chf_id, lead_id, other_id FROM hubs_communicationshub WHERE chf_id = recent.hub OFFSET 0) hub
WHERE deployment.state = ANY (%(states)s)
  AND lot.supplier_id IS DISTINCT FROM hub.lead_id AND lot.supplier_id IS DISTINCT FROM hub.other_id
ORDER BY hub.chf_id LIMIT %(limit)s
RETURNING hub
"""


@transaction.atomic(durable=True)
def _catch_up(now: datetime) -> Sequence[int]:
    """Carry over one batch of what belongs to a Supplier that lost its hub a short while ago; return its hubs."""
    if not fleet.lock():
        return []
    fleet.make_changed()
    after = now - LATE
    terms = {
        "since": after.astimezone(uk_time.LONDON).date() - timedelta(days=2),
        "after": after,
        "span": LOT_SPAN,
        "states": [str(state) for state in CANCELLABLE],
        "limit": BATCH,
    }
    hubs = [hub for (hub,) in sql.rows(LEFT_BEHIND, terms)]
    if hubs:
        _carry_over(_lock("SELECT hub FROM changed_supplier", now), now)
    return hubs


LOTS = """
SELECT DISTINCT deployment.id / %(span)s FROM ({hubs}) hub JOIN scheduling_deployment deployment
    ON deployment.hub_id = hub.hub AND deployment.ended_at IS NULL
"""
# what is carried over today goes into the same booking, so that one is locked in its turn
BOOKINGS = """
SELECT id FROM scheduling_booking
WHERE id IN (SELECT booking_id FROM scheduling_lot WHERE id = ANY (%(lots)s))
   OR (origin = %(origin)s AND done_at IS NULL AND abandoned_at IS NULL AND created_at >= %(today)s)
ORDER BY id FOR NO KEY UPDATE
"""


def _lock(hubs: str, now: datetime) -> set[int]:
    """Lock the bookings and lots in which the hubs of a SELECT are open; return the ids of the lots."""
    lots = [lot for (lot,) in sql.rows(LOTS.format(hubs=hubs), {"span": LOT_SPAN})]
    if not lots:
        return set()
    sql.rows(BOOKINGS, {"lots": lots, "origin": Booking.Origin.CARRIED_OVER, "today": _midnight(now)})
    return set(
        Lot.objects.filter(pk__in=lots)
        .order_by("id")
        .select_for_update(no_key=True)
        .values_list("pk", flat=True)
    )


def _midnight(now: datetime) -> datetime:
    return uk_time.day_bounds(now.astimezone(uk_time.LONDON).date())[0]


# -- what goes where -----------------------------------------------------------------------------------------

# `partner` is the Supplier that has a say beside the one that has the booking; `question` what it is asked. Who
# was never asked, since DCC had overridden it or an inventory has named it only now, is asked when the hub is carried.
GATHER = """
CREATE TEMPORARY TABLE carried_hub ON COMMIT DROP AS
SELECT *, row_number() OVER (ORDER BY id) AS number,
       CASE WHEN partner IS NULL THEN 'none'
               WHEN asked = partner THEN 'same'
               WHEN NOT is_carried AND consent_id IS NULL AND partner IS NOT DISTINCT FROM was_partner THEN 'none'
               ELSE 'anew' END AS question,
       CASE WHEN is_carried THEN lead ELSE booker END AS supplier_id,
       CASE WHEN is_carried THEN slot_start ELSE change_until END AS changeable,
       CASE WHEN NOT is_carried THEN booking_id END AS target
FROM (
    SELECT *, CASE WHEN is_carried OR booker = lead THEN other ELSE lead END AS partner,
           CASE WHEN booker = was_lead THEN was_other ELSE was_lead END AS was_partner
    FROM (
        SELECT deployment.id, deployment.hub_id AS hub, deployment.model_id, deployment.state, lot.id AS lot,
               lot.booking_id, lot.release_id, lot.slot_id, lot.network_id, lot.staging_from, lot.change_until,
               lot.supplier_id AS booker, lot.consent_id, slot.start_at AS slot_start, slot.end_at AS slot_end,
               consent.supplier_id AS asked, consent.asked_at, consent.answer_by, consent.is_explicit,
               consent.state AS answer, consent.answered_at, consent.answered_by_id,
               was_lead, was_other, lead, other,
               (lot.supplier_id IS DISTINCT FROM lead AND lot.supplier_id IS DISTINCT FROM other)
               OR (lot.supplier_id = was_lead AND lead IS DISTINCT FROM was_lead) AS is_carried
        FROM changed_supplier changed
        JOIN scheduling_deployment deployment ON deployment.hub_id = changed.hub AND deployment.ended_at IS NULL
        JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
        JOIN scheduling_slot slot ON slot.id = lot.slot_id
        LEFT JOIN scheduling_consent consent ON consent.id = lot.consent_id
        WHERE deployment.state = ANY (%(states)s)) booked) shared
"""
# the hub stays where it is: its booker keeps it, and there is nothing to ask that was not asked
STAYING = """
DELETE FROM carried_hub
WHERE NOT is_carried AND (question = 'same' OR (question = 'none' AND consent_id IS NULL))
"""
# as one that is booked asks (see `bookings.ask`)
ASK = """
UPDATE carried_hub SET asked_at = %(now)s, answer_by = least(terms.answer_by, slot_start),
    is_explicit = slot_start < terms.near, answer = 'asked', answered_at = NULL, answered_by_id = NULL
FROM unnest(%(releases)s::bigint[], %(answers)s::timestamptz[], %(nears)s::timestamptz[])
    AS terms (release_id, answer_by, near)
WHERE carried_hub.question = 'anew' AND carried_hub.release_id = terms.release_id
"""
TARGET = """
UPDATE carried_hub SET target = made.booking_id
FROM unnest(%(suppliers)s::smallint[], %(releases)s::bigint[], %(bookings)s::bigint[])
    AS made (supplier_id, release_id, booking_id)
WHERE carried_hub.is_carried AND carried_hub.supplier_id = made.supplier_id
  AND carried_hub.release_id = made.release_id
"""


def _carry_over(locked: set[int], now: datetime) -> None:
    """
    Carry the open deployments of `changed_supplier` over, as far as their lots are locked.

    :raises _Overtaken: if one is in another lot by now; the caller's transaction is taken back then
    """
    lots = {
        lot for (lot,) in sql.rows(LOTS.format(hubs="SELECT hub FROM changed_supplier"), {"span": LOT_SPAN})
    }
    if lots - locked:
        raise _Overtaken
    if not lots:
        return
    sql.run("DROP TABLE IF EXISTS carried_hub", {})
    sql.run(GATHER, {"span": LOT_SPAN, "states": [str(state) for state in CANCELLABLE]})
    sql.run(STAYING, {})
    # nobody else does it for a temporary table, and without it the joins below are loops within loops
    sql.run("ANALYZE carried_hub", {})
    taken = [
        _Taken(*row)
        for row in sql.rows(
            """SELECT booking_id, supplier_id, release_id, is_carried, count(*) FROM carried_hub
               GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4""",
            {},
        )
    ]
    if not taken:
        return
    releases = FirmwareRelease.objects.select_related("policy").in_bulk({row.release for row in taken})
    sql.run(ASK, _terms(releases, now))
    made = _bookings([row for row in taken if row.is_carried], now)
    sql.run(
        TARGET,
        {
            "suppliers": [supplier for supplier, _ in made],
            "releases": [release for _, release in made],
            "bookings": [booking.pk for booking in made.values()],
        },
    )
    _write(now)
    for booking in Booking.objects.filter(
        pk__in=[target for (target,) in sql.rows("SELECT DISTINCT target FROM carried_hub", {})]
    ).select_related("release", "supplier"):
        notices.owe_consent_asked(booking=booking, now=now)
    _record(taken, made, now)


@dataclass(frozen=True, slots=True)
class _Taken:
    """So many hubs of one booking, and the Supplier and release in whose booking they are afterwards."""

    booking: int
    supplier: int
    release: int
    is_carried: bool
    hubs: int


def _terms(releases: Mapping[int, FirmwareRelease], now: datetime) -> dict[str, object]:
    return {
        "now": now,
        "releases": list(releases),
        "answers": [release.policy.objection_window.after(now) for release in releases.values()],
        "nears": [release.policy.explicit_consent_within.after(now) for release in releases.values()],
    }


def _bookings(taken: Sequence[_Taken], now: datetime) -> dict[tuple[int, int], Booking]:
    """Return the booking of today, for each gaining Supplier and release, into which its hubs go."""
    wanted: dict[tuple[int, int], int] = {}
    for row in taken:
        wanted[row.supplier, row.release] = wanted.get((row.supplier, row.release), 0) + row.hubs
    made = {}
    for (supplier, release), hubs in sorted(wanted.items()):
        booking = Booking.objects.filter(
            origin=Booking.Origin.CARRIED_OVER,
            supplier=supplier,
            release=release,
            created_at__gte=_midnight(now),
            done_at=None,
            abandoned_at=None,
        ).first()
        if booking:
            Booking.objects.filter(pk=booking.pk).update(hubs=F("hubs") + hubs)
        else:
            booking = Booking.objects.create(
                reference=new_reference(),
                origin=Booking.Origin.CARRIED_OVER,
                supplier_id=supplier,
                release_id=release,
                plan=Booking.Plan.EARLIEST,
                hubs=hubs,
                created_at=now,
                placed_at=now,
            )
        made[supplier, release] = booking
    return made


# -- the rows ------------------------------------------------------------------------------------------------

# What two batches ask in the same words is one question.
QUESTIONS = """
CREATE TEMPORARY TABLE question ON COMMIT DROP AS
SELECT coalesce(known.id, nextval(pg_get_serial_sequence('scheduling_consent', 'id'))) AS id,
       known.id IS NULL AS is_new, wanted.*
FROM (SELECT DISTINCT target, partner, slot_id, asked_at, answer_by, is_explicit, answer, answered_at, answered_by_id
      FROM carried_hub WHERE question <> 'none') wanted
LEFT JOIN LATERAL (
    SELECT id FROM scheduling_consent known
    WHERE known.booking_id = target AND known.supplier_id = partner AND known.slot_id = wanted.slot_id
      AND (known.asked_at, known.answer_by, known.is_explicit, known.state, known.answered_at, known.answered_by_id)
          IS NOT DISTINCT FROM (wanted.asked_at, wanted.answer_by, wanted.is_explicit, wanted.answer,
                                wanted.answered_at, wanted.answered_by_id)
    LIMIT 1) known ON true
"""
KEEP_QUESTIONS = """
INSERT INTO scheduling_consent
    (id, booking_id, supplier_id, slot_id, asked_at, answer_by, is_explicit, state, answered_at, answered_by_id)
SELECT id, target, partner, slot_id, asked_at, answer_by, is_explicit, answer, answered_at, answered_by_id
FROM question WHERE is_new ORDER BY id
"""
# Nothing is booked that the other Supplier has not agreed to, and a halt is nobody's consent. What was staged is read
# again.
PLACES = f"""
CREATE TEMPORARY TABLE placed_hub ON COMMIT DROP AS
SELECT *, (row_number() OVER (PARTITION BY grp ORDER BY hub) - 1)::int AS place FROM (
    SELECT hub, model_id, target, supplier_id, release_id, slot_id, network_id, staging_from, changeable, slot_end,
           consent,
           CASE WHEN question = 'anew' OR (question = 'same' AND (
                    state = '{State.PROVISIONAL}'
                    OR (state = '{State.HELD}'
                        AND answer NOT IN ('{Consent.State.GIVEN}', '{Consent.State.LAPSED}'))))
                THEN '{State.PROVISIONAL}' ELSE '{State.BOOKED}' END AS state,
           dense_rank() OVER (ORDER BY target, slot_id, consent, staging_from, changeable) AS grp
    FROM (
        SELECT carried_hub.*, question.id AS consent FROM carried_hub LEFT JOIN question
            ON carried_hub.question <> 'none' AND question.target = carried_hub.target
           AND question.partner = carried_hub.partner AND question.slot_id = carried_hub.slot_id
           AND (question.asked_at, question.answer_by, question.is_explicit, question.answer, question.answered_at,
                question.answered_by_id)
               IS NOT DISTINCT FROM (carried_hub.asked_at, carried_hub.answer_by, carried_hub.is_explicit,
                                     carried_hub.answer, carried_hub.answered_at, carried_hub.answered_by_id)
    ) asked) grouped
"""  # noqa: S608 - our own constants
NEW_LOTS = f"""
CREATE TEMPORARY TABLE new_lot ON COMMIT DROP AS
SELECT nextval(pg_get_serial_sequence('scheduling_lot', 'id')) AS id, grp, place / {LOT_SIZE} AS nth, target,
       supplier_id, release_id, slot_id, network_id, consent, staging_from, changeable, slot_end,
       count(*) AS size, count(*) FILTER (WHERE state = '{State.PROVISIONAL}') AS provisional
FROM placed_hub
GROUP BY grp, place / {LOT_SIZE}, target, supplier_id, release_id, slot_id, network_id, consent, staging_from,
         changeable, slot_end
"""  # noqa: S608 - our own constants
_NONE = ", ".join(str(state) for state in State if state not in (State.PROVISIONAL, State.BOOKED))
KEEP_LOTS = f"""
INSERT INTO scheduling_lot
    (id, booking_id, release_id, slot_id, supplier_id, network_id, consent_id, size, staging_from, change_until,
     due_at, token, moved, provisional, booked, {_NONE})
SELECT id, target, release_id, slot_id, supplier_id, network_id, consent, size, staging_from, changeable,
       CASE WHEN provisional < size THEN staging_from ELSE slot_end END, 0, 0, provisional, size - provisional,
       {", ".join("0" for _ in _NONE.split(", "))}
FROM new_lot ORDER BY id
"""  # noqa: S608 - our own constants
END = f"""
UPDATE scheduling_deployment deployment
SET state = '{State.CANCELLED}', awaiting = false, next_at = NULL, moved_at = %(now)s, ended_at = %(now)s,
    ending = CASE WHEN is_carried THEN '{Ending.CARRIED_OVER}' ELSE '{Ending.MOVED}' END
FROM carried_hub WHERE deployment.id = carried_hub.id AND number > %(after)s AND number <= %(after)s + {LOT_SIZE}
"""  # noqa: S608 - our own constants
# what stays in its booking is counted where it went
MARK_MOVED = """
UPDATE scheduling_lot lot SET moved = lot.moved + gone.hubs
FROM (SELECT lot, count(*) AS hubs FROM carried_hub WHERE NOT is_carried GROUP BY 1) gone WHERE lot.id = gone.lot
"""
# Like `bookings.PLACE`; the group and the place in it say the lot.
PLACE = f"""
INSERT INTO scheduling_deployment
    (id, hub_id, model_id, state, ending, phase, attempt, tries, awaiting, next_at, moved_at)
SELECT new_lot.id * {LOT_SPAN} + place %% {LOT_SIZE}, hub, model_id, state, '', {Phase.READ:d}, 0, 0, false,
       CASE state WHEN '{State.PROVISIONAL}' THEN new_lot.slot_end ELSE new_lot.staging_from END, %(now)s
FROM placed_hub JOIN new_lot ON new_lot.grp = placed_hub.grp AND new_lot.nth = place / {LOT_SIZE}
ORDER BY hub
"""  # noqa: S608 - our own constants
# a lot without an open hub is never due again, whoever holds it, and a question without one is no longer asked
SETTLE = """
UPDATE scheduling_lot SET due_at = NULL, lease_until = NULL
WHERE id IN (SELECT lot FROM carried_hub) AND due_at IS NOT NULL
  AND provisional + booked + staging + staged + activating + held = 0
"""
WITHDRAW = f"""
UPDATE scheduling_consent consent SET state = '{Consent.State.WITHDRAWN}', answered_at = %(now)s
WHERE id IN (SELECT consent_id FROM carried_hub) AND state = '{Consent.State.ASKED}'
  AND NOT EXISTS (
      SELECT FROM scheduling_lot lot WHERE lot.consent_id = consent.id
        AND provisional + booked + staging + staged + activating + held > 0)
"""  # noqa: S608 - our own constants


def _write(now: datetime) -> None:
    """End the gathered deployments where they are, and begin them again where they belong."""
    terms = {"now": now}
    sql.run("DROP TABLE IF EXISTS question, placed_hub, new_lot", {})
    sql.run(QUESTIONS, {})
    sql.run("ANALYZE question", {})
    sql.run(KEEP_QUESTIONS, {})
    sql.run(PLACES, {})
    sql.run(NEW_LOTS, {})
    sql.run("ANALYZE placed_hub, new_lot", {})
    sql.run(KEEP_LOTS, {})
    # not all at once: the trigger that holds the moves against their table compares each row with every other
    after = 0
    while sql.run(END, {**terms, "after": after}):
        after += LOT_SIZE
    sql.run(MARK_MOVED, {})
    sql.run(PLACE, terms)
    sql.run(SETTLE, {})
    sql.run(WITHDRAW, terms)


def _record(taken: Sequence[_Taken], made: Mapping[tuple[int, int], Booking], now: datetime) -> None:
    """Put into the record, booking by booking, how many hubs went, came, or wait for a new other Supplier."""
    references = dict(
        Booking.objects.filter(pk__in={row.booking for row in taken}).values_list("pk", "reference")
    )
    came: dict[str, int] = {}
    for row in taken:
        to = made[row.supplier, row.release].reference if row.is_carried else ""
        audit.record(
            actor=None,
            verb="booking.carried_over" if row.is_carried else "booking.shared_anew",
            subject=f"booking:{references[row.booking]}",
            facts={"hubs": row.hubs} | ({"to": to} if to else {}),
            now=now,
        )
        if to:
            came[to] = came.get(to, 0) + row.hubs
    for reference, hubs in came.items():
        audit.record(
            actor=None, verb="booking.received", subject=f"booking:{reference}", facts={"hubs": hubs}, now=now
        )
