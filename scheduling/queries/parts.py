"""
A part of a booking: the hubs that a filter or a list names, and what stands in the way of changing each.

Raw SQL, because one statement has to judge up to a million hubs: the same one serves the preview and the change
itself, so they cannot disagree.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Sum, TextChoices

from portal.ground import sql
from portal.ground.uk_time import LONDON
from scheduling import planning
from scheduling.lifecycle import FINAL, Ending, State
from scheduling.models import LOT_SPAN, Booking, Lot
from scheduling.queries import eligibility, guards, plans, slots
from scheduling.queries.bookings import SEEN

FACETS = {facet: f"hub.{column}" for facet, column in eligibility.FACETS.items()} | {"slot": "lot.slot_id"}
"""What hubs of a booking can be filtered by, and the column that holds it."""


class Obstacle(TextChoices):
    """Why a hub stays where it is, in the order in which it is asked."""

    NOT_BOOKED = "not_booked", "Not in this booking"
    ENDED = "ended", "Has ended already"
    ACTIVATING = "activating", "Activating now"
    PAST_CUT_OFF = "past_cut_off", "Its cut-off has passed"
    THERE_ALREADY = "there_already", "In that slot already"
    NOT_ELIGIBLE = "not_eligible", "May no longer be booked for this release"
    NO_PLACE = "no_place", "No open slot is free for it"

    @property
    def way_forward(self) -> str:
        """What the Supplier can do about it."""
        return _WAY_FORWARD[self]


_WAY_FORWARD = {
    Obstacle.NOT_BOOKED: "Check the CHF IDs against the booking's hubs: the CSV file names them all.",
    Obstacle.ENDED: "Nothing to do; the hub's page tells how it ended.",
    Obstacle.ACTIVATING: "Wait for its result: an activation that has begun is not called back.",
    Obstacle.PAST_CUT_OFF: "It goes ahead in its slot. Ask DCC, if it must not.",
    Obstacle.THERE_ALREADY: "Nothing to do.",
    Obstacle.NO_PLACE: "Book it again when DCC has opened more slots.",
    Obstacle.NOT_ELIGIBLE: "The hub's page says why. Cancel it here, or leave it: it is asked again in its slot.",
}


@dataclass(frozen=True, slots=True)
class Part:
    """
    Which hubs of a booking: those with one of the values in every facet named, and on the list where there is one.

    A filter means the hubs that have not ended; a list means exactly its hubs. Nothing named means all.

    With a `consent`, by id, only its hubs that wait for the answer; no cut-off stands in their way, since it is the
    other Supplier that has been asked about them. Nor does one stand in the way of `turnless` deployments, by id,
    that have no turn in their slot: only those of them that could still have one are meant.
    """

    criteria: Mapping[str, Sequence[int]] = field(default_factory=dict)
    hubs: Sequence[int] | None = None
    consent: int | None = None
    turnless: Sequence[int] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says of it."""
        named = {facet: list(values) for facet, values in self.criteria.items() if values}
        return named | ({} if self.hubs is None else {"listed": len(set(self.hubs))})


@dataclass(frozen=True, slots=True)
class Destination:
    """Where hubs are to be moved: into the slots that begin at `at`, or from then on as early as possible."""

    plan: Booking.Plan
    at: datetime

    @property
    def words(self) -> str:
        """Say it in the reader's words, in UK time."""
        moment = f"{self.at.astimezone(LONDON):%A %-d %B %Y, %H:%M %Z}"
        if self.plan == Booking.Plan.EARLIEST:
            return f"as early as possible from {moment}"
        return f"the slot on {moment}"


WAITING = (State.PROVISIONAL, State.HELD)
"""Where a hub waits for the other Supplier's answer, under a question that is open."""
COULD_GO = (State.PROVISIONAL, State.BOOKED, State.STAGED)
"""Where a hub can wait for its turn, and nothing that it was told is unanswered."""
PAST_CUT_OFF = f"WHEN lot.change_until <= %(now)s THEN '{Obstacle.PAST_CUT_OFF}'"
MAY_MOVE = f"""
    WHEN %(one_slot)s AND slot.start_at = %(at)s THEN '{Obstacle.THERE_ALREADY}'
    WHEN {eligibility.REFUSAL} IS NOT NULL THEN '{Obstacle.NOT_ELIGIBLE}'"""
