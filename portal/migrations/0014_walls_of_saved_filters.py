"""Keep the filters that a Supplier's people keep to that Supplier; whose each is says its page."""

from django.db import migrations

BY_SUPPLIER = "supplier_id = (SELECT nullif(current_setting('portal.supplier', true), '')::smallint)"
WALLS = f"""
ALTER TABLE scheduling_savedfilter ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON scheduling_savedfilter TO CURRENT_USER, portal_staff, portal_worker USING (true);
CREATE POLICY of_the_supplier ON scheduling_savedfilter TO portal_supplier USING ({BY_SUPPLIER});
GRANT SELECT, INSERT, UPDATE, DELETE ON scheduling_savedfilter TO portal_supplier
"""


class Migration(migrations.Migration):
    dependencies = [("portal", "0013_walls_of_exports"), ("scheduling", "0044_saved_filters")]

    operations = [migrations.RunSQL(WALLS)]
