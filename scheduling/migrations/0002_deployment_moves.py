"""
Make illegal moves impossible and the counts of a lot true, whoever writes.

One trigger for each statement, not for each row, compares the rows before and after: every change of state has
to be in the table of moves, and the lot's counts follow. It costs about half a microsecond a row.
"""

from django.db import migrations

# as they were when this migration was written: a later move needs a later migration
MOVES = {
    "provisional": ("booked", "held", "missed", "cancelled"),
    "booked": ("staging", "held", "missed", "cancelled"),
    "staging": ("staged", "held", "failed", "missed", "cancelled"),
    "staged": ("activating", "held", "missed", "cancelled"),
    "activating": ("staged", "succeeded", "failed", "unconfirmed"),
    "held": ("booked", "missed", "cancelled"),
}
STATES = (*MOVES, "succeeded", "failed", "unconfirmed", "missed", "cancelled")

TABLE = """
CREATE TABLE scheduling_move (
    source varchar(11) NOT NULL,
    target varchar(11) NOT NULL,
    PRIMARY KEY (source, target)
);
COMMENT ON TABLE scheduling_move IS 'The moves that the life of a deployment has; kept equal to lifecycle.MOVES.';
"""

ROWS = "INSERT INTO scheduling_move (source, target) VALUES {};".format(
    ", ".join(f"('{source}', '{target}')" for source, targets in MOVES.items() for target in targets)
)

COUNTS = ",\n        ".join(
    f"{state} = lot.{state} + change.gained_{state} - change.lost_{state}" for state in STATES
)
SUMS = ",\n            ".join(
    f"count(*) FILTER (WHERE after.state = '{state}') AS gained_{state},"
    f" count(*) FILTER (WHERE before.state = '{state}') AS lost_{state}"
    for state in STATES
)

FUNCTION = f"""
CREATE FUNCTION scheduling_deployment_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    illegal record;
BEGIN
    SELECT before.id, before.state AS source, after.state AS target INTO illegal
    FROM before JOIN after USING (id)
    WHERE before.state <> after.state
      AND (before.state, after.state) NOT IN (SELECT source, target FROM scheduling_move)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'deployment % cannot move from % to %', illegal.id, illegal.source, illegal.target
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deployment_moves', TABLE = 'scheduling_deployment';
    END IF;
    UPDATE scheduling_lot lot SET
        {COUNTS}
    FROM (
        SELECT before.id >> 11 AS lot_id,
            {SUMS}
        FROM before JOIN after USING (id)
        WHERE before.state <> after.state
        GROUP BY 1
    ) change
    WHERE lot.id = change.lot_id;
    RETURN NULL;
END $$;
"""

TRIGGER = """
CREATE TRIGGER deployment_moves AFTER UPDATE ON scheduling_deployment
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION scheduling_deployment_moved();
"""


class Migration(migrations.Migration):
    dependencies = [("scheduling", "0001_initial")]

    operations = [
        migrations.RunSQL(TABLE + ROWS, "DROP TABLE scheduling_move"),
        migrations.RunSQL(FUNCTION, "DROP FUNCTION scheduling_deployment_moved()"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER deployment_moves ON scheduling_deployment"),
    ]
