"""
When the stages of a release are expected to open, and which hubs have no turn in their slots.

The forecast goes by the counts of lots and by what they were made of, never by the hubs: a release of tens of millions
takes a fraction of a second. Only the hubs of a slot that has too many are looked at one by one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from firmware.models import OPEN_TO_SUPPLIERS, FirmwareRelease, ReleaseState
from hubs.gateway import Phase
from portal.ground import asking, sql
from portal.ground.uk_time import Span
from scheduling import turns
from scheduling.models import LOT_SPAN, Booking, Stage
from scheduling.queries import late_looks
from scheduling.queries.evidence import HARDLY_JUDGED, MODEL_HALTED, NETWORKS_HALTED
from scheduling.queries.late_looks import IN_HALTED_PART
from scheduling.queries.quarantine import SET_ASIDE
from scheduling.turns import Forecast, Opening

AHEAD = timedelta(hours=1)
"""Before hubs are staged: by then they are moved that have no turn in their slot."""
LATE = timedelta(minutes=1)
"""After a hub is due to be looked at again, until somebody does."""
AGAIN = timedelta(minutes=10)
"""Until somebody tries again to move the hubs of a lot, some of which found no place."""

OPEN = f"""
SELECT {sql.columns(Stage, "stage")},
       ARRAY(SELECT hubs::int FROM jsonb_array_elements_text(policy.stage_sizes) AS each_step (hubs)),
       policy.soak, policy.silence_deadline, {HARDLY_JUDGED}, late.succeeded_at, late.misses, late.missed_at
FROM scheduling_stage stage JOIN firmware_rolloutpolicy policy ON policy.release_id = stage.release_id
LEFT JOIN LATERAL (
    SELECT max(succeeded_at) FILTER (WHERE misses = 0) AS succeeded_at, min(misses) FILTER (WHERE misses > 0) AS misses,
           max(looked_at) FILTER (WHERE misses > 0) AS missed_at
    FROM scheduling_latelook late
    WHERE late.release_id = stage.release_id AND late.model_id = stage.model_id AND late.stage = stage.number
      AND late.looks = 0 AND policy.soak !~ '^0 ' AND NOT {IN_HALTED_PART}) late ON true
WHERE stage.release_id = %(release)s AND stage.closed_at IS NULL AND stage.size IS NOT NULL
  AND NOT {MODEL_HALTED} ORDER BY stage.model_id
"""  # noqa: S608 - our own columns
STANDING = f"""
FROM scheduling_firsthub first JOIN scheduling_deployment deployment ON deployment.id = first.deployment_id
WHERE first.stage_id = %(stage)s AND deployment.ended_at IS NULL AND deployment.stage = 0
  AND deployment.state <> 'held' AND NOT {SET_ASIDE}"""
"""The hubs that were chosen for a stage and still wait for it; those that are set aside may never go."""
# No more than a first stage takes, by their keys.
FIRST_IN_SLOTS = f"""
SELECT lot.slot_id, count(*)::int
FROM (SELECT deployment.id {STANDING}) first JOIN scheduling_lot lot ON lot.id = first.id / %(span)s GROUP BY 1
"""  # noqa: S608 - our own constant
# Put together with the slots by ourselves: what the planner thinks of the counts of lots is so wrong that it would add
# them up anew for each slot.
IN_SLOTS = f"""
SELECT slot_id, ceil(coalesce(sum(hubs) FILTER (WHERE has_begun), 0))::int,
       ceil(coalesce(sum(hubs) FILTER (WHERE was_moved AND NOT has_begun), 0))::int,
       ceil(coalesce(sum(hubs) FILTER (WHERE NOT was_moved AND NOT has_begun), 0))::int
FROM (
    SELECT lot.slot_id, lot.staging + lot.staged > 0 AS has_begun, lot.moved_from IS NOT NULL AS was_moved,
           (lot.provisional + lot.booked + lot.staging + lot.staged) * made_of.hubs::numeric / lot.size AS hubs
    FROM scheduling_lot lot
    JOIN scheduling_lotmodel made_of ON made_of.lot_id = lot.id AND made_of.model_id = %(model)s
    WHERE lot.release_id = %(release)s AND lot.provisional + lot.booked + lot.staging + lot.staged > 0
      AND lot.network_id <> ALL ({NETWORKS_HALTED})) counted
