"""SIGTERM in the middle of long work: the worker is gone within seconds, and holds nothing any more."""

import io
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, transaction

from hubs.identifiers import format_eui64
from portal import celery, embedded
from portal.ground import clock
from scheduling import tasks
from scheduling.models import HubSelection, Notice, SelectionFile, SelectionRow
from scheduling.operations import notices, selections
from tests.conftest import StartCelery, eventually
from tests.scheduling import world as worlds
from tests.scheduling.world import World
from tests.smtp import MailServer

AT_ONCE = 10
"""Seconds that a worker may take to be gone."""
BUSY_MACHINE = 10
"""Seconds more on a machine that does other things as well."""
MAILS = 60


@pytest.fixture
def world(transactional_db: None) -> World:
    return worlds.make(now=clock.now() - timedelta(hours=6))


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def owe(number: int) -> None:
    notices.owe(
        kind=Notice.Kind.ACCOUNT,
        subject_key="account:stop",
        addresses=[f"person-{one:03}@northern.example.com" for one in range(number)],
        context={"subject": "Hello", "text": "Hello", "html": "<p>Hello</p>"},
        now=clock.now(),
    )


def seconds_to_stop(worker: "subprocess.Popen[bytes]") -> float:
    """Ask a worker to stop and return how long it took."""
    began = time.monotonic()
    worker.terminate()
    worker.wait(timeout=60)
    return time.monotonic() - began


def none_is_held() -> bool:
    """Say whether every owed e-mail can be taken at once by whoever comes."""
    return not Notice.objects.filter(next_try_at__gt=clock.now()).exists()


