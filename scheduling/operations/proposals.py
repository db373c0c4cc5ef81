"""
Propose what takes a second person, and answer it: agree, decline, take it back; and keep the rule that asks for it.

Whoever agrees has the act done by the same operation, with its checks of that moment, in the name of whoever proposed
it. One transaction does it and marks the proposal as done, so that it is done once, by whomever.
"""

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final

from django.db import IntegrityError, OperationalError, transaction

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from portal.ground import asking, audit, roles
from portal.ground.clock import Clock
from portal.ground.uk_time import Span
from scheduling import planning
from scheduling.models import Booking, HubSelection, Proposal, SecondPersonRule
from scheduling.operations import bookings, changes, notices, placing, second_person
from scheduling.operations.second_person import Act, Agreement, State, UnableToAgree
from scheduling.queries import second_person as rules
from scheduling.queries.parts import Destination, Part
from scheduling.queries.plans import Timing
from scheduling.queries.second_person import Forecast

if TYPE_CHECKING:
    from portal.models import User

WAITS: Final = Span(2, "working days")
"""For so long a proposal can be agreed to, and never beyond the beginning of its first slot."""
MOST_WAITING: Final = 20
"""Proposals of one Supplier that wait at a time: whoever stole a session cannot bury a colleague in them."""
TRIES: Final = 5


class UnableToPropose(Exception):
    """Nothing was proposed; the message says why and what to do."""


class UnableToRule(Exception):
    """The rule stays as it is; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An act as its operation takes it: what it is upon, and its terms as they are kept."""

    act: Proposal.Act
    upon: HubSelection | Booking
    terms: dict[str, Any]


def to_book(*, selection: HubSelection, timing: Timing, despite: str) -> Wish:
    """Return the wish to book a selection."""
    return Wish(Act.BOOK, selection, {"timing": written_timing(timing=timing), "despite": despite})


def to_cancel(*, booking: Booking, part: Part | None = None, only_if_all: bool = False) -> Wish:
    """Return the wish to cancel a booking, or a part of it."""
    return Wish(
        Act.CANCEL,
        booking,
        {"part": written_part(part=part) if part else None, "only_if_all": only_if_all},
    )


def to_move(*, booking: Booking, part: Part, to: Destination, only_if_all: bool) -> Wish:
    """Return the wish to move a part of a booking."""
    return Wish(
        Act.MOVE,
        booking,
        {
            "part": written_part(part=part),
            "to": {"plan": str(to.plan), "at": to.at.isoformat()},
            "only_if_all": only_if_all,
        },
    )


@asking.trusted("what a person proposes is kept, and their colleagues are told")
def propose(*, wish: Wish, forecast: Forecast, by: "User", reason: str, now: datetime) -> Proposal:
    """
    Keep an act that takes a second person until a colleague agrees, and owe the colleagues their e-mails.

    `forecast` is what the operation said that it would come to. No place and no hub is held.

    :raises UnableToPropose: if no colleague may agree, no reason is given, or too much waits already
    """
    if not reason.strip():
        raise UnableToPropose("Say why: your colleague reads it before agreeing.")
    supplier = wish.upon.supplier
    release: FirmwareRelease = wish.upon.release
    row = Proposal(
        supplier=supplier,
        act=wish.act,
        release=release,
        selection=wish.upon if isinstance(wish.upon, HubSelection) else None,
        booking=wish.upon if isinstance(wish.upon, Booking) else None,
        terms=wish.terms,
        reason=reason.strip(),
        asked_by=by,
        asked_at=now,
        until=min(WAITS.after(now), forecast.first_start),
        **forecast.columns,
    )
    try:
        with transaction.atomic():
            return _keep(row, now)
    except IntegrityError as error:
        raise UnableToPropose(
            "This choice of hubs waits for a colleague already. Take that proposal back first."
        ) from error


