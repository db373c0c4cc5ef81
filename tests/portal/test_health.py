"""Tests of the health routes: by faults of real services, not by stand-ins for them."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import environ
import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from portal.embedded import Services
from portal.ground import apart

WELL = {"postgresql": True, "writable": True, "migrated": True, "redis": True}


@pytest.fixture(scope="module")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Servers that nothing else uses, without a table in them: they may be stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_EMBEDDED_DIR", str(tmp_path_factory.mktemp("servers")))
        services = Services(profile="test")
        services.ensure()
        yield services
        services.release()
        services.stop()
        shutil.rmtree(services.state)


@pytest.fixture
def servers(own_servers: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Let the portal use them."""
    own_servers.ensure()
    addresses = own_servers.urls()
    database = environ.Env().db_url_config(addresses["DATABASE_URL"])
    for name in ("NAME", "USER", "HOST", "PORT", "OPTIONS"):
        monkeypatch.setitem(connection.settings_dict, name, database.get(name, ""))
    cache = settings.CACHES["default"] | {"LOCATION": addresses["REDIS_URL"]}
    settings.CACHES = {"default": cache}
    return own_servers


@contextlib.contextmanager
def hung(pid_file: Path) -> Iterator[None]:
    """Stop a server in the middle of whatever it does: it keeps its sockets, and never answers."""
    server = int(pid_file.read_text().split()[0])
    os.kill(server, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server, signal.SIGCONT)


class TestLive:
    def test_answers_without_asking_anything(self, client: Client) -> None:
        response = client.get("/health/live")

        assert response.status_code == 200
        assert response.content == b"alive\n"


@pytest.mark.django_db(transaction=True)
class TestReady:
    def test_answers_ready_while_postgresql_and_redis_answer(self, client: Client) -> None:
        response = client.get("/health/ready")

        assert response.status_code == 200
        assert response.json() == WELL

    def test_uses_no_connection_of_its_thread(self, client: Client) -> None:
        """Which might hang with the server, for longer than anybody waits."""
        connection.close()

        client.get("/health/ready")

        assert connection.connection is None

    def test_stays_ready_without_redis_and_names_it(self, client: Client, settings: Settings) -> None:
        """All hosts share it: a balancer must not take the last of them away, where people can still halt."""
        cache = settings.CACHES["default"] | {"LOCATION": "unix:///nowhere/redis.sock?db=1"}
        settings.CACHES = {"default": cache}

        response = client.get("/health/ready")

        assert response.status_code == 200
        assert response.json() == WELL | {"redis": False}

    def test_is_not_ready_while_the_database_takes_no_writes(self, client: Client) -> None:
        database = connection.settings_dict["NAME"]
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
        try:
            response = client.get("/health/ready")
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')

        assert response.status_code == 503
        assert response.json() == WELL | {"writable": False}

    def test_is_not_ready_before_every_migration_is_applied(self, client: Client) -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_migrations SET app = 'elsewhere' WHERE app = 'sessions'")
        try:
            response = client.get("/health/ready")
        finally:
            with connection.cursor() as cursor:
                cursor.execute("UPDATE django_migrations SET app = 'sessions' WHERE app = 'elsewhere'")

        assert response.status_code == 503
        assert response.json() == WELL | {"migrated": False}

    def test_is_ready_beside_migrations_of_a_newer_version(self, client: Client) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations VALUES (-1, 'portal', '9999_later', now())")
        try:
            response = client.get("/health/ready")
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM django_migrations WHERE id = -1")

        assert response.status_code == 200


class TestReadyWithServersInTrouble:
    def test_is_not_ready_on_an_empty_database(self, client: Client, servers: Services) -> None:
        response = client.get("/health/ready")

        assert response.status_code == 503
        assert response.json() == WELL | {"migrated": False}

    def test_names_postgresql_when_it_is_stopped(self, client: Client, servers: Services) -> None:
        servers.stop()

        response = client.get("/health/ready")

        assert response.status_code == 503
        assert not any(response.json().values())

    def test_answers_although_postgresql_hangs(self, client: Client, servers: Services) -> None:
        with hung(servers.state / "pg" / "postmaster.pid"):
            response = client.get("/health/ready")

        assert response.status_code == 503
        assert response.json() == {
            "postgresql": False,
            "writable": False,
            "migrated": False,
            "redis": True,
        }

    def test_answers_although_redis_hangs(self, client: Client, servers: Services) -> None:
        with hung(servers.state / "redis" / "redis.pid"):
            response = client.get("/health/ready")

        assert response.json() == WELL | {"migrated": False, "redis": False}


@pytest.mark.django_db
class TestAsk:
    def test_returns_rows_as_text(self) -> None:
        answer = apart.ask(
            statement="SELECT $1::int + 1, NULL, $2::text FROM generate_series(1, 2)",
            parameters=["41", "x"],
            within=20,
        )

        assert answer == [("42", None, "x"), ("42", None, "x")]

    def test_waits_no_longer_than_told(self) -> None:
        """And leaves nothing running in a server that lives."""
        with pytest.raises(apart.NoAnswer, match="statement timeout"):
            apart.ask(statement="SELECT pg_sleep(600)", within=0.1)

    def test_says_what_was_refused(self) -> None:
        with pytest.raises(apart.Refused, match="does not exist") as refused:
            apart.ask(statement="SELECT * FROM nothing_of_the_kind", within=20)

        assert refused.value.state == "42P01"

    def test_tells_when_the_connection_was_ended(self) -> None:
        with pytest.raises(apart.NoAnswer):
            apart.ask(statement="SELECT pg_terminate_backend(pg_backend_pid())", within=20)
