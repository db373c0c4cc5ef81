"""Take each enforcement out of a copy of the checkout and of its database, and see its tests fail."""

import compileall
import contextlib
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.db import connection

from portal import embedded
from tests.mutations import verdicts
from tests.mutations.changes import Edit, in_database
from tests.mutations.enforcements import Enforcement

TIME_LIMIT = 900
"""Seconds that the tests of one enforcement may take before they count as hung."""
BASELINE_LIMIT = 7_200
MAKE_DATABASE = """
import django
django.setup()
from django.db import connection
connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
"""
# a dot at the head also leaves out the environment, the history and the servers' data
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "media", "staticfiles")


class UnableToProve(Exception):
    """Nothing can be said about any enforcement; the sentence says why and what to do."""


class Ending(Enum):
    """What became of the tests once an enforcement was gone."""

    PROVED = "proved"
    SURVIVED = "SURVIVED"
    BROKE = "BROKE"
    HUNG = "HUNG"


@dataclass(frozen=True, slots=True)
class Result:
    """How one enforcement fared: the test that failed, or why none did."""

    enforcement: Enforcement
    ending: Ending
    seconds: float
    test: str
    why: str


@dataclass(frozen=True, slots=True)
class _Run:
    """What pytest said: its exit status (None where it hung), a verdict for each test, and its words."""

    status: int | None
    verdicts: Sequence[dict[str, str]]
    words: str


@dataclass(slots=True)
class Laboratory:
    """A copy of the checkout, with servers or at least a database of its own."""

    folder: Path
    environment: dict[str, str]
    parameters: dict[str, Any]
    """How psycopg reaches the server."""
    database: str
    """The database of the tests; what it looks like untouched is kept beside it."""

    @property
    def whole(self) -> str:
        """The name of the untouched database."""
        return f"{self.database}_whole"

    def prepare(self) -> None:
        """
        Make the database as the migrations make it.

        :raises UnableToProve: if that fails
        """
        made = subprocess.run(
            [sys.executable, "-c", MAKE_DATABASE],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise UnableToProve(f"The database of the copy could not be made:\n{made.stderr[-2_000:]}")
        with self._server() as server:
            _recreate(server, self.whole, template=self.database)

    def restore(self) -> None:
        """Put the database back to what it was."""
        with self._server() as server:
            _recreate(server, self.database, template=self.whole)

    def forget(self) -> None:
        """Drop both databases."""
        with self._server() as server:
            for name in (self.database, self.whole):
                _drop(server, name)

    @contextlib.contextmanager
    def without(self, enforcement: Enforcement) -> Iterator[None]:
        """
        Take an enforcement out while the block lasts.

        :raises Misfit: if it is not where the list says
        """
        change = enforcement.change
        if isinstance(change, Edit):
            path = self.folder / change.file
            usual = path.read_text()
            path.write_text(change.text(folder=self.folder))
            try:
                yield
            finally:
                path.write_text(usual)
            return
        with psycopg.connect(**self.parameters, dbname=self.database, autocommit=True) as there:
            in_database(change=change, connection=there)
        yield

    def test(self, tests: Sequence[str], *, limit: float, is_whole: bool = False) -> _Run:
        """Run tests in the copy as it is now; what was compiled is kept only of the copy that `is_whole`."""
        said, noted = self.folder / "said.txt", self.folder / "verdicts.txt"
        noted.write_text("")
        options = [
            "-q",
            "--tb=short",
            "--reuse-db",
            "--no-migrations",
            "-p",
            "no:cacheprovider",
            "-p",
            verdicts.__name__,
        ]
        with said.open("wb") as output:
            program = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *tests],
                cwd=self.folder,
                env=self.environment
                | {verdicts.FILE: str(noted)}
                | ({} if is_whole else {"PYTHONDONTWRITEBYTECODE": "1"}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        status: int | None
        try:
            status = program.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)  # with whatever the tests started
            program.wait()
        lines = noted.read_text().splitlines()
        return _Run(status, [json.loads(line) for line in lines], said.read_text(errors="replace"))

    @contextlib.contextmanager
    def _server(self) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
        with psycopg.connect(**self.parameters, dbname="template1", autocommit=True) as server:
            yield server


def _drop(server: "psycopg.Connection[tuple[object, ...]]", name: str) -> None:
    # not by force: that would also end an autovacuum, which is not ours to end and steps aside by itself
    _end_sessions(server, name)
    server.execute(f'DROP DATABASE IF EXISTS "{name}"'.encode())


def _end_sessions(server: "psycopg.Connection[tuple[object, ...]]", name: str) -> None:
    server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = %s AND usename = current_user AND pid <> pg_backend_pid()",
        [name],
    )


