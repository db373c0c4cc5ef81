"""
DCC's exceptions queue: how many hubs wait, in groups, and the hubs of one.

Raw SQL, because the queue can hold very many hubs: groups are counted from one index, a group is read in pages by
key, and what is decided upon is named by the same terms as what is shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from firmware.models import FirmwareRelease
from hubs.models import HubModel, Network, PaymentMode, Supplier
from portal.ground import sql
from scheduling.models import Decision, HubException

PAGE = 5_000
Why = HubException.Why


@dataclass(frozen=True, slots=True)
class Portion:
    """Open exceptions of one release: of a Supplier, network, reason, hub model and payment mode, where named."""

    release: FirmwareRelease
    supplier: Supplier | None = None
    network: Network | None = None
    why: HubException.Why | None = None
    model: HubModel | None = None
    payment_mode: PaymentMode | None = None

    @property
    def words(self) -> str:
        """Say which they are."""
        named = [
            f"Lead Supplier {self.supplier}" if self.supplier else "",
            f"network {self.network}" if self.network else "",
            f"{self.why.label[0].lower()}{self.why.label[1:]}" if self.why else "",
            f"model {self.model}" if self.model else "",
            self.payment_mode.label.lower() if self.payment_mode else "",
        ]
        return ", ".join(filter(None, named)) or "all that are open"


WHERE = """exception.ended_at IS NULL AND exception.release_id = %(release)s
    AND (%(supplier)s::smallint IS NULL OR exception.supplier_id = %(supplier)s)
    AND (%(network)s::smallint IS NULL OR exception.network_id = %(network)s)
    AND (%(why)s::text IS NULL OR exception.why = %(why)s)
    AND ((%(model)s::smallint IS NULL AND %(payment_mode)s::smallint IS NULL) OR EXISTS (
        SELECT FROM hubs_communicationshub hub WHERE hub.chf_id = exception.hub
          AND (%(model)s::smallint IS NULL OR hub.model_id = %(model)s)
          AND (%(payment_mode)s::smallint IS NULL OR hub.payment_mode = %(payment_mode)s)))"""
"""The exceptions of a portion."""


def terms(*, portion: Portion) -> dict[str, Any]:
    """Return the parameters of WHERE."""
    return {
        "release": portion.release.pk,
        "supplier": portion.supplier and portion.supplier.pk,
        "network": portion.network and portion.network.pk,
        "why": portion.why and str(portion.why),
        "model": portion.model and portion.model.pk,
        "payment_mode": portion.payment_mode and int(portion.payment_mode),
    }


@dataclass(frozen=True, slots=True)
class Group:
    """Open exceptions that share their release, Lead Supplier, network and reason."""

    release: FirmwareRelease
    supplier: Supplier
    network: Network
    why: HubException.Why
    hubs: int
    oldest: datetime


GROUPS = """
SELECT release_id, supplier_id, network_id, why, count(*), min(raised_at) FROM scheduling_hubexception
WHERE ended_at IS NULL GROUP BY 1, 2, 3, 4
"""


def groups() -> list[Group]:
    """Return the groups of the queue, by release (newest first), Supplier, network and reason; four queries."""
    rows = sql.rows(GROUPS, {})
    releases = FirmwareRelease.objects.in_bulk({row[0] for row in rows})
    suppliers = Supplier.objects.in_bulk({row[1] for row in rows})
    networks = Network.objects.in_bulk({row[2] for row in rows})
    found = [
        Group(releases[release], suppliers[supplier], networks[network], Why(why), hubs, oldest)
        for release, supplier, network, why, hubs, oldest in rows
    ]
    return sorted(
        found, key=lambda one: (-one.release.pk, one.supplier.name, one.network.name, one.why.label)
    )


@dataclass(frozen=True, slots=True)
class Count:
    """How many hubs a decision about a portion would concern, and how many wait for another one already."""

    free: int
    waiting: int


COUNT = f"""
SELECT count(*) FILTER (WHERE decision_id IS NULL), count(decision_id)
FROM scheduling_hubexception exception WHERE {WHERE}
"""  # noqa: S608 - our own terms


def count(*, portion: Portion) -> Count:
    """Count the open exceptions of a portion."""
    [(free, waiting)] = sql.rows(COUNT, terms(portion=portion))
    return Count(free, waiting)


@dataclass(frozen=True, slots=True)
class Line:
    """One hub in the queue."""

    hub: int
    supplier: str
    network: str
    why: HubException.Why
    raised_at: datetime
    waits: bool
    """A decision about it is asked for or being carried out."""


LINES = f"""
SELECT exception.hub, supplier.name, network.name, exception.why, exception.raised_at,
       exception.decision_id IS NOT NULL
FROM scheduling_hubexception exception
JOIN hubs_supplier supplier ON supplier.id = exception.supplier_id
JOIN hubs_network network ON network.id = exception.network_id
WHERE {WHERE} AND (%(after)s::bigint IS NULL OR exception.hub > %(after)s)
ORDER BY exception.hub LIMIT %(limit)s
"""  # noqa: S608 - our own terms


def lines(*, portion: Portion, after: int | None, limit: int) -> Sequence[Line]:
    """Return up to `limit` hubs of a portion whose CHF ID is above `after`, in order."""
    rows = sql.rows(LINES, terms(portion=portion) | {"after": after, "limit": limit})
    return [
        Line(hub, supplier, network, Why(why), raised_at, waits)
        for hub, supplier, network, why, raised_at, waits in rows
    ]


def every_line(*, portion: Portion) -> Iterator[Line]:
    """Yield the hubs of a portion in order, read in pages."""
    after = None
    while page := lines(portion=portion, after=after, limit=PAGE):
        yield from page
        after = page[-1].hub


def suppliers_of(*, decision: Decision) -> list[int]:
    """Return the ids of the Suppliers whose hubs a decision is about and that are still in the queue."""
    return list(
        HubException.objects.filter(decision=decision, ended_at=None)
        .order_by("supplier")
        .values_list("supplier", flat=True)
        .distinct()
    )


def overrides_to_approve() -> QuerySet[Decision]:
    """Return the overrides that wait for a second person, oldest first."""
    return (
        Decision.objects.filter(kind=Decision.Kind.OVERRIDE, approved_at=None, dropped_at=None)
        .select_related("release", "supplier", "network", "asked_by")
        .order_by("id")
    )


def latest_decisions(*, limit: int) -> QuerySet[Decision]:
    """Return what was decided last, newest first."""
    return (
        Decision.objects.exclude(approved_at=None, dropped_at=None, kind=Decision.Kind.OVERRIDE)
        .select_related("release", "asked_by", "approved_by", "dropped_by")
        .order_by("-id")[:limit]
    )