GROUP BY 1
"""  # noqa: S608 - our own constant
PLACES = f"""
SELECT slot.id, slot.network_id, slot.start_at, slot.end_at, slot.capacity - slot.taken
FROM scheduling_slot slot
JOIN firmware_availabilityperiod period ON period.release_id = %(release)s AND period.network_id = slot.network_id
    AND slot.start_at >= period.start_at AND slot.end_at <= period.end_at
WHERE slot.end_at > %(now)s AND slot.network_id <> ALL ({NETWORKS_HALTED})
"""  # noqa: S608 - our own constant


NOBODY = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Line:
    """The hubs of one model that stand in line for the stages of a release."""

    stage: Stage
    forecast: Forecast


@asking.trusted(
    "stages open by the hubs of the whole country: of others only counts, and what they let one expect"
)
def lines(*, release: int, now: datetime) -> list[Line]:
    """
    Forecast who of a release, by id, has a turn when: a line for each model whose stages have a limit.

    What is halted stands in no line: nobody knows when it goes on.
    """
    found = []
    places = sql.rows(PLACES, {"release": release, "now": now})
    width = len(Stage._meta.concrete_fields)
    for row in sql.rows(OPEN, {"release": release}):
        stage: Stage = sql.instance(Stage, row[:width])
        sizes, soak, deadline, is_hardly_judged, *late = row[width:]
        assert stage.size is not None  # noqa: S101 - the statement asks for it
        terms = {
            "release": release,
            "model": stage.model_id,
            "stage": stage.pk,
            "span": LOT_SPAN,
            "now": now,
        }
        counts = {slot: hubs for slot, *hubs in sql.rows(IN_SLOTS, terms)}
        first: dict[int, int] = dict(sql.rows(FIRST_IN_SLOTS, terms)) if stage.chosen_at else {}
        forecast = turns.forecast(
            policy=turns.Policy(sizes, Span.parse(soak), Span.parse(deadline)),
            opened=turns.Open(
                number=stage.number,
                step=stage.step,
                opened_at=stage.opened_at,
                size=stage.size,
                admitted=stage.admitted,
                full_at=stage.full_at,
                is_cut=stage.cut_at is not None,
                is_chosen=stage.chosen_at is not None,
                looked_at=_looked_at(release, now, *late),
                is_hardly_judged=is_hardly_judged,
            ),
            slots=[
                _in_slot(place, first.get(place[0], 0), *counts.get(place[0], NOBODY)) for place in places
            ],
            now=now,
        )
        found.append(Line(stage, forecast))
    return found


def _looked_at(
    release: int, now: datetime, succeeded_at: datetime | None, misses: int | None, missed_at: datetime | None
) -> datetime | None:
    """Return when hubs will have been looked at again: those that succeeded last, and those that did not answer."""
    if not (succeeded_at or missed_at):
        return None
    of = FirmwareRelease.objects.select_related("policy").get(pk=release)
    found = []
    if succeeded_at:
        found.append(succeeded_at + late_looks.later(release=of, now=now) + LATE)
    if missed_at and misses:
        left = late_looks.MISSES - misses
        found.append(missed_at + left * (late_looks.again(release=of, now=now) + LATE))
    return max(found)


def _in_slot(place: tuple[Any, ...], first: int, begun: int, moved: int, booked: int) -> turns.Slot:
    """Take the chosen hubs out of the others, whichever of these they are."""
    slot, network, start_at, end_at, free = place
    of_begun = min(begun, first)
    of_moved = min(moved, first - of_begun)
    rest = max(booked - (first - of_begun - of_moved), 0)
    return turns.Slot(slot, network, start_at, end_at, first, begun - of_begun, moved - of_moved, rest, free)


# Hubs to which nothing was sent, whose staging is about to open; and those that wait for a turn while their slot ends.
WAITING_AHEAD = """
    lot.provisional + lot.booked > 0 AND lot.staging + lot.staged + lot.activating = 0
    AND lot.staging_from <= %(soon)s AND slot.start_at > %(now)s
    AND (lot.turns_asked_at IS NULL OR lot.turns_asked_at <= %(asked_before)s)"""
IN_VAIN = """
    lot.staged > 0
    AND slot.end_at - least(%(latest)s, (slot.end_at - slot.start_at) / 6) <= %(now)s"""
CONCERNED = f"""
SELECT lot.slot_id, bool_or({WAITING_AHEAD}), bool_or({IN_VAIN})
FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
WHERE lot.release_id = %(release)s AND slot.end_at > %(now)s AND (({WAITING_AHEAD}) OR ({IN_VAIN}))
GROUP BY 1
"""  # noqa: S608 - our own constants


@dataclass(frozen=True, slots=True)
class Concerned:
    """Slots, by id, in which hubs of a release may have no turn: before they are staged, and at the slot's end."""

    ahead: set[int]
    in_vain: set[int]


