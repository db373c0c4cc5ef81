"""
Run several programs as one: their lines with a name before each, and all of them ended together.

By hand, because honcho's forked watchers outlive a killed supervisor and keep what it held, it breaks on a
signal that comes while it starts, and it kills what is still finishing its work.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple, TextIO

GRACE_SECONDS: Final = 30  # a Celery worker may finish its chunk
COLOURS: Final = (36, 33, 32, 35, 34)


class Ended(NamedTuple):
    """A program has ended, asked or unasked."""

    name: str
    status: int


class Signalled(NamedTuple):
    """Somebody wants us to stop."""

    number: int


class Ready(NamedTuple):
    """What was waited for has come."""


Event = Ended | Signalled | Ready


class Supervisor:
    """Some programs that live and end together."""

    def __init__(self, *, output: TextIO) -> None:
        self._output = output
        self._coloured = output.isatty()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._watchers: list[threading.Thread] = []
        self._printing = threading.Lock()
        self._width = 6

    def say(self, text: str, *, name: str = "demo") -> None:
        """Print lines with the time and a name before them."""
        prefix = f"{time.strftime('%H:%M:%S')} {name.ljust(self._width)} | "
        if self._coloured and name in self._programs:
            colour = COLOURS[list(self._programs).index(name) % len(COLOURS)]
            prefix = f"\033[{colour}m{prefix}\033[0m"
        # A terminal that was closed must not keep us from ending what we started.
        with self._printing, contextlib.suppress(OSError, ValueError):
            self._output.write("".join(f"{prefix}{line}\n" for line in text.splitlines()))
            self._output.flush()

    def start(self, name: str, argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
        """Start one program in a session of its own: a Ctrl-C reaches it through us, and only once."""
        program = subprocess.Popen(
            argv,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._programs[name] = program
        for watch in (self._relay, self._await):
            watcher = threading.Thread(target=watch, args=(name, program), daemon=True)
            watcher.start()
            self._watchers.append(watcher)

    def run(self, *, is_ready: Callable[[], bool], when_ready: str, seconds: float | None) -> int:
        """
        Wait until a program ends, a signal comes, or `seconds` have passed since all was ready.

        Returns the exit status: 0 when we were to stop, 1 when a program ended by itself.
        """
        threading.Thread(target=self._await_ready, args=(is_ready,), daemon=True).start()
        until: float | None = None
        while True:
            try:
                event = self._events.get(timeout=None if until is None else max(0, until - time.monotonic()))
            except queue.Empty:
                self.say(f"{seconds:g} seconds have passed")
                return self._end(status=0)
            match event:
                case Ready():
                    self.say(when_ready)
                    until = None if seconds is None else time.monotonic() + seconds
                case Signalled(number):
                    self.say(f"{signal.Signals(number).name}: stopping")
                    return self._end(status=0)
                case Ended(name, status):
                    self.say(f"{name} ended by itself (exit code {status}), see its lines above: stopping")
                    return self._end(status=1)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Take the signals that ask to stop, a closed terminal's too, as events."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [(number, signal.signal(number, self._signalled)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self._events.put(Signalled(number))

    def _relay(self, name: str, program: subprocess.Popen[bytes]) -> None:
        assert program.stdout  # noqa: S101  (for mypy: we asked for the pipe)
        with program.stdout:
            for line in program.stdout:
                self.say(line.decode(errors="replace").rstrip(), name=name)

    def _await(self, name: str, program: subprocess.Popen[bytes]) -> None:
        self._events.put(Ended(name, program.wait()))

    def _await_ready(self, is_ready: Callable[[], bool]) -> None:
        while not is_ready():
            time.sleep(0.1)
        self._events.put(Ready())

    def _end(self, *, status: int) -> int:
        """Ask each program to end; when the grace is over, or at a second signal, end its whole session."""
        for program in self._programs.values():
            program.terminate()
        until = time.monotonic() + GRACE_SECONDS
        while any(program.poll() is None for program in self._programs.values()):
            try:
                event = self._events.get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                break
            if isinstance(event, Signalled):
                break
        for program in self._programs.values():
            # Also what a program that ended may have left behind in its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
        for watcher in self._watchers:
            watcher.join(timeout=2)  # the last lines are out
        return status


def python(*words: str) -> list[str]:
    """Return the words that run a module with this Python."""
    return [sys.executable, "-m", *words]
