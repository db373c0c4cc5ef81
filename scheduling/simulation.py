"""
Whole rollouts in numbers alone: what a release reaches before somebody stops it. Pure numpy, on virtual time.

Thousands of rollouts go on side by side, a minute at a time, under the stages and the budget of a policy. Hubs have
no names here: each that is commanded is drawn anew, its network, whether it is bad, and when it is heard of. That
takes the place of a fleet where only counts matter, and is fast enough for every hub of the country.

One hub model; where a release covers several, each has stages of its own, and they share what may be in flight.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduling import breaker

Counts: TypeAlias = NDArray[np.int64]
Shares: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

RAN_TO_ITS_END = -1
"""Instead of the stream that stopped a rollout: nothing did."""
UNHEARD = 1e-4
"""The share of answers that may come after the deadline before the model of them is too coarse."""


@dataclass(frozen=True, slots=True)
class Terms:
    """
    What a policy says of a rollout; where nothing else is said, what it begins with.

    `stages` are sizes in hubs, and the last is that of every tranche after it. `soaks` are minutes for which each of
    them stays closed once all its hubs have an outcome; those that are missing are nought. In flight are at most
    `percent` of the hubs that have an outcome, but `floor` in any case and never over `ceiling`. A hub that has not
    been heard of for `deadline` minutes is silent.
    """

    stages: tuple[int, ...] = (50, 500, 5_000, 50_000)
    soaks: tuple[int, ...] = ()
    floor: int = 50
    percent: int = 10
    ceiling: int = 10_000
    deadline: int = 120

    def __post_init__(self) -> None:
        if not self.stages or min(*self.stages, self.floor, self.deadline) < 1:
            raise ValueError("Each stage, what may be in flight, and the deadline have to be at least 1.")
        if not 0 <= self.percent <= 100 or self.ceiling < self.floor or min(self.soaks, default=0) < 0:
            raise ValueError("The budget or a soak of this policy cannot be.")


@dataclass(frozen=True, slots=True)
class Fleet:
    """
    What is rolled out to, and how it behaves without a defect.

    `networks` are the share of each. `baseline` is the share of hubs that are bad whatever is sent to them, and
    `silent` the share of those that are never heard of, while the others say so. An answer takes `answer` minutes on
    average, and now and then far longer: it is as likely in each minute, however long it has been waited for.

    The early warning that was promised names neither of the last two. Nine to ten minutes, for an activation and the
    version read after it (five where nothing goes wrong), and one silent hub among ten bad ones are where what it
    says of silent defects comes out.
    """

    hubs: int = 1_000_000
    networks: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    baseline: float = 0.005
    silent: float = 0.1
    answer: float = 9.5

    def __post_init__(self) -> None:
        if self.hubs < 1 or self.answer <= 0:
            raise ValueError("A fleet has hubs, and they take time to answer.")
        if min(self.networks, default=-1.0) < 0 or not math.isclose(sum(self.networks), 1.0):
            raise ValueError("The shares of the networks have to make one together.")
        if not (0 <= self.baseline <= 1 and 0 <= self.silent <= 1):
            raise ValueError("The baseline, and how many of it are silent, are shares from 0 to 1.")


@dataclass(frozen=True, slots=True)
class Defect:
    """Which share of the hubs, beyond the baseline, a release breaks: everywhere, or in one network by position."""

    share: float = 0.0
    is_silent: bool = False
    network: int | None = None

    def shares(self, *, networks: int) -> Shares:
        """
        Return the share of each network's hubs that is broken, shape (networks,).

        :raises ValueError: if the share is none, or there is no such network
        """
        if not 0 <= self.share <= 1:
            raise ValueError(f"{self.share} is no share of hubs.")
        if self.network is not None and not 0 <= self.network < networks:
            raise ValueError(f"There is no network {self.network} of {networks}.")
        return np.array(
            [self.share if self.network in (None, network) else 0.0 for network in range(networks)]
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What a rule may look at, of every rollout: hubs by network, shape (rollouts, networks), since the tranche began.

    `commanded` and `bad` are of all hubs; `settled` and `settled_bad` of those among them that were commanded a
    deadline ago or longer, so that nothing is missing from what is known of them. `tranche`, `ended` and `ended_bad`
    have shape (rollouts,); the last two count the hubs with an outcome, and the bad ones, of the whole rollout.
    """

    commanded: Counts
    bad: Counts
    settled: Counts
    settled_bad: Counts
    tranche: Counts
    ended: Counts
    ended_bad: Counts


