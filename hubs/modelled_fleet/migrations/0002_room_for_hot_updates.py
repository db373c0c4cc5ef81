"""Leave room on the pages of rows that are updated: hubs several times, commands once or twice."""

from django.db import migrations

FILL = {"modelled_fleet_fleethub": 70, "modelled_fleet_commandlog": 60}


class Migration(migrations.Migration):
    dependencies = [("modelled_fleet", "0001_initial")]

    operations = [
        migrations.RunSQL(
            f"ALTER TABLE {table} SET (fillfactor = {percent})", f"ALTER TABLE {table} RESET (fillfactor)"
        )
        for table, percent in FILL.items()
    ]
