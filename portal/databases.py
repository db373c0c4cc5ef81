"""A database that lasts as long as a piece of work, beside that of the settings, for a process of its own."""

import contextlib
import os
import zlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql

from portal.ground import asking
from portal.ground.sql import rows

LIKE = "{usual}_{purpose}_{number}"


class UnableToMake(Exception):
    """There is no such database; the message says why and what to do."""


MAY_MAKE = """
SELECT EXISTS (
    SELECT FROM pg_roles
    WHERE (rolname = current_user AND (rolcreatedb OR rolsuper))
       OR (rolcreatedb AND NOT rolsuper AND pg_has_role(oid, 'portal_worker', 'USAGE')))
"""
"""Also where a page asks: it is a worker that makes them."""


def may_make() -> bool:
    """Say whether the portal's account, or that of its workers, may make databases at all."""
    [(may,)] = rows(MAY_MAKE, {})
    return bool(may)


def right() -> str:
    """Return the sentence on what the portal's account lacks where it may not make databases."""
    who = "portal_work" if asking.asker() else connection.settings_dict["USER"] or "portal"
    return (
        "The portal's account may not make a database, and this needs one of its own. Let an administrator of "
        f"PostgreSQL run: ALTER ROLE {who} CREATEDB"
    )


@contextlib.contextmanager
def temporary(*, purpose: str) -> Iterator[str]:
    """
    Make an empty database; yield its URL, and drop it when the block is left, whoever is still connected.

    Those that earlier ones of the same purpose left behind, because their process was killed, are dropped first: a
    process that lives holds a lock for its own.

    :raises UnableToMake: if the account may not make databases, or the server cannot be reached
    """
    usual = connection.settings_dict["NAME"]
    name = LIKE.format(usual=usual, purpose=purpose, number=os.getpid())
    try:
        with psycopg.connect(**connection.get_connection_params(), autocommit=True) as server:
            _drop_left_behind(server, LIKE.format(usual=usual, purpose=purpose, number=""))
            server.execute("SELECT pg_advisory_lock(%s)", [_key(name)])
            try:
                server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except psycopg.errors.InsufficientPrivilege as error:
                raise UnableToMake(right()) from error
            try:
                # it is not kept, so nothing of it has to survive a crash; and no statement of ours gains by the others
                for setting in ("synchronous_commit", "jit"):
                    server.execute(
                        sql.SQL("ALTER DATABASE {} SET {} = off").format(
                            sql.Identifier(name), sql.Identifier(setting)
                        )
                    )
                yield address(name=name)
            finally:
                _drop(server, name)
    except psycopg.OperationalError as error:
        raise UnableToMake(f"PostgreSQL cannot be reached, or gave the database up: {error}") from error


# A table that is kept cannot refer to one that is not: those come first to which none refers that is kept still.
KEPT = """
SELECT kept.relname FROM pg_class kept
WHERE kept.relkind = 'r' AND kept.relpersistence = 'p' AND kept.relnamespace = 'public'::regnamespace AND NOT EXISTS (
    SELECT FROM pg_constraint refers JOIN pg_class referring ON referring.oid = refers.conrelid
    WHERE refers.contype = 'f' AND refers.confrelid = kept.oid AND refers.conrelid <> kept.oid
      AND referring.relpersistence = 'p')
"""


def forget_in_a_crash() -> None:
    """
    Let PostgreSQL keep no log of the tables of a database that is itself not kept: a crash would empty them.

    For tables without rows yet, since each is written anew.
    """
    while found := rows(KEPT, {}):
        with connection.cursor() as cursor:
            for (table,) in found:
                cursor.execute(sql.SQL("ALTER TABLE {} SET UNLOGGED").format(sql.Identifier(table)))


def _drop_left_behind(server: "psycopg.Connection[tuple[object, ...]]", prefix: str) -> None:
    found = server.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix])
    for (name,) in found.fetchall():
        [(is_nobodys,)] = server.execute("SELECT pg_try_advisory_lock(%s)", [_key(str(name))]).fetchall()
        if is_nobodys:
            _drop(server, str(name))
            server.execute("SELECT pg_advisory_unlock(%s)", [_key(str(name))])


# Not with FORCE: that stops before a worker of the autovacuum, whom nobody but a superuser may send away. A plain DROP
# sends it away by itself, and waits some seconds for everybody else.
LEAVE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = %s AND backend_type = 'client backend' AND pg_has_role(usesysid, 'MEMBER')
"""


def _drop(server: "psycopg.Connection[tuple[object, ...]]", name: str) -> None:
    server.execute(LEAVE, [name])
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def _key(name: str) -> int:
    """Return the number of the lock that says that a database is in use."""
    return 0x64617461 << 32 | zlib.crc32(name.encode())


def address(*, name: str | None = None) -> str:
    """Return the URL of a database by its name, or of the one that this process uses, for another process."""
    usual: str = connection.settings_dict["NAME"]
    return urlsplit(settings.DATABASE_URL)._replace(path=f"/{name or usual}").geturl()
