"""A database for one run, made and dropped beside the one that the settings name, and bare statements in it."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

from django.conf import settings
from django.db import connection

from portal import embedded
from portal.bootstrap import UnableToPrepare

PROFILE = "benchmark"
"""What manage.py calls the servers of this command."""
BLOCK = 1 << 20


class UnableToMeasure(Exception):
    """The benchmark cannot be run here; the message says why and what to do."""


@contextlib.contextmanager
def scratch(*, purpose: str = PROFILE) -> Iterator[None]:
    """
    Run what is within on a new, migrated database; drop it afterwards, and what servers for this purpose kept.

    :raises UnableToMeasure: if the database of an earlier run is still in use
    """
    usual = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = f"{usual}_{purpose}"
    # each query would be remembered, and the pages measured as a developer sees them
    settings.DEBUG = False
    try:
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    except SystemExit as error:
        raise UnableToMeasure(
            f"The database {usual}_{purpose} cannot be made anew; PostgreSQL's reason is above. If another "
            "run of this command is at it, let it end first."
        ) from error
    try:
        yield
    finally:
        connection.creation.destroy_test_db(usual, verbosity=0)
        connection.close()
        _forget_servers(purpose)


def _forget_servers(purpose: str) -> None:
    """Drop what servers of our own keep, gigabytes of their log; unless another run uses them."""
    servers = embedded.current()
    if settings.EMBEDDED and servers.profile == purpose:
        servers.release()
        with contextlib.suppress(UnableToPrepare):
            servers.start_over()


def tidy(*tables: str, anew: bool = False) -> None:
    """
    Clean up after many rows were written, so that it does not fall into the next measurement.

    `anew` writes the tables anew, with the room on their pages that they have after they were loaded.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ({'FULL, ' if anew else ''}ANALYZE) {', '.join(tables)}")


@contextlib.contextmanager
def copied(*, source: str, columns: Sequence[str] = ()) -> Iterator[IO[bytes]]:
    """Keep the rows of a table, in the order in which they lie, as a file for a binary COPY."""
    with tempfile.TemporaryFile() as file:
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY {source} {_listed(columns)} TO STDOUT (FORMAT binary)") as rows,
        ):
            for block in rows:
                file.write(block)
        yield file


def copy_in(*, target: str, file: IO[bytes], columns: Sequence[str] = ()) -> None:
    """Bring kept rows into a table: the bare COPY that nothing here can beat."""
    file.seek(0)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {target} {_listed(columns)} FROM STDIN (FORMAT binary)") as rows,
    ):
        while block := file.read(BLOCK):
            rows.write(block)


def _listed(columns: Sequence[str]) -> str:
    return f"({', '.join(columns)})" if columns else ""


@contextlib.contextmanager
def twin(*, table: str, indexes: bool = True) -> Iterator[str]:
    """
    Make an empty table of the same shape, with the same constraints, room on its pages and indexes.

    Without `indexes` it has its primary key alone.
    """
    name = f"bare_{table}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
        cursor.execute(
            f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL{'' if indexes else ' EXCLUDING INDEXES'})"
        )
        if not indexes:
            cursor.execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({_key(table)})")
        cursor.execute("SELECT unnest(reloptions) FROM pg_class WHERE oid = %s::regclass", [table])
        for (option,) in cursor.fetchall():  # LIKE leaves the fill factor out
            cursor.execute(f"ALTER TABLE {name} SET ({option})")
    try:
        yield name
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {name}")


def plain_columns(table: str) -> str:
    """Return the columns of a table that are stored and not generated, as a list for a statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
               WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''""",
            [table],
        )
        listed: str = cursor.fetchone()[0]
    return listed


def _key(table: str) -> str:
    with connection.cursor() as cursor:
        return connection.introspection.get_primary_key_column(cursor, table) or ""
