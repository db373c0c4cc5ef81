"""
Open a release's budget and its stages, hold them while hubs are admitted, and go on to the next stage.

The counts in these rows are moved by the database alone. Whoever admits hubs locks the rows first, lots before what
is in flight before stages, and slots after all of them: the trigger that counts goes the same way.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from portal.ground import sql
from portal.ground.uk_time import Span
from scheduling.models import LOT_SIZE, InFlight, Stage
from scheduling.operations import first_hubs
from scheduling.queries import evidence
from scheduling.queries.evidence import HARDLY_JUDGED, MODEL_HALTED, RESUMED_SINCE
from scheduling.queries.late_looks import IN_HALTED_PART

logger = logging.getLogger(__name__)


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
    """
    The stage in which hubs of a model are admitted now, and how many more; None where it has no limit.

    Where its hubs are chosen, `chosen` is its id: none but those are admitted, and nobody before they were.
    """

    number: int
    room: int | None
    chosen: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """How many more hubs of a release may be in flight, and the open stage of each model, by id."""

    room: int
    stages: Mapping[int, OpenStage]


# What was open when a release was resumed is cut off by whoever comes next (`cut_off`); until then it has no room.
OPEN_TO_HUBS = f"stage.closed_at IS NULL AND NOT {RESUMED_SINCE}"
LOCK = (
    sql.Often(
        f"SELECT {sql.columns(InFlight, 'budget')} FROM scheduling_inflight budget "  # noqa: S608 - our own constants
        "WHERE release_id = %(release)s FOR NO KEY UPDATE"
    ),
    sql.Often(
        f"SELECT {sql.columns(Stage, 'stage')} FROM scheduling_stage stage "  # noqa: S608 - our own constants
        f"WHERE release_id = %(release)s AND {OPEN_TO_HUBS} ORDER BY id FOR NO KEY UPDATE"
    ),
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
            stage.model_id: OpenStage(stage.number, stage.room, stage.pk if _is_of_chosen(stage) else None)
            for stage in (sql.instance(Stage, row) for row in stages)
        },
    )


def _is_of_chosen(stage: Stage) -> bool:
    """
    Say whether chosen hubs alone are admitted to a stage.

    Where the first size is tried again, all that was staged for the stage before is woken at once, and would fill it
    before anybody has chosen. To the very first stage others are admitted where nobody could be chosen.
    """
    tries_again = stage.step == 1 and stage.number > 1 and stage.size is not None
    return stage.chosen_at is not None or tries_again


# What was cut off is as large as it is; a hub that surely was not activated goes back, and makes it smaller.
FULL = """
UPDATE scheduling_stage SET full_at = %(now)s, size = admitted
WHERE id IN (
    SELECT id FROM scheduling_stage
    WHERE closed_at IS NULL AND full_at IS NULL AND (admitted = size OR cut_at IS NOT NULL)
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
"""
# What is in flight is locked before stages, as everywhere. Whoever resumed a model knew of what has refused the image
# among its hubs, and whoever resumed the whole release of all that has; of a network or a version it says nothing.
CUT_OFF = f"""
WITH resumed AS (
    SELECT release_id FROM scheduling_inflight budget
    WHERE EXISTS (
        SELECT FROM scheduling_stage stage
        WHERE stage.release_id = budget.release_id AND closed_at IS NULL AND cut_at IS NULL AND {RESUMED_SINCE})
    ORDER BY release_id FOR NO KEY UPDATE),
known AS (
    UPDATE scheduling_inflight budget SET refusals_known = greatest(refusals_known, (
        SELECT coalesce(sum(hubs), 0) FROM scheduling_warningsign sign
        WHERE sign.release_id = budget.release_id AND sign.kind = 'refused' AND EXISTS (
            SELECT FROM firmware_halt halt JOIN scheduling_stage stage ON stage.release_id = halt.release_id
            WHERE halt.release_id = budget.release_id AND halt.lifted_at >= stage.opened_at
              AND stage.closed_at IS NULL AND stage.cut_at IS NULL
              AND halt.network_id IS NULL AND halt.installed_version_id IS NULL
              AND (halt.model_id IS NULL OR halt.model_id = sign.model_id))))
    FROM resumed WHERE budget.release_id = resumed.release_id
    RETURNING budget.release_id)
UPDATE scheduling_stage SET cut_at = %(now)s, size = admitted, full_at = %(now)s
WHERE id IN (
    SELECT id FROM scheduling_stage stage
    WHERE release_id IN (SELECT release_id FROM known) AND closed_at IS NULL AND cut_at IS NULL AND {RESUMED_SINCE}
    ORDER BY id FOR NO KEY UPDATE)
"""  # noqa: S608 - our own constant
# All that the soak was for is to see what fails late; where nobody looks, nobody is waited for.
TO_BE_LOOKED_AT = f"""EXISTS (
    SELECT FROM scheduling_latelook late
    WHERE late.release_id = stage.release_id AND late.model_id = stage.model_id AND late.stage = stage.number
      AND late.looks = 0 AND NOT {IN_HALTED_PART})"""
# Those of a release or model that is halted wait until it is resumed.
RESOLVED = f"""
SELECT stage.id, stage.release_id, stage.full_at,
       CASE WHEN stage.cut_at IS NULL AND stage.step <= jsonb_array_length(policy.stage_sizes) THEN policy.soak END
FROM scheduling_stage stage JOIN firmware_firmwarerelease release ON release.id = stage.release_id
JOIN firmware_rolloutpolicy policy ON policy.release_id = release.id
WHERE stage.closed_at IS NULL AND stage.full_at IS NOT NULL AND stage.resolved = stage.size
  AND release.state = 'published' AND NOT {MODEL_HALTED}
  AND NOT (stage.cut_at IS NULL AND stage.step <= jsonb_array_length(policy.stage_sizes) AND policy.soak !~ '^0 '
           AND {TO_BE_LOOKED_AT})
ORDER BY stage.id FOR NO KEY UPDATE OF stage SKIP LOCKED
"""  # noqa: S608 - our own constant
CLOSE = "UPDATE scheduling_stage SET closed_at = %(now)s WHERE id = ANY (%(closed)s)"
# After the last size of the policy, tranches of that size. Evidence begins anew with each of them, and after a
# resumption, which tries the same size again. So does a stage of which hardly anybody was judged: a larger one would
# open on the word of nobody. It does not wait for the pause of its network to end, which may take days: what is halted
# is not admitted, so the next one fills with others.
GO_ON = f"""
INSERT INTO scheduling_stage (release_id, model_id, number, step, episode, size, opened_at)
SELECT stage.release_id, stage.model_id, stage.number + 1, following.step,
       stage.episode + (stage.cut_at IS NOT NULL OR following.step > greatest(1, policy.sizes))::int,
       (policy.stage_sizes ->> least(following.step, policy.sizes) - 1)::int, %(now)s
FROM scheduling_stage stage
JOIN (SELECT *, jsonb_array_length(stage_sizes) AS sizes FROM firmware_rolloutpolicy) policy
    ON policy.release_id = stage.release_id
CROSS JOIN LATERAL (SELECT stage.step + (stage.cut_at IS NULL AND NOT {HARDLY_JUDGED})::int AS step) following
WHERE stage.id = ANY (%(closed)s) ORDER BY stage.id
"""  # noqa: S608 - our own constant


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
  AND EXISTS (
      SELECT FROM scheduling_stage stage WHERE stage.release_id = budget.release_id AND stage.closed_at IS NULL
        AND (stage.size IS NULL OR stage.admitted < stage.size))
"""
# Those that were looked at least often come first: what waits for a stage and not for room in flight keeps nobody
# else from being asked. Materialised: looked for once, since each further look would wake others.
WAKE_SOME = """
WITH longest AS MATERIALIZED (
    SELECT id FROM scheduling_lot WHERE release_id = %(release)s AND waits ORDER BY token, id
    LIMIT %(lots)s FOR UPDATE SKIP LOCKED)
UPDATE scheduling_lot lot SET due_at = %(now)s, waits = false FROM longest WHERE lot.id = longest.id
"""


@transaction.atomic
def cut_off(*, now: datetime) -> int:
    """
    Cut off the open stages of releases that were resumed since; return how many.

    Those who resumed a release knew of its hubs so far: what these say later is no evidence any more, nor is what has
    refused the image.
    """
    return sql.run(CUT_OFF, {"now": now})


def advance(*, now: datetime) -> int:
    """
    Open what published releases lack, close the stages whose hubs all have an outcome, and open the next ones.

    A stage that the policy names soaks first, from its last admission on: what fails late shows in few hubs then.
    A stage whose release has to stop is left as it is: a new one might begin with fresh evidence (`halts.watch`). Where
    the first size is tried again, hubs are chosen for it at once, since nobody else is admitted.
    Where room is left, in flight and in a stage, although lots wait, as many are woken as could use it: whoever made it
    was in doubt.

    Returns how many stages were closed. A stage that somebody admits hubs to right now is left for the next time.
    """
    with transaction.atomic():
        sql.run(OPEN_BUDGETS.format(which=EVERY), {})
        sql.run(OPEN_STAGES.format(which=EVERY), {"now": now})
    with transaction.atomic():
        sql.run(FULL, {"now": now})
        soaked = [
            (stage, release)
            for stage, release, full_at, soak in sql.rows(RESOLVED, {})
            if soak is None or Span.parse(soak).after(full_at) <= now
        ]
        stopping = {release for release in {release for _, release in soaked} if _has_to_stop(release, now)}
        closed = [stage for stage, release in soaked if release not in stopping]
        if closed:
            sql.run(CLOSE, {"closed": closed, "now": now})
            sql.run(GO_ON, {"closed": closed, "now": now})
    # afterwards, since lots are locked before stages; if this is lost, who waits looks again by itself
    if closed:
        sql.run(WAKE, {"closed": closed, "now": now})
    first_hubs.choose(now=now, anew=True)
    for release, room in sql.rows(ROOM_LEFT, {}):
        sql.run(WAKE_SOME, {"release": release, "now": now, "lots": 1 + room // LOT_SIZE})
    return len(closed)


def _has_to_stop(release: int, now: datetime) -> bool:
    """Say so also of a release that cannot be looked at: no stage of it opens, and it keeps nobody else's closed."""
    try:
        with transaction.atomic():
            return evidence.look(release=release, now=now).stops
    except Exception:
        logger.exception("release %s could not be looked at: its stages stay as they are", release)
        return True
