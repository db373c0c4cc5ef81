"""Consents: what other Suppliers' bookings ask of this one, what its own ask of others, and the answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from hubs.identifiers import format_eui64
from portal.ground import asking, clock, roles
from portal.ground.downloads import csv_response
from portal.ground.uk_time import LONDON
from scheduling.forms import ObjectForm
from scheduling.lists.consents import AnsweredList, AskedHubList
from scheduling.models import Consent
from scheduling.operations import consents as acts
from scheduling.queries import consents, slots
from scheduling.queries.consents import Asked
from scheduling.tables import QuestionTable, WaitingTable
from scheduling.views.base import SupplierPage
from scheduling.views.lists import ListPage

SHOWN = 200
"""Open questions that a page lists."""
PAGE = 25
HUBS = 50
ALTERNATIVES = 300
"""Slots that can be offered in place of the one objected to."""
EXPORT = 5_000
HEADER = (
    "Direction",
    "Booking",
    "Release",
    "Other side",
    "Network",
    "Slot (UK time)",
    "Hubs",
    "State",
    "Asked (UK time)",
    "Answer by (UK time)",
    "Without an answer",
    "Answered (UK time)",
)


@dataclass(frozen=True, slots=True)
class AskedCard:
    """What one booking asks of this Supplier, as a card with its table."""

    asked: Asked
    table: QuestionTable
    latest: int
    """The key of the newest question shown: what came later is not agreed to unseen."""


def without_an_answer(consent: Consent) -> str:
    """Say what happens to a question that nobody answers."""
    return "The hubs leave this slot" if consent.is_explicit else "Silence is consent"


def key_of(text: str) -> int | None:
    """Read a key of a page; what is none, or beyond any, is ignored."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


class ConsentsView(ListPage, TemplateView):
    """What is to be answered, what is waited for, and what was answered."""

    template_name = "scheduling/consents.html"
    list_class = AnsweredList

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask a fixed number of questions."""
        to_answer = consents.to_answer(supplier=self.supplier, limit=SHOWN + 1)
        waiting = consents.waiting(supplier=self.supplier, limit=SHOWN + 1)
        return super().get_context_data(
            section="consents",
            cards=[
                AskedCard(
                    asked,
                    QuestionTable(asked.questions, exclude=() if self.person.may_act else ("answer",)),
                    max(question.consent.pk for question in asked.questions),
                )
                for asked in to_answer
            ],
            waiting=WaitingTable(waiting) if waiting else None,
            listing=self.listing(limit=PAGE, caption="What you were asked"),
            most=SHOWN,
            has_more=max(sum(len(one.questions) for one in many) for many in (to_answer, waiting)) > SHOWN,
            **kwargs,
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Agree to one question, or to all that were shown of one booking."""
        with asking.asked():
            chosen = self.chosen(request)
        try:
            agreed = acts.agree(consents=chosen, by=self.person, now=clock.now())
        except acts.UnableToAnswer as refusal:
            messages.error(request, f"Nothing was answered. {refusal}")
            return redirect("scheduling:consents")
        messages.success(
            request,
            f"Agreed: {agreed.hubs:,} hub{'' if agreed.hubs == 1 else 's'} in {agreed.questions:,} "
            f"slot{'' if agreed.questions == 1 else 's'}, which whoever booked them may now carry out."
            + (f" {agreed.late:,} other questions were no longer open." if agreed.late else ""),
        )
        return redirect("scheduling:consents")

    def chosen(self, request: HttpRequest) -> list[Consent]:
        """Return the questions that are answered: one, or all that were shown of one booking."""
        if reference := request.POST.get("booking", ""):
            latest = key_of(request.POST.get("latest", "")) or 0
            mine = consents.unanswered().filter(supplier=self.supplier)
            return list(mine.filter(booking__reference=reference[:12], pk__lte=latest))
        key = key_of(request.POST.get("consent", "")) or 0
        return list(consents.visible().filter(supplier=self.supplier, pk=key))


class ConsentsExportView(SupplierPage):
    """All questions of and to this Supplier as CSV."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """Send the file while it is written."""
        return csv_response(name="consents.csv", header=HEADER, rows=self.rows())

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the questions, newest first."""
        for question, asks in consents.every(supplier=self.supplier):
            consent = question.consent
            yield (
                "Asked by us" if asks else "Asked of us",
                consent.booking.reference,
                consent.booking.release.name,
                question.party,
                consent.slot.network.name,
                _uk(consent.slot.start_at),
                str(question.hubs),
                consent.get_state_display(),
                _uk(consent.asked_at),
                _uk(consent.answer_by),
                without_an_answer(consent),
                _uk(consent.answered_at),
            )


