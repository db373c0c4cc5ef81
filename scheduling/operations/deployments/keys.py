"""Commands, receipts and reports by their key, as arrays for a statement."""

from collections.abc import Iterable

from hubs.gateway import Command, Receipt, Report


def keys(things: Iterable[Command] | Iterable[Receipt] | Iterable[Report]) -> dict[str, list[int]]:
    keys = [(thing.deployment, int(thing.phase), thing.attempt) for thing in things]
    return {
        "deployments": [deployment for deployment, _, _ in keys],
        "phases": [phase for _, phase, _ in keys],
        "attempts": [attempt for _, _, attempt in keys],
    }
