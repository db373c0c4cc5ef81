"""
Let nothing be activated outside a stage, and keep the table of moves as it is.

What is not being activated, and may be again, is in no stage; what is activated is in one. The table of moves
changes by a migration alone, which silences the trigger that keeps it.
"""

from django.db import migrations

STAGES = """
CREATE FUNCTION scheduling_deployment_leaves_its_stage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.stage := 0;
    RETURN NEW;
END $$;

CREATE TRIGGER deployment_leaves_its_stage BEFORE UPDATE OF state ON scheduling_deployment
    FOR EACH ROW WHEN (OLD.state = 'activating' AND NEW.state = 'staged')
    EXECUTE FUNCTION scheduling_deployment_leaves_its_stage();

CREATE FUNCTION scheduling_deployment_without_stage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'deployment % is activated in no stage', NEW.id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'deployment_activated_in_a_stage',
              TABLE = 'scheduling_deployment';
END $$;

CREATE TRIGGER deployment_activated_in_a_stage BEFORE UPDATE OF state ON scheduling_deployment
    FOR EACH ROW WHEN (OLD.state <> 'activating' AND NEW.state = 'activating' AND NEW.stage = 0)
    EXECUTE FUNCTION scheduling_deployment_without_stage();
"""
MOVES = """
CREATE FUNCTION scheduling_moves_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the table of moves changes by a migration alone'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'moves_stay', TABLE = 'scheduling_move';
END $$;

CREATE TRIGGER moves_stay BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON scheduling_move
    FOR EACH STATEMENT EXECUTE FUNCTION scheduling_moves_stay();
"""


class Migration(migrations.Migration):
    dependencies = [("scheduling", "0019_hubs_that_dcc_takes_out")]

    operations = [
        migrations.RunSQL(
            STAGES,
            """
            DROP TRIGGER deployment_leaves_its_stage ON scheduling_deployment;
            DROP FUNCTION scheduling_deployment_leaves_its_stage();
            DROP TRIGGER deployment_activated_in_a_stage ON scheduling_deployment;
            DROP FUNCTION scheduling_deployment_without_stage();
            """,
        ),
        migrations.RunSQL(
            MOVES, "DROP TRIGGER moves_stay ON scheduling_move; DROP FUNCTION scheduling_moves_stay();"
        ),
    ]
