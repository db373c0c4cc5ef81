"""
A carrier over HTTP: five requests, signed both ways (`hubs.signatures`), of JSON lines (`hubs.wire`).

    POST /v1/commands               commands, answered by a receipt for each, in order
    GET  /v1/reports?limit=N        reports, oldest first
    POST /v1/acknowledgements       ids of reports that are recorded
    GET  /v1/log?after=P&limit=N    commands as the carrier received them; a carrier may do without
    POST /v1/looks                  hubs, answered by whether each is in contact; a carrier may do without

A request that found nobody, or nobody in time, is made again, at most twice and after a pause. All of them may be:
a key is carried out once however often it is sent, reports come until they are acknowledged, acknowledging twice is
acknowledging once, and reading changes nothing. Each is signed anew, since a carrier takes a nonce once. A halt
that is committed meanwhile is not asked, so `Patience.total` also says for how long a batch that was being sent may
still arrive.
"""

import contextlib
import itertools
import logging
import random
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from urllib3.connection import HTTPConnection, HTTPSConnection

from hubs import signatures, wire
from hubs.gateway import (
    AnswerForged,
    Command,
    CommandRefused,
    GatewayUnavailable,
    Receipt,
    ReceivedCommand,
    Report,
    Sighting,
    UnableToLook,
    UnreadableReport,
)
from portal.ground import clock

logger = logging.getLogger(__name__)

ANSWER_LIMIT = 8_000_000
"""Bytes of an answer; a report takes about 250."""
MAY_PASS = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Refusals that, like 5xx, mean nothing but: not now."""
AT_FAULT = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""Refusals that mean what was sent."""
NOT_OFFERED = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
"""Refusals that mean that a carrier does without what was asked for, where it may."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in seconds, and how often."""

    connect: float = 2.0
    read: float = 8.0
    """Without a single byte."""
    total: float = 15.0
    """For one call of the gateway, repetitions and pauses included, however busily bytes trickle."""
    tries: int = 3
    pause: float = 0.2
    """Before the second try; it doubles, and each is drawn between half and one and a half times that."""


class _NotNow(Exception):
    """The try failed in a way that another one may not."""


class _NotOffered(GatewayUnavailable):
    """The carrier itself says that it does without what it was asked for."""


