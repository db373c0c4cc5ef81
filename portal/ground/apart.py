"""
Ask the database something on a connection of its own, and wait no longer than told.

For those who must answer, or go on, also when PostgreSQL is stopped in the middle of a word: the driver's own
timeout ends with the connecting, and the server's cannot be relied on when it is the server that hangs.
"""

import select
import time
from collections.abc import Sequence
from typing import Final

import psycopg
from django.db import connection
from psycopg import pq

CONNECT_SECONDS: Final = 2
"""The least that libpq knows."""
LAST_WORD_SECONDS: Final = 1
"""Between a statement's last moment and our going away: a server that lives ends it, and keeps nothing running."""
SILENCE: Final = ("57P", "57014")
"""How the codes begin with which PostgreSQL says that it is going away, or not there yet, or took too long."""


class NoAnswer(Exception):
    """PostgreSQL could not be reached, or was silent for too long."""


class Refused(Exception):
    """PostgreSQL answered, and would not do it; `state` is its five-letter SQLSTATE."""

    def __init__(self, *, state: str, words: str) -> None:
        super().__init__(words)
        self.state = state


def ask(
    *, statement: str, parameters: Sequence[str | None] = (), within: float
) -> list[tuple[str | None, ...]]:
    """
    Run one statement, with `$1` and so on for its parameters, and return its rows, all as text.

    `within` is in seconds, and the connecting has `CONNECT_SECONDS` of its own. Without the database's answer
    nobody knows whether it was carried out.

    :raises NoAnswer: if PostgreSQL is away or silent
    :raises Refused: if it says no
    """
    terms = {**connection.get_connection_params(), "connect_timeout": CONNECT_SECONDS}
    try:
        with psycopg.connect(**terms, autocommit=True) as apart:
            until = time.monotonic() + within + LAST_WORD_SECONDS
            # not with the connecting: PgBouncer refuses settings there
            _rows(apart.pgconn, f"SET statement_timeout = {int(within * 1_000)}", (), until)
            return _rows(apart.pgconn, statement, parameters, until)
    except psycopg.OperationalError as error:
        raise NoAnswer(str(error)) from error


def _rows(
    server: pq.abc.PGconn, statement: str, parameters: Sequence[str | None], until: float
) -> list[tuple[str | None, ...]]:
    server.nonblocking = 1
    server.send_query_params(
        statement.encode(), [None if value is None else value.encode() for value in parameters]
    )
    while server.flush():
        _wait(server, until, writing=True)
    found: list[tuple[str | None, ...]] = []
    refusal: Refused | None = None
    while True:
        while server.is_busy():
            _wait(server, until)
            server.consume_input()
        if (result := server.get_result()) is None:
            break
        if result.status == pq.ExecStatus.FATAL_ERROR:
            state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
            words = result.error_message.decode(errors="replace").strip()
            if not state or state.startswith(SILENCE):
                raise NoAnswer(words)
            refusal = Refused(state=state, words=words)
        found += [
            tuple(
                value.decode() if (value := result.get_value(row, column)) is not None else None
                for column in range(result.nfields)
            )
            for row in range(result.ntuples)
        ]
    if refusal:
        raise refusal
    return found


def _wait(server: pq.abc.PGconn, until: float, *, writing: bool = False) -> None:
    ready = select.poll()  # knows no highest number of a file, as select does
    ready.register(server.socket, select.POLLIN | (select.POLLOUT if writing else 0))
    if not ready.poll(max(until - time.monotonic(), 0) * 1_000):
        server.finish()
        raise NoAnswer("PostgreSQL took the question and does not answer")
