"""
Hubs that must not go just anywhere, in groups: whoever a window, a change of supplier or a consent concerns.

What closes a network for all hubs of a Supplier takes slots out of its rooms (`windows.closures`). What concerns
some hubs alone divides them: by the payment mode and the lists of their Suppliers' windows, by their changes of
supplier, and by their other Supplier, whose windows hold for them as well and who is asked about them. A group is
placed only where all of that is clear, so no hub is placed and then placed again, and the counts of places are
right from the start.

Raw SQL, because a million hubs are divided in one pass.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Max, Q

from firmware.models import FirmwareRelease
from hubs import registrations
from hubs.models import ChangeOfSupplier, PaymentMode, Supplier
from portal.ground import asking, sql
from portal.ground.uk_time import LONDON
from scheduling import calendar, planning
from scheduling.models import ProtectedWindow

Scope = ProtectedWindow.Scope
MODES = len(PaymentMode) + 1
AROUND = timedelta(days=2)
"""A change of supplier protects its hub no longer than this before and after its day."""


@dataclass(frozen=True, slots=True)
class Group:
    """
    Hubs of one network that the same windows and changes concern and that share the same other Supplier.

    `first` is the place of the first of them among all that were gathered; they lie side by side. `closed` are the
    spans in which they must not be touched, merged; what closes the network for all is not among them.
    """

    number: int
    network: int
    partner: int | None
    """The hubs' other Supplier, seen from the one that books."""
    first: int
    hubs: int
    closed: tuple[calendar.Span, ...] = ()
    soft: tuple[ProtectedWindow, ...] = ()
    """Windows of single hubs, of the Supplier that books, that only warn."""

    def is_clear(self, *, start: datetime, end: datetime) -> bool:
        """Say whether the hubs may be touched in all of the half-open span."""
        return not calendar.overlap(spans=self.closed, start=start, end=end)


