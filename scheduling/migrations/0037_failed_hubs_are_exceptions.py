"""Put hubs that the release failed on before DCC: the default allocation does not try them again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("scheduling", "0036_late_looks_by_epoch"),
    ]

    operations = [
        migrations.AlterField(
            model_name="hubexception",
            name="why",
            field=models.CharField(
                choices=[
                    ("no_slot", "No clear slot at the default allocation"),
                    ("missed_twice", "Missed twice"),
                    ("failed", "Failed with this release before"),
                ],
                max_length=12,
            ),
        ),
    ]
