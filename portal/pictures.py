"""The geometry of pictures that templates draw (pure)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

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


def share_of_limit(share: float) -> str:
    """Say how much of its limit something has reached: never all of it before it has."""
    if share >= 1:
        return "beyond the limit"
    if 0 < share < 0.01:
        return "under 1 % of the limit"
    return f"{int(100 * share)} % of the limit"


LEFT, RIGHT, TOP, BOTTOM = 52, 688, 12, 216
"""The edges of a picture over time, in its own units; its words stand outside of them."""
MOST = 1.5
"""How many times the limit a picture shows; what is beyond lies on its upper edge."""
APART = 15.0
"""The marks of two lines are at least so far from each other."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture over time: its corners as SVG writes them, where it ends, and where its mark stands."""

    letter: str
    corners: str
    y: float
    mark_y: float


def height_of(share: float) -> float:
    """Return where a share of the limit lies."""
    return round(BOTTOM - (BOTTOM - TOP) * min(max(share, 0.0), MOST) / MOST, 1)


def place_of(moment: datetime, *, since: datetime, until: datetime) -> float:
    """Return where a moment lies between two; the last one where they are the same."""
    whole = until - since
    passed = (moment - since) / whole if whole > timedelta() else 1.0
    return round(LEFT + (RIGHT - LEFT) * min(max(passed, 0.0), 1.0), 1)


def lines(
    tracks: Mapping[str, Sequence[tuple[datetime, float]]], *, since: datetime, until: datetime
) -> list[Line]:
    """
    Lay out, by its letter, how much of a limit was reached over time.

    Each share holds from its moment to the next, and the last one to the end; so the lines go in steps. The marks at
    their ends are moved apart where they would cover each other.
    """
    ends = {letter: height_of(shares[-1][1]) for letter, shares in tracks.items()}
    marks = _apart(ends)
    found = []
    for letter, shares in tracks.items():
        corners: list[tuple[float, float]] = []
        for moment, share in shares:
            x, y = place_of(moment, since=since, until=until), height_of(share)
            if corners:
                corners.append((x, corners[-1][1]))
            corners.append((x, y))
        corners.append((RIGHT, ends[letter]))
        found.append(Line(letter, " ".join(f"{x},{y}" for x, y in corners), ends[letter], marks[letter]))
    return found


def _apart(ends: Mapping[str, float]) -> dict[str, float]:
    """Move what is too near to its neighbour below upwards, and what would leave the picture down again."""
    marks: dict[str, float] = {}
    lowest = BOTTOM + APART
    for letter in sorted(ends, key=lambda letter: (-ends[letter], letter)):
        lowest = marks[letter] = min(ends[letter], lowest - APART)
    highest = TOP - APART
    for letter in reversed(marks):
        highest = marks[letter] = max(marks[letter], highest + APART)
    return marks


def ticks(*, since: datetime, until: datetime, number: int = 5) -> list[tuple[float, datetime]]:
    """Return moments at even distances, with their places; only the last where all are the same."""
    if since >= until:
        return [(place_of(until, since=since, until=until), until)]
    moments = [since + (until - since) * each / (number - 1) for each in range(number)]
    return [(place_of(moment, since=since, until=until), moment) for moment in moments]


COURSE_LEFT, COURSE_TOP = 84, 34
"""Where a rehearsal's picture begins: its numbers are longer, and the stages stand above it."""
OPENINGS_APART = 34.0
"""Stages that open nearer to the one before have no mark: tranches come one after the other."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The mark of stages that opened."""

    x: float
    words: str


@dataclass(frozen=True, slots=True)
class Course:
    """
    How many hubs a rehearsal commanded over its days, and how many of them were bad, as SVG writes it.

    Heights are by tens: each mark is ten times the one below, or nobody would see the first stages beside the last.
    """

    commanded: str
    bad: str
    commanded_y: float
    bad_y: float
    marks: Sequence[tuple[float, str]]
    ticks: Sequence[tuple[float, str]]
    openings: Sequence[Opened]
    halted_x: float | None


def course(
    *,
    points: Sequence[tuple[float, int, int]],
    openings: Sequence[tuple[float, int]],
    halted_at: float | None,
) -> Course:
    """
    Lay out points, as days, hubs commanded and bad ones, the openings of stages as days and numbers, and the halt.

    Each count holds until the next point.
    """
    until = max(points[-1][0], *(day for day, _ in openings), 1 / 1_440)
    digits = max(1, math.ceil(math.log10(max(commanded for _, commanded, _ in points) or 1)))

    def across(day: float) -> float:
        return round(COURSE_LEFT + (RIGHT - COURSE_LEFT) * day / until, 1)

    def up(hubs: int) -> float:
        part = math.log10(1 + hubs) / math.log10(1 + 10**digits)
        return round(BOTTOM - (BOTTOM - COURSE_TOP) * part, 1)

    def corners(which: int) -> str:
        found = [(across(points[0][0]), up(int(points[0][which])))]
        for point in points[1:]:
            x, y = across(point[0]), up(int(point[which]))
            if y != found[-1][1]:
                found += [(x, found[-1][1]), (x, y)]
        found.append((across(until), found[-1][1]))
        return " ".join(f"{x},{y}" for x, y in found)

    marked: list[Opened] = []
    for day, number in openings:
        x = across(day)
        if not marked or x - marked[-1].x >= OPENINGS_APART:
            marked.append(Opened(x, str(number)))
    _, commanded, bad = points[-1]
    return Course(
        commanded=corners(1),
        bad=corners(2),
        commanded_y=up(commanded),
        bad_y=up(bad),
        marks=[(up(hubs), f"{hubs:,}") for hubs in (0, *(10**digit for digit in range(1, digits + 1)))],
        ticks=[(across(until * each / 4), _day_words(until * each / 4, until)) for each in range(5)],
        openings=marked,
        halted_x=None if halted_at is None else across(halted_at),
    )


def _day_words(day: float, until: float) -> str:
    if until <= 2:
        return f"{24 * day:.0f} h" if until > 0.2 else f"{24 * 60 * day:.0f} min"
    return f"day {day:.1f}".removesuffix(".0")
