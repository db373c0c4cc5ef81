"""Where a Supplier stands with its releases: the same few queries, however many releases and hubs there are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import F, Max, QuerySet, Sum

from firmware.models import FirmwareRelease
from hubs.models import BOOKABLE, FirmwareVersion, FleetCount, Supplier
from scheduling.lifecycle import State
from scheduling.models import Booking, Lot, SuccessTally
from scheduling.queries.progress import NOTHING, Progress, by_release

BAD = (State.FAILED, State.MISSED, State.UNCONFIRMED)
"""The endings that somebody has to see to."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one Supplier stands with one release, in hubs, as counted at `counted_at`."""

    release: FirmwareRelease
    to_do: int
    """Hubs that the release is for and that do not run it yet, booked or not."""
    done: int
    """Hubs that run it."""
    progress: Progress
    """The Supplier's own bookings."""
    national: Progress
    """Every Supplier's bookings."""
    counted_at: datetime | None

    @property
    def booked(self) -> int:
        """Hubs with an open deployment."""
        return self.progress.open

    @property
    def left(self) -> int:
        """Hubs that still have to be booked."""
        return max(self.to_do - self.booked, 0)

    @property
    def total(self) -> int:
        """All hubs that the release concerns."""
        return self.booked + self.left + self.done


def with_facts(releases_shown: QuerySet[FirmwareRelease]) -> QuerySet[FirmwareRelease]:
    """Fetch with releases all that `standings` asks of them, in a fixed number of queries."""
    return releases_shown.select_related("version", "policy").prefetch_related(
        "hub_models", "predecessors__version", "periods__network"
    )


def standings(*, supplier: Supplier, releases_shown: Iterable[FirmwareRelease]) -> list[Standing]:
    """Say where a Supplier stands with each release, given with its facts (`with_facts`); five queries."""
    shown = list(releases_shown)
    counts = [
        _Count(*row)
        for row in FleetCount.objects.filter(lead=supplier)
        .order_by()
        .values_list("model_id", "network_id", "installed_version_id", "hardware_version", "status")
        .annotate(total=Sum("hubs"), latest=Max("counted_at"))
    ]
    numbers = dict(FirmwareVersion.objects.values_list("id", "number"))
    lots = Lot.objects.filter(release__in=shown)
    own = by_release(lots=lots.filter(supplier=supplier))
    national = by_release(lots=lots)
    counted_at = max((count.counted_at for count in counts), default=None)
    tallies = dict(
        SuccessTally.objects.filter(supplier=supplier, release__in=shown).values_list("release", "succeeded")
    )
    standing = []
    for release in shown:
        progress = own.get(release.pk, NOTHING)
        # done since the fleet was counted, so that nobody is asked to book hubs that have succeeded
        since = max(progress.by_state[State.SUCCEEDED] - tallies.get(release.pk, 0), 0)
        models = {model.pk for model in release.hub_models.all()}
        of_models = [count for count in counts if count.model in models]
        standing.append(
            Standing(
                release=release,
                to_do=sum(count.hubs for count in _it_is_for(release, of_models, numbers)) - since,
                done=sum(count.hubs for count in of_models if count.version == release.version_id) + since,
                progress=progress,
                national=national.get(release.pk, NOTHING),
                counted_at=counted_at,
            )
        )
    return standing


class _Count(NamedTuple):
    """So many of a Supplier's hubs that share these facts."""

    model: int
    network: int
    version: int
    hardware: int
    status: int
    hubs: int
    counted_at: datetime


def _it_is_for(
    release: FirmwareRelease, of_its_models: Iterable[_Count], numbers: Mapping[int, int]
) -> Iterator[_Count]:
    """Yield the counts of the hubs that a release is for, by the same rules as `firmware.queries`."""
    networks = {period.network_id for period in release.periods.all()}
    if release.has_no_predecessor:
        versions = {version for version, number in numbers.items() if number < release.version.number}
    else:
        versions = {predecessor.version_id for predecessor in release.predecessors.all()}
    for count in of_its_models:
        if (
            count.version in versions
            and count.network in networks
            and release.minimum_hardware <= count.hardware <= release.maximum_hardware
            and count.status in BOOKABLE
        ):
            yield count


@dataclass(frozen=True, slots=True)
class Trouble:
    """Hubs of one booking that ended badly."""

    booking: Booking
    failed: int
    missed: int
    unconfirmed: int

    @property
    def counts(self) -> list[tuple[State, int]]:
        """The endings that there are, with their number of hubs."""
        return [(state, hubs) for state in BAD if (hubs := getattr(self, state))]


def troubles(
    *, supplier: Supplier, releases_shown: Sequence[FirmwareRelease], limit: int
) -> tuple[list[Trouble], int]:
    """Return the Supplier's latest bookings with hubs that ended badly, at most `limit`, and how many there are."""
    rows = list(
        Lot.objects.filter(supplier=supplier, release__in=releases_shown)
        .order_by()
        .values("booking")
        .annotate(all_failed=Sum("failed"), all_missed=Sum("missed"), all_unconfirmed=Sum("unconfirmed"))
        .annotate(bad=F("all_failed") + F("all_missed") + F("all_unconfirmed"))
        .filter(bad__gt=0)
        .order_by("-booking")
    )
    shown = rows[:limit]
    bookings = Booking.objects.select_related("release").in_bulk([row["booking"] for row in shown])
    return [
        Trouble(bookings[row["booking"]], row["all_failed"], row["all_missed"], row["all_unconfirmed"])
        for row in shown
    ], len(rows)


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet, with the number of hubs that the release is for."""

    value: int
    word: str
    hubs: int


def facets(
    *, supplier: Supplier, release: FirmwareRelease, counts: QuerySet[FleetCount]
) -> dict[str, list[Choice]]:
    """Return what a Supplier's hubs can be filtered by, facet by facet, from the counts of the fleet; one query."""
    found: dict[str, dict[int, Choice]] = {
        "network": {},
        "model": {},
        "installed_version": {},
        "payment_mode": {},
    }
    rows = (
        counts.filter(lead=supplier)
        .select_related("network", "model", "installed_version")
        .order_by("network__name", "model__name", "installed_version__number", "payment_mode")
    )
    for count in rows:
        for facet, value, word in (
            ("network", count.network_id, count.network.name),
            ("model", count.model_id, count.model.name),
            ("installed_version", count.installed_version_id, str(count.installed_version)),
            ("payment_mode", count.payment_mode, count.get_payment_mode_display()),
        ):
            earlier = found[facet].get(value)
            found[facet][value] = Choice(value, word, (earlier.hubs if earlier else 0) + count.hubs)
    return {
        facet: sorted(choices.values(), key=lambda choice: choice.word) for facet, choices in found.items()
    }


def last_end(*, release: FirmwareRelease) -> datetime:
    """Return when the last availability period of a release, given with its facts, closes."""
    return max(period.end_at for period in release.periods.all())
