"""Keep which lots the stages of a release have moved, and when somebody last tried to."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("scheduling", "0027_first_hubs"),
    ]

    operations = [
        migrations.AddField(
            model_name="lot",
            name="moved_from",
            field=models.DateTimeField(
                null=True, verbose_name="moved by the stages, from the slot that began then"
            ),
        ),
        migrations.AddField(
            model_name="lot",
            name="turns_asked_at",
            field=models.DateTimeField(null=True, verbose_name="hubs without a turn last moved at"),
        ),
    ]
