"""
Let each decision name the role that its actor acted in, and refuse links that are not those of their decisions.

A process of the version before knows no roles, and would chain a decision without its role: nobody could tell such a
link from that of a decision that was changed. It is refused; what waits is chained by the first new worker.
"""

from django.db import migrations, models

LINKS = """
CREATE FUNCTION ground_audit_link_is_of_its_decision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong bigint;
BEGIN
    SELECT made.number INTO wrong FROM made
    LEFT JOIN ground_auditlink before ON before.number = made.number - 1
    LEFT JOIN ground_auditentry entry ON entry.id = made.entry_id
    WHERE made.link IS DISTINCT FROM sha256(
        CASE made.number WHEN 1 THEN decode(repeat('00', 32), 'hex') ELSE before.link END
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
CREATE TRIGGER audit_link_is_of_its_decision AFTER INSERT ON ground_auditlink
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION ground_audit_link_is_of_its_decision();
"""
NO_LINKS = "DROP FUNCTION ground_audit_link_is_of_its_decision() CASCADE"


class Migration(migrations.Migration):
    dependencies = [("ground", "0006_decisions_by_their_actor")]

    operations = [
        migrations.AddField(
            model_name="auditentry",
            name="role",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.RunSQL(LINKS, NO_LINKS),
    ]
