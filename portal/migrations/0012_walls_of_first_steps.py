"""Let a Supplier's people keep, each for themselves, whether they are shown the first steps."""

from django.db import migrations

OF_THE_SUPPLIER = "EXISTS (SELECT FROM portal_user WHERE portal_user.id = person_id)"
"""The people whom a Supplier sees are its own."""
WALL = f"""
ALTER TABLE scheduling_firststeps ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON scheduling_firststeps TO CURRENT_USER, portal_staff, portal_worker USING (true);
CREATE POLICY of_the_supplier ON scheduling_firststeps TO portal_supplier
    USING ({OF_THE_SUPPLIER}) WITH CHECK ({OF_THE_SUPPLIER});
GRANT SELECT, INSERT, UPDATE ON scheduling_firststeps TO portal_supplier
"""


class Migration(migrations.Migration):
    dependencies = [("portal", "0011_walls_of_outcomes"), ("scheduling", "0042_first_steps")]

    operations = [migrations.RunSQL(WALL)]