# the hub's own deployment is the one that is moved: it does not stand in the way
NO_OTHER = "CROSS JOIN (SELECT NULL::bigint AS id) deployment"


def judged_hubs(
    *, booking: Booking, part: Part, now: datetime, to: Destination | None = None
) -> tuple[str, dict[str, Any]]:
    """
    Return a SELECT of (id, hub, lot, slot, network_id, model_id, payment_mode, partner, obstacle) over the hubs of a
    part, and its parameters. Without a destination they are to be cancelled, and of payment mode and partner nothing
    is asked.
    """
    parameters: dict[str, Any] = {
        "booking": booking.pk,
        "now": now,
        "span": LOT_SPAN,
        "final": [str(state) for state in FINAL],
    }
    terms = [
        "lot.booking_id = %(booking)s",
        f"mine.ending NOT IN ('{Ending.MOVED}', '{Ending.CARRIED_OVER}')",
    ]
    if part.turnless is not None:
        source = "scheduling_deployment mine JOIN scheduling_lot lot ON lot.id = mine.id / %(span)s"
        terms.append("mine.id = ANY (%(turnless)s) AND mine.state = ANY (%(could_go)s)")
        parameters |= {"turnless": list(part.turnless), "could_go": [str(state) for state in COULD_GO]}
    elif part.hubs is None:
        source = """scheduling_lot lot JOIN scheduling_deployment mine
            ON mine.id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1"""
        terms.append("mine.state <> ALL (%(final)s)")
    else:  # found by the hub: a list is short, and a booking can be long
        source = "scheduling_deployment mine JOIN scheduling_lot lot ON lot.id = mine.id / %(span)s"
        terms += ["mine.hub_id = ANY (%(hubs)s)", SEEN.format(hub="mine.hub_id")]
        parameters |= {"hubs": list(part.hubs), "supplier": booking.supplier_id}
    if part.consent is not None:
        terms.append("lot.consent_id = %(consent)s AND mine.state = ANY (%(waiting)s)")
        parameters |= {"consent": part.consent, "waiting": [str(state) for state in WAITING]}
    for facet, column in FACETS.items():
        if wanted := part.criteria.get(facet):
            terms.append(f"{column} = ANY (%({facet})s)")
            parameters[facet] = [int(value) for value in wanted]
    if to or any(part.criteria.get(facet) for facet in eligibility.FACETS):
        source += " JOIN hubs_communicationshub hub ON hub.chf_id = mine.hub_id"
    if to:
        source += f" JOIN scheduling_slot slot ON slot.id = lot.slot_id {NO_OTHER}"
        parameters |= {"one_slot": to.plan == Booking.Plan.ONE_SLOT, "at": to.at}
        parameters = (
            eligibility.rules(release=booking.release, supplier=booking.supplier, now=now) | parameters
        )
    return (
        f"""SELECT mine.id, mine.hub_id AS hub, lot.id AS lot, lot.slot_id AS slot, lot.network_id,
            mine.model_id,
            {"hub.payment_mode" if to else "NULL::smallint"} AS payment_mode,
            {eligibility.PARTNER if to else "NULL::smallint"} AS partner,
            CASE WHEN mine.state = ANY (%(final)s) THEN '{Obstacle.ENDED}'
                 WHEN mine.state = '{State.ACTIVATING}' THEN '{Obstacle.ACTIVATING}'
                 {PAST_CUT_OFF if part.consent is None and part.turnless is None else ""}
                 {MAY_MOVE if to else ""} END AS obstacle
            FROM {source} WHERE {" AND ".join(terms)}""",  # noqa: S608 - our own columns
        parameters,
    )


@dataclass(frozen=True, slots=True)
class Outlook:
    """What changing a part would do, in hubs: those that may go by slot id and network id, and those that stay."""

    by_slot: Mapping[int, int]
    by_network: Mapping[int, int]
    refused: Mapping[Obstacle, int]

    @property
    def would_go(self) -> int:
        """Hubs that may go."""
        return sum(self.by_slot.values())

    @property
    def would_stay(self) -> int:
        """Hubs that may not, each for a named reason."""
        return sum(self.refused.values())


def outlook(*, booking: Booking, part: Part, now: datetime, to: Destination | None = None) -> Outlook:
    """Count the hubs of a part by what may become of them, in one pass over them."""
    hubs, parameters = judged_hubs(booking=booking, part=part, now=now, to=to)
    rows = sql.rows(
        f"SELECT slot, network_id, obstacle, count(*) FROM ({hubs}) judged GROUP BY 1, 2, 3",  # noqa: S608
        parameters,
    )
    return counted(rows=rows, part=part)


