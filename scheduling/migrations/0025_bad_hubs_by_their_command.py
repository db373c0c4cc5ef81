"""
Count bad hubs by the moment at which their activation was admitted, and keep the moment at which evidence was counted.

So hubs that were commanded a deadline ago can be judged by themselves: of those, nothing is missing any more.
"""

from django.db import migrations, models
from django.db.models.functions import Now

REFUSALS = "('hash_mismatch', 'wrong_hardware')"
BAD = """({row}.stage > 0 AND ({row}.state IN ('failed', 'unconfirmed') OR ({row}.silent AND {row}.state = 'activating')))"""
SIGNS = f"""
CREATE OR REPLACE FUNCTION scheduling_deployment_signs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM after WHERE silent OR ending IN {REFUSALS} OR state IN ('failed', 'unconfirmed')) THEN
        RETURN NULL;
    END IF;
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
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("scheduling", "0024_signs_and_evidence")]

    operations = [
        migrations.AlterField(
            "warningsign",
            "kind",
            models.CharField(
                choices=[
                    ("silent", "Silent at their deadline, and not read back yet"),
                    ("refused", "Refused the image: its hash, or their hardware"),
                    ("bad", "Bad, by the moment at which their activation was admitted"),
                ],
                max_length=7,
            ),
        ),
        migrations.AddField("warningsign", "commanded_at", models.DateTimeField(null=True)),
        migrations.AddConstraint(
            "warningsign",
            models.CheckConstraint(
                condition=models.Q(kind="bad", commanded_at__isnull=False)
                | (~models.Q(kind="bad") & models.Q(commanded_at=None)),
                name="warning_sign_of_the_bad_says_when",
            ),
        ),
        migrations.AddField("evidence", "seen_at", models.DateTimeField(db_default=Now())),
        migrations.RunSQL(SIGNS, migrations.RunSQL.noop),
    ]
