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
import socketserver
import threading
import time
from dataclasses import dataclass
from typing import Self


class Trouble(enum.Enum):
    """What a mail server may do instead of its work, until it is told otherwise."""

    NONE = "does its work"
    DOWN = "takes no connections"
    SILENT = "takes connections and never says a word"
    BUSY = "asks to try again later, of everybody"
    DROPS_BEFORE_DATA = "hangs up when the mail is about to come"
    FULL = "hears the mail out and has no room for it"
    HANGS_AFTER_DATA = "takes the mail and never answers"
    DROPS_AFTER_DATA = "takes the mail and hangs up before it answers"
    HANGS_AT_QUIT = "takes the mail, says so, and does not answer the goodbye"


LOSES_ITS_ANSWER = (Trouble.HANGS_AFTER_DATA, Trouble.DROPS_AFTER_DATA)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that the server has taken, to one address; without `is_answered` the sender may not know."""

    message_id: str
    address: str
    is_answered: bool


class MailServer:
    """
    A server; used as a context, it runs for its length.

    Its attributes may be changed while it does; its trouble begins and ends with `have`.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.mails: list[Mail] = []
        self.trouble = Trouble.NONE
        self.refused: set[str] = set()
        """Addresses that it refuses for good."""
        self.postponed: set[str] = set()
        """Addresses of which it says to try again later."""
        self.seconds = 0.0
        """How long it thinks before it takes a mail."""
        self.connections = 0
        self._port = port
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
        return [mail.message_id for mail in self.mails]

    def have(self, trouble: Trouble) -> None:
        """Begin a trouble, or end it with `Trouble.NONE`; conversations under way go on under the new rules."""
        self.trouble = trouble
        if trouble is Trouble.DOWN:
            self.stop()
        else:
            self.start()

    def start(self) -> None:
        """Begin to listen, unless it does."""
        if self._server:
            return
        self._server = _Server(("127.0.0.1", self._port), _Conversation)
        self._server.of = self
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    of: MailServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whom we speak to may be killed at any moment."""


class _Conversation(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        server = self.server.of
        server.connections += 1
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
                    if not self._take(server, recipients):
                        return
                    recipients = []
                case "QUIT" if server.trouble is Trouble.HANGS_AT_QUIT:
                    self._wait()
                    return
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 ok")

    def _take(self, server: MailServer, recipients: list[str]) -> bool:
        """Take a mail, or do not; tell whether the conversation goes on."""
        if server.trouble is Trouble.DROPS_BEFORE_DATA:
            return False
        self._say("354 go on")
        text = self._read_mail()
        if text is None:
            return False
        time.sleep(server.seconds)
        trouble = server.trouble  # as it is now, and for all of what follows
        if trouble is Trouble.FULL:
            self._say("452 4.3.1 insufficient system storage")
            return True
        message = email.message_from_bytes(text, policy=email.policy.default)
        is_answered = trouble not in LOSES_ITS_ANSWER
        server.mails.extend(Mail(str(message["Message-ID"]), address, is_answered) for address in recipients)
        if is_answered:
            self._say("250 taken")
        elif trouble is Trouble.HANGS_AFTER_DATA:
            self._wait()
        return is_answered

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