def concerned(*, release: int, now: datetime) -> Concerned:
    """Return the slots that have to be looked at now; mostly there are none, and nothing has to be forecast."""
    rows = sql.rows(CONCERNED, _moment(now) | {"release": release})
    return Concerned(
        {slot for slot, is_ahead, _ in rows if is_ahead}, {slot for slot, _, in_vain in rows if in_vain}
    )


def _moment(now: datetime) -> dict[str, Any]:
    return {"now": now, "soon": now + AHEAD, "asked_before": now - AGAIN, "latest": turns.LATEST}


# In the order in which they stand in line. As long as the first stage is open, pilots stay, for when others leave it.
IS_PILOT = """(%(pilots_stay)s AND EXISTS (
    SELECT FROM scheduling_hubgroup kept JOIN scheduling_groupedhub member ON member.group_id = kept.id
    WHERE kept.is_pilot AND kept.supplier_id = lot.supplier_id AND member.hub = deployment.hub_id))"""
IN_LINE = f"""
FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
JOIN scheduling_deployment deployment
    ON deployment.id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1
WHERE lot.release_id = %(release)s AND lot.slot_id = %(slot)s AND deployment.model_id = %(model)s
  AND NOT EXISTS (SELECT FROM (SELECT deployment.id {STANDING}) first WHERE first.id = deployment.id)
"""
WITHOUT_TURN = f"""
SELECT id, booking_id, is_shared, is_override FROM (
    SELECT deployment.id, lot.booking_id, lot.consent_id IS NOT NULL AS is_shared, lot.is_override,
           lot.turns_asked_at, {IS_PILOT} AS is_pilot,
           row_number() OVER (ORDER BY {IS_PILOT} DESC, lot.moved_from, lot.id, deployment.id) AS place
    {IN_LINE} AND deployment.state IN ('provisional', 'booked')
      AND lot.staging + lot.staged + lot.activating = 0) line
WHERE place > %(stay)s AND NOT is_pilot AND (turns_asked_at IS NULL OR turns_asked_at <= %(asked_before)s)
ORDER BY place LIMIT %(limit)s
"""  # noqa: S608 - our own constants
WAITED_IN_VAIN = f"""
SELECT deployment.id, lot.booking_id, lot.consent_id IS NOT NULL, lot.is_override
FROM scheduling_lot lot JOIN scheduling_deployment deployment
    ON deployment.id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1
WHERE lot.release_id = %(release)s AND lot.slot_id = %(slot)s AND deployment.model_id = %(model)s
  AND deployment.state = 'staged' AND deployment.phase = {Phase.ACTIVATE:d} AND deployment.first_miss_at IS NULL
ORDER BY deployment.id LIMIT %(limit)s
"""  # noqa: S608 - our own constants


@dataclass(frozen=True, slots=True)
class Turnless:
    """A deployment without a turn in its slot, and what decides with which others it can be moved."""

    deployment: int
    booking: int
    is_shared: bool
    is_override: bool


def without_turn(*, line: Line, slot: int, now: datetime, limit: int) -> Sequence[Turnless]:
    """
    Return hubs of a slot, by id, that have no turn in it, in the order in which they stand in line, at most so many.

    Nothing was sent to them. The first stage's hubs are none of them, nor, as long as it is open, are pilots.
    """
    in_slot = line.forecast.turns[slot]
    stay = max(in_slot.turns + in_slot.substitutes - in_slot.slot.first - in_slot.slot.begun, 0)
    terms = _of_slot(line, slot, now, limit) | {"stay": stay, "pilots_stay": line.stage.step == 1}
    return [Turnless(*row) for row in sql.rows(WITHOUT_TURN, terms)]


