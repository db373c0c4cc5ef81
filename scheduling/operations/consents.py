"""
Answer what the bookings of shared hubs ask of the other Supplier: agree, object, or let the time decide.

Locks are taken as a change of a booking takes them (see `changes`): the booking, its lots in the order of their ids,
at last slots. Whoever answers, changes or settles the same booking follows one another, so exactly one wins.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from django.db import OperationalError, transaction
from django.db.models import F, QuerySet

from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Network
from portal.ground import asking, audit, sql, uk_time
from portal.ground.clock import Clock
from portal.ground.stopping import KeepGoing, always
from scheduling.lifecycle import Ending
from scheduling.models import LOT_SPAN, Booking, Consent, Lot, Objection, ProtectedWindow, Slot
from scheduling.operations import changes, notices, placing, windows
from scheduling.queries.parts import Destination, Part

if TYPE_CHECKING:
    from portal.models import User

logger = logging.getLogger(__name__)
State = Consent.State
BATCH = 20
"""Questions answered in one transaction: their lots are locked no longer than it takes to move these hubs."""
SETTLED = 200
"""Questions that the timetable settles at a time."""
TRIES = 5
UNDER_WAY = (ReleaseState.PUBLISHED, ReleaseState.HALTED)


class UnableToAnswer(Exception):
    """Nothing was answered; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A question whose booking and lots are locked, with the number of its hubs that wait for the answer."""

    consent: Consent
    hubs: int


# -- agree ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Agreed:
    """What was agreed to, and how many questions were no longer open."""

    questions: int
    hubs: int
    late: int


def agree(*, consents: Sequence[Consent], by: "User", now: datetime) -> Agreed:
    """
    Agree to questions that the person's Supplier is asked: their hubs are booked as they were asked for.

    Held hubs stay held, and are booked once their release is resumed. A question that is no longer open is passed
    over and counted.

    :raises UnableToAnswer: if none of them is open; the message says why of the first
    """
    questions = hubs = 0
    late: list[str] = []
    for booking, keys in _batches([(consent.booking_id, consent.pk) for consent in consents]):
        done, moved, refused = _agree(booking, keys, by, now)
        questions, hubs = questions + done, hubs + moved
        late += refused
    if not questions:
        raise UnableToAnswer(late[0] if late else "Nothing was chosen. Choose what you agree to.")
    return Agreed(questions, hubs, len(late))


def _batches(asked: Collection[tuple[int, int]]) -> list[tuple[int, list[int]]]:
    """Cut questions (booking id, id) into batches of one booking each."""
    batches = []
    for booking, of_booking in groupby(sorted(set(asked)), key=lambda one: one[0]):
        keys = [key for _, key in of_booking]
        batches += [(booking, keys[start : start + BATCH]) for start in range(0, len(keys), BATCH)]
    return batches


@asking.trusted("an answer moves the asking Supplier's hubs on, and tells it so")
@transaction.atomic(durable=True)
def _agree(booking: int, keys: Sequence[int], by: "User", now: datetime) -> tuple[int, int, list[str]]:
    """Agree to questions of one booking; return how many, how many hubs, and why the others are not open."""
    found = _lock(
        Booking.objects.filter(pk=booking), Consent.objects.filter(pk__in=keys, supplier=by.supplier)
    )
    late, still = [], []
    for question in found:
        if why := _why_late(question, now):
            late.append(why)
        else:
            still.append(question)
    if still:
        _take_as(still, State.GIVEN, now, by)
        audit.record(
            actor=by,
            verb="consent.given",
            subject=f"booking:{still[0].consent.booking.reference}",
            facts={
                "questions": [question.consent.pk for question in still],
                "hubs": sum(question.hubs for question in still),
            },
            now=now,
        )
    return len(still), sum(question.hubs for question in still), late


def _lock(bookings: QuerySet[Booking], asked: QuerySet[Consent], *, skip: bool = False) -> list[_Question]:
    """
    Lock bookings, then the lots of questions; return the questions as they are from then on, in order.

    With `skip`, a booking that somebody else has locked is passed over.
    """
    locked = list(
        bookings.filter(placed_at__isnull=False)
        .order_by("pk")
        .select_for_update(no_key=True, skip_locked=skip)
        .values_list("pk", flat=True)
    )
    consents = list(
        asked.filter(booking__in=locked)
        .order_by("id")
        .select_related("booking__supplier", "booking__release__policy", "supplier", "slot__network")
    )
    waiting: Counter[int | None] = Counter()
    lots = Lot.objects.filter(consent__in=consents).order_by("id").select_for_update(no_key=True)
    for consent, hubs in lots.values_list("consent", F("provisional") + F("held")):
        waiting[consent] += hubs
    return [_Question(consent, waiting[consent.pk]) for consent in consents]


WITHDRAWN = (
    "This is no longer asked: none of its hubs waits for that slot any more. There is nothing to answer."
)
ANSWERED = {
    State.GIVEN: "Your side has agreed to this already. There is nothing left to answer.",
    State.OBJECTED: "Your side has objected to this already. There is nothing left to answer.",
    State.WITHDRAWN: WITHDRAWN,
}


def _why_late(question: _Question, now: datetime) -> str:
    """Say why a question can no longer be answered; nothing where it can."""
    consent = question.consent
    when = f"{consent.answer_by.astimezone(uk_time.LONDON):%A %-d %B %Y, %H:%M %Z}"
    if consent.state in ANSWERED:
        return ANSWERED[State(consent.state)]
    if consent.state != State.ASKED or consent.answer_by <= now:
        if consent.is_explicit:
            return f"This was to be answered by {when}. Nobody agreed, so its hubs do not stay in that slot."
        return f"This was to be answered by {when}. Nobody did, and silence is consent."
    if not question.hubs:
        return WITHDRAWN
    state = FirmwareRelease.objects.values_list("state", flat=True).get(pk=consent.booking.release_id)
    if state not in UNDER_WAY:
        return f"This release is {ReleaseState(state).label.lower()}. There is nothing left to answer."
    return ""


# Raw SQL: one UPDATE for a lot (see `changes.CANCEL_GATHERED`).
BOOK = """
UPDATE scheduling_deployment SET state = 'booked', next_at = %(next_at)s, moved_at = %(now)s
WHERE id BETWEEN %(first)s AND %(last)s AND state = 'provisional'
"""
WAKE = """
UPDATE scheduling_lot SET due_at = least(due_at, greatest(staging_from, %(now)s))
WHERE consent_id = ANY (%(consents)s) AND booked > 0
"""


def _take_as(questions: Collection[_Question], state: State, now: datetime, by: "User | None") -> None:
    """Take locked questions as agreed to: what is provisional is booked, what is held will be."""
    keys = [question.consent.pk for question in questions]
    Consent.objects.filter(pk__in=keys).update(state=state, answered_at=now, answered_by=by)
    lots = Lot.objects.filter(consent__in=keys, provisional__gt=0).order_by("id")
    for lot, staging_from in lots.values_list("id", "staging_from"):
        first = lot * LOT_SPAN
        next_at = max(staging_from, now)
        sql.run(BOOK, {"first": first, "last": first + LOT_SPAN - 1, "next_at": next_at, "now": now})
    sql.run(WAKE, {"consents": keys, "now": now})


# -- object --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """
    What an objector puts in place of the slot: a hard window that touches it, or another slot; not kept yet.

    `hubs` are those objected to, None for all of the question. A window for a list is for exactly these hubs.
    """

    hubs: Collection[int] | None
    window: ProtectedWindow | None = None
    alternative: Slot | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of the hubs objected to: (network, start, hubs) of each slot that they go to, and the rest."""

    hubs: int
    slots: Sequence[tuple[str, datetime, int]]
    handed_back: int
    is_agreed: bool
    """They go to the slot that the objector offered, where it need not be asked again."""

    @property
    def moved(self) -> int:
        """Hubs that go to another slot."""
        return sum(hubs for _, _, hubs in self.slots)


