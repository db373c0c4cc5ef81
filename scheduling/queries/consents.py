"""
Questions to the other Supplier of shared hubs: what there is to answer, what is waited for, what was answered.

Either side is named by its role for these hubs and its market participant ID, and by nothing else. Who is asked sees
the shared hubs that the question is about, which are its own hubs too, and nothing else of the booking.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Min, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from hubs.models import Supplier
from portal.ground import asking, sql
from scheduling.lifecycle import State
from scheduling.models import LOT_SPAN, Booking, Consent, Objection

MOST = 99
"""Up to here a badge counts."""
PAGE = 5_000


@dataclass(frozen=True, slots=True)
class Question:
    """One question with the hubs that it is about, and the name of the side that is not the reader's."""

    consent: Consent
    hubs: int
    party: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What one booking asks of one Supplier."""

    booking: Booking
    party: str
    questions: Sequence[Question]

    @property
    def hubs(self) -> int:
        """Hubs of all its questions."""
        return sum(question.hubs for question in self.questions)

    @property
    def slots(self) -> int:
        """Slots that it is about: each has one question."""
        return len(self.questions)

    @property
    def answer_by(self) -> datetime:
        """When the first of them has to be answered."""
        return min(question.consent.answer_by for question in self.questions)


def visible() -> QuerySet[Consent]:
    """Return the questions of bookings that are placed, with all that a page says of them."""
    return Consent.objects.filter(booking__placed_at__isnull=False).select_related(
        "slot__network", "booking__release", "booking__supplier", "supplier"
    )


WAITING = Sum(F("lots__provisional") + F("lots__held"))
"""Hubs of a question that wait for its answer."""


def unanswered() -> QuerySet[Consent]:
    """Return the questions that are open; those of which no hub is left among them."""
    return visible().filter(state=Consent.State.ASKED)


def _pressing(asked: QuerySet[Consent], limit: int) -> list[Any]:
    """Return the questions about which hubs wait, with their number as `hubs`, the first to end first."""
    return list(
        asked.annotate(hubs=WAITING)
        .filter(hubs__gt=0)
        .order_by("answer_by", "booking_id", "slot__start_at", "id")[:limit]
    )


@asking.asked()
def to_answer(*, supplier: Supplier, limit: int) -> list[Asked]:
    """Return what the Supplier is asked, at most `limit` questions, by booking, the most pressing first."""
    rows = _pressing(unanswered().filter(supplier=supplier), limit)
    names = asker_of(consents=rows)
    return _by_booking([Question(row, row.hubs, names[row.pk]) for row in rows])


def waiting(*, supplier: Supplier, limit: int) -> list[Asked]:
    """Return what the Supplier's own bookings ask of others, at most `limit` questions, the first to end first."""
    rows = _pressing(unanswered().filter(booking__supplier=supplier), limit)
    names = asked_of(consents=rows)
    return _by_booking([Question(row, row.hubs, names[row.pk]) for row in rows])


def _by_booking(questions: Sequence[Question]) -> list[Asked]:
    """Put questions of the same two Suppliers in one booking together; both of its roles name a side that has both."""
    found: dict[tuple[int, int], list[Question]] = {}
    for question in questions:
        found.setdefault((question.consent.booking_id, question.consent.supplier_id), []).append(question)
    return [
        Asked(
            group[0].consent.booking,
            " and ".join(dict.fromkeys(question.party for question in group)),
            group,
        )
        for group in found.values()
    ]


def answered(*, supplier: Supplier) -> QuerySet[Consent]:
    """Return what the Supplier was asked and is no longer, with its `hubs`; read it within `asking.asked`."""
    rows = visible().filter(supplier=supplier).exclude(state=Consent.State.ASKED)
    return rows.select_related("answered_by").annotate(hubs=Coalesce(Sum("lots__size"), 0))


def every(*, supplier: Supplier) -> Iterator[tuple[Question, bool]]:
    """Yield all questions of or to a Supplier, newest first, with whether it is the one that asks; read in pages."""
    rows = visible().filter(Q(supplier=supplier) | Q(booking__supplier=supplier)).order_by("-id")
    rows = rows.annotate(hubs=Sum(F("lots__size") - F("lots__moved")))
    before = 2**63 - 1
    while page := _page(rows.filter(pk__lt=before)[:PAGE]):
        askers, asked = asker_of(consents=page), asked_of(consents=page)
        for row in page:
            asks = row.booking.supplier_id == supplier.pk
            yield Question(row, row.hubs or 0, (asked if asks else askers)[row.pk]), asks
        before = page[-1].pk


@asking.asked()
def _page(rows: QuerySet[Consent]) -> list[Any]:
    return list(rows)


@dataclass(frozen=True, slots=True)
class Open:
    """What a Supplier has to answer, as its first page says it."""

    questions: int
    hubs: int
    answer_by: datetime


@asking.asked()
def open_of(*, supplier: Supplier) -> Open | None:
    """Sum up what a Supplier has to answer; None where it is nothing."""
    row = (
        unanswered()
        .filter(Q(lots__provisional__gt=0) | Q(lots__held__gt=0), supplier=supplier)
        .aggregate(questions=Count("pk", distinct=True), all_hubs=WAITING, first=Min("answer_by"))
    )
    return Open(row["questions"], row["all_hubs"], row["first"]) if row["questions"] else None


@asking.asked()
def count_open(*, supplier: int) -> int:
    """Count what a Supplier, by id, has to answer, for a badge: no further than one more than it shows."""
    asked = Consent.objects.filter(
        supplier=supplier, state=Consent.State.ASKED, booking__placed_at__isnull=False
    )
    return asked.order_by()[: MOST + 1].count()


