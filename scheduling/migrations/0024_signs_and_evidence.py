"""
Let the database count the signs that speak against a release, and keep the evidence as it grows.

A hub that was silent at its deadline is still being activated while its version is read, so the tally does not show it;
nor does it show why hubs failed. Few hubs show a sign: the trigger looks once whether any does.

A stage now says which of the policy's sizes it has and to which episode of the evidence it belongs: after a resumption
the same size is tried again, and evidence begins anew.
"""

import django.db.models.deletion
from django.db import migrations, models

STEPS = """
UPDATE scheduling_stage stage SET step = number,
    episode = greatest(1, number - greatest(1, jsonb_array_length(policy.stage_sizes)) + 1)
FROM firmware_rolloutpolicy policy WHERE policy.release_id = stage.release_id;
"""
REFUSALS = "('hash_mismatch', 'wrong_hardware')"
SIGNS = f"""
CREATE FUNCTION scheduling_deployment_signs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM after WHERE silent OR ending IN {REFUSALS}) THEN
        RETURN NULL;
    END IF;
    INSERT INTO scheduling_warningsign (release_id, network_id, model_id, stage, kind, hubs)
    SELECT lot.release_id, lot.network_id, change.model_id, change.stage, change.kind, sum(change.hubs)
    FROM (
        SELECT after.id >> 11 AS lot_id, after.model_id, after.stage, sign.kind, sign.hubs
        FROM before JOIN after USING (id)
        CROSS JOIN LATERAL (VALUES
            ('silent', (after.silent AND after.state = 'activating')::int
                       - (before.silent AND before.state = 'activating')::int),
            ('refused', (after.ending IN {REFUSALS})::int - (before.ending IN {REFUSALS})::int)
        ) AS sign (kind, hubs)
        WHERE sign.hubs <> 0) change
    JOIN scheduling_lot lot ON lot.id = change.lot_id
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5;
    RETURN NULL;
END $$;

CREATE TRIGGER deployment_shows_signs AFTER UPDATE ON scheduling_deployment
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION scheduling_deployment_signs();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("firmware", "0006_halts_with_their_numbers"),
        ("hubs", "0006_changes_that_are_due"),
        ("scheduling", "0023_receipts_for_all_at_once"),
    ]

    operations = [
        migrations.AddField(
            "stage",
            "cut_at",
            models.DateTimeField("cut off by a resumption", null=True),
        ),
        migrations.AddField(
            "stage",
            "episode",
            models.PositiveSmallIntegerField("episode of its evidence", db_default=1, default=1),
        ),
        migrations.AddField(
            "stage",
            "step",
            models.PositiveSmallIntegerField("which size of the policy", db_default=1, default=1),
        ),
        migrations.RunSQL(STEPS, migrations.RunSQL.noop),
        migrations.AddConstraint(
            "stage",
            models.CheckConstraint(
                condition=models.Q(step__gte=1, episode__gte=1), name="stage_steps_and_episodes_begin_at_1"
            ),
        ),
        migrations.AddField(
            "inflight",
            "refusals_known",
            models.PositiveIntegerField("refusals before the last resumption", db_default=0, default=0),
        ),
        migrations.AddField(
            "deployment",
            "silent",
            models.BooleanField("was silent at its deadline", db_default=False, default=False),
        ),
        migrations.CreateModel(
            "WarningSign",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stage", models.SmallIntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("silent", "Silent at their deadline, and not read back yet"),
                            ("refused", "Refused the image: its hash, or their hardware"),
                        ],
                        max_length=7,
                    ),
                ),
                ("hubs", models.IntegerField()),
                *(
                    (
                        name,
                        models.ForeignKey(
                            db_constraint=False,
                            db_index=False,
                            on_delete=django.db.models.deletion.DO_NOTHING,
                            related_name="+",
                            to=to,
                        ),
                    )
                    for name, to in (
                        ("release", "firmware.firmwarerelease"),
                        ("network", "hubs.network"),
                        ("model", "hubs.hubmodel"),
                    )
                ),
            ],
            options={
                "indexes": [models.Index(fields=["release", "kind"], name="warning_sign_by_release")],
            },
        ),
        migrations.RunSQL(
            SIGNS,
            "DROP TRIGGER deployment_shows_signs ON scheduling_deployment; DROP FUNCTION scheduling_deployment_signs()",
        ),
        migrations.CreateModel(
            "Evidence",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "release",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="evidence",
                        to="firmware.firmwarerelease",
                    ),
                ),
                *(
                    (
                        name,
                        models.ForeignKey(
                            db_index=False,
                            null=True,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="+",
                            to=to,
                        ),
                    )
                    for name, to in (("model", "hubs.hubmodel"), ("network", "hubs.network"))
                ),
                ("at", models.DateTimeField()),
                ("episode", models.PositiveSmallIntegerField()),
                ("good", models.PositiveIntegerField()),
                ("bad", models.PositiveIntegerField()),
                ("waiting", models.PositiveIntegerField()),
                ("tolerated", models.FloatField()),
                ("evidence", models.FloatField()),
                ("threshold", models.FloatField()),
            ],
            options={
                "verbose_name_plural": "evidence",
                "constraints": [
                    models.UniqueConstraint(
                        fields=["release", "model", "network", "at"],
                        name="evidence_once_a_minute",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(model=None, network__isnull=False)
                        | models.Q(model__isnull=False, network=None),
                        name="evidence_of_a_model_or_a_network",
                    ),
                ],
            },
        ),
    ]
