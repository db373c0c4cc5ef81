"""Lay down the four networks, which every portal has."""

from django.db import migrations

NETWORKS = (
    ("north", "North", "Long-range radio carrier"),
    ("central", "Central", "Cellular carrier (2G and 3G)"),
    ("south", "South", "Cellular carrier (2G and 3G)"),
    ("4g", "4G", "Cellular carrier (4G)"),
)


def lay_down(apps, schema_editor):
    """Add the networks that are not there yet."""
    network = apps.get_model("hubs", "Network")
    for code, name, carrier in NETWORKS:
        network.objects.get_or_create(code=code, defaults={"name": name, "carrier": carrier})


class Migration(migrations.Migration):
    dependencies = [("hubs", "0002_room_for_hot_updates")]

    operations = [migrations.RunPython(lay_down, migrations.RunPython.noop)]
