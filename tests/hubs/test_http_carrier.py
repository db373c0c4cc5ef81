"""The carrier over HTTP keeps the gateway's contract, and learns nothing from what it cannot believe."""

import socket
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from hubs.gateway import (
    AnswerForged,
    CommandRefused,
    GatewayUnavailable,
    HubGateway,
    Outcome,
    Phase,
    UnableToLook,
    UnreadableReport,
    Verdict,
    connect,
)
from hubs.http_carrier import HttpCarrier, Patience
from hubs.modelled_fleet.models import CommandLog, FleetReport
from tests.factories import FleetHubFactory, NetworkProfileFactory
from tests.hubs import carrier
from tests.hubs.carrier import SECRET, CarrierOnVirtualTime, Line, VirtualClock
from tests.hubs.gateway_contract import (
    LATER,
    NOW,
    OLD,
    AccountableContract,
    GatewayContract,
    WatchfulContract,
    ask,
    command,
)

ONCE = replace(carrier.PATIENT, tries=1)
HASTY = Patience(connect=5, read=0.3, total=1.0, tries=3, pause=0.01)
LONG = 20
"""Seconds after which a call that should have ended long ago counts as hanging, on however busy a machine."""


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


@pytest.fixture
def line(db: None, clock: VirtualClock, settings: Settings) -> Iterator[Line]:
    NetworkProfileFactory()
    settings.CARRIER_SECRETS = [SECRET]
    with carrier.served(clock=clock) as (line, settings.CARRIER_URL):
        yield line


@pytest.fixture
def gateway(line: Line, clock: VirtualClock) -> HubGateway:
    return CarrierOnVirtualTime(clock=clock)


@pytest.fixture
def impatient(line: Line, clock: VirtualClock) -> HubGateway:
    """The same, which asks once only."""
    return CarrierOnVirtualTime(clock=clock, patience=ONCE)


@pytest.fixture
def hub(db: None) -> int:
    return FleetHubFactory(running_version=OLD).chf_id


@pytest.fixture
def stranger() -> int:
    return -1


@pytest.fixture
def read(hub):
    return command(Phase.READ, hub=hub)


class TestHttpCarrier(GatewayContract, AccountableContract, WatchfulContract):
    """Over a real socket, to the modelled fleet."""

    def test_is_what_the_setting_can_name(self, settings: Settings) -> None:
        settings.HUB_GATEWAY = "hubs.http_carrier.HttpCarrier"

        assert isinstance(connect(), HttpCarrier)

    @pytest.mark.parametrize("url", ["", "carrier.example", "ftp://carrier.example", "http://"])
    def test_needs_an_address_that_it_understands(self, url: str, settings: Settings) -> None:
        settings.CARRIER_URL = url

        with pytest.raises(ImproperlyConfigured, match="CARRIER_URL"):
            HttpCarrier()


