"""The fleet's door: it believes what is signed, once, and does nothing else."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from hubs import signatures, wire
from hubs.gateway import Phase
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog
from hubs.modelled_fleet.server import BODY_LIMIT, FleetApplication
from tests.factories import FleetHubFactory, NetworkProfileFactory
from tests.hubs.carrier import SECRET, VirtualClock
from tests.hubs.gateway_contract import NOW, command

NEXT = "another secret, which is 40 letters long"
READ = wire.write_commands([command(Phase.READ, hub=1)])


@pytest.fixture(autouse=True)
def connection_kept(db, monkeypatch):
    """Keep the test's own connection: its transaction looks like one that was left behind."""
    monkeypatch.setattr("hubs.modelled_fleet.server.close_old_connections", lambda: None)
    NetworkProfileFactory()
    FleetHubFactory(chf_id=1)


@pytest.fixture
def clock():
    return VirtualClock(NOW)


@pytest.fixture
def fleet(clock):
    return FleetApplication(secrets=[SECRET, NEXT], clock=clock)


def asked(
    method: str = "POST",
    path: str = "/v1/commands",
    body: bytes = READ,
    *,
    query: str = "",
    secret: str = SECRET,
    nonce: str = "0" * 32,
    moment=NOW,
    **changed: Any,
) -> dict[str, Any]:
    """Return the environment of a request that is signed as it should be, and then changed."""
    target = f"{path}?{query}" if query else path
    headers = signatures.sign_request(
        secret=secret, method=method, path=target, body=body, moment=moment, nonce=nonce
    )
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
    } | changed


