"""
Let the database count what is in flight, in its stage, and in each state, in the statement that moves deployments.

One look at the rows before and after a statement gives a short list of changes, by lot, model, stage and state;
everything else is read from that list. Rows are locked in one order: lots, what is in flight by release, stages by
id. The tally is never touched here, since it would be everybody's row: its changes are added beside it.

What is activating or ended by now has no stage, and is in no budget; the budgets begin at their floor.
"""

from django.db import migrations

FILL = {"scheduling_inflight": 10, "scheduling_stage": 25, "scheduling_tally": 50}

MODELS = """
UPDATE scheduling_deployment deployment SET model_id = hub.model_id
FROM hubs_communicationshub hub WHERE hub.chf_id = deployment.hub_id;
"""
TALLY = """
INSERT INTO scheduling_tally (release_id, network_id, model_id, stage, state, hubs)
SELECT lot.release_id, lot.network_id, deployment.model_id, 0, deployment.state, count(*)
FROM scheduling_deployment deployment JOIN scheduling_lot lot ON lot.id = deployment.id >> 11
GROUP BY 1, 2, 3, 5 ORDER BY 1, 2, 3, 5;
"""
BUDGETS = """
INSERT INTO scheduling_inflight (release_id, floor, percent, ceiling)
SELECT release.id, in_flight_floor, in_flight_percent, in_flight_ceiling
FROM firmware_firmwarerelease release JOIN firmware_rolloutpolicy policy ON policy.release_id = release.id
WHERE release.state IN ('published', 'halted') ORDER BY release.id;

INSERT INTO scheduling_stage (release_id, model_id, number, size, opened_at)
SELECT release.id, chosen.hubmodel_id, 1, (policy.stage_sizes ->> 0)::int, now()
FROM firmware_firmwarerelease release JOIN firmware_rolloutpolicy policy ON policy.release_id = release.id
JOIN firmware_firmwarerelease_hub_models chosen ON chosen.firmwarerelease_id = release.id
WHERE release.state IN ('published', 'halted') ORDER BY release.id, chosen.hubmodel_id;
"""

# as they were when this migration was written: a later state needs a later migration
STATES = (
    "provisional",
    "booked",
    "staging",
    "staged",
    "activating",
    "held",
    "succeeded",
    "failed",
    "unconfirmed",
    "missed",
    "cancelled",
)
CHANGE = """
CREATE TYPE scheduling_deploymentchange AS (
    lot_id bigint, model_id smallint, source varchar(11), source_stage smallint, target varchar(11),
    target_stage smallint, hubs integer, example bigint);
"""
COUNTS = ",\n        ".join(f"{state} = lot.{state} + change.{state}" for state in STATES)
SUMS = ",\n               ".join(
    f"sum(CASE '{state}' WHEN target THEN hubs WHEN source THEN -hubs ELSE 0 END) AS {state}"
    for state in STATES
)

