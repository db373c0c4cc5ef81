"""
Leave room on the pages of hubs: their version and status change, and no index carries either.

With room on its page such an update needs no index entry (HOT).
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("hubs", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE hubs_communicationshub SET (fillfactor = 70)",
            "ALTER TABLE hubs_communicationshub RESET (fillfactor)",
        ),
    ]