def answer(fleet: FleetApplication, environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    begun: list[Any] = []
    content = b"".join(fleet(environ, lambda *words: begun.extend(words)))  # type: ignore[arg-type]
    headers = dict(begun[1])
    assert headers["Content-Length"] == str(len(content))
    return int(begun[0].split()[0]), headers, content


class TestFleetApplication:
    @pytest.mark.parametrize("secret", [SECRET, NEXT])
    def test_signs_its_answer_with_the_secret_that_it_was_asked_with(self, fleet, secret):
        request = asked(secret=secret)

        status, headers, body = answer(fleet, request)

        assert status == 200
        signatures.check_answer(
            secrets=[secret],
            request=request["HTTP_PORTAL_SIGNATURE"],
            status=200,
            body=body,
            headers=headers,
        )

    def test_takes_a_request_once(self, fleet):
        request = asked()
        answer(fleet, request | {"wsgi.input": io.BytesIO(READ)})

        status, headers, body = answer(fleet, request)

        assert (status, wire.read_refusal(body)) == (401, "taken before")
        assert signatures.ANSWER_SIGNATURE not in headers
        assert fleet.refused == {"taken before": 1}
        assert CommandLog.objects.get().repeats == 0

    def test_remembers_for_as_long_as_the_signature_holds(self, fleet, clock):
        """A request may be signed ahead of time, and sent again as late as the window allows."""
        request = asked(moment=NOW + signatures.WINDOW)
        answer(fleet, request | {"wsgi.input": io.BytesIO(READ)})
        for number in range(1, 9):
            clock.moment += timedelta(seconds=14)
            answer(fleet, asked(nonce=f"{number:032x}", moment=clock.moment))

        assert clock.moment < NOW + 2 * signatures.WINDOW
        assert answer(fleet, request)[0] == 401

    def test_forgets_what_could_not_be_sent_again(self, fleet, clock):
        for number in range(50):
            clock.moment += timedelta(seconds=30)
            answer(fleet, asked(nonce=f"{number:032x}", moment=clock.moment))

        assert len(fleet._nonces._seen) == len(fleet._nonces._in_order) <= 6

    def test_takes_nothing_that_its_forerunner_may_have_taken(self, clock):
        request = asked(moment=NOW - timedelta(seconds=1))
        fleet = FleetApplication(secrets=[SECRET], clock=clock)

        status, _, body = answer(fleet, request)

        assert (status, wire.read_refusal(body)) == (401, "signed before this server began")

    @pytest.mark.parametrize(
        "changed",
        [
            {"PATH_INFO": "/v1/acknowledgements"},
            {"REQUEST_METHOD": "PUT"},
            {"QUERY_STRING": "x=1"},
            {"wsgi.input": io.BytesIO(READ.replace(b"read", b"xxxx"))},
            {"HTTP_PORTAL_SIGNATURE": "0" * 64},
            {"HTTP_PORTAL_SIGNATURE": "\xff"},
            {"HTTP_PORTAL_NONCE": "1" * 32},
            {"HTTP_PORTAL_MOMENT": "1"},
        ],
    )
    def test_does_not_believe_what_was_not_signed_so(self, fleet, changed):
        status, headers, body = answer(fleet, asked() | changed)

        assert (status, wire.read_refusal(body)) == (401, "wrong signature")
        assert signatures.ANSWER_SIGNATURE not in headers, "who is not believed learns nothing of the secret"
        assert fleet.refused == {"wrong signature": 1}
        assert not CommandLog.objects.exists()

    def test_does_not_believe_what_was_signed_long_ago(self, fleet, clock):
        clock.moment += timedelta(seconds=61)

        assert answer(fleet, asked())[0] == 401
        assert fleet.refused == {"signed too long ago, or ahead of time": 1}

    def test_refuses_a_long_body_unread(self, fleet):
        class Unread(io.BytesIO):
            def read(self, *_: Any) -> bytes:
                raise AssertionError

        status, _, _ = answer(
            fleet, asked() | {"CONTENT_LENGTH": str(BODY_LIMIT + 1), "wsgi.input": Unread()}
        )

        assert status == 413

    def test_refuses_a_body_shorter_than_it_said(self, fleet):
        assert answer(fleet, asked() | {"CONTENT_LENGTH": str(len(READ) + 1)})[0] == 400

    @pytest.mark.parametrize(
        "changed",
        [
            {"CONTENT_LENGTH": "x"},
            {"CONTENT_LENGTH": "-1"},
            {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"},
        ],
    )
    def test_needs_to_be_told_the_length(self, fleet, changed):
        assert answer(fleet, asked() | changed)[0] == 411

    def test_refuses_more_than_fifty_commands_and_carries_out_none(self, fleet):
        status, headers, body = answer(fleet, asked(body=READ * 51))

        assert (status, wire.read_refusal(body)) == (422, "more than 50 commands")
        assert signatures.ANSWER_SIGNATURE in headers
        assert not CommandLog.objects.exists()

    def test_refuses_commands_of_which_one_makes_no_sense(self, fleet):
        status, _, body = answer(fleet, asked(body=READ + b"{}"))

        assert (status, wire.read_refusal(body)) == (422, "line 2: deployment is missing")
        assert not CommandLog.objects.exists()

    def test_refuses_ids_that_are_none(self, fleet):
        assert answer(fleet, asked(path="/v1/acknowledgements", body=b'{"id": "x"}'))[0] == 422

    @pytest.mark.parametrize(
        "query", ["", "limit=", "limit=-1", "limit=%EF%BC%91", "limit=ten", "limit=" + "9" * 19]
    )
    def test_refuses_a_limit_that_is_none(self, fleet, query):
        assert answer(fleet, asked("GET", "/v1/reports", b"", query=query))[0] == 422

    def test_hands_over_no_more_than_a_page_however_much_is_asked(self, fleet, monkeypatch):
        asked_for: list[int] = []
        monkeypatch.setattr(
            ModelledFleet, "collect", lambda self, *, limit, now: asked_for.append(limit) or []
        )

        assert answer(fleet, asked("GET", "/v1/reports", b"", query="limit=" + "9" * 18))[0] == 200
        assert asked_for == [5_000]

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/v1/commands"), ("POST", "/v1/reports"), ("GET", "/"), ("POST", "/admin/")],
    )
    def test_has_nothing_else(self, fleet, method, path):
        assert answer(fleet, asked(method, path))[0] == 404

    def test_says_that_its_database_is_away_and_not_why(self, fleet, monkeypatch, caplog):
        def fail(*_: Any, **__: Any) -> None:
            raise OperationalError("password of the database")

        monkeypatch.setattr(ModelledFleet, "send", fail)

        status, _, body = answer(fleet, asked())

        assert (status, wire.read_refusal(body)) == (503, "no database")
        assert "did not do as it was told" in caplog.text

    def test_is_alive_for_whoever_asks(self, fleet):
        status, _, body = answer(fleet, {"REQUEST_METHOD": "GET", "PATH_INFO": "/health"})

        assert (status, body) == (200, b"alive\n")
