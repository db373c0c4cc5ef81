"""
Keep which hubs a first stage was chosen of, and of which models a lot was made.

The trigger that sees deployments begin has them by lot and model already, so keeping that costs one row for each.
"""

import django.db.models.deletion
from django.db import migrations, models

MADE_OF = """
    INSERT INTO scheduling_lotmodel (lot_id, model_id, hubs)
    SELECT lot_id, model_id, sum(hubs) FROM unnest(changes) GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (lot_id, model_id) DO UPDATE SET hubs = scheduling_lotmodel.hubs + excluded.hubs;"""
BEGUN = """
CREATE OR REPLACE FUNCTION scheduling_deployment_begun() RETURNS trigger LANGUAGE plpgsql
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
{made_of}
    SELECT count(*) INTO present FROM scheduling_lot WHERE id = ANY (lots);
    IF present <> cardinality(lots) THEN
        RAISE EXCEPTION 'a deployment has no lot'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'deployment_in_a_lot',
                  TABLE = 'scheduling_deployment';
    END IF;
    RETURN NULL;
END $$;
"""
FILL = """
INSERT INTO scheduling_lotmodel (lot_id, model_id, hubs)
SELECT id >> 11, model_id, count(*) FROM scheduling_deployment GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (lot_id, model_id) DO NOTHING;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("hubs", "0006_changes_that_are_due"),
        ("scheduling", "0026_pilots"),
    ]

    operations = [
        migrations.AddField(
            model_name="stage",
            name="chosen_at",
            field=models.DateTimeField(null=True, verbose_name="hubs last chosen at"),
        ),
        migrations.CreateModel(
            name="FirstHub",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "stage_id",
                        "deployment_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("deployment_id", models.BigIntegerField()),
                ("is_pilot", models.BooleanField(verbose_name="volunteered by its Supplier")),
                ("chosen_at", models.DateTimeField()),
                (
                    "stage",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="first_hubs",
                        to="scheduling.stage",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="LotModel",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "lot_id", "model_id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("lot_id", models.BigIntegerField()),
                ("hubs", models.PositiveIntegerField()),
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
            ],
        ),
        migrations.RunSQL(BEGUN.format(made_of=MADE_OF), BEGUN.format(made_of="")),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