# The lots are named by their ids besides the join, so that few are found by their index among many.
MOVED = f"""
CREATE OR REPLACE FUNCTION scheduling_deployment_moved() RETURNS trigger LANGUAGE plpgsql
SET enable_nestloop = off AS $$
DECLARE
    changes scheduling_deploymentchange[];
    lots bigint[];
    illegal record;
    wanted bigint;
    present bigint;
BEGIN
    SELECT array_agg((lot_id, model_id, source, source_stage, target, target_stage, hubs, example)
                     ::scheduling_deploymentchange),
           array_agg(DISTINCT lot_id)
    INTO changes, lots
    FROM (
        SELECT after.id >> 11 AS lot_id, after.model_id, before.state AS source, before.stage AS source_stage,
               after.state AS target, after.stage AS target_stage, count(*) AS hubs, min(after.id) AS example
        FROM before JOIN after USING (id)
        WHERE before.state <> after.state OR before.stage <> after.stage
        GROUP BY 1, 2, 3, 4, 5, 6) change;
    IF changes IS NULL THEN
        RETURN NULL;
    END IF;

    SELECT change.* INTO illegal FROM unnest(changes) change
    WHERE (source, target) NOT IN (SELECT move.source, move.target FROM scheduling_move move) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'deployment % cannot move from % to %', illegal.example, illegal.source, illegal.target
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deployment_moves', TABLE = 'scheduling_deployment';
    END IF;
    SELECT change.* INTO illegal FROM unnest(changes) change
    WHERE source_stage <> target_stage
      AND NOT (target = 'activating' OR (source = 'activating' AND target = 'staged')) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'deployment % cannot go from stage % to % as it moves from % to %', illegal.example,
            illegal.source_stage, illegal.target_stage, illegal.source, illegal.target
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deployment_stages', TABLE = 'scheduling_deployment';
    END IF;

    UPDATE scheduling_lot lot SET
        {COUNTS}
    FROM (
        SELECT lot_id,
               {SUMS}
        FROM unnest(changes) GROUP BY 1
    ) change
    WHERE lot.id = ANY (lots) AND lot.id = change.lot_id;

    INSERT INTO scheduling_tallychange (release_id, network_id, model_id, stage, state, hubs)
    SELECT lot.release_id, lot.network_id, model_id, stage, state, sum(hubs)
    FROM (
        SELECT lot_id, model_id, source_stage AS stage, source AS state, -hubs AS hubs FROM unnest(changes)
        UNION ALL
        SELECT lot_id, model_id, target_stage, target, hubs FROM unnest(changes)) counted
    JOIN scheduling_lot lot ON lot.id = counted.lot_id
    WHERE lot.id = ANY (lots)
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(hubs) <> 0;

    IF NOT EXISTS (
        SELECT FROM unnest(changes)
        WHERE (source = 'activating' AND source_stage > 0) OR (target = 'activating' AND target_stage > 0)) THEN
        RETURN NULL;
    END IF;

    PERFORM FROM scheduling_inflight
    WHERE release_id IN (SELECT release_id FROM scheduling_lot WHERE id = ANY (lots))
    ORDER BY release_id FOR NO KEY UPDATE;
    WITH change AS (
        SELECT lot.release_id,
               coalesce(sum(hubs) FILTER (WHERE target = 'activating'), 0) AS came,
               coalesce(sum(hubs) FILTER (WHERE source = 'activating'), 0) AS left_it,
               coalesce(sum(hubs) FILTER (WHERE source = 'activating' AND target <> 'staged'), 0) AS resolved
        FROM unnest(changes) change JOIN scheduling_lot lot ON lot.id = change.lot_id
        WHERE lot.id = ANY (lots) AND (
            (source = 'activating' AND source_stage > 0) OR (target = 'activating' AND target_stage > 0))
        GROUP BY 1),
    moved AS (
        UPDATE scheduling_inflight in_flight SET
            activating = in_flight.activating + change.came - change.left_it,
            resolved = in_flight.resolved + change.resolved
        FROM change WHERE in_flight.release_id = change.release_id
        RETURNING in_flight.release_id)
    SELECT (SELECT count(*) FROM change), (SELECT count(*) FROM moved) INTO wanted, present;
    IF wanted <> present THEN
        RAISE EXCEPTION 'a release without a budget has hubs in flight'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deployment_in_flight', TABLE = 'scheduling_deployment';
    END IF;

    PERFORM FROM scheduling_stage
    WHERE release_id IN (SELECT release_id FROM scheduling_lot WHERE id = ANY (lots))
      AND model_id IN (SELECT model_id FROM unnest(changes))
      AND number IN (SELECT unnest(ARRAY[source_stage, target_stage]) FROM unnest(changes))
    ORDER BY id FOR NO KEY UPDATE;
    WITH change AS (
        SELECT lot.release_id, model_id, CASE 'activating' WHEN target THEN target_stage ELSE source_stage END AS number,
               coalesce(sum(hubs) FILTER (WHERE target = 'activating'), 0)
               - coalesce(sum(hubs) FILTER (WHERE target = 'staged'), 0) AS admitted,
               coalesce(sum(hubs) FILTER (WHERE target NOT IN ('activating', 'staged')), 0) AS resolved
        FROM unnest(changes) change JOIN scheduling_lot lot ON lot.id = change.lot_id
        WHERE lot.id = ANY (lots) AND (
            (source = 'activating' AND source_stage > 0) OR (target = 'activating' AND target_stage > 0))
        GROUP BY 1, 2, 3),
    moved AS (
        UPDATE scheduling_stage stage SET
            admitted = stage.admitted + change.admitted,
            resolved = stage.resolved + change.resolved,
            full_at = CASE WHEN stage.admitted + change.admitted = stage.size THEN stage.full_at END
        FROM change
        WHERE stage.release_id = change.release_id AND stage.model_id = change.model_id
          AND stage.number = change.number
        RETURNING stage.id)
    SELECT (SELECT count(*) FROM change), (SELECT count(*) FROM moved) INTO wanted, present;
    IF wanted <> present THEN
        RAISE EXCEPTION 'hubs were admitted in a stage that is not there'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deployment_stages', TABLE = 'scheduling_deployment';
    END IF;
    RETURN NULL;
END $$;
"""

