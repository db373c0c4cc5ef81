"""Book hubs into slots, and take bookings back."""

import logging
import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import F
from psycopg.errors import UniqueViolation

from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Network
from portal.ground import asking, audit, logs, sql, uk_time
from portal.ground.clock import Clock
from scheduling import planning
from scheduling.lifecycle import CANCELLABLE, Ending
from scheduling.models import LOT_SPAN, Booking, HubSelection, Lot, Proposal, Slot, UnplacedHub
from scheduling.operations import notices, placing, second_person
from scheduling.operations.second_person import Agreement
from scheduling.queries import eligibility, guards, plans, slots
from scheduling.queries.second_person import Forecast, forecast

if TYPE_CHECKING:
    from portal.models import User

logger = logging.getLogger(__name__)
Why = UnplacedHub.Why
ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""No letter that is read as a digit, and no U."""
TRIES = 5
ABANDON_AFTER = timedelta(minutes=2)
CLOSED = {
    "protected": "you keep a protected window then",
    "maintenance": "DCC has planned maintenance then",
    "incident": "an incident is open, and DCC does not expect it to be over by then",
}
"""Why a network is closed, in the reader's words."""


class UnableToBook(Exception):
    """Nothing was booked; the message says why and what to do."""


class Overtaken(UnableToBook):
    """Others were faster each time: nothing says that there is no room, and later it can go."""


class UnableToCancel(Exception):
    """Nothing was cancelled; the message says why."""


@dataclass(frozen=True, slots=True)
class _Demand:
    """What is to be placed: hubs by group, by which plan, for whom."""

    selection: HubSelection
    timing: plans.Timing
    groups: Sequence[guards.Group]
    guard: guards.Guard
    by: "User | None"
    origin: Booking.Origin
    agreed: Agreement | None = None

    @property
    def hubs(self) -> int:
        """How many hubs there are."""
        return sum(group.hubs for group in self.groups)


@dataclass(frozen=True, slots=True)
class _Reserved:
    """A booking whose places are taken, and the lots into which its hubs go."""

    booking: Booking
    cuts: Sequence[placing.Cut]
    protected: Collection[int]
    """The groups whose hubs were left over because of what they are closed for."""


def book(
    *,
    selection: HubSelection,
    timing: plans.Timing,
    by: "User | None",
    clock: Clock,
    despite: str = "",
    origin: Booking.Origin = Booking.Origin.SUPPLIER,
    agreed: Agreement | None = None,
) -> Booking:
    """
    Book the hubs of a selection that may still go, as planned; return the booking.

    One slot is all or nothing. Any other plan places what there is room for and names the hubs left over.
    Asking twice for the same selection returns the first booking. `despite` is the reason to proceed where soft
    protected windows warn; without one, nothing is booked into them; what DCC allocates goes ahead all the same.

    Hubs that another Supplier shares are provisional until it has been asked (see `Consent`). `by` is nobody where
    the portal allocates.

    Three transactions: the eligible hubs are gathered without a lock; their places are taken and the lots made
    under the locks of the slots, and committed, so that nobody waits for the many rows that follow; the
    deployments are written. If the last fails, or its process dies, the places are given back
    (`give_back_abandoned`).

    :raises Overtaken: if others were faster each time; ask again later
    :raises UnableToBook: with the sentence that the person reads
    :raises SecondPersonNeeded: if a colleague has to agree first, and none has `agreed`
    :raises UnableToAgree: if one has, and what was agreed to is not what would be booked
    """
    if earlier := Booking.objects.filter(selection=selection, abandoned_at=None).first():
        return earlier
    if selection.state != HubSelection.State.JUDGED:
        raise UnableToBook("The file of this choice has not been read to its end. Wait until it is.")
    for again in range(TRIES):
        now = clock()
        _check_open(selection.release)
        try:
            guard = guards.guard_for(release=selection.release, supplier=selection.supplier, now=now)
            hubs, parameters = eligibility.chosen_hubs(selection=selection, now=now)
            groups = placing.gather(guard=guard, hubs=hubs, parameters=parameters)
            demand = _Demand(selection, timing, groups, guard, by, origin, agreed)
            if not groups:
                raise UnableToBook(
                    "None of the chosen hubs can be booked any more: they have been booked elsewhere, or their "
                    "facts have changed. Choose again to see each reason."
                )
            reserved = _reserve(demand, despite, now, is_patient=again == 0)
            try:
                _place(reserved, demand, now)
            except (Exception, SystemExit):  # also broken off: others may have the places at once
                _give_back(booking=reserved.booking, now=now)
                raise
        except placing.RoomTaken:
            continue
        except OperationalError as error:
            if not placing.is_deadlock(error=error):
                raise
            continue  # somebody else is booking the same hubs in another order: judge them again
        except IntegrityError as error:
            if not isinstance(error.__cause__, UniqueViolation):
                raise
            if earlier := Booking.objects.filter(selection=selection, abandoned_at=None).first():
                return earlier
            continue  # a hub was booked elsewhere in between: judge them again
        finally:
            _forget_gathered()
        return reserved.booking
    raise Overtaken("Many people are booking these slots right now. Try again in a minute.")


