"""
Keep DCC's exceptions queue, and decide about what is in it.

A hub comes here when the default allocation finds no clear slot for it, when it was missed twice, or when the release
failed on it and its Supplier has not booked it again by the day of the default allocation. It leaves by a decision
(more time, an override, an exemption), and by itself when it is booked or done meanwhile. Raw SQL throughout, because
each statement moves as many hubs as there are.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Exists, OuterRef

from firmware import queries as releases
from firmware.models import OPEN_TO_SUPPLIERS, FirmwareRelease
from firmware.operations import decisions
from hubs.models import BOOKABLE, Supplier
from portal.ground import audit, sql, uk_time
from portal.ground.stopping import KeepGoing, always
from scheduling.models import (
    LOT_SPAN,
    Allocation,
    Decision,
    Exemption,
    HubException,
    HubSelection,
)
from scheduling.operations import exemptions, slots
from scheduling.queries import eligibility, exceptions
from scheduling.queries.exceptions import Portion

if TYPE_CHECKING:
    from portal.models import User

MAY_DECIDE = "scheduling.decide_hubexception"
MAY_APPROVE = "scheduling.approve_decision"
Kind = Decision.Kind
How = HubException.How
HOW_OF = {Kind.EXTEND: How.EXTENDED, Kind.OVERRIDE: How.OVERRIDDEN}


class UnableToDecide(Exception):
    """Nothing was decided; the message says why and what to do."""


# -- into the queue ------------------------------------------------------------------------------------------

NO_SLOT = """
INSERT INTO scheduling_hubexception (release_id, hub, why, supplier_id, network_id, raised_at, how)
SELECT %(of_release)s, hub, %(no_slot)s, %(supplier)s, network_id, %(now)s, ''
FROM ({hubs}) judged WHERE refusal IS NULL ORDER BY hub
ON CONFLICT (release_id, hub) WHERE ended_at IS NULL DO NOTHING
"""


def raise_unplaced(*, selection: HubSelection, now: datetime) -> int:
    """
    Put the hubs of DCC's selection that could still be booked, and are not, into the queue; return how many.

    Those that are there already stay as they are, and are not counted.
    """
    hubs, parameters = eligibility.chosen_hubs(selection=selection, now=now)
    return sql.run(
        NO_SLOT.format(hubs=hubs),
        parameters
        | {"of_release": selection.release_id, "no_slot": str(HubException.Why.NO_SLOT), "now": now},
    )


FAILED = """
INSERT INTO scheduling_hubexception (release_id, hub, why, supplier_id, network_id, raised_at, how)
SELECT %(of_release)s, hub, %(failed)s, %(supplier)s, network_id, %(now)s, ''
FROM ({hubs}) judged
WHERE refusal IS NULL AND NOT EXISTS (
    SELECT FROM scheduling_hubexception earlier JOIN scheduling_badhub bad
        ON bad.release_id = earlier.release_id AND bad.hub_id = earlier.hub
    WHERE earlier.release_id = %(of_release)s AND earlier.hub = judged.hub AND earlier.why = %(failed)s
    HAVING max(earlier.raised_at) >= max(bad.commanded_at))
