"""
Choose the hubs of a first stage, among those with the earliest slots and among pilots.

Raw SQL throughout: up to two hundred lots are looked through at a time. Nothing is locked meanwhile but, at last, the
stage: whoever was cancelled or moved in between is followed by others the next time.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from portal.ground import sql
from portal.ground.uk_time import Span
from scheduling import first_stage
from scheduling.first_stage import Cell, Pick
from scheduling.models import LOT_SPAN
from scheduling.queries.evidence import MODEL_HALTED, NETWORKS_HALTED, RESUMED_SINCE
from scheduling.queries.quarantine import SET_ASIDE

AHEAD = timedelta(hours=1)
"""Before the first hubs of a model are staged; by then most of those who want an early slot have one."""
AGAIN = timedelta(minutes=1)
"""Until somebody looks again for hubs in place of those that left."""
AT_ONCE = 500
"""Hubs chosen at a time: to weigh hubs against each other takes a while where there are thousands of kinds."""
LOTS_EACH = 3
LOTS = 200
"""Lots looked through: so many of a Supplier on a network, and so many altogether."""
PILOTS_EACH = 5_000
"""Hubs of a group of pilots that are looked at."""

# What stands is chosen, and neither admitted, over, set aside nor halted with its part of the release. A stage that is
# cut off is followed by one that chooses anew.
WANTING = f"""
SELECT stage.id, stage.release_id, stage.model_id, stage.chosen_at, policy.soak,
       stage.size - stage.admitted - standing.hubs
FROM scheduling_stage stage JOIN firmware_firmwarerelease release ON release.id = stage.release_id
JOIN firmware_rolloutpolicy policy ON policy.release_id = release.id
CROSS JOIN LATERAL (
    SELECT count(*)::int AS hubs FROM scheduling_firsthub first
    JOIN scheduling_deployment deployment ON deployment.id = first.deployment_id
    WHERE first.stage_id = stage.id AND deployment.ended_at IS NULL AND deployment.stage = 0
      AND deployment.state <> 'held' AND NOT {SET_ASIDE}) standing
WHERE stage.closed_at IS NULL AND stage.cut_at IS NULL AND stage.step = 1 AND release.state = 'published'
  AND stage.size > stage.admitted + standing.hubs
  AND (stage.chosen_at IS NULL OR stage.chosen_at <= %(looked_before)s)
  AND NOT {RESUMED_SINCE} AND NOT {MODEL_HALTED}
  AND (NOT %(anew)s OR (stage.number > 1 AND stage.chosen_at IS NULL))
ORDER BY stage.id
"""  # noqa: S608 - our own constant
OPEN_LOTS = f"""
FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
JOIN scheduling_lotmodel made_of ON made_of.lot_id = lot.id AND made_of.model_id = %(model)s
WHERE lot.release_id = %(release)s AND lot.booked + lot.staging + lot.staged + lot.held > 0 AND slot.end_at > %(now)s
  AND lot.network_id <> ALL ({NETWORKS_HALTED})
"""
FIRST_SLOT = f"SELECT min(slot.start_at), min(lot.staging_from) {OPEN_LOTS}"
# Lots are told by what they were made of: of some models none of their hubs is left.
EARLY_LOTS = f"""
SELECT id FROM (
    SELECT lot.id, slot.start_at,
           row_number() OVER (PARTITION BY lot.network_id, lot.supplier_id ORDER BY slot.start_at, lot.id) AS nth
    {OPEN_LOTS} AND slot.start_at <= %(until)s AND EXISTS (
        SELECT FROM scheduling_deployment deployment
        WHERE deployment.id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1
          AND deployment.model_id = %(model)s AND deployment.ended_at IS NULL)) early