def _check_open(release: FirmwareRelease) -> None:
    state = FirmwareRelease.objects.values_list("state", flat=True).get(pk=release.pk)
    if state != ReleaseState.PUBLISHED:
        raise UnableToBook(
            f"This release is {ReleaseState(state).label.lower()}, so nothing can be booked for it now. "
            "Your bookings page shows what is already booked."
        )


def _forget_gathered() -> None:
    if not connection.needs_rollback:
        sql.run("DROP TABLE IF EXISTS gathered_hub", {})


@asking.trusted(
    "places are taken in slots that are everybody's; the hubs were gathered before, without trust"
)
@transaction.atomic(durable=True)
def _reserve(demand: _Demand, despite: str, now: datetime, *, is_patient: bool) -> _Reserved:
    """
    Take the places and make the lots; held for as short as can be, since other Suppliers wait.

    Who is patient plans first and locks only the slots of the plan. Who was overtaken so locks every slot that the
    plan may use, and plans then: otherwise a large booking would never get past many small ones.
    """
    release = demand.selection.release
    turn = second_person.Turn(
        supplier=demand.selection.supplier,
        upon=demand.selection,
        by=demand.by if demand.origin == Booking.Origin.SUPPLIER else None,
        agreed=demand.agreed,
        now=now,
    )
    rooms = _rooms(demand, now)
    if not is_patient:
        locked = placing.lock(slots=(room.slot for room in rooms))
        rooms = [room for room in _rooms(demand, now) if room.slot in locked]
    placed = _wanted(demand, rooms)
    if not placed.placements:
        raise UnableToBook(_no_room(demand, is_protected=bool(placed.protected)))
    warnings = demand.guard.warnings(groups=demand.groups, placements=placed.placements)
    if demand.origin == Booking.Origin.SUPPLIER and not despite:
        for window, hubs in warnings.items():
            raise UnableToBook(
                f"{hubs:,} of these hubs would go in your soft window “{window}”. Give a reason to proceed, or "
                "choose another time."
            )
    places = planning.by_slot(placements=placed.placements)
    spans = {one.slot: (one.start_at, one.end_at) for one in placed.placements}
    turn.ask(act=Proposal.Act.BOOK, forecast=forecast(hubs=places.total(), slots=spans.values()))
    placing.lock(slots=places)
    # a statement of its own: it sees what whoever held the locks before has taken
    room = slots.rooms_in(
        release=release,
        supplier=demand.selection.supplier,
        slots=list(places),
        now=now,
        in_reserve=demand.timing.in_reserve,
    )
    if any(room.get(slot, 0) < hubs for slot, hubs in places.items()):
        raise placing.RoomTaken  # the next look sees the room that is left, or says that there is none
    if placing.move_places(places=places) != len(places):
        raise placing.RoomTaken
    booked = places.total()
    booking = Booking.objects.create(
        reference=new_reference(),
        origin=demand.origin,
        supplier=demand.selection.supplier,
        release=release,
        selection=demand.selection,
        booked_by=demand.by,
        plan=demand.timing.plan,
        start_at=demand.timing.start_at,
        last_start_at=demand.timing.last_start_at,
        **_hours(demand.timing),
        hubs=booked,
        unplaced=demand.hubs - booked,
        created_at=now,
    )
    if warnings and despite:
        audit.record(
            actor=demand.by,
            verb="booking.proceeded",
            subject=f"booking:{booking.reference}",
            reason=despite,
            facts={str(window.pk): hubs for window, hubs in warnings.items()},
            now=now,
        )
    cuts = placing.lots_of(booking=booking, placements=placed.placements, groups=demand.groups, now=now)
    Lot.objects.bulk_create([cut.lot for cut in cuts])
    return _Reserved(booking, cuts, placed.protected)