class Rule(Protocol):
    """Says which rollouts to stop."""

    def trips(self, *, seen: Seen) -> Flags:
        """Say of each stream whether it stops its rollout, shape (rollouts, streams); the first is that of all hubs."""


@dataclass(frozen=True, slots=True)
class EarlyWarning:
    """
    The breaker: a stream of all hubs of the model, and one of each network.

    Two sets of hubs are held against the same limit: all that were commanded, where those not heard of count as good,
    and of them those that were commanded a deadline ago. Both are beginnings of the order in which hubs were
    commanded, and the promise on false alarms covers all of these together, so the second look costs nothing. It
    sees what the first one cannot while a stage grows: hubs that count as good because they are new outnumber the
    silent ones. `is_settled_seen` leaves it out, to show the difference.
    """

    tolerated: float
    is_settled_seen: bool = True

    def trips(self, *, seen: Seen) -> Flags:
        """Hold every stream against its limit."""
        found = self._evidence(seen.commanded, seen.bad)
        if self.is_settled_seen:
            found = np.maximum(found, self._evidence(seen.settled, seen.settled_bad))
        tranches, where = np.unique(seen.tranche, return_inverse=True)
        limits = [breaker.limit(episode=int(number), streams=found.shape[1]) for number in tranches]
        trips: Flags = found >= np.array(limits)[where][:, None]
        return trips

    def _evidence(self, hubs: Counts, bad: Counts) -> Shares:
        return evidence(good=streams(hubs - bad), bad=streams(bad), tolerated=self.tolerated)


@dataclass(frozen=True, slots=True)
class FixedPercentage:
    """What many do instead: stop when `percent` of the hubs with an outcome are bad, once there are `after` of them."""

    percent: int = 10
    after: int = 100

    def trips(self, *, seen: Seen) -> Flags:
        """Compare all outcomes so far; there is one stream."""
        trips: Flags = (seen.ended >= self.after) & (100 * seen.ended_bad >= self.percent * seen.ended)
        return trips[:, None]


@dataclass(frozen=True, slots=True)
class Rollouts:
    """
    How rollouts ended, each an array of shape (rollouts,).

    Hubs `commanded` until then, how many of these are `bad`, whether known or not yet, the `minutes` it took, and
    what it was `stopped_by`: 0 for the stream of all hubs, from 1 for that of a network, or `RAN_TO_ITS_END`.
    """

    commanded: Counts
    bad: Counts
    minutes: Counts
    stopped_by: Counts

    @property
    def is_stopped(self) -> Flags:
        """Which of them were stopped."""
        stopped: Flags = self.stopped_by != RAN_TO_ITS_END
        return stopped


def evidence(*, good: Counts, bad: Counts, tolerated: float) -> Shares:
    """Return `breaker.evidence` of every pair of counts, in the shape of the two."""
    more = np.array(breaker.ALTERNATIVES)
    per_bad = np.log((tolerated + more) / tolerated)
    per_good = np.log1p(-more / (1 - tolerated))
    ratios = bad[..., None] * per_bad + good[..., None] * per_good
    most = ratios.max(axis=-1)
    found: Shares = most + np.log(np.exp(ratios - most[..., None]).mean(axis=-1))
    return found


def streams(counts: Counts, /) -> Counts:
    """Put the sum over the networks before them: shape (rollouts, networks) becomes (rollouts, 1 + networks)."""
    return np.concatenate([counts.sum(axis=1, keepdims=True), counts], axis=1)


