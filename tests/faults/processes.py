"""Real workers as processes of their own, to be killed at will."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import quote

from django.conf import settings
from django.db import connection


def database_url() -> str:
    """Return the address of the test's own database, as a worker needs it."""
    given = connection.settings_dict
    host = given["HOST"] or given["OPTIONS"].get("host", "")
    secret = f":{quote(given['PASSWORD'])}" if given["PASSWORD"] else ""
    if host.startswith("/"):
        return f"postgres://{given['USER']}{secret}@/{given['NAME']}?host={host}"
    return f"postgres://{given['USER']}{secret}@{host}:{given['PORT'] or 5432}/{given['NAME']}"


@contextmanager
def process(*words: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program of the portal in a session of its own; end whatever is left of it."""
    program = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=settings.BASE_DIR,
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "portal.settings_test",
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
        }
        | environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield program
    finally:
        kill(program)


def kill(program: subprocess.Popen[bytes], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a program and all its children, and wait for its end."""
    if program.poll() is None:
        os.killpg(program.pid, number)
    program.wait(30)


def worker(**environment: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Start a Celery worker with two processes."""
    return process(
        *("celery", "--quiet", "-A", "portal.celery", "worker", "--concurrency", "2"),
        *("--without-gossip", "--without-mingle", "--loglevel", "warning"),
        **environment,
    )


def beat(**environment: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Start a timetable."""
    return process(
        *("celery", "--quiet", "-A", "portal.celery", "beat", "--pidfile=", "--loglevel", "warning"),
        **environment,
    )


def eventually(check: Callable[[], object], *, seconds: float) -> bool:
    """Wait until a check holds; return whether it did in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.02)
    return bool(check())
