"""
Where workers and beats come from: a process that has imported everything and opened nothing, and forks on request.

A fork is ready two seconds of processor time earlier than a fresh Python. Each child leads a process group of its
own. The dead are kept until the run is over, so that nothing else is given their process id meanwhile.
"""

import contextlib
import json
import mmap
import os
import random
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import psutil

from portal.celery import TIMETABLE, app
from portal.ground import stopping
from portal.heartbeat import LivingScheduler

OURS = ("portal", "scheduling", "firmware", "hubs", "django", "celery", "kombu", "tests.faults.carrier")
SOONEST = 0.4
"""Real seconds between two wakings of the most frequent tasks."""


MOST_FREQUENT = min(entry["schedule"] for entry in TIMETABLE.values())


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be started: a worker with so many processes and its clock so wrong, or a beat so careless."""

    kind: Literal["worker", "beat"]
    log: str
    processes: int = 1
    skew: float = 0.0
    """Seconds by which its clock is ahead."""
    doubles: float = 0.0
    drops: float = 0.0
    """Shares of the tasks that the beat sends three times, and never."""


class Nursery:
    """The end of the conversation that orders. To be opened before anything else is."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        app.loader.import_default_modules()
        if not os.fork():
            ours.close()
            _attend(theirs)
        theirs.close()
        self._line = ours.makefile("rw")

    def start(self, order: Order) -> psutil.Process:
        """Start a worker or a beat; return the leader of its process group."""
        return psutil.Process(self._ask(asdict(order)))

    def bury(self) -> None:
        """Kill whatever still lives, and forget it."""
        self._ask({"kind": "bury"})

    def _ask(self, question: dict[str, Any]) -> int:
        self._line.write(json.dumps(question) + "\n")
        self._line.flush()
        return int(self._line.readline())


def lives(process: psutil.Process) -> bool:
    """Say whether a process still runs, or stands still."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def tell(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process group whose leader the nursery has not buried."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _attend(line: socket.socket) -> None:
    """Serve orders until the other end is gone, then let nothing survive."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it ends when nobody orders any more
    children: list[int] = []
    orders = line.makefile("rw")
    while asked := orders.readline():
        order = json.loads(asked)
        if order["kind"] == "bury":
            _bury(children)
            answer = 0
        else:
            answer = os.fork()
            if not answer:
                line.close()
                _grow_up(Order(**order))
            children.append(answer)
        orders.write(f"{answer}\n")
        orders.flush()
    _bury(children)
    os._exit(0)


def _bury(children: list[int]) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # it may not have come to lead its group
    for child in children:
        os.waitpid(child, 0)
    children.clear()


def _grow_up(order: Order) -> None:
    """Become a worker or a beat, and end with it."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    output = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # a program that is started shares with nobody whether it was asked to stop; a fork would
    stopping._everyone = mmap.mmap(-1, 1)
    try:
        if order.skew:
            _put_forward(order.skew)
        if order.kind == "worker":
            _work(order.processes)
        else:
            _beat(doubles=order.doubles, drops=order.drops)
    except BaseException as error:
        sys.stderr.write(f"{error!r}\n")
    finally:
        sys.stderr.flush()
        os._exit(0)


def _work(processes: int) -> None:
    worker = app.Worker(
        hostname=f"{os.getpid()}@lane",
        concurrency=processes,
        pool="prefork",
        loglevel="INFO",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()


def _beat(*, doubles: float, drops: float) -> None:
    class Careless(LivingScheduler):
        def apply_entry(self, entry: Any, producer: Any = None) -> None:
            luck = random.random()
            for _ in range(0 if luck < drops else 3 if luck < drops + doubles else 1):
                super().apply_entry(entry, producer)

    app.conf.beat_schedule = {
        name: entry
        | {"schedule": SOONEST * (entry["schedule"] / MOST_FREQUENT) ** 0.8}
        | {"options": {"expires": 6}}
        for name, entry in TIMETABLE.items()
    }
    app.Beat(loglevel="WARNING", pidfile=None, scheduler_cls=Careless).run()


def _put_forward(seconds: float) -> None:
    """Let this process believe that it is so much later, wherever it asks Python's clocks."""
    real_time = time.time

    class Wrong(type):
        def __instancecheck__(cls, thing: object) -> bool:
            return isinstance(thing, datetime)

    class WrongDatetime(datetime, metaclass=Wrong):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return datetime(*args, **kwargs)  # noqa: DTZ001 - whatever it was asked

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(wrong_time(), tz)

    def wrong_time() -> float:
        return real_time() + seconds

    wrong_modules = [module for name, module in list(sys.modules.items()) if name.startswith(OURS)]
    for module in wrong_modules:
        _swap(module, {time.time: wrong_time, datetime: WrongDatetime})
    time.time = wrong_time


def _swap(module: ModuleType, replacements: dict[Any, Any]) -> None:
    for name, value in list(vars(module).items()):
        for old, new in replacements.items():
            if value is old:
                setattr(module, name, new)


def log_of(*, folder: Path, kind: str, number: int) -> str:
    """Return where a child writes."""
    return str(folder / f"{number:02d}-{kind}.log")
