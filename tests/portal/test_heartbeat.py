"""Tests of the heartbeat: real processes that start, end, and are killed."""

import logging
import os
import signal
import socket
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from portal.ground import clock
from portal.heartbeat import Heart, code_version
from portal.models import Heartbeat
from tests.conftest import StartCelery, eventually, kill

pytestmark = pytest.mark.django_db(transaction=True)
NAME = f"{socket.gethostname()}:{os.getpid()}"


def heart(*, kind: str = "worker", doing: str = "", since: float = 0) -> Heart:
    """Return the heart of this process, which is at `doing` for so many seconds."""
    return Heart(kind=kind, processes=4, doing=lambda: (doing, since))


def age(**seconds: float) -> None:
    """Make this process's row so much older."""
    Heartbeat.objects.update(
        **{name: clock.now() - timedelta(seconds=value) for name, value in seconds.items()}
    )


class TestBeat:
    def test_says_who_lives_since_when_and_with_which_code(self, settings: Settings) -> None:
        settings.PORTAL_VERSION = "3.1-7"

        heart().beat()

        row = Heartbeat.objects.get()
        assert (row.kind, row.name, row.version, row.processes) == ("worker", NAME, "3.1-7", 4)
        assert row.started_at <= row.seen_at <= clock.now()
        assert (row.doing, row.doing_since) == ("", None)

    def test_moves_the_last_heartbeat_and_not_the_start(self) -> None:
        living = heart()
        living.beat()
        age(started_at=500, seen_at=400)

        living.beat()

        row = Heartbeat.objects.get()
        assert clock.now() - row.seen_at < timedelta(seconds=300)
        assert clock.now() - row.started_at >= timedelta(seconds=500)

    def test_gives_the_row_to_a_new_process_of_the_same_name(self) -> None:
        heart().beat()
        age(started_at=500, seen_at=400)

        heart().beat()

        row = Heartbeat.objects.get()
        assert clock.now() - row.started_at < timedelta(seconds=300)

    def test_comes_back_after_its_row_was_taken(self) -> None:
        living = heart()
        living.beat()
        Heartbeat.objects.all().delete()

        living.beat()

        assert Heartbeat.objects.count() == 1

    def test_says_what_the_process_is_at(self) -> None:
        heart(doing="allocate, carry_out", since=900).beat()

        row = Heartbeat.objects.get()
        assert row.doing == "allocate, carry_out"
        assert row.doing_since
        assert timedelta(seconds=899) < row.seen_at - row.doing_since < timedelta(seconds=901)

    def test_forgets_processes_that_were_silent_for_a_day(self) -> None:
        now = clock.now()
        for name, hours in (("old:1", 25), ("gone:2", 23)):
            Heartbeat.objects.create(
                kind="worker",
                name=name,
                version="1",
                processes=1,
                started_at=now,
                seen_at=now - timedelta(hours=hours),
            )

        heart().beat()

        assert set(Heartbeat.objects.values_list("name", flat=True)) == {NAME, "gone:2"}

    def test_is_not_stopped_by_a_database_that_is_away_and_says_so_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        living = heart()
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setitem(connection.settings_dict, "OPTIONS", {"host": "/nowhere"})
            living.beat()
            living.beat()
        living.beat()

        assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
            "the heartbeat of this worker is not written",
            "the heartbeat of this worker is written again",
        ]
        assert Heartbeat.objects.count() == 1

    def test_waits_for_nobody_who_holds_the_table(self, caplog: pytest.LogCaptureFixture) -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE portal_heartbeat")
            try:
                heart().beat()
            finally:
                cursor.execute("ROLLBACK")

        assert "statement timeout" in caplog.text


class TestLeave:
    def test_takes_away_this_row_and_no_other(self) -> None:
        worker, beat = heart(), heart(kind="beat")
        worker.beat()
        beat.beat()

        worker.leave()

        assert [row.kind for row in Heartbeat.objects.all()] == ["beat"]


class TestCodeVersion:
    def test_is_what_the_environment_says(self, settings: Settings) -> None:
        settings.PORTAL_VERSION = "3.1-7"

        assert code_version() == "3.1-7"

    def test_is_the_project_s_where_there_is_no_history(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text('[project]\nversion = "2.7"\n')
        settings.PORTAL_VERSION, settings.BASE_DIR = "", tmp_path

        assert code_version() == "2.7"

    def test_stops_nobody_where_nothing_is_known(self, settings: Settings, tmp_path: Path) -> None:
        settings.PORTAL_VERSION, settings.BASE_DIR = "", tmp_path

        assert code_version() == "unknown"


def row_of(program: "subprocess.Popen[bytes]", *, kind: str) -> Heartbeat | None:
    """Return the row of a process that this test started."""
    return Heartbeat.objects.filter(kind=kind, name=f"{socket.gethostname()}:{program.pid}").first()


@pytest.mark.parametrize(("kind", "processes"), [("worker", 2), ("beat", 0)])
class TestProcess:
    def test_lives_in_the_table_until_it_is_asked_to_end(
        self, kind: str, processes: int, start_celery: StartCelery
    ) -> None:
        program = start_celery(kind, *(["--concurrency", "2"] if processes else []))

        assert eventually(lambda: row_of(program, kind=kind), within=60)
        row = row_of(program, kind=kind)
        assert row
        assert row.processes == processes
        assert eventually(lambda: still_beats(row), within=60)
        program.send_signal(signal.SIGTERM)
        program.wait(60)
        assert row_of(program, kind=kind) is None

    def test_leaves_its_row_behind_when_it_is_killed(
        self, kind: str, processes: int, start_celery: StartCelery
    ) -> None:
        program = start_celery(kind)
        assert eventually(lambda: row_of(program, kind=kind), within=60)

        kill(program)

        assert row_of(program, kind=kind)


def still_beats(row: Heartbeat) -> bool:
    """Tell whether a process has been seen again since a row was read."""
    return Heartbeat.objects.filter(pk=row.pk, seen_at__gt=row.seen_at).exists()
