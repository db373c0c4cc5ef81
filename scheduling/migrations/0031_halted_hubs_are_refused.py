"""Name the reason why hubs of a halted part of a release cannot be booked."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("scheduling", "0030_halts_that_lots_know"),
    ]

    operations = [
        migrations.AlterField(
            model_name="selectionrow",
            name="refusal",
            field=models.SmallIntegerField(
                choices=[
                    (31, "No identifier in this row"),
                    (32, "Too long for a row of identifiers"),
                    (33, "Digits lost: a spreadsheet shortened the number"),
                    (1, "Not a CHF ID, MPAN or MPRN"),
                    (2, "Named more than once"),
                    (3, "Not one of your hubs"),
                    (34, "More than one of your hubs"),
                    (4, "The other Supplier books this hub"),
                    (5, "Status does not allow it"),
                    (6, "Another hub model"),
                    (7, "Another hardware version"),
                    (8, "Runs this version already"),
                    (9, "Installed version is not a predecessor"),
                    (10, "Not available on its network"),
                    (11, "Already booked"),
                    (12, "Halted for hubs like this one"),
                ],
                null=True,
            ),
        ),
    ]
