"""
Freeze what belongs to a release with the release itself, whoever writes.

From the moment of submission its models, predecessors, periods and policy stay as they were signed off. A published
release may be given more time: a period may end later, and nothing else of it may change.
"""

from django.db import migrations

FUNCTION = """
CREATE OR REPLACE FUNCTION firmware_part_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    frozen record;
BEGIN
    -- shared, so that who submits the release at this moment is waited for
    SELECT id, state INTO frozen FROM firmware_firmwarerelease
    WHERE id IN ((was ->> TG_ARGV[0])::bigint, (becomes ->> TG_ARGV[0])::bigint) AND state <> 'draft'
    LIMIT 1 FOR SHARE;
    IF NOT FOUND OR was = becomes THEN
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'firmware_availabilityperiod' AND TG_OP = 'UPDATE' AND frozen.state IN ('published', 'halted')
       AND was - 'end_at' = becomes - 'end_at'
       AND (becomes ->> 'end_at')::timestamptz > (was ->> 'end_at')::timestamptz THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'release % is %: its % is frozen', frozen.id, frozen.state, TG_ARGV[1]
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
"""
PARTS = (
    (
        "firmware_firmwarerelease_hub_models",
        "release_models_frozen",
        "firmwarerelease_id",
        "choice of models",
    ),
    ("firmware_predecessor", "release_predecessors_frozen", "release_id", "list of predecessors"),
    ("firmware_availabilityperiod", "release_periods_frozen", "release_id", "availability"),
    ("firmware_rolloutpolicy", "release_policy_frozen", "release_id", "policy"),
)


class Migration(migrations.Migration):
    dependencies = [("firmware", "0004_explicit_consent")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION firmware_part_changed()"),
        *(
            migrations.RunSQL(
                f"""
                CREATE TRIGGER {trigger} AFTER INSERT OR UPDATE OR DELETE ON {table}
                    FOR EACH ROW EXECUTE FUNCTION firmware_part_changed('{column}', '{words}');
                """,
                f"DROP TRIGGER {trigger} ON {table}",
            )
            for table, trigger, column, words in PARTS
        ),
    ]
