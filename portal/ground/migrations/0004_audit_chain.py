"""
Chain the record of decisions: what is put in is about to be chained, and links are only ever added.

What was recorded before is chained first, in its order.
"""

import django.db.models.deletion
from django.db import migrations, models

PENDING = """
CREATE FUNCTION ground_audit_is_to_be_chained() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ground_auditpending (entry_id) SELECT id FROM recorded;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_is_to_be_chained AFTER INSERT ON ground_auditentry
    REFERENCING NEW TABLE AS recorded FOR EACH STATEMENT EXECUTE FUNCTION ground_audit_is_to_be_chained();
"""
NOT_PENDING = "DROP FUNCTION ground_audit_is_to_be_chained() CASCADE"
ONLY_GROWS = """
CREATE FUNCTION ground_audit_chain_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'links of the audit are only ever added: % refused', TG_OP
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'audit_chain_only_grows', TABLE = 'ground_auditlink';
END $$;
CREATE TRIGGER audit_chain_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON ground_auditlink
    FOR EACH STATEMENT EXECUTE FUNCTION ground_audit_chain_only_grows();
"""
GROWS_NO_MORE = "DROP FUNCTION ground_audit_chain_only_grows() CASCADE"
WHAT_WAS_RECORDED = "INSERT INTO ground_auditpending (entry_id) SELECT id FROM ground_auditentry"


class Migration(migrations.Migration):
    dependencies = [("ground", "0003_turns")]

    operations = [
        migrations.CreateModel(
            name="AuditPending",
            fields=[("entry_id", models.BigIntegerField(primary_key=True, serialize=False))],
        ),
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.BigIntegerField()),
                ("link", models.BinaryField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("pk", 1)), name="audit_has_one_head")
                ]
            },
        ),
        migrations.CreateModel(
            name="AuditLink",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "entry",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="ground.auditentry",
                    ),
                ),
                ("link", models.BinaryField()),
                ("made_at", models.DateTimeField()),
            ],
        ),
        migrations.RunSQL(PENDING, NOT_PENDING),
        migrations.RunSQL(ONLY_GROWS, GROWS_NO_MORE),
        migrations.RunSQL(WHAT_WAS_RECORDED, migrations.RunSQL.noop),
    ]
