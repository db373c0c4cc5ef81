"""
Whether this process has been asked to stop, so that long work ends at its next clean point.

The answer lies in memory that a worker shares with the children that it forks: who asks the parent asks all of them,
at once. It is a byte without a lock, since signal handlers write it, and they must not wait for anybody.
"""

import mmap
from collections.abc import Callable

KeepGoing = Callable[[], bool]
"""Anything that long work asks between two of its steps; at False it hands back what it holds, and returns."""

_everyone = mmap.mmap(-1, 1)
_alone = bytearray(1)


def asked() -> bool:
    """Tell whether this process, or the worker that forked it, has been asked to stop."""
    return bool(_everyone[0] or _alone[0])


def keep_going() -> bool:
    """Tell whether long work may take its next step: it is what tasks pass to operations."""
    return not asked()


def always() -> bool:
    """Go on whatever happens: for callers that nobody asks to stop."""
    return True


def ask() -> None:
    """Ask this process to stop, and all children that it has forked or will fork."""
    _everyone[0] = 1


def ask_alone() -> None:
    """Ask this process alone to stop what it is at."""
    _alone[0] = 1


def is_asked_alone() -> bool:
    """Tell whether this very process was asked, whatever the others were."""
    return bool(_alone[0])


def begin() -> None:
    """Forget that this process alone was asked: what it was at is over, and what begins is something else."""
    _alone[0] = 0
