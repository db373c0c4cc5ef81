"""
When hubs must not be touched: one rule, asked at preview, at booking and by the Gate.

What closes a network for all hubs of a Supplier takes slots out of its rooms (`closures`). What concerns some of its
hubs alone, a payment mode or a list, divides its hubs into groups (`guard`): hubs with the same windows are in the
same group, and a group is placed only where none of its windows is. So no hub is placed and then placed again,
and the counts of places are right from the start. The Gate asks both (`stops`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from firmware.models import AvailabilityPeriod, FirmwareRelease, ReleaseState
from hubs.models import PaymentMode, Supplier
from portal.ground import sql
from portal.ground.uk_time import LONDON
from scheduling import calendar, planning
from scheduling.models import HubSelection, Incident, Maintenance, ProtectedWindow, Slot
from scheduling.queries import eligibility

Scope = ProtectedWindow.Scope
MOST_OF_SINGLE_HUBS = 60
"""Windows of payment modes, groups and lists that a Supplier can have at a time: each is a bit of a 64-bit number."""


def of_supplier(*, supplier: Supplier) -> QuerySet[ProtectedWindow]:
    """Return a Supplier's windows, newest first."""
    return (
        ProtectedWindow.objects.filter(supplier=supplier)
        .select_related("network", "group", "made_by")
        .order_by("-id")
    )


def not_over(*, supplier: Supplier, now: datetime) -> QuerySet[ProtectedWindow]:
    """Return the Supplier's windows that are on or still to come."""
    today = now.astimezone(LONDON).date()
    return of_supplier(supplier=supplier).filter(
        Q(end_at__gt=now)
        | Q(start_at=None, valid_until=None)
        | Q(start_at=None, valid_until__gte=today - timedelta(days=1))
    )


@dataclass(frozen=True, slots=True)
class Closure:
    """A span in which a network is closed for all hubs of a Supplier, and why, in one word."""

    network: int
    start_at: datetime
    end_at: datetime
    why: str


def by_dcc(
    *, networks: Collection[int], start: datetime, end: datetime, to_expected_end: bool
) -> list[Closure]:
    """
    Return DCC's closures that touch the half-open span from `start` to `end`: maintenance, and closing incidents.

    An open incident closes without end; with `to_expected_end`, up to when DCC expects its end.
    """
    found = [
        Closure(*row, "maintenance")
        for row in Maintenance.objects.filter(
            network__in=networks, start_at__lt=end, end_at__gt=start
        ).values_list("network_id", "start_at", "end_at")
    ]
    for incident in Incident.objects.filter(
        Q(closed_at=None) | Q(closed_at__gt=start),
        network__in=networks,
        category__in=Incident.CLOSING,
        opened_at__lt=end,
    ):
        closes = incident.closed_at or (to_expected_end and incident.expected_end_at) or calendar.forever(end)
        if closes > start:
            found.append(Closure(incident.network_id, incident.opened_at, closes, "incident"))
    return found


def closures(
    *, supplier: Supplier, networks: Collection[int], start: datetime, end: datetime
) -> list[Closure]:
    """Return all that closes these networks for every hub of the Supplier between `start` and `end`."""
    found = by_dcc(networks=networks, start=start, end=end, to_expected_end=True)
    for window in _hard(supplier).filter(scope__in=[Scope.ALL, Scope.NETWORK]):
        for network in networks:
            if window.network_id not in (None, network):
                continue
            found += [
                Closure(network, opens, closes, "protected")
                for opens, closes in window.spans(start=start, end=end)
            ]
    return found


def _hard(supplier: Supplier) -> QuerySet[ProtectedWindow]:
    return ProtectedWindow.objects.filter(supplier=supplier, is_hard=True).order_by("id")


@dataclass(frozen=True, slots=True)
class Guard:
    """
    The windows that concern some of a Supplier's hubs alone, and the soft ones of all.

    A hub's group is a number with a bit for each of `windows` that concerns it; 0 is everybody else.
    """

    windows: Sequence[ProtectedWindow]
    spans: Sequence[Sequence[calendar.Span]]
    soft: Sequence[tuple[ProtectedWindow, Sequence[calendar.Span]]] = ()
    """Soft windows of all hubs, or of a network."""
    _closed: dict[int, Sequence[calendar.Span]] = field(default_factory=dict)

    def is_clear(self, *, group: int, start: datetime, end: datetime) -> bool:
        """Say whether no hard window of the group shares a moment with the half-open span."""
        if not group:
            return True
        if group not in self._closed:
            hard = [
                span
                for bit, window in enumerate(self.windows)
                if group >> bit & 1 and window.is_hard
                for span in self.spans[bit]
            ]
            self._closed[group] = calendar.merged(spans=hard)
        return not calendar.overlap(spans=self._closed[group], start=start, end=end)

    def warnings(self, *, placements: Iterable[planning.Placement]) -> dict[ProtectedWindow, int]:
        """Count the placed hubs that would go in each soft window."""
        found: dict[ProtectedWindow, int] = defaultdict(int)
        soft = [(bit, window) for bit, window in enumerate(self.windows) if not window.is_hard]
        merged = {window.pk: calendar.merged(spans=self.spans[bit]) for bit, window in soft}
        merged |= {window.pk: calendar.merged(spans=spans) for window, spans in self.soft}
        for one in placements:
            concerned = [window for bit, window in soft if one.group >> bit & 1]
            concerned += [window for window, _ in self.soft if window.network_id in (None, one.network)]
            for window in concerned:
                if calendar.overlap(spans=merged[window.pk], start=one.start_at, end=one.end_at):
                    found[window] += one.hubs
        return dict(found)


