"""Rows for what is under way of a release: in flight, by stage, and in each state. Filled by the next migration."""

import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("firmware", "0004_explicit_consent"),
        ("hubs", "0006_changes_that_are_due"),
        ("scheduling", "0014_moves_without_nested_loops"),
    ]

    operations = [
        migrations.CreateModel(
            name="InFlight",
            fields=[
                (
                    "release",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="in_flight",
                        serialize=False,
                        to="firmware.firmwarerelease",
                    ),
                ),
                ("floor", models.PositiveIntegerField(verbose_name="in flight at least")),
                ("percent", models.PositiveSmallIntegerField(verbose_name="in flight, % of resolved")),
                ("ceiling", models.PositiveIntegerField(verbose_name="in flight at most")),
                ("activating", models.PositiveIntegerField(db_default=0, default=0)),
                ("resolved", models.PositiveBigIntegerField(db_default=0, default=0)),
            ],
            options={
                "verbose_name_plural": "in flight",
            },
        ),
        migrations.CreateModel(
            name="Stage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveSmallIntegerField()),
                (
                    "size",
                    models.PositiveIntegerField(null=True, verbose_name="hubs, without limit where empty"),
                ),
                ("admitted", models.PositiveIntegerField(db_default=0, default=0)),
                ("resolved", models.PositiveIntegerField(db_default=0, default=0)),
                ("opened_at", models.DateTimeField()),
                ("full_at", models.DateTimeField(null=True)),
                ("closed_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Tally",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stage", models.SmallIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("provisional", "Provisional"),
                            ("booked", "Booked"),
                            ("staging", "Staging"),
                            ("staged", "Staged"),
                            ("activating", "Activating"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("unconfirmed", "Unconfirmed"),
                            ("missed", "Missed"),
                            ("held", "Held"),
                            ("cancelled", "Cancelled"),
                        ],
                        max_length=11,
                    ),
                ),
                ("hubs", models.BigIntegerField()),
            ],
            options={
                "verbose_name_plural": "tallies",
            },
        ),
        migrations.CreateModel(
            name="TallyChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("stage", models.SmallIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("provisional", "Provisional"),
                            ("booked", "Booked"),
                            ("staging", "Staging"),
                            ("staged", "Staged"),
                            ("activating", "Activating"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("unconfirmed", "Unconfirmed"),
                            ("missed", "Missed"),
                            ("held", "Held"),
                            ("cancelled", "Cancelled"),
                        ],
                        max_length=11,
                    ),
                ),
                ("hubs", models.IntegerField()),
            ],
        ),
        migrations.AddField(
            model_name="deployment",
            name="model",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                default=0,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="hubs.hubmodel",
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="deployment",
            name="stage",
            field=models.SmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddConstraint(
            model_name="deployment",
            constraint=models.CheckConstraint(
                condition=models.Q(("stage__gte", 0)), name="deployment_stage_from_0"
            ),
        ),
        migrations.AddConstraint(
            model_name="inflight",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "activating__lte",
                        django.db.models.functions.comparison.Least(
                            models.F("ceiling"),
                            django.db.models.functions.comparison.Greatest(
                                models.F("floor"),
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("resolved"), "*", models.F("percent")
                                    ),
                                    "/",
                                    models.Value(100),
                                ),
                            ),
                        ),
                    )
                ),
                name="in_flight_within_budget",
            ),
        ),
        migrations.AddField(
            model_name="stage",
            name="model",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="hubs.hubmodel",
            ),
        ),
        migrations.AddField(
            model_name="stage",
            name="release",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="stages",
                to="firmware.firmwarerelease",
            ),
        ),
        migrations.AddField(
            model_name="tally",
            name="model",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="hubs.hubmodel",
            ),
        ),
        migrations.AddField(
            model_name="tally",
            name="network",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="hubs.network",
            ),
        ),
        migrations.AddField(
            model_name="tally",
            name="release",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="firmware.firmwarerelease",
            ),
        ),
        migrations.AddField(
            model_name="tallychange",
            name="model",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="hubs.hubmodel",
            ),
        ),
        migrations.AddField(
            model_name="tallychange",
            name="network",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="hubs.network",
            ),
        ),
        migrations.AddField(
            model_name="tallychange",
            name="release",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="firmware.firmwarerelease",
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.UniqueConstraint(
                fields=("release", "model", "number"), name="stage_once_per_model"
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_at", None)),
                fields=("release", "model"),
                name="stage_one_open_per_model",
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.CheckConstraint(
                condition=models.Q(("number__gte", 1)), name="stage_numbers_begin_at_1"
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.CheckConstraint(
                condition=models.Q(("size", None), ("admitted__lte", models.F("size")), _connector="OR"),
                name="stage_never_over_its_size",
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.CheckConstraint(
                condition=models.Q(("resolved__lte", models.F("admitted"))),
                name="stage_resolves_what_was_admitted",
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("full_at", None),
                    models.Q(("admitted", models.F("size")), ("size__isnull", False)),
                    _connector="OR",
                ),
                name="stage_full_at_its_size",
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("closed_at", None),
                    models.Q(("full_at__isnull", False), ("resolved", models.F("size"))),
                    _connector="OR",
                ),
                name="stage_closed_when_all_resolved",
            ),
        ),
        migrations.AddConstraint(
            model_name="tally",
            constraint=models.UniqueConstraint(
                fields=("release", "network", "model", "stage", "state"), name="tally_once"
            ),
        ),
    ]
