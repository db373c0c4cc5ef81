"""
Whole rollouts in numbers alone: what a release reaches before somebody stops it. Pure numpy, on virtual time.

Thousands of rollouts go on side by side, a minute at a time, under the stages and the budget of a policy. Hubs have
no names here: each that is commanded is drawn anew, its network, whether it is bad, and when it is heard of. That
takes the place of a fleet where only counts matter, and is fast enough for every hub of the country.

Where a release covers several hub models, each has stages of its own, and they share what may be in flight.
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

LOOKED_AT_IN_FULL = 5_000
"""Hubs of stages up to this size are all looked at again later; of larger ones a sample."""
SAMPLE = 1 / 20
"""The share of the hubs of a large stage that are looked at again."""
MISSES = 3
"""Looks in a row in which a hub does not answer, until it counts as bad."""
AGAIN = 48
"""A hub that did not answer is looked at again after this part of the time until the first look."""
CONTROLS_FIRST = (12, 10)
"""But not before this part of the deadline, or so many minutes where that is more: controls need twice that."""

RAN_TO_ITS_END = -1
"""Instead of the stream that stopped a rollout: nothing did."""
UNHEARD = 1e-4
"""The share of answers that may come after the deadline before the model of them is too coarse."""


@dataclass(frozen=True, slots=True)
class Terms:
    """
    What a policy says of a rollout; where nothing else is said, what it begins with.

    `stages` are sizes in hubs, and the last is that of every tranche after it. `soaks` are minutes for which the next
    stage stays closed once all hubs of one have an outcome; the last is that of every tranche after it too, and those
    that are missing are nought. In flight are at most
    `percent` of the hubs that have an outcome, but `floor` in any case and never over `ceiling`. A hub that has not
    been heard of for `deadline` minutes is silent. Hubs that answered well are looked at again after `later` minutes,
    and after twice that; a stage with a soak is not followed by the next one before its hubs were looked at once.
    """

    stages: tuple[int, ...] = (50, 500, 5_000, 50_000)
    soaks: tuple[int, ...] = ()
    floor: int = 50
    percent: int = 10
    ceiling: int = 10_000
    deadline: int = 120
    later: int = 24 * 60

    def __post_init__(self) -> None:
        if not self.stages or min(*self.stages, self.floor, self.deadline, self.later) < 1:
            raise ValueError(
                "Each stage, what may be in flight, the deadline and later looks have to be at least 1."
            )
        if not 0 <= self.percent <= 100 or self.ceiling < self.floor or min(self.soaks, default=0) < 0:
            raise ValueError("The budget or a soak of this policy cannot be.")


@dataclass(frozen=True, slots=True)
class Fleet:
    """
    What is rolled out to, and how it behaves without a defect.

    `networks` are the share of each; where there are several hub models, `models` has for each of them the shares of
    the networks instead, and all of them make one together. `baseline` is the share of hubs that are bad whatever is
    sent to them, and `silent` the share of those that are never heard of, while the others say so. An answer takes
    `answer` minutes on average, and now and then far longer: it is as likely in each minute, however long it has been
    waited for.

    The early warning that was promised names neither of the last two. Nine to ten minutes, for an activation and the
    version read after it (five where nothing goes wrong), and one silent hub among ten bad ones are where what it
    says of silent defects comes out.
    """

    hubs: int = 1_000_000
    networks: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    baseline: float = 0.005
    silent: float = 0.1
    answer: float = 9.5
    models: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.hubs < 1 or self.answer <= 0:
            raise ValueError("A fleet has hubs, and they take time to answer.")
        mix = self.mix
        if len({len(row) for row in mix}) != 1:
            raise ValueError("Each model has to have a share in each network, be it nought.")
        shares = [share for row in mix for share in row]
        if min(shares, default=-1.0) < 0 or not math.isclose(sum(shares), 1.0):
            raise ValueError("The shares of the networks have to make one together.")
        if not (0 <= self.baseline <= 1 and 0 <= self.silent <= 1):
            raise ValueError("The baseline, and how many of it are silent, are shares from 0 to 1.")

    @property
    def mix(self) -> tuple[tuple[float, ...], ...]:
        """The share of all hubs, by model and network."""
        return self.models or (self.networks,)

    @property
    def hubs_by_model(self) -> list[int]:
        """How many hubs there are of each model; they make all of them together."""
        ends = np.rint(self.hubs * np.cumsum([sum(row) for row in self.mix])).astype(np.int64)
        return [int(hubs) for hubs in np.diff(ends, prepend=0)]


@dataclass(frozen=True, slots=True)
class Defect:
    """
    Which share of the hubs, beyond the baseline, a release breaks: everywhere, or in one network or model by position.

    With `is_late` they answer well, and fall silent `late_by` minutes later.
    """

    share: float = 0.0
    is_silent: bool = False
    network: int | None = None
    model: int | None = None
    is_late: bool = False
    late_by: int = 180

    def shares(self, *, networks: int, models: int = 1) -> Shares:
        """
        Return the share of the hubs that is broken of each model and network, shape (models * networks,).

        :raises ValueError: if the share is none, or there is no such network or model
        """
        if not 0 <= self.share <= 1:
            raise ValueError(f"{self.share} is no share of hubs.")
        if self.network is not None and not 0 <= self.network < networks:
            raise ValueError(f"There is no network {self.network} of {networks}.")
        if self.model is not None and not 0 <= self.model < models:
            raise ValueError(f"There is no model {self.model} of {models}.")
        return np.array(
            [
                self.share if self.network in (None, network) and self.model in (None, model) else 0.0
                for model in range(models)
                for network in range(networks)
            ]
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What a rule may look at, of every rollout: hubs by model and network since the model's tranche began, shape
    (rollouts, models * networks).

    `commanded` and `bad` are of all hubs; `settled` and `settled_bad` of those among them that were commanded a
    deadline ago or longer, so that nothing is missing from what is known of them. `tranche`, `late_well` and
    `late_bad`, the hubs that were looked at again later, are of each model, shape (rollouts, models). `ended` and
    `ended_bad` have shape (rollouts,) and count the hubs with an outcome, and the bad ones, of the whole rollout.
    """

    commanded: Counts
    bad: Counts
    settled: Counts
    settled_bad: Counts
    tranche: Counts
    ended: Counts
    ended_bad: Counts
    late_well: Counts
    late_bad: Counts


