"""Keep what time has decided about hubs set aside, and count answers that are not the carrier's."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("scheduling", "0021_states_with_their_stamps"),
    ]

    operations = [
        migrations.AddField(
            model_name="quarantine",
            name="lapsed_at",
            field=models.DateTimeField(null=True, verbose_name="ended by time"),
        ),
        migrations.AlterField(
            model_name="deployment",
            name="ending",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", ""),
                    ("no_image_held", "The hub held no image to activate"),
                    ("hash_mismatch", "The image's hash did not match"),
                    ("verification_failed", "The hub could not verify the image"),
                    ("activation_failed", "The hub could not activate the image"),
                    ("wrong_hardware", "The hub's hardware does not take this image"),
                    ("transfer_failed", "The image did not arrive whole"),
                    ("wrong_version", "After activation the hub runs another version"),
                    ("not_activated", "The hub still runs its old version after an unanswered activation"),
                    ("silent", "The hub did not answer after activation"),
                    ("unreachable", "The hub could not be reached in its slot"),
                    ("not_staged", "The image was not on the hub when the slot ended"),
                    ("slot_passed", "The slot ended before the hub's turn"),
                    ("no_turn", "The stages of the release had no room for the hub in its slot"),
                    ("protected_window", "The hub was in a protected window during its slot"),
                    ("network_closed", "DCC had closed the network during the slot"),
                    ("halted", "The release was halted during the slot"),
                    ("set_aside", "The hub was taken out, because carrying it out kept failing"),
                    ("already_installed", "The hub runs this version already"),
                    ("version_changed", "The hub runs a version that this release cannot be installed over"),
                    ("no_longer_eligible", "The hub may no longer be booked for this release"),
                    ("carried_over", "Went with the hub to its new Supplier"),
                    ("objected", "The other Supplier objected"),
                    ("no_consent", "The other Supplier did not agree in time"),
                    ("by_supplier", "Cancelled by the Supplier"),
                    ("moved", "Moved to another slot"),
                    ("withdrawn", "The release was withdrawn"),
                ],
                default="",
                max_length=19,
            ),
        ),
        migrations.AlterField(
            model_name="reportcount",
            name="kind",
            field=models.CharField(
                choices=[
                    ("answer", "Answer that was awaited"),
                    ("late", "Answer that nobody waited for any more"),
                    ("repeated", "Repeated answer"),
                    ("stray", "Answer to nothing that was sent to its hub"),
                    ("unreadable", "No report at all"),
                    ("forged", "Answer that the carrier did not sign"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantine",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("lapsed_at", None),
                    models.Q(("since__isnull", False), ("since__lte", models.F("lapsed_at"))),
                    _connector="OR",
                ),
                name="quarantine_lapses_after_it_began",
            ),
        ),
    ]
