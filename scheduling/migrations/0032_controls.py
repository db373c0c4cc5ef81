"""Keep hubs that are not being updated as controls, and what looks at them found."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("hubs", "0006_changes_that_are_due"),
        ("scheduling", "0031_halted_hubs_are_refused"),
    ]

    operations = [
        migrations.CreateModel(
            name="Control",
            fields=[
                ("hub", models.BigIntegerField(primary_key=True, serialize=False, verbose_name="CHF ID")),
                ("chosen_at", models.DateTimeField()),
                ("heard_at", models.DateTimeField(null=True)),
                ("misses", models.PositiveIntegerField(default=0)),
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
                        condition=models.Q(
                            ("heard_at", None), ("heard_at__gte", models.F("chosen_at")), _connector="OR"
                        ),
                        name="control_heard_once_chosen",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ControlLook",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("hubs", models.PositiveIntegerField()),
                ("silent", models.PositiveIntegerField()),
                ("usual", models.FloatField()),
                ("evidence", models.FloatField()),
                ("threshold", models.FloatField()),
                (
                    "network",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="hubs.network"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("network", "at"), name="control_look_once_a_moment"),
                    models.CheckConstraint(
                        condition=models.Q(("silent__lte", models.F("hubs"))),
                        name="control_look_silent_of_hubs",
                    ),
                ],
            },
        ),
    ]
