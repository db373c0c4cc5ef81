"""
Let one network, hub model or installed version of a release be halted, and a resumption leave such parts out.

A sign-off of a resumption names the halt that it ends. Those that stand by now are of the release's last halt: a
release could only be halted as a whole.
"""

import django.db.models.deletion
from django.db import migrations, models

# The trigger lets a sign-off be voided, and nothing else.
NAME_THE_HALT = """
ALTER TABLE firmware_signoff DISABLE TRIGGER sign_off_written;
UPDATE firmware_signoff signed SET halt_id = (
    SELECT halt.id FROM firmware_halt halt
    WHERE halt.release_id = signed.release_id AND halt.halted_at <= signed.signed_at
    ORDER BY halt.halted_at DESC, halt.id DESC LIMIT 1)
WHERE act = 'resume';
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE firmware_signoff ENABLE TRIGGER sign_off_written;
"""


def part(to: str) -> "models.ForeignKey[models.Model | None, models.Model | None]":
    """Make the field of a part of a release."""
    return models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=to)


class Migration(migrations.Migration):
    dependencies = [
        ("firmware", "0006_halts_with_their_numbers"),
        ("hubs", "0006_changes_that_are_due"),
    ]

    operations = [
        migrations.AddField("halt", "network", part("hubs.network")),
        migrations.AddField("halt", "model", part("hubs.hubmodel")),
        migrations.AddField("halt", "installed_version", part("hubs.firmwareversion")),
        migrations.RemoveConstraint("halt", "halt_one_standing_per_release"),
        migrations.AddConstraint(
            "halt",
            models.UniqueConstraint(
                fields=["release", "network", "model", "installed_version"],
                condition=models.Q(lifted_at=None),
                nulls_distinct=False,
                name="halt_one_standing_per_part",
            ),
        ),
        migrations.AddConstraint(
            "halt",
            models.CheckConstraint(
                condition=models.Q(network=None, model=None)
                | models.Q(network=None, installed_version=None)
                | models.Q(model=None, installed_version=None),
                name="halt_of_one_part_at_most",
            ),
        ),
        migrations.AddField(
            "signoff",
            "halt",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="sign_offs",
                to="firmware.halt",
            ),
        ),
        migrations.AddField(
            "signoff",
            "leaves_out",
            models.JSONField(
                blank=True, db_default=models.Value([], models.JSONField()), default=list, editable=False
            ),
        ),
        migrations.RunSQL(NAME_THE_HALT, migrations.RunSQL.noop),
        migrations.RemoveConstraint("signoff", "sign_off_one_standing_per_act"),
        migrations.AddConstraint(
            "signoff",
            models.UniqueConstraint(
                fields=["release", "act", "halt"],
                condition=models.Q(voided_at=None),
                nulls_distinct=False,
                name="sign_off_one_standing_per_act",
            ),
        ),
        migrations.AddConstraint(
            "signoff",
            models.CheckConstraint(
                condition=models.Q(act="publish", halt=None) | models.Q(act="resume", halt__isnull=False),
                name="sign_off_of_a_resumption_names_the_halt",
            ),
        ),
    ]
