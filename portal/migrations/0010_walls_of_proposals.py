"""
Keep each Supplier's proposals, and its rule of the second person, to itself.

It reads them; they are written by the parts that are trusted, so that no request agrees for somebody else.
"""

from django.db import migrations

BY_SUPPLIER = "supplier_id = (SELECT nullif(current_setting('portal.supplier', true), '')::smallint)"
WALLS = ";\n".join(
    f"""ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON {table} TO CURRENT_USER, portal_staff, portal_worker USING (true);
CREATE POLICY of_the_supplier ON {table} FOR SELECT TO portal_supplier USING ({BY_SUPPLIER});
GRANT SELECT ON {table} TO portal_supplier"""
    for table in ("scheduling_proposal", "scheduling_secondpersonrule")
)


class Migration(migrations.Migration):
    dependencies = [("portal", "0009_roles_apart"), ("scheduling", "0040_proposals")]

    operations = [migrations.RunSQL(WALLS)]
