"""Tests of the demo: that it opens, that it ends, and what it says when it cannot begin."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from portal.bootstrap import BASE_DIR
from portal.embedded import Services
from portal.management.commands.demo import MARK, end_orphans
from tests.conftest import eventually

Demo = subprocess.Popen[str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A path with spaces where a demo of these tests keeps all that it keeps."""
    place = tmp_path / "a demo's place"
    monkeypatch.setenv("PORTAL_EMBEDDED_DIR", str(place))
    yield place
    services = Services(profile="demo")
    services.stop()
    shutil.rmtree(services.state)


@pytest.fixture
def demo(place: Path, tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Start `manage.py demo` as a person would, without what the tests' own environment says."""
    ours = (
        "DATABASE_URL",
        "REDIS_URL",
        "DEBUG",
        "DJANGO_SETTINGS_MODULE",
        "PORTAL_PROFILE",
        "PORTAL_ADDRESS",
    )
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    started: list[Demo] = []
    # what a shell starts in the background ignores the one, under nohup the other, and whatever that starts does too
    heeded = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    usual = {number: signal.signal(number, handler) for number, handler in heeded.items()}

    def start(*words: str, **further: str) -> Demo:
        program = subprocess.Popen(
            [sys.executable, "manage.py", "demo", *words],
            cwd=BASE_DIR,
            env=environment | {"MEDIA_ROOT": str(tmp_path / "uploads")} | further,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(program)
        return program

    yield start
    for program in started:
        if program.poll() is None:
            program.terminate()
        program.communicate(timeout=60)
    for number, handler in usual.items():
        signal.signal(number, handler)


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def left_running(place: Path) -> list[str]:
    """Return the command lines of what a demo at this place has left behind."""
    services = Services(profile="demo")
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            marked = process.environ().get(MARK) == str(services.sockets)
            if marked or str(services.state / "pg") in line or str(services.redis_socket) in line:
                found.append(line)
    return found


def wait_for(program: Demo, words: str) -> str:
    """Read what a demo prints until these words come; return all that was read."""
    read = []
    for line in program.stdout or ():
        read.append(line)
        if words in line:
            return "".join(read)
    raise AssertionError("".join(read))


def finish(program: Demo) -> str:
    """Wait for the end of a demo; return what it printed until then, from where it was read."""
    assert program.stdout
    read = program.stdout.read()
    program.wait(60)
    return read


class TestDemo:
    def test_opens_the_portal_and_stops_by_itself(
        self, place: Path, demo: Callable[..., Demo], port: int
    ) -> None:
        running = demo("--hubs", "300", "--seconds", "4", "--port", str(port))

        printed = wait_for(running, "The portal is open")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/accounts/login/") as page:
            assert page.status == 200
        printed += finish(running)

        assert running.returncode == 0, printed
        assert f"http://127.0.0.1:{port}/" in printed
        assert "@example." in printed
        assert "Traceback" not in printed
        assert left_running(place) == []

    def test_speaks_to_the_fleet_over_http(self, place: Path, demo: Callable[..., Demo], port: int) -> None:
        running = demo("--hubs", "300", "--seconds", "8", "--port", str(port), "--carrier", "http")

        printed = wait_for(running, "The portal is open") + finish(running)

        assert running.returncode == 0, printed
        assert "The modelled fleet listens at unix:" in printed
        assert "GatewayUnavailable" not in printed.split("The portal is open")[1], "its reports are asked for"
        assert left_running(place) == []

    def test_has_a_release_that_breaks_hubs_when_it_is_asked_for(
        self, place: Path, demo: Callable[..., Demo], port: int
    ) -> None:
        words = ("--hubs", "300", "--seconds", "1", "--port", str(port), "--defect")

        printed = finish(demo(*words))
        again = finish(demo(*words))

        assert "Making a hub model that the first release breaks." in printed
        assert "Booking Southern Power & Gas's hubs." in printed
        assert "The portal is open" in printed
        assert "The demo's data is here from an earlier start; --fresh makes it anew." in again

    def test_says_that_its_data_has_no_defect(
        self, place: Path, demo: Callable[..., Demo], port: int
    ) -> None:
        words = ("--hubs", "300", "--seconds", "1", "--port", str(port))
        finish(demo(*words))

        printed = finish(demo(*words, "--defect"))

        assert "without a defect: --fresh --defect makes it with one" in printed

    def test_starts_again_after_it_was_killed(
        self, place: Path, demo: Callable[..., Demo], port: int
    ) -> None:
        first = demo("--hubs", "300", "--port", str(port))
        wait_for(first, "The portal is open")
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        assert left_running(place)

        second = demo("--hubs", "300", "--seconds", "1", "--port", str(port))
        printed = finish(second)

        assert second.returncode == 0, printed
        assert "The portal is open" in printed
        assert left_running(place) == []

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (signal.SIGINT, "Starting PostgreSQL"),
            (signal.SIGTERM, "Starting PostgreSQL"),
            (signal.SIGINT, "Bringing the database up to date"),
            (signal.SIGHUP, "Bringing the database up to date"),
        ],
    )
    def test_leaves_nothing_behind_when_it_is_stopped_early(
        self, place: Path, demo: Callable[..., Demo], port: int, number: signal.Signals, words: str
    ) -> None:
        running = demo("--port", str(port))
        wait_for(running, words)

        running.send_signal(number)
        printed = finish(running)

        assert running.returncode != 0
        assert "Traceback" not in printed
        assert left_running(place) == []

    @pytest.mark.usefixtures("place")
    def test_says_that_its_port_is_taken(self, demo: Callable[..., Demo], port: int) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            listener.listen()

            refused = demo("--port", str(port))
            printed = finish(refused)

        assert refused.returncode == 1
        assert printed == f"Port {port} is taken: choose another, such as --port {port + 1}.\n"

    def test_says_that_it_runs_already(self, place: Path, demo: Callable[..., Demo], port: int) -> None:
        first = demo("--port", str(port))
        wait_for(first, "Starting PostgreSQL")

        second = demo("--port", str(port))
        printed = finish(second)

        assert second.returncode == 1
        assert printed.startswith("A demo of this checkout is running already: stop it first")

    @pytest.mark.usefixtures("place")
    def test_forgets_no_database_that_is_not_its_own(self, demo: Callable[..., Demo]) -> None:
        refused = demo("--fresh", DATABASE_URL="postgres://somebody@database.invalid/precious")
        printed = finish(refused)

        assert refused.returncode == 1
        assert printed.startswith("--fresh forgets only data of the demo's own")

    @pytest.mark.parametrize(
        "words", [("--port", "0"), ("--port", "70000"), ("--hubs", "-5"), ("--seconds", "x")]
    )
    @pytest.mark.usefixtures("place")
    def test_refuses_numbers_that_make_no_sense(
        self, demo: Callable[..., Demo], words: tuple[str, str]
    ) -> None:
        refused = demo(*words)
        printed = finish(refused)

        assert refused.returncode == 2
        assert f"error: argument {words[0]}: " in printed


@contextlib.contextmanager
def sleeping(*, mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that carries `mark`, given once the mark can be read: a process that begins has none yet."""
    with subprocess.Popen(["/bin/sleep", "60"], env={MARK: mark}) as process:
        try:
            assert eventually(lambda: psutil.Process(process.pid).environ().get(MARK) == mark)
            yield process
        finally:
            process.kill()


class TestEndOrphans:
    def test_ends_what_carries_the_mark_and_nothing_else(self) -> None:
        with contextlib.ExitStack() as started:
            orphan, stranger = (
                started.enter_context(sleeping(mark=mark)) for mark in ("ours", "another checkout's")
            )

            end_orphans(mark="ours")

            assert not psutil.pid_exists(orphan.pid)
            assert stranger.poll() is None
