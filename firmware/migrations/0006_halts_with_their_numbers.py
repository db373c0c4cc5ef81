"""Keep the numbers behind a halt of the portal's own, and tolerate nothing beyond a third of all hubs."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("firmware", "0005_frozen_parts")]

    operations = [
        migrations.AddField(
            "halt",
            "facts",
            models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict),
        ),
        migrations.AddConstraint(
            "rolloutpolicy",
            models.CheckConstraint(
                condition=models.Q(tolerated_bad_percent__gt=0, tolerated_bad_percent__lte=33),
                name="policy_tolerates_a_third_at_most",
            ),
        ),
    ]
