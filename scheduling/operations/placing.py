"""
Put hubs into lots, ask whoever has to be asked about them, and take and give back the places of slots.

What books, moves, allocates and carries over stands on this: hubs are gathered in one order, placements are cut into
lots, and one statement writes all deployments.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import OperationalError
from psycopg.errors import DeadlockDetected

from hubs.gateway import Phase
from portal.ground import asking, sql
from scheduling import planning
from scheduling.lifecycle import State
from scheduling.models import LOT_SIZE, LOT_SPAN, Booking, Consent, Lot, Slot
from scheduling.queries import guards


class RoomTaken(Exception):
    """Somebody was faster between the look at the slots and the lock on them: take it all back and try again."""


def is_deadlock(*, error: OperationalError) -> bool:
    """Say whether the database ended a transaction that stood in a ring with others: it may be tried again."""
    return isinstance(error.__cause__, DeadlockDetected)


@dataclass(frozen=True, slots=True)
class Cut:
    """A lot, and the placement that it was cut from."""

    placement: planning.Placement
    lot: Lot


NO_LOT = 0
# Raw SQL: one sort of all hubs, by one number, since a sort by several takes three times as long. The hubs of a group
# lie side by side, so that a place says the lot; within a group the order of their last 32 bits, which is all but
# that of the keys, keeps the unique index warm while the deployments are inserted.
GATHER = """
CREATE TEMPORARY TABLE gathered_hub {kept} AS
SELECT hub, model_id, kin, things,
       (row_number() OVER (ORDER BY ((kin * sets + set) << 32) | (hub & 4294967295)) - 1)::int AS place
FROM ({divided}) hub
"""


def gather(
    *, guard: guards.Guard, hubs: str, parameters: Mapping[str, Any], until_commit: bool = False
) -> list[guards.Group]:
    """
    Put judged hubs (see `guards.Guard.divided`) into the temporary table `gathered_hub`; return their groups.

    The table has each hub, its model and its `place`, counted from nought over all groups. `until_commit` says that
    it goes with the transaction.
    """
    divided, more = guard.divided(hubs=hubs)
    sql.run("DROP TABLE IF EXISTS gathered_hub", {})
    kept = "ON COMMIT DROP" if until_commit else ""
    sql.run(GATHER.format(kept=kept, divided=divided), {**parameters, **more})
    if asking.asker():
        sql.run(
            f"GRANT SELECT ON gathered_hub TO {asking.Role.STAFF.value}", {}
        )  # for the parts that are trusted
    return guard.groups(rows=sql.rows(guards.GROUPS.format(hubs="gathered_hub", order="min(place)"), {}))


def ask(
    *,
    booking: Booking,
    placements: Sequence[planning.Placement],
    groups: Sequence[guards.Group],
    now: datetime,
) -> dict[tuple[int, int], Consent]:
    """
    Ask the other Suppliers of shared hubs, once for each slot; return the questions by (Supplier, slot id).

    A slot that is near wants their word; otherwise their silence will do.
    """
    policy = booking.release.policy
    near, answer_by = policy.explicit_consent_within.after(now), policy.objection_window.after(now)
    asked: dict[tuple[int, int], Consent] = {}
    for placement in placements:
        if (partner := groups[placement.group].partner) is not None:
            asked[partner, placement.slot] = Consent(
                booking=booking,
                supplier_id=partner,
                slot_id=placement.slot,
                asked_at=now,
                answer_by=min(answer_by, placement.start_at),
                is_explicit=placement.start_at < near,
            )
    Consent.objects.bulk_create(asked.values())
    return asked


def lots_of(
    *,
    booking: Booking,
    placements: Sequence[planning.Placement],
    groups: Sequence[guards.Group],
    now: datetime,
) -> list[Cut]:
    """Return lots for the places of a booking, not kept yet, and ask whoever has to be asked about their hubs."""
    policy = booking.release.policy
    opens = {period.network_id: period.start_at for period in booking.release.periods.all()}
    asked = ask(booking=booking, placements=placements, groups=groups, now=now)
    cuts = []
    for placement, size in planning.lots(placements=placements, size=LOT_SIZE):
        partner = groups[placement.group].partner
        consent = None if partner is None else asked[partner, placement.slot]
        lot = Lot(
            booking=booking,
            release=booking.release,
            supplier=booking.supplier,
            slot_id=placement.slot,
            network_id=placement.network,
            consent=consent,
            size=size,
            staging_from=max(policy.staging_opens.before(placement.start_at), opens[placement.network]),
            change_until=policy.cut_off.before(placement.start_at),
            **{_first_state(consent): size},
        )
        cuts.append(Cut(placement, lot))
    return cuts


def _first_state(consent: Consent | None) -> State:
    return State.PROVISIONAL if consent and consent.state == Consent.State.ASKED else State.BOOKED


def due(*, cut: Cut) -> datetime:
    """Return when a lot is first due: to be staged, or, as long as it is provisional, when its slot is over."""
    if _first_state(cut.lot.consent) == State.PROVISIONAL:
        return cut.placement.end_at
    return cut.lot.staging_from


def with_ids(*, cuts: Sequence[Cut]) -> Sequence[Cut]:
    """Give lots their ids ahead, and when they are due: for whoever keeps them in one transaction with their hubs."""
    ids = sql.rows(
        "SELECT nextval(pg_get_serial_sequence('scheduling_lot', 'id')) FROM generate_series(1, %(number)s)",
        {"number": len(cuts)},
    )
    for cut, (key,) in zip(cuts, sorted(ids), strict=True):
        cut.lot.pk = key
        cut.lot.due_at = due(cut=cut)
    return cuts


# Raw SQL: one INSERT places every hub. The arrays are parameters, so each row costs a binary search and no join;
# with elements of one width and none empty, so that the server finds one without walking along the others. In
# the order of their places, whichever slots come first: two bookings of the same hubs must not deadlock.
PLACE = f"""
INSERT INTO scheduling_deployment
    (id, hub_id, model_id, state, ending, phase, attempt, tries, awaiting, next_at, moved_at)
