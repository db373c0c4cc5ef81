"""How far deployments have come, from the counts that lots carry: no live count over deployments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, Max, Q, QuerySet, Sum

from firmware import queries as releases
from firmware.models import FirmwareRelease
from hubs.models import BOOKABLE, FleetCount, Supplier
from scheduling.lifecycle import FINAL, OPEN, State
from scheduling.models import Lot


@dataclass(frozen=True, slots=True)
class Progress:
    """Hubs by state."""

    by_state: Mapping[State, int]

    def __add__(self, other: "Progress") -> "Progress":
        return Progress({state: self.by_state[state] + other.by_state[state] for state in State})

    @property
    def total(self) -> int:
        """All hubs, whatever became of them."""
        return sum(self.by_state.values())

    @property
    def open(self) -> int:
        """Hubs that have not ended."""
        return sum(self.by_state[state] for state in OPEN)

    @property
    def ended(self) -> int:
        """Hubs that have ended, well or badly."""
        return sum(self.by_state[state] for state in FINAL)

    @property
    def present(self) -> list[tuple[State, int]]:
        """The states in which there are hubs, in the order of the lifecycle."""
        return [(state, hubs) for state, hubs in self.by_state.items() if hubs]


NOTHING = Progress(dict.fromkeys(State, 0))
# a hub that was moved on is counted where it went
_SUMS: dict[str, Any] = {f"sum_{state}": Sum(str(state)) for state in State} | {
    f"sum_{State.CANCELLED}": Sum(F("cancelled") - F("moved"))
}


def _progress(row: Mapping[str, Any]) -> Progress:
    return Progress({state: row[f"sum_{state}"] or 0 for state in State})


def of_lots(*, lots: QuerySet[Lot]) -> Progress:
    """Return the progress of some lots together."""
    return _progress(lots.aggregate(**_SUMS))


def by_booking(*, bookings: Iterable[int]) -> dict[int, Progress]:
    """Return the progress of each booking, by its id; bookings without lots are absent."""
    rows = Lot.objects.filter(booking__in=list(bookings)).order_by().values("booking").annotate(**_SUMS)
    return {row["booking"]: _progress(row) for row in rows}


def by_release(*, lots: QuerySet[Lot]) -> dict[int, Progress]:
    """Return the progress of some lots by the id of their release; releases without lots are absent."""
    return {row["release"]: _progress(row) for row in lots.order_by().values("release").annotate(**_SUMS)}


def by_supplier(*, lots: QuerySet[Lot]) -> dict[int, Progress]:
    """Return the progress of some lots by the id of their Supplier; Suppliers without lots are absent."""
    return {row["supplier"]: _progress(row) for row in lots.order_by().values("supplier").annotate(**_SUMS)}


def by_release_and_network(*, lots: QuerySet[Lot]) -> dict[tuple[int, int], Progress]:
    """Return the progress of some lots by the ids of their release and network; those without lots are absent."""
    rows = lots.order_by().values("release", "network").annotate(**_SUMS)
    return {(row["release"], row["network"]): _progress(row) for row in rows}


@dataclass(frozen=True, slots=True)
class SlotProgress:
    """How far the hubs of one slot are; those in it can be changed until the last of their cut-offs."""

    network: str
    start_at: datetime
    end_at: datetime
    progress: Progress
    change_until: datetime


def by_slot(*, lots: QuerySet[Lot]) -> list[SlotProgress]:
    """Return the progress of each slot of some lots, in order of time; not of those left empty."""
    rows = (
        lots.order_by("slot__start_at", "network__name")
        .values("network__name", "slot__start_at", "slot__end_at")
        .annotate(**_SUMS, until=Max("change_until"))
    )
    return [
        SlotProgress(row["network__name"], row["slot__start_at"], row["slot__end_at"], progress, row["until"])
        for row in rows
        if (progress := _progress(row)).total
    ]


@dataclass(frozen=True, slots=True)
class Share:
    """So many of a Supplier's hubs, of one network, model and installed version."""

    network: str
    network_id: int
    model: str
    model_id: int
    version: int
    version_id: int
    hubs: int
    eligible: bool


def shares(*, supplier: Supplier, release: FirmwareRelease) -> list[Share]:
    """Return the Supplier's hubs of the release's models by network, model and installed version."""
    eligible = set(releases.eligible_versions(release=release).values_list("id", flat=True))
    networks = set(release.periods.values_list("network_id", flat=True))
    rows = (
        FleetCount.objects.filter(
            Q(hardware_version__range=(release.minimum_hardware, release.maximum_hardware)),
            lead=supplier,
            model__in=release.hub_models.values("pk"),
            status__in=BOOKABLE,
        )
        .values(
            "network__name",
            "network_id",
            "model__name",
            "model_id",
            "installed_version__number",
            "installed_version_id",
        )
        .annotate(total=Sum("hubs"))
        .order_by("network__name", "model__name", "installed_version__number")
    )
    return [
        Share(
            network=row["network__name"],
            network_id=row["network_id"],
            model=row["model__name"],
            model_id=row["model_id"],
            version=row["installed_version__number"],
            version_id=row["installed_version_id"],
            hubs=row["total"],
            eligible=row["installed_version_id"] in eligible and row["network_id"] in networks,
        )
        for row in rows
    ]
