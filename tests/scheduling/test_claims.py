"""Leases and tokens: who has a lot, for how long, and what a holder can still do who has lost it."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest
from django.db import connection

from hubs.gateway import Command as Instruction
from hubs.gateway import Receipt
from portal.ground import clock
from scheduling.models import Deployment, Lot
from scheduling.operations import deployments, quarantine
from scheduling.operations.deployments import aside, claims
from tests.scheduling import world as worlds
from tests.scheduling.test_deployments import Recorder
from tests.scheduling.world import World

LEASE = timedelta(seconds=60)


@pytest.fixture
def due(world: World) -> World:
    """Return the world with one lot of three hubs that are due to be read."""
    world.hubs(3)
    world.slot(start=timedelta(hours=5), room=3)
    world.book()
    world.clock.move(hours=1)
    return world


class TestClaim:
    def test_waits_until_the_lot_is_due(self, due: World) -> None:
        Lot.objects.update(due_at=due.clock() + timedelta(microseconds=1))
        assert deployments.claim(now=due.clock()) is None
        assert deployments.claim(now=due.clock.move(seconds=1))

    def test_takes_a_lot_that_has_been_due_for_ever(self, due: World) -> None:
        Lot.objects.update(due_at=due.clock() - timedelta(days=400))
        assert deployments.claim(now=due.clock())

    def test_leaves_a_lot_to_its_holder_until_the_lease_has_run_out(self, due: World) -> None:
        first = deployments.claim(now=due.clock())
        assert first
        due.clock.move(seconds=59)
        assert deployments.claim(now=due.clock()) is None
        second = deployments.claim(now=due.clock.move(seconds=1))
        assert second
        assert second.token > first.token

    def test_takes_one_lot_however_the_database_joins(self, world: World) -> None:
        """What looks for a lot and locks it is asked once: each further look would lock another one."""
        first, *others = world.hubs(12)
        for number in range(12):
            world.slot(start=timedelta(hours=2, minutes=number), room=1, length=timedelta(minutes=1))
        world.book(world.choose_ids(f"{first}\n"))
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE scheduling_lot")  # it knows of one lot, and joins accordingly
        world.book()
        world.clock.move(hours=1)
        claimed = deployments.claim(now=world.clock())
        assert claimed
        assert Lot.objects.exclude(lease_until=None).get() == claimed.lot
        assert Lot.objects.count() == len(others) + 1


class TestTheLease:
    def test_is_renewed_with_every_step(self, due: World) -> None:
        claimed = deployments.claim(now=due.clock())
        assert claimed
        due.clock.move(seconds=50)
        assert deployments.admit(claimed=claimed, image_whole=True, clock=due.clock).commands == 3
        due.clock.move(seconds=50)
        assert deployments.claim(now=due.clock()) is None
        assert deployments.send(claimed=claimed, gateway=Recorder(), clock=due.clock) == 3
        due.clock.move(seconds=50)
        assert deployments.claim(now=due.clock()) is None

    def test_is_given_back_with_the_lot(self, due: World) -> None:
        deployments.carry_out(gateway=Recorder(), clock=due.clock, lots=1)
        assert Lot.objects.get().lease_until is None

    def test_is_not_renewed_once_no_hub_is_left(self, due: World) -> None:
        claimed = deployments.claim(now=due.clock())
        assert claimed
        poisoned = list(Deployment.objects.values_list("id", flat=True))
        for deployment in poisoned:
            aside.set_aside(deployment=deployment, error="KeyError", now=due.clock())
        quarantine.end(deployments=poisoned, by=due.staff, reason="Replaced", now=due.clock())
        assert Lot.objects.values_list("due_at", "lease_until").get() == (None, None)
        assert deployments.admit(claimed=claimed, image_whole=True, clock=due.clock).commands == 0
        assert Lot.objects.get().lease_until is None


class Overtaken(Recorder):
    """A carrier so slow that another worker takes the lot over meanwhile."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.taken: list[deployments.Claim] = []

    def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
        receipts = super().send(commands=commands, now=now)
        self.world.clock.move(seconds=61)
        claimed = deployments.claim(now=self.world.clock())
        assert claimed
        self.taken.append(claimed)
        return receipts


class TestAHolderThatLostTheLot:
    def test_gives_nothing_back_that_is_anothers(self, due: World) -> None:
        gateway = Overtaken(due)
        deployments.carry_out(gateway=gateway, clock=due.clock, lots=1)
        [second] = gateway.taken
        lot = Lot.objects.get()
        assert lot.token == second.token
        assert lot.lease_until == due.clock() + LEASE
        assert deployments.claim(now=due.clock()) is None

    @pytest.mark.parametrize("step", ["admit", "send"])
    def test_writes_nothing_more(self, due: World, step: str) -> None:
        first = deployments.claim(now=due.clock())
        assert first
        if step == "send":
            deployments.admit(claimed=first, image_whole=True, clock=due.clock)
        due.clock.move(seconds=61)
        assert deployments.claim(now=due.clock())
        gateway = Recorder()
        steps: dict[str, Callable[[], object]] = {
            "admit": lambda: deployments.admit(claimed=first, image_whole=True, clock=due.clock),
            "send": lambda: deployments.send(claimed=first, gateway=gateway, clock=due.clock),
        }
        with pytest.raises(deployments.LeaseLost):
            steps[step]()
        assert gateway.handed == []


class TestTheLocksOfTheGate:
    @pytest.mark.django_db(transaction=True)
    def test_are_not_taken_for_a_moment_only(self, transactional_db: None) -> None:
        world = worlds.make(now=clock.now())
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=1)
        world.book()
        claimed = deployments.claim(now=clock.now() + timedelta(hours=5))
        assert claimed
        with pytest.raises(RuntimeError, match="there is none"):
            claims.enter(claimed=claimed, clock=clock.now)
