"""When in doubt, stop: what cannot be committed is not commanded, and goes on as soon as it can."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta

import pytest
from django.db import DatabaseError, connection

from hubs.modelled_fleet.models import CommandLog
from scheduling.lifecycle import State
from scheduling.models import Command, Deployment
from scheduling.operations import deployments
from tests.scheduling import world as worlds
from tests.scheduling.test_deployments import Recorder
from tests.scheduling.test_races import Aside
from tests.scheduling.world import World

pytestmark = pytest.mark.django_db(transaction=True)
Doubt = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def world(transactional_db: None, now: datetime) -> World:
    """Three hubs whose reading is due."""
    world = worlds.make(now=now)
    world.hubs(3)
    world.slot(start=timedelta(hours=5), room=3)
    world.book()
    world.clock.move(hours=1)
    return world


def execute(statement: str) -> None:
    """Run one statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def read_only() -> Iterator[None]:
    """Let the database take no writes, as a standby does."""
    execute("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        execute("SET default_transaction_read_only = off")


@contextmanager
def refusing(when: str, *, code: str) -> Iterator[None]:
    """Let the database refuse to keep commands, with the code of its own error: at the statement or at the commit."""
    kind = {"statement": ("", ""), "commit": ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED")}[when]
    execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{code}'; END $$"
    )
    execute(
        f"CREATE {kind[0]} TRIGGER refuse AFTER INSERT OR UPDATE ON scheduling_command"
        f" {kind[1]} FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    try:
        yield
    finally:
        execute("DROP FUNCTION refuse() CASCADE")


DOUBTS: dict[str, Doubt] = {
    "read-only": read_only,
    "disk full": lambda: refusing("statement", code="53100"),
    "disk full at the commit": lambda: refusing("commit", code="53100"),
    "serialisation failure at the commit": lambda: refusing("commit", code="40001"),
}


@pytest.mark.parametrize("doubt", DOUBTS.values(), ids=DOUBTS)
class TestWhatCannotBeCommitted:
    def test_is_not_admitted_and_goes_on_later(self, world: World, doubt: Doubt) -> None:
        recorder = Recorder()
        with doubt(), pytest.raises(DatabaseError):
            deployments.carry_out(gateway=recorder, clock=world.clock, lots=1)
        assert recorder.handed == []
        assert not Command.objects.exists()

        world.clock.move(seconds=61)
        world.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}

    def test_is_not_sent_and_goes_on_later(self, world: World, doubt: Doubt) -> None:
        recorder = Recorder()
        claimed = deployments.claim(now=world.clock())
        assert claimed
        assert deployments.admit(claimed=claimed, image_whole=True, clock=world.clock).commands == 3
        with doubt(), pytest.raises(DatabaseError):
            deployments.send(claimed=claimed, gateway=recorder, clock=world.clock)
        assert recorder.handed == []
        assert not CommandLog.objects.exists()
        assert not Command.objects.exclude(sent_at=None).exists()

        world.clock.move(seconds=61)
        world.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}
        assert set(CommandLog.objects.values_list("repeats", flat=True)) == {0}


class TestAWorkerWithoutAConnection:
    @pytest.fixture
    def full(self, world: World) -> Iterator[None]:
        """Let the database take no connection beside those that it has."""
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        try:
            yield
        finally:
            execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")

    @pytest.mark.usefixtures("full")
    def test_commands_nothing(self, world: World) -> None:
        recorder = Recorder()
        worker = Aside(lambda: deployments.carry_out(gateway=recorder, clock=world.clock, lots=1))
        assert worker.is_done(within=60)
        assert isinstance(worker.error, DatabaseError)
        assert "too many connections" in str(worker.error)
        assert recorder.handed == []
        assert not Command.objects.exists()


class TestTheCarrier:
    def test_is_called_only_after_the_commit(self, world: World) -> None:
        """Another connection already sees the stamp of whatever the carrier is handed."""
        seen: list[tuple[int, int]] = []

        class Watching(Recorder):
            def send(self, **given: object) -> object:  # type: ignore[override]
                assert not connection.in_atomic_block
                look = Aside(
                    lambda: seen.append(
                        (
                            Command.objects.filter(sent_at=None).count(),
                            Command.objects.exclude(sent_at=None).count(),
                        )
                    )
                )
                assert look.is_done(within=60)
                return super().send(**given)  # type: ignore[arg-type]

        deployments.carry_out(gateway=Watching(), clock=world.clock, lots=1)
        assert seen == [(0, 3)]
