"""
Keep the trigger of a large statement from comparing every row with every other.

The planner knows nothing of the rows before and after, and keeps a plan that was made for few; for ten thousand rows
a nested loop took five seconds where a hash takes hundredths.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("scheduling", "0013_default_allocation_and_exceptions")]

    operations = [
        migrations.RunSQL(
            "ALTER FUNCTION scheduling_deployment_moved() SET enable_nestloop = off;",
            "ALTER FUNCTION scheduling_deployment_moved() RESET enable_nestloop;",
        )
    ]
