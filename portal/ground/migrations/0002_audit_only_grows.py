"""Let the audit only ever grow: refuse UPDATE, DELETE and TRUNCATE, whoever writes."""

from django.db import migrations

FUNCTION = """
CREATE FUNCTION ground_audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit entries are only ever added: % refused', TG_OP
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'audit_only_grows', TABLE = 'ground_auditentry';
END $$;
"""

TRIGGER = """
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON ground_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION ground_audit_only_grows();
"""


class Migration(migrations.Migration):
    dependencies = [("ground", "0001_initial")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION ground_audit_only_grows()"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER audit_only_grows ON ground_auditentry"),
    ]