def _keep(row: Proposal, now: datetime) -> Proposal:
    # one at a time for each Supplier, so that the limit holds
    Supplier.objects.select_for_update(no_key=True).get(pk=row.supplier_id)
    waiting = Proposal.objects.filter(supplier=row.supplier_id, state=State.WAITING)
    waiting.filter(until__lte=now).update(state=State.LAPSED, decided_at=now)
    allowed = rules.may_agree_to_rule if row.act == Act.RULE else rules.may_agree
    colleagues = list(allowed(supplier=row.supplier, besides=row.asked_by))
    if not colleagues:
        raise UnableToPropose(NOBODY)
    if waiting.count() >= MOST_WAITING:
        raise UnableToPropose(
            f"{MOST_WAITING} proposals of your Supplier wait for an answer, and that is the most. Have one answered, "
            "or take one back."
        )
    row.asked_as = second_person.signed_in_as(person=row.asked_by)
    row.save(force_insert=True)
    audit.record(
        actor=row.asked_by,
        verb="proposal.made",
        subject=f"proposal:{row.pk}",
        reason=row.reason,
        facts={
            "supplier": row.supplier_id,
            "act": row.act,
            "hubs": row.hubs,
            "slots": row.slots,
            "booking": row.booking.reference if row.booking else None,
            "selection": str(row.selection_id) if row.selection_id else None,
            "until": row.until.isoformat(),
        },
        now=now,
    )
    notices.owe_proposed(proposal=row, colleagues=colleagues, now=now)
    return row


NOBODY: Final = (
    "Nobody else at your Supplier may agree to this: it takes a second person whose role is operations or "
    "administrator. Let an administrator invite a colleague under People, or ask DCC to, and propose it then."
)


# -- answer --------------------------------------------------------------------------------------------------


def agree(*, proposal: Proposal, by: "User", clock: Clock) -> str:
    """
    Agree to a colleague's proposal, and have it done; return in a sentence what was done.

    :raises UnableToAgree: if it cannot be done as it was asked for; nothing is done then, and it waits on
    """
    for _ in range(TRIES):
        try:
            return _carry_out(proposal, Agreement(proposal, by), clock)
        except OperationalError as error:
            if not placing.is_deadlock(error=error):
                raise
        except (bookings.UnableToBook, bookings.UnableToCancel, changes.UnableToMove) as refusal:
            raise UnableToAgree(str(refusal)) from refusal
    raise UnableToAgree("Many people are booking these slots right now. Try again in a minute.")


def _carry_out(proposal: Proposal, agreed: Agreement, clock: Clock) -> str:
    terms = proposal.terms
    # before a booking is looked for that there may be already, and whatever the act itself would say
    second_person.check(proposal=Proposal.objects.get(pk=proposal.pk), by=agreed.by, now=clock())
    if proposal.act == Act.RULE:
        return _agree_to_rule(proposal, agreed, clock())
    if proposal.act == Act.BOOK:
        assert proposal.selection is not None  # noqa: S101 - proposal_names_what_its_act_is_upon
        booking = bookings.book(
            selection=proposal.selection,
            timing=read_timing(terms=terms["timing"]),
            by=proposal.asked_by,
            clock=clock,
            despite=terms["despite"],
            agreed=agreed,
        )
        _check_own(proposal, agreed)
        return f"{booking.hubs:,} hubs are booked as {booking.reference}."
    assert proposal.booking is not None  # noqa: S101 - as above
    asked: dict[str, Any] = {
        "booking": proposal.booking,
        "by": proposal.asked_by,
        "reason": proposal.reason,
        "agreed": agreed,
    }
    if proposal.act == Act.MOVE:
        to = Destination(Booking.Plan(terms["to"]["plan"]), datetime.fromisoformat(terms["to"]["at"]))
        part = read_part(terms=terms["part"])
        hubs = changes.move(**asked, part=part, to=to, only_if_all=terms["only_if_all"], clock=clock)
        return f"{hubs:,} hubs are moved; the places that they left are free again."
    if terms["part"] is None:
        hubs = bookings.cancel(**asked, now=clock())
    else:
        part = read_part(terms=terms["part"])
        hubs = changes.cancel_part(**asked, part=part, only_if_all=terms["only_if_all"], now=clock())
    return f"{hubs:,} hubs are cancelled; their places are free again."


