"""Hubs to slots: which slot takes how many. Pure rules; the database takes the places."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Room:
    """An open slot as the planner sees it: where, when, and how many hubs it still takes."""

    slot: int
    network: int
    start_at: datetime
    end_at: datetime
    room: int


@dataclass(frozen=True, slots=True)
class Placement:
    """So many hubs of one network in one slot."""

    slot: int
    network: int
    start_at: datetime
    end_at: datetime
    hubs: int


def as_early_as_possible(*, rooms: Iterable[Room], hubs: int) -> list[Placement]:
    """Fill the slots of one network in order of their start, until all `hubs` are placed or no room is left."""
    placements = []
    for room in sorted(rooms, key=lambda room: (room.start_at, room.slot)):
        if hubs == 0:
            break
        if taken := min(room.room, hubs):
            placements.append(Placement(room.slot, room.network, room.start_at, room.end_at, taken))
            hubs -= taken
    return placements


def lots(*, placements: Sequence[Placement], size: int) -> list[tuple[Placement, int]]:
    """Cut placements into lots of at most `size` hubs, as even as they come, in the order given."""
    cut = []
    for placement in placements:
        number = -(-placement.hubs // size)
        share, rest = divmod(placement.hubs, number)
        cut += [(placement, share + (index < rest)) for index in range(number)]
    return cut
