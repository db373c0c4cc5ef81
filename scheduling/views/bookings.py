"""Bookings, and what becomes of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from firmware import queries as releases
from firmware.models import ReleaseState
from hubs.identifiers import format_eui64
from hubs.models import FleetCount
from portal.ground import clock, roles
from portal.ground.downloads import csv_response
from portal.ground.uk_time import LONDON
from scheduling.forms import CancelForm, ChangeForm
from scheduling.lifecycle import State
from scheduling.lists.bookings import BookedHubList, BookingList
from scheduling.models import Booking
from scheduling.operations import bookings as acts
from scheduling.operations import changes, proposals
from scheduling.operations.second_person import SecondPersonNeeded
from scheduling.queries import (
    allocations,
    bookings,
    consents,
    histories,
    parts,
    previews,
    progress,
    second_person,
    standings,
    turns,
)
from scheduling.tables import PartTable, PlannedSlotTable, SlotTable
from scheduling.views import wording
from scheduling.views.base import SupplierPage
from scheduling.views.downloads import calendar_response
from scheduling.views.lists import ListPage
from scheduling.views.proposals import propose

PAGE = 25
HUBS = 50
SLOTS = 60
"""Slots that a booking's page lists one by one."""
UNPLACED = 20
QUESTIONS = 60
"""Parts that wait for another Supplier, and objections, that a booking's page lists."""
EXPORT = 5_000
STOP_POLLING = 286
"""The status on which htmx stops asking."""
EXPORT_HEADER = ("CHF ID", "Network", "Slot (UK time)", "State", "Reason", "Since (UK time)")


class BookingsView(ListPage, TemplateView):
    """All bookings, paged by their key."""

    template_name = "scheduling/bookings.html"
    extra_context = {"section": "bookings"}
    list_class = BookingList

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Fetch one page."""
        return super().get_context_data(listing=self.listing(limit=PAGE), **kwargs)


class OneBookingView(SupplierPage):
    """A page of one of the Supplier's own bookings, which it calls `self.booking`."""

    booking: Booking

    def find(self) -> None:
        """
        Fetch the booking.

        :raises Http404: if it is another Supplier's, unknown or abandoned
        """
        booking = (
            bookings.of_supplier(supplier=self.supplier)
            .select_related("selection", "release__policy")
            .filter(reference=self.kwargs["reference"])
            .first()
        )
        if booking is None:
            raise Http404
        self.booking = booking

    def live(self) -> dict[str, Any]:
        """Return what the live part of the page shows."""
        now = progress.of_lots(lots=self.booking.lots.all())
        slots = progress.by_slot(lots=self.booking.lots.all())
        return {
            "booking": self.booking,
            "progress": now,
            "is_over": now.total > 0 and not now.open,
            "slots": SlotTable(slots[:SLOTS]),
            "slot_count": len(slots),
            "slots_more": max(len(slots) - SLOTS, 0),
            "now": self.now,
        }


class BookingView(OneBookingView, TemplateView):
    """One booking: how far it is, in which slots, what can still be done, what happened."""

    template_name = "scheduling/booking.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask a fixed number of questions."""
        live = self.live()
        span = bookings.span(booking=self.booking)
        questions, objections = consents.of_booking(booking=self.booking, limit=QUESTIONS)
        return super().get_context_data(
            **live,
            section="bookings",
            span=span,
            plan=wording.plan_words(of=self.booking),
            release_is_shown=releases.open_to(supplier=self.supplier)
            .filter(pk=self.booking.release_id)
            .exists(),
            can_cancel=bool(
                self.person.may_act
                and span.change_until
                and span.change_until > self.now
                and not live["is_over"]
            ),
            unplaced=[hub for hub, _ in bookings.unplaced(booking=self.booking, limit=UNPLACED)]
            if self.booking.unplaced
            else [],
            # those that went are counted as cancelled: without any, nobody has to look
            carried_over=histories.carried_over(booking=self.booking)
            if live["progress"].by_state[State.CANCELLED]
            else 0,
            refused_count=sum(self.booking.selection.refused.values()) if self.booking.selection else 0,
            questions=PartTable(questions) if questions else None,
            objections=objections,
            history=histories.of_booking(booking=self.booking),
            decision=allocations.decision_behind(booking=self.booking),
            standing=turns.of_booking(booking=self.booking, now=self.now),
            **kwargs,
        )


