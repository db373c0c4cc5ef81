"""Let whoever looks at a lot write down which halts of its release they saw, so that others wake it only for new ones."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduling", "0029_bad_hubs_one_by_one")]

    operations = [
        migrations.AddField(
            "lot",
            "halts_seen",
            models.PositiveIntegerField(
                "changes of the halts of its release already looked at", db_default=0, default=0
            ),
        ),
    ]
