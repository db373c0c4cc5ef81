"""Lists of bookings, of the hubs of one, and of proposals."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import Supplier
from scheduling.forms import BookingFilterForm, ProposalFilterForm, StateFilterForm
from scheduling.lifecycle import CANCELLABLE, OPEN, State
from scheduling.lists.base import Column, Order, RowList, Slice, SupplierList, Text, integer, uk
from scheduling.models import Booking, Proposal
from scheduling.queries import bookings, keyset, progress, proposals, quarantine
from scheduling.queries.bookings import HubLine
from scheduling.queries.progress import Progress
from scheduling.tables import BookedHubTable, BookingTable, ProposalTable


@dataclass(frozen=True, slots=True)
class Line:
    """One booking in a list, with its progress."""

    booking: Booking
    progress: Progress


class BookingList(RowList[Line, Booking]):
    """A Supplier's bookings."""

    name = "bookings"
    title = "Bookings"
    nouns = ("booking", "bookings")
    table = BookingTable
    filters = ("release", "standing")
    usual = Order("booked_at", is_descending=True)
    usual_words = "newest first"
    columns = {
        "reference": Column({"Booking": lambda line: line.booking.reference}, sort="reference"),
        "release": Column({"Release": lambda line: line.booking.release.name}, sort="release__name"),
        "hubs": Column({"Hubs": lambda line: line.booking.hubs}, sort="hubs"),
        "progress": Column(
            {
                state.label: lambda line, state=state: line.progress.by_state[state]  # type: ignore[misc]  # of each
                for state in State
            }
        ),
        # bookings are numbered as they are made
        "booked_at": Column({"Booked (UK time)": lambda line: uk(line.booking.created_at)}, sort="pk"),
        "by": Column({"By": lambda line: line.booking.maker}),
        "unplaced": Column(
            {"Hubs without a place": lambda line: line.booking.unplaced}, sort="unplaced", is_extra=True
        ),
        "done_at": Column({"Over since (UK time)": lambda line: uk(line.booking.done_at)}, is_extra=True),
    }

    def filter_form(self) -> BookingFilterForm:
        """Return the form with the releases that the Supplier has booked."""
        booked = bookings.of_supplier(supplier=self.supplier).order_by("release__name")
        releases = list(booked.values_list("release", "release__name").distinct())
        return BookingFilterForm(self.asked, releases=releases)

    def rows(self) -> QuerySet[Booking]:
        """Return the bookings that the filter leaves."""
        found = bookings.of_supplier(supplier=self.supplier)
        if release := self.filtered("release"):
            found = found.filter(release=release)
        if standing := self.filtered("standing"):
            found = found.filter(done_at__isnull=standing == BookingFilterForm.OPEN)
        return found

    def lines(self, rows: Sequence[Booking]) -> list[Line]:
        """Add the progress of each."""
        progress_of = progress.by_booking(bookings=[booking.pk for booking in rows])
        return [Line(booking, progress_of.get(booking.pk, progress.NOTHING)) for booking in rows]


UNPLACED = "unplaced "
"""What stands before a key of a hub without a place, which no page lists."""


@dataclass(frozen=True, slots=True)
class BookedLine:
    """One hub of a booking, why it stands where it does, and the page on which it can be changed, if it still can."""

    hub: int
    network: str
    slot_start: datetime
    state: State
    why: str
    moved_at: datetime
    change: str


def change_address(reference: str, hub: int) -> str:
    """Return where one hub of a booking can be cancelled or moved."""
    return f"{reverse('scheduling:change', args=[reference])}?{urlencode({'hub': format_eui64(hub)})}"