class Rule(Protocol):
    """Says which rollouts to stop."""

    def trips(self, *, seen: Seen) -> Flags:
        """Say of each stream whether it stops its rollout, shape (rollouts, streams)."""


class Watcher(Protocol):
    """Sees how rollouts go on."""

    def see(self, *, minute: int, places: Counts, commanded: Counts, bad: Counts) -> None:
        """Take the hubs commanded so far, and how many of them are bad, of the rollouts with these numbers."""

    def opened(self, *, minute: int, places: Counts, model: int, stages: Counts) -> None:
        """Take the stages of a model that have opened in the rollouts with these numbers."""


@dataclass(frozen=True, slots=True)
class EarlyWarning:
    """
    The breaker: a stream of all hubs of each model, one of each network, and one of each model's later looks.

    Two sets of hubs are held against the same limit: all that were commanded, where those not heard of count as good,
    and of them those that were commanded a deadline ago. Both are beginnings of the order in which hubs were
    commanded, and the promise on false alarms covers all of these together, so the second look costs nothing. It
    sees what the first one cannot while a stage grows: hubs that count as good because they are new outnumber the
    silent ones. `is_settled_seen` leaves it out, to show the difference.

    The promise is shared by so many `streams`; where nothing else is said, by those of models and networks.
    """

    tolerated: float
    is_settled_seen: bool = True
    streams: int | None = None

    def trips(self, *, seen: Seen) -> Flags:
        """Hold every stream against its limit: models first, then networks, then later looks at models."""
        models = seen.tranche.shape[1]
        found = self._evidence(seen.commanded, seen.bad, models)
        if self.is_settled_seen:
            found = np.maximum(found, self._evidence(seen.settled, seen.settled_bad, models))
        networks = found.shape[1] - models
        later = evidence(good=seen.late_well, bad=seen.late_bad, tolerated=self.tolerated)
        # whenever a model begins anew, each network does so too: the hubs that its stream looks at are others
        begun = 1 + (seen.tranche - 1).sum(axis=1, keepdims=True)
        episodes = np.concatenate(
            [seen.tranche, np.repeat(begun, networks, axis=1), np.ones_like(seen.tranche)], axis=1
        )
        number = models + networks if self.streams is None else self.streams
        known, where = np.unique(episodes, return_inverse=True)
        limits = np.array([breaker.limit(episode=int(episode), streams=number) for episode in known])
        trips: Flags = np.concatenate([found, later], axis=1) >= limits[where].reshape(episodes.shape)
        return trips

    def _evidence(self, hubs: Counts, bad: Counts, models: int) -> Shares:
        return evidence(
            good=streams(hubs - bad, models=models), bad=streams(bad, models=models), tolerated=self.tolerated
        )


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
    what it was `stopped_by`: the number of the stream, with models before networks before later looks at models, or
    `RAN_TO_ITS_END`.
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