@dataclass(frozen=True, slots=True)
class Guard:
    """What has to be known of a Supplier's hubs between two moments before they are placed."""

    supplier: int
    start: datetime
    end: datetime
    windows: Mapping[int, ProtectedWindow]
    """By id: those of some hubs alone, hard and soft of the Supplier itself, hard of all others."""
    soft: Sequence[ProtectedWindow]
    """Soft ones of the Supplier for all its hubs, or those of a network."""
    has_changes: bool
    radix: int
    """More than any Supplier's id."""
    _spans: dict[int, Sequence[calendar.Span]] = field(default_factory=dict)

    def divided(self, *, hubs: str) -> tuple[str, dict[str, Any]]:
        """
        Return a SELECT of (hub, model_id, kin, things, set, sets) over a SELECT of judged hubs, and what it adds.

        `hubs` has (hub, network_id, model_id, payment_mode, partner, refusal), as `eligibility.chosen_hubs` returns
        it; only those without a refusal are taken. `kin` is a number for network, partner and payment mode together.
        `things` are the windows that list a hub, and below zero the days of its changes of supplier; `set` numbers
        the different ones, less than `sets` altogether.
        """
        mode = "payment_mode" if any(window.payment_mode for window in self.windows.values()) else "0"
        kin = f"(network_id * %(radix)s::bigint + coalesce(partner, 0)) * {MODES} + {mode}"
        judged = f"SELECT hub, model_id, {kin} AS kin FROM ({hubs}) judged WHERE refusal IS NULL"  # noqa: S608
        sources, parameters = self._things()
        parameters["radix"] = self.radix
        if not sources:
            return (
                f"SELECT hub, model_id, kin, NULL::bigint[] AS things, 0 AS set, 1 AS sets FROM ({judged}) hub",  # noqa: S608
                parameters,
            )
        return (
            f"""WITH judged AS MATERIALIZED ({judged}),
                concerned AS MATERIALIZED (
                    SELECT hub, things, dense_rank() OVER (ORDER BY things) AS set
                    FROM (SELECT hub, array_agg(DISTINCT thing ORDER BY thing) AS things
                          FROM ({" UNION ALL ".join(sources)}) thing GROUP BY hub) listed)
                SELECT hub, model_id, kin, things, coalesce(set, 0) AS set,
                       (SELECT coalesce(max(set), 0) + 1 FROM concerned) AS sets
                FROM judged LEFT JOIN concerned USING (hub)""",  # noqa: S608
            parameters,
        )

    def _things(self) -> tuple[list[str], dict[str, Any]]:
        sources: list[str] = []
        parameters: dict[str, Any] = {}
        if lists := [pk for pk, window in self.windows.items() if window.scope == Scope.HUBS]:
            sources.append(
                """SELECT hub, window_id AS thing FROM judged JOIN scheduling_protectedhub USING (hub)
                   WHERE window_id = ANY (%(lists)s)"""
            )
            parameters["lists"] = lists
        if grouped := [(pk, window.group_id) for pk, window in self.windows.items() if window.group_id]:
            sources.append(
                """SELECT hub, owner.window_id AS thing FROM judged JOIN scheduling_groupedhub member USING (hub)
                   JOIN unnest(%(group_windows)s::bigint[], %(groups)s::bigint[]) AS owner (window_id, group_id)
                       USING (group_id)"""
            )
            parameters["group_windows"] = [pk for pk, _ in grouped]
            parameters["groups"] = [group for _, group in grouped]
        if self.has_changes:
            sources.append(
                """SELECT judged.hub, -(effective_on - DATE '0001-01-01' + 1)::bigint AS thing
                   FROM judged JOIN hubs_changeofsupplier change ON change.hub = judged.hub
                   WHERE effective_on BETWEEN %(first_change)s AND %(last_change)s"""
            )
            parameters["first_change"], parameters["last_change"] = _days(self.start, self.end)
        return sources, parameters

    def groups(self, *, rows: Iterable[tuple[Any, ...]]) -> list[Group]:
        """
        Return the groups of divided hubs, in the order of the rows.

        Each row has (kin, things, hubs), in the order in which the hubs lie.
        """
        counted = [(*self._of_kin(kin), things, hubs) for kin, things, hubs in rows]
        partners = {partner for _, partner, _, _, _ in counted if partner is not None}
        of_partner = self._of_all_hubs(partners)
        closed: dict[frozenset[calendar.Span], tuple[calendar.Span, ...]] = {}
        groups, first = [], 0
        for number, (network, partner, mode, things, hubs) in enumerate(counted):
            concerned = [
                window
                for pk, window in self.windows.items()
                if window.supplier_id in (self.supplier, partner)
                and (window.payment_mode == mode if window.payment_mode else pk in (things or ()))
            ]
            spans: set[calendar.Span] = set()
            for window in concerned:
                if window.is_hard:
                    spans.update(self._spans_of(window))
            for window in of_partner.get(partner, ()):
                if window.network_id in (None, network):
                    spans.update(self._spans_of(window))
            spans.update(
                registrations.protected_span(effective_on=date.fromordinal(-thing))
                for thing in things or ()
                if thing < 0
            )
            key = frozenset(spans)
            if key not in closed:
                closed[key] = tuple(calendar.merged(spans=spans))
            soft = tuple(window for window in concerned if not window.is_hard)
            groups.append(Group(number, network, partner, first, hubs, closed[key], soft))
            first += hubs
        return groups

    def _of_kin(self, kin: int) -> tuple[int, int | None, int]:
        """Return network, partner and payment mode of the number that `divided` made of them."""
        shared, mode = divmod(kin, MODES)
        network, partner = divmod(shared, self.radix)
        return network, partner or None, mode

    def _of_all_hubs(self, partners: Iterable[int]) -> Mapping[int | None, Sequence[ProtectedWindow]]:
        """Return the hard windows that other Suppliers keep for all their hubs, or those of a network."""
        found: dict[int | None, list[ProtectedWindow]] = defaultdict(list)
        with asking.trusted(
            "the other Supplier's hard windows hold for shared hubs; no word of them is shown"
        ):
            hard = list(
                ProtectedWindow.objects.filter(
                    supplier__in=list(partners), is_hard=True, scope__in=[Scope.ALL, Scope.NETWORK]
                ).order_by("id")
            )
        for window in hard:
            if self._spans_of(window):
                found[window.supplier_id].append(window)
        return found

    def _spans_of(self, window: ProtectedWindow) -> Sequence[calendar.Span]:
        if window.pk not in self._spans:
            self._spans[window.pk] = window.spans(start=self.start, end=self.end)
        return self._spans[window.pk]

    def warnings(
        self, *, groups: Sequence[Group], placements: Iterable[planning.Placement]
    ) -> dict[ProtectedWindow, int]:
        """Count the placed hubs that would go in each soft window of the Supplier that books."""
        found: dict[ProtectedWindow, int] = defaultdict(int)
        merged: dict[int, list[calendar.Span]] = {}
        for one in placements:
            concerned = [
                *groups[one.group].soft,
                *(window for window in self.soft if window.network_id in (None, one.network)),
            ]
            for window in concerned:
                if window.pk not in merged:
                    merged[window.pk] = calendar.merged(spans=self._spans_of(window))
                if calendar.overlap(spans=merged[window.pk], start=one.start_at, end=one.end_at):
                    found[window] += one.hubs
        return dict(found)