def would_object(*, consent: Consent, offer: Offer, by: "User", clock: Clock) -> Outcome:
    """
    Say what an objection would do, as of now and without doing it.

    :raises UnableToAnswer: where the objection itself would
    """
    return _tried(lambda: _object(consent.pk, offer, "", by, clock(), rehearse=True))


def object_to(*, consent: Consent, offer: Offer, reason: str, by: "User", clock: Clock) -> Outcome:
    """
    Object to hubs of a question that the person's Supplier is asked; the others of it stay in question.

    They go to the slot offered, if it has room for all of them and is clear for both Suppliers: there the objector
    has agreed. Otherwise they go to the first other slots clear for both, and the question is asked again; those for
    which there is none are handed back. The cut-off holds for where they go, not for leaving.

    :raises UnableToAnswer: with the sentence that the person reads; nothing is done then
    """
    if not reason.strip():
        raise UnableToAnswer("Say why: the Supplier that booked these hubs reads it.")
    return _tried(lambda: _object(consent.pk, offer, reason, by, clock()))


T = TypeVar("T")


def _tried(act: Callable[[], T]) -> T:
    for _ in range(TRIES):
        try:
            return act()
        except placing.RoomTaken:
            continue
        except OperationalError as error:
            if not placing.is_deadlock(error=error):
                raise
    raise UnableToAnswer(
        "Many people are booking these slots right now. Nothing was done; try again in a minute."
    )


