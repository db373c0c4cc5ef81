"""
Count outcomes by Supplier, network, model and day of their slot, with why: what people ask of a rollout afterwards.

The trigger that sees deployments move says with each change of an outcome of whom it is, in which slot and why. As
such a change goes, since somebody has taken it up into the tally, it is taken up here, whichever version of the code
that was. Deployments are locked while those that are there are counted, so that none moves in between: for as long as
it takes to read them once.
"""

import django.db.models.deletion
from django.db import migrations, models

DAY = "(slot.start_at AT TIME ZONE 'Europe/London')::date"
OUTCOMES = "('activating', 'succeeded', 'failed', 'unconfirmed', 'missed')"
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
COUNTS = ",\n        ".join(f"{state} = lot.{state} + change.{state}" for state in STATES)
SUMS = ",\n               ".join(
    f"sum(CASE '{state}' WHEN target THEN hubs WHEN source THEN -hubs ELSE 0 END) AS {state}"
    for state in STATES
)

LOCK = "LOCK TABLE scheduling_deployment IN SHARE ROW EXCLUSIVE MODE"
CHANGE = "ALTER TYPE scheduling_deploymentchange ADD ATTRIBUTE ending varchar(19)"
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
    SELECT array_agg((lot_id, model_id, source, source_stage, target, target_stage, hubs, example, ending)
                     ::scheduling_deploymentchange),
           array_agg(DISTINCT lot_id)
    INTO changes, lots
    FROM (
        SELECT after.id >> 11 AS lot_id, after.model_id, before.state AS source, before.stage AS source_stage,
               after.state AS target, after.stage AS target_stage, after.ending, count(*) AS hubs,
               min(after.id) AS example
        FROM before JOIN after USING (id)
        WHERE before.state <> after.state OR before.stage <> after.stage
        GROUP BY 1, 2, 3, 4, 5, 6, 7) change;
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

    INSERT INTO scheduling_tallychange
        (release_id, network_id, model_id, stage, state, hubs, supplier_id, slot_id, ending)
    SELECT lot.release_id, lot.network_id, model_id, stage, state, sum(hubs),
           CASE WHEN is_outcome THEN lot.supplier_id END, CASE WHEN is_outcome THEN lot.slot_id END,
           CASE WHEN is_outcome THEN ending ELSE '' END
    FROM (
        SELECT *, state IN {OUTCOMES} AS is_outcome
        FROM (
            SELECT lot_id, model_id, source_stage AS stage, source AS state, '' AS ending, -hubs AS hubs
            FROM unnest(changes)
            UNION ALL
            SELECT lot_id, model_id, target_stage, target, ending, hubs FROM unnest(changes)) change) counted
    JOIN scheduling_lot lot ON lot.id = counted.lot_id
    WHERE lot.id = ANY (lots)
    GROUP BY 1, 2, 3, 4, 5, 7, 8, 9 HAVING sum(hubs) <> 0;

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
CREATE OR REPLACE FUNCTION scheduling_deployment_begun() RETURNS trigger LANGUAGE plpgsql
SET enable_nestloop = off AS $$
DECLARE
    changes scheduling_deploymentchange[];
    lots bigint[];
    illegal record;
    present bigint;
BEGIN
    SELECT array_agg((lot_id, model_id, NULL, 0, state, stage, hubs, example, '')::scheduling_deploymentchange),
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
    INSERT INTO scheduling_lotmodel (lot_id, model_id, hubs)
    SELECT lot_id, model_id, sum(hubs) FROM unnest(changes) GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (lot_id, model_id) DO UPDATE SET hubs = scheduling_lotmodel.hubs + excluded.hubs;
    SELECT count(*) INTO present FROM scheduling_lot WHERE id = ANY (lots);
    IF present <> cardinality(lots) THEN
        RAISE EXCEPTION 'a deployment has no lot'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'deployment_in_a_lot',
                  TABLE = 'scheduling_deployment';
    END IF;
    RETURN NULL;
