"""What can be taken out of the portal: lines of its code, or rules of its database."""

from dataclasses import dataclass
from pathlib import Path

import psycopg


class Misfit(Exception):
    """A change that no longer fits what it changes; the sentence says where."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Text of a file in place of other text that stands there exactly once, or so many times; `also` once more."""

    file: str
    old: str
    new: str
    times: int = 1
    also: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        """Where the enforcement is, for people."""
        return self.file

    def text(self, *, folder: Path) -> str:
        """
        Return the file with the change made.

        :raises Misfit: if the old text is not there as often as it should be, or the change makes none
        """
        path = folder / self.file
        text = path.read_text() if path.exists() else ""
        text = _replaced(text, self.old, self.new, self.file, self.times)
        for old, new in self.also:
            text = _replaced(text, old, new, self.file)
        return text


@dataclass(frozen=True, slots=True)
class Statement:
    """A rule of the database, taken out by SQL that fails where there is no such rule."""

    rule: str
    sql: str

    @property
    def place(self) -> str:
        """Where the enforcement is, for people."""
        return self.rule


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Text of a function of the database in place of other text that stands there exactly once."""

    function: str
    old: str
    new: str

    @property
    def place(self) -> str:
        """Where the enforcement is, for people."""
        return self.function

    def text(self, *, definition: str) -> str:
        """
        Return the definition with the change made.

        :raises Misfit: if the old text is not there exactly once, or the change makes none
        """
        return _replaced(definition, self.old, self.new, self.function)


Change = Edit | Statement | Rewrite


def constraint(*, table: str, name: str) -> Statement:
    """Return the loss of a constraint."""
    return Statement(name, f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE")


def index(*, name: str) -> Statement:
    """Return the loss of a unique index."""
    return Statement(name, f"DROP INDEX {name}")


def trigger(*, table: str, name: str) -> Statement:
    """Return the loss of a trigger."""
    return Statement(name, f"DROP TRIGGER {name} ON {table}")


def in_database(*, change: Statement | Rewrite, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """
    Take a rule out of a database.

    :raises Misfit: if the function is not there, or not as the change expects it
    :raises psycopg.Error: if there is no such rule
    """
    if isinstance(change, Statement):
        connection.execute(change.sql.encode())
        return
    found = connection.execute(
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = %s", [change.function]
    ).fetchall()
    definition = "".join(str(row[0]) for row in found)
    connection.execute(change.text(definition=definition).encode())


def _replaced(text: str, old: str, new: str, where: str, times: int = 1) -> str:
    if old == new:
        raise Misfit(f"{where}: the change puts back what it takes out.")
    if (found := text.count(old)) != times:
        raise Misfit(f"{where}: this stands there {found} times, not {times}:\n{old}")
    return text.replace(old, new)
