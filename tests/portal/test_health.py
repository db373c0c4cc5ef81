"""Tests of the health routes: by faults of real services, not by stand-ins for them."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
import pytest
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from portal import checks, queries
from portal.embedded import Services
from portal.ground import apart, clock
from portal.models import Heartbeat, User
from tests.factories import FleetCountFactory, LotFactory, SlotFactory, UserFactory

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
    settings.REDIS_ADDRESS = addresses["REDIS_URL"]
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
        settings.REDIS_ADDRESS = "unix:///nowhere/redis.sock?db=1"

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


def heartbeat(*, silent_for: timedelta = timedelta(), **facts: Any) -> Heartbeat:
    """Let a process have been seen so long ago."""
    now = clock.now()
    return Heartbeat.objects.create(
        **{
            "kind": "worker",
            "name": "host:1",
            "version": "1",
            "processes": 4,
            "started_at": now,
            "seen_at": now - silent_for,
            **facts,
        }
    )


def readings() -> Mapping[str, float | None]:
    """Return what is read now, by the names of the checks."""
    return queries.health_of_all(now=clock.now()).readings


@pytest.mark.django_db
class TestHealthOfAll:
    def test_reads_every_check_and_nothing_else(self) -> None:
        assert set(readings()) == {check.name for check in checks.every()}

    def test_counts_the_living_and_who_fell_silent_lately(self) -> None:
        heartbeat()
        heartbeat(name="host:2", version="2")
        heartbeat(kind="beat", version="2")
        heartbeat(name="host:3", version="3", silent_for=timedelta(minutes=2))
        heartbeat(name="host:4", version="4", silent_for=timedelta(hours=2))

        found = readings()

        assert (found["workers"], found["beats"], found["silent_processes"]) == (2, 1, 1)
        assert found["versions"] == 2

    def test_knows_that_redis_is_away(self, settings: Settings) -> None:
        assert readings()["redis_answers"] == 1
        settings.REDIS_ADDRESS = "unix:///nowhere/redis.sock?db=1"

        assert readings()["redis_answers"] == 0

    def test_says_how_long_what_is_oldest_has_waited(self) -> None:
        now = clock.now()
        slot = SlotFactory.create()
        for minutes in (3, 5):
            LotFactory.create(slot=slot, due_at=now - timedelta(minutes=minutes))
        FleetCountFactory.create(counted_at=now - timedelta(seconds=200))

        found = queries.health_of_all(now=now)

        assert found.readings["oldest_due"] == 300
        assert found.readings["due_lots"] == 2
        assert found.readings["fleet_count_age"] == 200
        assert {"oldest_due", "fleet_count_age"} <= {check.name for check in found.worries}


@pytest.mark.django_db
class TestPage:
    def test_says_what_to_look_into_and_what_to_do(self, client: Client, staff: User) -> None:
        heartbeat(silent_for=timedelta(minutes=2))
        client.force_login(staff)

        page = client.get("/admin/health/").content.decode()

        assert "things to look into" in page
        assert "Start a worker; on any host." in page
        assert "silent" in page
        assert "2 min ago" in page or "2 min 1 s ago" in page

    def test_says_that_all_is_well(self, client: Client, staff: User) -> None:
        heartbeat()
        heartbeat(kind="beat")
        client.force_login(staff)

        page = client.get("/admin/health/").content.decode()

        assert "All is well" in page
        assert "state-error" not in page

    def test_answers_htmx_with_the_part_that_changes(self, client: Client, staff: User) -> None:
        client.force_login(staff)

        page = client.get("/admin/health/", headers={"hx-request": "true"}).content.decode()

        assert page.strip().startswith('<div id="health"')
        assert "No worker and no beat has ever said that it lives." in page

    def test_is_for_all_dcc_staff(self, client: Client, staff: User) -> None:
        client.force_login(UserFactory.create())

        assert client.get("/admin/health/").status_code == 200

    def test_is_found_from_the_index(self, client: Client, staff: User) -> None:
        client.force_login(staff)

        assert "/admin/health/" in client.get("/admin/").content.decode()

    def test_asks_few_questions(
        self, client: Client, staff: User, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        heartbeat()
        slot = SlotFactory.create()
        for _ in range(3):
            LotFactory.create(slot=slot, due_at=clock.now())
        client.force_login(staff)

        with django_assert_max_num_queries(8):
            client.get("/admin/health/", headers={"hx-request": "true"})
