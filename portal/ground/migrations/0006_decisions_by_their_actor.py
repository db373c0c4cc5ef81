from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ground", "0005_request_keys"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["actor", "id"], name="audit_by_actor"),
        ),
    ]
