"""A rehearsal that was asked for is carried out by a process of its own, which ends when nobody wants it any more."""

import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from typing import Any

import psutil
import pytest
from django.conf import settings

from portal import databases, rehearsal_processes, tasks
from portal.ground import clock
from portal.rehearsal_runs import OPENINGS, POINTS, of_fast, of_whole
from portal.rehearsals import nobodys
from scheduling.models import Rehearsal
from scheduling.operations import asked_rehearsals
from scheduling.operations.asked_rehearsals import Wish
from tests.conftest import eventually
from tests.scheduling import world as worlds
from tests.scheduling.world import World

PATIENCE = 240
"""Seconds; a process begins in some, and the machine may be busy with others."""


@pytest.fixture
def world(transactional_db: None) -> World:
    return worlds.make(now=clock.now())


def asked(world: World, *, hubs: int = 2_000, is_whole: bool = False, percent: int = 20) -> Rehearsal:
    """Ask for a rehearsal of a release that is nobody's, under the name of the world's."""
    plan = nobodys(hubs=hubs, defect=None, seed=1)
    facts: dict[str, Any] = json.loads(plan.as_json())
    if percent:
        facts["defect"] = {"share": percent / 100, "kind": "visible", "network": None, "model": None}
    wish = Wish(
        is_whole=is_whole,
        hubs=hubs,
        percent=Decimal(percent),
        kind="visible" if percent else "",
        network=None,
        model=None,
        seed=1,
    )
    return asked_rehearsals.ask(release=world.release, wish=wish, plan=facts, by=world.staff, now=clock.now())


def state() -> Rehearsal:
    return Rehearsal.objects.get()


def taken(world: World, **facts: Any) -> Rehearsal:
    rehearsal = asked(world, **facts)
    found = asked_rehearsals.take(is_whole=rehearsal.is_whole, now=clock.now())
    assert found is not None
    return found


def processes(rehearsal: Rehearsal) -> list[psutil.Process]:
    """Return the processes that are at a rehearsal."""
    words = ["--asked", str(rehearsal.pk), str(rehearsal.token)]
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if words == line[3:6] and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


