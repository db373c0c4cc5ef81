"""What happened to a booking, and what cancelling it would do."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import F, Sum

from portal.ground.models import AuditEntry
from scheduling.lifecycle import FINAL, State
from scheduling.models import Booking
from scheduling.queries import bookings

if TYPE_CHECKING:
    from portal.models import User

PAGE = 5_000
VERBS = {
    "booking.placed": "Booked",
    "booking.cancelled": "Cancelled",
    "booking.moved": "Moved",
    "consent.given": "Agreed to",
    "consent.refused": "Objected to",
    "consent.lapsed": "Silence taken for consent",
    "consent.unanswered": "Taken out of their slot, since nobody agreed in time,",
}
HAPPENED = {
    "booking.carried_over": "Went with the hub to its new Supplier",
    "booking.received": "Came with hubs that changed to you",
    "booking.moved_by_stages": "Moved by the stages of the national rollout",
    "booking.shared_anew": "A new other Supplier is asked, after a change of supplier",
}
"""What nobody did, but a change of supplier or the rollout."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a history (for `components/timeline`)."""

    moment: datetime
    shape: str
    title: str
    text: str


def of_booking(*, booking: Booking) -> list[Event]:
    """Return what was decided about a booking and when its last hub ended, in order of time; one query."""
    events = []
    entries = AuditEntry.objects.filter(subject=f"booking:{booking.reference}").select_related("actor")
    for entry in entries.order_by("id"):
        hubs = entry.facts.get("hubs")
        words = VERBS.get(entry.verb, entry.verb.partition(".")[2].replace("_", " ").capitalize())
        if entry.verb == "booking.placed" and booking.origin == Booking.Origin.DEFAULT:
            words = "Allocated for DCC"
        who = _who(entry.actor, booking)
        events.append(
            Event(
                entry.recorded_at,
                "cancelled" if entry.verb in ("booking.cancelled", "booking.carried_over") else "booked",
                HAPPENED.get(entry.verb, f"{words} by {who}")
                + (f": {hubs:,} hub{'' if hubs == 1 else 's'}" if hubs is not None else ""),
                entry.reason,
            )
        )
    if booking.done_at:
        events.append(Event(booking.done_at, "succeeded", "The last hub ended", ""))
    return events


def carried_over(*, booking: Booking) -> int:
    """Return how many deployments of a booking went with their hubs to new Suppliers; from the record."""
    entries = AuditEntry.objects.filter(subject=f"booking:{booking.reference}", verb="booking.carried_over")
    return sum(facts["hubs"] for facts in entries.values_list("facts", flat=True))


def _who(actor: "User | None", booking: Booking) -> str:
    """Name who decided, to the people of the Supplier that booked: of another Supplier it sees no person."""
    if actor is None:
        return "the portal"
    if actor.is_staff:
        return "DCC"
    return str(actor) if actor.supplier_id == booking.supplier_id else "the other Supplier"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What cancelling would do, in hubs, and until when."""

    would_go: int
    past_cut_off: int
    activating: int
    ended: int
    change_until: datetime | None


def cancellation(*, booking: Booking, now: datetime) -> Cancellation:
    """Say in numbers what cancelling a booking would do now; from the counts of its lots."""
    waiting = F("provisional") + F("booked") + F("staging") + F("staged") + F("held")
    ended = sum((F(str(state)) for state in FINAL), start=F("succeeded") * 0)
    would_go = past = activating = over = 0
    until: datetime | None = None
    rows = (
        booking.lots.order_by("change_until")
        .values("change_until")
        .annotate(waits=Sum(waiting), runs=Sum(str(State.ACTIVATING)), ends=Sum(ended))
    )
    for row in rows:
        activating += row["runs"]
        over += row["ends"]
        if row["change_until"] > now:
            would_go += row["waits"]
            if row["waits"]:
                until = min(until or row["change_until"], row["change_until"])
        else:
            past += row["waits"]
    return Cancellation(would_go, past, activating, over, until)


def every_unplaced(*, booking: Booking) -> Iterator[tuple[int, str]]:
    """Yield the CHF IDs that found no place, with what kept them out, in order, read in pages."""
    after = -(2**63)
    while page := bookings.unplaced(booking=booking, limit=PAGE, after=after):
        for hub, why in page:
            yield hub, why.label
        after = page[-1][0]
