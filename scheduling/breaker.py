"""
When what came back from updated hubs says that a release must stop. Pure.

A mixture sequential probability ratio test: after every outcome, how much likelier are so many bad hubs if the
release is bad than if it is not? The answer is averaged over several ways to be bad. Of a release that is not bad it
ever reaches 1,000 with a probability of one in 1,000 at most, however often somebody looks (Ville's inequality).
Everything is in natural logarithms, so that neither a million good hubs nor a thousand bad ones round to nought or
infinity.

Hubs that have been commanded and not heard of count as good until their deadline. What is asked of a test is then
never more than what it will say of the same hubs in the end, so the order in which answers come raises no alarm.

The inequality is about hubs in the order in which they are commanded, and covers every beginning of that order at
once. So the hubs that were commanded a deadline ago, of which everything is known, may be held against the same limit
beside all that were commanded, at no cost in false alarms. While a stage grows, that is where silence shows: among
all of them, new hubs that count as good outnumber the silent ones.
"""

import math
from dataclasses import dataclass

ALTERNATIVES = (0.005, 0.01, 0.02, 0.05, 0.10, 0.20, 0.49)
"""By how much more than what is tolerated a bad release may fail, as shares of the hubs; each is as likely."""
FALSE_ALARMS = 0.01
"""How often, at most, a release that is not bad is halted in its whole rollout."""
BASEL = 6 / math.pi**2
"""What the squares of all whole numbers' reciprocals have to be multiplied with to make one in sum."""


def tolerance(*, baseline: float) -> float:
    """
    Return the share of bad hubs that is not held against a release, where `baseline` of them are bad without one.

    :raises ValueError: if the baseline is no share, or so high that nothing can be told
    """
    if not 0 <= baseline < 1 / 3:
        raise ValueError(
            f"A baseline of {baseline} leaves nothing to be told: it has to be from 0 to a third."
        )
    return max(1.5 * baseline, baseline + 0.0025)


def evidence(*, good: int, bad: int, tolerated: float) -> float:
    """
    Return the logarithm of how much likelier the outcomes are under a bad release than under one that is tolerated.

    It rises with every bad hub and falls with every good one.

    :raises ValueError: if a count is negative, or `tolerated` is not a share above 0 and up to a half
    """
    if good < 0 or bad < 0:
        raise ValueError(f"{good} good and {bad} bad hubs cannot be.")
    if not 0 < tolerated <= 0.5:
        raise ValueError(f"{tolerated} is no share of bad hubs that can be tolerated.")
    ratios = [
        bad * math.log((tolerated + more) / tolerated) + good * math.log1p(-more / (1 - tolerated))
        for more in ALTERNATIVES
    ]
    most = max(ratios)
    return most + math.log(math.fsum(math.exp(ratio - most) for ratio in ratios) / len(ratios))


def limit(*, episode: int, streams: int) -> float:
    """
    Return the evidence, as a logarithm, at which a stream stops the release.

    Each of the `streams` that are watched gets the same part of the false alarms. Each time that a stream begins
    anew is an `episode`, from 1, and gets less than the one before, so that all of them together keep the promise.

    :raises ValueError: if either is below 1
    """
    if episode < 1 or streams < 1:
        raise ValueError(f"There is no episode {episode} of {streams} streams.")
    return math.log(streams / (FALSE_ALARMS * BASEL)) + 2 * math.log(episode)


def tranche(*, stage: int, sizes: int) -> int:
    """
    Return the tranche of a stage, from 1, where the policy names so many stage sizes.

    The stages that the policy names are the first tranche: their hubs are too few to be judged apart. After them,
    each stage is a tranche of its own, and evidence begins anew with it, so that a long healthy past hides nothing.

    :raises ValueError: if there is no such stage
    """
    if stage < 1 or sizes < 1:
        raise ValueError(f"There is no stage {stage} of {sizes} sizes.")
    return max(stage - sizes + 1, 1)


@dataclass(frozen=True, slots=True)
class Stream:
    """The outcomes that one test looks at: so many good, bad, and still waited for."""

    good: int
    bad: int
    waiting: int

    @property
    def hubs(self) -> int:
        """All that were commanded."""
        return self.good + self.bad + self.waiting

    def __add__(self, other: "Stream") -> "Stream":
        """Look at the hubs of both."""
        return Stream(self.good + other.good, self.bad + other.bad, self.waiting + other.waiting)


NOTHING = Stream(0, 0, 0)
"""No hub at all."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a test says of a stream: its evidence and the limit, as logarithms."""

    evidence: float
    limit: float

    @property
    def trips(self) -> bool:
        """Whether the release has to stop."""
        return self.evidence >= self.limit

    @property
    def share(self) -> float:
        """How much of its limit the evidence has reached, from 0; 1 and more trips."""
        return max(self.evidence, 0.0) / self.limit


def read(*, stream: Stream, tolerated: float, episode: int, streams: int) -> Reading:
    """
    Hold a stream against its limit; those not heard of count as good.

    :raises ValueError: if a count is negative, or a figure is none that `evidence` or `limit` takes
    """
    return Reading(
        evidence(good=stream.good + stream.waiting, bad=stream.bad, tolerated=tolerated),
        limit(episode=episode, streams=streams),
    )