def guard(*, supplier: Supplier, start: datetime, end: datetime) -> Guard:
    """Return the Supplier's guard for slots between `start` and `end`."""
    alone: list[tuple[ProtectedWindow, Sequence[calendar.Span]]] = []
    soft: list[tuple[ProtectedWindow, Sequence[calendar.Span]]] = []
    windows = ProtectedWindow.objects.filter(supplier=supplier).exclude(
        is_hard=True, scope__in=[Scope.ALL, Scope.NETWORK]
    )
    for window in windows.order_by("id"):
        if spans := window.spans(start=start, end=end):
            (alone if window.is_of_single_hubs else soft).append((window, spans))
    return Guard([window for window, _ in alone], [spans for _, spans in alone], soft)


def guard_for(*, release: FirmwareRelease, supplier: Supplier, now: datetime) -> Guard:
    """Return the Supplier's guard for what can still be booked of a release."""
    end = max((period.end_at for period in release.periods.all()), default=now)
    return guard(supplier=supplier, start=now, end=max(now, end))


def grouped(*, hubs: str, guard: Guard) -> tuple[str, dict[str, Any]]:
    """
    Return a SELECT of (hub, network_id, grp) over the eligible hubs of `eligibility.chosen_hubs`, and what it adds.

    Raw SQL, because a million hubs are divided: by their payment mode, which is at hand, and by one join with the
    lists.
    """
    modes = {
        int(mode): sum(1 << bit for bit, window in enumerate(guard.windows) if window.payment_mode == mode)
        for mode in PaymentMode
    }
    lists = [(window.pk, bit) for bit, window in enumerate(guard.windows) if window.scope == Scope.HUBS]
    group, join = "0::bigint", ""
    parameters: dict[str, Any] = {}
    if any(modes.values()):
        cases = " ".join(f"WHEN {mode} THEN {mask}" for mode, mask in modes.items())
        group = f"(CASE judged.payment_mode {cases} ELSE 0 END)::bigint"
    if lists:
        group += " | coalesce(listed.grp, 0)"
        join = """LEFT JOIN (
            SELECT hub, bit_or(1::bigint << bit) AS grp FROM scheduling_protectedhub
            JOIN unnest(%(lists)s::bigint[], %(bits)s::int[]) AS list (window_id, bit) USING (window_id)
            GROUP BY hub) listed ON listed.hub = judged.hub"""
        parameters = {"lists": [pk for pk, _ in lists], "bits": [bit for _, bit in lists]}
    return (
        f"SELECT judged.hub, judged.network_id, {group} AS grp"  # noqa: S608 - our own columns
        f" FROM ({hubs}) judged {join} WHERE judged.refusal IS NULL",
        parameters,
    )


def by_group(
    *, selection: HubSelection, guard: Guard, needed: Mapping[int, int], now: datetime
) -> dict[tuple[int, int], int]:
    """
    Return the number of chosen hubs by (network id, group).

    Without a window of single hubs these are the `needed` ones, by network id, as they were judged before.
    """
    if not guard.windows:
        return {(network, 0): hubs for network, hubs in needed.items()}
    hubs, parameters = eligibility.chosen_hubs(selection=selection, now=now)
    statement, more = grouped(hubs=hubs, guard=guard)
    rows = sql.rows(
        f"SELECT network_id, grp, count(*) FROM ({statement}) hub GROUP BY 1, 2 ORDER BY 1, 2",  # noqa: S608
        parameters | more,
    )
    return {(network, group): count for network, group, count in rows}


@dataclass(frozen=True, slots=True)
class Stops:
    """What of a span must not be touched: of one Supplier's hubs on one network."""

    by_dcc: bool = False
    everything: bool = False
    modes: Sequence[int] = ()
    lists: Sequence[int] = ()

    @property
    def some(self) -> bool:
        """There are windows of single hubs to ask about."""
        return bool(self.modes or self.lists)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the Gate wants to know of a slot."""

    now: Stops
    """What is closed at the moment."""
    slot: Stops
    """What was or will be closed at any moment of the slot."""
    until: datetime
    """When something next begins; the slot's end if nothing does."""


