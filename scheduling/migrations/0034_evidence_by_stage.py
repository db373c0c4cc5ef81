"""Find what speaks against a release by stage: long rollouts have hundreds, and the early warning watches the last."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("firmware", "0007_halts_of_parts"),
        ("hubs", "0006_changes_that_are_due"),
        ("scheduling", "0033_late_looks"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="tally",
            name="tally_once",
        ),
        migrations.RemoveIndex(
            model_name="warningsign",
            name="warning_sign_by_release",
        ),
        migrations.AddIndex(
            model_name="warningsign",
            index=models.Index(fields=["release", "kind", "model", "stage"], name="warning_sign_by_stage"),
        ),
        migrations.AddConstraint(
            model_name="tally",
            constraint=models.UniqueConstraint(
                fields=("release", "model", "stage", "network", "state"), name="tally_once_of_a_stage"
            ),
        ),
    ]
