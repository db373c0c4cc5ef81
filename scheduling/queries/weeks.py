"""When a Supplier's hubs must not be touched, span by span: its own windows, and what DCC closes on its networks."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.db.models import Q

from hubs.models import FleetCount, Network, Supplier
from portal.ground.uk_time import LONDON
from scheduling.models import Incident, Maintenance, ProtectedWindow
from scheduling.queries import windows

DAY = timedelta(days=1)


class Sort(StrEnum):
    """What closes a span, as its word and its look say it."""

    HARD = "hard"
    SOFT = "soft"
    MAINTENANCE = "maintenance"
    INCIDENT = "incident"


@dataclass(frozen=True, slots=True)
class Entry:
    """One span; `end_at` is None of an incident of which nobody knows the end, `window` is None of what DCC closes."""

    start_at: datetime
    end_at: datetime | None
    sort: Sort
    what: str
    who: str
    reason: str
    window: ProtectedWindow | None = None


def entries(*, supplier: Supplier, start: datetime, end: datetime) -> list[Entry]:
    """Return all that touches the half-open span from `start` to `end`, in the order of its beginnings."""
    found = [*_own(supplier, start, end), *_by_dcc(networks_of(supplier=supplier), start, end)]
    return sorted(found, key=lambda entry: (entry.start_at, entry.sort, entry.what))


def networks_of(*, supplier: Supplier) -> set[int]:
    """Return the ids of the networks that the Supplier's hubs are on, as at the last count; before it, of all."""
    counted = set(FleetCount.objects.filter(lead=supplier).values_list("network", flat=True))
    return counted or set(Network.objects.values_list("id", flat=True))


def _own(supplier: Supplier, start: datetime, end: datetime) -> list[Entry]:
    first, last = start.astimezone(LONDON).date(), end.astimezone(LONDON).date()
    touching = windows.of_supplier(supplier=supplier).filter(
        Q(start_at__lt=end, end_at__gt=start)
        # one that begins on the day before may run into the first day
        | Q(start_at=None)
        & (Q(valid_from=None) | Q(valid_from__lte=last))
        & (Q(valid_until=None) | Q(valid_until__gte=first - DAY))
    )
    return [
        Entry(
            opens,
            closes,
            Sort.HARD if window.is_hard else Sort.SOFT,
            window.get_kind_display(),
            windows.who(window=window),
            window.reason,
            window,
        )
        for window in touching
        for opens, closes in window.spans(start=start, end=end)
    ]


def _by_dcc(networks: Collection[int], start: datetime, end: datetime) -> list[Entry]:
    found = [
        Entry(
            closed.start_at,
            closed.end_at,
            Sort.MAINTENANCE,
            "Maintenance",
            str(closed.network),
            closed.reason,
        )
        for closed in Maintenance.objects.filter(
            network__in=networks, start_at__lt=end, end_at__gt=start
        ).select_related("network")
    ]
    for incident in Incident.objects.filter(
        Q(closed_at=None) | Q(closed_at__gt=start),
        network__in=networks,
        category__in=Incident.CLOSING,
        opened_at__lt=end,
    ).select_related("network"):
        closes = incident.closed_at or incident.expected_end_at
        if closes is None or closes > start:
            found.append(
                Entry(
                    incident.opened_at,
                    closes,
                    Sort.INCIDENT,
                    f"Incident of Category {incident.category}",
                    str(incident.network),
                    incident.summary,
                )
            )
    return found