WHERE nth <= %(lots_each)s ORDER BY start_at, id LIMIT %(lots)s
"""  # noqa: S608 - our own constant
# A Supplier volunteers hubs that it books itself; those that it only shares are its other Supplier's to book. What is
# held although no halt concerns it any more goes on within moments, unless a consent is asked anew.
CANDIDATES = f"""
CREATE TEMPORARY TABLE first_candidate ON COMMIT DROP AS
WITH pilot AS MATERIALIZED (
    SELECT DISTINCT deployment.id
    FROM scheduling_hubgroup kept
    CROSS JOIN LATERAL (
        SELECT hub FROM scheduling_groupedhub member WHERE member.group_id = kept.id
        ORDER BY group_id, hub LIMIT %(pilots_each)s) member
    JOIN scheduling_deployment deployment ON deployment.hub_id = member.hub AND deployment.ended_at IS NULL
    JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
    WHERE kept.is_pilot AND lot.release_id = %(release)s AND lot.supplier_id = kept.supplier_id),
known AS (
    SELECT deployment.id FROM unnest(%(early)s::bigint[]) AS early (lot)
    JOIN scheduling_deployment deployment
        ON deployment.id BETWEEN early.lot * %(span)s AND early.lot * %(span)s + %(span)s - 1
    UNION
    SELECT id FROM pilot)
SELECT deployment.id, slot.start_at, lot.network_id, hub.hardware_version, hub.installed_version_id, hub.payment_mode,
       lot.supplier_id, pilot.id IS NOT NULL AS is_pilot
FROM known JOIN scheduling_deployment deployment USING (id)
JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
JOIN scheduling_slot slot ON slot.id = lot.slot_id
JOIN hubs_communicationshub hub ON hub.chf_id = deployment.hub_id
LEFT JOIN pilot ON pilot.id = deployment.id
WHERE deployment.model_id = %(model)s AND NOT EXISTS (
    SELECT FROM firmware_halt halt WHERE halt.release_id = %(release)s AND halt.lifted_at IS NULL
      AND (halt.network_id = lot.network_id OR halt.installed_version_id = hub.installed_version_id))
  AND (deployment.state IN ('booked', 'staging', 'staged')
       OR (deployment.state = 'held' AND lot.consent_id IS NULL))
  AND deployment.first_miss_at IS NULL AND slot.end_at > %(now)s AND slot.start_at <= %(until)s
  AND NOT EXISTS (
      SELECT FROM scheduling_firsthub first WHERE first.stage_id = %(stage)s AND first.deployment_id = deployment.id)
  AND NOT {SET_ASIDE}
"""  # noqa: S608 - our own constant
ALIKE = "network_id, hardware_version, installed_version_id, payment_mode, supplier_id"
CELLS = f"""
SELECT {ALIKE}, sum(pilots)::int, sum(others)::int, sum(taken)::int
FROM (
    SELECT {ALIKE}, is_pilot::int AS pilots, (NOT is_pilot)::int AS others, 0 AS taken FROM first_candidate
    UNION ALL
    SELECT lot.network_id, hub.hardware_version, hub.installed_version_id, hub.payment_mode, lot.supplier_id, 0, 0, 1
    FROM scheduling_firsthub first JOIN scheduling_deployment deployment ON deployment.id = first.deployment_id
    JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
    JOIN hubs_communicationshub hub ON hub.chf_id = deployment.hub_id
    WHERE first.stage_id = %(stage)s AND (deployment.ended_at IS NULL OR deployment.stage > 0)) hub
GROUP BY {ALIKE} ORDER BY {ALIKE}
"""  # noqa: S608 - our own constants
LOCK = """
SELECT FROM scheduling_stage WHERE id = %(stage)s AND closed_at IS NULL AND cut_at IS NULL
  AND chosen_at IS NOT DISTINCT FROM %(seen)s::timestamptz
