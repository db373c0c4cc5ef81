"""Forged answers are counted, whatever was asked, and stay what they were to whoever asked: no answer at all."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError

from hubs.gateway import (
    Accountable,
    AnswerForged,
    CommandRefused,
    GatewayUnavailable,
    HubGateway,
    Phase,
    Watchful,
)
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog
from scheduling.lifecycle import State
from scheduling.models import Command, Deployment, Quarantine, Reconciliation, ReportCount, ReportKind
from scheduling.operations import deployments, forgeries, reconciliation
from scheduling.queries import health
from tests.scheduling.world import World

ASKED: list[Callable[[Any], object]] = [
    lambda door: door.send(commands=[], now=None),
    lambda door: door.collect(limit=1, now=None),
    lambda door: door.acknowledge(reports=[1]),
    lambda door: door.received(after=0, limit=1),
    lambda door: door.look(hubs=[1], now=None),
]


class Failing:
    """A carrier in whose place something fails, whatever is asked."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def send(self, **_: object) -> Any:
        raise self.failure

    def collect(self, **_: object) -> Any:
        raise self.failure

    def acknowledge(self, **_: object) -> None:
        raise self.failure


class FailingWithLog(Failing):
    """The same, of a carrier that keeps a log."""

    def received(self, **_: object) -> Any:
        raise self.failure


class FailingWithLooks(Failing):
    """The same, of a carrier that can look at hubs."""

    def look(self, **_: object) -> Any:
        raise self.failure


class FailingWithBoth(FailingWithLog, FailingWithLooks):
    """The same, of a carrier that does both."""


def forged() -> dict[Any, int]:
    return dict(ReportCount.objects.filter(kind=ReportKind.FORGED).values_list("day", "reports"))


class TestCounted:
    @pytest.mark.parametrize("ask", ASKED)
    def test_counts_a_forged_answer_by_the_day_and_passes_it_on(
        self, ask: Callable[[Any], object], world: World
    ) -> None:
        door = forgeries.counted(gateway=FailingWithBoth(AnswerForged("not signed")), clock=world.clock)
        for _ in range(2):
            with pytest.raises(AnswerForged, match="not signed"):
                ask(door)
        first = world.clock().date()
        world.clock.move(days=1)
        with pytest.raises(AnswerForged):
            ask(door)

        assert forged() == {first: 2, first + timedelta(days=1): 1}
        assert health.reports()[ReportKind.FORGED] == 3

    @pytest.mark.parametrize("ask", ASKED)
    @pytest.mark.parametrize("failure", [GatewayUnavailable("away"), CommandRefused("no"), OSError("line")])
    def test_counts_nothing_else(
        self, ask: Callable[[Any], object], failure: Exception, world: World
    ) -> None:
        door = forgeries.counted(gateway=FailingWithBoth(failure), clock=world.clock)
        with pytest.raises(type(failure)):
            ask(door)
        assert forged() == {}

    @pytest.mark.parametrize("kind", [Failing, FailingWithLog, FailingWithLooks, FailingWithBoth])
    def test_can_do_what_the_carrier_can_and_no_more(self, kind: type[Failing], world: World) -> None:
        carrier = kind(OSError())
        door = forgeries.counted(gateway=carrier, clock=world.clock)
        assert isinstance(door, Accountable) == isinstance(carrier, Accountable)
        assert isinstance(door, Watchful) == isinstance(carrier, Watchful)

    def test_stays_a_forged_answer_where_it_cannot_be_counted(self, db: None) -> None:
        def unreachable() -> Any:
            raise OperationalError("the database is away")

        door = forgeries.counted(gateway=Failing(AnswerForged("not signed")), clock=unreachable)
        with pytest.raises(AnswerForged):
            door.collect(limit=1, now=None)  # type: ignore[arg-type]

    def test_changes_nothing_for_a_carrier_that_signs(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()
        door = forgeries.counted(gateway=ModelledFleet(), clock=world.clock)
        for _ in range(36):
            world.clock.move(minutes=10)
            world.work(gateway=door)
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
        finished = reconciliation.reconcile(gateway=door, clock=world.clock, portions=100)
        assert finished
        assert finished.commands == CommandLog.objects.count() > 0
        assert not finished.log_silent
        assert forged() == {}


class TestAForgedAnswer:
    @pytest.fixture
    def door(self, world: World) -> HubGateway:
        """Return the way to whoever answers in the carrier's place; a hub is due to be read."""
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=1)
        world.book()
        world.clock.move(hours=2)
        return forgeries.counted(gateway=FailingWithLog(AnswerForged("not signed")), clock=world.clock)

    def test_to_commands_lets_the_lot_wait_and_strikes_nobody(self, world: World, door: HubGateway) -> None:
        deployments.carry_out(gateway=door, clock=world.clock, lots=5)
        assert forged() == {world.clock().date(): 1}
        assert not Quarantine.objects.exists()
        command = Command.objects.get()
        assert (command.phase, command.verdict) == (Phase.READ, None)
        assert command.sent_at  # it may have left all the same

    def test_to_the_question_for_reports_is_recorded_as_none(self, world: World, door: HubGateway) -> None:
        with pytest.raises(AnswerForged):
            deployments.collect(gateway=door, clock=world.clock)
        assert dict(ReportCount.objects.values_list("kind", "reports")) == {ReportKind.FORGED: 1}

    def test_in_the_place_of_the_log_is_no_log(self, world: World, door: HubGateway) -> None:
        finished = reconciliation.reconcile(gateway=door, clock=world.clock, portions=100)
        assert finished
        assert finished.log_silent
        assert forged() == {world.clock().date(): 1}

    def test_to_the_command_that_reconciles_is_counted(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hubs.gateway.connect", lambda: FailingWithLog(AnswerForged("not signed")))
        call_command("reconcile", stdout=StringIO())
        assert sum(forged().values()) == 1
        assert Reconciliation.objects.get().log_silent
