"""Run the statements that are written as SQL, because they move or judge very many rows at once."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from django.db import connection, models, transaction
from django.db.backends.postgresql.base import ServerBindingCursor

Row = TypeVar("Row", bound=models.Model)


MANY = 50
"""The driver keeps what it has read of a statement if it comes with at most so many parameters."""
_NAMES = re.compile(r"%\((\w+)\)s")


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
        cursor.execute(statement, _needed(statement, parameters))
        touched: int = cursor.rowcount
    return touched


def rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute a statement and return the rows that it answers with."""
    with connection.cursor() as cursor:
        cursor.execute(statement, _needed(statement, parameters))
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def several(statements: Sequence[str], parameters: Mapping[str, Any]) -> list[list[tuple[Any, ...]]]:
    """
    Execute statements in one round trip, each of which sees what those before it did; return the rows of each.

    Outside of a transaction they are one of their own: all of them, or none.
    """
    with connection.cursor() as cursor:
        cursor.execute(";".join(statements), parameters)
        found = [cursor.fetchall() if cursor.description else []]
        while cursor.nextset():
            found.append(cursor.fetchall() if cursor.description else [])
    return found


def often(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """
    Execute a statement that a connection executes very often, and return the rows that it answers with.

    It is prepared in each connection (see `prepare_threshold` in the settings), and the server soon plans it no more:
    so it must be one whose best plan is always the same.
    """
    connection.ensure_connection()
    wrap = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    # the stubs know neither what the cursor is made of, nor what is wrapped
    bound = ServerBindingCursor(connection.connection)  # type: ignore[call-arg]
    with wrap(bound) as cursor:  # type: ignore[arg-type]
        cursor.execute(statement, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
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
