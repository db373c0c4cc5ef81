"""What happened to a booking, and what cancelling it would do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Sum

from portal.ground import asking
from portal.ground.models import AuditEntry
from scheduling.lifecycle import FINAL, State
from scheduling.models import Booking
from scheduling.queries import bookings

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
    """Return what was decided about a booking and when its last hub ended, in order of time; one query, or two."""
    events = []
    found = AuditEntry.objects.filter(subject=f"booking:{booking.reference}").select_related("actor")
    entries = list(found.order_by("id"))
    by_dcc = _by_dcc(entries)
    for entry in entries:
        hubs = entry.facts.get("hubs")
        words = VERBS.get(entry.verb, entry.verb.partition(".")[2].replace("_", " ").capitalize())
        if entry.verb == "booking.placed" and booking.origin == Booking.Origin.DEFAULT:
            words = "Allocated for DCC"
        who = _who(entry, booking, entry.pk in by_dcc)
        events.append(
            Event(
                entry.recorded_at,
                "cancelled" if entry.verb in ("booking.cancelled", "booking.carried_over") else "booked",
                HAPPENED.get(entry.verb, f"{words} by {who}")
                + (f": {hubs:,} hub{'' if hubs == 1 else 's'}" if hubs is not None else "")
                + (f", agreed to by {agreed_by}" if (agreed_by := entry.facts.get("agreed_by")) else ""),
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


def _by_dcc(entries: Sequence[AuditEntry]) -> set[int]:
    """Return those of the entries that DCC decided, by id."""
    # a person whom no Supplier may see is not there, but was
    unseen = [entry.pk for entry in entries if entry.actor_id and not entry.actor]
    seen = {entry.pk for entry in entries if entry.actor and entry.actor.is_staff}
    if not unseen:
        return seen
    with asking.trusted("who decided is named by their side: DCC, or the other Supplier"):
        staff = AuditEntry.objects.filter(pk__in=unseen, actor__is_staff=True)
        return seen | set(staff.values_list("pk", flat=True))


def _who(entry: AuditEntry, booking: Booking, by_dcc: bool) -> str:
    """Name who decided, to the people of the Supplier that booked: of another Supplier it sees no person."""
    if entry.actor_id is None:
        return "the portal"
    if by_dcc:
        return "DCC"
    actor = entry.actor
    return str(actor) if actor and actor.supplier_id == booking.supplier_id else "the other Supplier"


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
