"""What scheduling knows of a Supplier's hubs: where each is booked, and whether it may be."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from firmware.models import FirmwareRelease
from hubs.models import CommunicationsHub, FirmwareVersion, Supplier
from portal.ground import sql
from scheduling.eligibility import Refusal
from scheduling.lifecycle import State
from scheduling.models import Deployment, Lot
from scheduling.queries import eligibility, quarantine


@dataclass(frozen=True, slots=True)
class OpenDeployment:
    """
    Where a hub is booked now. Only the Supplier that booked sees more than the state.

    `is_set_aside` says that carrying it out kept failing, and that DCC looks into it.
    """

    state: State
    release: str
    reference: str
    change_until: datetime | None = None
    is_set_aside: bool = False


def open_deployments(*, hubs: Collection[int], supplier: Supplier) -> dict[int, OpenDeployment]:
    """Return where the hubs of one page are booked now, by CHF ID; three queries."""
    deployments = list(Deployment.objects.filter(hub__in=hubs, ended_at=None))
    lots = (
        Lot.objects.filter(supplier=supplier)
        .select_related("release", "booking")
        .in_bulk({deployment.lot_id for deployment in deployments})
    )
    aside = quarantine.since(deployments=[deployment.pk for deployment in deployments])
    found = {}
    for deployment in deployments:
        lot = lots.get(deployment.lot_id)
        found[deployment.hub_id] = (
            OpenDeployment(
                State(deployment.state),
                lot.release.name,
                lot.booking.reference,
                lot.change_until,
                deployment.pk in aside,
            )
            if lot
            else OpenDeployment(State(deployment.state), "Booked by the other Supplier", "")
        )
    return found


def verdicts(
    *, hub: CommunicationsHub, supplier: Supplier, releases_shown: Sequence[FirmwareRelease], now: datetime
) -> list[tuple[FirmwareRelease, Refusal | None]]:
    """
    Say of each release, given with its facts (`standings.with_facts`), whether the hub may be booked for it.

    The judgement is the one of the booking itself, for all releases in one statement.
    """
    if not releases_shown:
        return []
    versions = list(FirmwareVersion.objects.all())
    parts: list[str] = []
    parameters: dict[str, Any] = {"hub": hub.pk}
    for number, release in enumerate(releases_shown):
        rules = eligibility.rules(release=release, supplier=supplier, now=now, versions=versions)
        judged = re.sub(r"%\((\w+)\)s", rf"%(\1_{number})s", eligibility.REFUSAL)
        parts.append(
            f"SELECT {number}, {judged} FROM hubs_communicationshub hub {eligibility.OPEN_DEPLOYMENT}"  # noqa: S608
            " WHERE hub.chf_id = %(hub)s"
        )
        parameters |= {f"{name}_{number}": value for name, value in rules.items()}
    found = dict(sql.rows(" UNION ALL ".join(parts), parameters))
    return [
        (release, None if found[number] is None else Refusal(found[number]))
        for number, release in enumerate(releases_shown)
    ]