class ProgressView(OneBookingView):
    """The live part of a booking's page, alone."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer with the fragment; once every hub has ended, also say that there is no need to ask again."""
        live = self.live()
        response = TemplateView(
            request=request, template_name="scheduling/_progress.html"
        ).render_to_response(live)
        response.status_code = STOP_POLLING if live["is_over"] else 200
        return response


class BookedHubsView(OneBookingView, ListPage, TemplateView):
    """The hubs of a booking, by state, paged by key."""

    template_name = "scheduling/booked_hubs.html"
    list_class = BookedHubList

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Fetch one page; the numbers beside the states come from the lots."""
        listing = self.listing(limit=HUBS, of=self.booking)
        went = progress.of_lots(lots=self.booking.lots.all())
        return super().get_context_data(
            section="bookings",
            booking=self.booking,
            progress=went,
            listing=listing,
            all_states=f"{listing.here}?{listing.of.query(state=None)}",
            states=[
                (one, hubs, f"{listing.here}?{listing.of.query(state=one)}") for one, hubs in went.present
            ],
            **kwargs,
        )

    def left_out(self) -> Sequence[str]:
        """Leave out where a hub can be changed for those who may not."""
        return () if self.person.may_act else ("change",)


class CancelView(OneBookingView, FormView[CancelForm]):
    """Take a booking back: what would go and what stays, in numbers, then do it."""

    to_see = roles.ACT
    template_name = "scheduling/cancel.html"
    form_class = CancelForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what would happen."""
        outlook = histories.cancellation(booking=self.booking, now=self.now)
        return super().get_context_data(
            section="bookings",
            booking=self.booking,
            outlook=outlook,
            second=second_person.asked(
                supplier=self.supplier, person=self.person, hubs=outlook.would_go, now=self.now
            ),
            **kwargs,
        )

    def form_valid(self, form: CancelForm) -> HttpResponse:
        """Cancel, and say how many went."""
        reason = form.cleaned_data["reason"]
        try:
            try:
                freed = acts.cancel(booking=self.booking, by=self.person, reason=reason, now=self.now)
            except SecondPersonNeeded as needed:
                wish = proposals.to_cancel(booking=self.booking)
                return propose(page=self, wish=wish, needed=needed, reason=reason)
        except (acts.UnableToCancel, proposals.UnableToPropose) as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        messages.success(
            self.request,
            f"{freed:,} hub{' is' if freed == 1 else 's are'} cancelled; their places are free again.",
        )
        return redirect("scheduling:booking", self.booking.reference)