SELECT (%(lots)s::bigint[])[stretch] * {LOT_SPAN} + place - (%(firsts)s::int[])[stretch],
       hub, model_id,
       CASE WHEN (%(are_asked)s::boolean[])[stretch] THEN '{State.PROVISIONAL}' ELSE '{State.BOOKED}' END,
       '', {Phase.READ:d}, 0, 0, false,
       (%(nexts)s::timestamptz[])[stretch], %(now)s
FROM (SELECT hub, model_id, place, width_bucket(place, %(firsts)s::int[]) AS stretch FROM gathered_hub OFFSET 0) placed
WHERE (%(lots)s::bigint[])[stretch] <> {NO_LOT}
ORDER BY place
"""  # noqa: S608 - our own constants


@dataclass(frozen=True, slots=True)
class Stretches:
    """Which stretch of the gathered hubs goes into which lot: as arrays for PLACE, and the group of each."""

    groups: Sequence[int]
    terms: Mapping[str, Any]


def write(*, cuts: Sequence[Cut], groups: Sequence[guards.Group], now: datetime) -> Stretches:
    """
    Write the deployments of the gathered hubs into lots that are kept; return which went where.

    The hubs of a group for which there is no lot are the last of it, a stretch of `NO_LOT`.
    """
    of_group: dict[int, list[Cut]] = {}
    for cut in cuts:
        of_group.setdefault(cut.placement.group, []).append(cut)
    stretches: list[tuple[int, int, int, bool, datetime]] = []
    for group in groups:
        place = group.first
        for cut in of_group.get(group.number, ()):
            is_asked = _first_state(cut.lot.consent) == State.PROVISIONAL
            stretches.append((group.number, place, cut.lot.pk, is_asked, due(cut=cut)))
            place += cut.lot.size
        if place < group.first + group.hubs:
            stretches.append((group.number, place, NO_LOT, False, now))
    numbers, firsts, lots, are_asked, nexts = map(list, zip(*stretches, strict=True))
    terms = {"firsts": firsts, "lots": lots}
    sql.run(PLACE, {**terms, "are_asked": are_asked, "nexts": nexts, "now": now})
    return Stretches(numbers, terms)


# Raw SQL: a booking can touch thousands of slots, and a statement for each would keep them locked for seconds.
MOVE_PLACES = """
UPDATE scheduling_slot slot SET taken = slot.taken + change.hubs
FROM unnest(%(slots)s::bigint[], %(hubs)s::int[]) AS change (id, hubs)
WHERE slot.id = change.id AND slot.capacity >= slot.taken + change.hubs
"""


def move_places(*, places: Mapping[int, int]) -> int:
    """Take places, by slot id, in slots that the caller has locked; return how many slots had the room."""
    return sql.run(MOVE_PLACES, {"slots": list(places), "hubs": list(places.values())})


def lock(*, slots: Iterable[int]) -> set[int]:
    """
    Lock slots, by id, in the order of their ids, so that two who take places never wait for each other; return them.

    Not their keys: a lot or a question that somebody writes for a slot, in whatever order, waits for no lock of it.
    """
    found = Slot.objects.filter(pk__in=list(slots)).order_by("pk").select_for_update(no_key=True)
    return set(found.values_list("pk", flat=True))


def free_places(*, places: Mapping[int, int]) -> None:
    """Give places back, by slot id."""
    lock(slots=places)
    move_places(places={slot: -hubs for slot, hubs in places.items()})