class TestSend:
    def test_asks_nobody_about_nothing(self, gateway, line):
        gateway.send(commands=[], now=NOW)

        assert line.asked == []

    @pytest.mark.parametrize(
        "fault",
        [carrier.dropped_before, carrier.dropped_after, carrier.broken, carrier.failed, carrier.truncated],
    )
    def test_asks_again_and_is_carried_out_once(self, gateway, line, read, fault):
        line.faults.extend([fault, fault])

        (receipt,) = gateway.send(commands=[read], now=NOW)

        assert receipt.verdict == Verdict.ACCEPTED
        assert line.asked == ["POST /v1/commands"] * 3
        assert [report.outcome for report in gateway.collect(limit=9, now=LATER)] == [Outcome.DONE]
        assert CommandLog.objects.count() == 1

    @pytest.mark.parametrize(
        "fault",
        [carrier.dropped_before, carrier.dropped_after, carrier.broken, carrier.failed, carrier.truncated],
    )
    def test_learns_nothing_when_asking_again_is_of_no_use(self, gateway, line, read, fault):
        line.faults.extend([fault] * 3)

        with pytest.raises(GatewayUnavailable):
            gateway.send(commands=[read], now=NOW)

        assert len(line.asked) == 3

    def test_sends_a_key_again_whose_answer_was_lost_and_it_is_carried_out_once(self, impatient, line, hub):
        ask(impatient, command(Phase.STAGE, hub=hub))
        activate = command(Phase.ACTIVATE, hub=hub)
        line.faults.append(carrier.dropped_after)
        with pytest.raises(GatewayUnavailable):
            impatient.send(commands=[activate], now=NOW)

        (receipt,) = impatient.send(commands=[activate], now=NOW + timedelta(seconds=2))

        assert receipt.verdict == Verdict.ACCEPTED
        (report,) = impatient.collect(limit=9, now=LATER)
        assert (report.phase, report.outcome) == (Phase.ACTIVATE, Outcome.DONE)
        assert CommandLog.objects.get(phase=Phase.ACTIVATE).repeats == 1

    @pytest.mark.parametrize("fault", [carrier.unsigned, carrier.altered, carrier.an_earlier_one])
    def test_does_not_believe_a_forged_answer(self, gateway, line, read, fault):
        gateway.collect(limit=9, now=NOW)
        line.faults.append(fault)

        with pytest.raises(AnswerForged):
            gateway.send(commands=[read], now=NOW)

        assert len(line.asked) == 2, "whoever forges is not asked again"

    def test_does_not_believe_that_a_stale_token_was_taken(self, gateway, line, hub):
        gateway.send(commands=[command(Phase.READ, hub=hub, token=2)], now=NOW)
        line.faults.append(carrier.altered)

        with pytest.raises(AnswerForged):
            gateway.send(commands=[command(Phase.READ, hub=hub, attempt=2)], now=NOW)

    @pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable Content"])
    def test_says_that_a_command_is_at_fault_when_the_carrier_says_so(self, gateway, line, read, status):
        line.faults.append(carrier.saying(status, b'{"error": "line 1: no"}'))

        with pytest.raises(CommandRefused, match=f"{status[:3]}: line 1: no"):
            gateway.send(commands=[read], now=NOW)

        assert len(line.asked) == 1

    def test_finds_the_command_that_the_fleet_cannot_read(self, gateway, read):
        poison = read._replace(phase=Phase.STAGE, digest="not a digest")

        with pytest.raises(CommandRefused, match="422: line 2: digest is not a SHA-256"):
            gateway.send(commands=[read, poison], now=NOW)

        assert not CommandLog.objects.exists()

    def test_blames_no_command_for_a_refusal_that_anybody_could_have_made(self, gateway, line, read):
        line.faults.append(lambda *_: ("422 Unprocessable Content", [("Content-Length", "0")], b""))

        with pytest.raises(AnswerForged):
            gateway.send(commands=[read], now=NOW)

    @pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "301 Moved Permanently"])
    def test_blames_no_command_for_what_concerns_all(self, gateway, line, read, status):
        line.faults.append(carrier.saying(status, b""))

        with pytest.raises(GatewayUnavailable, match=status[:3]):
            gateway.send(commands=[read], now=NOW)

    @pytest.mark.parametrize(
        "receipts",
        [
            b"",
            b"{}\n",
            b"no\n",
            b'{"deployment": 1, "phase": "read", "attempt": 1, "verdict": "accepted"}\n',
            b'{"deployment": 2048, "phase": "read", "attempt": 1, "verdict": "perhaps"}\n',
            b'{"deployment": 2048, "phase": "read", "attempt": 1, "verdict": "accepted"}\n' * 2,
        ],
    )
    def test_learns_nothing_from_receipts_that_are_not_those_of_the_commands(
        self, gateway, line, read, receipts
    ):
        line.faults.append(carrier.saying("200 OK", receipts))

        with pytest.raises(GatewayUnavailable, match="receipts"):
            gateway.send(commands=[read], now=NOW)

    def test_signs_by_the_databases_clock_and_not_by_its_own(self, gateway, read):
        """The whole of this file lives in another year than its host."""
        assert abs(datetime.now(UTC) - NOW) > timedelta(minutes=1)
        assert gateway.send(commands=[read], now=NOW)[0].verdict == Verdict.ACCEPTED