# Raw SQL: of each question one hub, by the keys of its first lot: its Suppliers say who is in which role.
ROLES = """
SELECT consent.id, hub.import_supplier_id, hub.gas_supplier_id
FROM unnest(%(consents)s::bigint[]) AS consent (id)
CROSS JOIN LATERAL (
    SELECT id FROM scheduling_lot lot WHERE lot.consent_id = consent.id ORDER BY id LIMIT 1) lot
CROSS JOIN LATERAL (
    SELECT hub_id FROM scheduling_deployment WHERE id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1
    ORDER BY id LIMIT 1) deployment
JOIN hubs_communicationshub hub ON hub.chf_id = deployment.hub_id
"""


def asker_of(*, consents: Collection[Consent]) -> dict[int, str]:
    """Name who asks each question, by its id, as the other side may know it."""
    return _named([(consent.pk, consent.booking.supplier) for consent in consents])


def asked_of(*, consents: Collection[Consent]) -> dict[int, str]:
    """Name who is asked each question, by its id, as the other side may know it."""
    return _named([(consent.pk, consent.supplier) for consent in consents])


@asking.asked()
def _named(parties: Sequence[tuple[int, Supplier]]) -> dict[int, str]:
    if not parties:
        return {}
    roles = {
        consent: (of_import, of_gas)
        for consent, of_import, of_gas in sql.rows(
            ROLES, {"consents": [consent for consent, _ in parties], "span": LOT_SPAN}
        )
    }
    return {
        consent: name_of(party=party, is_gas=party.pk == gas and party.pk != electricity)
        for consent, party in parties
        for electricity, gas in [roles.get(consent, (None, None))]
    }


def name_of(*, party: Supplier, is_gas: bool) -> str:
    """Name a Supplier by role and market participant ID; one that has not the role by the one that it has."""
    if (is_gas and party.gas_participant_id) or not party.import_participant_id:
        return f"gas Supplier {party.gas_participant_id}"
    return f"electricity Supplier {party.import_participant_id}"


@dataclass(frozen=True, slots=True)
class AskedHub:
    """A shared hub that a question is about."""

    deployment: int
    hub: int
    state: State


# Raw SQL: the page is taken from each lot's stretch of the primary key (see `queries.bookings`). Whose hub it no
# longer is does not see it any more.
_HUBS = """
SELECT deployment.id, deployment.hub_id, deployment.state
FROM scheduling_lot lot
CROSS JOIN LATERAL (
    SELECT deployment.id, deployment.hub_id, deployment.state FROM scheduling_deployment deployment
    JOIN hubs_communicationshub hub ON hub.chf_id = deployment.hub_id
    WHERE deployment.id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1
      AND deployment.id {beyond} %(start)s AND deployment.state <> 'cancelled'
      AND (hub.lead_id = %(supplier)s OR hub.other_id = %(supplier)s)
    ORDER BY deployment.id {order} LIMIT %(limit)s) deployment
WHERE lot.consent_id = %(consent)s AND lot.id {beyond}= %(start)s / %(span)s
ORDER BY lot.id {order}, deployment.id {order} LIMIT %(limit)s
"""
HUBS = _HUBS.format(beyond=">", order="ASC")
HUBS_BACKWARDS = _HUBS.format(beyond="<", order="DESC")


@asking.asked()
def hubs(*, consent: Consent, start: int, limit: int, is_backwards: bool = False) -> list[AskedHub]:
    """
    Return up to `limit` hubs of a question that are in its slot, whose deployment's id is above `start`.

    Where it goes `is_backwards`, those whose id is below, the highest first.
    """
    rows = sql.rows(
        HUBS_BACKWARDS if is_backwards else HUBS,
        {
            "consent": consent.pk,
            "supplier": consent.supplier_id,
            "start": start,
            "limit": limit,
            "span": LOT_SPAN,
        },
    )
    return [AskedHub(deployment, hub, State(state)) for deployment, hub, state in rows]


@asking.asked()
def waiting_hubs(*, consent: Consent) -> int:
    """Count the hubs of a question that wait for its answer."""
    row = consent.lots.aggregate(hubs=Sum(F("provisional") + F("held")))
    return row["hubs"] or 0 if consent.state == Consent.State.ASKED else 0


def objections(*, consent: Consent) -> list[Objection]:
    """Return the objections to a question, in order."""
    return list(consent.objections.select_related("made_by", "alternative").order_by("id"))


@dataclass(frozen=True, slots=True)
class Answered:
    """An objection to a booking, with the name of who made it."""

    objection: Objection
    party: str


def of_booking(*, booking: Booking, limit: int) -> tuple[list[Question], list[Answered]]:
    """Return which parts of a booking wait for whom, at most `limit`, and the objections to it, newest first."""
    rows = list(
        unanswered()
        .filter(booking=booking)
        .annotate(hubs=WAITING)
        .filter(hubs__gt=0)
        .order_by("answer_by", "slot__start_at", "id")[:limit]
    )
    objections = list(
        Objection.objects.filter(consent__booking=booking)
        .select_related("consent__supplier", "consent__slot__network", "alternative")
        .order_by("-id")[:limit]
    )
    names = asked_of(consents=[*rows, *(objection.consent for objection in objections)])
    return (
        [Question(row, row.hubs, names[row.pk]) for row in rows],
        [Answered(objection, names[objection.consent_id]) for objection in objections],
    )