@dataclass(slots=True)
class _State:
    """
    Rollouts that still go on; their number is the first axis, but the second of those by minute.

    Those by minute hold what was commanded in each of the last minutes before the deadline, shape (minutes,
    rollouts, networks): the oldest gives way to the newest.
    """

    place: Counts
    stage: Counts
    left: Counts
    soaked: Counts
    commanded: Counts
    bad: Counts
    ended: Counts
    ended_bad: Counts
    good_waiting: Counts
    bad_waiting: Counts
    silent_waiting: Counts
    since: Counts
    bad_since: Counts
    settled: Counts
    settled_bad: Counts
    silent_by_minute: Counts = field(repr=False)
    hubs_by_minute: Counts = field(repr=False)
    bad_by_minute: Counts = field(repr=False)

    @classmethod
    def begin(cls, *, runs: int, networks: int, terms: Terms) -> "_State":
        one = [np.zeros(runs, np.int64) for _ in range(7)]
        each = [np.zeros((runs, networks), np.int64) for _ in range(7)]
        minutes = [np.zeros((terms.deadline, runs, networks), np.int64) for _ in range(3)]
        state = cls(np.arange(runs), *one, *each, *minutes)
        state.stage += 1
        state.left += terms.stages[0]
        return state

    @property
    def waiting(self) -> Counts:
        """Hubs without an outcome, shape (rollouts,)."""
        waiting: Counts = (self.good_waiting + self.bad_waiting + self.silent_waiting).sum(axis=1)
        return waiting

    def keep(self, which: Flags, /) -> None:
        """Forget all other rollouts."""
        for name in self.__slots__:
            rows = getattr(self, name)
            setattr(self, name, rows[:, which] if rows.ndim == 3 else rows[which])

    def begin_anew(self, which: Flags, /) -> None:
        """Let evidence begin anew in some rollouts."""
        for rows in (self.since, self.bad_since, self.settled, self.settled_bad):
            rows[which] = 0
        for rows in (self.hubs_by_minute, self.bad_by_minute):
            rows[:, which] = 0


def simulate(
    *,
    fleet: Fleet,
    terms: Terms,
    defect: Defect,
    rule: Rule,
    runs: int,
    seed: int,
    tell: Callable[[int, int], None] | None = None,
) -> Rollouts:
    """
    Roll a release out so many times, each until the rule stops it or every hub has an outcome.

    `tell` is given the minute and how many rollouts still go on, once a virtual day.

    In every minute the Gate admits what the budget and the stage allow; then the rule looks, and only what it lets
    pass may close a stage; then answers come. The Gate is thus always a minute ahead of the rule, which in the portal
    are seconds.

    :raises ValueError: if there is nothing to run, or hubs answer so slowly that the deadline cuts their answers off
    """
    if runs < 1:
        raise ValueError("There is nothing to run.")
    answered = -math.expm1(-1 / fleet.answer)
    if (1 - answered) ** terms.deadline > UNHEARD:
        raise ValueError(
            f"Hubs that answer after {fleet.answer} minutes on average are too slow for a deadline of "
            f"{terms.deadline}: give them a longer one, or count the slow ones as silent."
        )
    broken = defect.shares(networks=len(fleet.networks))
    random = np.random.default_rng(seed)
    state = _State.begin(runs=runs, networks=len(fleet.networks), terms=terms)
    ends = Rollouts(
        commanded=np.zeros(runs, np.int64),
        bad=np.zeros(runs, np.int64),
        minutes=np.zeros(runs, np.int64),
        stopped_by=np.full(runs, RAN_TO_ITS_END, np.int64),
    )
    minute = 0
    while state.place.size:
        _settle(state, minute=minute % terms.deadline)
        _admit(state, minute % terms.deadline, fleet, terms, broken, defect.is_silent, random)
        tripped = rule.trips(seen=_seen(state, terms))
        stopped = tripped.any(axis=1)
        is_over = stopped | ((state.commanded == fleet.hubs) & (state.waiting == 0))
        if is_over.any():
            places = state.place[is_over]
            ends.commanded[places] = state.commanded[is_over]
            ends.bad[places] = state.bad[is_over]
            ends.minutes[places] = minute
            ends.stopped_by[state.place[stopped]] = tripped[stopped].argmax(axis=1)
            state.keep(~is_over)
        _go_on(state, terms)
        _answer(state, answered, random)
        minute += 1
        if tell is not None and minute % (24 * 60) == 0:
            tell(minute, state.place.size)
    return ends