def counted(*, rows: Sequence[tuple[Any, ...]], part: Part) -> Outlook:
    """Add up rows of (slot, network, obstacle, hubs); what a list names and no row has is not in the booking."""
    by_slot: Counter[int] = Counter()
    by_network: Counter[int] = Counter()
    refused: Counter[Obstacle] = Counter()
    for slot, network, obstacle, hubs in rows:
        if obstacle is None:
            by_slot[slot] += hubs
            by_network[network] += hubs
        else:
            refused[Obstacle(obstacle)] += hubs
    if part.hubs is not None and not part.facts.keys() & FACETS.keys():
        missing = len(set(part.hubs)) - by_slot.total() - refused.total()
        if missing:
            refused[Obstacle.NOT_BOOKED] = missing
    return Outlook(by_slot, by_network, refused)


JUDGED = "SELECT hub, network_id, model_id, payment_mode, partner, obstacle AS refusal FROM ({}) part"
"""What a guard divides into groups."""


def groups(
    *, booking: Booking, part: Part, to: Destination, guard: guards.Guard, now: datetime
) -> list[guards.Group]:
    """Count the hubs that may go by group, in one pass over them."""
    hubs, parameters = judged_hubs(booking=booking, part=part, now=now, to=to)
    return guards.counted(guard=guard, hubs=JUDGED.format(hubs), parameters=parameters)


@dataclass(frozen=True, slots=True)
class Moved:
    """Where hubs would go, and how many of which network id find no place there, clear of their windows."""

    placements: Sequence[planning.Placement]
    lacking: Mapping[int, int]


def placed(
    *,
    booking: Booking,
    outlook: Outlook,
    groups: Sequence[guards.Group],
    to: Destination,
    now: datetime,
    avoiding: Collection[int] = (),
    in_reserve: bool = False,
    cut_off_holds: bool = True,
) -> Moved:
    """
    Say where the hubs that may go would go; not to the slots to avoid, by id. The rest is for `slots.rooms`.

    As of now and without a lock. The places that they leave count as free.
    """
    if to.plan == Booking.Plan.EARLIEST:
        every = dict.fromkeys(outlook.by_network, plans.EVERY_PLACE)
        rooms = slots.rooms(
            release=booking.release,
            supplier=booking.supplier,
            needed=every if avoiding or any(group.closed for group in groups) else outlook.by_network,
            now=now,
            not_before=to.at,
            freed=outlook.by_slot,
            in_reserve=in_reserve,
            cut_off_holds=cut_off_holds,
        )
    else:
        rooms = slots.rooms_between(
            release=booking.release,
            supplier=booking.supplier,
            networks=outlook.by_network,
            start=to.at,
            end=to.at + timedelta(microseconds=1),
            now=now,
            freed=outlook.by_slot,
        )
    timing = plans.Timing(to.plan, to.at if to.plan == Booking.Plan.ONE_SLOT else None)
    rooms = [room for room in rooms if room.slot not in avoiding]
    placements = plans.place(timing=timing, rooms=rooms, groups=groups).placements
    found: Counter[int] = Counter()
    for placement in placements:
        found[placement.network] += placement.hubs
    return Moved(
        placements,
        {network: left for network, hubs in outlook.by_network.items() if (left := hubs - found[network])},
    )


@dataclass(frozen=True, slots=True)
class BookedSlot:
    """A slot of a booking with the hubs in it that can still be changed."""

    slot: int
    network: str
    start_at: datetime
    end_at: datetime
    hubs: int


def changeable_slots(*, booking: Booking, now: datetime) -> list[BookedSlot]:
    """Return the slots of a booking with hubs that can still be changed, in order of time; from the lots' counts."""
    waiting = F("provisional") + F("booked") + F("staging") + F("staged") + F("held")
    rows = (
        Lot.objects.filter(booking=booking, change_until__gt=now)
        .order_by("slot__start_at", "network__name")
        .values_list("slot", "network__name", "slot__start_at", "slot__end_at")
        .annotate(waits=Sum(waiting))
        .filter(waits__gt=0)
    )
    return [BookedSlot(*row) for row in rows]