END $$;
"""
TAKEN_UP = f"""
CREATE FUNCTION scheduling_changes_taken_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO scheduling_outcometally AS tally
        (release_id, supplier_id, network_id, model_id, day, state, ending, is_activated, hubs)
    SELECT gone.release_id, gone.supplier_id, gone.network_id, gone.model_id, {DAY}, gone.state, gone.ending,
           gone.stage > 0, sum(gone.hubs)
    FROM gone JOIN scheduling_slot slot ON slot.id = gone.slot_id
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 5, 3, 4, 6, 7, 8
    ON CONFLICT (release_id, supplier_id, day, network_id, model_id, state, ending, is_activated)
    DO UPDATE SET hubs = tally.hubs + excluded.hubs;
    RETURN NULL;
END $$;

CREATE TRIGGER changes_are_taken_up AFTER DELETE ON scheduling_tallychange
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION scheduling_changes_taken_up();
"""
FILL = f"""
INSERT INTO scheduling_outcometally
    (release_id, supplier_id, network_id, model_id, day, state, ending, is_activated, hubs)
SELECT lot.release_id, lot.supplier_id, lot.network_id, counted.model_id, {DAY}, counted.state, counted.ending,
       counted.is_activated, sum(counted.hubs)
FROM (
    SELECT id >> 11 AS lot_id, model_id, state, ending, stage > 0 AS is_activated, count(*) AS hubs
    FROM scheduling_deployment WHERE state IN {OUTCOMES} GROUP BY 1, 2, 3, 4, 5) counted
JOIN scheduling_lot lot ON lot.id = counted.lot_id
JOIN scheduling_slot slot ON slot.id = lot.slot_id
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 5, 3, 4, 6, 7, 8;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("firmware", "0007_halts_of_parts"),
        ("hubs", "0007_second_factor_rule"),
        ("scheduling", "0040_proposals"),
    ]

    operations = [
        migrations.RunSQL(LOCK, migrations.RunSQL.noop),
        migrations.AddField(
            "tallychange",
            "ending",
            models.CharField(blank=True, db_default="", default="", max_length=19),
        ),
        migrations.AddField(
            "tallychange",
            "slot",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="scheduling.slot",
            ),
        ),
        migrations.AddField(
            "tallychange",
            "supplier",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="hubs.supplier",
            ),
        ),
        migrations.CreateModel(
            name="OutcomeTally",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("provisional", "Provisional"),
                            ("booked", "Booked"),
                            ("staging", "Staging"),
                            ("staged", "Staged"),
                            ("activating", "Activating"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("unconfirmed", "Unconfirmed"),
                            ("missed", "Missed"),
                            ("held", "Held"),
                            ("cancelled", "Cancelled"),
                        ],
                        max_length=11,
                    ),
                ),
                ("ending", models.CharField(blank=True, max_length=19)),
                ("is_activated", models.BooleanField()),
                ("hubs", models.BigIntegerField()),
                (
                    "model",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="hubs.hubmodel",
                    ),
                ),
                *(
                    (
                        name,
                        models.ForeignKey(
                            db_index=False,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="+",
                            to=to,
                        ),
                    )
                    for name, to in (
                        ("network", "hubs.network"),
                        ("release", "firmware.firmwarerelease"),
                        ("supplier", "hubs.supplier"),
                    )
                ),
            ],
            options={
                "verbose_name_plural": "outcome tallies",
                "constraints": [
                    models.UniqueConstraint(
                        fields=(
                            "release",
                            "supplier",
                            "day",
                            "network",
                            "model",
                            "state",
                            "ending",
                            "is_activated",
                        ),
                        name="outcome_tally_once",
                    )
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE scheduling_outcometally SET (fillfactor = 50)", migrations.RunSQL.noop
        ),
        migrations.RunSQL(CHANGE + ";" + MOVED + BEGUN + TAKEN_UP + FILL),
    ]
