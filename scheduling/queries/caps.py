"""
How much of a release's period the hard windows of a Supplier may cover for any of its hubs, and how much they do.

Hubs that the same windows concern are of one kind. There are few kinds, however many hubs: a network and a payment
mode, and the lists and groups that a hub is in.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from firmware.models import AvailabilityPeriod, FirmwareRelease, ReleaseState
from hubs.models import Network, PaymentMode, Supplier
from portal.ground import sql
from scheduling import calendar
from scheduling.models import ProtectedWindow

Scope = ProtectedWindow.Scope
LARGEST_PART = 0.5
"""Of a period's hours, the part that hard windows may cover for a hub (the product's rule for protected windows)."""
SHORTEST_PERIOD = timedelta(days=42)
"""What hard windows are held against while no release is open: the default shortest period of a release."""

# Raw SQL: which lists and groups share hubs, of which network and payment mode; they can hold a million hubs.
KINDS_OF_HUBS = """
SELECT DISTINCT network_id, payment_mode, lists, groups FROM (
    SELECT hub.network_id, hub.payment_mode,
           coalesce(array_agg(named.list ORDER BY named.list) FILTER (WHERE named.list IS NOT NULL), '{{}}') AS lists,
           coalesce(array_agg(named.grp ORDER BY named.grp) FILTER (WHERE named.grp IS NOT NULL), '{{}}') AS groups
    FROM (
        SELECT hub, window_id AS list, NULL::bigint AS grp FROM scheduling_protectedhub
        WHERE window_id = ANY (%(lists)s) {among}
        UNION ALL SELECT hub, NULL, group_id FROM scheduling_groupedhub
        WHERE group_id = ANY (%(groups)s) {among}
        UNION ALL SELECT unnest(%(hubs)s::bigint[]), NULL, NULL) named
    JOIN hubs_communicationshub hub ON hub.chf_id = named.hub
    WHERE hub.lead_id = %(supplier)s OR hub.other_id = %(supplier)s
    GROUP BY hub.chf_id) kind
ORDER BY 1, 2, 3, 4
"""
ANY_HUB, THESE_HUBS = "", "AND hub = ANY (%(hubs)s)"


class Kind(NamedTuple):
    """What tells hubs apart for windows: ids of the network, of the lists' windows and of the groups."""

    network: int
    mode: int
    lists: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Excess:
    """A period of which hard windows would cover too much, for some hubs."""

    period: str
    covered: timedelta
    allowed: timedelta

    @property
    def sentence(self) -> str:
        """What people are told of it."""
        hours = ceil(self.covered.total_seconds() / 3600)  # never as few as are allowed
        return (
            f"hard windows would cover {hours:,} hours of {self.period} for some of "
            f"your hubs; at most half of its hours, {self.allowed.total_seconds() / 3600:,.0f}, can be."
        )


@dataclass(frozen=True, slots=True)
class _Period:
    network: int
    name: str
    start: datetime
    end: datetime

    @property
    def allowed(self) -> timedelta:
        return (self.end - self.start) * LARGEST_PART


