"""Count the fleet, and keep what had succeeded by then."""

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
