"""A provisional deployment that was held is provisional again afterwards: a halt is nobody's consent."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("scheduling", "0009_consents_and_hub_groups")]

    operations = [
        migrations.RunSQL(
            "INSERT INTO scheduling_move (source, target) VALUES ('held', 'provisional');",
            "DELETE FROM scheduling_move WHERE source = 'held' AND target = 'provisional';",
        )
    ]
