"""Let the other Supplier's lists be filtered by model and network as quickly as the Lead's."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("hubs", "0003_the_four_networks"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="communicationshub",
            index=models.Index(
                condition=models.Q(("other_id__isnull", False)),
                fields=["other_id", "model", "network", "chf_id"],
                name="hub_by_other_facet",
            ),
        ),
    ]