def _check_own(proposal: Proposal, agreed: Agreement) -> None:
    """Pass where it is this agreement that made the booking: booking twice returns the first one."""
    found = Proposal.objects.get(pk=proposal.pk)
    if found.decided_by_id != agreed.by.pk:
        raise UnableToAgree(
            f"{found.decided_by} has agreed to this already, and it is done."
            if found.state == State.AGREED
            else "These hubs were booked otherwise meanwhile. There is nothing left to agree to."
        )


@asking.trusted("a proposal is declined, and whoever made it is told")
def decline(*, proposal: Proposal, by: "User", reason: str, now: datetime) -> None:
    """
    Decline a colleague's proposal.

    :raises UnableToAgree: if no reason is given, it is one's own, or no longer open
    """
    if not reason.strip():
        raise UnableToAgree("Say why you decline: your colleague reads it.")
    with transaction.atomic():
        found = _locked(proposal)
        second_person.check(proposal=found, by=by, now=now)
        _decide(found, State.DECLINED, by, reason.strip(), now)
        notices.owe_proposal_answered(proposal=found, is_agreed=False, by=by, answer=reason.strip(), now=now)


@asking.trusted("a proposal is taken back by whoever made it")
def take_back(*, proposal: Proposal, by: "User", now: datetime) -> None:
    """
    Take one's own proposal back.

    :raises UnableToAgree: if it is somebody else's, or decided already
    """
    with transaction.atomic():
        found = _locked(proposal)
        if found.asked_by_id != by.pk:
            raise UnableToAgree("Only whoever proposed it takes it back; you can decline it.")
        if found.state != State.WAITING:
            raise UnableToAgree(second_person.why_not(proposal=found, now=now))
        _decide(found, State.TAKEN_BACK, by, "", now)


def _locked(proposal: Proposal) -> Proposal:
    rows = Proposal.objects.select_for_update(of=("self",), no_key=True)
    return rows.select_related("supplier", "release", "booking", "asked_by", "decided_by").get(pk=proposal.pk)


def _decide(proposal: Proposal, state: Proposal.State, by: "User", answer: str, now: datetime) -> None:
    Proposal.objects.filter(pk=proposal.pk).update(state=state, decided_by=by, decided_at=now, answer=answer)
    audit.record(
        actor=by,
        verb=f"proposal.{state}",
        subject=f"proposal:{proposal.pk}",
        reason=answer,
        facts={"supplier": proposal.supplier_id, "act": proposal.act, "hubs": proposal.hubs},
        now=now,
    )


# -- the rule ------------------------------------------------------------------------------------------------


@asking.trusted("an administrator says for the Supplier from how many hubs on an act takes two people")
def rule(*, supplier: Supplier, size: int | None, by: "User", reason: str, now: datetime) -> Proposal | None:
    """
    Say how many hubs one person may book, move and cancel alone in 24 hours; None for any number.

    A smaller number holds at once. A larger one, or none, is what a stolen session would ask for: it becomes a
    proposal, which is returned, where there is anybody to agree to it; whoever is alone needs nobody.

    :raises UnableToRule: if it is not `by`'s to say, changes nothing, or lacks the reason that a colleague reads
    """
    if by.supplier_id != supplier.pk or not by.may(roles.ADMINISTER):
        raise UnableToRule("Only the administrators of a Supplier can change that.")
    with transaction.atomic():
        Supplier.objects.select_for_update(no_key=True).get(pk=supplier.pk)
        others = rules.may_agree(supplier=supplier, besides=by).count()
        before = rules.rule(supplier=supplier, others=others)
        if before.size == size and not before.is_usual:
            raise UnableToRule("That is the rule already.")
        is_looser = before.size is not None and (size is None or size > before.size)
        if not (is_looser and others):
            _set(supplier, before.size, size, by, reason, now, {})
            return None
        if not reason.strip():
            raise UnableToRule("Say why: a colleague has to agree to a larger number, and reads it.")
        row = Proposal(
            supplier=supplier,
            act=Act.RULE,
            terms={"size": size, "before": before.size},
            reason=reason.strip(),
            asked_by=by,
            asked_at=now,
            until=WAITS.after(now),
        )
        try:
            with transaction.atomic():
                return _keep(row, now)
        except IntegrityError as error:
            raise UnableToRule(
                "Another change of the rule waits for an answer already. Have it answered, or taken back."
            ) from error
        except UnableToPropose as refusal:
            raise UnableToRule(str(refusal)) from refusal


