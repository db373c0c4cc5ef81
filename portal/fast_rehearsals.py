"""
The same plan in numbers alone: no database, no hubs with names, seconds for every hub of the country.

It knows stages, soaks, budget, deadline and breaker, and nothing of slots: hubs are always there to be commanded. So
its hubs commanded are close to those of the real path, and its days are the least that the stages allow.
Only tasks and commands import this: it carries numpy, which pages do without.
"""

import time as stopwatch
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from firmware.models import RolloutPolicy
from portal.ground.uk_time import Span
from portal.rehearsals import BASELINE, Plan, UnableToRehearse, policy_of
from scheduling import simulation

RUNS = 200
"""Rollouts side by side: one says little of a bad release."""
HEALTHY_RUNS = 1
"""A healthy one goes on to its end, whatever the luck."""


def simulate(*, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """
    Roll the plan out in numbers; return hubs commanded and bad, when it was halted, and how long it takes at least.

    Of a release with a defect many rollouts are made, and means and 95th percentiles returned.

    :raises UnableToRehearse: if the defect is one that numbers alone cannot follow, or the policy has no stages
    """
    began = stopwatch.perf_counter()
    policy = policy_of(plan=plan)
    if not policy.stage_sizes:
        raise UnableToRehearse(
            "This policy has no stages, so there is nothing to simulate: all hubs go at once."
        )
    fleet, defect = _fleet(plan), _defect(plan)
    runs = HEALTHY_RUNS if plan.defect is None else RUNS
    ended = simulation.simulate(
        fleet=fleet,
        terms=_terms(policy),
        defect=defect,
        rule=simulation.EarlyWarning(tolerated=float(policy.tolerated_bad_percent) / 100),
        runs=runs,
        seed=plan.seed,
        tell=lambda minute, left: tell(f"day {minute // (24 * 60)}: {left} of {runs} rollouts go on"),
    )
    days = ended.minutes / (24 * 60)
    return {
        "release": plan.name,
        "hubs": plan.hubs,
        "seed": plan.seed,
        "runs": runs,
        "commanded": {"mean": round(float(ended.commanded.mean()), 1), "p95": _p95(ended.commanded)},
        "bad": {"mean": round(float(ended.bad.mean()), 1), "p95": _p95(ended.bad)},
        "halted": round(float(ended.is_stopped.mean()), 4),
        "days": {"mean": round(float(days.mean()), 2), "p95": round(float(np.percentile(days, 95)), 2)},
        "wall_s": round(stopwatch.perf_counter() - began, 2),
    }


def _p95(counts: simulation.Counts) -> float:
    return round(float(np.percentile(counts, 95)), 1)


def _fleet(plan: Plan) -> simulation.Fleet:
    weights = [sum(kind.weight for kind in plan.kinds if kind.network == code) for code in plan.networks]
    return simulation.Fleet(
        hubs=plan.hubs,
        networks=tuple(weight / sum(weights) for weight in weights),
        baseline=BASELINE,
    )


def _defect(plan: Plan) -> simulation.Defect:
    if (defect := plan.defect) is None:
        return simulation.Defect()
    if defect.kind == "late" or defect.model is not None:
        raise UnableToRehearse(
            "Numbers alone follow no defect that shows late, or in one model: leave out --fast to rehearse it."
        )
    network = None if defect.network is None else list(plan.networks).index(defect.network)
    return simulation.Defect(share=defect.share, is_silent=defect.kind == "silent", network=network)


def _terms(policy: RolloutPolicy) -> simulation.Terms:
    soak = _minutes(policy.soak)
    return simulation.Terms(
        stages=tuple(policy.stage_sizes),
        # the last size is that of every tranche after it, and those do not soak
        soaks=(*(soak for _ in policy.stage_sizes[:-1]), 0),
        floor=policy.in_flight_floor,
        percent=policy.in_flight_percent,
        ceiling=policy.in_flight_ceiling,
        deadline=_minutes(policy.silence_deadline),
    )


def _minutes(span: Span) -> int:
    """Return the length of a span that begins on an ordinary day."""
    start = datetime(2027, 1, 4, tzinfo=UTC)
    return max(0, round((span.after(start) - start) / timedelta(minutes=1)))
