"""What waits for a second person: the list, one proposal, and the colleague's answer."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView

from portal.ground import clock, roles
from portal.ground.reauthentication import known_recently
from scheduling.lists.bookings import ProposalList
from scheduling.models import Proposal
from scheduling.operations import proposals as acts
from scheduling.operations import second_person
from scheduling.operations.second_person import SecondPersonNeeded, UnableToAgree
from scheduling.queries import proposals
from scheduling.queries import second_person as rules
from scheduling.views import wording
from scheduling.views.base import SupplierPage
from scheduling.views.lists import ListPage

PAGE = 25
REASON = 500
"""Characters of a reason, as everywhere."""


def propose(*, page: SupplierPage, wish: acts.Wish, needed: SecondPersonNeeded, reason: str) -> HttpResponse:
    """
    Propose what takes a second person, and lead to the proposal.

    :raises UnableToPropose: with the sentence that the person reads
    """
    proposal = acts.propose(
        wish=wish, forecast=needed.forecast, by=page.person, reason=reason[:REASON], now=clock.now()
    )
    messages.warning(
        page.request, "Nothing was done yet: a colleague has to agree. Those who may are told by e-mail."
    )
    return redirect("scheduling:proposal", proposal.pk)


class ProposalsView(ListPage, TemplateView):
    """The proposals of a Supplier's people, paged by their key."""

    template_name = "scheduling/proposals.html"
    extra_context = {"section": "bookings"}
    list_class = ProposalList

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Fetch one page, and the rule."""
        return super().get_context_data(
            listing=self.listing(limit=PAGE),
            standing=rules.standing(supplier=self.supplier, person=self.person, now=self.now),
            **kwargs,
        )


class ProposalView(SupplierPage, TemplateView):
    """One proposal: what it is about, in numbers, and the answer to it."""

    template_name = "scheduling/proposal.html"
    extra_context = {"section": "bookings"}
    proposal: Proposal
    refusal = ""

    def find(self) -> None:
        """
        Fetch the proposal.

        :raises Http404: if it is another Supplier's, or does not exist
        """
        found = proposals.of_supplier(supplier=self.supplier).filter(pk=self.kwargs["pk"]).first()
        if found is None:
            raise Http404
        self.proposal = found

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Agree, decline or take it back; whoever agrees has shown of late who they are."""
        try:
            if "agree" in request.POST:
                known_recently(request)
                done = acts.agree(proposal=self.proposal, by=self.person, clock=clock.now)
                messages.success(request, f"Agreed. {done}")
            elif "decline" in request.POST:
                acts.decline(
                    proposal=self.proposal,
                    by=self.person,
                    reason=request.POST.get("answer", "")[:REASON],
                    now=clock.now(),
                )
                messages.success(request, "Declined. Nothing was done, and whoever proposed it is told.")
            elif "take-back" in request.POST:
                acts.take_back(proposal=self.proposal, by=self.person, now=clock.now())
                messages.success(request, "Taken back. Nothing was done.")
            else:
                return self.get(request, *args, **kwargs)
        except UnableToAgree as refusal:
            self.find()
            self.refusal = str(refusal)
            return self.render_to_response(self.get_context_data(**kwargs), status=409)
        return redirect("scheduling:proposal", self.proposal.pk)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what would be done, and whether this person may answer."""
        proposal = self.proposal
        closed = second_person.why_not(proposal=proposal, now=self.now)
        is_rule = proposal.act == Proposal.Act.RULE
        allowed = rules.may_agree_to_rule if is_rule else rules.may_agree
        colleagues = list(allowed(supplier=self.supplier, besides=proposal.asked_by))
        own = proposal.asked_by_id == self.person.pk
        return super().get_context_data(
            proposal=proposal,
            booking=proposal.booking or proposals.booked(proposal=proposal),
            title=wording.title_of(proposal=proposal),
            terms=wording.terms_of(proposal=proposal),
            word=proposals.word_of(proposal=proposal, now=self.now),
            is_waiting=proposal.state == Proposal.State.WAITING,
            closed=closed,
            colleagues=colleagues,
            can_answer=not closed and not own and self.person in colleagues,
            can_take_back=own and proposal.state == Proposal.State.WAITING and self.person.may(roles.ACT),
            is_rule=is_rule,
            refusal=self.refusal,
            answer_length=REASON,
            **kwargs,
        )
