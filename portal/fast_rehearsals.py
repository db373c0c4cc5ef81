"""
The same plan in numbers alone: no database, no hubs with names, seconds for every hub of the country.

It knows stages, soaks, budget, deadline and breaker, and nothing of slots: hubs are always there to be commanded. So
its hubs commanded are close to those of the real path, and its days are the least that the stages allow.
Only tasks and commands import this: it carries numpy, which pages do without.
"""

import time as stopwatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from firmware.models import RolloutPolicy
from portal.ground.uk_time import Span
from portal.rehearsals import BASELINE, Plan, Tell, UnableToRehearse, policy_of
from scheduling import simulation

RUNS = 200
"""Rollouts side by side: one says little of a bad release."""
HEALTHY_RUNS = 1
"""A healthy one goes on to its end, whatever the luck."""
HOUR, DAY = 60, 24 * 60
"""In minutes."""
SEEN_EVERY = 10
"""Minutes of a rollout between two looks at it, for its picture and for whoever waits."""
SEEN_CLOSELY = 240
"""Minutes in which each is looked at: on compressed time they are all that there is."""
ANSWER = simulation.Fleet().answer
LATE_BY = simulation.Defect().late_by
USUAL_DEADLINE = simulation.Terms().deadline
"""Hubs answer as fast beside a shorter deadline as they do beside this one: such a policy is one on compressed time."""
LATER = timedelta(days=1)
"""After so long hubs that answered well are looked at again; earlier where stages soak for less."""


def simulate(*, plan: Plan, tell: Tell) -> dict[str, Any]:
    """
    Roll the plan out in numbers; return hubs commanded and bad, when it was halted, and how long it takes at least.

    Of a release with a defect many rollouts are made, and means and 95th percentiles returned, with the course of the
    one that lies in the middle; and the healthy rollout of the same release beside them.

    :raises UnableToRehearse: if there can be no rollout under its policy
    """
    began = stopwatch.perf_counter()
    policy = policy_of(plan=plan)
    try:
        terms = _terms(policy)
    except ValueError as refusal:
        raise UnableToRehearse(str(refusal)) from refusal
    defect, fleet = _defect(plan, terms.deadline), _fleet(plan, terms.deadline)
    rule = simulation.EarlyWarning(
        tolerated=float(policy.tolerated_bad_percent) / 100,
        # as many as the portal watches: each model twice, since it is looked at again later
        streams=2 * len(fleet.mix) + len(fleet.mix[0]),
    )

    def roll_out(defect: simulation.Defect, runs: int, watch: "_Watch") -> simulation.Rollouts:
        return simulation.simulate(
            fleet=fleet, terms=terms, defect=defect, rule=rule, runs=runs, seed=plan.seed, watcher=watch
        )

    is_healthy = plan.defect is None
    runs = HEALTHY_RUNS if is_healthy else RUNS
    watch = _Watch(tell, plan.hubs, runs, "the release", 0.0, 1.0 if is_healthy else 0.5)
    ended = roll_out(defect, runs, watch)
    beside = None
    if not is_healthy:
        healthy = _Watch(tell, plan.hubs, HEALTHY_RUNS, "the same release without its defect", 0.5, 1.0)
        beside = roll_out(simulation.Defect(), HEALTHY_RUNS, healthy)
    stopped = ended.is_stopped
    middle = _middle(ended)
    return {
        "release": plan.name,
        "hubs": plan.hubs,
        "seed": plan.seed,
        "runs": runs,
        "commanded": _spread(ended.commanded),
        "bad": _spread(ended.bad),
        "halted": round(float(stopped.mean()), 4),
        "hours": _spread(ended.minutes[stopped] / HOUR) if stopped.any() else None,
        "days": _spread(ended.minutes / DAY),
        "healthy": beside
        and {
            "days": _days(int(beside.minutes[0])),
            "bad": int(beside.bad[0]),
            "is_halted": bool(beside.is_stopped[0]),
        },
        "course": watch.course(middle, ended, list(terms.stages), [model.name for model in plan.models]),
        "wall_s": round(stopwatch.perf_counter() - began, 1),
    }


def _spread(numbers: "simulation.Counts | simulation.Shares") -> dict[str, float]:
    return {"mean": round(float(numbers.mean()), 3), "p95": round(float(np.percentile(numbers, 95)), 3)}


