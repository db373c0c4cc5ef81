"""
Book hubs that DCC decided to deploy in spite of their Suppliers' protected windows, and without further consent.

What DCC itself closed, maintenance and incidents, holds all the same, and so do periods, cut-offs and capacity; its
reserve and the fair shares do not bind DCC. The lots say that they are overrides: the Gate asks for DCC's closures
alone then.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import F
from psycopg.errors import DeadlockDetected, UniqueViolation

from portal.ground import audit, sql
from portal.ground.clock import Clock
from scheduling import calendar, planning
from scheduling.models import Booking, HubSelection, Lot, UnplacedHub
from scheduling.operations import bookings, placing
from scheduling.queries import eligibility, guards, slots, windows


class UnableToOverride(Exception):
    """Nothing was booked; the message says why."""


def book(*, selection: HubSelection, clock: Clock) -> Booking | None:
    """
    Book the hubs of an approved override into the first slots with room, in one transaction.

    Asking twice for the same selection returns the first booking. Returns None where no hub is left that may
    go, or no slot has room.

    :raises UnableToOverride: if others are always faster; ask again later
    """
    for _ in range(bookings.TRIES):
        if earlier := Booking.objects.filter(selection=selection, abandoned_at=None).first():
            return earlier
        try:
            return _book(selection, clock())
        except placing.RoomTaken:
            continue
        except (IntegrityError, OperationalError) as error:
            # a hub was booked elsewhere in between, or is being booked in another order: judge them again
            if not isinstance(error.__cause__, UniqueViolation | DeadlockDetected):
                raise
    raise UnableToOverride("Others were faster each time. The timetable tries again.")


GATHER = """
CREATE TEMPORARY TABLE gathered_hub ON COMMIT DROP AS
    SELECT hub, model_id, network_id, (row_number() OVER (ORDER BY network_id, hub) - 1)::int AS place
    FROM ({hubs}) judged WHERE refusal IS NULL
"""


@transaction.atomic(durable=True)
def _book(selection: HubSelection, now: datetime) -> Booking | None:
    """Write the deployments, and only then lock the slots: others wait for their places, not for the rows."""
    groups = _gather(selection, now)
    placements = _placements(selection, groups, now)
    if not placements:
        return None
    places = planning.by_slot(placements=placements)
    booking = Booking.objects.create(
        reference=bookings.new_reference(),
        origin=Booking.Origin.DEFAULT,
        supplier=selection.supplier,
        release=selection.release,
        selection=selection,
        plan=Booking.Plan.EARLIEST,
        hubs=places.total(),
        unplaced=sum(group.hubs for group in groups) - places.total(),
        created_at=now,
        placed_at=now,
    )
    cuts = placing.with_ids(
        cuts=placing.lots_of(booking=booking, placements=placements, groups=groups, now=now)
    )
    for cut in cuts:
        cut.lot.is_override = True
    Lot.objects.bulk_create([cut.lot for cut in cuts])
    stretches = placing.write(cuts=cuts, groups=groups, now=now)
    _take_places(places)
    if booking.unplaced:
        whys = [UnplacedHub.Why.NO_ROOM for _ in stretches.groups]
        sql.run(
            bookings.LEFT_OVER,
            {"booking": booking.pk, "whys": whys, "no_lot": placing.NO_LOT, **stretches.terms},
        )
    audit.record(
        actor=None,
        verb="booking.placed",
        subject=f"booking:{booking.reference}",
        facts={
            "hubs": booking.hubs,
            "unplaced": booking.unplaced,
            "release": booking.release_id,
            "override": True,
        },
        now=now,
    )
    return booking


def _gather(selection: HubSelection, now: datetime) -> list[guards.Group]:
    """
    Put the hubs that may go into the temporary table `gathered_hub`, a group for each network.

    Nothing closes a group and it has no other Supplier to be asked: that is what an override is.
    """
    hubs, parameters = eligibility.chosen_hubs(selection=selection, now=now)
    sql.run("DROP TABLE IF EXISTS gathered_hub", {})
    sql.run(GATHER.format(hubs=hubs), parameters)
    rows = sql.rows(
        "SELECT network_id, min(place), count(*)::int FROM gathered_hub GROUP BY 1 ORDER BY 1", {}
    )
    return [
        guards.Group(number, network, None, first, number_of_hubs)
        for number, (network, first, number_of_hubs) in enumerate(rows)
    ]


def _placements(
    selection: HubSelection, groups: Sequence[guards.Group], now: datetime
) -> list[planning.Placement]:
    """Fill the first slots with room that DCC has not closed, network by network."""
    found: list[planning.Placement] = []
    with_room = slots.open_slots(release=selection.release, now=now).filter(taken__lt=F("capacity"))
    for group in groups:
        of_network = list(with_room.filter(network=group.network).order_by("start_at", "id"))
        if not of_network:
            continue
        closed = windows.by_dcc(
            networks=[group.network],
            start=of_network[0].start_at,
            end=max(slot.end_at for slot in of_network),
            to_expected_end=True,
        )
        spans = calendar.merged(spans=[(closure.start_at, closure.end_at) for closure in closed])
        rooms = [
            planning.Room(slot.pk, group.network, slot.start_at, slot.end_at, slot.room)
            for slot in of_network
            if not calendar.overlap(spans=spans, start=slot.start_at, end=slot.end_at)
        ]
        found += [
            replace(placement, group=group.number)
            for placement in planning.as_early_as_possible(rooms=rooms, hubs=group.hubs)
        ]
    return found


def _take_places(places: Counter[int]) -> None:
    """
    Take places, by slot id, under the locks of their slots.

    :raises placing.RoomTaken: if a slot has no longer the room; the caller's transaction is taken back then
    """
    placing.lock(slots=places)
    if placing.move_places(places=places) != len(places):
        raise placing.RoomTaken
