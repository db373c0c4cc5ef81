"""Which hubs are set aside because carrying them out kept failing; those whose deployment has ended are not."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Cast

from firmware.models import RolloutPolicy
from portal.ground import sql
from scheduling.lifecycle import State
from scheduling.models import LOT_SPAN, Deployment, Lot, Quarantine

SET_ASIDE = """EXISTS (
    SELECT FROM scheduling_quarantine aside WHERE aside.deployment_id = deployment.id AND aside.since IS NOT NULL)"""
"""Whether the `deployment` of a statement is set aside."""
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


# Raw SQL, for the same reason.
BEING_ACTIVATED = """
SELECT DISTINCT lot.release_id FROM scheduling_quarantine kept
JOIN scheduling_deployment deployment ON deployment.id = kept.deployment_id
JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
WHERE kept.since IS NOT NULL AND deployment.state = 'activating'
"""
SILENT_TOO_LONG = """
SELECT deployment.id, lot.release_id, deployment.hub_id, deployment.state
FROM scheduling_quarantine kept
JOIN scheduling_deployment deployment ON deployment.id = kept.deployment_id
JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
JOIN unnest(%(releases)s::bigint[], %(moments)s::timestamptz[]) AS deadline (release_id, since) USING (release_id)
WHERE kept.since <= deadline.since AND deployment.state = 'activating'
  AND deployment.id > %(after)s AND (%(among)s::bigint[] IS NULL OR deployment.id = ANY (%(among)s::bigint[]))
ORDER BY deployment.id LIMIT %(limit)s
"""


def deadlines(*, now: datetime) -> dict[int, datetime]:
    """
    Return, for each release with hubs set aside while they were being activated, since when that is too long.

    By the id of the release: its silence deadline before `now`.
    """
    concerned = [release for (release,) in sql.rows(BEING_ACTIVATED, {"span": LOT_SPAN})]
    policies = RolloutPolicy.objects.filter(release__in=concerned)
    return {policy.release_id: policy.silence_deadline.before(now) for policy in policies}


def silent_too_long(
    *, moments: Mapping[int, datetime], limit: int, after: int = 0, among: Collection[int] | None = None
) -> list[Kept]:
    """
    Return those being activated that are set aside since the moment of their release or longer, by their ids.

    At most `limit` of them, beyond the id `after`; of those `among` these ids, if any are given.
    """
    terms = {
        "releases": list(moments),
        "moments": list(moments.values()),
        "after": after,
        "among": None if among is None else list(among),
        "limit": limit,
        "span": LOT_SPAN,
    }
    return [
        Kept(pk, release, hub, State(state)) for pk, release, hub, state in sql.rows(SILENT_TOO_LONG, terms)
    ]


def by_state(*, deployments: Collection[int]) -> Mapping[State, int]:
    """Count those of these deployments that are set aside and have not ended, by state."""
    return Counter(kept.state for kept in open_among(deployments=deployments))


def since(*, deployments: Collection[int]) -> dict[int, datetime]:
    """Return since when these open deployments are set aside, by id; those that are not are left out."""
    kept = Quarantine.objects.filter(pk__in=list(deployments), since__isnull=False)
    return {pk: moment for pk, moment in kept.values_list("pk", "since") if moment is not None}


def every_open() -> QuerySet[Any]:
    """Return all hubs that are set aside and have not ended, with what a list shows of them."""
    return every_open_or_lapsed().filter(lapsed_at=None)


def every_open_or_lapsed() -> QuerySet[Any]:
    """
    Return all hubs that are set aside, and have not ended or ended by time, with what a list shows of them.

    Annotated: `chf_id`, `state`, `phase`, `tries`, and `release_id`, `release_name`, `supplier_id`,
    `supplier_name`, `network_id`, `network_name`, `slot_start`, `reference`, and `silence`, the silence deadline of
    its release.
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
        "silence": "release__policy__silence_deadline",
    }
    is_open = Exists(deployment.filter(ended_at=None))
    return Quarantine.objects.filter(is_open | Q(lapsed_at__isnull=False), since__isnull=False).annotate(
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
