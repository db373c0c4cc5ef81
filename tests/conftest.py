"""What every test stands on: servers of our own, a folder of its own for uploads, real worker processes."""

import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from pytest_django import Settings

from portal import embedded, rehearsal_processes
from portal.celery import app
from portal.ground import logs

# The same examples in every run of the gate; HYPOTHESIS_PROFILE=default looks for new ones.
hypothesis.settings.register_profile("gate", derandomize=True, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

StartCelery = Callable[..., "subprocess.Popen[bytes]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let whoever runs the tests say how many storms there are to be, and which (see `tests.faults`)."""
    parser.addoption("--runs", type=int, default=20, help="random runs of tests/faults (default 20)")
    parser.addoption("--seed", type=int, default=1, help="seed of the first of them; the others count on")


def pytest_configure() -> None:
    """Start the servers that no URL names; the workers of a parallel run inherit the addresses."""
    if django_settings.EMBEDDED:
        embedded.current().ensure(wanted=django_settings.EMBEDDED)


@pytest.fixture(autouse=True)
def media_root(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a test uploads to itself, also from the processes that it starts."""
    folder = tmp_path / "media"
    folder.mkdir()
    settings.MEDIA_ROOT = folder
    monkeypatch.setenv("MEDIA_ROOT", str(folder))
    return folder


THAWED = """
CREATE OR REPLACE FUNCTION firmware_part_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
"""


STILL_CONNECTED = """
SELECT usename, application_name, state, backend_start, query FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """
    Let tests bend the policy, the periods and the models of a published release, which nobody else may.

    The triggers stay where they are and do nothing; `tests/firmware/test_frozen_parts.py` puts back what they do.
    """
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(THAWED)
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(STILL_CONNECTED)
        left = cursor.fetchall()
    assert not left, f"sessions that a test left open: {left}"


KEPT = {
    "ground_auditentry": "audit_only_grows",
    "ground_auditlink": "audit_chain_only_grows",
    "scheduling_deployment": "deployment_is_kept",
}
"""Tables that nobody empties, and the triggers that see to it."""


@pytest.fixture(autouse=True, scope="session")
def audit_emptied_between_tests() -> Iterator[None]:
    """
    Let Django empty the database after a test with transactions of its own.

    The audit and the deployments refuse that, as they should; only the owner of a table can silence its trigger.
    """
    usual = DatabaseOperations.sql_flush

    def sql_flush(self: DatabaseOperations, *args: Any, **kwargs: Any) -> list[str]:
        flush = usual(self, *args, **kwargs)
        if not flush:
            return flush
        return [
            *(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}" for table, trigger in KEPT.items()),
            *flush,
            *(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}" for table, trigger in KEPT.items()),
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", sql_flush)
        yield


@pytest.fixture(autouse=True, scope="session")
def rehearsals_ended() -> Iterator[None]:
    """Leave no process of a rehearsal behind that a test has started."""
    yield
    for process in rehearsal_processes._started:
        process.kill()
        process.wait()


@pytest.fixture
def start_celery(transactional_db: None, tmp_path: Path) -> Iterator[StartCelery]:
    """
    Start a real Celery worker, or beat, on the test's database; it is ready when the call returns.

    It leads a process group of its own, and `kill` is what a power cut does to it.
    """
    with app.connection_or_acquire() as broker:
        broker.default_channel.client.flushdb()
    started: list[subprocess.Popen[bytes]] = []

    def start(
        kind: str,
        *words: str,
        folder: Path = django_settings.BASE_DIR,
        wrapped_in: Sequence[str] = (),
        **environment: str,
    ) -> "subprocess.Popen[bytes]":
        said = tmp_path / f"celery-{len(started)}.log"  # a pipe that nobody reads would stop it when full
        with said.open("wb") as output:
            program = subprocess.Popen(
                [
                    *wrapped_in,
                    sys.executable,
                    "-u",  # what it says of being ready must not wait in a buffer
                    "-m",
                    "celery",
                    "-A",
                    "portal.celery",
                    kind,
                    "--loglevel",
                    "info",
                    *CELERY_OPTIONS[kind],
                    *words,
                ],
                cwd=folder,
                env=os.environ | {"DATABASE_URL": database_url()} | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(program)
        assert eventually(
            lambda: CELERY_READY[kind] in said.read_text() or program.poll() is not None, within=120
        ), said.read_text()
        assert program.poll() is None, said.read_text()
        return program

    yield start
    for program in started:
        kill(program)


CELERY_OPTIONS = {
    "worker": ["--loglevel", "info", "--without-gossip", "--without-mingle"],
    "beat": ["--loglevel", "info", "--pidfile="],
}
CELERY_READY = {"worker": " ready.\n", "beat": ". maxinterval -> "}
"""What each prints last of all before it begins."""


def kill(program: "subprocess.Popen[bytes]") -> None:
    """Kill a program and all its children at once, and wait until it is gone."""
    if program.poll() is None:
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()


def database_url() -> str:
    """Return the address of the database that this test uses, for a process that it starts."""
    account, _, place = django_settings.DATABASE_URL.rpartition("@")
    path, question, query = place.partition("?")
    host = path.rpartition("/")[0]
    return f"{account}@{host}/{connection.settings_dict['NAME']}{question}{query}"


def eventually(holds: Callable[[], object], *, within: float = 20, every: float = 0.05) -> bool:
    """Wait until something holds, asking `every` so many seconds; tell whether it came to."""
    until = time.monotonic() + within
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True


@pytest.fixture
def now() -> datetime:
    """Half an hour before the clocks go back."""
    return datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Collect what production would write, and more: all that the portal and Django say while debugging."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(logs.JsonLines())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)