FOR NO KEY UPDATE SKIP LOCKED
"""
WRITE = f"""
INSERT INTO scheduling_firsthub (stage_id, deployment_id, is_pilot, chosen_at)
SELECT %(stage)s, id, is_pilot, %(now)s FROM (
    SELECT candidate.id, is_pilot, wanted.hubs,
           row_number() OVER (PARTITION BY {ALIKE}, is_pilot ORDER BY candidate.start_at, candidate.id) AS place
    FROM first_candidate candidate
    JOIN unnest(%(networks)s::bigint[], %(hardware)s::int[], %(versions)s::bigint[], %(modes)s::int[],
                %(suppliers)s::bigint[], %(are_pilots)s::boolean[], %(hubs)s::int[])
        AS wanted ({ALIKE}, is_pilot, hubs) USING ({ALIKE}, is_pilot)) candidate
WHERE place <= hubs ORDER BY id
RETURNING deployment_id / %(span)s
"""  # noqa: S608 - our own constants
CHOSEN = "UPDATE scheduling_stage SET chosen_at = %(now)s WHERE id = %(stage)s"
WAKE = """
UPDATE scheduling_lot SET due_at = %(now)s, waits = false
WHERE id IN (SELECT id FROM scheduling_lot WHERE id = ANY (%(lots)s) AND waits ORDER BY id FOR UPDATE SKIP LOCKED)
"""


def choose(*, now: datetime, anew: bool = False) -> int:
    """
    Choose hubs for the first stages that have room for more than were chosen; return how many were.

    That begins an hour before the first hubs of the model are staged, and goes on as hubs leave: so a stage never
    waits for hubs that are gone. Who else is booked early is admitted to none of them.

    `anew` looks at nothing but stages that try the first size again, and admit nobody before this.
    """
    chosen = 0
    for stage, release, model, seen, soak, room in sql.rows(
        WANTING, {"looked_before": now - AGAIN, "anew": anew}
    ):
        terms = {"stage": stage, "release": release, "model": model, "seen": seen, "now": now}
        lots = _choose(terms, Span.parse(soak), min(room, AT_ONCE), now)
        chosen += len(lots)
        if lots:  # in a transaction of its own, since lots are locked before stages
            sql.run(WAKE, {"lots": sorted(set(lots)), "now": now})
    return chosen


@transaction.atomic(durable=True)
def _choose(terms: dict[str, object], soak: Span, room: int, now: datetime) -> list[int]:
    """Choose for one stage; return the lots of the hubs that were chosen, each as often as it has some."""
    terms = {**terms, "span": LOT_SPAN, "lots": LOTS, "lots_each": LOTS_EACH, "pilots_each": PILOTS_EACH}
    [(first_start, first_staging)] = sql.rows(FIRST_SLOT, terms)
    if first_start is None or first_staging > now + AHEAD:
        return []
    # the stage soaks as long in any case: those that come so much later hold nobody up for long; and whose turn comes
    # before somebody looks again would wait for room that there is
    start = max(first_start, now)
    terms["until"] = max(soak.after(start), start + AGAIN)
    terms["early"] = [lot for (lot,) in sql.rows(EARLY_LOTS, terms)]
    sql.run("DROP TABLE IF EXISTS first_candidate", {})
    sql.run(CANDIDATES, terms)
    rows = sql.rows(CELLS, terms)
    picks = first_stage.choose(cells=[Cell(tuple(row[:5]), *row[5:]) for row in rows], room=room)
    if not any(pick.pilots or pick.others for pick in picks) or not sql.rows(LOCK, terms):
        return []
    sql.run(CHOSEN, terms)
    return [lot for (lot,) in sql.rows(WRITE, terms | _wanted(rows, picks))]


def _wanted(rows: Sequence[tuple[int, ...]], picks: Sequence[Pick]) -> dict[str, list[object]]:
    """Return the parameters of WRITE that say how many hubs of which kind are wanted."""
    wanted = [
        (*row[:5], is_pilot, hubs)
        for row, pick in zip(rows, picks, strict=True)
        for is_pilot, hubs in ((True, pick.pilots), (False, pick.others))
        if hubs
    ]
    names = ("networks", "hardware", "versions", "modes", "suppliers", "are_pilots", "hubs")
    return {name: list(column) for name, column in zip(names, zip(*wanted, strict=True), strict=True)}
