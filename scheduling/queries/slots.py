"""Which slots are open for a release, and how much room they have."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Max, Min, Q, QuerySet, Sum, Window

from firmware.models import FirmwareRelease
from scheduling import planning
from scheduling.models import Slot


def bookable_from(*, release: FirmwareRelease, now: datetime) -> datetime:
    """Return the earliest start whose booking cut-off has not passed."""
    return release.policy.cut_off.after(now)


def open_slots(*, release: FirmwareRelease, now: datetime) -> QuerySet[Slot]:
    """Return the slots in which the release may be deployed and whose cut-off has not passed."""
    earliest = bookable_from(release=release, now=now)
    within = Q(pk__in=[])
    for period in release.periods.all():
        within |= Q(
            network_id=period.network_id,
            start_at__gte=max(earliest, period.start_at),
            end_at__lte=period.end_at,
        )
    return Slot.objects.filter(within)


def rooms(*, release: FirmwareRelease, needed: Mapping[int, int], now: datetime) -> list[planning.Room]:
    """
    Return the earliest slots with room that together take the `needed` hubs of each network id.

    As of now and without a lock: what is taken in between is asked again when the places are taken.
    """
    found: list[planning.Room] = []
    for network, hubs in needed.items():
        room = F("capacity") - F("taken")
        earlier = Window(Sum(room), order_by=["start_at"]) - room
        slots = (
            open_slots(release=release, now=now)
            .filter(network_id=network, capacity__gt=F("taken"))
            .annotate(earlier=earlier)
            .filter(earlier__lt=hubs)
            .order_by("start_at")
            .values_list("id", "network_id", "start_at", "end_at", room)
        )
        found += [planning.Room(*slot) for slot in slots]
    return found


@dataclass(frozen=True, slots=True)
class Moment:
    """One start time at which slots of several networks may begin, for a person to choose."""

    start_at: datetime
    end_at: datetime
    room: Mapping[int, int]
    """Room left by network id; a network without a slot then is absent."""
    fits: bool
    """All the chosen hubs of every network can go."""
    placed: int
    """How many of the chosen hubs can go."""


def moments(
    *, release: FirmwareRelease, needed: Mapping[int, int], start: datetime, end: datetime, now: datetime
) -> Sequence[Moment]:
    """Return the start times between `start` and `end`, with their room for the chosen hubs."""
    rooms: dict[datetime, dict[int, int]] = defaultdict(dict)
    ends: dict[datetime, datetime] = {}
    slots = open_slots(release=release, now=now).filter(
        network_id__in=needed, start_at__gte=start, start_at__lt=end
    )
    for slot in slots:
        rooms[slot.start_at][slot.network_id] = slot.room
        ends[slot.start_at] = max(slot.end_at, ends.get(slot.start_at, slot.end_at))
    found = []
    for start_at, room in sorted(rooms.items()):
        placed = sum(min(hubs, room.get(network, 0)) for network, hubs in needed.items())
        found.append(Moment(start_at, ends[start_at], room, placed == sum(needed.values()), placed))
    return found


def span(
    *, release: FirmwareRelease, networks: Sequence[int], now: datetime
) -> tuple[datetime, datetime] | None:
    """Return the first and the last start of the open slots of these networks, or None where there is none."""
    ends = (
        open_slots(release=release, now=now)
        .filter(network_id__in=networks)
        .aggregate(first=Min("start_at"), last=Max("start_at"))
    )
    return None if ends["first"] is None else (ends["first"], ends["last"])