def _uk(moment: datetime | None) -> str:
    return f"{moment.astimezone(LONDON):%Y-%m-%d %H:%M %Z}" if moment else ""


class OneConsentView(SupplierPage):
    """A page of one question that this Supplier is asked, which it calls `self.consent`."""

    consent: Consent

    def find(self) -> None:
        """
        Fetch the question.

        :raises Http404: if it is asked of another Supplier, or does not exist
        """
        with asking.asked():
            found = (
                consents.visible()
                .filter(supplier=self.supplier, pk=self.kwargs["pk"])
                .select_related("answered_by", "booking__release__policy")
                .first()
            )
        if found is None:
            raise Http404
        self.consent = found

    def question(self) -> dict[str, Any]:
        """Return what every page of the question says of it."""
        return {
            "section": "consents",
            "consent": self.consent,
            "asker": consents.asker_of(consents=[self.consent])[self.consent.pk],
            "hubs": consents.waiting_hubs(consent=self.consent),
            "without": without_an_answer(self.consent),
            "is_open": self.consent.state == Consent.State.ASKED and self.consent.answer_by > self.now,
        }


class ConsentView(OneConsentView, ListPage, TemplateView):
    """One question: who asks, about which hubs, and until when."""

    template_name = "scheduling/consent.html"
    list_class = AskedHubList

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Fetch one page of its hubs."""
        return super().get_context_data(
            **self.question(),
            objections=consents.objections(consent=self.consent),
            listing=self.listing(limit=HUBS, of=self.consent),
            **kwargs,
        )


class ConsentHubsView(OneConsentView):
    """The hubs of a question as CSV."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """Send the file while it is written."""
        return csv_response(
            name=f"{self.consent.booking.reference}-{self.consent.pk}.csv",
            header=("CHF ID", "State"),
            rows=self.rows(),
        )

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the hubs page by page."""
        after = 0
        while page := consents.hubs(consent=self.consent, start=after, limit=EXPORT):
            for one in page:
                yield format_eui64(one.hub), one.state.label
            after = page[-1].deployment


class ObjectView(OneConsentView, FormView[ObjectForm]):
    """Object to a question: first what would happen, in numbers, then do it."""

    to_see = roles.ACT
    template_name = "scheduling/object.html"
    form_class = ObjectForm

    def get_form_kwargs(self) -> dict[str, Any]:
        """Give the form the slots that can be offered; those in which the asker cannot go are just not among them."""
        booking, network = self.consent.booking, self.consent.slot.network_id
        end = max((period.end_at for period in booking.release.periods.all()), default=self.now)
        with asking.trusted("a slot is offered only where the asker can go; where not, and why, is not said"):
            rooms = slots.rooms_between(
                release=booking.release,
                supplier=booking.supplier,
                networks=[network],
                start=self.now,
                end=end,
                now=self.now,
            )
        offered = sorted(
            (room for room in rooms if room.room and not room.closed and room.slot != self.consent.slot_id),
            key=lambda room: room.start_at,
        )
        return {
            **super().get_form_kwargs(),
            "slot": self.consent.slot,
            "alternatives": [
                (room.slot, f"{room.start_at.astimezone(LONDON):%a %-d %b %Y, %H:%M %Z}")
                for room in offered[:ALTERNATIVES]
            ],
        }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Name the question."""
        return super().get_context_data(**self.question(), **kwargs)

    def form_valid(self, form: ObjectForm) -> HttpResponse:
        """Show what would happen; do it where exactly that was shown before."""
        seen = self.request.POST.get("seen", "")
        is_changed = bool(seen) and seen != form.fingerprint
        try:
            if "look" in self.request.POST or not seen or is_changed:
                outcome = acts.would_object(
                    consent=self.consent, offer=form.offer, by=self.person, clock=clock.now
                )
                return self.render_to_response(
                    self.get_context_data(
                        form=form,
                        outcome=outcome,
                        offers_slot=form.offer.alternative is not None,
                        seen=form.fingerprint,
                        is_changed=is_changed,
                    )
                )
            done = acts.object_to(
                consent=self.consent,
                offer=form.offer,
                reason=form.cleaned_data["reason"],
                by=self.person,
                clock=clock.now,
            )
        except acts.UnableToAnswer as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        messages.success(
            self.request,
            f"You have objected to {done.hubs:,} hub{'' if done.hubs == 1 else 's'}: {done.moved:,} moved to another "
            f"slot, {done.handed_back:,} handed back to the Supplier that had booked them.",
        )
        return redirect("scheduling:consents")