class TestCollect:
    def test_hands_over_what_makes_no_sense_beside_what_does(self, gateway, line, read):
        gateway.send(commands=[read], now=NOW)
        gateway.collect(limit=9, now=LATER)
        whole = line.last[2]
        line.faults.append(carrier.saying("200 OK", whole.replace(b"done", b"exploded") + whole + b"{\n"))

        unknown, good, none = gateway.collect(limit=9, now=LATER)

        assert isinstance(unknown, UnreadableReport)
        assert unknown.id == good.id
        assert good.outcome == Outcome.DONE
        assert isinstance(none, UnreadableReport)
        assert none.id is None

    def test_takes_repeated_reports_as_they_come(self, gateway, line, read):
        gateway.send(commands=[read], now=NOW)
        [report] = gateway.collect(limit=9, now=LATER)
        line.faults.append(carrier.saying("200 OK", line.last[2] * 3))

        assert gateway.collect(limit=9, now=LATER) == [report] * 3

    def test_takes_no_more_than_it_asked_for(self, gateway, line, read):
        gateway.send(commands=[read], now=NOW)
        gateway.collect(limit=9, now=LATER)
        line.faults.append(carrier.saying("200 OK", line.last[2] * 3))

        assert len(gateway.collect(limit=2, now=LATER)) == 2

    @pytest.mark.parametrize("fault", [carrier.unsigned, carrier.altered, carrier.an_earlier_one])
    def test_does_not_believe_forged_reports(self, gateway, line, read, fault):
        gateway.send(commands=[read], now=NOW)
        line.faults.append(fault)

        with pytest.raises(AnswerForged):
            gateway.collect(limit=9, now=LATER)

        assert len(gateway.collect(limit=9, now=LATER)) == 1

    @pytest.mark.parametrize("fault", [carrier.dropped_before, carrier.dropped_after, carrier.truncated])
    def test_gets_a_report_whose_way_back_was_broken(self, gateway, line, read, fault):
        gateway.send(commands=[read], now=NOW)
        line.faults.append(fault)

        assert len(gateway.collect(limit=9, now=LATER)) == 1

    def test_blames_no_command_for_a_refusal(self, gateway, line):
        line.faults.append(carrier.saying("422 Unprocessable Content", b'{"error": "no"}'))

        with pytest.raises(GatewayUnavailable, match="422: no"):
            gateway.collect(limit=9, now=NOW)

    def test_does_not_read_without_end(self, gateway, line):
        line.faults.append(carrier.endless)

        with pytest.raises(GatewayUnavailable, match="longer than"):
            gateway.collect(limit=9, now=NOW)


class TestAcknowledge:
    def test_asks_nobody_about_nothing(self, gateway, line):
        gateway.acknowledge(reports=[])

        assert line.asked == []

    @pytest.mark.parametrize("fault", [carrier.dropped_before, carrier.dropped_after, carrier.failed])
    def test_is_heard_once_however_often_it_is_said(self, gateway, line, read, fault):
        gateway.send(commands=[read], now=NOW)
        [report] = gateway.collect(limit=9, now=LATER)
        line.faults.append(fault)

        gateway.acknowledge(reports=[report.id])

        assert not FleetReport.objects.exists()

    def test_may_come_to_nothing_and_the_report_comes_again(self, impatient, line, read):
        impatient.send(commands=[read], now=NOW)
        [report] = impatient.collect(limit=9, now=LATER)
        line.faults.append(carrier.dropped_before)
        with pytest.raises(GatewayUnavailable):
            impatient.acknowledge(reports=[report.id])

        assert impatient.collect(limit=9, now=LATER) == [report]