class TestSigterm:
    def test_lets_the_sender_finish_its_email_and_hand_the_others_over(
        self, world: World, start_celery: StartCelery, mail_server: MailServer
    ) -> None:
        owe(MAILS)
        mail_server.seconds = 0.5
        worker = start_celery("worker", "--concurrency", "2", EMAIL_URL=mail_server.url)
        tasks.send_notices.delay()
        assert eventually(lambda: len(mail_server.mails) > 2, within=60)

        assert seconds_to_stop(worker) < AT_ONCE + BUSY_MACHINE
        assert worker.returncode == 0
        sent = Notice.objects.filter(sent_at__isnull=False)
        assert sorted(mail_server.ids) == sorted(sent.values_list("message_id", flat=True))
        assert 0 < sent.count() < MAILS
        assert none_is_held()

        mail_server.seconds = 0
        start_celery("worker", "--concurrency", "2", EMAIL_URL=mail_server.url)
        tasks.send_notices.delay()
        assert eventually(lambda: sent.count() == MAILS, within=60)
        assert len(set(mail_server.ids)) == len(mail_server.mails) == MAILS

    def test_lets_the_reader_of_a_file_finish_its_batch_and_hand_the_file_over(
        self, world: World, start_celery: StartCelery
    ) -> None:
        hubs = [format_eui64(hub.chf_id) for hub in world.hubs(500)]
        rows = [*hubs, *(f"FF{number:014X}" for number in range(400_000))]
        selection = selections.receive(
            supplier=world.northern,
            release=world.release,
            file=io.BytesIO("\r\n".join(["CHF ID", *rows]).encode()),
            name="hubs.csv",
            by=world.person,
            now=clock.now(),
        )
        file = SelectionFile.objects.filter(selection=selection)
        worker = start_celery("worker", "--concurrency", "2")
        tasks.read_files.delay()
        assert eventually(lambda: file.get().rows > 0, within=60)

        assert seconds_to_stop(worker) < AT_ONCE + BUSY_MACHINE
        assert worker.returncode == 0
        left_at = file.get()
        assert 0 < left_at.rows < len(rows)
        assert left_at.lease_until is None
        assert SelectionRow.objects.count() == left_at.rows

        start_celery("worker", "--concurrency", "2")

        def is_read() -> bool:
            tasks.read_files.delay()
            time.sleep(0.5)
            return not file.get().stored

        assert eventually(is_read, within=180)
        selection.refresh_from_db()
        assert selection.state == HubSelection.State.JUDGED
        assert selection.eligible == {str(world.network.pk): len(hubs)}
        assert file.get().deaths == 0

    def test_to_every_process_at_once_is_a_graceful_stop_too(
        self, world: World, start_celery: StartCelery, mail_server: MailServer
    ) -> None:
        """A supervisor that ends a whole control group does not tell the parent from its children."""
        owe(MAILS)
        mail_server.seconds = 0.5
        worker = start_celery("worker", "--concurrency", "2", EMAIL_URL=mail_server.url)
        tasks.send_notices.delay()
        assert eventually(lambda: len(mail_server.mails) > 2, within=60)

        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(timeout=60)

        assert worker.returncode == 0
        sent = Notice.objects.filter(sent_at__isnull=False)
        assert sorted(mail_server.ids) == sorted(sent.values_list("message_id", flat=True))
        assert 0 < sent.count() < MAILS
        assert none_is_held()

    def test_breaks_off_what_finds_no_clean_point_and_hands_it_back(
        self, world: World, start_celery: StartCelery, mail_server: MailServer
    ) -> None:
        owe(3)
        mail_server.seconds = 600
        worker = start_celery("worker", "--concurrency", "1", EMAIL_URL=mail_server.url)
        tasks.send_notices.delay()
        assert eventually(lambda: mail_server.connections, within=60)

        assert seconds_to_stop(worker) < AT_ONCE + BUSY_MACHINE
        assert not Notice.objects.filter(sent_at__isnull=False).exists()
        assert none_is_held()

    def test_cancels_a_statement_that_runs_for_too_long(
        self, world: World, start_celery: StartCelery
    ) -> None:
        """Somebody else holds the table: the task waits in the database, and leaves no lock behind."""
        worker = start_celery("worker", "--concurrency", "1")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE hubs_fleetcount IN ACCESS EXCLUSIVE MODE")
            tasks.count_fleet.delay()

            def number_waiting() -> int:
                cursor.execute(
                    "SELECT count(*) FROM pg_locks WHERE relation = 'hubs_fleetcount'::regclass AND NOT granted"
                )
                number: int = cursor.fetchone()[0]
                return number

            assert eventually(number_waiting, within=60)
            assert seconds_to_stop(worker) < AT_ONCE + BUSY_MACHINE
            assert number_waiting() == 0


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[bytes]"]:
    """A Redis of this test's own, which may hang or go away; its socket is `redis.sock` in its folder."""
    folder = tmp_path_factory.mktemp("redis")
    program = subprocess.Popen(
        [
            embedded.find_redis(),
            "--port",
            "0",
            "--unixsocket",
            "redis.sock",
            "--save",
            "",
            "--daemonize",
            "no",
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    program.socket = folder / "redis.sock"  # type: ignore[attr-defined]
    assert eventually(program.socket.exists)  # type: ignore[attr-defined]
    yield program
    program.send_signal(signal.SIGCONT)
    program.kill()
    program.wait()


class TestWithoutRedis:
    @pytest.mark.parametrize("trouble", [signal.SIGSTOP, signal.SIGKILL], ids=["hung", "gone"])
    def test_a_worker_ends_all_the_same_and_holds_nothing(
        self,
        world: World,
        start_celery: StartCelery,
        mail_server: MailServer,
        own_redis: "subprocess.Popen[bytes]",
        trouble: signal.Signals,
    ) -> None:
        owe(MAILS)
        mail_server.seconds = 0.5
        path: Path = own_redis.socket  # type: ignore[attr-defined]
        worker = start_celery(
            "worker", "--concurrency", "2", EMAIL_URL=mail_server.url, REDIS_URL=f"unix://{path}?db=0"
        )
        with celery.app.connection_for_write(f"redis+socket://{path}?virtual_host=0") as broker:
            broker.transport_options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
            tasks.send_notices.apply_async(connection=broker)
        assert eventually(lambda: len(mail_server.mails) > 2, within=60)
        own_redis.send_signal(trouble)

        assert seconds_to_stop(worker) < AT_ONCE + BUSY_MACHINE

        sent = Notice.objects.filter(sent_at__isnull=False)
        assert sorted(mail_server.ids) == sorted(sent.values_list("message_id", flat=True))
        assert none_is_held()