class ChangeView(OneBookingView, FormView[ChangeForm]):
    """Cancel or move a booking, a part of it or one hub: first what would happen, in numbers, then do it."""

    to_see = roles.ACT
    template_name = "scheduling/change.html"
    form_class = ChangeForm

    def get_initial(self) -> dict[str, Any]:
        """Begin with the hub that was asked for, where there is one."""
        return {"hubs": self.request.GET.get("hub", "")[:40], "act": ChangeForm.CANCEL}

    def get_form_kwargs(self) -> dict[str, Any]:
        """Give the form the booking's slots that can still be changed, and the values that the hubs can have."""
        release = self.booking.release
        return {
            **super().get_form_kwargs(),
            "slots": [
                (
                    slot.slot,
                    f"{slot.start_at.astimezone(LONDON):%a %-d %b %Y, %H:%M %Z}, {slot.network}: {slot.hubs:,} hubs",
                )
                for slot in parts.changeable_slots(booking=self.booking, now=self.now)
            ],
            "choices": standings.facets(
                supplier=self.supplier,
                release=release,
                counts=FleetCount.objects.filter(model__in=release.hub_models.values("pk")),
            ),
        }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Name the booking, and until when it can be changed."""
        return super().get_context_data(
            section="bookings",
            booking=self.booking,
            whole=histories.cancellation(booking=self.booking, now=self.now),
            **kwargs,
        )

    def form_valid(self, form: ChangeForm) -> HttpResponse:
        """Show what would happen; do it where exactly that was shown before."""
        seen = self.request.POST.get("seen", "")
        if "look" in self.request.POST or not seen:
            return self.look(form)
        if seen != form.fingerprint:
            return self.look(form, is_changed=True)
        if not form.cleaned_data["reason"]:
            form.add_error("reason", "Say why: the history keeps it.")
            return self.look(form)
        return self.act(form)

    def look(self, form: ChangeForm, **kwargs: Any) -> HttpResponse:
        """Show what would happen, in numbers, and ask for the word."""
        to = form.destination
        outlook = parts.outlook(booking=self.booking, part=form.part, now=self.now, to=to)
        blocked = form.cleaned_data["only_if_all"] and outlook.would_stay
        context: dict[str, Any] = {
            "outlook": outlook,
            "destination": to.words if to else "",
            "refused": [
                Refused(hubs, obstacle.label, obstacle.way_forward)
                for obstacle, hubs in sorted(outlook.refused.items())
            ],
            "blocked": blocked,
            "can_do": bool(outlook.would_go) and not blocked,
            "seen": form.fingerprint,
            "second": second_person.asked(
                supplier=self.supplier, person=self.person, hubs=outlook.would_go, now=self.now
            ),
        }
        if to and outlook.would_go:
            planned = previews.move_preview(
                booking=self.booking, part=form.part, outlook=outlook, to=to, now=self.now
            )
            halted = self.booking.release.state != ReleaseState.PUBLISHED
            context |= {
                "preview": planned,
                "slots": PlannedSlotTable(planned.parts[:SLOTS]),
                "slots_more": max(planned.slots - SLOTS, 0),
                "lacking": planned.unplaced,
                "warnings": [(str(window), hubs) for window, hubs in planned.warnings.items()],
                "asks": wording.asks(of=planned),
                "objection_window": self.booking.release.policy.objection_window,
                "halted": halted,
                "can_do": context["can_do"] and not planned.left_over and not halted,
            }
        return self.render_to_response(self.get_context_data(form=form, **context, **kwargs))

    def act(self, form: ChangeForm) -> HttpResponse:
        """Cancel or move, and say how many went; or propose it, where it takes a second person."""
        wanted: dict[str, Any] = {
            "booking": self.booking,
            "part": form.part,
            "only_if_all": form.cleaned_data["only_if_all"],
        }
        asked = {**wanted, "by": self.person, "reason": form.cleaned_data["reason"]}
        to = form.destination
        try:
            try:
                hubs = (
                    changes.move(**asked, to=to, clock=clock.now)
                    if to
                    else changes.cancel_part(**asked, now=self.now)
                )
            except SecondPersonNeeded as needed:
                wish = proposals.to_move(**wanted, to=to) if to else proposals.to_cancel(**wanted)
                return propose(page=self, wish=wish, needed=needed, reason=asked["reason"])
        except (acts.UnableToCancel, changes.UnableToMove, proposals.UnableToPropose) as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        went = f"{hubs:,} hub{' is' if hubs == 1 else 's are'}"
        messages.success(
            self.request,
            f"{went} moved; the places that they left are free again."
            if to
            else f"{went} cancelled; their places are free again.",
        )
        return redirect("scheduling:booking", self.booking.reference)


@dataclass(frozen=True, slots=True)
class Refused:
    """So many hubs that stay, and why (for `components/refusals`)."""

    hubs: int
    what: str
    why: str


class ExportView(OneBookingView):
    """Every hub of a booking as CSV, those without a place included."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """Send the file while it is written."""
        return csv_response(name=f"{self.booking.reference}.csv", header=EXPORT_HEADER, rows=self.rows())

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the hubs page by page, then those for which no slot had room."""
        after = 0
        while page := bookings.hubs(booking=self.booking, start=after, limit=EXPORT):
            for line in page:
                yield (
                    format_eui64(line.hub),
                    line.network,
                    _uk(line.slot_start),
                    line.state.label,
                    line.ending.label,
                    _uk(line.moved_at),
                )
            after = page[-1].deployment
        for hub, why in histories.every_unplaced(booking=self.booking):
            yield format_eui64(hub), "", "", "Not placed", why, ""


def _uk(moment: datetime) -> str:
    return f"{moment.astimezone(LONDON):%Y-%m-%d %H:%M %Z}"


class CalendarView(OneBookingView):
    """The slots of a booking as calendar entries."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer with one entry for each slot that has hubs to go or had them."""
        return calendar_response(
            name=f"{self.booking.reference}.ics",
            address=reverse("scheduling:booking", args=[self.booking.reference]),
            events=[
                (
                    f"{self.booking.reference}-{slot.network}-{slot.start_at:%Y%m%dT%H%M%SZ}".replace(
                        " ", "-"
                    ),
                    slot.start_at,
                    slot.end_at,
                    f"{self.booking.release.name}: {hubs:,} hubs on {slot.network} ({self.booking.reference})",
                )
                for slot in progress.by_slot(lots=self.booking.lots.all())
                if (hubs := slot.progress.total - slot.progress.by_state[State.CANCELLED])
            ],
            written_at=self.now,
        )
