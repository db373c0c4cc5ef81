"""
When hubs must not be touched: one rule, asked at preview, at booking and by the Gate.

What closes a network for all hubs of a Supplier takes slots out of its rooms (`closures`). What concerns some of its
hubs alone divides them into groups (see `guards`). The Gate asks both (`stops`).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import Q, QuerySet

from firmware.models import AvailabilityPeriod, ReleaseState
from hubs import queries as fleet
from hubs import registrations
from hubs.models import ChangeOfSupplier, Supplier
from portal.ground import sql
from portal.ground.uk_time import LONDON
from scheduling import calendar
from scheduling.models import Incident, Maintenance, ProtectedWindow, Slot

Scope = ProtectedWindow.Scope
MOST_OF_SINGLE_HUBS = 60
"""Windows of payment modes, groups and lists that a Supplier can have at a time: each divides its hubs further."""


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


def listed(*, window: ProtectedWindow) -> list[int]:
    """Return the CHF IDs of a window's list that are still its Supplier's to see, in order."""
    own = fleet.hubs_of(supplier=window.supplier).filter(chf_id__in=window.listed.values("hub"))
    return list(own.order_by("chf_id").values_list("chf_id", flat=True))


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


def closed_networks(*, now: datetime) -> set[int]:
    """Return the networks, by id, that DCC has closed at this moment: whoever is silent there is so on purpose."""
    maintained = Maintenance.objects.filter(start_at__lte=now, end_at__gt=now)
    troubled = Incident.objects.filter(
        Q(closed_at=None) | Q(closed_at__gt=now), category__in=Incident.CLOSING, opened_at__lte=now
    )
    return set(
        maintained.values_list("network_id", flat=True).union(troubled.values_list("network_id", flat=True))
    )


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
class Stops:
    """What of a span must not be touched, of the hubs of one lot."""

    by_dcc: bool = False
    everything: bool = False
    modes: Sequence[int] = ()
    lists: Sequence[int] = ()
    groups: Sequence[int] = ()
    changes: Sequence[date] = ()
    """Hubs whose Supplier changes on one of these days."""

    @property
    def some(self) -> bool:
        """There are single hubs to ask about."""
        return bool(self.modes or self.lists or self.groups or self.changes)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the Gate wants to know of a slot."""

    now: Stops
    """What is closed at the moment."""
    slot: Stops
    """What was or will be closed at any moment of the slot."""
    until: datetime
    """When something next begins; the slot's end if nothing does."""


# Raw SQL: one question in place of six, since as a rule there is nothing at all.
ANYTHING = sql.Often("""
SELECT EXISTS (SELECT FROM scheduling_maintenance
               WHERE network_id = %(network)s AND start_at < %(end)s AND end_at > %(start)s)
    OR EXISTS (SELECT FROM scheduling_incident
               WHERE network_id = %(network)s AND (closed_at IS NULL OR closed_at > %(start)s))
    OR EXISTS (SELECT FROM scheduling_protectedwindow WHERE supplier_id = ANY (%(suppliers)s::int[]))
    OR EXISTS (SELECT FROM hubs_changeofsupplier WHERE effective_on BETWEEN %(first)s AND %(last)s)
""")


def stops(*, suppliers: Collection[int], network: int, slot: Slot, now: datetime) -> Answer:
    """
    Say what of a slot must not be touched, now and in all of it; of a slot still to come nothing is asked.

    `suppliers` are those whose windows hold: the one that booked, and the other one of shared hubs. Where there
    is none, as for an override, changes of supplier do not hold either.
    """
    if now < slot.start_at:
        return Answer(Stops(), Stops(), slot.end_at)
    span = {"start": slot.start_at, "end": slot.end_at}
    days = _days_touched(**span)
    anything = {**span, "network": network, "suppliers": list(suppliers), "first": days[0], "last": days[-1]}
    if sql.rows(ANYTHING, anything) == [(False,)]:
        return Answer(Stops(), Stops(), slot.end_at)
    closed = by_dcc(networks=[network], to_expected_end=False, **span)
    found: list[tuple[datetime, datetime, ProtectedWindow | date | None]] = [
        (closure.start_at, closure.end_at, None) for closure in closed
    ]
    for window in ProtectedWindow.objects.filter(
        Q(network=None) | Q(network=network), Q(end_at=None) | Q(end_at__gt=slot.start_at),
        Q(start_at=None) | Q(start_at__lt=slot.end_at), supplier__in=suppliers, is_hard=True,
    ):  # fmt: skip
        found += [(opens, closes, window) for opens, closes in window.spans(**span)]
    changes = _days_of_changes(days, **span) if suppliers else []
    found += [(*registrations.protected_span(effective_on=day), day) for day in changes]
    return Answer(
        _stops(window for opens, closes, window in found if opens <= now < closes),
        _stops(window for _, _, window in found),
        min([slot.end_at, *(opens for opens, _, _ in found if opens > now)]),
    )


def _days_of_changes(days: Iterable[date], start: datetime, end: datetime) -> list[date]:
    """Return on which of these days supplier changes protect some hub between two moments."""
    return [
        day
        for day in days
        for opens, closes in [registrations.protected_span(effective_on=day)]
        if opens < end and closes > start and ChangeOfSupplier.objects.filter(effective_on=day).exists()
    ]


def _days_touched(start: datetime, end: datetime) -> list[date]:
    """Return the days, and some around them, whose changes of supplier may protect hubs between two moments."""
    first, last = start.astimezone(LONDON).date(), end.astimezone(LONDON).date()
    return [first + timedelta(days=number) for number in range(-2, (last - first).days + 3)]


def _stops(found: Iterable[ProtectedWindow | date | None]) -> Stops:
    concerned = list(found)
    kept = [one for one in concerned if isinstance(one, ProtectedWindow)]
    return Stops(
        None in concerned,
        any(not window.is_of_single_hubs for window in kept),
        [window.payment_mode for window in kept if window.payment_mode is not None],
        [window.pk for window in kept if window.scope == Scope.HUBS],
        [window.group_id for window in kept if window.group_id is not None],
        [one for one in concerned if isinstance(one, date)],
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
