"""The fleet as a process of its own: killed, restarted, stopped; and never in production by oversight."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from pytest_django import Settings

from hubs.gateway import Command, GatewayUnavailable, HubGateway, Phase, Receipt, Verdict
from hubs.http_carrier import HttpCarrier, Patience
from hubs.modelled_fleet.models import CommandLog
from portal.ground import clock
from tests.conftest import database_url, eventually, kill
from tests.factories import FleetHubFactory, NetworkProfileFactory
from tests.hubs.carrier import PATIENT, SECRET

Server = subprocess.Popen[bytes]
START = 90
"""Seconds in which a process on a busy machine has surely begun."""


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def start(transactional_db: None, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a fleet server on the test's database; it listens when the call returns."""
    started: list[Server] = []

    def start(*words: str) -> Server:
        said = tmp_path / f"fleet-{len(started)}.log"
        with said.open("wb") as output:
            server = subprocess.Popen(
                [sys.executable, "manage.py", "fleet_server", *words],
                cwd=django_settings.BASE_DIR,
                env=os.environ | {"DATABASE_URL": database_url(), "CARRIER_SECRET": SECRET},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(server)
        assert eventually(lambda: "listens at" in said.read_text() or server.poll() is not None, within=START)
        assert server.poll() is None, said.read_text()
        return server

    yield start
    for server in started:
        kill(server)


@pytest.fixture
def carrier(port: int, settings: Settings) -> HubGateway:
    settings.CARRIER_SECRETS = [SECRET]
    settings.CARRIER_URL = f"http://127.0.0.1:{port}"
    return HttpCarrier(patience=PATIENT)


@pytest.fixture
def hubs(transactional_db: None) -> list[int]:
    """Fifty hubs that answer at once."""
    NetworkProfileFactory()
    return [hub.chf_id for hub in FleetHubFactory.create_batch(50)]


def reads(lot: int, *, hubs: Sequence[int]) -> list[Command]:
    """Return a batch of commands that may be carried out for an hour, one for each hub."""
    now = clock.now()
    return [
        Command(lot * 2048 + number, Phase.READ, 1, hub, lot, 1, now + timedelta(hours=1))
        for number, hub in enumerate(hubs)
    ]


def send(carrier: HubGateway, commands: Sequence[Command]) -> Sequence[Receipt]:
    """Send until the carrier is there, as the portal does."""
    receipts: list[Sequence[Receipt]] = []

    def is_sent() -> bool:
        try:
            receipts.append(carrier.send(commands=commands, now=clock.now()))
        except GatewayUnavailable:
            return False
        return True

    assert eventually(is_sent, within=START)
    return receipts[0]


class TestFleetServer:
    def test_keeps_one_connection_for_many_requests(self, start, carrier, port, hubs):
        start("--port", str(port))

        for number in range(3):
            assert len(send(carrier, reads(number, hubs=hubs))) == 50
        reports = carrier.collect(limit=500, now=clock.now())
        carrier.acknowledge(reports=[report.id for report in reports])

        assert len(reports) == 150
        assert carrier.collect(limit=500, now=clock.now()) == []
        assert carrier._pool.num_connections == 1

    def test_listens_on_a_socket_in_the_file_system(self, start, settings, tmp_path, hubs):
        path = tmp_path / "fleet.sock"
        start("--unix-socket", str(path))
        settings.CARRIER_SECRETS = [SECRET]
        settings.CARRIER_URL = f"unix://{path}"

        receipts = send(HttpCarrier(patience=PATIENT), reads(1, hubs=hubs))

        assert {receipt.verdict for receipt in receipts} == {Verdict.ACCEPTED}

    def test_killed_amid_the_batches_carries_out_each_command_once(self, start, carrier, port, hubs):
        batches = [reads(number, hubs=hubs) for number in range(1, 21)]
        first = start("--port", str(port))
        answers: list[Sequence[Receipt]] = []

        def send_all() -> None:
            try:
                ours = HttpCarrier(patience=Patience(tries=1, read=PATIENT.read, total=PATIENT.total))
                answers.extend(send(ours, batch) for batch in batches)
            finally:
                connection.close()

        sender = threading.Thread(target=send_all)
        sender.start()
        assert eventually(lambda: CommandLog.objects.count() >= 150, within=START)
        kill(first)
        received = CommandLog.objects.count()
        start("--port", str(port))
        sender.join(START)

        assert received < 1_000, "it was killed too late to prove anything"
        assert {receipt.verdict for receipts in answers for receipt in receipts} == {Verdict.ACCEPTED}
        assert CommandLog.objects.count() == 1_000
        reports = []
        while page := carrier.collect(limit=300, now=clock.now()):
            reports += page
            carrier.acknowledge(reports=[report.id for report in page])
        assert sorted(report.deployment for report in reports) == [
            each.deployment for batch in batches for each in batch
        ]

    def test_answers_what_it_was_asked_before_it_was_told_to_stop(self, start, carrier, port, hubs):
        server = start("--port", str(port))
        answers: list[Sequence[Receipt]] = []

        def send_one() -> None:
            answers.append(carrier.send(commands=batch, now=moment))

        batch, moment = reads(1, hubs=hubs), clock.now()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE modelled_fleet_commandlog IN EXCLUSIVE MODE")
            sender = threading.Thread(target=send_one)
            sender.start()

            def is_waiting() -> bool:
                cursor.execute(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = "
                    "'modelled_fleet_commandlog'::regclass"
                )
                return cursor.fetchone() == (1,)

            assert eventually(is_waiting, within=START)
            server.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                server.wait(1)
        sender.join(START)

        assert [receipt.verdict for receipt in answers[0]] == [Verdict.ACCEPTED] * 50
        assert server.wait(START) == 0

    def test_does_not_begin_in_production_unless_told_to(self):
        production = {
            "PATH": os.environ["PATH"],
            "SECRET_KEY": "k3-" + "x7Q" * 20,
            "EVIDENCE_KEY": "5e" * 32,
            "SEALING_KEY": "7c" * 32,
            "ALLOWED_HOSTS": "portal.example.org",
            "PORTAL_ADDRESS": "https://portal.example.org",
            "DATABASE_URL": "postgres://portal@database.invalid/portal?sslmode=verify-full",
            "EMAIL_URL": "smtp+tls://portal@mail.example.org:587",
            "REDIS_URL": "redis://redis.invalid:6379/0",
            "HUB_GATEWAY": "hubs.modelled_fleet.gateway.ModelledFleet",
        }

        refused = subprocess.run(
            [sys.executable, "manage.py", "fleet_server"],
            cwd=django_settings.BASE_DIR,
            env=production,
            capture_output=True,
            text=True,
            check=False,
        )

        assert refused.returncode == 1
        assert "This is production" in refused.stderr
        assert "FLEET_SERVER=true" in refused.stderr
