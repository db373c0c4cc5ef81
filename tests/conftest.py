"""What every test stands on: servers of our own, a folder of its own for uploads, real worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from pytest_django import Settings

from portal import embedded
from portal.celery import app

StartWorker = Callable[..., "subprocess.Popen[bytes]"]


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


@pytest.fixture(autouse=True, scope="session")
def audit_emptied_between_tests() -> Iterator[None]:
    """
    Let Django empty the database after a test with transactions of its own.

    The audit refuses that, as it should; only the owner of the table can silence its trigger.
    """
    usual = DatabaseOperations.sql_flush

    def sql_flush(self: DatabaseOperations, *args: Any, **kwargs: Any) -> list[str]:
        table = "ALTER TABLE ground_auditentry {} TRIGGER audit_only_grows"
        flush = usual(self, *args, **kwargs)
        return [table.format("DISABLE"), *flush, table.format("ENABLE")] if flush else flush

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", sql_flush)
        yield


@pytest.fixture
def start_worker(transactional_db: None, tmp_path: Path) -> Iterator[StartWorker]:
    """
    Start a real Celery worker on the test's database; it has said that it is ready when the call returns.

    It leads a process group of its own: `os.killpg(worker.pid, signal.SIGKILL)` is what a power cut does.
    """
    with app.connection_or_acquire() as broker:
        broker.default_channel.client.flushdb()
    started: list[subprocess.Popen[bytes]] = []

    def start(*, concurrency: int = 1, **environment: str) -> "subprocess.Popen[bytes]":
        said = tmp_path / f"worker-{len(started)}.log"  # a pipe that nobody reads would stop it when full
        celery = ["celery", "-A", "portal.celery", "worker", "--concurrency", str(concurrency)]
        with said.open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", *celery, "--loglevel", "info", "--without-gossip", "--without-mingle"],
                cwd=django_settings.BASE_DIR,
                env=os.environ | {"DATABASE_URL": database_url()} | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(worker)
        eventually(lambda: " ready.\n" in said.read_text() or worker.poll() is not None, within=60)
        assert worker.poll() is None, said.read_text()
        return worker

    yield start
    for worker in started:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def database_url() -> str:
    """Return the address of the database that this test uses, for a process that it starts."""
    account, _, place = django_settings.DATABASE_URL.rpartition("@")
    path, question, query = place.partition("?")
    host = path.rpartition("/")[0]
    return f"{account}@{host}/{connection.settings_dict['NAME']}{question}{query}"


def eventually(holds: Callable[[], object], *, within: float = 20) -> bool:
    """Wait until something holds; tell whether it came to."""
    until = time.monotonic() + within
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def now() -> datetime:
    """Half an hour before the clocks go back."""
    return datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
