"""Commands, receipts and reports by their key, as arrays for a statement."""

from collections.abc import Sequence

from hubs.gateway import Command, Receipt, Report
from portal.ground import sql


def keys(things: Sequence[Command] | Sequence[Receipt] | Sequence[Report]) -> dict[str, str]:
    """Return the keys as the parameters `deployments`, `phases` and `attempts`."""
    return {
        "deployments": sql.numbers([thing.deployment for thing in things]),
        "phases": sql.numbers([thing.phase.value for thing in things]),
        "attempts": sql.numbers([thing.attempt for thing in things]),
    }
