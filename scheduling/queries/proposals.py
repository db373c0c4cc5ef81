"""A Supplier's proposals: those that wait for an answer, and what became of the others."""

from datetime import datetime

from django.db.models import Q, QuerySet

from hubs.models import Supplier
from portal.ground import roles
from scheduling.models import Booking, HubSelection, Proposal


def of_supplier(*, supplier: Supplier) -> QuerySet[Proposal]:
    """Return a Supplier's proposals, newest first."""
    named = Proposal.objects.select_related("release", "booking", "selection", "asked_by", "decided_by")
    return named.filter(supplier=supplier).order_by("-id")


def waiting(*, supplier: Supplier, now: datetime) -> QuerySet[Proposal]:
    """Return those that can be answered, newest first; nobody answers for whoever may act no more."""
    found = of_supplier(supplier=supplier).filter(state=Proposal.State.WAITING, until__gt=now)
    return found.filter(asked_by__is_active=True, asked_by__role__in=roles.ACT.roles)


def of_selection(*, selection: HubSelection, now: datetime) -> Proposal | None:
    """Return the proposal to book a selection that can be answered, if there is one."""
    found = Proposal.objects.filter(selection=selection, state=Proposal.State.WAITING, until__gt=now)
    return found.first()


def booked(*, proposal: Proposal) -> Booking | None:
    """Return the booking of the selection that was proposed, once there is one."""
    if proposal.selection_id is None:
        return None
    return Booking.objects.filter(selection=proposal.selection_id, abandoned_at=None).first()


def word_of(*, proposal: Proposal, now: datetime) -> str:
    """Say in a word where a proposal is: one that waited in vain has lapsed, whatever its row says."""
    if proposal.state == Proposal.State.WAITING and proposal.until <= now:
        return str(Proposal.State.LAPSED.label)
    return proposal.get_state_display()


def standing(proposals: QuerySet[Proposal], *, state: Proposal.State, now: datetime) -> QuerySet[Proposal]:
    """Return those of some proposals that are where `word_of` says so."""
    if state == Proposal.State.WAITING:
        return proposals.filter(state=state, until__gt=now)
    if state == Proposal.State.LAPSED:
        return proposals.filter(Q(state=state) | Q(state=Proposal.State.WAITING, until__lte=now))
    return proposals.filter(state=state)
