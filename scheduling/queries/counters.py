"""
How many hubs of a release are in which state: from the maintained counters, never from the hubs.

What is in the tally and what was added since are summed in one statement, so that nothing is counted twice or not at
all while the tally takes up its changes.
"""

from collections.abc import Mapping, Sequence

from portal.ground import sql
from scheduling.lifecycle import State

Counts = Mapping[State, int]

# Raw SQL: a union of two tables, summed by whatever is asked for.
COUNTED = """
SELECT {key}, state, sum(hubs)::bigint FROM (
    SELECT release_id, network_id, model_id, stage, state, hubs FROM scheduling_tally
    WHERE release_id = ANY (%(releases)s)
    UNION ALL
    SELECT release_id, network_id, model_id, stage, state, hubs FROM scheduling_tallychange
    WHERE release_id = ANY (%(releases)s)) counted
GROUP BY 1, 2 HAVING sum(hubs) <> 0 ORDER BY 1, 2
"""


def by_release(*, releases: Sequence[int]) -> Mapping[int, Counts]:
    """Return the hubs in each state, by the ids of the releases; a release without deployments is not there."""
    return _counted("release_id", releases)


def by_network(*, release: int) -> Mapping[int, Counts]:
    """Return the hubs of a release in each state, by network id."""
    return _counted("network_id", [release])


def by_model(*, release: int) -> Mapping[int, Counts]:
    """Return the hubs of a release in each state, by the id of their hub model."""
    return _counted("model_id", [release])


def by_stage(*, release: int) -> Mapping[int, Counts]:
    """Return the hubs of a release in each state, by the number of their stage; nought before their activation."""
    return _counted("stage", [release])


def _counted(key: str, releases: Sequence[int]) -> Mapping[int, Counts]:
    found: dict[int, dict[State, int]] = {}
    for which, state, hubs in sql.rows(COUNTED.format(key=key), {"releases": list(releases)}):
        found.setdefault(which, {})[State(state)] = hubs
    return found