class Cap:
    """
    The hard windows of a Supplier, against what they may cover. Windows are asked about, and then added, one by one.

    `without` is the id of a window that does not count, because another is to take its place.
    """

    def __init__(self, *, supplier: Supplier, now: datetime, without: int | None = None) -> None:
        self._supplier = supplier
        self._hard = [
            window
            for window in ProtectedWindow.objects.filter(supplier=supplier, is_hard=True).order_by("id")
            if window.pk != without
        ]
        networks = list(Network.objects.order_by("id").values_list("id", flat=True))
        self._plain = {Kind(network, int(mode)) for network in networks for mode in PaymentMode}
        self._periods = [
            _Period(network, "the next six weeks", now, now + SHORTEST_PERIOD) for network in networks
        ] + [
            _Period(
                period.network_id,
                f"“{period.release.name}” on {period.network}",
                period.start_at,
                period.end_at,
            )
            for period in AvailabilityPeriod.objects.filter(
                end_at__gt=now,
                release__state__in=[ReleaseState.SUBMITTED, ReleaseState.PUBLISHED, ReleaseState.HALTED],
            )
            .select_related("release", "network")
            .order_by("id")
        ]
        self._special: set[Kind] | None = None
        self._covers: dict[tuple[_Period, Kind], calendar.Cover] = {}

    def excess(self, *, window: ProtectedWindow, hubs: Collection[int] = ()) -> Excess | None:
        """
        Return a period of which too much would be covered with one more window, or None.

        `hubs` are the CHF IDs of its list, where it has one.
        """
        kinds = self._kinds(window, hubs)
        for period in self._periods:
            spans = window.spans(start=period.start, end=period.end)
            if not spans:
                continue
            for kind in kinds:
                if kind.network == period.network:
                    covered = self._cover(period, kind).with_more(spans=spans)
                    if covered > period.allowed:
                        return Excess(period.name, covered, period.allowed)
        return None

    def joined(self, *, group: int, hubs: Collection[int]) -> Excess | None:
        """Return a period of which too much would be covered once these hubs are in a group, or None."""
        kinds = {
            kind._replace(groups=tuple(sorted({*kind.groups, group}))) for kind in self._kinds_of(hubs, ())
        }
        for period in self._periods:
            for kind in kinds:
                if kind.network == period.network:
                    covered = self._cover(period, kind).total
                    if covered > period.allowed:
                        return Excess(period.name, covered, period.allowed)
        return None

    def most_covered(self, *, period: AvailabilityPeriod) -> timedelta:
        """Return how much of a period is covered for the hubs for which it is most, whatever was allowed before."""
        asked = _Period(period.network_id, "", period.start_at, period.end_at)
        kinds = {*self._plain, *self._kinds_of(None, ())}
        return max(
            (self._cover(asked, kind).total for kind in kinds if kind.network == period.network_id),
            default=timedelta(),
        )

    def add(self, *, window: ProtectedWindow) -> None:
        """Count a hard window, which is kept by now, from here on."""
        self._hard.append(window)
        if window.is_of_single_hubs:
            self._special = None  # its list, or its group, makes kinds of its own
        for (period, kind), cover in self._covers.items():
            if _concerns(window, kind):
                cover.add(spans=window.spans(start=period.start, end=period.end))

    def _kinds(self, window: ProtectedWindow, hubs: Collection[int]) -> Collection[Kind]:
        """Return the kinds of hubs that one more window would concern."""
        if window.scope == Scope.HUBS:
            return self._kinds_of(hubs, ())
        if window.scope == Scope.GROUP:
            assert window.group_id is not None  # noqa: S101 - the CHECK window_scope_has_its_object holds it
            return {
                kind for kind in self._kinds_of(None, (window.group_id,)) if window.group_id in kind.groups
            }
        if self._special is None:
            self._special = self._kinds_of(None, ())
        return [kind for kind in (*self._plain, *self._special) if _concerns(window, kind)]

    def _kinds_of(self, hubs: Collection[int] | None, groups: Sequence[int]) -> set[Kind]:
        """Return the kinds of these hubs, or of all that are in a list or a group, of these `groups` too."""
        among = ANY_HUB if hubs is None else THESE_HUBS
        lists = [window.pk for window in self._hard if window.scope == Scope.HUBS]
        groups = sorted({*groups, *(window.group_id for window in self._hard if window.group_id is not None)})
        if not (lists or groups or hubs):
            return set()
        rows = sql.rows(
            KINDS_OF_HUBS.format(among=among),
            {"lists": lists, "groups": groups, "hubs": sorted(hubs or ()), "supplier": self._supplier.pk},
        )
        return {Kind(network, mode, tuple(listed), tuple(grouped)) for network, mode, listed, grouped in rows}

    def _cover(self, period: _Period, kind: Kind) -> calendar.Cover:
        if (cover := self._covers.get((period, kind))) is None:
            cover = calendar.Cover(start=period.start, end=period.end)
            for window in self._hard:
                if _concerns(window, kind):
                    cover.add(spans=window.spans(start=period.start, end=period.end))
            self._covers[period, kind] = cover
        return cover


@dataclass(frozen=True, slots=True)
class Veto:
    """A Supplier whose hard windows cover more of a period than they may, for some of its hubs."""

    supplier: Supplier
    period: AvailabilityPeriod
    covered: timedelta

    @property
    def percent(self) -> int:
        """How much of the period is covered."""
        return round(100 * (self.covered / (self.period.end_at - self.period.start_at)))


def vetoes(*, release: FirmwareRelease, now: datetime) -> list[Veto]:
    """
    Return the Suppliers whose windows cover more than half of a release's periods, with the most covered first.

    The cap is asked when a window is kept, against the periods of then: a release that comes later and is short can
    lie within one that was rightly kept.
    """
    found = []
    kept = ProtectedWindow.objects.filter(is_hard=True).values("supplier")
    for supplier in Supplier.objects.filter(pk__in=kept).order_by("name"):
        cap = Cap(supplier=supplier, now=now)
        for period in release.periods.all():
            covered = cap.most_covered(period=period)
            if covered > (period.end_at - period.start_at) * LARGEST_PART:
                found.append(Veto(supplier, period, covered))
    return sorted(found, key=lambda one: (-one.percent, one.supplier.name, one.period.network_id))


def _concerns(window: ProtectedWindow, kind: Kind) -> bool:
    if window.scope == Scope.HUBS:
        return window.pk in kind.lists
    if window.scope == Scope.GROUP:
        return window.group_id in kind.groups
    return window.network_id in (None, kind.network) and window.payment_mode in (None, kind.mode)