def stops(*, supplier: int, network: int, slot: Slot, now: datetime) -> Answer:
    """Say what of a slot must not be touched, now and in all of it; of a slot still to come nothing is asked."""
    if now < slot.start_at:
        return Answer(Stops(), Stops(), slot.end_at)
    span = {"start": slot.start_at, "end": slot.end_at}
    closed = by_dcc(networks=[network], to_expected_end=False, **span)
    found: list[tuple[datetime, datetime, ProtectedWindow | None]] = [
        (closure.start_at, closure.end_at, None) for closure in closed
    ]
    for window in ProtectedWindow.objects.filter(
        Q(network=None) | Q(network=network), Q(end_at=None) | Q(end_at__gt=slot.start_at),
        Q(start_at=None) | Q(start_at__lt=slot.end_at), supplier=supplier, is_hard=True,
    ):  # fmt: skip
        found += [(opens, closes, window) for opens, closes in window.spans(**span)]
    return Answer(
        _stops(window for opens, closes, window in found if opens <= now < closes),
        _stops(window for _, _, window in found),
        min([slot.end_at, *(opens for opens, _, _ in found if opens > now)]),
    )


def _stops(found: Iterable[ProtectedWindow | None]) -> Stops:
    windows = list(found)
    own = [window for window in windows if window]
    return Stops(
        len(own) < len(windows),
        any(not window.is_of_single_hubs for window in own),
        [window.payment_mode for window in own if window.payment_mode is not None],
        [window.pk for window in own if window.scope == Scope.HUBS],
    )


# -- what people see -----------------------------------------------------------------------------------------

# Raw SQL: slots by the thousand against spans by the hundred; a multirange finds an overlap by binary search.
BLOCKED = """
SELECT listing.id, count(*) FROM (
    SELECT id, network_id, range_agg(tstzrange(start_at, end_at)) AS spans
    FROM unnest(%(ids)s::bigint[], %(networks)s::smallint[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS span (id, network_id, start_at, end_at)
    GROUP BY 1, 2) listing
JOIN scheduling_slot slot ON slot.network_id = coalesce(listing.network_id, slot.network_id)
    AND listing.spans && tstzrange(slot.start_at, slot.end_at)
WHERE slot.start_at > %(now)s AND EXISTS (
    SELECT FROM firmware_availabilityperiod period
    JOIN firmware_firmwarerelease release ON release.id = period.release_id
    WHERE release.state = ANY (%(open)s) AND period.network_id = slot.network_id
      AND period.start_at <= slot.start_at AND period.end_at >= slot.end_at)
GROUP BY 1
"""


def blocked(*, windows: Sequence[ProtectedWindow], now: datetime) -> dict[int, int]:
    """Return by window id how many slots of open releases, still to begin, each window touches."""
    is_open = [ReleaseState.PUBLISHED, ReleaseState.HALTED]
    ends = AvailabilityPeriod.objects.filter(release__state__in=is_open).values_list("end_at", flat=True)
    spans = [
        (window.pk, window.network_id, opens, closes)
        for window in windows
        for opens, closes in window.spans(start=now, end=max(ends, default=now))
    ]
    rows = sql.rows(
        BLOCKED,
        {
            "ids": [pk for pk, _, _, _ in spans],
            "networks": [network for _, network, _, _ in spans],
            "starts": [opens for _, _, opens, _ in spans],
            "ends": [closes for _, _, _, closes in spans],
            "now": now,
            "open": [str(state) for state in is_open],
        },
    )
    return dict(rows)


def when(*, window: ProtectedWindow) -> str:
    """Say when a window is, in UK time."""
    if window.start_at and window.end_at:
        start, end = window.start_at.astimezone(LONDON), window.end_at.astimezone(LONDON)
        return f"{start:%a %-d %b %Y, %H:%M %Z} to {end:%a %-d %b %Y, %H:%M %Z}"
    assert window.starts is not None  # noqa: S101 - the CHECK window_once_or_weekly holds it
    assert window.ends is not None  # noqa: S101 - the same
    days = "every day" if len(window.days) == 7 else ", ".join(day.label[:3] for day in window.days)
    words = f"{days} {window.starts:%H:%M} to {window.ends:%H:%M}"
    if window.ends <= window.starts:
        words += " the next day"
    if window.valid_from:
        words += f", from {window.valid_from:%-d %b %Y}"
    if window.valid_until:
        words += f", until {window.valid_until:%-d %b %Y}"
    return words


def who(*, window: ProtectedWindow) -> str:
    """Say which hubs a window is for."""
    if window.network:
        return f"Our hubs on {window.network}"
    if window.payment_mode:
        return f"Our {window.get_payment_mode_display().lower()} hubs"
    if window.group:
        return (
            f"{window.group.hubs:,} hub{'' if window.group.hubs == 1 else 's'} of the group “{window.group}”"
        )
    if window.scope == Scope.HUBS:
        return f"{window.hubs:,} listed hub{'' if window.hubs == 1 else 's'}"
    return "All our hubs"
