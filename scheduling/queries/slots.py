"""Which slots are open for a release, and how much room a Supplier has in them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from django.db.models import Max, Min, Q, QuerySet, Sum

from firmware import queries as releases
from firmware.models import FirmwareRelease
from hubs.models import Supplier
from portal.ground import asking, sql
from scheduling import calendar, planning
from scheduling.models import Slot
from scheduling.queries import windows


def bookable_from(*, release: FirmwareRelease, now: datetime) -> datetime:
    """Return the earliest start whose booking cut-off has not passed."""
    return release.policy.cut_off.after(now)


def open_slots(*, release: FirmwareRelease, now: datetime) -> QuerySet[Slot]:
    """Return the slots in which the release may be deployed and whose cut-off has not passed."""
    earliest = bookable_from(release=release, now=now)
    within = Q(pk__in=[])
    for period in release.periods.all():
        within |= Q(
            network_id=period.network_id,
            start_at__gte=max(earliest, period.start_at),
            end_at__lte=period.end_at,
        )
    return Slot.objects.filter(within)


@dataclass(frozen=True, slots=True)
class Share:
    """A Supplier's part of one network: its eligible hubs among all, as last counted."""

    network: int
    hubs: int
    of: int


def shares(*, release: FirmwareRelease, supplier: Supplier) -> list[Share]:
    """Return the Supplier's part of every network that the release is available on; a part is never nothing."""
    with asking.trusted("a Supplier's part of a network is its hubs among all: of the others only the sum"):
        counts = {
            row["network"]: (row["own"], row["total"])
            for row in releases.eligible_counts(release=release)
            .order_by()
            .values("network")
            .annotate(own=Sum("hubs", filter=Q(lead=supplier), default=0), total=Sum("hubs"))
        }
    return [
        Share(period.network_id, max(own, 1), max(total, 1))
        for period in release.periods.all()
        for own, total in [counts.get(period.network_id, (1, 1))]
    ]


# Raw SQL: the room that a Supplier has in each slot, one expression for the picture, the preview and the booking
# itself, which asks it again under the slots' locks. DCC's reserve is kept from every slot; as long as the fair
# share lasts, a Supplier takes no more than its part of the rest. Places that a change would free count as free.
# Where the network is closed for the Supplier there is no room.
ROOM = """
SELECT slot.id, slot.network_id, slot.start_at, slot.end_at,
       CASE WHEN shut.why <> '' THEN 0 ELSE greatest(0, least(
           slot.capacity - kept.reserve - slot.taken + coalesce(freed.hubs, 0),
           CASE WHEN slot.start_at > %(shared_after)s
                THEN ceil((slot.capacity - kept.reserve) * available.hubs::numeric / available.total)
                     - coalesce(own.hubs, 0) + coalesce(freed.hubs, 0) END)) END::int AS room,
       shut.why AS closed
FROM scheduling_slot slot
JOIN unnest(%(networks)s::smallint[], %(opens)s::timestamptz[], %(closes)s::timestamptz[],
            %(hubs)s::int[], %(totals)s::int[])
    AS available (network_id, opens, closes, hubs, total) USING (network_id)
CROSS JOIN LATERAL (SELECT slot.capacity * %(reserve)s / 100 AS reserve) kept
LEFT JOIN (SELECT slot_id, sum(size - cancelled) AS hubs FROM scheduling_lot
           WHERE supplier_id = %(supplier)s AND id <> ALL (%(new_lots)s::bigint[])
           GROUP BY slot_id) own ON own.slot_id = slot.id
LEFT JOIN unnest(%(freed_slots)s::bigint[], %(freed_hubs)s::int[]) AS freed (id, hubs) ON freed.id = slot.id
-- one multirange for each network and reason: an overlap with it is found by binary search
LEFT JOIN (SELECT network_id, range_agg(span) FILTER (WHERE why = 'incident') AS incident,
                  range_agg(span) FILTER (WHERE why = 'maintenance') AS maintenance,
                  range_agg(span) FILTER (WHERE why = 'protected') AS protected
           FROM unnest(%(closed_networks)s::smallint[], %(closed_from)s::timestamptz[],
                       %(closed_to)s::timestamptz[], %(closed_why)s::text[])
               AS closure (network_id, start_at, end_at, why)
           CROSS JOIN LATERAL (SELECT tstzrange(start_at, end_at) AS span) span
           GROUP BY network_id) closure ON closure.network_id = slot.network_id
CROSS JOIN LATERAL (SELECT CASE
    WHEN closure.incident && tstzrange(slot.start_at, slot.end_at) THEN 'incident'
    WHEN closure.maintenance && tstzrange(slot.start_at, slot.end_at) THEN 'maintenance'
    WHEN closure.protected && tstzrange(slot.start_at, slot.end_at) THEN 'protected'
    ELSE '' END AS why) shut
WHERE slot.start_at >= available.opens AND slot.end_at <= available.closes
"""
EARLIEST = f"""
SELECT id, network_id, start_at, end_at, room FROM (
    SELECT room.*, sum(room) OVER (PARTITION BY network_id ORDER BY start_at) - room AS earlier
    FROM ({ROOM}) room WHERE room > 0) room
JOIN unnest(%(wanted_networks)s::smallint[], %(wanted_hubs)s::int[]) AS wanted (network_id, hubs) USING (network_id)
WHERE earlier < wanted.hubs ORDER BY start_at, id
"""  # noqa: S608 - our own statement


