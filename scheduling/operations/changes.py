"""
Change a booking, or a part of it: cancel hubs, or move them to other slots.

Whoever changes a booking locks its row first, then its lots and at last slots, each in the order of their ids: so
two changes of one booking follow each other, and nobody who locks lots or slots waits in a ring.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import OperationalError, transaction

from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Network
from portal.ground import asking, audit, sql
from portal.ground.clock import Clock
from scheduling import planning
from scheduling.lifecycle import CANCELLABLE, Ending
from scheduling.models import Booking, Lot, Proposal
from scheduling.operations import notices, placing, second_person
from scheduling.operations.bookings import TRIES, UnableToCancel, leaving
from scheduling.operations.second_person import Agreement
from scheduling.planning import Placement
from scheduling.queries import guards, parts, slots
from scheduling.queries.parts import Destination, Obstacle, Outlook, Part
from scheduling.queries.second_person import forecast

if TYPE_CHECKING:
    from portal.models import User


class UnableToMove(Exception):
    """Nothing was moved; the message says why and what to do."""


@asking.trusted("places are given back, and counters of the release kept, for one booking of the Supplier's")
@transaction.atomic(durable=True)
def cancel_part(
    *,
    booking: Booking,
    part: Part,
    only_if_all: bool,
    by: "User",
    reason: str,
    now: datetime,
    agreed: Agreement | None = None,
) -> int:
    """
    Cancel the hubs of a part of a booking before their cut-off, and free their places.

    Returns the number of hubs cancelled; those that may not go any more stay, unless `only_if_all` is set.

    :raises UnableToCancel: if no hub may go, or `only_if_all` is set and not every one may; nothing is done then
    :raises SecondPersonNeeded: if a colleague has to agree first, and none has `agreed`
    :raises UnableToAgree: if one has, and what was agreed to is not what would be cancelled
    """
    _lock(booking, now)
    outlook = _gather(booking, part, now)
    if not outlook.would_go:
        raise UnableToCancel(f"None of these hubs can be cancelled{_why(outlook)}.")
    if only_if_all and outlook.would_stay:
        raise UnableToCancel(
            f"Nothing was cancelled, since not all can be: {outlook.would_go:,} of "
            f"{outlook.would_go + outlook.would_stay:,} hubs could go{_why(outlook)}."
        )
    turn = second_person.Turn(supplier=booking.supplier, upon=booking, by=by, agreed=agreed, now=now)
    turn.ask(act=Proposal.Act.CANCEL, forecast=leaving(hubs_by_slot=outlook.by_slot))
    freed = _cancel(Ending.BY_SUPPLIER, now)
    placing.free_places(places=freed)
    sql.run(SETTLE, {})
    cancelled = sum(freed.values())
    about = f"booking:{booking.reference}"
    audit.record(
        actor=by,
        verb="booking.cancelled",
        subject=about,
        reason=reason,
        facts={
            "hubs": cancelled,
            "part": part.facts,
            **second_person.conclude(agreed=agreed, about=about, now=now),
        },
        now=now,
    )
    return cancelled


def move(
    *,
    booking: Booking,
    part: Part,
    to: Destination,
    only_if_all: bool,
    by: "User",
    reason: str,
    clock: Clock,
    agreed: Agreement | None = None,
) -> int:
    """
    Move the hubs of a part of a booking, before their cut-off, to one slot or as early as possible from a moment.

    Every hub that may go gets a place by the rules of booking, or none is moved: then nothing has changed. The
    places that they leave count as free, and are free for everybody at once. Returns the number of hubs moved;
    those that may not go any more stay, unless `only_if_all` is set.

    :raises UnableToMove: with the sentence that the person reads
    :raises SecondPersonNeeded: if a colleague has to agree first, and none has `agreed`
    :raises UnableToAgree: if one has, and what was agreed to is not where they would go
    """
    for _ in range(TRIES):
        try:
            return _move(booking, part, to, only_if_all, by, reason, clock(), agreed)
        except placing.RoomTaken:
            continue
        except OperationalError as error:
            if not placing.is_deadlock(error=error):
                raise
    raise UnableToMove("Many people are booking these slots right now. Try again in a minute.")


@asking.trusted(
    "places are exchanged in slots that are everybody's, and other Suppliers asked, for one booking"
)
@transaction.atomic(durable=True)
def _move(
    booking: Booking,
    part: Part,
    to: Destination,
    only_if_all: bool,
    by: "User",
    reason: str,
    now: datetime,
    agreed: Agreement | None,
) -> int:
    """Write the hubs into new lots, and only then lock the slots: others wait for their places, not for the rows."""
    _lock(booking, now)
    _check_published(booking.release_id)
    outlook = _gather(booking, part, now, to)
    if not outlook.would_go:
        raise UnableToMove(f"None of these hubs can be moved{_why(outlook)}.")
    if only_if_all and outlook.would_stay:
        raise UnableToMove(
            f"Nothing was moved, since not all can be: {outlook.would_go:,} of "
            f"{outlook.would_go + outlook.would_stay:,} hubs could go{_why(outlook)}."
        )
    guard = guards.guard_for(release=booking.release, supplier=booking.supplier, now=now)
    groups = _group(guard)
    moved = parts.placed(booking=booking, outlook=outlook, groups=groups, to=to, now=now)
    if moved.lacking:
        raise UnableToMove(_no_room(outlook, moved.lacking, to))
    turn = second_person.Turn(supplier=booking.supplier, upon=booking, by=by, agreed=agreed, now=now)
    spans = {one.slot: (one.start_at, one.end_at) for one in moved.placements}
    turn.ask(act=Proposal.Act.MOVE, forecast=forecast(hubs=outlook.would_go, slots=spans.values()))
    freed = _cancel(Ending.MOVED, now)
    sql.run(MARK_MOVED, {})
    put = _put(booking, moved.placements, groups, freed, now)
    about = f"booking:{booking.reference}"
    audit.record(
        actor=by,
        verb="booking.moved",
        subject=about,
        reason=reason,
        facts={
            **second_person.conclude(agreed=agreed, about=about, now=now),
            "hubs": outlook.would_go,
            "part": part.facts,
            "to": to.words,
            "slots": len(put.taken),
            "first": min(placement.start_at for placement in moved.placements).isoformat(),
            "despite": {
                str(window.pk): hubs
                for window, hubs in guard.warnings(groups=groups, placements=moved.placements).items()
            },
        },
        now=now,
    )
    notices.owe_booking_moved(
        booking=booking, change=put.change, left=put.left, taken=put.taken, by=by, now=now
    )
    notices.owe_consent_asked(booking=booking, now=now)
    return outlook.would_go


@dataclass(frozen=True, slots=True)
class Put:
    """Hubs by slot id where they left and where they went; `change` is their first new lot, 0 without any."""

    change: int
    left: Mapping[int, int]
    taken: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Rules:
    """By which rules hubs get their new places, where they are not those of booking."""

    in_reserve: bool = False
    cut_off_holds: bool = True
    is_override: bool = False


BOOKING = _Rules()
ASK_NOBODY = "UPDATE changing_hub SET partner = NULL"


class Leaving:
    """
    Hubs of a booking that have to leave their slot, whatever the Supplier that booked wants; cut-offs do not hold them.

    In the caller's transaction, which has locked the booking and the lots of these hubs: say which, look for places,
    and let them go. Those for which no place was found are handed back, or stay where they are.

    Where the `cut_off_holds`, they go to no slot whose cut-off has passed; where not, what DCC allocated may use its
    reserve again. An override asks nobody, and nobody's windows hold its hubs back wherever they go.
    """

    def __init__(
        self,
        *,
        booking: Booking,
        part: Part,
        now: datetime,
        cut_off_holds: bool = True,
        is_override: bool = False,
    ) -> None:
        self.booking, self.now = booking, now
        self._rules = _Rules(
            in_reserve=not cut_off_holds and booking.origin == Booking.Origin.DEFAULT,
            cut_off_holds=cut_off_holds,
            is_override=is_override,
        )
        # of a cut-off, a slot or a word of the Supplier's nothing is asked, so any destination will do here
        self.outlook = _gather(booking, part, now, Destination(Booking.Plan.EARLIEST, now))
        self.placements: Sequence[Placement] = ()
        self._groups: Sequence[guards.Group] = ()

    @property
    def hubs(self) -> int:
        """All of them, those included that may not be booked again."""
        return self.outlook.would_go + self.outlook.refused.get(Obstacle.NOT_ELIGIBLE, 0)

    def listed(self) -> list[int]:
        """Return their CHF IDs."""
        return [hub for (hub,) in sql.rows("SELECT hub FROM changing_hub ORDER BY hub", {})]

    def find(self, *, to: Destination, avoiding: Collection[int] = ()) -> bool:
        """Look for places by the rules of booking, in none of the slots to avoid; say whether all have one."""
        guard = guards.guard_for(release=self.booking.release, supplier=self.booking.supplier, now=self.now)
        if self._rules.is_override:
            sql.run(ASK_NOBODY, {})
            guard = replace(guard, windows={}, soft=(), has_changes=False)
        self._groups = _group(guard)
        found = parts.placed(
            booking=self.booking,
            outlook=self.outlook,
            groups=self._groups,
            to=to,
            now=self.now,
            avoiding=avoiding,
            in_reserve=self._rules.in_reserve,
            cut_off_holds=self._rules.cut_off_holds,
        )
        self.placements = found.placements
        return sum(placement.hubs for placement in found.placements) == self.hubs

    def go(self, *, ending: Ending | None) -> Put:
        """
        Move those with a place, hand the others back with this ending, and free the places that they leave.

        Without an ending the others stay where they are. Returns where they left and where they went.

        :raises placing.RoomTaken: if the places found are taken by now
        """
        placed: Counter[int] = Counter()
        for placement in self.placements:
            placed[placement.group] += placement.hubs
        stretches = [(group.first + placed[group.number], group.first + group.hubs) for group in self._groups]
        sql.run(
            LEAVE_OVER,
            {
                "firsts": [first for first, last in stretches if first < last],
                "lasts": [last for first, last in stretches if first < last],
                "no_place": str(Obstacle.NO_PLACE),
            },
        )
        freed = _cancel(ending, self.now, stay=True) if ending else Counter[int]()
        freed += _cancel(Ending.MOVED, self.now)
        sql.run(MARK_MOVED, {})
        return _put(self.booking, self.placements, self._groups, freed, self.now, self._rules)


# the places of a group that were found are those of its first hubs
LEAVE_OVER = """
UPDATE changing_hub SET obstacle = %(no_place)s
FROM gathered_hub, unnest(%(firsts)s::int[], %(lasts)s::int[]) AS left_over (first, last)
WHERE gathered_hub.hub = changing_hub.hub AND place >= first AND place < last
"""


def _group(guard: guards.Guard) -> list[guards.Group]:
    """Divide the gathered hubs that may go into groups that must not go just anywhere."""
    judged = parts.JUDGED.format("SELECT * FROM changing_hub")
    return placing.gather(guard=guard, hubs=judged, parameters={}, until_commit=True)


def _put(
    booking: Booking,
    placements: Sequence[Placement],
    groups: Sequence[guards.Group],
    freed: Mapping[int, int],
    now: datetime,
    rules: _Rules = BOOKING,
) -> Put:
    """
    Write the gathered hubs of groups into new lots at their places, and exchange the places for those freed.

    :raises placing.RoomTaken: if there is no longer room; the caller's transaction is taken back then
    """
    wanted = planning.by_slot(placements=placements)
    cuts: Sequence[placing.Cut] = ()
    if placements:
        cuts = placing.with_ids(
            cuts=placing.lots_of(booking=booking, placements=placements, groups=groups, now=now)
        )
        for cut in cuts:
            cut.lot.is_override = rules.is_override
        Lot.objects.bulk_create([cut.lot for cut in cuts])
        placing.write(cuts=cuts, groups=groups, now=now)
    _exchange_places(booking, freed, wanted, [cut.lot.pk for cut in cuts], now, rules)
    sql.run(SETTLE, {})
    return Put(cuts[0].lot.pk if cuts else 0, freed, wanted)


def _check_published(release: int) -> None:
    state = FirmwareRelease.objects.values_list("state", flat=True).get(pk=release)
    if state != ReleaseState.PUBLISHED:
        raise UnableToMove(
            f"This release is {ReleaseState(state).label.lower()}, so nothing can be moved now. The hubs stay in "
            "their slots; they can still be cancelled."
        )


def _no_room(outlook: Outlook, lacking: Mapping[int, int], to: Destination) -> str:
    names = dict(Network.objects.values_list("id", "name"))
    rooms = "; ".join(
        f"{names[network]} has room for {outlook.by_network[network] - left:,} of {outlook.by_network[network]:,} hubs"
        for network, left in lacking.items()
    )
    return (
        f"Nothing was moved. For {to.words}: {rooms}. A slot in a protected window has none for its hubs. Choose "
        "another time, or fewer hubs."
    )


MARK_MOVED = """
UPDATE scheduling_lot lot SET moved = lot.moved + gone.hubs
FROM (SELECT lot, count(*) AS hubs FROM changing_hub WHERE obstacle IS NULL GROUP BY 1) gone
WHERE lot.id = gone.lot
"""


def _exchange_places(
    booking: Booking,
    freed: Mapping[int, int],
    wanted: Mapping[int, int],
    new_lots: Collection[int],
    now: datetime,
    rules: _Rules,
) -> None:
    """
    Give the old places back and take the new ones, by slot id, under the locks of all their slots.

    :raises placing.RoomTaken: if there is no longer room; the caller's transaction is taken back then
    """
    placing.lock(slots=freed.keys() | wanted.keys())
    placing.move_places(places={slot: -hubs for slot, hubs in freed.items()})
    # a statement of its own: it sees what whoever held the locks before has taken
    room = slots.rooms_in(
        release=booking.release,
        supplier=booking.supplier,
        slots=list(wanted),
        now=now,
        new_lots=new_lots,
        in_reserve=rules.in_reserve,
        cut_off_holds=rules.cut_off_holds,
    )
    if any(room.get(slot, 0) < hubs for slot, hubs in wanted.items()):
        raise placing.RoomTaken
    if placing.move_places(places=wanted) != len(wanted):
        raise placing.RoomTaken


def _why(outlook: Outlook) -> str:
    """Name what stands in the way, with its number of hubs."""
    named = [
        f"{hubs:,} {Obstacle(obstacle).label[0].lower()}{Obstacle(obstacle).label[1:]}"
        for obstacle, hubs in outlook.refused.items()
    ]
    return f" ({', '.join(named)})" if named else ""


def _lock(booking: Booking, now: datetime) -> None:
    """Lock the booking and the lots that can still be changed; what is read afterwards stays as it is."""
    list(Booking.objects.filter(pk=booking.pk).select_for_update(no_key=True).values_list("pk"))
    list(
        booking.lots.filter(change_until__gt=now)
        .order_by("id")
        .select_for_update(no_key=True)
        .values_list("pk")
    )


def _gather(booking: Booking, part: Part, now: datetime, to: Destination | None = None) -> Outlook:
    """Keep the hubs that may go in a temporary table, and count all of the part."""
    hubs, parameters = parts.judged_hubs(booking=booking, part=part, now=now, to=to)
    sql.run("DROP TABLE IF EXISTS changing_hub", {})
    sql.run(f"CREATE TEMPORARY TABLE changing_hub ON COMMIT DROP AS {hubs}", parameters)
    sql.run("CREATE INDEX ON changing_hub (lot)", {})
    return parts.counted(
        rows=sql.rows("SELECT slot, network_id, obstacle, count(*) FROM changing_hub GROUP BY 1, 2, 3", {}),
        part=part,
    )


# Raw SQL: one UPDATE for a lot. Not for all at once, since the trigger that checks the moves holds the rows of a
# statement against each other, and the time for that grows with the square of their number.
CANCEL_GATHERED = """
UPDATE scheduling_deployment deployment
SET state = 'cancelled', ending = %(ending)s, awaiting = false, next_at = NULL, moved_at = %(now)s, ended_at = %(now)s
FROM changing_hub
WHERE changing_hub.lot = %(lot)s AND (changing_hub.obstacle IS NOT NULL) = %(stay)s
  AND deployment.id = changing_hub.id AND deployment.state = ANY (%(states)s)
"""
GATHERED_LOTS = """
SELECT DISTINCT lot, slot FROM changing_hub WHERE (obstacle IS NOT NULL) = %(stay)s ORDER BY lot
"""
# a lot without an open hub is never due again, whoever holds it; none but the lots that are locked already
SETTLE = """
UPDATE scheduling_lot SET due_at = NULL, lease_until = NULL
WHERE id IN (SELECT lot FROM changing_hub) AND due_at IS NOT NULL
  AND provisional + booked + staging + staged + activating + held = 0
"""


def _cancel(ending: Ending, now: datetime, *, stay: bool = False) -> Counter[int]:
    """
    Cancel the gathered hubs that may go; return how many there were, by slot id.

    With `stay`, those that something stands in the way of, for whom there is no other way than this.
    """
    terms = {"ending": ending, "now": now, "states": [str(state) for state in CANCELLABLE], "stay": stay}
    freed: Counter[int] = Counter()
    for lot, slot in sql.rows(GATHERED_LOTS, terms):
        if gone := sql.run(CANCEL_GATHERED, {**terms, "lot": lot}):
            freed[slot] += gone
    return freed
