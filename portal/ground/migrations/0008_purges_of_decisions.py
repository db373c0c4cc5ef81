"""
Let what is oldest in the record of decisions go, by a decision on record, and nothing else.

Only the owner of the tables may: no process has the right. What goes lies before the base of the chain, and the base
moves only as far as a decision says.
"""

from django.db import migrations, models

GOES_BY_PURGES = """
DROP TRIGGER audit_only_grows ON ground_auditentry;
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR TRUNCATE ON ground_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION ground_audit_only_grows();
CREATE FUNCTION ground_audit_goes_by_purges() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone WHERE NOT EXISTS (
        SELECT FROM ground_auditlink link JOIN ground_auditbase base ON link.number <= base.number
        WHERE link.entry_id = gone.id)) THEN
        RAISE EXCEPTION 'audit entries are only ever added: DELETE refused'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'audit_goes_by_purges', TABLE = 'ground_auditentry';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_goes_by_purges AFTER DELETE ON ground_auditentry
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION ground_audit_goes_by_purges();

DROP TRIGGER audit_chain_only_grows ON ground_auditlink;
CREATE TRIGGER audit_chain_only_grows BEFORE UPDATE OR TRUNCATE ON ground_auditlink
    FOR EACH STATEMENT EXECUTE FUNCTION ground_audit_chain_only_grows();
CREATE FUNCTION ground_audit_chain_goes_by_purges() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone WHERE NOT EXISTS (SELECT FROM ground_auditbase WHERE gone.number <= number)) THEN
        RAISE EXCEPTION 'links of the audit are only ever added: DELETE refused'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'audit_chain_goes_by_purges',
                  TABLE = 'ground_auditlink';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_chain_goes_by_purges AFTER DELETE ON ground_auditlink
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION ground_audit_chain_goes_by_purges();

CREATE FUNCTION ground_audit_base_moves_by_decisions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND NEW.number < OLD.number) OR (NEW.number > 0 AND (
        NOT EXISTS (SELECT FROM ground_auditlink WHERE number = NEW.number AND link = NEW.link)
        OR NOT EXISTS (SELECT FROM ground_auditentry WHERE subject = 'audit:decisions' AND verb = 'audit.purged'
                       AND CASE WHEN facts ? 'number' THEN (facts ->> 'number')::bigint END >= NEW.number))) THEN
        RAISE EXCEPTION 'the base of the audit moves forwards, to a link, and as far as a decision says: % refused', TG_OP
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'audit_base_moves_by_decisions',
                  TABLE = 'ground_auditbase';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_base_moves_by_decisions BEFORE INSERT OR UPDATE OR DELETE ON ground_auditbase
    FOR EACH ROW EXECUTE FUNCTION ground_audit_base_moves_by_decisions();
"""
# the link before the first that is left is the base's
LINKS = """
CREATE OR REPLACE FUNCTION ground_audit_link_is_of_its_decision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong bigint;
BEGIN
    SELECT made.number INTO wrong FROM made
    LEFT JOIN ground_auditlink before ON before.number = made.number - 1
    LEFT JOIN ground_auditbase base ON base.number = made.number - 1
    LEFT JOIN ground_auditentry entry ON entry.id = made.entry_id
    WHERE made.link IS DISTINCT FROM sha256(
        CASE made.number WHEN 1 THEN decode(repeat('00', 32), 'hex') ELSE coalesce(before.link, base.link) END
        || convert_to((
            jsonb_build_array(entry.id, entry.actor_id, entry.verb, entry.subject, entry.reason, entry.facts,
                              (extract(epoch FROM entry.recorded_at) * 1000000)::bigint)
            || CASE WHEN entry.role = '' THEN '[]' ELSE jsonb_build_array(entry.role) END)::text, 'UTF8'))
    ORDER BY 1 LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'link % of the audit is not that of its decision: a process of an earlier version makes links '
            'until all are of this one', wrong
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'audit_link_is_of_its_decision',
                  TABLE = 'ground_auditlink';
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("ground", "0007_decisions_name_the_role")]

    operations = [
        migrations.CreateModel(
            name="AuditBase",
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
                    models.CheckConstraint(condition=models.Q(("pk", 1)), name="audit_has_one_base")
                ]
            },
        ),
        migrations.RunSQL(GOES_BY_PURGES),
        migrations.RunSQL(LINKS),
    ]
