"""
Hold what touches many hubs until a second person of the Supplier has agreed.

Every operation by which a Supplier's people book, move or cancel takes its `Turn` first and asks it before anything is
done, in the transaction of the act; so no page, and no way beside the pages, passes it. DCC's acts, and the
portal's own, are not concerned.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth import get_user_model

from hubs.models import Supplier
from portal.ground import audit, roles, sql
from scheduling.models import Booking, HubSelection, Proposal
from scheduling.operations import notices
from scheduling.queries import second_person
from scheduling.queries.second_person import Forecast, Standing

if TYPE_CHECKING:
    from portal.models import User

Act = Proposal.Act
State = Proposal.State
_ALONE: Final = 0x616C6F6E
"""The class of the advisory locks ("alon"); the second number is the person's id."""
_LOCK: Final = "SELECT pg_advisory_xact_lock(%(class)s::int, %(person)s::int)"


class SecondPersonNeeded(Exception):
    """Nothing was done: a colleague has to agree first. It says what the act would have come to."""

    def __init__(self, forecast: Forecast, standing: Standing) -> None:
        super().__init__(standing.why(forecast.hubs))
        self.forecast, self.standing = forecast, standing


class UnableToAgree(Exception):
    """Nothing was done, and the proposal stays as it was; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """A proposal, and the colleague who agrees to it now."""

    proposal: Proposal
    by: "User"


def signed_in_as(*, person: "User") -> str:
    """Return what changes with what ends the sessions of a person: a password, a role, a second factor taken away."""
    return hashlib.sha256(person.get_session_auth_hash().encode()).hexdigest()


class Turn:
    """
    One act of a Supplier's person, in the transaction of the act.

    Made before slots are locked: acts that somebody does alone follow one another, so that two at once cannot both be
    the last that is allowed; and so do two who agree to the same proposal.
    """

    def __init__(
        self,
        *,
        supplier: Supplier,
        upon: HubSelection | Booking,
        by: "User | None",
        agreed: Agreement | None,
        now: datetime,
    ) -> None:
        self._supplier, self._upon, self._by, self._agreed, self._now = supplier, upon, by, agreed, now
        if agreed:
            self._proposal = Proposal.objects.select_for_update(no_key=True).get(pk=agreed.proposal.pk)
        elif by and by.supplier_id:
            sql.rows(_LOCK, {"class": _ALONE, "person": by.pk})

    def ask(self, *, act: Proposal.Act, forecast: Forecast) -> None:
        """
        Pass when the act may be done, and mark the proposal that it was as done.

        :raises SecondPersonNeeded: if a colleague has to agree first
        :raises UnableToAgree: if one does, and cannot
        """
        if self._agreed:
            self._check(self._agreed, act, forecast)
            Proposal.objects.filter(pk=self._proposal.pk).update(
                state=State.AGREED, decided_by=self._agreed.by, decided_at=self._now
            )
        elif self._by and self._by.supplier_id:
            standing = second_person.standing(supplier=self._supplier, person=self._by, now=self._now)
            if standing.asks(forecast.hubs):
                raise SecondPersonNeeded(forecast, standing)

    def _check(self, agreed: Agreement, act: Proposal.Act, forecast: Forecast) -> None:
        proposal = self._proposal
        upon = proposal.selection_id if act == Act.BOOK else proposal.booking_id
        if (proposal.act, proposal.supplier_id, upon) != (act, self._supplier.pk, self._upon.pk):
            raise UnableToAgree("Something else was proposed. Look at the proposal again.")
        check(proposal=proposal, by=agreed.by, now=self._now)
        asked = Forecast(**{name: getattr(proposal, name) for name in forecast.columns})
        if asked != forecast:
            raise UnableToAgree(
                f"Nothing was done, since it would not be what was asked for any more: {asked.words}. Now it would be "
                f"{forecast.words}. {_name(proposal)} can take it back and propose it anew."
            )


def check(*, proposal: Proposal, by: "User", now: datetime) -> None:
    """
    Pass when somebody may agree to a proposal that is still open; in a transaction that has locked it.

    :raises UnableToAgree: if not
    """
    if why := why_not(proposal=proposal, now=now):
        raise UnableToAgree(why)
    allowed = second_person.may_agree_to_rule if proposal.act == Act.RULE else second_person.may_agree
    if by.pk == proposal.asked_by_id:
        raise UnableToAgree("You have proposed this yourself: a colleague has to agree.")
    if not allowed(supplier=proposal.supplier, besides=proposal.asked_by).filter(pk=by.pk).exists():
        raise UnableToAgree(
            "Another administrator of your Supplier has to agree to this."
            if proposal.act == Act.RULE and by.may(roles.ACT)
            else roles.REFUSALS[roles.ACT]
        )


ENDED = {
    State.AGREED: "has agreed to this already, and it is done",
    State.DECLINED: "has declined this already",
    State.TAKEN_BACK: "has taken this back",
}


def why_not(*, proposal: Proposal, now: datetime) -> str:
    """Say why nobody can agree to a proposal any more; nothing where somebody can."""
    if proposal.state in ENDED:
        return f"{proposal.decided_by} {ENDED[State(proposal.state)]}. There is nothing left to agree to."
    if proposal.state == State.LAPSED or proposal.until <= now:
        return "This has lapsed: nobody agreed in time, and room and dates change. Propose it anew."
    asker = get_user_model().objects.filter(pk=proposal.asked_by_id, supplier=proposal.supplier_id).first()
    needed = roles.ADMINISTER if proposal.act == Act.RULE else roles.ACT
    if asker is None or not asker.is_active or not asker.may(needed):
        return f"{proposal.asked_by} may not do this any more, so nobody can agree to it."
    if signed_in_as(person=asker) != proposal.asked_as:
        return (
            f"What {asker} may do, or signs in with, has changed since, so nobody can agree to this. If it is still "
            "wanted, propose it anew."
        )
    return ""


def conclude(*, agreed: Agreement | None, about: str, now: datetime) -> dict[str, Any]:
    """Record who agreed, and owe the asker their e-mail; return what the record of the act itself says of it."""
    if agreed is None:
        return {}
    audit.record(
        actor=agreed.by,
        verb="proposal.agreed",
        subject=f"proposal:{agreed.proposal.pk}",
        facts={
            "supplier": agreed.proposal.supplier_id,
            "act": agreed.proposal.act,
            "about": about,
            "hubs": agreed.proposal.hubs,
            "asked_by": agreed.proposal.asked_by.email,
        },
        now=now,
    )
    notices.owe_proposal_answered(proposal=agreed.proposal, is_agreed=True, by=agreed.by, answer="", now=now)
    return {"proposal": agreed.proposal.pk, "agreed_by": str(agreed.by)}


def reopen(*, booking: Booking) -> None:
    """Let a proposal wait again whose booking was given up before its hubs were written."""
    Proposal.objects.filter(act=Act.BOOK, selection=booking.selection_id, state=State.AGREED).update(
        state=State.WAITING, decided_by=None, decided_at=None
    )


def _name(proposal: Proposal) -> str:
    return str(proposal.asked_by)
