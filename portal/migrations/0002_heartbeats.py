from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("portal", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.CharField(choices=[("worker", "Worker"), ("beat", "Beat")], max_length=6)),
                ("name", models.CharField(help_text="Host and process id", max_length=300)),
                ("version", models.CharField(help_text="Of the code", max_length=100)),
                ("processes", models.PositiveSmallIntegerField(help_text="Tasks that it can do at a time")),
                ("started_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField(verbose_name="last heartbeat")),
                ("doing", models.CharField(blank=True, max_length=200)),
                ("doing_since", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "name"), name="heartbeat_once_per_process"),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["worker", "beat"])), name="heartbeat_kind_known"
                    ),
                ],
            },
        ),
    ]
