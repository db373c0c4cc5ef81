"""Whether a release would fit: its hubs against the room of its networks over its availability periods."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, Max, Q, Sum

from firmware import queries as releases
from firmware.models import AvailabilityPeriod, FirmwareRelease
from hubs.models import Network
from scheduling.lifecycle import OPEN
from scheduling.models import CapacityPattern, Lot, Slot
from scheduling.queries import slots

Span = tuple[datetime, datetime, int]
"""(start, end, capacity) of a slot that the patterns will make."""


@dataclass(frozen=True, slots=True)
class NetworkForecast:
    """How one network's hubs would fit into its period, in hubs; `ends_at` is when the last would be done."""

    network: Network
    opens_at: datetime
    closes_at: datetime
    hubs: int
    slots: int
    capacity: int
    taken: int
    reserve: int
    room: int
    ends_at: datetime | None

    @property
    def short(self) -> int:
        """Hubs for which Suppliers would find no room."""
        return max(self.hubs - self.room, 0)

    @property
    def short_with_reserve(self) -> int:
        """Hubs that would have no room even if all of DCC's reserve was given away."""
        return max(self.hubs - self.room - self.reserve, 0)

    @property
    def fits(self) -> bool:
        """Whether every hub finds room."""
        return not self.short


@dataclass(frozen=True, slots=True)
class Forecast:
    """The networks of a release in the order of their names, as counted at `counted_at`."""

    networks: Sequence[NetworkForecast]
    counted_at: datetime | None

    @property
    def hubs(self) -> int:
        """All hubs that the release is for and that are not booked for it yet."""
        return sum(one.hubs for one in self.networks)

    @property
    def short(self) -> int:
        """All hubs without room."""
        return sum(one.short for one in self.networks)

    @property
    def ends_at(self) -> datetime | None:
        """When the last network's last hub would be done; None where one is short or there is nothing to do."""
        ends = [one.ends_at for one in self.networks if one.hubs]
        return None if not ends or None in ends else max(end for end in ends if end)


def patterns_of(*, release: FirmwareRelease) -> dict[int, list[CapacityPattern]]:
    """Return DCC's weekly patterns by the id of the network, for the networks of a release; one query."""
    found: dict[int, list[CapacityPattern]] = defaultdict(list)
    networks = [period.network_id for period in release.periods.all()]
    for pattern in CapacityPattern.objects.filter(network__in=networks).order_by("weekday", "starts"):
        found[pattern.network_id].append(pattern)
    return found


def forecast(*, release: FirmwareRelease, to_come: Mapping[int, Sequence[Span]], now: datetime) -> Forecast:
    """
    Say whether the hubs of a release, given with its facts (`standings.with_facts`), would fit; three queries.

    Slots count as they are where they have been made, and beyond the last of them as `to_come` says, by network
    id. What is taken and DCC's reserve are no room; slots whose cut-off has passed are none either. Hubs are
    placed as early as possible.
    """
    counts = {
        row["network"]: row
        for row in releases.eligible_counts(release=release)
        .order_by()
        .values("network")
        .annotate(total=Sum("hubs"), latest=Max("counted_at"))
    }
    waiting: Any = sum((F(str(state)) for state in OPEN[1:]), start=F(str(OPEN[0])))
    booked = dict(
        Lot.objects.filter(release=release).order_by().values_list("network").annotate(open=Sum(waiting))
    )
    made = _made(release)
    earliest = slots.bookable_from(release=release, now=now)
    networks = [
        _of_network(
            period,
            hubs=max(
                counts.get(period.network_id, {"total": 0})["total"] - booked.get(period.network_id, 0), 0
            ),
            made=made[period.network_id],
            to_come=to_come.get(period.network_id, ()),
            earliest=earliest,
            reserve_percent=release.policy.reserve_percent,
        )
        for period in release.periods.all()
    ]
    return Forecast(
        sorted(networks, key=lambda one: one.network.name),
        max((row["latest"] for row in counts.values()), default=None),
    )


def _made(release: FirmwareRelease) -> dict[int, list[Any]]:
    """Return (start, end, capacity, taken) of the slots within the periods, in order of time, by network id."""
    within = Q(pk__in=[])
    for period in release.periods.all():
        within |= Q(network_id=period.network_id, start_at__gte=period.start_at, end_at__lte=period.end_at)
    found: dict[int, list[Any]] = defaultdict(list)
    rows = Slot.objects.filter(within).order_by("start_at", "id")
    for network, *slot in rows.values_list("network", "start_at", "end_at", "capacity", "taken"):
        found[network].append(slot)
    return found


def _of_network(
    period: AvailabilityPeriod,
    *,
    hubs: int,
    made: Sequence[tuple[datetime, datetime, int, int]],
    to_come: Sequence[Span],
    earliest: datetime,
    reserve_percent: int,
) -> NetworkForecast:
    last = made[-1][0] if made else None
    coming = [
        (start_at, end_at, capacity, 0)
        for start_at, end_at, capacity in sorted(to_come)
        if start_at >= period.start_at and end_at <= period.end_at and (last is None or start_at > last)
    ]
    count = capacities = takens = reserves = rooms = 0
    ends_at: datetime | None = None
    for start_at, end_at, capacity, taken in (*made, *coming):
        if start_at < earliest:
            continue
        # as the booking itself reckons it: the reserve is kept first
        reserve = capacity * reserve_percent // 100
        room = max(capacity - reserve - taken, 0)
        count += 1
        capacities += capacity
        takens += taken
        reserves += min(reserve, capacity - taken)
        rooms += room
        if ends_at is None and hubs and rooms >= hubs:
            ends_at = end_at
    return NetworkForecast(
        network=period.network,
        opens_at=period.start_at,
        closes_at=period.end_at,
        hubs=hubs,
        slots=count,
        capacity=capacities,
        taken=takens,
        reserve=reserves,
        room=rooms,
        ends_at=ends_at,
    )
