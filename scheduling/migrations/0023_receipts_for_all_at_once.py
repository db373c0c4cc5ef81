"""
Keep the carrier's receipt for all commands of a lot in one row.

A command is written once more after its admission, when it is answered, and no more for its receipt: with half of a
page left free, that update needs no new entry in the index.

A worker of an earlier version, beside new ones, takes such a command for one without a receipt: it sends it again under
its key, to which the carrier gives the same answer.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("scheduling", "0022_hubs_ended_by_time_and_forged_answers"),
    ]

    operations = [
        migrations.CreateModel(
            name="Handover",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "lot_id",
                        "token",
                        "stamped_at",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("lot_id", models.BigIntegerField()),
                ("token", models.PositiveIntegerField()),
                ("stamped_at", models.DateTimeField()),
            ],
        ),
        migrations.RunSQL(
            "ALTER TABLE scheduling_command SET (fillfactor = 48)",
            "ALTER TABLE scheduling_command SET (fillfactor = 60)",
        ),
    ]
