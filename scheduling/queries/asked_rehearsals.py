"""What was asked of rehearsals of a release, how far they are, and what they came to: in words that need no manual."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from firmware.models import FirmwareRelease
from scheduling.models import Rehearsal

MOST = 50
"""Rehearsals that a page shows."""
OPEN = (Rehearsal.State.WAITING, Rehearsal.State.RUNNING)
HOURS = 48
"""Up to so many hours a span is given in hours, and beyond in days."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One number of a result, with what it says."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """
    A rehearsal in words.

    `asked` is what was asked for, `headline` what it came to, empty until it is done; `facts` are the numbers behind.
    """

    rehearsal: Rehearsal
    asked: str
    headline: str
    facts: Sequence[Fact]

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.rehearsal.state in OPEN

    @property
    def is_outdated(self) -> bool:
        """Whether the release was changed after it was asked for."""
        return self.rehearsal.revision != self.rehearsal.release.revision

    @property
    def came_to(self) -> str:
        """What is to be said of it in one line, whatever its state."""
        return self.headline or self.rehearsal.error or self.rehearsal.step

    @property
    def percent(self) -> int | None:
        """How much of it is done, where that is known."""
        progress = self.rehearsal.progress
        return None if progress is None else int(100 * progress)


def of_release(*, release: FirmwareRelease) -> list[Told]:
    """Return the rehearsals of a release in words, the latest first."""
    found = (
        Rehearsal.objects.filter(release=release)
        .select_related("release", "asked_by", "network", "model")
        .defer("plan")
        .order_by("-id")
    )
    return [told(rehearsal=rehearsal) for rehearsal in found[:MOST]]


def told(*, rehearsal: Rehearsal) -> Told:
    """Put a rehearsal into words."""
    result = rehearsal.result
    return Told(
        rehearsal,
        asked=_asked(rehearsal),
        headline=_headline(rehearsal, result) if result else "",
        facts=_facts(rehearsal, result) if result else (),
    )


def _asked(rehearsal: Rehearsal) -> str:
    if not rehearsal.percent:
        defect = "no defect"
    else:
        defect = f"a {rehearsal.kind} defect in {_percent(rehearsal.percent)} of the hubs"
        if rehearsal.network:
            defect += f" on network {rehearsal.network}"
        elif rehearsal.model:
            defect += f" of model {rehearsal.model}"
    way = "through the real code" if rehearsal.is_whole else "in numbers alone"
    return f"{defect[0].upper()}{defect[1:]}, to {_hubs(rehearsal.hubs)}, {way}, seed {rehearsal.seed}"


def _headline(rehearsal: Rehearsal, result: Mapping[str, Any]) -> str:
    commanded, bad, runs, halted = (result[name] for name in ("commanded", "bad", "runs", "halted_runs"))
    if not halted:
        if not rehearsal.percent:
            return _healthy(result)
        return f"Nothing stops it: {_hubs(commanded['mean'])} commanded, {_count(bad['mean'])} of them bad."
    if not rehearsal.percent:
        return f"A false alarm: it halts by itself with {_hubs(commanded['mean'])} commanded, without any defect."
    if halted < runs:
        return (
            f"It halts by itself in {halted} of {runs} rollouts, and goes on in the others: on average "
            f"{_hubs(commanded['mean'])} commanded, {_count(bad['mean'])} of them bad."
        )
    average = " on average" if runs > 1 else ""
    return (
        f"It halts by itself after {_span(result['hours']['mean'])}{average}: {_hubs(commanded['mean'])} commanded by "
        f"then, {_count(bad['mean'])} of them bad."
    )


def _healthy(result: Mapping[str, Any]) -> str:
    """Say how a rollout without a defect and without a halt went, and whether it fits into its period."""
    days = _span(24 * result["days"]["mean"])
    if result["fits"]:
        return (
            f"It goes to its end in {days} without a false alarm: {_count(result['commanded']['mean'])} of "
            f"{_hubs(result['hubs'])} commanded."
        )
    if result["untried"]:
        return f"It does not fit into its period: nobody tried {_hubs(result['untried'])} by the end of it."
    if result["days"]["mean"] > result["period_days"]:
        period = _span(24 * result["period_days"])
        return f"It does not fit into its period: it takes {days}, and the period has {period}."
    return (
        f"It does not fit into its period: the slots have {_count(result['places'])} places for "
        f"{_hubs(result['hubs'])}."
    )


def _facts(rehearsal: Rehearsal, result: Mapping[str, Any]) -> list[Fact]:
    runs, halted = result["runs"], result["halted_runs"]
    many = f"on average of {runs} rollouts" if runs > 1 else "in one rollout"
    found = [
        Fact(
            "Hubs commanded" + (" before the halt" if halted == runs else ""),
            _count(result["commanded"]["mean"]),
            _beside(many, result["commanded"], _hubs),
        ),
        Fact(
            "Of them bad",
            _count(result["bad"]["mean"]),
            _beside(many, result["bad"], _hubs)
            + "; nothing takes an update back, so each needs a fixed release",
        ),
    ]
    if hours := result["hours"]:
        found.append(
            Fact(
                "Time to the halt",
                _span(hours["mean"]),
                _beside(f"from the first activation, {many}", hours, _span),
            )
        )
    if (after := result["admitted_after"]) is not None:
        found.append(Fact("Commands after the halt", _count(after), "by the carrier's own log"))
    if healthy := result["healthy"]:
        found.append(
            Fact(
                "A healthy rollout takes",
                _span(24 * healthy["days"]),
                f"the same release without its defect; the period has {_span(24 * result['period_days'])}. It is the "
                "least: hubs are taken to be there whenever a stage has room, and bookings come on top",
            )
        )
    elif not halted:
        least = (
            "" if rehearsal.is_whole else "; it is the least, since hubs are taken to be there at any time"
        )
        found.append(
            Fact(
                "The rollout takes",
                _span(24 * result["days"]["mean"]),
                f"the period has {_span(24 * result['period_days'])}{least}",
            )
        )
    if result["untried"]:
        found.append(
            Fact("Not tried in the period", _hubs(result["untried"]), "for want of time or of a turn")
        )
    share = result["hubs"] / result["places"] if result["places"] else None
    found.append(
        Fact(
            "Room in the period",
            f"{_count(result['places'])} place{'' if result['places'] == 1 else 's'}",
            "no slots are open in it: DCC's capacity patterns make them"
            if share is None
            else f"in the slots of all its networks; these hubs would take {_share(share)} of it",
        )
    )
    return found


def _beside(words: str, spread: Mapping[str, float | None], write: Any) -> str:
    """Name the 95th percentile beside a mean, where there is one."""
    mean, p95 = spread["mean"], spread["p95"]
    return words if p95 is None or write(p95) == write(mean) else f"{words}; at most {write(p95)} in 19 of 20"


def _count(number: float) -> str:
    return f"{round(number):,}"


def _hubs(number: float) -> str:
    return f"{round(number):,} hub{'' if round(number) == 1 else 's'}"


def _span(hours: float) -> str:
    if hours < 1:
        return f"{round(60 * hours)} minutes"
    number, unit = (hours, "hours") if hours <= HOURS else (hours / 24, "days")
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"


def _share(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 else "under 1 %"


def _percent(percent: Decimal | float) -> str:
    return f"{percent:.3f}".rstrip("0").rstrip(".") + " %"