ORDER BY hub
ON CONFLICT (release_id, hub) WHERE ended_at IS NULL DO NOTHING
"""


def raise_failed(*, selection: HubSelection, now: datetime) -> int:
    """
    Put the hubs that DCC would allocate, had the release not failed on them, into the queue; return how many.

    One that was decided about since it failed does not come back.
    """
    hubs, parameters = eligibility.chosen_hubs(selection=selection, now=now, is_of_failed=True)
    return sql.run(
        FAILED.format(hubs=hubs),
        parameters | {"of_release": selection.release_id, "failed": str(HubException.Why.FAILED), "now": now},
    )


# Each lot with misses that nobody has looked at is looked at once, and of its missed hubs those that were missed
# before. The hub's own index of deployments finds the others; an exception raised since the last miss answers for it.
UNSEEN = """
SELECT id FROM scheduling_lot WHERE missed > misses_seen ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""
MISSED_TWICE = """
INSERT INTO scheduling_hubexception (release_id, hub, why, supplier_id, network_id, raised_at, how)
SELECT DISTINCT ON (missed.release_id, hub.chf_id)
       missed.release_id, hub.chf_id, %(missed_twice)s, hub.lead_id, hub.network_id, %(now)s, ''
FROM (
    SELECT lot.release_id, deployment.hub_id
    FROM scheduling_lot lot JOIN scheduling_deployment deployment
        ON deployment.id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1
    JOIN firmware_firmwarerelease release ON release.id = lot.release_id
    WHERE lot.id = ANY (%(lots)s) AND deployment.state = 'missed' AND release.state = ANY (%(open)s)) missed
JOIN hubs_communicationshub hub ON hub.chf_id = missed.hub_id
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE other.state = 'missed') AS times,
           max(other.ended_at) FILTER (WHERE other.state = 'missed') AS last_at,
           bool_or(other.ended_at IS NULL OR other.state = 'succeeded') AS settled
    FROM scheduling_deployment other JOIN scheduling_lot lot ON lot.id = other.id / %(span)s
    WHERE other.hub_id = missed.hub_id AND lot.release_id = missed.release_id) story
WHERE story.times >= 2 AND NOT story.settled AND hub.lead_id IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM scheduling_hubexception earlier
      WHERE earlier.hub = hub.chf_id AND earlier.release_id = missed.release_id
        AND (earlier.ended_at IS NULL
             OR (earlier.why = %(missed_twice)s AND earlier.raised_at >= story.last_at)))
ORDER BY missed.release_id, hub.chf_id
ON CONFLICT (release_id, hub) WHERE ended_at IS NULL DO NOTHING
"""
SEEN = "UPDATE scheduling_lot SET misses_seen = missed WHERE id = ANY (%(lots)s)"
LOTS = 100
"""Lots that are looked at in one transaction: the Gate waits for them."""


def raise_missed_twice(*, now: datetime, keep_going: KeepGoing = always) -> int:
    """Put the hubs that were missed for the second time for a release into the queue; return how many."""
    raised = 0
    while keep_going():
        with transaction.atomic():
            lots = [lot for (lot,) in sql.rows(UNSEEN, {"limit": LOTS})]
            if not lots:
                break
            raised += sql.run(
                MISSED_TWICE,
                {
                    "lots": lots,
                    "span": LOT_SPAN,
                    "missed_twice": str(HubException.Why.MISSED_TWICE),
                    "open": [str(state) for state in OPEN_TO_SUPPLIERS],
                    "now": now,
                },
            )
            sql.run(SEEN, {"lots": lots})
    return raised


# -- out of it by themselves ---------------------------------------------------------------------------------

BOOKED = """EXISTS (
    SELECT FROM scheduling_deployment deployment JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
    WHERE deployment.hub_id = exception.hub AND deployment.ended_at IS NULL
      AND lot.release_id = exception.release_id)"""