class HttpCarrier:
    """A `HubGateway`, `Accountable` and `Watchful`, to the carrier at CARRIER_URL. One thread uses it at a time."""

    def __init__(self, *, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._secrets: Sequence[str] = settings.CARRIER_SECRETS
        self._pool, self._base = _pool_for(settings.CARRIER_URL)
        self._told: tuple[datetime, float] | None = None

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        """
        Hand over at most 50 commands; return one receipt each, in order.

        :raises GatewayUnavailable: if nothing was learned; the carrier may have taken them
        :raises CommandRefused: if the carrier says that it cannot take these, and took none
        """
        self._tell(now)
        if not commands:
            return []
        answer = self._ask("POST", "/v1/commands", wire.write_commands(commands))
        try:
            receipts = wire.read_receipts(answer)
        except wire.Unreadable as refusal:
            raise GatewayUnavailable(f"The carrier's receipts make no sense: {refusal}.") from None
        sent = [(command.deployment, command.phase, command.attempt) for command in commands]
        if [(receipt.deployment, receipt.phase, receipt.attempt) for receipt in receipts] != sent:
            raise GatewayUnavailable("The carrier's receipts are not those of the commands.")
        return receipts

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report | UnreadableReport]:
        """
        Return up to `limit` reports that are not acknowledged, oldest first; a carrier may hand over fewer.

        :raises GatewayUnavailable: if none could be fetched
        """
        self._tell(now)
        return wire.read_reports(self._ask_plainly("GET", f"/v1/reports?limit={limit}"))[:limit]

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        """
        Say that the reports with these ids are recorded and need not come again.

        :raises GatewayUnavailable: if the carrier may not have heard it; the reports may come again
        """
        if reports:
            self._ask_plainly("POST", "/v1/acknowledgements", wire.write_acknowledgement(reports))

    def received(self, *, after: int, limit: int) -> Sequence[ReceivedCommand]:
        """
        Return up to `limit` commands from the carrier's log, those beyond position `after`, in its order.

        :raises GatewayUnavailable: if none could be fetched, or the carrier keeps no log
        """
        answer = self._ask_plainly("GET", f"/v1/log?after={after}&limit={limit}")
        try:
            entries = wire.read_log(answer)
        except wire.Unreadable as refusal:
            raise GatewayUnavailable(f"The carrier's log makes no sense: {refusal}.") from None
        positions = [after, *(entry.position for entry in entries)]
        if any(later <= earlier for earlier, later in itertools.pairwise(positions)):
            raise GatewayUnavailable("The carrier's log is not in its order.")
        return entries[:limit]

    def look(self, *, hubs: Sequence[int], now: datetime) -> Sequence[Sighting]:
        """
        Say of at most 1,000 hubs whether each answers now; return one sighting each, in order.

        :raises GatewayUnavailable: if nothing was learned
        :raises UnableToLook: if the carrier, and nobody in its place, says that it does without
        """
        self._tell(now)
        if not hubs:
            return []
        try:
            answer = self._ask_plainly("POST", "/v1/looks", wire.write_hubs(hubs))
        except _NotOffered as refusal:
            raise UnableToLook(f"{refusal}") from None
        try:
            sightings = wire.read_sightings(answer)
        except wire.Unreadable as refusal:
            raise GatewayUnavailable(f"What the carrier sees makes no sense: {refusal}.") from None
        if [seen.hub for seen in sightings] != list(hubs):
            raise GatewayUnavailable("What the carrier sees is not of the hubs that it was asked for.")
        return sightings

    def _tell(self, now: datetime) -> tuple[datetime, float]:
        """Go by the database's clock, as everybody does: a host whose own is wrong signs the right moment."""
        self._told = (now, time.monotonic())
        return self._told

    def _moment(self) -> datetime:
        now, at = self._told or self._tell(clock.now())  # not every method is told
        return now + timedelta(seconds=time.monotonic() - at)

    def _ask_plainly(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Ask what holds no commands: that it was refused is nobody's fault but the carrier's or ours."""
        try:
            return self._ask(method, path, body)
        except CommandRefused as refusal:
            raise GatewayUnavailable(f"{refusal}") from None

    def _ask(self, method: str, path: str, body: bytes) -> bytes:
        """Make a request, again if need be; return what was answered."""
        until = time.monotonic() + self._patience.total
        pause = self._patience.pause
        tries = 0
        while True:
            tries += 1
            try:
                return self._try(method, self._base + path, body, until)
            except _NotNow as failure:
                rest = pause * random.uniform(0.5, 1.5)  # noqa: S311 - it spreads requests and guards nothing
                if tries == self._patience.tries or time.monotonic() + rest >= until:
                    raise GatewayUnavailable(f"The carrier {failure}.") from None
                logger.info("The carrier %s; asking again in %.1f s", failure, rest)
            time.sleep(rest)
            pause *= 2

    def _try(self, method: str, path: str, body: bytes, until: float) -> bytes:
        """Make a request once; believe the answer, or raise."""
        headers = signatures.sign_request(
            secret=self._secrets[0],
            method=method,
            path=path,
            body=body,
            moment=self._moment(),
            nonce=secrets.token_hex(16),
        )
        status, answered, answer = self._exchange(method, path, body, headers, until)
        try:
            signatures.check_answer(
                secrets=self._secrets,
                request=headers[signatures.SIGNATURE],
                status=status,
                body=answer,
                headers=answered,
            )
        except signatures.Forged as forged:
            # A proxy that finds nobody behind it, and a carrier that does not believe us, cannot sign.
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in MAY_PASS:
                raise _NotNow(f"answered {status}") from None
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise GatewayUnavailable(
                    f"The carrier answered {status}: compare its secret and its clock with ours."
                ) from None
            logger.error("An answer %s to %s was not the carrier's: %s", status, path, forged)
            raise AnswerForged(f"An answer {status} was not the carrier's: {forged}.") from None
        if status == HTTPStatus.OK:
            return answer
        said = f"The carrier answered {status}: {wire.read_refusal(answer)}"
        if status in NOT_OFFERED:
            raise _NotOffered(said)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in MAY_PASS:
            raise _NotNow(f"answered {status}")
        raise CommandRefused(said) if status in AT_FAULT else GatewayUnavailable(said)

    def _exchange(
        self, method: str, path: str, body: bytes, headers: dict[str, str], until: float
    ) -> tuple[int, urllib3.HTTPHeaderDict, bytes]:
        left = until - time.monotonic()
        if left <= 0:
            raise _NotNow("was not reached in time")
        timeout = urllib3.Timeout(
            connect=min(self._patience.connect, left), read=min(self._patience.read, left), total=left
        )
        try:
            response = self._pool.urlopen(
                method,
                path,
                body=body or None,
                headers=headers,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            answer = bytearray()
            with _cut_off(response.shutdown, after=until - time.monotonic()):
                for part in response.stream():  # unlike `read`, it notices when the end is missing
                    answer += part
                    if len(answer) > ANSWER_LIMIT:
                        response.close()
                        raise GatewayUnavailable(f"The carrier's answer is longer than {ANSWER_LIMIT} bytes.")
        except (urllib3.exceptions.HTTPError, OSError) as failure:
            # its name alone: the words of some hold addresses
            raise _NotNow(f"could not be asked ({type(failure).__name__})") from None
        response.release_conn()
        if time.monotonic() >= until:  # it may have been cut off, and look whole
            raise _NotNow("did not answer in time")
        return response.status, response.headers, bytes(answer)


# -- connections ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _cut_off(cut: Callable[[], object], *, after: float) -> Iterator[None]:
    """
    Cut a connection after so many seconds.

    A socket's own time-out begins anew with each byte, so a carrier that trickles would never meet it.
    """

    def quietly() -> None:
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # it is closed already
            cut()

    timer = threading.Timer(max(after, 0), quietly)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Plain(HTTPConnection):
    """A connection whose answer begins in time or never."""

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3's own
        with _head_in_time(self):
            return super().getresponse()


class _Secure(HTTPSConnection):
    """The same within TLS."""

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3's own
        with _head_in_time(self):
            return super().getresponse()


@contextlib.contextmanager
def _head_in_time(connection: HTTPConnection) -> Iterator[None]:
    line = connection.sock
    seconds = connection.timeout
    if line is None or not isinstance(seconds, int | float):
        yield
    else:
        with _cut_off(lambda: line.shutdown(socket.SHUT_RD), after=seconds):
            yield


class _Local(_Plain):
    """A connection to a socket in the file system."""

    def __init__(self, *args: Any, path: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


class _LocalPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Local


def _pool_for(url: str) -> tuple[urllib3.HTTPConnectionPool, str]:
    """Return the pool of connections to an address, and the path there below which ours begin."""
    parts = urlsplit(url)
    match parts.scheme, parts.hostname:
        case "unix", _:
            return _LocalPool("localhost", path=unquote(parts.path)), ""
        case "http", str(host):
            return _PlainPool(host, parts.port), parts.path.rstrip("/")
        case "https", str(host):
            # the machine's own authorities, or those of SSL_CERT_FILE
            trust = ssl.create_default_context()
            return _SecurePool(host, parts.port, ssl_context=trust), parts.path.rstrip("/")
    raise ImproperlyConfigured("CARRIER_URL does not begin with https://, http:// or unix:///.")