def _no_room(demand: _Demand, *, is_protected: bool) -> str:
    if is_protected:
        return (
            "Every slot with room for these hubs is in one of their protected windows. Shorten or delete a "
            "window, choose another time, or come back when DCC has opened more slots."
        )
    if demand.timing.plan == Booking.Plan.EARLIEST:
        return (
            "There is no room left in any open slot for these hubs. DCC opens more slots for as long as the "
            "release is available: come back later, or ask the contact on the release's page."
        )
    return (
        "There is no room left for these hubs in the slots that you chose. Choose more days or hours, or "
        "“as early as possible”."
    )


def _hours(timing: plans.Timing) -> dict[str, Any]:
    """Return the columns of a booking that hold the days and hours of its plan."""
    if (hours := timing.hours) is None:
        return {}
    return {**asdict(hours), "weekdays": list(hours.weekdays)}


def _rooms(demand: _Demand, now: datetime) -> list[planning.Room]:
    return plans.rooms(
        timing=demand.timing,
        release=demand.selection.release,
        supplier=demand.selection.supplier,
        groups=demand.groups,
        now=now,
    )


def _wanted(demand: _Demand, rooms: Sequence[planning.Room]) -> plans.Placed:
    """Return where the hubs go, and the groups that are left over because of what they are closed for."""
    if demand.timing.plan == Booking.Plan.ONE_SLOT:
        _check_room(demand, {room.network: room for room in rooms})
    return plans.place(timing=demand.timing, rooms=rooms, groups=demand.groups)


def _check_room(demand: _Demand, at: Mapping[int, planning.Room]) -> None:
    """
    Pass when the chosen slot takes all hubs of every network.

    :raises UnableToBook: saying of the first network what is lacking
    """
    assert demand.timing.start_at  # noqa: S101 - one slot has a start
    moment = f"{demand.timing.start_at.astimezone(uk_time.LONDON):%A %d %B, %H:%M}"
    names = dict(Network.objects.values_list("id", "name"))
    for network, hubs in plans.hubs_by_network(groups=demand.groups).items():
        if network not in at:
            raise UnableToBook(
                f"{names[network]} has no open slot on {moment}. Choose another slot, or “as early as possible”."
            )
        if at[network].closed:
            why = CLOSED[at[network].closed]
            raise UnableToBook(
                f"{names[network]} is closed for your {hubs:,} hubs on {moment}: {why}. Nothing was booked. Choose "
                "another slot, or “as early as possible”."
            )
        kept = sum(
            group.hubs
            for group in demand.groups
            if group.network == network
            and not group.is_clear(start=at[network].start_at, end=at[network].end_at)
        )
        if kept:
            raise UnableToBook(
                f"{kept:,} of your {hubs:,} hubs on {names[network]} are not available on {moment}: "
                "a protected window, yours or their other Supplier’s, or a change of supplier is in the way. "
                "Nothing was booked. Choose another slot, fewer hubs, or “as early as possible”."
            )
        if (room := at[network].room) < hubs:
            raise UnableToBook(
                f"The {names[network]} slot on {moment} has room for {room:,} of your hubs; {hubs:,} of them are on "
                "that network. Nothing was booked. Choose another slot, fewer hubs, or “as early as possible”."
            )


def new_reference() -> str:
    """Return a reference for a booking that nobody will misread."""
    letters = [secrets.choice(ALPHABET) for _ in range(8)]
    return f"BK-{''.join(letters[:4])}-{''.join(letters[4:])}"


