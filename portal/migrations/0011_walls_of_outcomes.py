"""Keep the outcomes of each Supplier's hubs to itself: it reads them, and those who carry out write them."""

from django.db import migrations

BY_SUPPLIER = "supplier_id = (SELECT nullif(current_setting('portal.supplier', true), '')::smallint)"
WALLS = ";\n".join(
    f"""ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON {table} TO CURRENT_USER, portal_staff, portal_worker USING (true);
CREATE POLICY of_the_supplier ON {table} FOR SELECT TO portal_supplier USING ({BY_SUPPLIER});
GRANT SELECT ON {table} TO portal_supplier"""
    for table in ("scheduling_outcometally", "scheduling_tallychange")
)


class Migration(migrations.Migration):
    dependencies = [("portal", "0010_walls_of_proposals"), ("scheduling", "0041_outcomes_by_day")]

    operations = [migrations.RunSQL(WALLS)]
