"""
When the stages of a rollout open, and who has a turn when. Pure rules.

Hubs of one model stand in line in the order of their slots. A stage takes the first of them, and when it has as many
as its size, it soaks and waits for their outcomes; then the next one opens. Whoever has no turn in the own slot has
one in a later slot, before those who are booked there.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil

from portal.ground.uk_time import Span

SUBSTITUTES = 10
"""For so many hubs that have a turn in a slot, one more stays, or comes: some of them will not be reached."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a release's policy says of its stages."""

    sizes: Sequence[int]
    soak: Span
    silence_deadline: Span

    def size(self, *, step: int) -> int:
        """Return how many hubs a stage takes: after the last size, tranches of that size."""
        return self.sizes[min(step, len(self.sizes)) - 1]

    def over_at(self, *, step: int, full_at: datetime) -> datetime:
        """Return when a stage is over that is full: it has soaked, and who was silent is known to be."""
        known_at = self.silence_deadline.after(full_at)
        return max(known_at, self.soak.after(full_at)) if step <= len(self.sizes) else known_at


@dataclass(frozen=True, slots=True)
class Open:
    """The open stage: which size of the policy it has, and how many hubs of that it has admitted."""

    number: int
    step: int
    opened_at: datetime
    size: int
    admitted: int
    full_at: datetime | None = None
    is_cut: bool = False
    """It is cut off by a resumption: the next one tries the same size again."""
    is_chosen: bool = False
    """It admits its first hubs alone."""
    looked_at: datetime | None = None
    """When all of its hubs that have succeeded so far will have been looked at again, as far as is known."""
    is_hardly_judged: bool = False
    """Most of its hubs are on networks that are halted: the next one tries the same size again."""


@dataclass(frozen=True, slots=True)
class Slot:
    """
    Hubs of the model in one slot, by what may become of them, in the order in which they have their turns.

    `first` were chosen for the first stage; to `begun` something was sent, so they stay; `moved` came from earlier
    slots, and `booked` are all others. `free` is how many more the slot takes.
    """

    slot: int
    network: int
    start_at: datetime
    end_at: datetime
    first: int = 0
    begun: int = 0
    moved: int = 0
    booked: int = 0
    free: int = 0


@dataclass(frozen=True, slots=True)
class Aim:
    """So many hubs have their turn in the slots from `at` on; None where no slot is left that is late enough."""

    at: datetime | None
    hubs: int


