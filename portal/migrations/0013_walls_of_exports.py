"""
Keep each Supplier's exports to itself.

Its people ask for them, stop them and begin them again; workers write them.
"""

from django.db import migrations

BY_SUPPLIER = "supplier_id = (SELECT nullif(current_setting('portal.supplier', true), '')::smallint)"
WALLS = f"""
ALTER TABLE scheduling_export ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON scheduling_export TO CURRENT_USER, portal_staff, portal_worker USING (true);
CREATE POLICY of_the_supplier ON scheduling_export TO portal_supplier USING ({BY_SUPPLIER});
GRANT SELECT, INSERT, UPDATE ON scheduling_export TO portal_supplier
"""


class Migration(migrations.Migration):
    dependencies = [("portal", "0012_walls_of_first_steps"), ("scheduling", "0043_exports")]

    operations = [migrations.RunSQL(WALLS)]
