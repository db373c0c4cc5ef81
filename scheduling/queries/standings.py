"""Where a Supplier stands with its releases: the same few queries, however many releases and hubs there are."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import Max, Q, QuerySet, Sum

from firmware.models import FirmwareRelease
from hubs.models import BOOKABLE, FirmwareVersion, FleetCount, Supplier
from portal.ground import asking, sql
from scheduling.lifecycle import Ending, State
from scheduling.models import LOT_SPAN, Booking, Lot, SuccessTally
from scheduling.queries.progress import NOTHING, Progress, by_release, by_release_and_network

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
    left_on: Mapping[int, int]
    """Hubs that still have to be booked, by network id; what has succeeded since `counted_at` is among them."""

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
        "hub_models", "predecessors__version", "periods__network", "halts"
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
    own = by_release_and_network(lots=lots.filter(supplier=supplier))
    with asking.trusted("everybody sees how far all Suppliers together are"):
        national = by_release(lots=lots)
    counted_at = max((count.counted_at for count in counts), default=None)
    tallies = dict(
        SuccessTally.objects.filter(supplier=supplier, release__in=shown).values_list("release", "succeeded")
    )
    standing = []
    for release in shown:
        on_networks = {network: of for (of_release, network), of in own.items() if of_release == release.pk}
        progress = sum(on_networks.values(), start=NOTHING)
        # done since the fleet was counted, so that nobody is asked to book hubs that have succeeded
        since = max(progress.by_state[State.SUCCEEDED] - tallies.get(release.pk, 0), 0)
        models = {model.pk for model in release.hub_models.all()}
        of_models = [count for count in counts if count.model in models]
        to_do: Counter[int] = Counter()
        for count in _it_is_for(release, of_models, numbers):
            to_do[count.network] += count.hubs
        standing.append(
            Standing(
                release=release,
                to_do=to_do.total() - since,
                done=sum(count.hubs for count in of_models if count.version == release.version_id) + since,
                progress=progress,
                national=national.get(release.pk, NOTHING),
                counted_at=counted_at,
                left_on={
                    network: left
                    for network, hubs in to_do.items()
                    if (left := hubs - on_networks.get(network, NOTHING).open) > 0
                },
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


# Raw SQL: which hubs that ended badly went into a later booking of the same Supplier and release. Nothing on the
# lot says so, and the bad hubs lie scattered over all that was ever booked; so the search begins at the few lots
# that were booked after the first trouble, the newest first, and finds the earlier end of each hub by its index.
BOOKED_AGAIN = """
WITH trouble AS MATERIALIZED (
    SELECT release_id, min(staging_from) AS began FROM scheduling_lot
    WHERE supplier_id = %(supplier)s AND release_id = ANY (%(releases)s) AND failed + missed + unconfirmed > 0
    GROUP BY 1),
later_lot AS MATERIALIZED (
    SELECT * FROM (
        SELECT lot.id, lot.release_id, sum(lot.size) OVER (ORDER BY lot.id DESC) AS hubs
        FROM scheduling_lot lot JOIN trouble USING (release_id)
        JOIN scheduling_booking booking ON booking.id = lot.booking_id
        WHERE lot.supplier_id = %(supplier)s AND booking.created_at > trouble.began) lot
    WHERE hubs <= %(most)s)
SELECT lot.booking_id, bad.state, count(DISTINCT bad.id)
FROM later_lot
CROSS JOIN LATERAL (
    SELECT hub_id, coalesce(ended_at, 'infinity') AS ended_at FROM scheduling_deployment
    WHERE id BETWEEN later_lot.id * %(span)s AND later_lot.id * %(span)s + %(span)s - 1
      AND (state <> 'cancelled' OR ending = %(installed)s) OFFSET 0) later
CROSS JOIN LATERAL (
    SELECT id, state FROM scheduling_deployment
    WHERE hub_id = later.hub_id AND ended_at < later.ended_at AND state = ANY (%(bad)s) OFFSET 0) bad
JOIN scheduling_lot lot ON lot.id = bad.id / %(span)s
WHERE lot.supplier_id = %(supplier)s AND lot.release_id = later_lot.release_id
GROUP BY 1, 2
"""
MOST_BOOKED_AGAIN = 5_000
"""Of so many hubs booked since the first trouble a page asks whether they had ended badly before."""


def troubles(*, supplier: Supplier, shown: Sequence[Standing], limit: int) -> tuple[list[Trouble], int]:
    """
    Return the Supplier's latest bookings with hubs that ended badly, at most `limit`, and how many there are.

    A hub that was booked again counts no longer, whatever came of that: its later booking tells. Where more hubs
    were booked since than a page can ask about, no more count as missed than the Supplier still has to book.
    """
    rows = list(
        Lot.objects.filter(supplier=supplier, release__in=[standing.release for standing in shown])
        .order_by()
        .values("booking", "release")
        .annotate(all_failed=Sum("failed"), all_missed=Sum("missed"), all_unconfirmed=Sum("unconfirmed"))
        .filter(Q(all_failed__gt=0) | Q(all_missed__gt=0) | Q(all_unconfirmed__gt=0))
        .order_by("-booking")
    )
    if not rows:
        return [], 0
    again = _booked_again(supplier, {row["release"] for row in rows})
    left = {standing.release.pk: standing.left for standing in shown}
    found: list[tuple[int, dict[State, int]]] = []
    for row in rows:
        ended = {
            State.FAILED: row["all_failed"],
            State.MISSED: row["all_missed"],
            State.UNCONFIRMED: row["all_unconfirmed"],
        }
        counts = {state: ended[state] - again.get((row["booking"], state), 0) for state in BAD}
        counts[State.MISSED] = min(counts[State.MISSED], left[row["release"]])
        left[row["release"]] -= counts[State.MISSED]
        if any(counts.values()):
            found.append((row["booking"], counts))
    bookings = Booking.objects.select_related("release").in_bulk([booking for booking, _ in found[:limit]])
    return [
        Trouble(bookings[booking], counts[State.FAILED], counts[State.MISSED], counts[State.UNCONFIRMED])
        for booking, counts in found[:limit]
    ], len(found)


def _booked_again(supplier: Supplier, releases: Collection[int]) -> dict[tuple[int, State], int]:
    """Return how many hubs of a booking that ended so were booked again, by booking id and state."""
    rows = sql.rows(
        BOOKED_AGAIN,
        {
            "supplier": supplier.pk,
            "releases": list(releases),
            "span": LOT_SPAN,
            "installed": Ending.ALREADY_INSTALLED,
            "bad": [str(state) for state in BAD],
            "most": MOST_BOOKED_AGAIN,
        },
    )
    return {(booking, State(state)): hubs for booking, state, hubs in rows}


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
