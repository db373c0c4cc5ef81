"""Lanes side by side: processes that run storms, and whoever waits for what came of a seed."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from portal.bootstrap import BASE_DIR

OURS = ("DATABASE_URL", "REDIS_URL", "MEDIA_ROOT", "EMAIL_URL", "PYTEST_XDIST_WORKER")
"""Settings of the tests' own servers, which a lane must not use."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the storm of a seed ended."""

    seed: int
    breaches: list[str]
    story: str
    summary: str
    seconds: float


class LaneBroke(Exception):
    """A lane ended before its storm did; its last words follow."""


class Lanes:
    """So many lanes, named after `name`. Each takes the next seed when it is done with one."""

    def __init__(self, *, number: int, name: str, folder: Path) -> None:
        self._asked: queue.Queue[int | None] = queue.Queue()
        self._outcomes: dict[int, Future[Outcome]] = {}
        self._programs: list[subprocess.Popen[str]] = []
        self._threads = []
        for lane in range(number):
            words = folder / f"lane-{lane}.log"
            with words.open("wb") as output:
                program = subprocess.Popen(
                    [sys.executable, "-m", "django", "run_lane"],
                    cwd=BASE_DIR,
                    env={key: value for key, value in os.environ.items() if key not in OURS}
                    | {
                        "PORTAL_PROFILE": f"faults-{name}{lane}",
                        "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
                    },
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    text=True,
                    start_new_session=True,
                )
            self._programs.append(program)
            thread = threading.Thread(target=self._drive, args=(program, words), daemon=True)
            self._threads.append(thread)
            thread.start()

    def ask(self, seed: int) -> None:
        """Let the storm of a seed be run when its turn comes, if it was not asked for already."""
        if seed not in self._outcomes:
            self._outcomes[seed] = Future()
            self._asked.put(seed)

    def outcome(self, seed: int) -> Outcome:
        """
        Wait for the storm of a seed.

        :raises LaneBroke: if its lane died
        """
        self.ask(seed)
        return self._outcomes[seed].result()

    def close(self) -> None:
        """End the lanes; a storm that nobody waits for is broken off."""
        for program in self._programs:
            program.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):
                _pipe(program.stdin).close()
        for program in self._programs:
            program.wait(60)

    def _drive(self, program: "subprocess.Popen[str]", words: Path) -> None:
        while True:
            seed = self._asked.get()
            if seed is None:
                return
            future = self._outcomes[seed]
            try:
                _pipe(program.stdin).write(f"{seed}\n")
                _pipe(program.stdin).flush()
                answer = _pipe(program.stdout).readline()
            except OSError:
                answer = ""
            if not answer:
                last = words.read_text(encoding="utf-8", errors="replace")[-4_000:]
                future.set_exception(LaneBroke(f"in the storm of seed {seed}:\n{last}"))
                continue
            future.set_result(Outcome(**json.loads(answer)))


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
