"""Let Suppliers volunteer the hubs of a group as pilots."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("hubs", "0006_changes_that_are_due"),
        ("scheduling", "0025_bad_hubs_by_their_command"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="hubgroup",
            name="is_pilot",
            field=models.BooleanField(db_default=False, default=False, verbose_name="volunteered as pilots"),
        ),
        migrations.AddIndex(
            model_name="hubgroup",
            index=models.Index(
                condition=models.Q(("is_pilot", True)), fields=["id"], name="hub_group_of_pilots"
            ),
        ),
    ]