# page by page in the order of the hubs, so that no statement takes longer than a task may; what somebody else decides
# about at this moment is passed over
SETTLE = f"""
WITH page AS (
    SELECT id, hub, supplier_id, release_id FROM scheduling_hubexception exception
    WHERE ended_at IS NULL AND release_id = %(release)s AND hub > %(after)s
    ORDER BY hub LIMIT %(limit)s FOR UPDATE SKIP LOCKED),
settled AS (
    SELECT exception.id, CASE
        WHEN NOT %(is_open)s THEN %(gone)s
        WHEN {BOOKED} THEN %(booked)s
        WHEN hub.installed_version_id = %(version)s THEN %(done)s
        WHEN hub.lead_id = exception.supplier_id AND hub.model_id = ANY (%(models)s)
             AND hub.hardware_version BETWEEN %(minimum_hardware)s AND %(maximum_hardware)s
             AND hub.status = ANY (%(bookable)s) AND hub.installed_version_id = ANY (%(versions)s) THEN NULL
        ELSE %(gone)s END AS how
    FROM page exception LEFT JOIN hubs_communicationshub hub ON hub.chf_id = exception.hub),
gone AS (
    UPDATE scheduling_hubexception exception SET ended_at = %(now)s, how = settled.how
    FROM settled
    WHERE exception.id = settled.id AND settled.how IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM scheduling_allocation allocation
          WHERE allocation.decision_id = exception.decision_id AND allocation.supplier_id = exception.supplier_id
            AND allocation.finished_at IS NULL)
    RETURNING exception.id)
SELECT (SELECT max(hub) FROM page), (SELECT count(*) FROM gone)
"""  # noqa: S608 - our own terms
SETTLED = 20_000
"""Hubs that are looked at in one statement."""
BEFORE_ALL = -(2**63)


def settle(*, now: datetime, keep_going: KeepGoing = always) -> int:
    """
    Take out of the queue what is booked or done meanwhile, and what the release is no longer for.

    Hubs of a decision that is being carried out wait for its end. Returns how many left.
    """
    left = 0
    waiting = HubException.objects.filter(release=OuterRef("pk"), ended_at=None)
    for release in FirmwareRelease.objects.filter(Exists(waiting)).order_by("pk"):
        terms = {
            "is_open": release.state in OPEN_TO_SUPPLIERS,
            "release": release.pk,
            "span": LOT_SPAN,
            "version": release.version_id,
            "versions": list(releases.eligible_versions(release=release).values_list("id", flat=True)),
            "models": list(release.hub_models.values_list("id", flat=True)),
            "minimum_hardware": release.minimum_hardware,
            "maximum_hardware": release.maximum_hardware,
            "bookable": [int(status) for status in BOOKABLE],
            "gone": str(How.GONE),
            "booked": str(How.BOOKED),
            "done": str(How.DONE),
            "now": now,
            "limit": SETTLED,
        }
        after: int | None = BEFORE_ALL
        while after is not None and keep_going():
            [(after, gone)] = sql.rows(SETTLE, terms | {"after": after})
            left += gone
    return left


# -- decided -------------------------------------------------------------------------------------------------

STAMP = f"""
UPDATE scheduling_hubexception SET decision_id = %(decision)s
WHERE id IN (
    SELECT exception.id FROM scheduling_hubexception exception
    WHERE {exceptions.WHERE} AND exception.decision_id IS NULL
    ORDER BY exception.id FOR UPDATE OF exception)
"""  # noqa: S608 - our own terms


def _decide(
    kind: Decision.Kind, portion: Portion, reason: str, by: "User", now: datetime, **particulars: Any
) -> Decision:
    """Write a decision, and put it on the free exceptions of its portion."""
    if not by.has_perm(MAY_DECIDE):
        raise UnableToDecide("Only a DCC release manager can decide about exceptions.")
    if not reason.strip():
        raise UnableToDecide("Say in a few words why: it stays on record.")
    decision = Decision.objects.create(
        kind=kind,
        release=portion.release,
        supplier=portion.supplier,
        network=portion.network,
        portion=portion.words,
        reason=reason,
        asked_by=by,
        asked_at=now,
        **particulars,
    )
    stamped = sql.run(STAMP, exceptions.terms(portion=portion) | {"decision": decision.pk})
    if not stamped:
        raise UnableToDecide(
            "No hub of this choice is open any more: they were booked, or another decision is about them already. "
            "The queue shows what is left."
        )
    decision.hubs = stamped
    Decision.objects.filter(pk=decision.pk).update(hubs=stamped)
    return decision


