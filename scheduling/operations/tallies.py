"""Count the fleet, keep what had succeeded by then, and take up what has changed in the counters of deployments."""

from datetime import datetime

from hubs import operations as fleet
from portal.ground import sql

TALLY = """
INSERT INTO scheduling_successtally (release_id, supplier_id, succeeded)
SELECT release_id, supplier_id, sum(succeeded) FROM scheduling_lot
GROUP BY release_id, supplier_id HAVING sum(succeeded) > 0 ORDER BY release_id, supplier_id
ON CONFLICT (release_id, supplier_id) DO UPDATE SET succeeded = excluded.succeeded
"""


def count_fleet(*, now: datetime) -> bool:
    """
    Count the fleet anew, and then the hubs that have succeeded so far; pages add what succeeds later.

    Returns whether it was done: a count that is under way elsewhere is left alone. What succeeds between the
    two counts is missing from the pages' numbers until the next one.
    """
    if not fleet.count_fleet(now=now):
        return False
    sql.run(TALLY, {})
    return True


# Two who fold at the same time take different changes, and touch the tallies in one order. Chosen once, whichever way
# the database joins: asked again for every row, the limit would be none.
FOLD = """
WITH chosen AS MATERIALIZED (
    SELECT id FROM scheduling_tallychange ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED),
taken AS (
    DELETE FROM scheduling_tallychange WHERE id IN (SELECT id FROM chosen)
    RETURNING release_id, network_id, model_id, stage, state, hubs),
kept AS (
    INSERT INTO scheduling_tally AS tally (release_id, network_id, model_id, stage, state, hubs)
    SELECT release_id, network_id, model_id, stage, state, sum(hubs) FROM taken
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (release_id, network_id, model_id, stage, state) DO UPDATE SET hubs = tally.hubs + excluded.hubs)
SELECT count(*) FROM taken
"""


def fold(*, limit: int) -> int:
    """
    Take up to so many of the changes into the tally of deployments; return how many there were.

    The database takes those of them that are outcomes into theirs as they go.
    """
    [(folded,)] = sql.rows(FOLD, {"limit": limit})
    return int(folded)
