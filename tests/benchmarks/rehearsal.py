"""What a rehearsal in numbers alone says of a bad release, beside what the real code comes to with the same plan."""

import statistics
import time
from typing import Any

from portal.fast_rehearsals import simulate
from portal.rehearsal_processes import outside
from portal.rehearsals import Defect, nobodys
from tests.benchmarks.world import Tell

DEFECT = Defect(0.05, "silent")


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """
    Roll a release with a silent defect out through the real code, with so many seeds, and in numbers alone.

    `fleet` has no meaning here: the plan says which hubs there are.
    """
    began = time.perf_counter()
    real = []
    for seed in range(1, repeat + 1):
        found = outside(
            plan=nobodys(hubs=hubs, defect=DEFECT, seed=seed),
            tell=lambda step, share=None, seed=seed: tell(f"seed {seed}: {step}"),
        )
        halt = found["halt"]
        real.append(
            {
                "commanded": found["commanded"],
                "bad": found["bad"],
                "hours": halt and halt["hours"],
                "admitted_after": halt and halt["admitted_after"],
                "wall_s": found["wall_s"]["all"],
            }
        )
    fast = simulate(
        plan=nobodys(hubs=hubs, defect=DEFECT, seed=1), tell=lambda step, share=None: tell(f"numbers: {step}")
    )
    mean = statistics.fmean(one["commanded"] for one in real)
    return {
        "figure": "rehearsal",
        "hubs": hubs,
        "repeat": repeat,
        "defect": f"{DEFECT.share:.0%} {DEFECT.kind}",
        "real": {f"seed {seed}": one for seed, one in enumerate(real, 1)},
        "fast": {name: fast[name] for name in ("commanded", "bad", "hours")},
        "real_mean": round(mean, 1),
        "ratio": round(mean / fast["commanded"]["mean"], 3),
        "measured": {"wall_s": round(time.perf_counter() - began, 1), "fast_wall_s": fast["wall_s"]},
    }
