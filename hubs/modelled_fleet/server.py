"""
The modelled fleet behind HTTP, as a carrier would be: what `hubs.http_carrier` asks, this answers.

Nonces are remembered in the memory of the one process that serves. All that a repeated request could do is repeat
what is done once, so a table would cost a write for each request and guard little; and a new process, which
remembers none, takes nothing that was signed before it began.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

from django.db import DatabaseError, close_old_connections

from hubs import signatures, wire
from hubs.gateway import LOOK_LIMIT
from hubs.modelled_fleet.gateway import SEND_LIMIT, ModelledFleet
from portal.ground.clock import Clock

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)
Thing = TypeVar("Thing")

BODY_LIMIT = 256 * 1024
"""Bytes of a request: room for 50 commands or 10,000 acknowledgements."""
PAGE_LIMIT = 5_000
"""Reports, or entries of the log, in one answer."""


class Refused(Exception):
    """The request is not answered with what it asked for."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as it matters here."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def target(self) -> str:
        """The path as it was sent, which is what was signed."""
        return f"{self.path}?{self.query}" if self.query else self.path


class Nonces:
    """What was signed since `since` and within the window, so that nothing is taken twice."""

    def __init__(self, *, since: datetime) -> None:
        self._since = int(since.timestamp() * 1000)
        self._seen: set[str] = set()
        self._in_order: deque[tuple[int, str]] = deque()
        self._lock = threading.Lock()

    def take(self, *, signed: signatures.Signed, now: datetime) -> None:
        """
        Remember a nonce.

        :raises Refused: if it was taken before, or may have been before this process began
        """
        with self._lock:
            self._forget(before=(now - signatures.WINDOW).timestamp() * 1000)
            if signed.moment < self._since:
                raise Refused(HTTPStatus.UNAUTHORIZED, "signed before this server began")
            if signed.nonce in self._seen:
                raise Refused(HTTPStatus.UNAUTHORIZED, "taken before")
            self._seen.add(signed.nonce)
            self._in_order.append((signed.moment, signed.nonce))

    def _forget(self, *, before: float) -> None:
        # They are in the order of coming: one that was signed ahead of time holds up those behind it, no longer
        # than twice the window.
        while self._in_order and self._in_order[0][0] < before:
            self._seen.discard(self._in_order.popleft()[1])


class FleetApplication:
    """A WSGI application; threads may share it."""

    def __init__(self, *, secrets: Sequence[str], clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock
        self._fleet = ModelledFleet()
        self._nonces = Nonces(since=clock())
        self.refused: Counter[str] = Counter()
        """Requests that were not believed, by reason."""
        self._routes: dict[tuple[str, str], Callable[[Asked, datetime], bytes]] = {
            ("POST", "/v1/commands"): self._take_commands,
            ("GET", "/v1/reports"): self._hand_over_reports,
            ("POST", "/v1/acknowledgements"): self._forget_reports,
            ("GET", "/v1/log"): self._read_back,
            ("POST", "/v1/looks"): self._look,
        }

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        if environ["PATH_INFO"] == "/health":
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
            return [b"alive\n"]
        status, body, proof = self._answer(environ)
        start_response(
            f"{status.value} {status.phrase}",
            [("Content-Type", "application/x-ndjson"), ("Content-Length", str(len(body))), *proof.items()],
        )
        return [body]

    def _answer(self, environ: "WSGIEnvironment") -> tuple[HTTPStatus, bytes, dict[str, str]]:
        """Return status, body, and the proof that both are ours, where whoever asks can be believed."""
        signed = None
        close_old_connections()
        try:
            asked = _read(environ)
            now = self._clock()
            signed = self._believe(asked, now)
            status, body = HTTPStatus.OK, self._route(asked)(asked, now)
        except Refused as refusal:
            status, body = refusal.status, wire.write_refusal(refusal.reason)
        except DatabaseError:
            logger.exception("The fleet's database did not do as it was told")
            status, body = HTTPStatus.SERVICE_UNAVAILABLE, wire.write_refusal("no database")
        finally:
            close_old_connections()
        if signed is None:
            return status, body, {}
        proof = signatures.sign_answer(
            secret=signed.secret, request=signed.signature, status=status.value, body=body
        )
        return status, body, proof

    def _believe(self, asked: Asked, now: datetime) -> signatures.Signed:
        try:
            signed = signatures.check_request(
                secrets=self._secrets,
                method=asked.method,
                path=asked.target,
                body=asked.body,
                headers=asked.headers,
                now=now,
            )
            self._nonces.take(signed=signed, now=now)
        except (signatures.Forged, Refused) as forged:
            self.refused[f"{forged}"] += 1
            logger.warning("A request for %s was not believed: %s", asked.path, forged)
            raise Refused(HTTPStatus.UNAUTHORIZED, f"{forged}") from None
        return signed

    def _route(self, asked: Asked) -> Callable[[Asked, datetime], bytes]:
        try:
            return self._routes[asked.method, asked.path]
        except KeyError:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here") from None

    def _take_commands(self, asked: Asked, now: datetime) -> bytes:
        commands = _readable(wire.read_commands, asked.body)
        if len(commands) > SEND_LIMIT:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"more than {SEND_LIMIT} commands")
        return wire.write_receipts(self._fleet.send(commands=commands, now=now))

    def _hand_over_reports(self, asked: Asked, now: datetime) -> bytes:
        limit = min(_number(asked, "limit"), PAGE_LIMIT)
        return wire.write_reports(self._fleet.collect(limit=limit, now=now))

    def _forget_reports(self, asked: Asked, now: datetime) -> bytes:
        self._fleet.acknowledge(reports=_readable(wire.read_acknowledgement, asked.body))
        return b""

    def _read_back(self, asked: Asked, now: datetime) -> bytes:
        limit = min(_number(asked, "limit"), PAGE_LIMIT)
        return wire.write_log(self._fleet.received(after=_number(asked, "after"), limit=limit))

    def _look(self, asked: Asked, now: datetime) -> bytes:
        hubs = _readable(wire.read_hubs, asked.body)
        if len(hubs) > LOOK_LIMIT:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"more than {LOOK_LIMIT} hubs")
        return wire.write_sightings(self._fleet.look(hubs=hubs, now=now))


def _number(asked: Asked, name: str) -> int:
    [text] = parse_qs(asked.query).get(name, [""])[:1]
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= wire.BIGINT):
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{name} is not a whole number from 0 to {wire.BIGINT}"
        )
    return int(text)


def _readable(read: Callable[[bytes], list[Thing]], body: bytes) -> list[Thing]:
    try:
        return read(body)
    except wire.Unreadable as unreadable:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{unreadable}") from None


def _read(environ: "WSGIEnvironment") -> Asked:
    """
    Read a request.

    :raises Refused: if its length is not told, is too much, or not what came
    """
    told = environ.get("CONTENT_LENGTH") or ("" if "HTTP_TRANSFER_ENCODING" in environ else "0")
    if not (told.isascii() and told.isdigit()):
        raise Refused(HTTPStatus.LENGTH_REQUIRED, "say how long the body is")
    length = int(told[:9])
    if length > BODY_LIMIT:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"longer than {BODY_LIMIT} bytes")
    body = environ["wsgi.input"].read(length)
    if len(body) < length:
        raise Refused(HTTPStatus.BAD_REQUEST, "shorter than it said")
    return Asked(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"],
        query=environ.get("QUERY_STRING", ""),
        headers={
            name: environ.get(f"HTTP_{name.upper().replace('-', '_')}", "")
            for name in (signatures.MOMENT, signatures.NONCE, signatures.SIGNATURE)
        },
        body=body,
    )
