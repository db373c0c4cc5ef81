"""
A mail server of the tests' own on 127.0.0.1, which behaves or misbehaves as it is told.

    with MailServer() as server:
        worker = start_celery("worker", EMAIL_URL=server.url)
        server.refused.add("nobody@northern.example.com")

It keeps every mail that it has taken, whether or not the sender heard of that.
"""

import contextlib
import email
import email.policy
import enum
import socket
import socketserver
import threading
import time
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Self


class Trouble(enum.Enum):
    """What a mail server may do instead of its work, until it is told otherwise."""

    SILENT = "takes connections and never says a word"
    HANGS_AFTER_DATA = "takes the mail and never answers"
    DROPS_AFTER_DATA = "takes the mail and hangs up before it answers"
    DROPS_BEFORE_DATA = "hangs up when the mail is about to come"
    HANGS_AT_QUIT = "takes the mail, says so, and does not answer the goodbye"
    BUSY = "asks to try again later, of everybody"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that the server has taken."""

    recipients: tuple[str, ...]
    message: EmailMessage

    @property
    def id(self) -> str:
        """Return the Message-ID."""
        return str(self.message["Message-ID"])


class MailServer:
    """A server whose attributes may be changed while it runs; used as a context, it runs for its length."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.trouble: Trouble | None = None
        self.refused: set[str] = set()
        """Addresses that it refuses for good."""
        self.postponed: set[str] = set()
        """Addresses of which it says to try again later."""
        self.seconds = 0.0
        """How long it thinks before it takes a mail."""
        self.connections = 0
        self._port = 0
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Return the port, which stays the same when it is stopped and started again."""
        return self._port

    @property
    def url(self) -> str:
        """Return the address as the setting EMAIL_URL has it."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def ids(self) -> list[str]:
        """Return the Message-IDs of the mails taken, in order."""
        return [mail.id for mail in self.mails]

    def start(self) -> None:
        """Begin to listen."""
        self._server = _Server(("127.0.0.1", self._port), _Conversation)
        self._server.of = self
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on, and break those that there are."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        for conversation in list(self._server.open):
            with contextlib.suppress(OSError):
                conversation.shutdown(socket.SHUT_RDWR)
        self._server = None


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    of: MailServer

    def __init__(self, address: tuple[str, int], handler: "type[_Conversation]") -> None:
        super().__init__(address, handler)
        self.open: set[socket.socket] = set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whom we speak to may be killed at any moment."""


class _Conversation(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        server = self.server.of
        server.connections += 1
        self.server.open.add(self.connection)
        try:
            self._talk(server)
        finally:
            self.server.open.discard(self.connection)

    def _talk(self, server: MailServer) -> None:
        if server.trouble is Trouble.SILENT:
            self._wait()
            return
        self._say("220 tests.invalid")
        recipients: list[str] = []
        while line := self.rfile.readline():
            word, _, rest = line.decode().strip().partition(" ")
            match word.upper():
                case "EHLO" | "HELO":
                    self._say("250 tests.invalid")
                case "RCPT":
                    address = rest.partition(":")[2].strip().strip("<>")
                    if address in server.refused:
                        self._say("550 5.1.1 no such mailbox")
                    elif address in server.postponed or server.trouble is Trouble.BUSY:
                        self._say("451 4.3.0 try again later")
                    else:
                        recipients.append(address)
                        self._say("250 ok")
                case "DATA":
                    if server.trouble is Trouble.DROPS_BEFORE_DATA:
                        return
                    self._say("354 go on")
                    text = self._read_mail()
                    if text is None:
                        return
                    time.sleep(server.seconds)
                    message = email.message_from_bytes(text, policy=email.policy.default)
                    server.mails.append(Mail(tuple(recipients), message))
                    recipients = []
                    if server.trouble is Trouble.HANGS_AFTER_DATA:
                        self._wait()
                        return
                    if server.trouble is Trouble.DROPS_AFTER_DATA:
                        return
                    self._say("250 taken")
                case "QUIT" if server.trouble is Trouble.HANGS_AT_QUIT:
                    self._wait()
                    return
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 ok")

    def _read_mail(self) -> bytes | None:
        """Return a mail to its end; None where the sender went away in the middle of it."""
        lines: list[bytes] = []
        while line := self.rfile.readline():
            if line == b".\r\n":
                return b"".join(lines)
            lines.append(line.removeprefix(b"."))
        return None

    def _wait(self) -> None:
        """Say nothing until the other side has had enough."""
        with contextlib.suppress(OSError):
            while self.connection.recv(1_024):
                pass

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