def _recreate(server: "psycopg.Connection[tuple[object, ...]]", name: str, *, template: str) -> None:
    _drop(server, name)
    _end_sessions(server, template)
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())


@contextlib.contextmanager
def laboratory() -> Iterator[Laboratory]:
    """
    Copy the checkout as it is, with what is not committed, to a folder that is deleted afterwards.

    Where the settings start servers of our own, the copy has its own too; on a server that a URL names, it has
    a database beside that one.
    """
    with tempfile.TemporaryDirectory(prefix="prove-") as temporary:
        folder = Path(temporary) / "portal"
        shutil.copytree(settings.BASE_DIR, folder, ignore=NOT_COPIED)
        Path(temporary).chmod(0o755)  # the servers' account has to pass
        # by the hash of the source: a change within one second must not run what was compiled before it
        compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "portal.settings_test",
            "PORTAL_PROFILE": "test",
            "PORTAL_EMBEDDED_DIR": f"{temporary}/servers",
        }
        if "DATABASE_URL" in settings.EMBEDDED:
            with _servers(folder=f"{temporary}/servers") as servers:
                given = {name: url for name, url in servers.urls().items() if name in settings.EMBEDDED}
                parameters = {"host": str(servers.sockets), "port": embedded.PORT, "user": "portal"}
                yield from _with(folder, environment | given, parameters, "portal")
        else:
            url = urlsplit(settings.DATABASE_URL)
            name = f"{url.path.strip('/')}_prove"
            given = {"DATABASE_URL": url._replace(path=f"/{name}").geturl()}
            parameters = connection.get_connection_params()
            known = ("host", "port", "user", "password")
            yield from _with(
                folder,
                environment | given,
                {key: parameters[key] for key in known if key in parameters},
                name,
            )


def _with(
    folder: Path, environment: dict[str, str], parameters: dict[str, Any], name: str
) -> Iterator[Laboratory]:
    made = Laboratory(folder, environment, parameters, f"test_{name}")
    made.prepare()
    try:
        yield made
    finally:
        made.forget()


@contextlib.contextmanager
def _servers(*, folder: str) -> Iterator[embedded.Services]:
    """Hold servers of the copy's own for as long as the block lasts, so that no run has to start them anew."""
    usual = os.environ.get("PORTAL_EMBEDDED_DIR")
    os.environ["PORTAL_EMBEDDED_DIR"] = folder
    try:
        servers = embedded.Services(profile="test")
    finally:
        if usual is None:
            del os.environ["PORTAL_EMBEDDED_DIR"]
        else:
            os.environ["PORTAL_EMBEDDED_DIR"] = usual
    servers.ensure(wanted=settings.EMBEDDED)
    try:
        yield servers
    finally:
        servers.stop()
        servers.release()


def prove(
    *, enforcements: Sequence[Enforcement], tell: Callable[[str], None], done: Callable[[Result], None]
) -> list[Result]:
    """
    Take the enforcements out one after the other; return how each fared.

    `tell` hears what is being done, `done` each result as soon as it is known.

    :raises UnableToProve: if a named test fails already while everything is in its place
    """
    tell("copying the checkout and making a database")
    with laboratory() as copy:
        tests = sorted({test for enforcement in enforcements for test in enforcement.tests})
        tell(f"running the {len(tests)} named tests with everything in its place")
        whole = copy.test(tests, limit=BASELINE_LIMIT, is_whole=True)
        if whole.status != 0:
            raise UnableToProve(
                "Not every named test passes while everything is in its place, so none of them proves anything. "
                f"Mend this first:\n{whole.words[-6_000:]}"
            )
        results = []
        for enforcement in enforcements:
            began = time.monotonic()
            copy.restore()
            with copy.without(enforcement):
                run = copy.test(enforcement.tests, limit=TIME_LIMIT)
            ending, test, why = judge(run)
            results.append(Result(enforcement, ending, time.monotonic() - began, test, why))
            done(results[-1])
        return results


def judge(run: _Run) -> tuple[Ending, str, str]:
    """Say how the tests fared, with the test that decided it and its words."""
    for line in run.verdicts:
        if line["verdict"] == verdicts.ASSERTION:
            return Ending.PROVED, line["test"], line["why"]
    if run.status is None:
        return Ending.HUNG, "", f"not over after {TIME_LIMIT} seconds"
    for line in run.verdicts:
        if line["verdict"] == verdicts.BROKE:
            return Ending.BROKE, line["test"], line["why"]
    if run.status == 0 and run.verdicts:
        return Ending.SURVIVED, "", "every named test passes without it"
    return Ending.BROKE, "", run.words[-2_000:]