def _record(decision: Decision, verb: str, by: "User", reason: str, now: datetime, **facts: Any) -> None:
    audit.record(
        actor=by,
        verb=verb,
        subject=releases.subject(release_id=decision.release_id),
        reason=reason,
        facts={"decision": decision.pk, "hubs": decision.hubs, "which": decision.portion, **facts},
        now=now,
    )


def _begin(decision: Decision, now: datetime) -> None:
    """Leave one allocation for each Supplier of a decision, which the timetable collects."""
    for supplier in Supplier.objects.filter(pk__in=exceptions.suppliers_of(decision=decision)).order_by("pk"):
        selection = HubSelection.objects.create(
            supplier=supplier,
            release=decision.release,
            created_at=now,
            method=HubSelection.Method.FILTER,
            criteria={eligibility.DECISION: decision.pk},
        )
        Allocation.objects.create(
            release=decision.release,
            supplier=supplier,
            decision=decision,
            day=now.astimezone(uk_time.LONDON).date(),
            selection=selection,
            begun_at=now,
        )


@transaction.atomic(durable=True)
def extend(*, portion: Portion, until: datetime, reason: str, by: "User", now: datetime) -> Decision:
    """
    Give the release more time on the network of a portion, open its slots, and allocate the portion's hubs again.

    The timetable allocates; hubs that find no slot even so are free for another decision then.

    :raises UnableToDecide: with the sentence that the person reads
    """
    if portion.network is None:
        raise UnableToDecide("Choose one network: a period belongs to a network.")
    decision = _decide(Kind.EXTEND, portion, reason, by, now, until=until)
    try:
        decisions.extend_period(
            release=portion.release, network=portion.network, until=until, by=by, reason=reason, now=now
        )
    except decisions.UnableToDecide as refusal:
        raise UnableToDecide(str(refusal)) from refusal
    slots.open_slots(now=now)
    _begin(decision, now)
    _record(decision, "exception.extended", by, reason, now, until=until.isoformat())
    return decision


@transaction.atomic(durable=True)
def ask_override(*, portion: Portion, reason: str, by: "User", now: datetime) -> Decision:
    """
    Ask that the hubs of a portion go in spite of their Suppliers' protected windows, and without their consent.

    Nothing happens until another person approves it.

    :raises UnableToDecide: with the sentence that the person reads
    """
    decision = _decide(Kind.OVERRIDE, portion, reason, by, now)
    _record(decision, "exception.override_asked", by, reason, now)
    return decision


@transaction.atomic(durable=True)
def approve_override(*, decision: Decision, by: "User", now: datetime) -> Decision:
    """
    Agree to an override as the second person; the timetable books its hubs into the first slots with room.

    :raises UnableToDecide: if it is not theirs to approve, or has been decided already
    """
    locked = _lock(decision)
    if not by.has_perm(MAY_APPROVE):
        raise UnableToDecide("Only a DCC approver can approve an override.")
    if locked.asked_by_id == by.pk:
        raise UnableToDecide("You asked for this override. Somebody else has to approve it.")
    Decision.objects.filter(pk=locked.pk).update(approved_by=by, approved_at=now)
    _begin(locked, now)
    if not locked.allocations.exists():  # every hub has left the queue meanwhile
        Decision.objects.filter(pk=locked.pk).update(done_at=now)
    _record(locked, "exception.override_approved", by, locked.reason, now, asked_by=str(locked.asked_by))
    locked.refresh_from_db()
    return locked


@transaction.atomic(durable=True)
def drop_override(*, decision: Decision, by: "User", reason: str, now: datetime) -> Decision:
    """
    Refuse an override, or take it back; its hubs are free for another decision.

    :raises UnableToDecide: if it is not theirs to drop, a reason is missing, or it has been decided already
    """
    locked = _lock(decision)
    if not (by.has_perm(MAY_APPROVE) or locked.asked_by_id == by.pk):
        raise UnableToDecide("Only a DCC approver, or who asked for it, can drop an override.")
    if not reason.strip():
        raise UnableToDecide("Say in a few words why: it stays on record.")
    Decision.objects.filter(pk=locked.pk).update(dropped_by=by, dropped_at=now)
    HubException.objects.filter(decision=locked, ended_at=None).update(decision=None)
    _record(locked, "exception.override_dropped", by, reason, now)
    locked.refresh_from_db()
    return locked


