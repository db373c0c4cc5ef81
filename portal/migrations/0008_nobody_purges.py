"""Give no process the right to move the base of the record of decisions: whoever purges is the owner of the tables."""

from django.db import migrations

NOBODYS = """
REVOKE ALL ON ground_auditbase FROM portal_staff, portal_worker;
GRANT SELECT ON ground_auditbase TO portal_staff, portal_worker;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("portal", "0007_row_level_security"),
        ("ground", "0008_purges_of_decisions"),
    ]

    operations = [migrations.RunSQL(NOBODYS, migrations.RunSQL.noop)]