@dataclass(frozen=True, slots=True)
class Opening:
    """A stage that is expected to open."""

    number: int
    size: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Turns:
    """
    How many hubs of a slot have a turn in it, and how many others stay as their substitutes.

    The others have theirs by the `aims`, in the order in which they stand in line.
    """

    slot: Slot
    turns: int
    substitutes: int
    aims: Sequence[Aim]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Who has a turn when, by slot id, and the stages that open until the last of them has had it."""

    openings: Sequence[Opening]
    turns: dict[int, Turns]


def forecast(*, policy: Policy, opened: Open, slots: Iterable[Slot], now: datetime) -> Forecast:
    """
    Say when the next stages open and how many hubs of each slot have a turn in it.

    `slots` are all that are not over, empty ones too, in which hubs of the model may be activated.
    """
    return _Line(policy, opened, sorted(slots, key=lambda slot: (slot.start_at, slot.slot)), now).forecast()


@dataclass(slots=True)
class _Displaced:
    """Hubs of a slot that stand in line for another."""

    slot: int
    hubs: int


@dataclass(slots=True)
class _Line:
    """The stages, as they are at a moment that goes on from slot to slot, and those who wait on each network."""

    policy: Policy
    opened: Open
    slots: Sequence[Slot]
    now: datetime
    number: int = field(init=False)
    step: int = field(init=False)
    left: int = field(init=False)
    opens_at: datetime = field(init=False)
    first_to_come: int = field(init=False, default=0)
    """Of the first stage's hubs, those whose slots are still to come: their places are kept."""
    openings: list[Opening] = field(default_factory=list)
    waiting: dict[int, deque[_Displaced]] = field(default_factory=dict)
    aims: dict[int, list[Aim]] = field(default_factory=dict)

    def forecast(self) -> Forecast:
        """Go through the slots in their order."""
        stage = self.opened
        self.number, self.step = stage.number, stage.step
        self.left, self.opens_at = stage.size - stage.admitted, stage.opened_at
        if stage.is_chosen:
            self.first_to_come = min(sum(slot.first for slot in self.slots), self.left)
        if stage.is_cut or self.left <= 0:
            self._go_on(stage.full_at or self.now)
        found = {slot.slot: self._pass(slot) for slot in self.slots}
        for displaced in (one for line in self.waiting.values() for one in line):
            self.aims[displaced.slot].append(Aim(None, displaced.hubs))
        return Forecast(self.openings, found)

    def _pass(self, slot: Slot) -> Turns:
        """Give the hubs of a slot, and who waits for one on its network, their turns."""
        first = self._take(slot.first, slot, are_first=True)
        settled = self._take(slot.begun + slot.moved, slot)
        self._let_in(slot)
        turns = first + settled + self._take(slot.booked, slot)
        others = slot.first + slot.begun + slot.moved + slot.booked - turns
        substitutes = min(others, ceil(turns / SUBSTITUTES))
        aims = self.aims.setdefault(slot.slot, [])
        if without := others - substitutes:
            self.waiting.setdefault(slot.network, deque()).append(_Displaced(slot.slot, without))
        return Turns(slot, turns, substitutes, aims)

    def _let_in(self, slot: Slot) -> None:
        """
        Give those who wait on its network the turns and places that the slot has left, and some more its places.

        Without substitutes, one hub that is not reached would keep the stage open until the next slot.
        """
        line, free = self.waiting.get(slot.network, deque()), slot.free
        turns = 0
        while line and turns < free and (hubs := self._take(min(line[0].hubs, free - turns), slot)):
            self._aim(line, slot, hubs)
            turns += hubs
        substitutes = min(ceil(turns / SUBSTITUTES), free - turns)
        while line and substitutes:
            hubs = min(line[0].hubs, substitutes)
            self._aim(line, slot, hubs)
            substitutes -= hubs

    def _aim(self, line: deque[_Displaced], slot: Slot, hubs: int) -> None:
        """Let so many of those who stand first in line aim at a slot."""
        aims = self.aims[line[0].slot]
        before = aims.pop().hubs if aims and aims[-1].at == slot.start_at else 0
        aims.append(Aim(slot.start_at, before + hubs))
        line[0].hubs -= hubs
        if not line[0].hubs:
            line.popleft()

    def _take(self, hubs: int, slot: Slot, *, are_first: bool = False) -> int:
        """Give hubs their turns in a slot, as the stages that are open in it have room; return how many had one."""
        taken = 0
        while taken < hubs and self.opens_at < slot.end_at:
            room = self.left - (0 if are_first else self.first_to_come)
            some = min(room, hubs - taken)
            if some <= 0:
                break
            taken += some
            self.left -= some
            if are_first and self.first_to_come:
                self.first_to_come -= some
            if not self.left:
                self._go_on(max(self.opens_at, slot.start_at, self.now))
        return taken

    def _go_on(self, full_at: datetime) -> None:
        """Let the next stage open when this one, which has been full since then, is over."""
        is_cut = not self.openings and self.opened.is_cut
        over_at = (
            self.policy.silence_deadline.after(full_at)
            if is_cut
            else self.policy.over_at(step=self.step, full_at=full_at)
        )
        if not self.openings and not is_cut and self.opened.looked_at and self.step <= len(self.policy.sizes):
            over_at = max(over_at, self.opened.looked_at)
        tries_again = is_cut or (not self.openings and self.opened.is_hardly_judged)
        self.number, self.step, self.first_to_come = self.number + 1, self.step + (not tries_again), 0
        self.left, self.opens_at = self.policy.size(step=self.step), max(over_at, self.now)
        self.openings.append(Opening(self.number, self.left, self.opens_at))


def aims_in_order(*, aims: Sequence[Aim], hubs: int, otherwise: datetime) -> list[Aim]:
    """
    Return the aims of so many hubs, the first of those in line; those beyond them go wherever the last ones do.

    Where nobody has an aim, they go from `otherwise` on.
    """
    found: list[Aim] = []
    for aim in aims:
        if hubs and (some := min(aim.hubs, hubs)):
            found.append(Aim(aim.at, some))
            hubs -= some
    if hubs:
        found.append(Aim(found[-1].at if found else otherwise, hubs))
    return found


LATEST = timedelta(minutes=5)
"""
Before the end of a slot: what waits then waits in vain, and has to be moved before the slot ends; in short slots it is
a sixth of them.
"""
