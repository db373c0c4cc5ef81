"""
Keep the numbers behind a halt of the portal's own, let stages soak, and tolerate nothing beyond a third of all hubs.

Releases whose policy was agreed to before go on without a soak: nobody signed one off.
"""

from django.db import migrations, models

import portal.ground.spans


class Migration(migrations.Migration):
    dependencies = [("firmware", "0005_frozen_parts")]

    operations = [
        migrations.AddField(
            "halt",
            "facts",
            models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict),
        ),
        migrations.RunSQL(
            """
            ALTER TABLE firmware_rolloutpolicy ADD COLUMN soak varchar(30) NOT NULL DEFAULT '0 minutes';
            ALTER TABLE firmware_rolloutpolicy ALTER COLUMN soak SET DEFAULT '24 hours';
            """,
            "ALTER TABLE firmware_rolloutpolicy DROP COLUMN soak",
            state_operations=[
                migrations.AddField(
                    "rolloutpolicy",
                    "soak",
                    portal.ground.spans.SpanField(
                        "soak after each of these stages",
                        default="24 hours",
                        db_default=models.Value("24 hours"),
                    ),
                )
            ],
        ),
        migrations.AddConstraint(
            "rolloutpolicy",
            models.CheckConstraint(
                condition=models.Q(tolerated_bad_percent__gt=0, tolerated_bad_percent__lte=33),
                name="policy_tolerates_a_third_at_most",
            ),
        ),
    ]
