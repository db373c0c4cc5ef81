"""What a bad release reaches before the breaker stops it, and how often a healthy one is stopped."""

import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from scheduling import breaker
from scheduling.simulation import (
    Defect,
    EarlyWarning,
    FixedPercentage,
    Fleet,
    Rollouts,
    Rule,
    Terms,
    simulate,
)
from tests.benchmarks.world import Tell

HEALTHY = 500
"""Healthy rollouts at least: fewer would say little of what happens once in a hundred."""
SEED = 20_260_101
PROMISED = {
    "visible": {"1": (4_279, 5_550), "2": (839, 2_219), "5": (265, 483), "20": (51, 50)},
    "silent": {"1": (4_883, 5_550), "2": (1_943, 5_550), "5": (481, 550), "20": (52, 50)},
    "one_network": {"1": (11_453, 26_040), "2": (3_108, 5_550), "5": (580, 1_393), "20": (99, 205)},
}
"""Hubs commanded at the halt, mean and 95th percentile, by the points that a defect adds to the bad ones."""
PROMISED_OF = 1_000_000
"""The hubs to which the promise was made."""


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """
    Roll out `repeat` releases with each defect to so many hubs, and healthy ones, under two rules; no database.

    `fleet` has no meaning here: a rollout is to all hubs.
    """
    began, used = time.perf_counter(), time.process_time()
    world = Fleet(hubs=hubs)
    tolerated = breaker.tolerance(baseline=world.baseline)
    warned = under(
        rule=EarlyWarning(tolerated=tolerated), fleet=world, runs=repeat, about="breaker", tell=tell
    )
    fixed = under(rule=FixedPercentage(), fleet=world, runs=repeat, about="fixed percentage", tell=tell)
    tell("breaker without a second look: a silent defect")
    one_look = against(
        rule=EarlyWarning(tolerated=tolerated, is_settled_seen=False), fleet=world, runs=repeat, kind="silent"
    )
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    return {
        "figure": "early-warning",
        "hubs": hubs,
        "repeat": repeat,
        "measured": {
            "wall_s": round(wall, 3),
            "cpu_s": round(cpu, 2),
            # kilobytes, but bytes on macOS
            "peak_mb": round(
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                / (1024**2 if sys.platform == "darwin" else 1024),
                1,
            ),
        },
        **warned,
        "worst_mean_deviation": worst_deviation(warned) if hubs == PROMISED_OF else None,
        "fixed_rule": fixed,
        "silent_without_second_look": one_look,
    }


def under(*, rule: Rule, fleet: Fleet, runs: int, about: str, tell: Tell) -> dict[str, Any]:
    """Return what each defect reaches under a rule, and how often it stops a healthy release."""
    reached: dict[str, Any] = {}
    for kind in PROMISED:
        tell(f"{about}: a defect, {kind.replace('_', ' ')}")
        reached[kind] = against(rule=rule, fleet=fleet, runs=runs, kind=kind)
    healthy = max(runs, HEALTHY)
    tell(f"{about}: {healthy} healthy rollouts to {fleet.hubs:,} hubs")
    stopped = int(roll_out(rule=rule, fleet=fleet, runs=healthy, defect=Defect()).is_stopped.sum())
    return {
        **reached,
        "false_alarm_rate": stopped / healthy,
        "healthy": {"runs": healthy, "false_alarms": stopped},
    }


def against(*, rule: Rule, fleet: Fleet, runs: int, kind: str) -> dict[str, dict[str, float]]:
    """Return, of each defect of a kind, the hubs commanded when it was stopped, or in the end, beside the promise."""
    rows = {}
    for points, (mean, p95) in PROMISED[kind].items():
        defect = Defect(
            share=int(points) / 100,
            is_silent=kind == "silent",
            network=0 if kind == "one_network" else None,
        )
        ended = roll_out(rule=rule, fleet=fleet, runs=runs, defect=defect)
        rows[points] = {
            "mean": round(float(ended.commanded.mean()), 1),
            "p95": round(float(np.percentile(ended.commanded, 95)), 1),
            "caught": round(float(ended.is_stopped.mean()), 4),
            "promised_mean": mean,
            "promised_p95": p95,
        }
    return rows


def roll_out(*, rule: Rule, fleet: Fleet, runs: int, defect: Defect) -> Rollouts:
    """Roll a release out so many times under the terms that a policy begins with."""
    return simulate(fleet=fleet, terms=Terms(), defect=defect, rule=rule, runs=runs, seed=SEED)


def worst_deviation(reached: Mapping[str, Any]) -> float:
    """Return by how much of the promised mean the mean is off where it is farthest from it."""
    rows = [row for kind in PROMISED for row in reached[kind].values()]
    return round(max(abs(row["mean"] / row["promised_mean"] - 1) for row in rows), 3)