@asking.trusted(
    "an objection moves hubs of the asking Supplier's booking, or hands them back, and tells it so"
)
@transaction.atomic(durable=True)
def _object(
    key: int, offer: Offer, reason: str, by: "User", now: datetime, *, rehearse: bool = False
) -> Outcome:
    found = _lock(Booking.objects.filter(consents=key), Consent.objects.filter(pk=key, supplier=by.supplier))
    if not found:
        raise UnableToAnswer(WITHDRAWN)
    [question] = found
    consent = question.consent
    if why := _why_late(question, now):
        raise UnableToAnswer(why)
    _check_offer(consent, offer)
    leaving = changes.Leaving(
        booking=consent.booking,
        part=Part(consent=consent.pk, hubs=None if offer.hubs is None else sorted(set(offer.hubs))),
        now=now,
    )
    _check_hubs(offer, leaving)
    if offer.window:
        _keep_window(offer.window, leaving, by, now)
    is_agreed = bool(
        offer.alternative and leaving.find(to=Destination(Booking.Plan.ONE_SLOT, offer.alternative.start_at))
    )
    if not is_agreed:
        leaving.find(to=Destination(Booking.Plan.EARLIEST, now), avoiding=_refused(consent))
    outcome = _outcome(leaving, is_agreed=is_agreed)
    if rehearse:
        transaction.set_rollback(True)
        return outcome
    put = leaving.go(ending=Ending.OBJECTED)
    if is_agreed:
        _agree_to_new(consent, by, now)
    objection = Objection.objects.create(
        consent=consent,
        reason=reason,
        alternative=offer.alternative,
        hubs=outcome.hubs,
        moved=outcome.moved,
        handed_back=outcome.handed_back,
        made_by=by,
        made_at=now,
    )
    if outcome.hubs == question.hubs:
        Consent.objects.filter(pk=key).update(state=State.OBJECTED, answered_at=now, answered_by=by)
    audit.record(
        actor=by,
        verb="consent.refused",
        subject=f"booking:{consent.booking.reference}",
        reason=reason,
        facts={
            "question": consent.pk,
            "hubs": outcome.hubs,
            "moved": outcome.moved,
            "handed_back": outcome.handed_back,
        },
        now=now,
    )
    notices.owe_objected(objection=objection, now=now)
    if outcome.moved:
        _tell(consent, put, "the other Supplier objected", now)
    return outcome


def _refused(consent: Consent) -> list[int]:
    """Return the slot in question and those that its Supplier has refused for this booking: never these again."""
    objected = Consent.objects.filter(
        booking=consent.booking_id, supplier=consent.supplier_id, objections__isnull=False
    )
    return [consent.slot_id, *objected.values_list("slot", flat=True)]