def _settle(state: _State, *, minute: int) -> None:
    """Let the deadline of those pass that were commanded so long ago: who is silent is bad now."""
    silent = state.silent_by_minute[minute]
    state.silent_waiting -= silent
    _count(state, bad=silent, good=None)
    state.settled += state.hubs_by_minute[minute]
    state.settled_bad += state.bad_by_minute[minute]


def _count(state: _State, *, bad: Counts, good: Counts | None) -> None:
    """Count outcomes."""
    failed = bad.sum(axis=1)
    state.bad_since += bad
    state.ended_bad += failed
    state.ended += failed if good is None else failed + good.sum(axis=1)


def _admit(
    state: _State,
    minute: int,
    fleet: Fleet,
    terms: Terms,
    broken: Shares,
    is_silent: bool,
    random: np.random.Generator,
) -> None:
    """Command as many hubs as the budget, the stage and the fleet allow, and draw what will become of them."""
    budget = np.minimum(np.maximum(state.ended * terms.percent // 100, terms.floor), terms.ceiling)
    room = np.minimum(np.minimum(budget - state.waiting, state.left), fleet.hubs - state.commanded)
    admitted = np.maximum(room, 0)
    hubs = random.multinomial(admitted, fleet.networks)
    old = random.binomial(hubs, fleet.baseline)
    new = random.binomial(hubs - old, broken)
    silent = random.binomial(old, fleet.silent) + (new if is_silent else 0)
    bad = old + new
    state.commanded += admitted
    state.left -= admitted
    state.bad += bad.sum(axis=1)
    state.since += hubs
    state.good_waiting += hubs - bad
    state.bad_waiting += bad - silent
    state.silent_waiting += silent
    state.silent_by_minute[minute] = silent
    state.hubs_by_minute[minute] = hubs
    state.bad_by_minute[minute] = bad


def _seen(state: _State, terms: Terms) -> Seen:
    """Show what is known by now."""
    stages, where = np.unique(state.stage, return_inverse=True)
    tranches = [breaker.tranche(stage=int(stage), sizes=len(terms.stages)) for stage in stages]
    return Seen(
        commanded=state.since,
        bad=state.bad_since,
        settled=state.settled,
        settled_bad=np.minimum(state.settled_bad, state.bad_since),
        tranche=np.array(tranches, np.int64)[where],
        ended=state.ended,
        ended_bad=state.ended_bad,
    )


def _go_on(state: _State, terms: Terms) -> None:
    """Open the next stage where all hubs of this one have an outcome, and it has soaked."""
    is_due = (state.left == 0) & (state.waiting == 0)
    if not is_due.any():
        return
    soaks = np.array([*terms.soaks, *[0] * len(terms.stages)][: len(terms.stages)])
    last = len(terms.stages) - 1
    state.soaked[is_due] += 1
    is_due &= state.soaked > soaks[np.minimum(state.stage - 1, last)]
    state.soaked[is_due] = 0
    state.left[is_due] = np.array(terms.stages)[np.minimum(state.stage[is_due], last)]
    state.stage[is_due] += 1
    sizes = len(terms.stages)
    for stage in np.unique(state.stage[is_due]):
        if breaker.tranche(stage=int(stage), sizes=sizes) != breaker.tranche(
            stage=int(stage) - 1, sizes=sizes
        ):
            state.begin_anew(is_due & (state.stage == stage))


def _answer(state: _State, answered: float, random: np.random.Generator) -> None:
    """Hear of some of those that are not silent."""
    good = random.binomial(state.good_waiting, answered)
    bad = random.binomial(state.bad_waiting, answered)
    state.good_waiting -= good
    state.bad_waiting -= bad
    _count(state, good=good, bad=bad)