def streams(counts: Counts, /, *, models: int = 1) -> Counts:
    """Sum by model, and by network: shape (rollouts, models * networks) becomes (rollouts, models + networks)."""
    cells = counts.reshape(len(counts), models, counts.shape[1] // models)
    return np.concatenate([cells.sum(axis=2), cells.sum(axis=1)], axis=1)


@dataclass(slots=True)
class _State:
    """
    Rollouts that still go on; their number is the first axis, but the second of those by minute.

    The second axis is that of models for `stage` to `commanded` and for what later looks find, and otherwise that of
    models and networks. Those by minute hold what was commanded in each of the last minutes before the deadline, and
    what answered well in each of those before a later look: the oldest gives way to the newest.
    """

    place: Counts
    ended: Counts
    ended_bad: Counts
    bad: Counts
    stage: Counts
    left: Counts
    soaked: Counts
    commanded: Counts
    late_well: Counts
    late_bad: Counts
    to_look_at: Counts
    good_waiting: Counts
    bad_waiting: Counts
    silent_waiting: Counts
    late_waiting: Counts
    since: Counts
    bad_since: Counts
    settled: Counts
    settled_bad: Counts
    silent_by_minute: Counts = field(repr=False)
    hubs_by_minute: Counts = field(repr=False)
    bad_by_minute: Counts = field(repr=False)
    well_by_minute: Counts = field(repr=False)
    late_by_minute: Counts = field(repr=False)

    @classmethod
    def begin(cls, *, runs: int, shape: tuple[int, int], terms: Terms, looks: "_Looks | None") -> "_State":
        models, networks = shape
        one = [np.zeros(runs, np.int64) for _ in range(3)]
        of_model = [np.zeros((runs, models), np.int64) for _ in range(7)]
        each = [np.zeros((runs, models * networks), np.int64) for _ in range(8)]
        minutes = [np.zeros((terms.deadline, runs, models * networks), np.int64) for _ in range(3)]
        waits = (looks.first_after, looks.found_after) if looks else (0, 0)
        later = [np.zeros((wait, runs, models), np.int64) for wait in waits]
        state = cls(np.arange(runs), *one, *of_model, *each, *minutes, *later)
        state.stage += 1
        state.left += terms.stages[0]
        return state

    @property
    def waiting(self) -> Counts:
        """Hubs without an outcome, shape (rollouts, models)."""
        waiting = self.good_waiting + self.bad_waiting + self.silent_waiting + self.late_waiting
        return self.by_model(waiting)

    def by_model(self, counts: Counts, /) -> Counts:
        """Sum over the networks of each model."""
        runs, models = self.stage.shape
        summed: Counts = counts.reshape(runs, models, counts.shape[1] // models).sum(axis=2)
        return summed

    def keep(self, which: Flags, /) -> None:
        """Forget all other rollouts."""
        for name in self.__slots__:
            rows = getattr(self, name)
            setattr(self, name, rows[:, which] if rows.ndim == 3 else rows[which])

    def begin_anew(self, which: Flags, /) -> None:
        """Let evidence begin anew for some models of some rollouts, shape (rollouts, models)."""
        cells = np.repeat(which, self.since.shape[1] // which.shape[1], axis=1)
        for rows in (self.since, self.bad_since, self.settled, self.settled_bad):
            rows[cells] = 0
        for rows in (self.hubs_by_minute, self.bad_by_minute):
            rows[:, cells] = 0


@dataclass(frozen=True, slots=True)
class _Looks:
    """
    When hubs that fall silent late are found out, in minutes after they answered well.

    `first_after` is the first look. Those that are silent by then are bad once they were looked at often enough; others
    count as well until the second look. `found_after` is nought where neither finds them.
    """

    first_after: int
    found_after: int
    is_first_well: bool

    @classmethod
    def of(cls, *, terms: Terms, defect: Defect) -> "_Looks | None":
        if not defect.is_late:
            return None
        looks = [look for look in (1, 2) if defect.late_by <= look * terms.later]
        part, most = CONTROLS_FIRST
        again = max(terms.later // AGAIN, min(math.ceil(terms.deadline / part), most))
        found_after = looks[0] * terms.later + (MISSES - 1) * again if looks else 0
        return cls(terms.later, found_after, is_first_well=looks[:1] != [1])


def simulate(
    *,
    fleet: Fleet,
    terms: Terms,
    defect: Defect,
    rule: Rule,
    runs: int,
    seed: int,
    tell: Callable[[int, int], None] | None = None,
    watcher: Watcher | None = None,
) -> Rollouts:
    """
    Roll a release out so many times, each until the rule stops it or every hub has an outcome.

    `tell` is given the minute and how many rollouts still go on, once a virtual day; the `watcher` sees every minute.

    In every minute the Gate admits what the budget and the stages allow; then the rule looks, and only what it lets
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
    shape = len(fleet.mix), len(fleet.mix[0])
    broken = defect.shares(models=shape[0], networks=shape[1])
    looks = _Looks.of(terms=terms, defect=defect)
    all_hubs = np.array(fleet.hubs_by_model)
    random = np.random.default_rng(seed)
    state = _State.begin(runs=runs, shape=shape, terms=terms, looks=looks)
    ends = Rollouts(
        commanded=np.zeros(runs, np.int64),
        bad=np.zeros(runs, np.int64),
        minutes=np.zeros(runs, np.int64),
        stopped_by=np.full(runs, RAN_TO_ITS_END, np.int64),
    )
    minute = 0
    while state.place.size:
        _settle(state, minute=minute % terms.deadline)
        if looks:
            _look_again(state, minute, looks)
        _admit(state, minute % terms.deadline, fleet, terms, broken, defect, all_hubs, random)
        tripped = rule.trips(seen=_seen(state, terms))
        stopped = tripped.any(axis=1)
        commanded = state.commanded.sum(axis=1)
        if watcher is not None:
            watcher.see(minute=minute, places=state.place, commanded=commanded, bad=state.bad)
        is_done = (commanded == fleet.hubs) & (state.waiting.sum(axis=1) == 0)
        is_over = stopped | (is_done & (state.to_look_at.sum(axis=1) == 0))
        if is_over.any():
            places = state.place[is_over]
            ends.commanded[places] = commanded[is_over]
            ends.bad[places] = state.bad[is_over]
            ends.minutes[places] = minute
            ends.stopped_by[state.place[stopped]] = tripped[stopped].argmax(axis=1)
            state.keep(~is_over)
        _go_on(state, terms, minute, watcher)
        _answer(state, answered, random, minute, terms, looks)
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


def _look_again(state: _State, minute: int, looks: _Looks) -> None:
    """Look at those that answered well so long ago: who has fallen silent since is bad now."""
    well = state.well_by_minute[minute % looks.first_after]
    state.late_well += well
    state.to_look_at -= well
    if looks.found_after:
        silent = state.late_by_minute[minute % looks.found_after]
        state.late_bad += silent
        if looks.is_first_well:
            state.late_well -= silent
        else:
            state.to_look_at -= silent


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
    defect: Defect,
    all_hubs: Counts,
    random: np.random.Generator,
) -> None:
    """Command as many hubs as the budget, the stages and the fleet allow, and draw what will become of them."""
    budget = np.minimum(np.maximum(state.ended * terms.percent // 100, terms.floor), terms.ceiling)
    room = np.maximum(budget - state.waiting.sum(axis=1), 0)
    admitted = _share_out(room, np.minimum(state.left, all_hubs - state.commanded))
    hubs = np.concatenate(
        [
            random.multinomial(admitted[:, model], np.array(row) / (sum(row) or 1.0))
            for model, row in enumerate(fleet.mix)
        ],
        axis=1,
    )
    old = random.binomial(hubs, fleet.baseline)
    new = random.binomial(hubs - old, broken)
    silent = random.binomial(old, fleet.silent) + (new if defect.is_silent else 0)
    late = new if defect.is_late else np.zeros_like(new)
    bad = old + new - late
    state.commanded += admitted
    state.left -= admitted
    state.bad += (old + new).sum(axis=1)
    state.since += hubs
    state.good_waiting += hubs - bad - late
    state.late_waiting += late
    state.bad_waiting += bad - silent
    state.silent_waiting += silent
    state.silent_by_minute[minute] = silent
    state.hubs_by_minute[minute] = hubs
    state.bad_by_minute[minute] = bad


def _share_out(room: Counts, wanted: Counts) -> Counts:
    """Give each model its part of the room, by what it wants and never more; shapes (rollouts,), (rollouts, models)."""
    if wanted.shape[1] == 1:
        return np.minimum(room[:, None], wanted)
    ends = wanted.cumsum(axis=1)
    total = ends[:, -1:]
    given: Counts = ends * np.minimum(room[:, None], total) // np.maximum(total, 1)
    return np.diff(given, axis=1, prepend=0)


def _seen(state: _State, terms: Terms) -> Seen:
    """Show what is known by now."""
    stages, where = np.unique(state.stage, return_inverse=True)
    tranches = [breaker.tranche(stage=int(stage), sizes=len(terms.stages)) for stage in stages]
    return Seen(
        commanded=state.since,
        bad=state.bad_since,
        settled=state.settled,
        settled_bad=np.minimum(state.settled_bad, state.bad_since),
        tranche=np.array(tranches, np.int64)[where].reshape(state.stage.shape),
        ended=state.ended,
        ended_bad=state.ended_bad,
        late_well=state.late_well,
        late_bad=state.late_bad,
    )


def _go_on(state: _State, terms: Terms, minute: int, watcher: Watcher | None) -> None:
    """Open the next stage of a model where all hubs of this one have an outcome, and it has soaked."""
    is_due = (state.left == 0) & (state.waiting == 0)
    if not is_due.any():
        return
    soaks = np.array([*terms.soaks, *[0] * (len(terms.stages) - len(terms.soaks))])
    last = len(terms.stages) - 1
    state.soaked[is_due] += 1
    soak = soaks[np.minimum(state.stage - 1, len(soaks) - 1)]
    is_due &= (state.soaked > soak) & ((soak == 0) | (state.to_look_at == 0))
    state.soaked[is_due] = 0
    state.left[is_due] = np.array(terms.stages)[np.minimum(state.stage[is_due], last)]
    state.stage[is_due] += 1
    if watcher is not None:
        for model in range(is_due.shape[1]):
            if (which := is_due[:, model]).any():
                watcher.opened(
                    minute=minute, places=state.place[which], model=model, stages=state.stage[which, model]
                )
    sizes = len(terms.stages)
    for stage in np.unique(state.stage[is_due]):
        if breaker.tranche(stage=int(stage), sizes=sizes) != breaker.tranche(
            stage=int(stage) - 1, sizes=sizes
        ):
            state.begin_anew(is_due & (state.stage == stage))


def _answer(
    state: _State,
    answered: float,
    random: np.random.Generator,
    minute: int,
    terms: Terms,
    looks: _Looks | None,
) -> None:
    """Hear of some of those that are not silent; some of the good ones are to be looked at again."""
    good = random.binomial(state.good_waiting, answered)
    bad = random.binomial(state.bad_waiting, answered)
    state.good_waiting -= good
    state.bad_waiting -= bad
    if looks is None:
        _count(state, good=good, bad=bad)
        return
    late = random.binomial(state.late_waiting, answered)
    state.late_waiting -= late
    _count(state, good=good + late, bad=bad)
    sizes = np.array(terms.stages)[np.minimum(state.stage, len(terms.stages)) - 1]
    sampled = np.where(sizes <= LOOKED_AT_IN_FULL, 1.0, SAMPLE)
    well = random.binomial(state.by_model(good), sampled)
    silent = random.binomial(state.by_model(late), sampled)
    first = well + (silent if looks.is_first_well else 0)
    state.well_by_minute[minute % looks.first_after] = first
    if looks.found_after:
        state.late_by_minute[minute % looks.found_after] = silent
    state.to_look_at += first + (0 if looks.is_first_well else silent)