def _check_offer(consent: Consent, offer: Offer) -> None:
    """
    Pass an offer that can stand in place of the slot.

    :raises UnableToAnswer: if it has neither a window nor a slot, or one that does not help
    """
    slot = consent.slot
    if offer.alternative:
        if offer.alternative.network_id != slot.network_id:
            raise UnableToAnswer(
                "The slot that you offer is on another network. Choose one of the same network."
            )
        if offer.alternative.pk == slot.pk:
            raise UnableToAnswer("That is the slot that you object to. Choose another one.")
    elif not offer.window:
        raise UnableToAnswer(
            "Keep a protected window, or offer another slot: an objection needs one of them."
        )
    if offer.window and not offer.window.spans(start=slot.start_at, end=slot.end_at):
        raise UnableToAnswer("The protected window does not touch this slot. Choose one that does.")


def _check_hubs(offer: Offer, leaving: changes.Leaving) -> None:
    """
    Pass hubs that all wait for the answer.

    :raises UnableToAnswer: if there is none, or a listed one does not
    """
    if offer.hubs is None or leaving.hubs == len(set(offer.hubs)):
        if leaving.hubs:
            return
        raise UnableToAnswer("You listed no hub. List those that you object to, or object to all of them.")
    missing = len(set(offer.hubs)) - leaving.hubs
    raise UnableToAnswer(
        f"{missing:,} of the {len(set(offer.hubs)):,} listed hubs {'is' if missing == 1 else 'are'} not waiting for "
        "your answer in this slot. Nothing was done: check the CHF IDs against the hubs of this question."
    )


def _keep_window(window: ProtectedWindow, leaving: changes.Leaving, by: "User", now: datetime) -> None:
    """
    Keep the objector's window in the transaction of the objection.

    :raises UnableToAnswer: with the sentence of `windows.UnableToProtect`
    """
    supplier = by.supplier
    assert supplier  # noqa: S101 - only a Supplier is asked
    window.pk = None  # an earlier try may have been taken back
    listed = leaving.listed() if window.scope == ProtectedWindow.Scope.HUBS else ()
    try:
        windows.keep(window=window, supplier=supplier, hubs=listed, by=by, now=now)
    except windows.UnableToProtect as refusal:
        raise UnableToAnswer(f"The window cannot be kept, so nothing was done. {refusal}") from refusal


def _outcome(leaving: changes.Leaving, *, is_agreed: bool) -> Outcome:
    names = dict(Network.objects.values_list("id", "name"))
    in_slot: Counter[tuple[datetime, str]] = Counter()
    for placement in leaving.placements:
        in_slot[placement.start_at, names[placement.network]] += placement.hubs
    return Outcome(
        leaving.hubs,
        [(network, start_at, hubs) for (start_at, network), hubs in sorted(in_slot.items())],
        leaving.hubs - sum(in_slot.values()),
        is_agreed,
    )


def _agree_to_new(consent: Consent, by: "User", now: datetime) -> None:
    """Agree, for the objector, to what has just been asked of it about the slot that it offered."""
    asked = Consent.objects.filter(
        booking=consent.booking_id, supplier=consent.supplier_id, asked_at=now, state=State.ASKED
    )
    _take_as([_Question(one, 0) for one in asked], State.GIVEN, now, by)


def _tell(consent: Consent, put: changes.Put, why: str, now: datetime) -> None:
    """Owe the e-mails about hubs that the portal has moved: to who booked, and to who is asked anew."""
    notices.owe_booking_moved(
        booking=consent.booking,
        # what only comes back has no lot of its own
        change=put.change or -consent.pk,
        left=put.left,
        taken=put.taken,
        by=None,
        why=why,
        now=now,
    )
    notices.owe_consent_asked(booking=consent.booking, now=now)


# -- let the time decide -------------------------------------------------------------------------------------

# Raw SQL: questions whose hubs have all gone elsewhere, at most so many, without waiting for who is at them.
WITHDRAW = """
UPDATE scheduling_consent SET state = 'withdrawn', answered_at = %(now)s
WHERE id IN (
    SELECT consent.id FROM scheduling_consent consent
    JOIN scheduling_booking booking ON booking.id = consent.booking_id
    WHERE consent.state = 'asked' AND booking.placed_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM scheduling_lot lot WHERE lot.consent_id = consent.id AND lot.provisional + lot.held > 0)
    ORDER BY consent.id LIMIT %(limit)s FOR UPDATE OF consent SKIP LOCKED)
"""


