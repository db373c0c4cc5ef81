"""The geometry of pictures that templates draw (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass

LEAST_WIDTH = 1.5
"""Percent of the bar below which a part would vanish: three failures in a million must be seen."""


@dataclass(frozen=True, slots=True)
class Part:
    """One state's part of a bar: where it begins and how wide it is, in percent; `share` in words."""

    state: str
    label: str
    count: int
    x: float
    width: float
    share: str


def bar(counts: Mapping[str, int]) -> list[Part]:
    """
    Lay the counts of states end to end over a width of 100, in their order; zeros take no room.

    A small part is widened to be seen, at the expense of the large ones. A key's `label`, where it
    has one, names the state.
    """
    shown = {state: count for state, count in counts.items() if count > 0}
    total = sum(shown.values())
    widths = {state: max(100 * count / total, LEAST_WIDTH) for state, count in shown.items()}
    scale = 100 / sum(widths.values()) if widths else 1.0
    parts: list[Part] = []
    x = 0.0
    for state, count in shown.items():
        width = widths[state] * scale
        parts.append(
            Part(
                state=str(state),
                label=label_of(state),
                count=count,
                x=round(x, 3),
                width=round(width, 3),
                share=share_of(count, total),
            )
        )
        x += width
    return parts


def label_of(state: str) -> str:
    """Return a state's word as people read it."""
    return str(getattr(state, "label", "")) or str(state).replace("_", " ").capitalize()


def share_of(count: int, total: int) -> str:
    """Return a share as people say it: never "0 %" of something, never "100 %" of less than all."""
    if not total:
        return "0 %"
    percent = 100 * count / total
    if 0 < percent < 0.1:
        return "under 0.1 %"
    if 99.9 < percent < 100:
        return "over 99.9 %"
    return f"{percent:.1f} %".replace(".0 %", " %")
