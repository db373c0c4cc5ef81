"""Tests of what runs several programs as one."""

import io
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from portal.supervisor import Supervisor

STAYS = "import sys, time; print('stays', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
FAILS = "import sys; print('oh', flush=True); sys.exit(3)"
PARENT = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print('child', child.pid, flush=True); time.sleep(60)"
)


class Stage:
    """A supervisor whose output can be read."""

    def __init__(self) -> None:
        self.output = io.StringIO()
        self.supervisor = Supervisor(output=self.output)
        self.before = psutil.Process().children()

    def start(self, name: str, program: str) -> None:
        self.supervisor.start(
            name, [sys.executable, "-c", program], cwd=Path.cwd(), environment=dict(os.environ)
        )

    def says(self, words: str) -> bool:
        return words in self.output.getvalue()

    def left_behind(self) -> list[psutil.Process]:
        """Return what runs below this process and did not before: a browser of other tests may."""
        return [child for child in psutil.Process().children() if child not in self.before]

    def run(self, *, after: str = "", seconds: float | None = None) -> int:
        return self.supervisor.run(is_ready=lambda: self.says(after), when_ready="open", seconds=seconds)


@pytest.fixture
def stage() -> Stage:
    return Stage()


class TestRun:
    def test_ends_with_0_when_its_seconds_have_passed(self, stage: Stage) -> None:
        stage.start("one", STAYS)

        assert stage.run(after="stays", seconds=0.1) == 0
        assert stage.left_behind() == []

    def test_prints_each_line_with_the_name_of_its_program(self, stage: Stage) -> None:
        stage.start("one", STAYS)

        stage.run(after="stays", seconds=0.1)

        lines = [line[9:] for line in stage.output.getvalue().splitlines()]
        assert lines == ["one    | stays", "demo   | open", "demo   | 0.1 seconds have passed"]

    def test_stops_all_and_ends_with_1_when_one_ends_by_itself(self, stage: Stage) -> None:
        stage.start("one", STAYS)
        stage.start("two", FAILS)

        assert stage.run(after="never said") == 1
        assert stage.says("two ended by itself (exit code 3)")
        assert stage.left_behind() == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_ends_with_0_at_a_signal(self, stage: Stage, number: signal.Signals) -> None:
        stage.start("one", STAYS)

        with stage.supervisor.signals():
            os.kill(os.getpid(), number)
            status = stage.run(after="never said")

        assert status == 0
        assert stage.left_behind() == []

    def test_kills_at_a_second_signal_what_will_not_end(self, stage: Stage) -> None:
        stage.start("one", STUBBORN)
        patience = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))

        with stage.supervisor.signals():
            began = time.monotonic()
            patience.start()
            status = stage.run(after="deaf", seconds=0.1)

        assert status == 0
        assert time.monotonic() - began < 20
        assert stage.left_behind() == []

    def test_leaves_no_grandchild_behind(self, stage: Stage) -> None:
        stage.start("one", PARENT)

        stage.run(after="child", seconds=0.1)

        grandchild = int(stage.output.getvalue().split("child ")[1].split()[0])
        deadline = time.monotonic() + 10
        while psutil.pid_exists(grandchild) and psutil.Process(grandchild).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_goes_on_when_its_terminal_is_gone(self, stage: Stage) -> None:
        stage.start("one", STAYS)
        stage.output.close()

        assert stage.supervisor.run(is_ready=lambda: True, when_ready="open", seconds=0.1) == 0
        assert stage.left_behind() == []