class TestReceived:
    ENTRY = (
        b'{"position": %d, "deployment": 1, "phase": "read", "attempt": 1, "hub": "00-DB-12-34-56-78-90-A0",'
        b' "digest": "", "version": 0, "received_at": "2026-03-29T00:30:00+00:00",'
        b' "valid_until": "2026-03-29T01:30:00+00:00", "is_accepted": true}\n'
    )

    def test_says_that_a_carrier_keeps_no_log(self, gateway, line):
        line.faults.append(carrier.saying("404 Not Found", b""))

        with pytest.raises(GatewayUnavailable, match="404"):
            gateway.received(after=0, limit=9)

    @pytest.mark.parametrize("positions", [(5,), (4,), (6, 6), (7, 6)])
    def test_does_not_read_in_circles(self, gateway, line, positions):
        line.faults.append(carrier.saying("200 OK", b"".join(self.ENTRY % each for each in positions)))

        with pytest.raises(GatewayUnavailable, match="not in its order"):
            gateway.received(after=5, limit=9)

    def test_signs_by_the_databases_clock_though_nobody_says_the_time(self, line, settings, monkeypatch):
        monkeypatch.setattr("hubs.http_carrier.clock.now", lambda: NOW)

        assert HttpCarrier(patience=ONCE).received(after=0, limit=9) == []

    def test_takes_no_log_with_gaps(self, gateway, line):
        line.faults.append(carrier.saying("200 OK", self.ENTRY % 6 + b"{}\n" + self.ENTRY % 8))

        with pytest.raises(GatewayUnavailable, match="line 2: is_accepted is missing"):
            gateway.received(after=5, limit=9)

    def test_takes_no_more_than_it_asked_for(self, gateway, line):
        line.faults.append(carrier.saying("200 OK", b"".join(self.ENTRY % each for each in range(1, 5))))

        assert [entry.position for entry in gateway.received(after=0, limit=2)] == [1, 2]


class TestLook:
    SEEN = b'{"hub": "00-DB-12-34-56-78-90-A%d", "is_heard": true, "version": 1}\n'

    @pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed", "501 Not Implemented"])
    def test_says_that_a_carrier_cannot_look(self, gateway, line, status):
        line.faults.append(carrier.saying(status, b""))

        with pytest.raises(UnableToLook, match=status[:3]):
            gateway.look(hubs=[1], now=NOW)

        assert len(line.asked) == 1

    @pytest.mark.parametrize(
        "fault", [carrier.missing, carrier.failed, carrier.broken, carrier.saying("422 Wrong", b"")]
    )
    def test_does_not_say_so_where_the_carrier_itself_did_not(self, impatient, line, fault):
        line.faults.append(fault)

        with pytest.raises(GatewayUnavailable) as raised:
            impatient.look(hubs=[1], now=NOW)

        assert not isinstance(raised.value, UnableToLook)

    @pytest.mark.parametrize("numbers", [(0,), (1, 0), (0, 1, 2)])
    def test_believes_nothing_of_other_hubs_than_it_asked_for(self, gateway, line, numbers):
        line.faults.append(carrier.saying("200 OK", b"".join(self.SEEN % number for number in numbers)))

        with pytest.raises(GatewayUnavailable, match="not of the hubs"):
            gateway.look(hubs=[0x00DB1234567890A0, 0x00DB1234567890A1], now=NOW)

    def test_takes_no_sighting_that_makes_no_sense(self, gateway, line):
        line.faults.append(carrier.saying("200 OK", b'{"hub": "00-DB-12-34-56-78-90-A0", "is_heard": 1}\n'))

        with pytest.raises(GatewayUnavailable, match="line 1: is_heard is neither true nor false"):
            gateway.look(hubs=[0x00DB1234567890A0], now=NOW)

    def test_is_for_a_thousand_hubs_at_most(self, gateway):
        with pytest.raises(GatewayUnavailable, match="more than 1000 hubs"):
            gateway.look(hubs=range(1_001), now=NOW)


