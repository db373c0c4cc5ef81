"""
Write down which updated hubs are to be looked at again: all of a small stage, and one in twenty of a large one.

A trigger of its own: the ones that count have nothing to do where all is well, and return at once.
"""

import django.db.models.deletion
from django.db import migrations, models

FUNCTION = """
CREATE FUNCTION scheduling_deployment_looked_at_later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM after WHERE state = 'succeeded' AND stage > 0) THEN
        RETURN NULL;
    END IF;
    INSERT INTO scheduling_latelook (deployment_id, hub, release_id, network_id, model_id, stage, succeeded_at)
    SELECT after.id, after.hub_id, lot.release_id, lot.network_id, after.model_id, after.stage, after.ended_at
    FROM after JOIN scheduling_lot lot ON lot.id = after.id >> 11
    JOIN scheduling_stage stage ON stage.release_id = lot.release_id AND stage.model_id = after.model_id
        AND stage.number = after.stage
    WHERE after.state = 'succeeded' AND (stage.size <= 5000 OR hashint8(after.id) % 20 = 0)
    ORDER BY after.id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
"""
TRIGGER = """
CREATE TRIGGER deployment_looked_at_later AFTER UPDATE ON scheduling_deployment
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION scheduling_deployment_looked_at_later();
"""


def key(to: str) -> "models.ForeignKey[models.Model, models.Model]":
    """Return a key that the database does not check."""
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to=to,
    )


def checked(to: str) -> "models.ForeignKey[models.Model, models.Model]":
    """Return a key whose rows go with what they are about."""
    return models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to=to)


class Migration(migrations.Migration):
    dependencies = [
        ("firmware", "0007_halts_of_parts"),
        ("hubs", "0006_changes_that_are_due"),
        ("scheduling", "0032_controls"),
    ]

    operations = [
        migrations.CreateModel(
            "LateLook",
            [
                ("deployment_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("hub", models.BigIntegerField("CHF ID")),
                ("release", key("firmware.firmwarerelease")),
                ("network", key("hubs.network")),
                ("model", key("hubs.hubmodel")),
                ("stage", models.SmallIntegerField()),
                ("succeeded_at", models.DateTimeField()),
                ("looked_at", models.DateTimeField(null=True)),
                ("looks", models.PositiveSmallIntegerField(db_default=0, default=0)),
                ("misses", models.PositiveSmallIntegerField(db_default=0, default=0)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["release", "looks", "succeeded_at"], name="late_look_by_moment"),
                    models.Index(
                        fields=["release", "model", "stage"],
                        condition=models.Q(looks=0),
                        name="late_look_first_of_stage",
                    ),
                ]
            },
        ),
        migrations.CreateModel(
            "LateTally",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("release", checked("firmware.firmwarerelease")),
                ("model", checked("hubs.hubmodel")),
                ("network", checked("hubs.network")),
                ("epoch", models.PositiveIntegerField()),
                ("well", models.IntegerField(default=0)),
                ("bad", models.PositiveIntegerField(default=0)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=["release", "model", "network", "epoch"], name="late_tally_one_per_epoch"
                    )
                ]
            },
        ),
        migrations.RunSQL(FUNCTION, "DROP FUNCTION scheduling_deployment_looked_at_later()"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER deployment_looked_at_later ON scheduling_deployment"),
    ]
