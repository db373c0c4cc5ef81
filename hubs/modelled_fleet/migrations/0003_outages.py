"""Let hubs of a network fall silent together, whatever they run."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("hubs", "0006_changes_that_are_due"),
        ("modelled_fleet", "0002_room_for_hot_updates"),
    ]

    operations = [
        migrations.CreateModel(
            name="Outage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "share",
                    models.FloatField(
                        default=0.3,
                        validators=[
                            django.core.validators.MinValueValidator(0.0),
                            django.core.validators.MaxValueValidator(1.0),
                        ],
                    ),
                ),
                ("since", models.DateTimeField(verbose_name="begins")),
                ("until", models.DateTimeField(blank=True, null=True, verbose_name="ends")),
                (
                    "network",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="hubs.network"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("share__gte", 0.0), ("share__lte", 1.0)),
                        name="outage_share_is_a_share",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("until", None), ("since__lt", models.F("until")), _connector="OR"
                        ),
                        name="outage_ends_after_it_begins",
                    ),
                ],
            },
        ),
    ]
