"""
As whom the database is asked: each transaction of a request says so, and by itself the web process may see nothing.

The web server logs in as a role that owns nothing. Whoever asks is put before the first statement of each
transaction, in the same round trip, and goes with the transaction: the server forgets it at its end, however it ends.
So a connection that is kept, pooled or broken off carries nothing over, and nothing has to be tidied up.

What may be seen is up to the policies of the tables (`scheduling` 0038, docs/operator.md). Processes that serve no
requests ask as the role that they log in as, and nothing here concerns them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from django.db import connection
from psycopg import ClientCursor
from psycopg.pq import TransactionStatus


class Role(Enum):
    """What somebody may do; the value is the role in PostgreSQL (portal/roles.sql)."""

    ENTRANCE = "portal_entrance"
    """Whoever has not said yet who they are."""
    SUPPLIER = "portal_supplier"
    STAFF = "portal_staff"


@dataclass(frozen=True, slots=True)
class Asker:
    """
    Who asks: a role, and the Supplier for which it does, by id.

    `is_asked` where the Supplier looks at what others ask of it: then it sees of their bookings those that do.
    """

    role: Role
    supplier: int | None = None
    is_asked: bool = False

    @property
    def words(self) -> str:
        """The statements that say so for as long as a transaction lasts."""
        return (
            f"SET LOCAL ROLE {self.role.value}; SET LOCAL portal.supplier = '{self.supplier or ''}'; "
            f"SET LOCAL portal.is_asked = '{'yes' if self.is_asked else ''}'"
        )


STATEMENTS: Final = 3
"""So many results come before that of the statement itself."""
NOBODY: Final = "SET LOCAL ROLE NONE; SET LOCAL portal.supplier = ''; SET LOCAL portal.is_asked = ''"
ENTRANCE: Final = Asker(Role.ENTRANCE)


class _State(threading.local):
    """What a thread, which has its connection for itself, is asking as, and what the server was told of it."""

    asker: Asker | None = None
    told: Asker | None = None
    """In the transaction that is open; None as well where nobody knows."""


_state: Final = _State()


def asker() -> Asker | None:
    """Return who asks; None where this is no request."""
    return _state.asker


@contextmanager
def acting(who: Asker) -> Iterator[None]:
    """Ask the database as somebody for as long as the block lasts; within a transaction, from now on."""
    before = _state.asker
    with _installed():
        become(who)
        try:
            yield
        finally:
            become(before)


def become(who: Asker | None) -> None:
    """Ask as somebody else until the block of `acting` ends that one is in."""
    if who == _state.asker:
        return
    _state.asker = who
    match _status():
        case TransactionStatus.INTRANS:
            _tell(who)
        case (
            TransactionStatus.INERROR
        ):  # a savepoint or the whole is taken back first, and with it what was told
            _state.told = None


@contextmanager
def trusted(why: str) -> Iterator[None]:
    """
    Let a request see and do what its Supplier may not, because a rule needs it: `why` says which.

    What comes of it may show no row of another Supplier. Every place is listed in `tests/scheduling/test_walls.py`.
    """
    assert why  # noqa: S101 - it is written for people
    if _state.asker is None or _state.asker.role is not Role.SUPPLIER:
        yield
        return
    with acting(replace(_state.asker, role=Role.STAFF)):
        yield


@contextmanager
def asked() -> Iterator[None]:
    """Let a Supplier see what others ask of it, and of their bookings those that do."""
    if _state.asker is None or _state.asker.role is not Role.SUPPLIER:
        yield
        return
    with acting(replace(_state.asker, is_asked=True)):
        yield


@contextmanager
def at_the_door() -> Iterator[None]:
    """Do in a request what concerns no Supplier's things, whoever asks."""
    if _state.asker is None:
        yield
        return
    with acting(ENTRANCE):
        yield


@contextmanager
def _installed() -> Iterator[None]:
    if _say_so in connection.execute_wrappers:
        yield
        return
    with connection.execute_wrapper(_say_so):
        yield


def _status() -> TransactionStatus | None:
    opened = connection.connection
    return None if opened is None or opened.closed else TransactionStatus(opened.pgconn.transaction_status)


def _tell(who: Asker | None) -> None:
    connection.connection.execute(NOBODY if who is None else who.words, prepare=False)
    _state.told = who


def _say_so(
    execute: Callable[..., Any], statement: Any, parameters: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Put who asks before the first statement of a transaction; Django calls this around each."""
    who, status = _state.asker, _status()
    if status is TransactionStatus.IDLE:
        _state.told = None
    elif status is not TransactionStatus.INTRANS or _state.told == who:
        return _remembered(execute, statement, parameters, many, context)
    assert who is not None  # noqa: S101 - the wrapper goes when nobody asks any more
    # its snapshot is taken by whatever comes after, and nothing may come before
    if str(statement).startswith("SET TRANSACTION"):
        return execute(statement, parameters, many, context)
    cursor = context["cursor"].cursor
    if many or not isinstance(cursor, ClientCursor):
        # the server takes several statements at a time only where it gets no parameters with them
        if status is TransactionStatus.INTRANS or not connection.connection.autocommit:
            _tell(who)
            return execute(statement, parameters, many, context)
        with connection.connection.transaction():
            _tell(who)
            answer = execute(statement, parameters, many, context)
        return answer
    answer = execute(f"{who.words}; {statement}", parameters, many, context)
    for _ in range(STATEMENTS):
        cursor.nextset()
    _state.told = who
    return _remembered(lambda *_: answer, statement, parameters, many, context)


def _remembered(
    execute: Callable[..., Any], statement: Any, parameters: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Execute a statement; whoever takes back a part of a transaction takes back what was told in it."""
    answer = execute(statement, parameters, many, context)
    if str(statement).startswith("ROLLBACK TO"):
        _state.told = None
    return answer