def terms_of_room(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    now: datetime,
    in_reserve: bool = False,
    cut_off_holds: bool = True,
) -> dict[str, Any]:
    """
    Return the parameters of ROOM; `in_reserve` for DCC's own allocation, which no share binds.

    Where `cut_off_holds` not, every slot to come is open: nobody books, but hubs have to leave another slot.
    """
    earliest = bookable_from(release=release, now=now) if cut_off_holds else now
    parts = {share.network: share for share in shares(release=release, supplier=supplier)}
    periods = list(release.periods.all())
    closed = windows.closures(
        supplier=supplier,
        networks=[period.network_id for period in periods],
        start=earliest,
        end=max([earliest, *(period.end_at for period in periods)]),
    )
    return {
        "closed_networks": [closure.network for closure in closed],
        "closed_from": [closure.start_at for closure in closed],
        "closed_to": [closure.end_at for closure in closed],
        "closed_why": [closure.why for closure in closed],
        "supplier": supplier.pk,
        "reserve": 0 if in_reserve else release.policy.reserve_percent,
        "shared_after": calendar.forever(now) if in_reserve else release.policy.fair_share_until.after(now),
        "networks": [period.network_id for period in periods],
        "opens": [max(earliest, period.start_at) for period in periods],
        "closes": [period.end_at for period in periods],
        "hubs": [parts[period.network_id].hubs for period in periods],
        "totals": [parts[period.network_id].of for period in periods],
        "new_lots": [],
        **_freed({}),
    }


def _freed(places: Mapping[int, int]) -> dict[str, Any]:
    """Return the parameters of ROOM that say which of the Supplier's places count as free, by slot id."""
    return {"freed_slots": list(places), "freed_hubs": list(places.values())}


def rooms(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    needed: Mapping[int, int],
    now: datetime,
    not_before: datetime | None = None,
    freed: Mapping[int, int] | None = None,
    in_reserve: bool = False,
    cut_off_holds: bool = True,
) -> list[planning.Room]:
    """
    Return the earliest slots with room for the Supplier that together take the `needed` hubs of each network id.

    None begins before `not_before`; `freed` places, by slot id, are the Supplier's own that a change would free.

    As of now and without a lock: what is taken in between is asked again when the places are taken.
    """
    wanted = {"wanted_networks": list(needed), "wanted_hubs": list(needed.values())}
    terms = terms_of_room(
        release=release, supplier=supplier, now=now, in_reserve=in_reserve, cut_off_holds=cut_off_holds
    )
    terms |= _freed(freed or {})
    if not_before:
        terms["opens"] = [max(opens, not_before) for opens in terms["opens"]]
    return [planning.Room(*row) for row in sql.rows(EARLIEST, terms | wanted)]


