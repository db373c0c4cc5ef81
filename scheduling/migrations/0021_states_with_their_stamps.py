"""Refuse states and stamps that do not belong together, whoever writes."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("firmware", "0005_frozen_parts"),
        ("hubs", "0006_changes_that_are_due"),
        ("scheduling", "0020_activated_in_a_stage"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="command",
            constraint=models.CheckConstraint(
                condition=models.Q(("version", None), ("outcome__isnull", False), _connector="OR"),
                name="command_version_only_when_answered",
            ),
        ),
        migrations.AddConstraint(
            model_name="command",
            constraint=models.CheckConstraint(
                condition=models.Q(("valid_until__gte", models.F("admitted_at"))),
                name="command_valid_after_its_admission",
            ),
        ),
        migrations.AddConstraint(
            model_name="command",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("attempt__gte", 0),
                    ("phase__in", [1, 2, 3, 4]),
                    models.Q(("verdict", None), ("verdict__in", [1, 2, 3]), _connector="OR"),
                    models.Q(
                        ("outcome", None), ("outcome__in", [1, 2, 3, 4, 5, 6, 7, 8, 9]), _connector="OR"
                    ),
                ),
                name="command_says_what_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="consent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state__in", ["asked", "given", "lapsed", "objected", "unanswered", "withdrawn"])
                ),
                name="consent_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="deployment",
            constraint=models.CheckConstraint(
                condition=models.Q(("attempt__gte", 0), ("phase__in", [1, 2, 3, 4]), ("tries__gte", 0)),
                name="deployment_counts_from_0",
            ),
        ),
        migrations.AddConstraint(
            model_name="deployment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ending", ""),
                    models.Q(
                        ("state__in", ("succeeded", "failed", "unconfirmed", "missed", "cancelled")),
                        models.Q(("state", "succeeded"), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="deployment_ending_says_why_it_failed",
            ),
        ),
        migrations.AddConstraint(
            model_name="lot",
            constraint=models.CheckConstraint(
                condition=models.Q(("misses_seen__lte", models.F("missed"))),
                name="lot_misses_seen_are_missed",
            ),
        ),
    ]