class TestStartRehearsals:
    def test_has_a_process_carry_it_out(self, world: World) -> None:
        asked(world)
        tasks.start_rehearsals()
        assert state().state == "running"
        assert eventually(lambda: state().state == "done", within=PATIENCE), state().error
        assert state().result["halted_runs"] == 200

    def test_hands_it_back_where_no_process_can_be_started(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_room(*, rehearsal: Rehearsal) -> None:
            raise OSError("no room")

        monkeypatch.setattr(rehearsal_processes, "start", no_room)
        asked(world)
        tasks.start_rehearsals()
        assert (state().state, state().attempts) == ("waiting", 0)

    def test_does_nothing_where_nothing_was_asked(self, world: World) -> None:
        tasks.start_rehearsals()
        assert not Rehearsal.objects.exists()


class TestRun:
    def test_goes_through_the_real_code_in_a_database_of_its_own(self, world: World) -> None:
        rehearsal_processes.start(rehearsal=taken(world, hubs=150, is_whole=True, percent=40))
        assert eventually(lambda: state().step, within=PATIENCE)
        assert eventually(lambda: state().state not in ("waiting", "running"), within=PATIENCE)
        result = state().result
        assert state().state == "done", state().error
        assert result["halted_runs"] == 1
        assert result["admitted_after"] == 0
        assert "0.75% are tolerated" in result["why"]
        assert 5 <= result["bad"]["mean"] < result["commanded"]["mean"] <= 50
        assert result["course"]["points"][-1][1:] == [result["commanded"]["mean"], result["bad"]["mean"]]
        assert result["capacity"]

    def test_ends_soon_after_it_was_stopped(self, world: World) -> None:
        rehearsal = taken(world, hubs=60_000, is_whole=True, percent=0)
        rehearsal_processes.start(rehearsal=rehearsal)
        assert eventually(lambda: state().step == "making its tables", within=PATIENCE)
        asked_rehearsals.stop(rehearsal=rehearsal, by=world.staff, now=clock.now())
        assert eventually(lambda: not processes(rehearsal), within=PATIENCE)
        assert state().state == "cancelled"

    def test_is_handed_back_when_its_worker_is_gone(self, world: World) -> None:
        rehearsal = taken(world, hubs=60_000, is_whole=True, percent=0)
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        child = subprocess.Popen(
            [sys.executable, "manage.py", "rehearse", "--asked", str(rehearsal.pk), "1", str(worker.pid)],
            cwd=settings.BASE_DIR,
            env=os.environ | {"DATABASE_URL": databases.address()},
        )
        # it is the child of this process and not of that one, as after the death of the one that started it
        assert eventually(lambda: state().state == "waiting", within=PATIENCE)
        assert state().attempts == 0
        assert child.wait(PATIENCE) == 128 + signal.SIGTERM
        worker.kill()
        worker.wait()

    def test_says_in_words_why_it_could_not_be(self, world: World) -> None:
        rehearsal = taken(world)
        Rehearsal.objects.update(plan=rehearsal.plan | {"policy": {"in_flight_ceiling": 20}})
        rehearsal_processes.start(rehearsal=rehearsal)
        assert eventually(lambda: state().state == "failed", within=PATIENCE)
        assert "budget" in state().error


SPREAD = {"mean": 1.0, "p95": 2.0}
FAST: dict[str, Any] = {
    "runs": 200, "hubs": 10, "halted": 0.755, "commanded": SPREAD, "bad": SPREAD, "hours": SPREAD,
    "days": {"mean": 50.0, "p95": 60.0}, "healthy": {"days": 3.0, "bad": 1, "is_halted": False}, "wall_s": 1.0,
}  # fmt: skip


class TestOfFast:
    def test_keeps_no_more_points_than_a_picture_can_show(self) -> None:
        plan = nobodys(hubs=1_000, defect=None, seed=1)
        points = [[day / 100, day // 2, 0] for day in range(10_000)]
        openings = [[day, "Model", day, 50] for day in range(1_000)]
        course = {"points": points, "openings": openings, "halted_at": None}
        found = of_fast(plan=plan, found=FAST | {"course": course})["course"]
        assert found["points"][0] == points[0]
        assert found["points"][-1] == points[-1]
        assert POINTS / 2 < len(found["points"]) <= POINTS + 1
        assert len(found["openings"]) == OPENINGS

    def test_holds_a_healthy_rollout_against_the_period(self) -> None:
        plan = nobodys(hubs=1_000, defect=None, seed=1)
        facts = FAST | {"course": {"points": [[0.0, 0, 0]], "openings": [], "halted_at": None}}
        found = of_fast(plan=plan, found=facts)
        assert found["fits"] is True
        assert found["period_days"] == 42
        assert found["halted_runs"] == 151
        assert found["places"] > 1_000
        long = facts | {"healthy": {"days": 43.0, "bad": 1, "is_halted": False}}
        assert of_fast(plan=plan, found=long)["fits"] is False


class TestOfWhole:
    def test_draws_until_the_halt_and_no_further(self) -> None:
        plan = nobodys(hubs=1_000, defect=None, seed=1)
        halt = {"days": 3.5, "hours": 7.0, "reason": "Odd.", "admitted_after": 0, "at": ""}
        found = of_whole(
            plan=plan,
            found={
                "hubs": 1_000, "commanded": 60, "bad": 9, "halt": halt, "days": None, "fits": None, "untried": 940,
                "capacity": [], "outcomes": [], "wall_s": {"all": 9.0},
                "course": [[3.0, 30, 1], [3.4, 50, 11], [3.6, 60, 12]],
                "stages": [{"opened": 0.0, "model": "Model", "number": 1, "size": 50}],
            },
        )  # fmt: skip
        # the first activation is three days after the opening
        assert found["course"]["points"] == [[0.0, 0, 0], [0.0, 30, 1], [0.4, 50, 9], [0.5, 60, 9]]
        assert found["course"]["halted_at"] == 0.5
        assert found["course"]["begins"] == 3.0
        assert found["course"]["openings"] == [[0.0, "Model", 1, 50]]
        assert found["hours"] == {"mean": 7.0, "p95": None}
        assert found["untried"] is None
