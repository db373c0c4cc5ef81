"""Tests of the servers of our own: real ones, started, shared and killed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from portal.bootstrap import BASE_DIR, UnableToPrepare
from portal.embedded import Services

HOLD = """
import sys
from portal import embedded
embedded.current().ensure()
print("up", flush=True)
sys.stdin.read()
"""

Holder = subprocess.Popen[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A long path with spaces, where the servers of these tests keep their data from one test to the next."""
    place = tmp_path_factory.mktemp("a path with spaces") / ("long" * 20)
    yield place
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_EMBEDDED_DIR", str(place))
        shutil.rmtree(Services(profile="test").state)


@pytest.fixture
def services(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Servers of these tests alone, not yet started."""
    monkeypatch.setenv("PORTAL_EMBEDDED_DIR", str(place))
    monkeypatch.setenv("PORTAL_PROFILE", "test")
    services = Services(profile="test")
    yield services
    services.release()
    services.stop()
    assert not services.sockets.exists()


@pytest.fixture
def hold(services: Services) -> Iterator[Callable[[], Holder]]:
    """Start a process that uses the servers until its standard input closes; it has not started them yet."""
    holders: list[Holder] = []

    def start() -> Holder:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        holders.append(subprocess.Popen([sys.executable, "-c", HOLD], cwd=BASE_DIR, text=True, **pipes))
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def is_up(holder: Holder) -> bool:
    """Wait until a holder has its servers."""
    assert holder.stdout
    return holder.stdout.readline() == "up\n"


def leave(holder: Holder) -> None:
    """Let a holder end in the ordinary way."""
    holder.communicate("", timeout=30)
    assert holder.returncode == 0


def running(services: Services) -> list[psutil.Process]:
    """Return the living processes of these servers."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if str(services.state / "pg") in line or str(services.redis_socket) in line:
                found.append(process)
    return found


def query(services: Services, statement: str) -> object:
    """Ask PostgreSQL as the application's role."""
    address = services.urls()["DATABASE_URL"].replace("postgres:", "postgresql:")
    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


class TestEnsure:
    def test_starts_servers_that_answer_at_their_addresses(self, services: Services) -> None:
        services.ensure()

        assert services.postgresql_answers()
        assert services.redis_answers()
        assert query(services, "select rolsuper from pg_roles where rolname = current_user") is False
        assert query(services, "select datcollate from pg_database where datname = 'portal'") == "C"

    def test_starts_one_pair_for_many_first_comers(
        self, services: Services, hold: Callable[[], Holder]
    ) -> None:
        holders = [hold() for _ in range(4)]

        assert all(map(is_up, holders))
        assert len(running(services)) == 2

    def test_starts_only_what_is_wanted(self, services: Services) -> None:
        services.ensure(wanted=["REDIS_URL"])

        assert services.redis_answers()
        assert not services.postgresql_answers()

    def test_recovers_from_a_kill_of_both(self, services: Services) -> None:
        services.ensure()
        query(services, "drop table if exists kept")
        query(services, "create table kept as select 42 as n")
        for process in running(services):
            process.kill()
            process.wait(10)
        assert not services.postgresql_answers()

        services.ensure()

        assert query(services, "select n from kept") == 42
        assert services.redis_answers()

    def test_leaves_alone_a_stranger_whose_id_stands_in_the_file(self, services: Services) -> None:
        services.ensure()
        services.stop()
        with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
            (services.state / "pg" / "postmaster.pid").write_text(
                f"{stranger.pid}\n{services.state / 'pg'}\n"
            )

            services.ensure()

            assert stranger.poll() is None
            assert services.postgresql_answers()
            stranger.kill()

    def test_ends_servers_that_outlived_their_data(self, services: Services) -> None:
        services.ensure()
        before = {process.pid for process in running(services)}
        shutil.rmtree(services.state / "pg")
        shutil.rmtree(services.state / "redis")

        services.ensure()

        assert services.postgresql_answers()
        assert before.isdisjoint(process.pid for process in running(services))

    def test_starts_over_where_a_first_start_was_interrupted(self, services: Services) -> None:
        half_made = services.state / "pg"
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir()
        (half_made / "PG_VERSION").write_text("18\n")

        services.ensure()

        assert services.postgresql_answers()


class TestRelease:
    def test_stops_the_servers_after_the_last_only(
        self, services: Services, hold: Callable[[], Holder]
    ) -> None:
        first, last = hold(), hold()
        assert is_up(first)
        assert is_up(last)

        leave(first)
        assert services.postgresql_answers()
        assert services.redis_answers()

        leave(last)
        assert running(services) == []

    def test_counts_no_holder_that_was_killed(self, services: Services, hold: Callable[[], Holder]) -> None:
        killed, last = hold(), hold()
        assert is_up(killed)
        assert is_up(last)
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)

        leave(last)

        assert running(services) == []

    def test_is_not_a_fork_s_to_do(self, services: Services) -> None:
        services.ensure()

        if not (child := os.fork()):
            services.release()
            os._exit(0)
        os.waitpid(child, 0)

        assert services.postgresql_answers()

    def test_keeps_the_data(self, services: Services) -> None:
        services.ensure()
        query(services, "drop table if exists kept")
        query(services, "create table kept as select 42 as n")
        services.release()
        assert running(services) == []

        services.ensure()

        assert query(services, "select n from kept") == 42


class TestStartOver:
    def test_forgets_the_data(self, services: Services) -> None:
        services.ensure()
        query(services, "drop table if exists kept")
        query(services, "create table kept as select 42 as n")
        services.release()

        services.start_over()
        services.ensure()

        assert query(services, "select to_regclass('kept')::text") is None

    def test_refuses_while_another_uses_them(self, services: Services, hold: Callable[[], Holder]) -> None:
        assert is_up(hold())

        with pytest.raises(UnableToPrepare, match="Another process still uses"):
            services.start_over()

        assert services.postgresql_answers()
