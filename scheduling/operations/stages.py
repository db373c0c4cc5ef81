"""
Open a release's budget and its stages, hold them while hubs are admitted, and go on to the next stage.

The counts in these rows are moved by the database alone. Whoever admits hubs locks the rows first, lots before what
is in flight before stages, and slots after all of them: the trigger that counts goes the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from portal.ground import sql
from scheduling.models import LOT_SIZE, InFlight, Stage

# Raw SQL: the figures of a frozen policy become rows, for all releases at once, however many ask at the same time.
OPEN_BUDGETS = """
INSERT INTO scheduling_inflight (release_id, floor, percent, ceiling)
SELECT release.id, policy.in_flight_floor, policy.in_flight_percent, policy.in_flight_ceiling
FROM firmware_firmwarerelease release JOIN firmware_rolloutpolicy policy ON policy.release_id = release.id
WHERE {which} AND NOT EXISTS (SELECT FROM scheduling_inflight known WHERE known.release_id = release.id)
ORDER BY release.id
ON CONFLICT DO NOTHING
"""
OPEN_STAGES = """
INSERT INTO scheduling_stage (release_id, model_id, number, size, opened_at)
SELECT release.id, chosen.hubmodel_id, 1, (policy.stage_sizes ->> 0)::int, %(now)s
FROM firmware_firmwarerelease release JOIN firmware_rolloutpolicy policy ON policy.release_id = release.id
JOIN firmware_firmwarerelease_hub_models chosen ON chosen.firmwarerelease_id = release.id
WHERE {which} AND NOT EXISTS (
    SELECT FROM scheduling_stage known
    WHERE known.release_id = release.id AND known.model_id = chosen.hubmodel_id)
ORDER BY release.id, chosen.hubmodel_id
ON CONFLICT DO NOTHING
"""
EVERY = "release.state = 'published'"
ONE = "release.id = %(release)s"


@transaction.atomic
def open_first(*, release: int, now: datetime) -> None:
    """
    Open the budget of a release, by id, and the first stage of each of its models, where they are not open yet.

    The policy is frozen by the time that a release is published, so whenever this is asked it says the same.
    """
    terms = {"release": release, "now": now}
    sql.run(OPEN_BUDGETS.format(which=ONE), terms)
    sql.run(OPEN_STAGES.format(which=ONE), terms)


@dataclass(frozen=True, slots=True)
class OpenStage:
    """The stage in which hubs of a model are admitted now, and how many more; None where it has no limit."""

    number: int
    room: int | None


@dataclass(frozen=True, slots=True)
class Budget:
    """How many more hubs of a release may be in flight, and the open stage of each model, by id."""

    room: int
    stages: Mapping[int, OpenStage]


LOCK = (
    f"SELECT {sql.columns(InFlight, 'budget')} FROM scheduling_inflight budget "  # noqa: S608 - our own constants
    "WHERE release_id = %(release)s FOR NO KEY UPDATE",
    f"SELECT {sql.columns(Stage, 'stage')} FROM scheduling_stage stage "  # noqa: S608 - our own constants
    "WHERE release_id = %(release)s AND closed_at IS NULL ORDER BY id FOR NO KEY UPDATE",
)


def lock(*, release: int, now: datetime) -> Budget:
    """
    Lock what is in flight of a release, by id, and its open stages, until the end of the transaction.

    The caller holds the locks of its lots, and takes those of slots afterwards. Opens what is not open yet.
    """
    locked = sql.several(LOCK, {"release": release})
    if not locked[0]:
        open_first(release=release, now=now)
        locked = sql.several(LOCK, {"release": release})
    [in_flight], stages = locked
    budget = sql.instance(InFlight, in_flight)
    return Budget(
        max(budget.budget - budget.activating, 0),
        {
            stage.model_id: OpenStage(stage.number, stage.room)
            for stage in (sql.instance(Stage, row) for row in stages)
        },
    )


FULL = """
UPDATE scheduling_stage SET full_at = %(now)s
WHERE id IN (
    SELECT id FROM scheduling_stage WHERE closed_at IS NULL AND full_at IS NULL AND admitted = size
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
"""
# Those of a release that is halted wait until it is resumed.
CLOSE = """
UPDATE scheduling_stage SET closed_at = %(now)s
WHERE id IN (
    SELECT stage.id FROM scheduling_stage stage JOIN firmware_firmwarerelease release ON release.id = stage.release_id
    WHERE stage.closed_at IS NULL AND stage.full_at IS NOT NULL AND stage.resolved = stage.size
      AND release.state = 'published'
    ORDER BY stage.id FOR NO KEY UPDATE OF stage SKIP LOCKED)
RETURNING id
"""
# after the last size of the policy, tranches of that size
GO_ON = """
INSERT INTO scheduling_stage (release_id, model_id, number, size, opened_at)
SELECT stage.release_id, stage.model_id, stage.number + 1,
       (policy.stage_sizes ->> least(stage.number, jsonb_array_length(policy.stage_sizes) - 1))::int, %(now)s
FROM scheduling_stage stage JOIN firmware_rolloutpolicy policy ON policy.release_id = stage.release_id
WHERE stage.id = ANY (%(closed)s) ORDER BY stage.id
"""


WAKE = """
UPDATE scheduling_lot SET due_at = %(now)s, waits = false
WHERE id IN (
    SELECT lot.id FROM scheduling_lot lot JOIN scheduling_stage stage ON stage.release_id = lot.release_id
    WHERE lot.waits AND stage.id = ANY (%(closed)s) ORDER BY lot.id FOR UPDATE OF lot SKIP LOCKED)
"""


ROOM_LEFT = """
SELECT release_id, least(ceiling, greatest(floor, resolved * percent / 100)) - activating AS room
FROM scheduling_inflight budget JOIN firmware_firmwarerelease release ON release.id = budget.release_id
WHERE release.state = 'published' AND activating < least(ceiling, greatest(floor, resolved * percent / 100))
  AND EXISTS (SELECT FROM scheduling_lot lot WHERE lot.release_id = budget.release_id AND lot.waits)
"""
# Those that were looked at least often come first: what waits for a stage and not for room in flight keeps nobody
# else from being asked.
WAKE_SOME = """
UPDATE scheduling_lot SET due_at = %(now)s, waits = false
WHERE id IN (SELECT id FROM scheduling_lot WHERE release_id = %(release)s AND waits ORDER BY token, id
             LIMIT %(lots)s FOR UPDATE SKIP LOCKED)
"""


def advance(*, now: datetime) -> int:
    """
    Open what published releases lack, close the stages whose hubs all have an outcome, and open the next ones.

    Where room in flight is left although lots wait, as many are woken as could use it: whoever made it was in doubt.

    Returns how many stages were closed. A stage that somebody admits hubs to right now is left for the next time.
    """
    with transaction.atomic():
        sql.run(OPEN_BUDGETS.format(which=EVERY), {})
        sql.run(OPEN_STAGES.format(which=EVERY), {"now": now})
    with transaction.atomic():
        sql.run(FULL, {"now": now})
        closed = [stage for (stage,) in sql.rows(CLOSE, {"now": now})]
        sql.run(GO_ON, {"closed": closed, "now": now})
    # afterwards, since lots are locked before stages; if this is lost, who waits looks again by itself
    if closed:
        sql.run(WAKE, {"closed": closed, "now": now})
    for release, room in sql.rows(ROOM_LEFT, {}):
        sql.run(WAKE_SOME, {"release": release, "now": now, "lots": 1 + room // LOT_SIZE})
    return len(closed)