def in_vain(*, line: Line, slot: int, now: datetime, limit: int) -> Sequence[Turnless]:
    """Return hubs that wait for a turn in a slot, by id, which is about to end: at most so many."""
    return [Turnless(*row) for row in sql.rows(WAITED_IN_VAIN, _of_slot(line, slot, now, limit))]


def _of_slot(line: Line, slot: int, now: datetime, limit: int) -> dict[str, Any]:
    return _moment(now) | {
        "release": line.stage.release_id,
        "model": line.stage.model_id,
        "stage": line.stage.pk,
        "slot": slot,
        "span": LOT_SPAN,
        "limit": limit,
    }


# -- what Suppliers read -------------------------------------------------------------------------------------

OF_BOOKING = """
SELECT made_of.model_id, model.name, slot.start_at, lot.waits,
       ceil(sum((CASE WHEN lot.waits THEN lot.staged ELSE lot.provisional + lot.booked + lot.staging + lot.staged END)
                * made_of.hubs::numeric / lot.size))::int
FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
JOIN scheduling_lotmodel made_of ON made_of.lot_id = lot.id
JOIN hubs_hubmodel model ON model.id = made_of.model_id
WHERE lot.booking_id = %(booking)s AND slot.end_at > %(now)s AND (lot.waits OR lot.moved_from IS NOT NULL)
  AND lot.provisional + lot.booked + lot.staging + lot.staged > 0
GROUP BY 1, 2, 3, 4 ORDER BY 2, 3
"""
MOVES = """
SELECT lot.moved_from, min(slot.start_at), max(slot.start_at), sum(lot.size)::int
FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
WHERE lot.booking_id = %(booking)s AND lot.moved_from IS NOT NULL
GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Wait:
    """
    So many hubs of a booking wait for a stage of their model.

    It `is_open`, or is expected to open; during a halt nobody knows when.
    """

    hubs: int
    model: str
    stage: int
    is_open: bool
    opens_at: datetime | None


@dataclass(frozen=True, slots=True)
class Move:
    """So many hubs of a booking went from the slots that begin at one moment to those between two others."""

    hubs: int
    left: datetime
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What the stages of the rollout do to a booking; `has_models` says that its hubs stand in several lines."""

    waits: Sequence[Wait]
    moves: Sequence[Move]
    has_models: bool


def of_booking(*, booking: Booking, now: datetime) -> Standing:
    """Say which hubs of a booking wait for a stage, and which were moved: mostly none, and that is two questions."""
    terms = {"booking": booking.pk, "now": now}
    moves = [Move(hubs, left, first, last) for left, first, last, hubs in sql.rows(MOVES, terms)]
    is_open_to_hubs = booking.release.state in OPEN_TO_SUPPLIERS
    rows = sql.rows(OF_BOOKING, terms) if is_open_to_hubs else []
    by_model = (
        {line.stage.model_id: line for line in lines(release=booking.release_id, now=now)} if rows else {}
    )
    is_known = booking.release.state == ReleaseState.PUBLISHED
    hubs: Counter[tuple[str, int, datetime | None]] = Counter()
    for model, name, start_at, waits, number in rows:
        if line := by_model.get(model):
            hubs[name, *_stage_of(line, start_at, waits)] += number
    return Standing(
        [
            Wait(number, name, stage, is_known and opens_at is None, opens_at if is_known else None)
            for (name, stage, opens_at), number in hubs.items()
            if number
        ],
        moves,
        len(by_model) > 1,
    )


def _stage_of(line: Line, start_at: datetime, waits: bool) -> tuple[int, datetime | None]:
    """Return the stage that takes hubs of a slot, and when it opens; what waits in a slot waits for the next one."""
    openings = line.forecast.openings
    is_full = line.stage.full_at is not None or line.stage.admitted == line.stage.size
    coming = [one for one in openings if one.at <= start_at]
    if waits:
        coming = list(openings[:1]) if is_full else []
    return (coming[-1].number, coming[-1].at) if coming else (line.stage.number, None)


def openings(*, release: int, now: datetime, limit: int) -> Mapping[int, Sequence[Opening]]:
    """Return the next stages that are expected to open, at most so many for each model, by its id."""
    return {line.stage.model_id: line.forecast.openings[:limit] for line in lines(release=release, now=now)}
