"""
The processes of rehearsals: one that keeps what was asked for in the admin, and one with a database of its own.

Both end with whoever started them, so that nothing goes on that nobody waits for. The first is started by a worker and
outlives the task that starts it; the second is where the real code rolls a release out.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.conf import settings
from django.core.management import call_command

from portal import databases, rehearsals
from scheduling.models import Rehearsal

_started: Final[list["subprocess.Popen[bytes]"]] = []
"""Processes that this one has started, until somebody has asked what became of them."""


def start(*, rehearsal: Rehearsal) -> None:
    """
    Start the process that carries out a rehearsal, which was taken for it; it lives as long as this one at most.

    :raises OSError: if the machine has no room for another process
    """
    _started[:] = [one for one in _started if one.poll() is None]
    words = [str(rehearsal.pk), str(rehearsal.token), str(os.getpid())]
    _started.append(
        subprocess.Popen(
            [*_command(), "--asked", *words],
            env=os.environ
            | {
                "DATABASE_URL": databases.address(),
                "REDIS_URL": settings.REDIS_URL,
                "MEDIA_ROOT": os.devnull,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    )


def _command() -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), "rehearse"]


def outside(*, plan: rehearsals.Plan, tell: rehearsals.Tell) -> dict[str, Any]:
    """
    Have a process with a new database rehearse the plan; return what it found, and leave nothing behind.

    :raises UnableToRehearse: if it failed, or cannot be
    :raises UnableToMake: if there can be no database for it
    """
    rehearsals.check_whole(plan=plan)
    tell("making a database")
    with (
        databases.temporary(purpose="rehearsal") as url,
        tempfile.TemporaryDirectory() as media,
    ):
        environment = os.environ | {
            "DATABASE_URL": url,
            "REDIS_URL": settings.REDIS_URL,
            "HUB_GATEWAY": settings.REHEARSAL_GATEWAY,
            "MEDIA_ROOT": media,
            "LOG_LEVEL": "ERROR",
        }
        if environment.pop("DEBUG", ""):  # each query would be remembered
            environment["DEMO"] = "true"
        child = subprocess.Popen(
            [*_command(), "--inside"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert child.stdin is not None  # noqa: S101 - a pipe, as asked for
            assert child.stdout is not None  # noqa: S101 - the same
            child.stdin.write(plan.as_json() + "\n")
            child.stdin.flush()  # left open: its end tells the child that we are gone
            said: dict[str, Any] = {}
            for line in child.stdout:
                said = json.loads(line)
                if "step" in said:
                    tell(said["step"], said["share"])
            if child.wait() or "result" not in said:
                raise rehearsals.UnableToRehearse(
                    said.get("refusal")
                    or "The rehearsal ended before it was done, for a reason that only the log says. Its database is "
                    "dropped."
                )
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    result: dict[str, Any] = said["result"]
    return result


@contextlib.contextmanager
def ending_by_signals() -> Iterator[None]:
    """Leave the block also when we are told to end, so that nothing stays behind."""
    usual = {
        number: signal.signal(number, lambda number, _frame: sys.exit(128 + number))
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def inside() -> None:
    """
    Rehearse the plan on stdin in the database of this process, which is empty; end with whoever wrote it.

    Each line on stdout is an object in JSON: a step with its share of the whole, and in the end the result, or the
    sentence on why there is none.
    """
    plan = rehearsals.Plan.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_our_parent, daemon=True).start()
    _say_step("making its tables")
    call_command("migrate", verbosity=0)
    databases.forget_in_a_crash()
    try:
        _say({"result": rehearsals.rehearse(plan=plan, tell=_say_step, has_helper=True)})
    except rehearsals.UnableToRehearse as refusal:
        _say({"refusal": str(refusal)})


def _say_step(step: str, share: float | None = None) -> None:
    _say({"step": step, "share": share})


def _say(facts: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _end_with_our_parent() -> None:
    sys.stdin.read()
    os._exit(1)
