"""
The Celery app and its timetable.

Celery only wakes: what is due stands in PostgreSQL, so an entry that is lost, doubled or late does no harm.
"""

import atexit
import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any, Final, NoReturn, TypedDict

from celery import Celery, Task, signals

from portal.ground import logs, stopping

HAND_BACK_SECONDS: Final = 5
"""How long after SIGTERM a task that has found no clean point yet is broken off, and hands back what it holds."""
END_SECONDS: Final = 9
"""How long after SIGTERM a worker ends, whatever its tasks, its broker and its database are at."""
PATIENCE: Final = 20
"""Seconds: with every worker at carrying out, which takes ten at a time, everything else still has its turn."""


class Entry(TypedDict):
    """A task by name, every so many seconds, thrown away when nobody took it in time."""

    task: str
    schedule: float
    options: dict[str, float]


def every(seconds: float, task: str, *, patience: float = PATIENCE, app: str = "scheduling") -> Entry:
    """Return the entry that wakes a task of an app so often; it waits for a worker with some patience."""
    expires = max(2 * seconds, patience)
    return {"task": f"{app}.tasks.{task}", "schedule": seconds, "options": {"expires": expires}}


TIMETABLE: dict[str, Entry] = {
    "carry out": every(2, "carry_out", patience=0),  # whoever is at it wakes somebody for what is left
    "collect reports": every(2, "collect_reports"),
    "read files": every(2, "read_files"),
    "sweep files": every(600, "sweep_files"),
    "advance stages": every(2, "advance_stages"),
    "look at controls": every(5, "look_at_controls"),
    "look again": every(10, "look_again"),
    "keep turns": every(10, "keep_turns"),
    "keep bookings": every(5, "keep_bookings"),
    "allocate": every(30, "allocate"),
    "keep exceptions": every(60, "keep_exceptions"),
    "settle consents": every(5, "settle_consents"),
    "owe notices": every(15, "owe_notices"),
    "owe deadlines": every(600, "owe_deadlines"),
    "send notices": every(5, "send_notices"),
    "change suppliers": every(30, "change_suppliers"),
    "open slots": every(60, "open_slots"),
    "reconcile": every(120, "reconcile"),
    "seal outcomes": every(600, "seal_outcomes"),
    "count fleet": every(60, "count_fleet"),
    "make exports": every(2, "make_exports", app="portal"),
    "sweep exports": every(600, "sweep_exports", app="portal"),
    "chain decisions": every(5, "chain_decisions", app="portal"),
    "start rehearsals": every(5, "start_rehearsals", app="portal"),
    "forget requests": every(600, "forget_requests", app="portal"),
    "forget records": every(3_600, "forget_records", app="portal"),
}


class LoggedTask(Task[Any, Any]):
    """A task whose every line in the log says which it is."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, bound to its id and name."""
        with logs.bound(task=self.request.id, job=self.name.rpartition(".")[2]):
            return super().__call__(*args, **kwargs)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
app = Celery("portal", task_cls=LoggedTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = TIMETABLE
app.steps["worker"].add("portal.heartbeat:WorkerHeartbeat")  # by name: only workers need what it needs
app.autodiscover_tasks()


# -- stopping ------------------------------------------------------------------------------------------------

_worker: Any = None
_is_child = False
_usual: dict[int, Any] = {}
"""What signals did in a child before the task that it is at began."""


@signals.worker_init.connect
def remember_worker(sender: Any, **_: object) -> None:
    """Keep the worker of this process: whoever stops it has to reach its children."""
    global _worker  # noqa: PLW0603 - one worker in a process, and signals bring nothing along
    _worker = sender
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # the very last moment has no handlers any more


@signals.worker_shutting_down.connect
def stop(**_: object) -> None:
    """
    Ask the tasks to end at their next clean point; break off what has not, and end in any case.

    This runs in the handler of SIGTERM. The rest is left to the alarm clock, which finds us also where a broker that
    does not answer holds us up.
    """
    if stopping.asked():
        return
    stopping.ask()
    signal.signal(signal.SIGALRM, _break_off)
    signal.setitimer(signal.ITIMER_REAL, HAND_BACK_SECONDS, END_SECONDS - HAND_BACK_SECONDS)


def _break_off(_number: int, _frame: FrameType | None) -> None:
    """Tell the children that are still at a task to leave it."""
    signal.signal(signal.SIGALRM, _end)
    _to_children(signal.SIGUSR2)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """End without another word: what is held is taken over when its lease has run out."""
    os.write(
        sys.__stderr__.fileno() if sys.__stderr__ else 2, b"worker: did not end in time, so it is ended\n"
    )
    _to_children(signal.SIGKILL)
    os._exit(1)


def _to_children(number: signal.Signals) -> None:
    for child in _worker.pool.info["processes"] if _worker else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)


@signals.worker_process_init.connect
def is_child(**_: object) -> None:
    """Know that this process was forked to carry tasks out: it takes signals while it is at one."""
    global _is_child  # noqa: PLW0603 - as above
    _is_child = True


@signals.task_prerun.connect
def take_signals(**_: object) -> None:
    """While a task runs, let SIGTERM ask it to end; many a supervisor sends it to the children as well."""
    if _is_child:
        stopping.begin()
        _usual[signal.SIGTERM] = signal.signal(signal.SIGTERM, _ask_alone)
        _usual[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, _leave)


@signals.task_postrun.connect
def give_signals_back(**_: object) -> None:
    """Let signals do what they did before the task."""
    while _usual:
        number, handler = _usual.popitem()
        signal.signal(number, handler)


def _ask_alone(number: int, frame: FrameType | None) -> None:
    """Ask the task to end; asked a second time, do what the signal does to a child that has no task."""
    if stopping.is_asked_alone() and callable(usual := _usual.get(number)):
        usual(number, frame)
    stopping.ask_alone()


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """Break the task off: what it holds is handed back on the way out, and its statement is cancelled."""
    raise SystemExit