class TestPatience:
    @pytest.mark.parametrize("fault", [carrier.silent, carrier.trickling_head, carrier.trickling_body])
    def test_ends_however_the_carrier_dawdles(self, line, clock, read, fault):
        line.faults.extend([fault] * 3)
        began = time.monotonic()

        with pytest.raises(GatewayUnavailable):
            CarrierOnVirtualTime(clock=clock, patience=HASTY).send(commands=[read], now=NOW)

        assert time.monotonic() - began < LONG

    def test_ends_where_nobody_takes_the_call(self, settings, db):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            settings.CARRIER_URL = f"http://127.0.0.1:{listener.getsockname()[1]}"
            began = time.monotonic()

            with pytest.raises(GatewayUnavailable):
                HttpCarrier(patience=HASTY).collect(limit=1, now=NOW)

        assert time.monotonic() - began < LONG

    def test_ends_at_once_where_nobody_is(self, settings):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            settings.CARRIER_URL = f"http://127.0.0.1:{closed.getsockname()[1]}"

        with pytest.raises(GatewayUnavailable, match="NewConnectionError"):
            HttpCarrier(patience=replace(HASTY, total=LONG)).collect(limit=1, now=NOW)


class TestSecrets:
    def test_are_changed_with_two_known_for_a_while(self, line, clock, read, settings):
        new = "another secret, which is 40 letters long"
        line.fleet._secrets = [SECRET, new]
        settings.CARRIER_SECRETS = [new, SECRET]

        assert CarrierOnVirtualTime(clock=clock).send(commands=[read], now=NOW)

    def test_that_differ_are_told_apart_from_a_carrier_that_is_away(self, line, clock, read, settings):
        settings.CARRIER_SECRETS = ["another secret, which is 40 letters long"]

        with pytest.raises(GatewayUnavailable, match="401: compare its secret and its clock with ours"):
            CarrierOnVirtualTime(clock=clock).send(commands=[read], now=NOW)

        assert line.fleet.refused == {"wrong signature": 1}
        assert not CommandLog.objects.exists()

    @pytest.mark.parametrize(
        "fault",
        [
            carrier.dropped_after,
            carrier.broken,
            carrier.unsigned,
            carrier.altered,
            carrier.saying("400 no", b"\xff"),
        ],
    )
    def test_are_never_told(self, gateway, line, read, fault, caplog):
        caplog.set_level("DEBUG")
        line.faults.extend([fault] * 3)

        with pytest.raises((GatewayUnavailable, CommandRefused)) as failure:
            gateway.send(commands=[read], now=NOW)

        told = caplog.text + "".join(traceback.format_exception(failure.value)) + repr(gateway)
        assert SECRET not in told
        assert "127.0.0.1" not in str(failure.value)


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        """A certificate of 127.0.0.1 that nobody but itself vouches for, with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / "carrier.pem"
        path.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path

    @pytest.fixture
    def asked(self, certificate: Path, settings: Settings) -> Iterator[list[bytes]]:
        """What a carrier with that certificate was asked; it answers 404 to whatever it is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        asked: list[bytes] = []

        def serve() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller, suppress(OSError), context.wrap_socket(caller, server_side=True) as wrapped:
                    asked.append(wrapped.recv(65536))
                    wrapped.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            settings.CARRIER_URL = f"https://localhost:{listener.getsockname()[1]}/hubs/"
            thread = threading.Thread(target=serve)
            thread.start()
            yield asked
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(LONG)

    def test_tells_nothing_to_whom_nobody_vouches_for(self, asked, settings):
        with pytest.raises(GatewayUnavailable, match="SSLError"):
            HttpCarrier(patience=ONCE).collect(limit=1, now=NOW)

        assert asked == []

    def test_speaks_to_whom_the_machines_authorities_vouch_for(self, asked, certificate, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

        with pytest.raises(AnswerForged):
            HttpCarrier(patience=ONCE).collect(limit=1, now=NOW)

        assert asked[0].startswith(b"GET /hubs/v1/reports?limit=1 HTTP/1.1\r\n")
