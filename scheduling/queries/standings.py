"""Where a Supplier stands with its releases: the same few queries, however many releases and hubs there are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, QuerySet, Sum

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
    counts = list(FleetCount.objects.filter(lead=supplier))
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
        of_models = [count for count in counts if count.model_id in models]
        standing.append(
            Standing(
                release=release,
                to_do=sum(count.hubs for count in of_models if _is_for(release, count, numbers)) - since,
                done=sum(
                    count.hubs for count in of_models if count.installed_version_id == release.version_id
                )
                + since,
                progress=progress,
                national=national.get(release.pk, NOTHING),
                counted_at=counted_at,
            )
        )
    return standing


def _is_for(release: FirmwareRelease, count: FleetCount, numbers: dict[int, int]) -> bool:
    """Say whether a release is for the hubs of a count of one of its models."""
    if release.has_no_predecessor:
        version_fits = numbers[count.installed_version_id] < release.version.number
    else:
        version_fits = count.installed_version_id in {
            predecessor.version_id for predecessor in release.predecessors.all()
        }
    return (
        version_fits
        and count.network_id in {period.network_id for period in release.periods.all()}
        and release.minimum_hardware <= count.hardware_version <= release.maximum_hardware
        and count.status in BOOKABLE
    )


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
