"""Let a late defect be one that shows late: its hubs answer well at first, and fall silent after a while."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("modelled_fleet", "0003_outages")]

    operations = [
        migrations.AddField("fleethub", "quiet_from", models.DateTimeField(null=True)),
        migrations.AlterField(
            "defect",
            "kind",
            models.CharField(
                choices=[
                    ("visible", "The activation fails and says so"),
                    ("silent", "The hub activates and is never heard of again"),
                    ("late", "The hub activates, answers, and falls silent after a while"),
                ],
                max_length=7,
            ),
        ),
        migrations.AlterField(
            "defect",
            "late_by",
            models.FloatField(
                default=10800,
                help_text="For a late one: after how many seconds the hub falls silent.",
                validators=[django.core.validators.MinValueValidator(0.0)],
            ),
        ),
    ]
