"""
Run the statements that are written as SQL, because they move or judge very many rows at once.

One that a connection executes very often is an `Often`: the server reads it once in each connection, and soon plans it
no more.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from django.db import connection, models, transaction

Row = TypeVar("Row", bound=models.Model)


MANY = 50
"""The driver keeps what it has read of a statement if it comes with at most so many parameters."""
_NAMES = re.compile(r"%\((\w+)\)s")


class Often(str):
    """
    A statement whose best plan is always the same, whatever its parameters; the type of each must be plain from it.

    `run`, `rows` and `several` have each connection prepare it before it is first executed there.
    """

    __slots__ = ("call", "name", "preparation")

    def __init__(self, statement: str) -> None:
        """Take a statement as others are written, and work out how it is prepared, and executed then."""
        names = _names(statement)
        places = {name: f"${number}" for number, name in enumerate(names, start=1)}
        numbered = _NAMES.sub(lambda found: places[found[1]], statement).replace("%%", "%")
        self.name = f"often_{hashlib.sha256(statement.encode()).hexdigest()[:16]}"
        self.preparation = f"PREPARE {self.name} AS {numbered}"
        given = ", ".join(f"%({name})s" for name in names)
        self.call = f"EXECUTE {self.name} ({given})" if names else f"EXECUTE {self.name}"


_PREPARED: WeakKeyDictionary[psycopg.Connection[Any], set[str]] = WeakKeyDictionary()
"""What each connection has prepared: it lasts as long as the connection does."""


def _executable(statement: str) -> str:
    """Return what is sent for a statement: of one that is executed often, the call of what was prepared."""
    if not isinstance(statement, Often):
        return statement
    connection.ensure_connection()
    prepared = _PREPARED.setdefault(connection.connection, set())
    if statement.name not in prepared:
        with connection.wrap_database_errors:
            connection.connection.execute(statement.preparation)
        prepared.add(statement.name)
    return statement.call


@cache
def _names(statement: str) -> Sequence[str]:
    return sorted(set(_NAMES.findall(statement)))


def _needed(statement: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters that a statement names, where there are so many others that it would be read anew."""
    if len(parameters) <= MANY:
        return parameters
    return {name: parameters[name] for name in _names(statement)}


def run(statement: str, parameters: Mapping[str, Any]) -> int:
    """Execute a statement and return how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(_executable(statement), _needed(statement, parameters))
        touched: int = cursor.rowcount
    return touched


def rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute a statement and return the rows that it answers with."""
    with connection.cursor() as cursor:
        cursor.execute(_executable(statement), _needed(statement, parameters))
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def several(statements: Sequence[str], parameters: Mapping[str, Any]) -> list[list[tuple[Any, ...]]]:
    """
    Execute statements in one round trip, each of which sees what those before it did; return the rows of each.

    Outside of a transaction they are one of their own: all of them, or none.
    """
    with connection.cursor() as cursor:
        cursor.execute(";".join(map(_executable, statements)), parameters)
        found = [cursor.fetchall() if cursor.description else []]
        while cursor.nextset():
            found.append(cursor.fetchall() if cursor.description else [])
    return found


@contextmanager
def snapshot() -> Iterator[None]:
    """Let all that is asked in the block be of one moment, however long it takes; nothing can be written in it."""
    with transaction.atomic(durable=True):
        run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", {})
        yield


def columns(model: type[models.Model], alias: str) -> str:
    """List all columns of a model's table, as `instance` reads them."""
    return ", ".join(f"{alias}.{field.column}" for field in model._meta.concrete_fields)


def instance(model: type[Row], values: Sequence[Any]) -> Row:
    """Return the row of a model whose `columns` have these values: many times as fast as a queryset."""
    names = [field.attname for field in model._meta.concrete_fields]
    return model.from_db(connection.alias, names, values)


def array(values: Iterable[object]) -> str:
    """Write numbers, truths, instants and plain words as PostgreSQL reads an array: thrice as fast as the driver."""
    return "{" + ",".join(map(_element, values)) + "}"


def numbers(values: Iterable[int]) -> str:
    """Write whole numbers as PostgreSQL reads an array: quicker still, where there are thousands."""
    return "{" + ",".join(map(str, values)) + "}"


def _element(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case datetime():
            return value.isoformat()
        case str():
            return f'"{value}"'
        case _:
            return str(value)
