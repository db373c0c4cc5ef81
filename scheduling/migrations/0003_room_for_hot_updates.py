"""
Leave room on the pages of rows that are updated several times.

No updated column but `ended_at` is in an index, so with room on the page the updates need no index entry
(HOT). Deployments are updated about as often as there are rows; commands and lots too.
"""

from django.db import migrations

FILL = {
    "scheduling_deployment": 45,
    "scheduling_command": 60,
    "scheduling_lot": 50,
    "scheduling_slot": 70,
}


class Migration(migrations.Migration):
    dependencies = [("scheduling", "0002_deployment_moves")]

    operations = [
        migrations.RunSQL(
            f"ALTER TABLE {table} SET (fillfactor = {percent})", f"ALTER TABLE {table} RESET (fillfactor)"
        )
        for table, percent in FILL.items()
    ]