def settle(*, clock: Clock, limit: int = SETTLED, keep_going: KeepGoing = always) -> int:
    """
    Let the time decide questions whose moment to answer has passed, at most `limit`; return how many were settled.

    Silence is consent, but where it has to be said: there the hubs go to the first slots so far away that silence
    counts again, or are handed back. Questions of which no hub is left are no longer asked. A booking that somebody is
    changing is left for the next time; twice, or in two workers at once, does no harm.
    """
    settled = sql.run(WITHDRAW, {"now": clock(), "limit": limit})
    due = Consent.objects.filter(
        state=State.ASKED,
        answer_by__lte=clock(),
        booking__placed_at__isnull=False,
        booking__release__state__in=UNDER_WAY,
    ).order_by("answer_by", "id")[:limit]
    rows = list(due.values_list("booking_id", "pk", "is_explicit"))
    for booking, keys in _batches([(booking, key) for booking, key, is_explicit in rows if not is_explicit]):
        if keep_going():
            settled += _lapse(booking, keys, clock())
    for booking, key, is_explicit in rows:
        if is_explicit and keep_going():
            try:
                settled += _tried(lambda booking=booking, key=key: _leave(booking, key, clock()))  # type: ignore[misc]
            except UnableToAnswer:
                logger.warning("question %s is left for the next time: its slots are in demand", key)
    return settled


def _due(booking: int, keys: Sequence[int], now: datetime) -> list[_Question]:
    """Lock a booking that nobody is changing, and those of its questions whose moment has passed."""
    return [
        question
        for question in _lock(
            Booking.objects.filter(pk=booking), Consent.objects.filter(pk__in=keys), skip=True
        )
        if question.consent.state == State.ASKED and question.consent.answer_by <= now and question.hubs
    ]


@transaction.atomic(durable=True)
def _lapse(booking: int, keys: Sequence[int], now: datetime) -> int:
    """Take silence for consent; once a booking's questions of one moment are all settled, tell both sides."""
    questions = _due(booking, keys, now)
    _take_as(questions, State.LAPSED, now, None)
    told = {(question.consent.supplier, question.consent.answer_by) for question in questions}
    for supplier, answer_by in sorted(told, key=lambda one: (one[0].pk, one[1])):
        of_booking = questions[0].consent.booking
        audit.record(
            actor=None,
            verb="consent.lapsed",
            subject=f"booking:{of_booking.reference}",
            facts={"hubs": sum(one.hubs for one in questions if one.consent.supplier_id == supplier.pk)},
            now=now,
        )
        left = Consent.objects.filter(
            booking=booking, supplier=supplier, answer_by=answer_by, state=State.ASKED, is_explicit=False
        )
        if not left.exists():
            notices.owe_consent_lapsed(booking=of_booking, supplier=supplier, answer_by=answer_by, now=now)
    return len(questions)


@transaction.atomic(durable=True)
def _leave(booking: int, key: int, now: datetime) -> int:
    """Take the hubs of a near slot that nobody agreed to out of it."""
    questions = _due(booking, [key], now)
    for question in questions:
        consent = question.consent
        leaving = changes.Leaving(booking=consent.booking, part=Part(consent=key), now=now)
        far = consent.booking.release.policy.explicit_consent_within.after(now)
        leaving.find(to=Destination(Booking.Plan.EARLIEST, far), avoiding=_refused(consent))
        outcome = _outcome(leaving, is_agreed=False)
        put = leaving.go(ending=Ending.NO_CONSENT)
        Consent.objects.filter(pk=key).update(state=State.UNANSWERED, answered_at=now)
        audit.record(
            actor=None,
            verb="consent.unanswered",
            subject=f"booking:{consent.booking.reference}",
            facts={
                "question": key,
                "hubs": outcome.hubs,
                "moved": outcome.moved,
                "handed_back": outcome.handed_back,
            },
            now=now,
        )
        _tell(consent, put, "the other Supplier did not agree in time", now)
    return len(questions)