def rooms_between(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    networks: Collection[int],
    start: datetime,
    end: datetime,
    now: datetime,
    freed: Mapping[int, int] | None = None,
    in_reserve: bool = False,
) -> list[planning.Room]:
    """Return the Supplier's room in the slots of some networks that begin in a half-open span, full ones too."""
    terms = terms_of_room(release=release, supplier=supplier, now=now, in_reserve=in_reserve)
    terms |= _freed(freed or {})
    return [
        planning.Room(*row)
        for row in sql.rows(
            f"{ROOM} AND slot.network_id = ANY (%(wanted)s)"
            " AND slot.start_at >= %(start)s AND slot.start_at < %(end)s",
            terms | {"wanted": list(networks), "start": start, "end": end},
        )
    ]


def rooms_in(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    slots: Collection[int],
    now: datetime,
    in_reserve: bool = False,
    new_lots: Collection[int] = (),
    cut_off_holds: bool = True,
) -> dict[int, int]:
    """
    Return the Supplier's room by slot id; a slot that is no longer open for it is absent.

    What is in `new_lots`, by id, has no place yet: the room is for it.
    """
    terms = terms_of_room(
        release=release, supplier=supplier, now=now, in_reserve=in_reserve, cut_off_holds=cut_off_holds
    )
    terms["new_lots"] = list(new_lots)
    rows = sql.rows(f"{ROOM} AND slot.id = ANY (%(slots)s)", terms | {"slots": list(slots)})
    return {row[0]: row[4] for row in rows}


# Raw SQL: the Supplier's room is an expression of its own. By the wall clock, as people say when a night is.
NIGHTS = f"""
SELECT (start_at AT TIME ZONE 'Europe/London')::date AS night, network_id, sum(room)::bigint
FROM ({ROOM} AND slot.network_id = ANY (%(wanted)s)
    AND (slot.start_at AT TIME ZONE 'Europe/London')::time >= %(from)s
    AND (slot.end_at AT TIME ZONE 'Europe/London')::time BETWEEN %(from)s AND %(to)s
    AND slot.end_at - slot.start_at <= %(to)s::time - %(from)s::time) room
GROUP BY night, network_id
"""  # noqa: S608 - our own statement


def rooms_of_nights(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    networks: Collection[int],
    opens: time,
    closes: time,
    now: datetime,
) -> dict[date, dict[int, int]]:
    """Return the Supplier's room in the slots within some hours of the UK day, by date and network id."""
    terms = terms_of_room(release=release, supplier=supplier, now=now)
    terms |= {"wanted": list(networks), "from": opens, "to": closes}
    found: dict[date, dict[int, int]] = defaultdict(dict)
    for night, network, room in sql.rows(NIGHTS, terms):
        found[night][network] = room
    return dict(found)


@dataclass(frozen=True, slots=True)
class Moment:
    """One start time at which slots of several networks may begin, for a person to choose."""

    start_at: datetime
    end_at: datetime
    room: Mapping[int, int]
    """The Supplier's room by network id; a network without a slot then is absent."""
    fits: bool
    """All the chosen hubs of every network can go."""
    placed: int
    """How many of the chosen hubs can go."""


def moments(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    needed: Mapping[int, int],
    start: datetime,
    end: datetime,
    now: datetime,
) -> Sequence[Moment]:
    """Return the start times between `start` and `end`, with the Supplier's room for the chosen hubs."""
    rooms: dict[datetime, dict[int, int]] = defaultdict(dict)
    ends: dict[datetime, datetime] = {}
    for slot in rooms_between(
        release=release, supplier=supplier, networks=needed, start=start, end=end, now=now
    ):
        rooms[slot.start_at][slot.network] = slot.room
        ends[slot.start_at] = max(slot.end_at, ends.get(slot.start_at, slot.end_at))
    found = []
    for start_at, room in sorted(rooms.items()):
        placed = sum(min(hubs, room.get(network, 0)) for network, hubs in needed.items())
        found.append(Moment(start_at, ends[start_at], room, placed == sum(needed.values()), placed))
    return found


def span(
    *, release: FirmwareRelease, networks: Sequence[int], now: datetime
) -> tuple[datetime, datetime] | None:
    """Return the first and the last start of the open slots of these networks, or None where there is none."""
    ends = (
        open_slots(release=release, now=now)
        .filter(network_id__in=networks)
        .aggregate(first=Min("start_at"), last=Max("start_at"))
    )
    return None if ends["first"] is None else (ends["first"], ends["last"])