def _lock(decision: Decision) -> Decision:
    locked = (
        Decision.objects.select_for_update(of=("self",))
        .select_related("release", "asked_by")
        .get(pk=decision.pk, kind=Kind.OVERRIDE)
    )
    if locked.approved_at or locked.dropped_at:
        raise UnableToDecide("This override has been decided already.")
    return locked


LIST_EXEMPT = """
INSERT INTO scheduling_exempthub (exemption_id, hub)
SELECT %(exemption)s, hub FROM scheduling_hubexception
WHERE decision_id = %(decision)s AND supplier_id = %(supplier)s AND ended_at IS NULL ORDER BY hub
"""


@transaction.atomic(durable=True)
def exempt(*, portion: Portion, expires_at: datetime, reason: str, by: "User", now: datetime) -> Decision:
    """
    Exempt the hubs of a portion until a moment: they leave the queue, and are allocated again after it.

    :raises UnableToDecide: with the sentence that the person reads
    """
    if not by.has_perm(exemptions.MAY_EXEMPT):
        raise UnableToDecide("Only a DCC release manager can exempt hubs.")
    try:
        exemptions.check_expiry(release=portion.release, expires_at=expires_at, now=now)
    except exemptions.UnableToExempt as refusal:
        raise UnableToDecide(str(refusal)) from refusal
    decision = _decide(Kind.EXEMPT, portion, reason, by, now, until=expires_at)
    for supplier in Supplier.objects.filter(pk__in=exceptions.suppliers_of(decision=decision)).order_by("pk"):
        exemption = Exemption.objects.create(
            release=portion.release,
            supplier=supplier,
            hubs=decision.hubs,
            reason=reason,
            expires_at=expires_at,
            made_by=by,
            made_at=now,
            decision=decision,
        )
        exemption.hubs = sql.run(
            LIST_EXEMPT,
            {"exemption": exemption.pk, "decision": decision.pk, "supplier": supplier.pk},
        )
        Exemption.objects.filter(pk=exemption.pk).update(hubs=exemption.hubs)
        exemptions.record(exemption=exemption, by=by, now=now)
    HubException.objects.filter(decision=decision, ended_at=None).update(
        ended_at=now, how=How.EXEMPTED, decided_by=by
    )
    Decision.objects.filter(pk=decision.pk).update(done_at=now)
    _record(decision, "exception.exempted", by, reason, now, expires=expires_at.isoformat())
    return decision


CARRIED_OUT = f"""
UPDATE scheduling_hubexception exception SET ended_at = %(now)s, how = %(how)s, decided_by_id = %(by)s
WHERE exception.decision_id = %(decision)s AND exception.supplier_id = %(supplier)s
  AND exception.ended_at IS NULL AND {BOOKED}
"""  # noqa: S608 - our own terms


def carried_out(*, allocation: Allocation, decision: Decision, now: datetime) -> int:
    """
    Take the hubs of a decision that are booked now out of the queue, in the caller's transaction.

    The others of this Supplier are free for another decision; their number is returned.
    """
    sql.run(
        CARRIED_OUT,
        {
            "decision": decision.pk,
            "supplier": allocation.supplier_id,
            "how": str(HOW_OF[Kind(decision.kind)]),
            # who had the last word
            "by": decision.approved_by_id or decision.asked_by_id,
            "span": LOT_SPAN,
            "now": now,
        },
    )
    return HubException.objects.filter(
        decision=decision, supplier=allocation.supplier_id, ended_at=None
    ).update(decision=None)