@asking.trusted("counters of the release and questions to other Suppliers are written with the deployments")
@transaction.atomic(durable=True)
def _place(reserved: _Reserved, demand: _Demand, now: datetime) -> None:
    """Write the deployments: the hub at a place goes into the lot whose stretch holds the place."""
    booking = reserved.booking
    still_ours = Booking.objects.filter(pk=booking.pk, placed_at=None, abandoned_at=None).update(
        placed_at=now
    )
    if not still_ours:
        raise placing.RoomTaken
    stretches = placing.write(cuts=reserved.cuts, groups=demand.groups, now=now)
    if booking.unplaced:
        whys = [
            Why.PROTECTED_WINDOW if group in reserved.protected else Why.NO_ROOM for group in stretches.groups
        ]
        sql.run(LEFT_OVER, {"booking": booking.pk, "whys": whys, "no_lot": placing.NO_LOT, **stretches.terms})
    sql.run(
        MAKE_DUE,
        {
            "lots": [cut.lot.pk for cut in reserved.cuts],
            "dues": [placing.due(cut=cut) for cut in reserved.cuts],
        },
    )
    notices.owe_consent_asked(booking=booking, now=now)
    about = f"booking:{booking.reference}"
    audit.record(
        actor=booking.booked_by,
        verb="booking.placed",
        subject=about,
        facts={
            "hubs": booking.hubs,
            "unplaced": booking.unplaced,
            "release": booking.release_id,
            **second_person.conclude(agreed=demand.agreed, about=about, now=now),
        },
        now=now,
    )
    booking.placed_at = now


LEFT_OVER = """
INSERT INTO scheduling_unplacedhub (booking_id, hub, why)
SELECT %(booking)s, hub, (%(whys)s::text[])[stretch]
FROM (SELECT hub, width_bucket(place, %(firsts)s::int[]) AS stretch FROM gathered_hub OFFSET 0) placed
WHERE (%(lots)s::bigint[])[stretch] = %(no_lot)s
"""
MAKE_DUE = """
UPDATE scheduling_lot lot SET due_at = made.due_at
FROM unnest(%(lots)s::bigint[], %(dues)s::timestamptz[]) AS made (id, due_at) WHERE lot.id = made.id
"""


@asking.trusted("places are given back in slots that are everybody's")
@transaction.atomic(durable=True)
def _give_back(*, booking: Booking, now: datetime) -> bool:
    """Return the places of a booking whose deployments were never written; say whether it was so."""
    # who is still writing it is not waited for: a very large booking takes minutes, and the timetable asks again
    ours = Booking.objects.filter(pk=booking.pk, placed_at=None, abandoned_at=None)
    if not list(ours.select_for_update(skip_locked=True).values_list("pk")):
        return False
    ours.update(abandoned_at=now)
    places: Counter[int] = Counter()
    for slot, size in booking.lots.values_list("slot_id", "size"):
        places[slot] += size
    placing.free_places(places=places)
    booking.lots.all().delete()
    booking.consents.all().delete()
    second_person.reopen(booking=booking)
    return True


def give_back_abandoned(*, now: datetime) -> int:
    """
    Give back the places of bookings whose process died before the deployments were written.

    One that is still writing holds its row, is passed over here, and is asked about again next time.
    """
    given = 0
    waiting = Booking.objects.filter(
        placed_at=None, abandoned_at=None, done_at=None, created_at__lt=now - ABANDON_AFTER
    )
    for booking in waiting:
        if _give_back(booking=booking, now=now):
            with logs.bound(booking=booking.reference):
                logger.warning("gave back the places of %s, which was never placed", booking.reference)
            given += 1
    return given