def _days(start: datetime, end: datetime) -> tuple[date, date]:
    """Return the first and the last day on which a change of supplier can protect a hub between two moments."""
    return (start - AROUND).astimezone(LONDON).date(), (end + AROUND).astimezone(LONDON).date()


def guard(*, supplier: Supplier, start: datetime, end: datetime) -> Guard:
    """Return what has to be known of a Supplier's hubs for slots between `start` and `end`."""
    alone: dict[int, ProtectedWindow] = {}
    soft: list[ProtectedWindow] = []
    touching = ProtectedWindow.objects.filter(Q(start_at=None) | Q(start_at__lt=end, end_at__gt=start))
    own = touching.filter(supplier=supplier).exclude(is_hard=True, scope__in=[Scope.ALL, Scope.NETWORK])
    found = list(own)
    with asking.trusted(
        "the other Supplier's hard windows keep shared hubs out of slots; no word of them is shown"
    ):
        found += touching.exclude(supplier=supplier).filter(
            is_hard=True, scope__in=[Scope.PAYMENT_MODE, Scope.GROUP, Scope.HUBS]
        )
    spans: dict[int, Sequence[calendar.Span]] = {}
    for window in sorted(found, key=lambda window: window.pk):
        if not (its := window.spans(start=start, end=end)):
            continue
        spans[window.pk] = its
        if window.is_of_single_hubs:
            alone[window.pk] = window
        else:
            soft.append(window)
    return Guard(
        supplier.pk,
        start,
        end,
        alone,
        soft,
        ChangeOfSupplier.objects.filter(effective_on__range=_days(start, end)).exists(),
        Supplier.objects.aggregate(last=Max("id"))["last"] + 1,
        spans,
    )


def guard_for(*, release: FirmwareRelease, supplier: Supplier, now: datetime) -> Guard:
    """Return the guard for what a Supplier can still book of a release."""
    end = max((period.end_at for period in release.periods.all()), default=now)
    return guard(supplier=supplier, start=now, end=max(now, end))


GROUPS = "SELECT kin, things, count(*)::int FROM {hubs} hub GROUP BY 1, 2 ORDER BY {order}"


def counted(*, guard: Guard, hubs: str, parameters: Mapping[str, Any]) -> list[Group]:
    """Count the judged hubs of a SELECT (see `Guard.divided`) by group, in one pass over them."""
    divided, more = guard.divided(hubs=hubs)
    return guard.groups(
        rows=sql.rows(GROUPS.format(hubs=f"({divided})", order="1, 2"), dict(parameters) | more)
    )
