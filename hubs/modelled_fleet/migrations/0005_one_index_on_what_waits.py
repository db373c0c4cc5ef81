"""Find what waits by its time alone: each hub's earliest command is among those that are read for a batch anyway."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("modelled_fleet", "0004_late_defects_fall_silent")]

    operations = [migrations.RemoveIndex("commandlog", name="command_waiting_by_hub")]
