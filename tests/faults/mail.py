"""A mail server of a lane's own, with troubles that can be switched on and off."""

import email
import socket
import socketserver
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Trouble(Enum):
    """What is wrong with the mail server."""

    NONE = "nothing"
    DOWN = "nobody listens"
    FULL = "its disk is full"
    DEAF = "it takes an e-mail, and its answer is lost"
    SLOW = "it answers later than anybody waits"


@dataclass(frozen=True, slots=True)
class Mail:
    """An e-mail that arrived; without `is_answered` the sender may believe that it did not."""

    message_id: str
    address: str
    is_answered: bool


class MailServer:
    """Just enough SMTP to take e-mails on 127.0.0.1."""

    def __init__(self, *, port: int) -> None:
        self.trouble = Trouble.NONE
        self.received: list[Mail] = []
        self._server: _Server | None = None
        self.port = port
        self._listen()

    def have(self, trouble: Trouble) -> None:
        """Begin a trouble, or end it with `Trouble.NONE`."""
        was, self.trouble = self.trouble, trouble
        if trouble is Trouble.DOWN and was is not Trouble.DOWN:
            self.close()
        if was is Trouble.DOWN and trouble is not Trouble.DOWN:
            self._listen()

    def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _Conversation)
        self._server.mail = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port: int = line.getsockname()[1]
    return port


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    mail: MailServer


class _Conversation(socketserver.StreamRequestHandler):
    server: Any
    timeout = 10

    def handle(self) -> None:
        """Talk until the client leaves or the trouble ends the conversation."""
        try:
            self._talk(self.server.mail)
        except OSError:
            return

    def _talk(self, mail: MailServer) -> None:
        if mail.trouble is Trouble.SLOW:
            time.sleep(2)
            return
        self._say("220 mail of the lane")
        to: list[str] = []
        while words := self.rfile.readline(1_000).decode(errors="replace").strip():
            verb = words[:4].upper()
            if verb == "QUIT":
                self._say("221 bye")
                return
            if verb == "RCPT":
                to.append(words.partition(":")[2].strip().strip("<>"))
            if verb == "DATA":
                if not self._take(mail, to):
                    return
                to = []
            else:
                self._say("250 well")

    def _take(self, mail: MailServer, to: Sequence[str]) -> bool:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline(100_000)) != b".\r\n":
            if not line:
                return False  # the client died in the middle of it
            lines.append(line)
        if mail.trouble is Trouble.FULL:
            self._say("452 insufficient system storage")
            return True
        is_answered = mail.trouble is not Trouble.DEAF
        message_id = email.message_from_bytes(b"".join(lines))["Message-ID"]
        mail.received += [Mail(str(message_id), address, is_answered) for address in to]
        if is_answered:
            self._say("250 taken")
        return is_answered

    def _say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())
