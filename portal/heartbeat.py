"""
Let the worker and beat processes say that they live.

Written by the process itself, outside tasks, on a short connection of its own, and dated by the database. A process
that hangs, is stopped, or waits for the broker cannot say so, and that is what silence means here. The clean end of a
process takes its row away; the row of one that was killed stays for a day, so that people can see what is gone.
"""

import logging
import os
import shutil
import socket
import subprocess
import time
import tomllib
from collections.abc import Callable
from typing import Any, Final

from celery import bootsteps
from celery.beat import Scheduler
from celery.worker import state
from django.conf import settings

from portal.ground import apart

logger = logging.getLogger(__name__)
EVERY_SECONDS: Final = 10
PATIENCE: Final = 2
"""Seconds that the database has for one heartbeat: a worker must not stand still for it."""

Doing = tuple[str, float]
"""What a process is at, and for how many seconds; empty for nothing."""

# A restart in a container often gets the same name: the row is then the new process's. In one statement, because
# it is sent on its own; the sweep leaves out the row that the same statement writes.
BEAT = """
WITH forgotten AS (
    DELETE FROM portal_heartbeat
    WHERE seen_at < clock_timestamp() - interval '1 day' AND (kind, name) <> ($1, $2))
INSERT INTO portal_heartbeat AS heartbeat
    (kind, name, version, processes, started_at, seen_at, doing, doing_since)
VALUES ($1, $2, $3, $4::smallint, clock_timestamp(), clock_timestamp(), $5,
        clock_timestamp() - make_interval(secs => $6::float))
ON CONFLICT (kind, name) DO UPDATE SET
    version = excluded.version, processes = excluded.processes, seen_at = excluded.seen_at,
    doing = excluded.doing, doing_since = excluded.doing_since,
    started_at = CASE WHEN $7::boolean THEN excluded.started_at ELSE heartbeat.started_at END
"""
LEAVE = "DELETE FROM portal_heartbeat WHERE kind = $1 AND name = $2"


class Heart:
    """The heartbeat of this process; `kind` is `worker` or `beat`, `processes` how many tasks it can do at a time."""

    def __init__(self, *, kind: str, processes: int, doing: Callable[[], Doing]) -> None:
        self.kind = kind
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._processes = processes
        self._doing = doing
        self._version = code_version()[:100]
        self._is_new = True
        self._is_failing = False
        self._beaten_at = -float(EVERY_SECONDS)

    def beat(self) -> None:
        """Say that this process lives, or log why that could not be said; never raise."""
        self._beaten_at = time.monotonic()
        doing, since = self._doing()
        values = [
            self.kind,
            self.name,
            self._version,
            str(self._processes),
            doing,
            str(since) if doing else None,
            "true" if self._is_new else "false",
        ]
        if self._say(BEAT, values):
            self._is_new = False

    def beat_when_due(self) -> None:
        """Say it again, where that was last done long enough ago."""
        if time.monotonic() - self._beaten_at >= EVERY_SECONDS:
            self.beat()

    def leave(self) -> None:
        """Take the row away: this process ends because somebody wanted it to."""
        self._say(LEAVE, [self.kind, self.name])

    def _say(self, statement: str, values: list[str | None]) -> bool:
        try:
            apart.ask(statement=statement, parameters=values, within=PATIENCE)
        except Exception as error:  # whatever it is, the work goes on without a heartbeat
            if not self._is_failing:  # once, not every ten seconds of a night
                logger.warning("the heartbeat of this %s is not written: %s", self.kind, error)
            self._is_failing = True
            return False
        if self._is_failing:
            logger.warning("the heartbeat of this %s is written again", self.kind)
        self._is_failing = False
        return True


class WorkerHeartbeat(bootsteps.StartStopStep):
    """
    A worker's heartbeat: on the timer of the process that takes the tasks, not in one that carries them out.

    So it stops when that process hangs or has lost the broker, and nobody mistakes it for one that works.
    """

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def start(self, parent: Any) -> None:
        """Say so at once, and then every few seconds."""
        self.heart = Heart(kind="worker", processes=parent.concurrency, doing=_doing)
        self.heart.beat()
        parent.timer.call_repeatedly(EVERY_SECONDS, self.heart.beat)

    def stop(self, parent: Any) -> None:
        """Leave, before the last tasks are done: this worker takes no more."""
        self.heart.leave()


def _doing() -> Doing:
    """Name the tasks that this worker is at, and how long it has been at the oldest of them."""
    begun = [request for request in tuple(state.active_requests) if request.time_start]
    names = sorted(request.name.rpartition(".")[2] for request in begun)
    oldest = min((request.time_start for request in begun), default=0.0)
    return ", ".join(names)[:200], max(time.time() - oldest, 0) if begun else 0.0


class LivingScheduler(Scheduler):
    """Celery's scheduler, with a heartbeat."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.heart = Heart(kind="beat", processes=0, doing=lambda: ("", 0.0))
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Wake what is due, and look again in time for the next heartbeat."""
        self.heart.beat_when_due()
        return min(super().tick(*args, **kwargs), EVERY_SECONDS)

    def close(self) -> None:
        """Leave."""
        self.heart.leave()
        super().close()


def code_version() -> str:
    """Return which version of the code this is: what the environment says, or else the project's, with its commit."""
    if settings.PORTAL_VERSION:
        return str(settings.PORTAL_VERSION)
    try:
        declared = str(
            tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]["version"]
        )
    except OSError:
        return "unknown"
    git = shutil.which("git")
    if git is None:
        return declared
    commit = subprocess.run(
        [git, "-C", str(settings.BASE_DIR), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{declared}+{commit.stdout.strip()}" if commit.returncode == 0 else declared
