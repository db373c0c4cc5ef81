"""
Random runs: everything goes wrong at random moments, and afterwards everything that was promised still holds.

`python3 manage.py test tests/faults --runs 500 --seed 1` runs the seeds 1 to 500; `--runs 1 --seed 4711` repeats
one. See `storm` for what a run is, `faults` for what goes wrong, `judge` for what must hold.
"""

import os
from collections.abc import Iterator

import pytest

from tests.faults.lanes import Lanes

LANES = 2 * (os.cpu_count() or 1)
"""A storm mostly waits, so two share a processor."""
SEED = "storm_seed"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each run."""
    if SEED in metafunc.fixturenames:
        first = metafunc.config.getoption("--seed")
        metafunc.parametrize(SEED, range(first, first + metafunc.config.getoption("--runs")))


@pytest.fixture(scope="module")
def lanes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    """Lanes in which the runs that are to be tested are under way; one for each worker of a parallel session."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    seeds = [
        item.callspec.params[SEED]
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and SEED in item.callspec.params
    ]
    lanes = Lanes(
        number=1 if worker else min(LANES, len(seeds)),
        name=f"{worker}-" if worker else "",
        folder=tmp_path_factory.mktemp("lanes"),
    )
    if not worker:
        for seed in seeds:
            lanes.ask(seed)
    yield lanes
    lanes.close()


def test_storm(lanes: Lanes, storm_seed: int) -> None:
    outcome = lanes.outcome(storm_seed)
    told = "\n".join(outcome.breaches)
    assert not outcome.breaches, (
        f"seed {storm_seed}, to be repeated with --runs 1 --seed {storm_seed}:\n{told}\n\n{outcome.story}"
    )