def _middle(ended: simulation.Rollouts) -> int:
    """Return the number of the rollout that lies in the middle, by hubs commanded."""
    order = np.argsort(ended.commanded, kind="stable")
    return int(order[(len(order) - 1) // 2])


@dataclass(slots=True)
class _Watch:
    """Watches rollouts, for the picture of one of them and for whoever waits for all; see `simulation.Watcher`."""

    tell: Tell
    hubs: int
    runs: int
    what: str
    from_share: float
    to_share: float
    seen: list[tuple[int, simulation.Counts, simulation.Counts, simulation.Counts]] = field(
        default_factory=list
    )
    openings: list[tuple[int, simulation.Counts, int, simulation.Counts]] = field(default_factory=list)

    def see(
        self, *, minute: int, places: simulation.Counts, commanded: simulation.Counts, bad: simulation.Counts
    ) -> None:
        """Keep the counts, and say how far all are."""
        if minute > SEEN_CLOSELY and minute % SEEN_EVERY:
            return
        self.seen.append((minute, places, commanded, bad.copy()))
        if minute % DAY == 0:
            done = (self.runs - len(places) + float((commanded / self.hubs).sum())) / self.runs
            self.tell(
                f"{self.what}, day {minute // DAY + 1}: {len(places)} of {self.runs} "
                f"{'rollouts go' if self.runs > 1 else 'rollout goes'} on",
                self.from_share + (self.to_share - self.from_share) * done,
            )

    def opened(
        self, *, minute: int, places: simulation.Counts, model: int, stages: simulation.Counts
    ) -> None:
        """Keep the openings."""
        self.openings.append((minute, places, model, stages))

    def course(
        self, place: int, ended: simulation.Rollouts, sizes: Sequence[int], models: Sequence[str]
    ) -> dict[str, Any]:
        """Return the course of one rollout, by its number."""
        last = (
            int(ended.minutes[place]),
            int(ended.commanded[place]),
            int(ended.bad[place]),
        )
        points = [
            (minute, int(commanded[at]), int(bad[at]))
            for minute, places, commanded, bad in self.seen
            for at in np.flatnonzero(places == place)
        ]
        first = [(0, name, 1) for name in models]
        later = [
            (minute, models[model], int(stages[at]))
            for minute, places, model, stages in self.openings
            for at in np.flatnonzero(places == place)
        ]
        return {
            "points": [[_days(minute), *counts] for minute, *counts in [*points, last]],
            "openings": [
                [_days(minute), name, number, sizes[min(number, len(sizes)) - 1]]
                for minute, name, number in [*first, *later]
            ],
            "halted_at": _days(last[0]) if ended.is_stopped[place] else None,
        }


def _days(minutes: int) -> float:
    return round(minutes / DAY, 4)


def _fleet(plan: Plan, deadline: int) -> simulation.Fleet:
    total = sum(kind.weight for kind in plan.kinds)
    return simulation.Fleet(
        hubs=plan.hubs,
        models=tuple(
            tuple(
                sum(kind.weight for kind in plan.kinds if (kind.network, kind.model) == (code, model.name))
                / total
                for code in plan.networks
            )
            for model in plan.models
        ),
        baseline=BASELINE,
        answer=min(ANSWER, ANSWER * deadline / USUAL_DEADLINE),
    )


def _defect(plan: Plan, deadline: int) -> simulation.Defect:
    if (defect := plan.defect) is None:
        return simulation.Defect()
    names = [model.name for model in plan.models]
    return simulation.Defect(
        share=defect.share,
        is_silent=defect.kind == "silent",
        is_late=defect.kind == "late",
        late_by=min(LATE_BY, max(1, LATE_BY * deadline // USUAL_DEADLINE)),
        network=None if defect.network is None else list(plan.networks).index(defect.network),
        model=None if defect.model is None else names.index(defect.model),
    )


def _terms(policy: RolloutPolicy) -> simulation.Terms:
    soak = _minutes(policy.soak)
    return simulation.Terms(
        stages=tuple(policy.stage_sizes),
        # the tranches after the stages that the policy names do not soak
        soaks=(*(soak for _ in policy.stage_sizes), 0),
        floor=policy.in_flight_floor,
        percent=policy.in_flight_percent,
        ceiling=policy.in_flight_ceiling,
        deadline=max(1, _minutes(policy.silence_deadline)),
        later=min(soak, round(LATER / timedelta(minutes=1))) or round(LATER / timedelta(minutes=1)),
    )


def _minutes(span: Span) -> int:
    """Return the length of a span that begins on an ordinary day."""
    start = datetime(2027, 1, 4, tzinfo=UTC)
    return max(0, round((span.after(start) - start) / timedelta(minutes=1)))
