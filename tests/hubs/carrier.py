"""The modelled fleet behind a real socket, and all that can go wrong on the way to it and back."""

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.db import connection, connections

from hubs import signatures
from hubs.gateway import Command, Receipt, Report, UnreadableReport
from hubs.http_carrier import HttpCarrier, Patience
from hubs.modelled_fleet.server import FleetApplication

SECRET = "the secret of the tests, 40 letters long"
PATIENT = Patience(connect=20, read=40, total=60, pause=0.01)
"""For what does not fail: a busy machine is slow."""

Answer = tuple[str, list[tuple[str, str]], bytes]
Fault = Callable[["Line", dict[str, Any], Callable[[], Answer]], Answer | None]


class Line:
    """A WSGI application between the carrier and the fleet; each request meets the next fault, if any is left."""

    def __init__(self, fleet: FleetApplication) -> None:
        self.fleet = fleet
        self.faults: deque[Fault] = deque()
        self.asked: list[str] = []
        """What came, as method and path."""
        self.last: Answer | None = None
        """The fleet's own last answer."""
        self.released = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")

        def handle() -> Answer:
            begun: list[Any] = []
            content = b"".join(self.fleet(environ, lambda *words: begun.extend(words)))  # type: ignore[arg-type]
            self.last = begun[0], begun[1], content
            return self.last

        fault = self.faults.popleft() if self.faults else None
        answer = fault(self, environ, handle) if fault else handle()
        if answer is None:
            environ["tests.socket"].shutdown(socket.SHUT_RDWR)
            answer = "200 OK", [], b""
        start_response(answer[0], answer[1])
        return [answer[2]]


def with_body(answer: Answer, body: bytes) -> Answer:
    """Put another body into an answer and leave its signature as it is."""
    headers = [(name, value) for name, value in answer[1] if name != "Content-Length"]
    return answer[0], [*headers, ("Content-Length", str(len(body)))], body


def dropped_before(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> None:
    """Lose the request."""


def dropped_after(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> None:
    """Lose the answer to a request that was carried out."""
    handle()


def broken(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> Answer:
    """Answer as a proxy does that finds nobody behind it."""
    return "502 Bad Gateway", [("Content-Length", "3")], b"no\n"


def missing(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> Answer:
    """Answer as a proxy does that knows no such path."""
    return "404 Not Found", [("Content-Length", "3")], b"no\n"


def failed(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> Answer:
    """Fail after carrying it out, and say so, signed."""
    handle()
    return signed(environ, "500 Internal Server Error", b'{"error": "no"}\n')


def signed(environ: dict[str, Any], status: str, body: bytes) -> Answer:
    """Make an answer that the carrier itself signed."""
    proof = signatures.sign_answer(
        secret=SECRET,
        request=environ["HTTP_PORTAL_SIGNATURE"],
        status=int(status.split()[0]),
        body=body,
    )
    return status, [("Content-Length", str(len(body))), *proof.items()], body


def saying(status: str, body: bytes) -> Fault:
    """Answer this, signed, and carry nothing out."""
    return lambda line, environ, handle: signed(environ, status, body)


def unsigned(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> Answer:
    """Answer without a signature."""
    status, headers, body = handle()
    return status, [each for each in headers if each[0] != signatures.ANSWER_SIGNATURE], body


def altered(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> Answer:
    """Change the answer on its way, and no signature."""
    answer = handle()
    return with_body(
        answer, answer[2].replace(b"stale_token", b"accepted").replace(b"done", b"expired") + b"\n"
    )


def an_earlier_one(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> Answer:
    """Answer with what was the answer to another request."""
    assert line.last
    return line.last


def truncated(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> Answer:
    """Break the line in the middle of the answer."""
    status, headers, body = handle()
    return status, headers, body[: len(body) // 2]


def silent(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> None:
    """Say nothing until the test is over."""
    line.released.wait(60)


def trickling_head(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> None:
    """Say a byte at a time, and never come to the body."""
    _trickle(line, environ, b"HTTP/1.1 200 OK\r\nX-Long: ")


def trickling_body(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> None:
    """Say a byte of the body at a time, and never come to its end."""
    _trickle(line, environ, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")


def endless(line: Line, environ: dict[str, Any], handle: Callable[[], Answer]) -> None:
    """Send more than anybody asked for."""
    with suppress(OSError):  # whoever asked has gone
        environ["tests.socket"].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n")
        for _ in range(900):
            environ["tests.socket"].sendall(b" " * 1_000_000)


def _trickle(line: Line, environ: dict[str, Any], beginning: bytes) -> None:
    with suppress(OSError):  # whoever asked has gone
        environ["tests.socket"].sendall(beginning)
        while not line.released.wait(0.02):
            environ["tests.socket"].sendall(b"x")


class _Handler(WSGIRequestHandler):
    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), "tests.socket": self.connection}

    def log_message(self, *words: object) -> None:
        pass


class VirtualClock:
    """The fleet's clock: what the portal was told last."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment


class CarrierOnVirtualTime(HttpCarrier):
    """The adapter itself; the fleet's own clock is set to the moment of each call."""

    def __init__(self, *, clock: VirtualClock, patience: Patience = PATIENT) -> None:
        super().__init__(patience=patience)
        self._clock = clock

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        self._clock.moment = now
        return super().send(commands=commands, now=now)

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report | UnreadableReport]:
        self._clock.moment = now
        return super().collect(limit=limit, now=now)


@contextmanager
def served(*, clock: VirtualClock) -> Iterator[tuple[Line, str]]:
    """
    Serve the fleet from a thread, one request after the other, on the test's own database connection.

    So the test's transaction is the fleet's as well, and is rolled back with it.
    """
    # what is signed at the clock's first moment must not seem older than the server
    began = clock.moment - timedelta(days=1)
    line = Line(FleetApplication(secrets=[SECRET], clock=lambda: began))
    line.fleet._clock = clock
    ours = connection._connections[connection._alias]  # type: ignore[attr-defined]

    def run() -> None:
        connections["default"] = ours
        server.serve_forever(poll_interval=0.02)

    with (
        # it would close the test's own connection, as Django's test client knows
        patch("hubs.modelled_fleet.server.close_old_connections"),
        WSGIServer(("127.0.0.1", 0), _Handler) as server,
    ):
        server.set_app(line)
        ours.inc_thread_sharing()
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield line, f"http://127.0.0.1:{server.server_port}"
        finally:
            line.released.set()
            server.shutdown()
            thread.join(60)
            ours.dec_thread_sharing()
