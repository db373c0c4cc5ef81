"""Which hubs are set aside because carrying them out kept failing; those whose deployment has ended are not."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Cast

from portal.ground import sql
from scheduling.lifecycle import State
from scheduling.models import LOT_SPAN, Deployment, Lot, Quarantine

DEATHS = "Worker after worker died with it."
"""What `deployments.claims` keeps where no error was ever seen."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A deployment that is set aside, its release and hub by id, and its state."""

    deployment: int
    release: int
    hub: int
    state: State


# Raw SQL: a lot is found by its deployment's id, which no foreign key says.
OPEN_AMONG = """
SELECT deployment.id, lot.release_id, deployment.hub_id, deployment.state
FROM scheduling_quarantine kept
JOIN scheduling_deployment deployment ON deployment.id = kept.deployment_id
JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
WHERE kept.deployment_id = ANY (%(deployments)s) AND kept.since IS NOT NULL AND deployment.ended_at IS NULL
ORDER BY deployment.id
"""


def open_among(*, deployments: Collection[int]) -> list[Kept]:
    """Return which of these deployments, by id, are set aside and have not ended, in the order of their ids."""
    rows = sql.rows(OPEN_AMONG, {"deployments": list(deployments), "span": LOT_SPAN})
    return [Kept(deployment, release, hub, State(state)) for deployment, release, hub, state in rows]


def by_state(*, deployments: Collection[int]) -> Mapping[State, int]:
    """Count those of these deployments that are set aside and have not ended, by state."""
    return Counter(kept.state for kept in open_among(deployments=deployments))


def since(*, deployments: Collection[int]) -> dict[int, datetime]:
    """Return since when these open deployments are set aside, by id; those that are not are left out."""
    kept = Quarantine.objects.filter(pk__in=list(deployments), since__isnull=False)
    return {pk: moment for pk, moment in kept.values_list("pk", "since") if moment is not None}


def every_open() -> QuerySet[Any]:
    """
    Return all hubs that are set aside and have not ended, with what a list shows of them.

    Annotated: `chf_id`, `state`, `phase`, `tries`, and `release_id`, `release_name`, `supplier_id`,
    `supplier_name`, `network_id`, `network_name`, `slot_start`, `reference`.
    """
    deployment = Deployment.objects.filter(pk=OuterRef("deployment_id"))
    lot = Lot.objects.filter(pk=Cast(OuterRef("deployment_id"), BigIntegerField()) / LOT_SPAN)
    of_lot = {
        "release_id": "release_id",
        "release_name": "release__name",
        "supplier_id": "supplier_id",
        "supplier_name": "supplier__name",
        "network_id": "network_id",
        "network_name": "network__name",
        "slot_start": "slot__start_at",
        "reference": "booking__reference",
    }
    return Quarantine.objects.filter(Exists(deployment.filter(ended_at=None)), since__isnull=False).annotate(
        chf_id=Subquery(deployment.values("hub_id")),
        state=Subquery(deployment.values("state")),
        phase=Subquery(deployment.values("phase")),
        tries=Subquery(deployment.values("tries")),
        **{name: Subquery(lot.values(path)) for name, path in of_lot.items()},
    )


def count() -> int:
    """Count the hubs that wait because they are set aside."""
    return every_open().count()


def plain(*, error: str) -> str:
    """Say in plain words what kept failing, from the error as it was kept."""
    if error == DEATHS:
        return "Every worker that carried it out died"
    name, colon, said = error.partition(": ")
    if colon and name == "CommandRefused":
        return f"The carrier does not take its command: {said}"
    return f"Carrying it out fails: {said or name}"
