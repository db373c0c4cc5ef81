"""
Luck that can be repeated: every draw is a pure function of the seed, the hub and what is asked of it.

The mixing is splitmix64 (Steele, Lea and Flood, 2014).
"""

from collections.abc import Sequence
from functools import cache
from math import exp
from statistics import NormalDist

_MASK = 0xFFFFFFFFFFFFFFFF
_normal = NormalDist()
_SMALLEST = 2.0**-54


def splitmix64(number: int) -> int:
    """Mix a 64-bit number into another, so that neighbours come out unrelated."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


@cache
def _seeded(seed: int) -> int:
    return splitmix64(seed & _MASK)


class Draws:
    """The draws of one command, told apart by salt; with phase and attempt 0, those of the hub itself."""

    __slots__ = ("_state",)

    def __init__(self, *, seed: int, chf_id: int, phase: int = 0, attempt: int = 0) -> None:
        state = splitmix64(_seeded(seed) ^ (chf_id & _MASK))
        self._state = splitmix64(state ^ (phase << 32 | attempt))

    def uniform(self, *, salt: int) -> float:
        """Draw evenly from 0 (included) to 1 (excluded)."""
        return (splitmix64(self._state ^ salt) >> 11) * 2.0**-53

    def happens(self, *, share: float, salt: int) -> bool:
        """Say whether something happens that happens to this share of all."""
        return share > 0.0 and self.uniform(salt=salt) < share

    def any_happens(self, *, shares: Sequence[tuple[float, int]]) -> bool:
        """Say whether any of several things happens, each by its share above nought and its salt."""
        state = self._state
        for share, salt in shares:
            # as `uniform` does, without two calls for each: this is asked for every command of a fleet
            number = ((state ^ salt) + 0x9E3779B97F4A7C15) & _MASK
            number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
            if ((number ^ (number >> 31)) >> 11) * 2.0**-53 < share:
                return True
        return False

    def around(self, *, median: float, spread: float, salt: int) -> float:
        """Draw from a log-normal distribution; `spread` is its sigma."""
        if median == 0.0 or spread == 0.0:
            return median
        sigmas = _normal.inv_cdf(self.uniform(salt=salt) or _SMALLEST)
        return median * exp(spread * sigmas)