@asking.trusted("a colleague agrees to another rule of the Supplier's")
def _agree_to_rule(proposal: Proposal, agreed: Agreement, now: datetime) -> str:
    with transaction.atomic():
        supplier = Supplier.objects.select_for_update(no_key=True).get(pk=proposal.supplier_id)
        found = _locked(proposal)
        second_person.check(proposal=found, by=agreed.by, now=now)
        size, before = found.terms["size"], found.terms["before"]
        others = rules.may_agree(supplier=supplier, besides=found.asked_by).count()
        if rules.rule(supplier=supplier, others=others).size != before:
            raise UnableToAgree("The rule was changed meanwhile. Nothing was done; propose it anew.")
        Proposal.objects.filter(pk=found.pk).update(state=State.AGREED, decided_by=agreed.by, decided_at=now)
        facts = second_person.conclude(agreed=agreed, about=f"supplier:{supplier.pk}", now=now)
        _set(supplier, before, size, found.asked_by, found.reason, now, facts)
    return (
        "One person may touch any number of hubs alone now."
        if size is None
        else f"One person may touch {size:,} hubs a day alone now."
    )


def _set(
    supplier: Supplier,
    before: int | None,
    size: int | None,
    by: "User",
    reason: str,
    now: datetime,
    facts: dict[str, Any],
) -> None:
    SecondPersonRule.objects.update_or_create(
        supplier=supplier, defaults={"size": size, "set_by": by, "set_at": now}
    )
    audit.record(
        actor=by,
        verb="second_person.ruled",
        subject=f"supplier:{supplier.pk}",
        reason=reason,
        facts={"supplier": supplier.name, "before": before, "after": size, **facts},
        now=now,
    )


# -- terms, as they are kept ---------------------------------------------------------------------------------


def written_timing(*, timing: Timing) -> dict[str, Any]:
    """Write the plan of a Supplier's person, in which there is neither a reserve nor a first moment."""
    hours = timing.hours
    return {
        "plan": str(timing.plan),
        "start_at": timing.start_at.isoformat() if timing.start_at else None,
        "last_start_at": timing.last_start_at.isoformat() if timing.last_start_at else None,
        "hours": hours
        and [
            list(hours.weekdays),
            hours.opens.isoformat(),
            hours.closes.isoformat(),
            hours.first_day.isoformat(),
            hours.last_day.isoformat(),
        ],
    }


def read_timing(*, terms: dict[str, Any]) -> Timing:
    """Read it again."""

    def moment(name: str) -> datetime | None:
        return datetime.fromisoformat(terms[name]) if terms[name] else None

    hours = None
    if terms["hours"]:
        weekdays, opens, closes, first_day, last_day = terms["hours"]
        hours = planning.Hours(
            tuple(weekdays),
            time.fromisoformat(opens),
            time.fromisoformat(closes),
            date.fromisoformat(first_day),
            date.fromisoformat(last_day),
        )
    return Timing(Booking.Plan(terms["plan"]), moment("start_at"), moment("last_start_at"), hours)


def written_part(*, part: Part) -> dict[str, Any]:
    """Write which hubs of a booking a Supplier's person means."""
    criteria = {facet: [int(value) for value in values] for facet, values in part.criteria.items() if values}
    return {"criteria": criteria, "hubs": None if part.hubs is None else list(part.hubs)}


def read_part(*, terms: dict[str, Any]) -> Part:
    """Read it again."""
    return Part(terms["criteria"], terms["hubs"])
