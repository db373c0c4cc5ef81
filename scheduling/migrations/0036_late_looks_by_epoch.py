"""Remember of updated hubs in which epoch each was found well last, and since when it has not answered."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduling", "0035_rehearsals")]

    operations = [
        migrations.AddField("latelook", "missed_at", models.DateTimeField(null=True)),
        migrations.AddField("latelook", "well_epoch", models.PositiveIntegerField(null=True)),
    ]