@asking.trusted("places are given back, and counters of the release kept, for one booking of the Supplier's")
@transaction.atomic(durable=True)
def cancel(
    *, booking: Booking, by: "User", reason: str, now: datetime, agreed: Agreement | None = None
) -> int:
    """
    Release the places of a booking before the cut-off, and free its hubs.

    Returns the number of deployments cancelled; those past their cut-off, or already activating, stay.

    :raises UnableToCancel: if nothing in the booking can still be cancelled
    :raises SecondPersonNeeded: if a colleague has to agree first, and none has `agreed`
    :raises UnableToAgree: if one has, and what was agreed to is not what would be cancelled
    """
    # the booking first: whoever moves a part of it makes lots that were not there before
    list(Booking.objects.filter(pk=booking.pk).select_for_update(no_key=True).values_list("pk"))
    lots = list(
        booking.lots.filter(change_until__gt=now)
        .order_by("id")
        .select_for_update(no_key=True)
        .values_list("id", "slot_id", _WAITING)
    )
    waiting: Counter[int] = Counter()
    for _, slot, hubs in lots:
        waiting[slot] += hubs
    if not waiting.total():
        raise UnableToCancel(
            "Nothing in this booking can still be cancelled: its cut-off has passed, or every hub has ended."
        )
    turn = second_person.Turn(supplier=booking.supplier, upon=booking, by=by, agreed=agreed, now=now)
    turn.ask(act=Proposal.Act.CANCEL, forecast=leaving(hubs_by_slot=waiting))
    freed = cancel_lots(lots=[lot[:2] for lot in lots], ending=Ending.BY_SUPPLIER, now=now)
    about = f"booking:{booking.reference}"
    audit.record(
        actor=by,
        verb="booking.cancelled",
        subject=about,
        reason=reason,
        facts={"hubs": freed, **second_person.conclude(agreed=agreed, about=about, now=now)},
        now=now,
    )
    return freed


# what can be called back, by the counts that a trigger keeps of each lot
_WAITING = sum((F(str(state)) for state in CANCELLABLE[1:]), start=F(str(CANCELLABLE[0])))


def leaving(*, hubs_by_slot: Mapping[int, int]) -> Forecast:
    """Return what hubs that leave their slots, by slot id, come to."""
    left = [slot for slot, hubs in hubs_by_slot.items() if hubs]
    spans = Slot.objects.filter(pk__in=left).values_list("start_at", "end_at")
    return forecast(hubs=sum(hubs_by_slot.values()), slots=spans)


CANCEL = """
UPDATE scheduling_deployment
SET state = 'cancelled', ending = %(ending)s, awaiting = false, next_at = NULL, moved_at = %(now)s,
    ended_at = %(now)s
WHERE id BETWEEN %(first)s AND %(last)s AND state = ANY (%(states)s)
"""


def cancel_lots(*, lots: Sequence[tuple[int, int]], ending: Ending, now: datetime) -> int:
    """
    Cancel what has not been activated in lots (id, slot id) that the caller has locked, and free the places.

    Returns how many were cancelled.
    """
    freed: dict[int, int] = {}
    for lot, slot in lots:
        cancelled = sql.run(
            CANCEL,
            {
                "ending": ending,
                "now": now,
                "first": lot * LOT_SPAN,
                "last": lot * LOT_SPAN + LOT_SPAN - 1,
                "states": [str(state) for state in CANCELLABLE],
            },
        )
        if cancelled:
            freed[slot] = freed.get(slot, 0) + cancelled
    placing.free_places(places=freed)
    return sum(freed.values())


FINISH = """
UPDATE scheduling_booking SET done_at = %(now)s
WHERE id IN (
    SELECT booking.id FROM scheduling_booking booking
    WHERE booking.done_at IS NULL AND booking.abandoned_at IS NULL AND booking.placed_at IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM scheduling_lot lot WHERE lot.booking_id = booking.id
            AND lot.provisional + lot.booked + lot.staging + lot.staged + lot.activating + lot.held > 0)
    FOR UPDATE OF booking SKIP LOCKED)
RETURNING id
"""


@transaction.atomic
def finish(*, now: datetime) -> list[int]:
    """Stamp the bookings whose last hub has ended, and owe their notices; return their ids."""
    done = [booking for (booking,) in sql.rows(FINISH, {"now": now})]
    for booking in Booking.objects.filter(pk__in=done).select_related("release", "supplier"):
        notices.owe_booking_done(booking=booking, now=now)
    return done
