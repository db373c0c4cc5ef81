"""
Which hubs a first stage tries a release on: so few, and as unlike each other as can be. Pure rules.

A fault that only some hubs show is found in the first stage if it holds at least one of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace


@dataclass(frozen=True, slots=True)
class Cell:
    """
    Hubs that are alike: of one network, hardware version, installed version, payment mode and Supplier.

    `values` are these five, always in one order. So many can be had, `pilots` and `others`; `taken` are in the stage
    already.
    """

    values: tuple[int, ...]
    pilots: int
    others: int
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Pick:
    """How many hubs of a cell are taken."""

    pilots: int = 0
    others: int = 0


def choose(*, cells: Sequence[Cell], room: int) -> list[Pick]:
    """
    Choose at most `room` hubs; return how many of each cell, in the order of the cells.

    One after the other: whichever shows most values that no hub before it has shown; among those that show as many,
    pilots before others; and among these, whichever has the fewest like it. A choice only ever makes the next one of
    its kind less wanted, so only those at the front of the queue are weighed again.
    """
    seen: Counter[tuple[int, int]] = Counter()
    for cell in cells:
        for value in enumerate(cell.values):
            seen[value] += cell.taken
    left = {
        (place, is_pilot): hubs
        for place, cell in enumerate(cells)
        for is_pilot, hubs in ((True, cell.pilots), (False, cell.others))
        if hubs
    }

    def weigh(place: int, is_pilot: bool) -> tuple[int, bool, int, int]:
        known = [seen[value] for value in enumerate(cells[place].values)]
        return -known.count(0), not is_pilot, sum(known), place

    queue = [weigh(place, is_pilot) for place, is_pilot in left]
    heapify(queue)
    taken: Counter[tuple[int, bool]] = Counter()
    while queue and room:
        _, is_other, _, place = queue[0]
        kind = place, not is_other
        if (weight := weigh(*kind)) != queue[0]:
            heapreplace(queue, weight)
            continue
        taken[kind] += 1
        room -= 1
        seen.update(enumerate(cells[place].values))
        if taken[kind] == left[kind]:
            heappop(queue)
    return [Pick(taken[place, True], taken[place, False]) for place in range(len(cells))]
