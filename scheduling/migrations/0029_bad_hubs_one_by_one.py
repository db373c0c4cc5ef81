"""
Keep bad hubs one by one, with what they may have in common, and what was found of that.

They are few. The trigger that counts them has already looked whether there are any, so good hubs cost nothing more.
What a hub ran before is what it answered before it was staged; its inventory may say by now what it runs since.
"""

import django.db.models.deletion
from django.db import migrations, models

BAD = """({row}.stage > 0 AND ({row}.state IN ('failed', 'unconfirmed') OR ({row}.silent AND {row}.state = 'activating')))"""
REFUSALS = "('hash_mismatch', 'wrong_hardware')"
COUNT = f"""
    INSERT INTO scheduling_warningsign (release_id, network_id, model_id, stage, kind, hubs, commanded_at)
    SELECT lot.release_id, lot.network_id, change.model_id, change.stage, change.kind, sum(change.hubs),
           change.commanded_at
    FROM (
        SELECT after.id >> 11 AS lot_id, after.model_id, after.stage, sign.kind, sign.hubs,
               CASE sign.kind WHEN 'bad' THEN (
                   SELECT coalesce(max(command.admitted_at), after.moved_at) FROM scheduling_command command
                   WHERE command.deployment_id = after.id AND command.phase = 3) END AS commanded_at
        FROM before JOIN after USING (id)
        CROSS JOIN LATERAL (VALUES
            ('silent', (after.silent AND after.state = 'activating')::int
                       - (before.silent AND before.state = 'activating')::int),
            ('refused', (after.ending IN {REFUSALS})::int - (before.ending IN {REFUSALS})::int),
            ('bad', {BAD.format(row="after")}::int - {BAD.format(row="before")}::int)
        ) AS sign (kind, hubs)
        WHERE sign.hubs <> 0) change
    JOIN scheduling_lot lot ON lot.id = change.lot_id
    GROUP BY 1, 2, 3, 4, 5, 7 ORDER BY 1, 2, 3, 4, 5, 7;
"""
KEEP = """
    INSERT INTO scheduling_badhub (deployment_id, hub_id, release_id, network_id, model_id, stage, supplier_id,
                                   hardware_version, version_before, commanded_at)
    SELECT turned.id, turned.hub_id, lot.release_id, lot.network_id, turned.model_id, turned.stage, lot.supplier_id,
           hub.hardware_version,
           coalesce((SELECT command.version FROM scheduling_command command
                     WHERE command.deployment_id = turned.id AND command.phase = 1 AND command.version IS NOT NULL
                     ORDER BY command.attempt DESC LIMIT 1), version.number),
           (SELECT coalesce(max(command.admitted_at), turned.moved_at) FROM scheduling_command command
            WHERE command.deployment_id = turned.id AND command.phase = 3)
    FROM ({turned}) turned
    JOIN scheduling_lot lot ON lot.id = turned.id >> 11
    JOIN hubs_communicationshub hub ON hub.chf_id = turned.hub_id
    JOIN hubs_firmwareversion version ON version.id = hub.installed_version_id
    ON CONFLICT DO NOTHING;
"""
TURNED = "SELECT * FROM after WHERE id = ANY (are_bad) AND id <> ALL (were_bad)"
# Two lists of few rather than a join of what was with what is: planned once for a connection, it was seen to go
# through all pairs of them.
KEEP_AND_FORGET = f"""
    were_bad := ARRAY(SELECT id FROM before WHERE {BAD.format(row="before")});
    are_bad := ARRAY(SELECT id FROM after WHERE {BAD.format(row="after")});
    {KEEP.format(turned=TURNED)}
    IF cardinality(were_bad) > 0 THEN
        DELETE FROM scheduling_badhub WHERE deployment_id = ANY (were_bad) AND deployment_id <> ALL (are_bad);
    END IF;
"""
SIGNS = """
CREATE OR REPLACE FUNCTION scheduling_deployment_signs() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    were_bad bigint[];
    are_bad bigint[];
BEGIN
    IF NOT EXISTS (
        SELECT FROM after WHERE silent OR ending IN {refusals} OR state IN ('failed', 'unconfirmed')) THEN
        RETURN NULL;
    END IF;
    {does}
    RETURN NULL;
END $$;
"""
KEEPS = SIGNS.format(refusals=REFUSALS, does=COUNT + KEEP_AND_FORGET)
COUNTS_ALONE = SIGNS.format(refusals=REFUSALS, does=COUNT)
THOSE_THAT_ARE = KEEP.format(turned=f"SELECT * FROM scheduling_deployment bad WHERE {BAD.format(row='bad')}")


def key(to: str, **options: object) -> models.ForeignKey:
    """Return a key that the database does not check."""
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to=to,
        **options,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("hubs", "0006_changes_that_are_due"),
        ("firmware", "0006_halts_with_their_numbers"),
        ("scheduling", "0028_moved_by_stages"),
    ]

    operations = [
        migrations.CreateModel(
            "BadHub",
            fields=[
                ("deployment_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("hub", key("hubs.communicationshub")),
                ("release", key("firmware.firmwarerelease")),
                ("network", key("hubs.network")),
                ("model", key("hubs.hubmodel")),
                ("stage", models.SmallIntegerField()),
                ("supplier", key("hubs.supplier")),
                ("hardware_version", models.SmallIntegerField()),
                ("version_before", models.BigIntegerField()),
                ("commanded_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["release", "stage"], name="bad_hub_by_stage"),
                    models.Index(fields=["release", "supplier", "deployment_id"], name="bad_hub_by_supplier"),
                ],
            },
        ),
        migrations.CreateModel(
            "Cohort",
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
                        related_name="cohorts",
                        to="firmware.firmwarerelease",
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("supplier", "Supplier"),
                            ("hardware", "Hardware version"),
                            ("version", "Version before"),
                        ],
                        max_length=8,
                    ),
                ),
                ("value", models.BigIntegerField()),
                ("bad", models.PositiveIntegerField()),
                ("hubs", models.PositiveIntegerField()),
                ("is_estimate", models.BooleanField()),
                ("evidence", models.FloatField()),
                ("threshold", models.FloatField()),
                ("seen_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=["release", "kind", "value"], name="cohort_once"),
                    models.CheckConstraint(
                        condition=models.Q(bad__lte=models.F("hubs")), name="cohort_bad_are_of_its_hubs"
                    ),
                ],
            },
        ),
        migrations.RunSQL(KEEPS, COUNTS_ALONE),
        migrations.RunSQL(THOSE_THAT_ARE, migrations.RunSQL.noop),
    ]
