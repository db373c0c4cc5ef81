"""
Carry out a rehearsal that somebody asked for in the admin, in a process of its own.

It reads and writes nothing but the rehearsal's row: all that it is made from stands there, so no hub of the portal is
ever looked at. It says how far it is every few seconds, and ends when it was stopped, when its lease is somebody
else's, or with the worker that started it.
"""

import itertools
import logging
import math
import os
import signal
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from django.db import DatabaseError, connection

from portal import databases, fast_rehearsals, rehearsal_processes
from portal.ground import clock
from portal.rehearsals import Plan, UnableToRehearse, period_days, room_of
from scheduling.models import Rehearsal
from scheduling.operations import asked_rehearsals

logger = logging.getLogger(__name__)
EVERY_SECONDS: Final = 2
POINTS: Final = 250
"""Points of a course that are kept; a picture is hardly wider."""
OPENINGS: Final = 100
"""Openings of stages that are kept: thirty million hubs take hundreds of tranches."""
NICENESS: Final = 10
"""A rehearsal can wait for everything else on the machine."""


def run(*, rehearsal: int, token: int, parent: int) -> None:
    """
    Carry out a rehearsal, by id, that was taken with a token, until it is over or the process `parent` is.

    Nothing is raised: what went wrong is the rehearsal's error.
    """
    os.nice(NICENESS)
    asked = Rehearsal.objects.get(pk=rehearsal)
    with rehearsal_processes.ending_by_signals(), _Holder(rehearsal, token, parent) as tell:
        try:
            result = _rehearse(asked, tell)
        except (UnableToRehearse, databases.UnableToMake) as refusal:
            asked_rehearsals.fail(rehearsal=rehearsal, token=token, error=str(refusal), now=clock.now())
        except Exception:
            logger.exception("rehearsal %s failed", rehearsal)
            asked_rehearsals.fail(
                rehearsal=rehearsal,
                token=token,
                error="Something went wrong on our side; the log of the workers says what. Ask again.",
                now=clock.now(),
            )
        else:
            asked_rehearsals.finish(rehearsal=rehearsal, token=token, result=result, now=clock.now())


def _rehearse(asked: Rehearsal, tell: "_Holder") -> dict[str, Any]:
    plan = Plan.from_facts(asked.plan)
    if asked.is_whole:
        return of_whole(plan=plan, found=rehearsal_processes.outside(plan=plan, tell=tell))
    return of_fast(plan=plan, found=fast_rehearsals.simulate(plan=plan, tell=tell))


def of_fast(*, plan: Plan, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a rehearsal in numbers alone; its slots are those that the plan opens."""
    places, period = room_of(plan=plan), period_days(plan=plan)
    days = found["healthy"]["days"] if found["healthy"] else found["days"]["mean"]
    return {
        "runs": found["runs"],
        "hubs": found["hubs"],
        "halted_runs": round(found["halted"] * found["runs"]),
        "commanded": found["commanded"],
        "bad": found["bad"],
        "hours": found["hours"],
        "days": found["days"],
        "period_days": period,
        "places": places,
        "fits": days <= period and places >= plan.hubs,
        "untried": None,
        "why": "",
        "admitted_after": None,
        "healthy": found["healthy"],
        "capacity": [],
        "outcomes": [],
        "course": _thinned({**found["course"], "begins": 0.0}),
        "seconds": found["wall_s"],
    }


def of_whole(*, plan: Plan, found: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what is kept of a rehearsal through the real code: it is one rollout, and nothing is averaged.

    Its course is counted from the first activation, which `begins` so many days after the opening.
    """
    halt = found["halt"]
    begins = found["course"][0][0] if found["course"] else 0.0
    # some that the portal takes for bad are well, as the carrier knows: their answers were lost
    points = [
        [0.0, 0, 0],
        *([round(day - begins, 4), hubs, min(bad, found["bad"])] for day, hubs, bad in found["course"]),
    ]
    if halt:
        until = max(halt["days"] - begins, 0.0)
        points = [point for point in points if point[0] <= until]
    else:
        until = max(points[-1][0], (found["days"] or 0.0) - begins)
    until = round(until, 4)
    openings = [
        [round(max(stage["opened"] - begins, 0.0), 4), stage["model"], stage["number"], stage["size"]]
        for stage in sorted(found["stages"], key=lambda stage: stage["opened"])
    ]
    return {
        "runs": 1,
        "hubs": found["hubs"],
        "halted_runs": int(bool(halt)),
        "commanded": _once(found["commanded"]),
        "bad": _once(found["bad"]),
        "hours": _once(halt["hours"]) if halt and halt["hours"] is not None else None,
        "days": _once(found["days"] if found["days"] is not None else round(begins + until, 4)),
        "period_days": period_days(plan=plan),
        "places": room_of(plan=plan),
        "fits": bool(found["fits"]),
        "untried": None if halt else found["untried"],
        "why": halt["reason"] if halt else "",
        "admitted_after": halt["admitted_after"] if halt else None,
        "healthy": None,
        "capacity": found["capacity"],
        "outcomes": found["outcomes"],
        "course": _thinned(
            {
                "points": [*points, [until, found["commanded"], found["bad"]]],
                "openings": openings,
                "halted_at": until if halt else None,
                "begins": begins,
            }
        ),
        "seconds": found["wall_s"]["all"],
    }


def _once(number: float) -> dict[str, float | None]:
    return {"mean": number, "p95": None}


def _thinned(course: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out points at which nothing had changed, and of the others those that no picture can show."""
    points = course["points"]
    changed = [
        point
        for before, point in itertools.pairwise([[None, None, None], *points])
        if point[1:] != before[1:]
    ]
    every = math.ceil(len(changed) / POINTS)
    kept = changed[::every]
    if kept[-1] != points[-1]:
        kept.append(points[-1])
    return {**course, "points": kept, "openings": course["openings"][:OPENINGS]}


class _Holder:
    """
    Holds a rehearsal within a `with`, and is told how far it is.

    A thread of its own writes that down and renews the lease, so that neither has to wait for a step to end.
    """

    def __init__(self, rehearsal: int, token: int, parent: int) -> None:
        self._rehearsal = rehearsal
        self._token = token
        self._parent = parent
        self._step = "beginning"
        self._share: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)

    def __call__(self, step: str, share: float | None = None) -> None:
        """Take a step, to be written down."""
        self._step, self._share = step, share

    def __enter__(self) -> "_Holder":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if kind is not None:  # we were told to end; where it was stopped there is nothing to hand back
            asked_rehearsals.hand_back(rehearsal=self._rehearsal, token=self._token)

    def _hold(self) -> None:
        try:
            while not self._over.wait(EVERY_SECONDS):
                if os.getppid() != self._parent or not self._renew():
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
        finally:
            connection.close()

    def _renew(self) -> bool:
        try:
            return asked_rehearsals.renew(
                rehearsal=self._rehearsal,
                token=self._token,
                step=self._step,
                progress=self._share,
                now=clock.now(),
            )
        except DatabaseError:  # as long as the lease lasts there is time for the next one
            logger.warning("a rehearsal could not say how far it is", exc_info=True)
            connection.close()
            return True