BEGUN = """
CREATE FUNCTION scheduling_deployment_begun() RETURNS trigger LANGUAGE plpgsql
SET enable_nestloop = off AS $$
DECLARE
    changes scheduling_deploymentchange[];
    lots bigint[];
    illegal record;
    present bigint;
BEGIN
    SELECT array_agg((lot_id, model_id, NULL, 0, state, stage, hubs, example)::scheduling_deploymentchange),
           array_agg(DISTINCT lot_id)
    INTO changes, lots
    FROM (
        SELECT id >> 11 AS lot_id, model_id, state, stage, count(*) AS hubs, min(id) AS example
        FROM after GROUP BY 1, 2, 3, 4) change;
    IF changes IS NULL THEN
        RETURN NULL;
    END IF;

    SELECT change.* INTO illegal FROM unnest(changes) change
    WHERE target NOT IN ('provisional', 'booked') OR target_stage <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'deployment % cannot begin as %', illegal.example, illegal.target
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deployment_begins', TABLE = 'scheduling_deployment';
    END IF;

    INSERT INTO scheduling_tallychange (release_id, network_id, model_id, stage, state, hubs)
    SELECT lot.release_id, lot.network_id, model_id, 0, target, sum(hubs)
    FROM unnest(changes) change JOIN scheduling_lot lot ON lot.id = change.lot_id
    WHERE lot.id = ANY (lots)
    GROUP BY 1, 2, 3, 5;
    SELECT count(*) INTO present FROM scheduling_lot WHERE id = ANY (lots);
    IF present <> cardinality(lots) THEN
        RAISE EXCEPTION 'a deployment has no lot'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'deployment_in_a_lot',
                  TABLE = 'scheduling_deployment';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER deployment_begins AFTER INSERT ON scheduling_deployment
    REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION scheduling_deployment_begun();
"""

STAYS = """
CREATE FUNCTION scheduling_deployment_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'deployments are never deleted, and their hub, model and lot never change'
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = 'scheduling_deployment';
END $$;

CREATE TRIGGER deployment_is_kept BEFORE DELETE OR TRUNCATE ON scheduling_deployment
    FOR EACH STATEMENT EXECUTE FUNCTION scheduling_deployment_stays();

CREATE TRIGGER deployment_is_of_one_hub BEFORE UPDATE OF id, hub_id, model_id ON scheduling_deployment
    FOR EACH ROW WHEN ((OLD.id, OLD.hub_id, OLD.model_id) IS DISTINCT FROM (NEW.id, NEW.hub_id, NEW.model_id))
    EXECUTE FUNCTION scheduling_deployment_stays();
"""


class Migration(migrations.Migration):
    dependencies = [("scheduling", "0015_counters")]

    operations = [
        *(
            migrations.RunSQL(
                f"ALTER TABLE {table} SET (fillfactor = {percent})", f"ALTER TABLE {table} RESET (fillfactor)"
            )
            for table, percent in FILL.items()
        ),
        migrations.RunSQL(MODELS + TALLY + BUDGETS),
        migrations.RunSQL(CHANGE + MOVED + BEGUN + STAYS),
    ]
