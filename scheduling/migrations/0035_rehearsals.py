"""Keep what rehearsals of releases were asked for, and what came of them."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("firmware", "0007_halts_of_parts"),
        ("hubs", "0006_changes_that_are_due"),
        ("scheduling", "0034_evidence_by_stage"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Rehearsal",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("revision", models.PositiveIntegerField()),
                ("is_whole", models.BooleanField(verbose_name="through the real code")),
                ("hubs", models.PositiveIntegerField()),
                (
                    "percent",
                    models.DecimalField(decimal_places=3, max_digits=6, verbose_name="defect, % of the hubs"),
                ),
                (
                    "kind",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("visible", "Visible: the hub says that it failed"),
                            ("silent", "Silent: the hub is not heard of again"),
                            ("late", "Late: the hub answers well, and falls silent three hours later"),
                        ],
                        max_length=7,
                    ),
                ),
                ("seed", models.PositiveIntegerField()),
                ("plan", models.JSONField()),
                ("asked_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Stopped"),
                        ],
                        default="waiting",
                        max_length=9,
                    ),
                ),
                ("step", models.CharField(blank=True, max_length=300)),
                ("progress", models.FloatField(null=True)),
                ("token", models.PositiveIntegerField(default=0)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("lease_until", models.DateTimeField(null=True)),
                ("began_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("result", models.JSONField(null=True)),
                ("digest", models.CharField(blank=True, max_length=64, verbose_name="SHA-256 of the result")),
                ("error", models.TextField(blank=True)),
                (
                    "asked_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="hubs.hubmodel",
                    ),
                ),
                (
                    "network",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="hubs.network",
                    ),
                ),
                (
                    "release",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="rehearsals",
                        to="firmware.firmwarerelease",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["release", "-id"], name="rehearsal_latest_first")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ("waiting", "running"))),
                        fields=("release",),
                        name="rehearsal_one_open_per_release",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "running")),
                        fields=("is_whole",),
                        name="rehearsal_one_of_each_way_at_a_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("kind__in", ("visible", "silent", "late")),
                                ("percent__gt", 0),
                                ("percent__lte", 100),
                            ),
                            models.Q(("kind", ""), ("model", None), ("network", None), ("percent", 0)),
                            _connector="OR",
                        ),
                        name="rehearsal_kind_and_place_with_a_defect",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("network", None), ("model", None), _connector="OR"),
                        name="rehearsal_one_place_of_a_defect",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("hubs__gte", 1)), name="rehearsal_of_some_hubs"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("progress", None),
                            models.Q(("progress__gte", 0), ("progress__lte", 1)),
                            _connector="OR",
                        ),
                        name="rehearsal_progress_is_a_share",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("lease_until__isnull", False), ("state", "running")),
                            models.Q(models.Q(("state", "running"), _negated=True), ("lease_until", None)),
                            _connector="OR",
                        ),
                        name="rehearsal_leased_while_running",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at", None), ("state__in", ("waiting", "running"))),
                            models.Q(
                                ("ended_at__isnull", False), ("state__in", ("done", "failed", "cancelled"))
                            ),
                            _connector="OR",
                        ),
                        name="rehearsal_ended_when_it_is_over",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("result__isnull", False),
                                ("state", "done"),
                                models.Q(("digest", ""), _negated=True),
                            ),
                            models.Q(
                                models.Q(("state", "done"), _negated=True),
                                ("digest", ""),
                                ("result__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="rehearsal_result_when_done",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "failed"), models.Q(("error", ""), _negated=True)),
                            models.Q(models.Q(("state", "failed"), _negated=True), ("error", "")),
                            _connector="OR",
                        ),
                        name="rehearsal_error_when_failed",
                    ),
                ],
            },
        ),
    ]
