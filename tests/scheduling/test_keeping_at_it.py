"""Carrying out and collecting in turn: no lot waits for the timetable while hubs answer."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from hubs.gateway import Command, GatewayUnavailable, Outcome, Phase, Receipt, Report, Verdict
from hubs.models import CommunicationsHub
from portal.ground import turns
from scheduling.lifecycle import State
from scheduling.models import Deployment, Lot, ReportCount, ReportKind
from scheduling.operations import deployments
from tests.scheduling.world import World

pytestmark = pytest.mark.django_db
HUBS = 40
"""Fewer than a first stage takes."""


class AtOnce:
    """A carrier whose hubs answer at once; it repeats what is not acknowledged."""

    def __init__(self, world: World) -> None:
        hub = CommunicationsHub.objects.select_related("installed_version")[0]
        self.versions = {
            Phase.READ: hub.installed_version.number,
            Phase.VERIFY: world.release.version.number,
        }
        self.waiting: dict[int, Report] = {}
        self.looks = self.sendings = 0

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        self.sendings += 1
        for command in commands:
            number = command.deployment * 100 + command.phase * 10 + command.attempt
            self.waiting[number] = Report(
                number,
                command.deployment,
                command.phase,
                command.attempt,
                command.hub,
                Outcome.DONE,
                self.versions.get(command.phase),
                now,
            )
        return [
            Receipt(command.deployment, command.phase, command.attempt, Verdict.ACCEPTED)
            for command in commands
        ]

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report]:
        self.looks += 1
        return list(self.waiting.values())[:limit]

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        for number in reports:
            self.waiting.pop(number, None)


@pytest.fixture
def begun(world: World) -> World:
    """Hubs whose slot has begun, and with whom nobody has spoken yet."""
    world.hubs(HUBS)
    world.slot(start=timedelta(hours=5), room=HUBS)
    world.book()
    world.clock.move(hours=5)
    return world


class TestKeepAtIt:
    def keep(self, world: World, fleet: AtOnce, *, leaves_work: bool = False, **given: object) -> list[float]:
        """Keep at it, for want of time or until nothing is left; return the pauses."""
        pauses: list[float] = []
        terms = {"clock": world.clock, "keep_going": lambda: True, "pause": pauses.append} | given
        assert deployments.keep_at_it(gateway=fleet, **terms) is leaves_work  # type: ignore[arg-type]
        return pauses

    def test_takes_hubs_all_the_way_while_they_answer(self, begun: World) -> None:
        fleet = AtOnce(begun)
        self.keep(begun, fleet)
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
        assert ReportCount.objects.get(kind=ReportKind.ANSWER).reports == 4 * HUBS
        assert not fleet.waiting

    def test_looks_a_few_times_more_and_then_leaves(self, begun: World) -> None:
        pauses = self.keep(begun, AtOnce(begun))
        assert 0 < len(pauses) <= 20
        assert sum(pauses) < 2

    def test_leaves_at_once_where_there_is_nothing_to_do(self, world: World) -> None:
        world.hubs(1)
        fleet = AtOnce(world)
        assert self.keep(world, fleet) == []
        assert fleet.looks == 1

    def test_ends_when_it_is_told_to(self, begun: World) -> None:
        fleet = AtOnce(begun)
        self.keep(begun, fleet, keep_going=lambda: not fleet.sendings)
        assert set(Deployment.objects.values_list("phase", flat=True)) == {Phase.STAGE}
        assert not fleet.waiting

    def test_ends_in_time_for_others(self, begun: World) -> None:
        began = begun.clock()
        self.keep(begun, AtOnce(begun), clock=lambda: begun.clock.move(seconds=1), leaves_work=True)
        assert begun.clock() - began < timedelta(minutes=1)
        assert not Deployment.objects.filter(state=State.SUCCEEDED).exists()

    def test_collects_nothing_while_somebody_else_does(self, begun: World) -> None:
        fleet = AtOnce(begun)
        with turns.turn(name="collecting reports", lease=timedelta(minutes=1), clock=begun.clock):
            self.keep(begun, fleet)
        assert fleet.looks == 0
        assert len(fleet.waiting) == HUBS
        self.keep(begun, fleet)
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}

    def test_goes_on_where_no_answers_can_be_fetched(self, begun: World) -> None:
        class Mute(AtOnce):
            def collect(self, *, limit: int, now: datetime) -> Sequence[Report]:
                raise GatewayUnavailable

        fleet = Mute(begun)
        try:
            self.keep(begun, fleet)
        except GatewayUnavailable:
            pytest.fail("a carrier without answers ended the work")
        assert len(fleet.waiting) == HUBS
        assert not Lot.objects.exclude(lease_until=None).exists()