class BookedHubList(SupplierList[BookedLine]):
    """The hubs of a booking, lot by lot as they were placed: there is no other order of millions of them."""

    name = "booked-hubs"
    title = "Hubs of a booking"
    nouns = ("hub", "hubs")
    table = BookedHubTable
    filters = ("state",)
    usual = Order("hub", is_descending=False)
    usual_words = "slot by slot, as they were placed"
    columns = {
        "hub": Column({"CHF ID": lambda line: format_eui64(line.hub)}),
        "network": Column({"Network": lambda line: line.network}),
        "slot_start": Column({"Slot (UK time)": lambda line: uk(line.slot_start)}),
        "state": Column({"State": lambda line: line.state.label}),
        "why": Column({"Reason": lambda line: line.why}),
        "moved_at": Column({"Since (UK time)": lambda line: uk(line.moved_at)}),
    }
    of: Booking

    @classmethod
    def find(cls, *, supplier: Supplier, key: str) -> Any:
        """Return the booking."""
        booking = bookings.of_supplier(supplier=supplier).filter(reference=key).first()
        if booking is None:
            raise LookupError(key)
        return booking

    def key(self) -> str:
        """Return the reference of the booking."""
        return self.of.reference

    def heading(self) -> str:
        """Name the booking."""
        return f"Hubs of {self.of.reference}"

    def filter_form(self) -> StateFilterForm:
        """Return the form, which the page shows as links with numbers."""
        return StateFilterForm(self.asked)

    @property
    def state(self) -> State | None:
        """The state whose hubs are listed; None for all."""
        chosen = self.filtered("state")
        return State(chosen) if chosen else None

    def page(self, *, after: str, before: str, limit: int) -> Slice[BookedLine]:
        """Fetch a page from the lots' stretches of the primary key."""

        def fetch(start: int | None, is_backwards: bool, most: int) -> list[HubLine]:
            first = 2**63 - 1 if is_backwards else 0
            return bookings.hubs(
                booking=self.of,
                start=first if start is None else start,
                limit=most,
                is_backwards=is_backwards,
                state=self.state,
            )

        found = keyset.stretch(
            fetch=fetch,
            key_of=lambda hub: hub.deployment,
            after=integer(after),
            before=integer(before),
            limit=limit,
        )
        aside = quarantine.since(deployments=[hub.deployment for hub in found.rows if hub.state in OPEN])
        lines = [self.line(hub, hub.deployment in aside) for hub in found.rows]
        return Slice(
            lines,
            None if found.after is None else str(found.after),
            None if found.before is None else str(found.before),
        )

    def line(self, hub: HubLine, is_set_aside: bool) -> BookedLine:
        """Add to a hub where it can be changed, if it still can, and that DCC looks into it, if it does."""
        can_change = self.person.may_act and hub.state in CANCELLABLE and hub.change_until > self.now
        return BookedLine(
            hub.hub,
            hub.network,
            hub.slot_start,
            hub.state,
            "DCC looks into it" if is_set_aside else hub.ending.label,
            hub.moved_at,
            change_address(self.of.reference, hub.hub) if can_change else "",
        )

    def portion(self, *, after: str, limit: int) -> tuple[list[list[Text]], str | None]:
        """Write also the hubs for which no slot had room, behind those that are placed."""
        if not after.startswith(UNPLACED):
            lines, onward = super().portion(after=after, limit=limit)
            goes_on = onward is None and self.state is None and self.of.unplaced > 0
            return lines, f"{UNPLACED}{-(2**63)}" if goes_on else onward
        found = bookings.unplaced(booking=self.of, limit=limit, after=int(after.removeprefix(UNPLACED)))
        said = [
            {"hub": format_eui64(hub), "state": "Not placed", "why": str(why.label)} for hub, why in found
        ]
        lines = [[line.get(name, "") for name in self.shown] for line in said]
        return lines, f"{UNPLACED}{found[-1][0]}" if len(found) == limit else None

    def expected(self) -> int:
        """Return how many hubs the booking has, or has in the state, by its lots' counters."""
        went = progress.of_lots(lots=self.of.lots.all())
        return went.total + self.of.unplaced if self.state is None else went.by_state[self.state]


class ProposalList(RowList[tuple[Proposal, str], Proposal]):
    """The proposals of a Supplier's people, each with the word for where it is."""

    name = "proposals"
    title = "Proposals"
    nouns = ("proposal", "proposals")
    table = ProposalTable
    filters = ("state",)
    usual = Order("asked_at", is_descending=True)
    usual_words = "newest first"
    columns = {
        "proposal": Column({"Proposal": lambda line: line[0].get_act_display()}),
        "by": Column({"By": lambda line: str(line[0].asked_by)}),
        "asked_at": Column({"When (UK time)": lambda line: uk(line[0].asked_at)}, sort="pk"),
        "hubs": Column({"Hubs": lambda line: line[0].hubs}, sort="hubs"),
        "until": Column({"Can be agreed to until (UK time)": lambda line: uk(line[0].until)}, sort="until"),
        "word": Column({"Where it is": lambda line: line[1]}),
        "decided_by": Column({"Answered by": lambda line: str(line[0].decided_by or "")}),
    }

    def filter_form(self) -> ProposalFilterForm:
        """Return the form."""
        return ProposalFilterForm(self.asked)

    def rows(self) -> QuerySet[Proposal]:
        """Return the proposals that the filter leaves."""
        found = proposals.of_supplier(supplier=self.supplier)
        state = self.filtered("state")
        return proposals.standing(found, state=Proposal.State(state), now=self.now) if state else found

    def lines(self, rows: Sequence[Proposal]) -> list[tuple[Proposal, str]]:
        """Say where each is."""
        return [(one, proposals.word_of(proposal=one, now=self.now)) for one in rows]
