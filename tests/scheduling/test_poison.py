"""What keeps failing is found, set aside, and stalls nobody else."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from firmware.operations import decisions
from hubs.gateway import Command as Instruction
from hubs.gateway import CommandRefused, GatewayUnavailable, Outcome, Phase, Receipt, Report, UnreadableReport
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog
from scheduling.lifecycle import State
from scheduling.models import LOT_SPAN, Command, Deployment, Lot, OddReport, Quarantine, Reclaim
from scheduling.operations import deployments
from scheduling.operations.deployments import claims, sender
from tests.scheduling.world import World

LEASE = claims.LEASE + timedelta(seconds=1)


class Picky(ModelledFleet):
    """A fleet whose adapter stumbles over certain hubs, and over whole sendings while `away`."""

    def __init__(self, *poisoned: int, error: Exception | None = None) -> None:
        self.poisoned = set(poisoned)
        self.error = error or CommandRefused("this one cannot be written")
        self.sendings: list[list[int]] = []
        self.before: Callable[[], object] = lambda: None

    def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
        self.sendings.append([command.hub for command in commands])
        self.before()
        if any(command.hub in self.poisoned for command in commands):
            raise self.error
        return super().send(commands=commands, now=now)


@pytest.fixture
def booked(world: World) -> World:
    """A hundred and twenty hubs in a slot five hours from now; staging opens in one hour."""
    world.hubs(120)
    world.slot(start=timedelta(hours=5), room=200)
    world.book()
    world.clock.move(hours=1)
    return world


@pytest.fixture
def poisoned(booked: World) -> Deployment:
    """One of them, in the middle."""
    return Deployment.objects.order_by("id")[70]


def due_now(world: World) -> None:
    """Let the lot be due, as time would."""
    Lot.objects.update(due_at=world.clock())


class TestAPoisonedCommand:
    def test_is_found_by_halves_and_stops_no_other(self, booked: World, poisoned: Deployment) -> None:
        fleet = Picky(poisoned.hub_id)
        deployments.carry_out(gateway=fleet, clock=booked.clock, lots=1)

        assert CommandLog.objects.count() == 119
        assert not CommandLog.objects.filter(hub=poisoned.hub_id).exists()
        assert [sending for sending in fleet.sendings if poisoned.hub_id in sending][-1] == [poisoned.hub_id]
        assert Quarantine.objects.get().strikes == 1
        assert Lot.objects.get().lease_until is None

    def test_is_set_aside_at_the_third_strike_and_the_others_go_their_way(
        self, booked: World, poisoned: Deployment
    ) -> None:
        fleet = Picky(poisoned.hub_id)
        for _ in range(3):
            booked.work(gateway=fleet)
            booked.clock.move(seconds=31)
            due_now(booked)
        booked.clock.move(hours=4)
        booked.work(gateway=fleet)

        assert Quarantine.objects.get().since is not None
        states = dict(Deployment.objects.values_list("id", "state"))
        assert states.pop(poisoned.pk) == State.STAGING
        assert set(states.values()) == {State.SUCCEEDED}
        tried = len([sending for sending in fleet.sendings if sending == [poisoned.hub_id]])
        assert tried == 3

    def test_is_not_struck_twice_at_once(self, booked: World, poisoned: Deployment) -> None:
        fleet = Picky(poisoned.hub_id)
        for _ in range(5):
            deployments.carry_out(gateway=fleet, clock=booked.clock, lots=1)
            due_now(booked)
        assert Quarantine.objects.get().strikes == 1

    def test_that_mends_itself_goes_on(self, booked: World, poisoned: Deployment) -> None:
        deployments.carry_out(gateway=Picky(poisoned.hub_id), clock=booked.clock, lots=1)
        booked.clock.move(seconds=31)
        booked.work()
        booked.clock.move(hours=4)
        booked.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}


class TestAnAdapterThatBreaks:
    """It raises something that says nothing of what the carrier has taken, and then nobody may go on."""

    @pytest.fixture
    def sent(self, booked: World) -> Callable[[Exception], set[bool]]:
        """Return what breaks an adapter after its carrier took 50, in the moment of a halt, and says who is stamped."""

        def send(error: Exception) -> set[bool]:
            class Broken(ModelledFleet):
                def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
                    super().send(commands=commands, now=now)
                    decisions.halt(release=booked.release, by=booked.staff, reason="x", now=booked.clock())
                    raise error

            deployments.carry_out(gateway=Broken(), clock=booked.clock, lots=1)
            taken = CommandLog.objects.values("deployment")
            stamps = Command.objects.filter(deployment_id__in=taken).values_list("sent_at", flat=True)
            assert len(stamps) == sender.SEND
            return {stamp is not None for stamp in stamps}

        return send

    def test_leaves_the_stamp_on_what_may_have_arrived(self, sent: Callable[[Exception], set[bool]]) -> None:
        assert sent(ValueError("half of the answer is missing")) == {True}

    def test_is_believed_where_it_says_that_nothing_was_taken(
        self, sent: Callable[[Exception], set[bool]]
    ) -> None:
        assert sent(CommandRefused("none of these")) == {False}


class TestACarrierThatIsAway:
    def test_strikes_nobody_and_leaves_only_what_may_have_arrived_stamped(self, booked: World) -> None:
        [poisoned] = Deployment.objects.order_by("id").values_list("hub_id", flat=True)[60:61]
        fleet = Picky(poisoned, error=GatewayUnavailable("no answer"))
        deployments.carry_out(gateway=fleet, clock=booked.clock, lots=10)

        assert len(fleet.sendings) == 2  # and nothing after the one that failed
        assert not Quarantine.objects.exists()
        assert Command.objects.filter(verdict__isnull=False).count() == sender.SEND
        assert Command.objects.filter(sent_at__isnull=False, verdict=None).count() == sender.SEND
        assert Command.objects.filter(sent_at=None).count() == 20
        lot = Lot.objects.get()
        assert lot.due_at == booked.clock() + claims.LOOK_AGAIN
        assert lot.deaths == 0

    def test_gets_everything_when_it_is_back(self, booked: World) -> None:
        [poisoned] = Deployment.objects.order_by("id").values_list("hub_id", flat=True)[60:61]
        deployments.carry_out(
            gateway=Picky(poisoned, error=TimeoutError("slow")), clock=booked.clock, lots=10
        )
        booked.clock.move(seconds=31)
        booked.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}
        assert set(CommandLog.objects.values_list("repeats", flat=True)) == {0}


class TestASenderThatStops:
    def test_in_the_middle_unstamps_the_rest_and_hands_the_lot_back(self, booked: World) -> None:
        fleet = Picky()
        deployments.carry_out(
            gateway=fleet, clock=booked.clock, lots=1, keep_going=lambda: len(fleet.sendings) < 1
        )

        assert len(fleet.sendings) == 1
        assert Command.objects.filter(sent_at=None).count() == 70
        lot = Lot.objects.get()
        assert lot.lease_until is None
        assert lot.due_at == booked.clock()
        booked.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}

    def test_unstamps_the_rest_though_time_passes_between_the_gate_and_the_stamp(self, booked: World) -> None:
        fleet = Picky()
        deployments.carry_out(
            gateway=fleet,
            clock=lambda: booked.clock.move(milliseconds=1),
            lots=1,
            keep_going=lambda: len(fleet.sendings) < 1,
        )
        assert Command.objects.filter(sent_at=None).count() == 70

    def test_asks_everything_again_when_the_carrier_is_slow(self, booked: World) -> None:
        fleet = Picky()
        fleet.before = lambda: booked.clock.move(seconds=1.5)
        claimed = deployments.claim(now=booked.clock())
        assert claimed
        deployments.admit(claimed=claimed, image_whole=True, clock=booked.clock)

        assert deployments.send(claimed=claimed, gateway=fleet, clock=booked.clock) == 100
        assert Command.objects.filter(sent_at=None).count() == 20
        assert deployments.send(claimed=claimed, gateway=fleet, clock=booked.clock) == 20

    def test_does_not_unstamp_what_another_had_stamped(self, booked: World) -> None:
        claimed = deployments.claim(now=booked.clock())
        assert claimed
        deployments.admit(claimed=claimed, image_whole=True, clock=booked.clock)
        earlier = booked.clock() - timedelta(seconds=1)
        Command.objects.update(sent_at=earlier)  # by one that died then
        fleet = Picky()
        deployments.send(
            claimed=claimed, gateway=fleet, clock=booked.clock, keep_going=lambda _: len(fleet.sendings) < 1
        )
        assert set(Command.objects.filter(verdict=None).values_list("sent_at", flat=True)) == {earlier}


class TestALotWithWhichWorkersDie:
    def test_is_taken_in_halves_until_one_hub_is_left_and_set_aside(
        self, booked: World, poisoned: Deployment
    ) -> None:
        reached: list[int] = []
        for _ in range(100):
            claimed = deployments.claim(now=booked.clock())
            if not claimed:
                break
            reaches = claimed.first <= poisoned.pk <= claimed.last
            if reaches and poisoned.pk not in claimed.aside:
                reached.append(claimed.lot.reach)
                booked.clock.move(seconds=LEASE.total_seconds())  # dead
            else:
                deployments.advance(claimed=claimed, gateway=ModelledFleet(), clock=booked.clock)
        else:
            pytest.fail("it never came to an end")

        assert Quarantine.objects.count() == 1
        kept = Quarantine.objects.get()
        assert (kept.deployment_id, kept.since is not None) == (poisoned.pk, True)
        assert reached[:2] == [claims.WHOLE, claims.WHOLE]
        assert reached[2:] == [64, 32, 16, 8, 4, 2, 1]  # of 128 places, which hold all of its 120 hubs
        assert not Command.objects.filter(deployment_id=poisoned.pk).exists()
        assert Reclaim.objects.count() == len(reached)
        lot = Lot.objects.get()
        assert (lot.deaths, lot.reach_from, lot.reach) == (0, 0, claims.WHOLE)
        booked.work()
        booked.clock.move(hours=4)
        booked.work()
        assert Deployment.objects.filter(state=State.SUCCEEDED).count() == 119

    def test_goes_back_to_normal_when_they_died_of_something_else(self, booked: World) -> None:
        for _ in range(4):
            assert deployments.claim(now=booked.clock())
            booked.clock.move(seconds=LEASE.total_seconds())
        booked.work(rounds=50)

        lot = Lot.objects.get()
        assert (lot.deaths, lot.reach_from, lot.reach) == (0, 0, claims.WHOLE)
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}
        assert not Quarantine.objects.exists()

    def test_counts_one_that_raises_like_one_that_dies(
        self, booked: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(deployments.gate, "admit", lambda **_: 1 // 0)
            try:
                done = deployments.carry_out(gateway=ModelledFleet(), clock=booked.clock, lots=1)
            except ZeroDivisionError:
                pytest.fail("what one lot fails on has ended the work on all")
        assert done == 1
        lot = Lot.objects.get()
        assert (lot.deaths, lot.lease_until) == (1, None)
        booked.clock.move(seconds=31)
        booked.work()
        assert Lot.objects.get().deaths == 0
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}


class TestWhatComesBackBroken:
    def collect(self, world: World, *came: Report | UnreadableReport) -> list[int]:
        """Let these come back; return what was acknowledged."""
        acknowledged: list[int] = []

        class Broken(ModelledFleet):
            def collect(self, *, limit: int, now: datetime) -> Sequence[Report | UnreadableReport]:
                return came

            def acknowledge(self, *, reports: Sequence[int]) -> None:
                acknowledged.extend(reports)

        deployments.collect(gateway=Broken(), clock=world.clock)
        return acknowledged

    def test_is_kept_and_counted_and_acknowledged(self, booked: World) -> None:
        odd = UnreadableReport(7, "phase is no phase", '{"phase": 99}')
        nameless = UnreadableReport(None, "no JSON", "\\xff")
        assert self.collect(booked, odd, nameless) == [7]
        self.collect(booked, odd)
        assert list(OddReport.objects.order_by("id").values_list("reason", "times")) == [
            ("phase is no phase", 2),
            ("no JSON", 1),
        ]

    def test_holds_up_no_other_where_it_cannot_be_recorded(self, booked: World) -> None:
        booked.work(rounds=0)
        deployments.carry_out(gateway=ModelledFleet(), clock=booked.clock, lots=1)
        good = [
            Report(
                number,
                row.deployment,
                Phase(row.phase),
                row.attempt,
                row.hub,
                Outcome.DONE,
                0x01000001,
                booked.clock(),
            )
            for number, row in enumerate(CommandLog.objects.order_by("id"), 1)
        ]
        beyond = Report(999, 2**63, Phase.READ, 2**40, 5, Outcome.DONE, 2**70, booked.clock())
        acknowledged = self.collect(booked, *good[:60], beyond, *good[60:])

        assert len(acknowledged) == 121
        assert Command.objects.filter(answered_at__isnull=False).count() == 120
        assert "DataError" in OddReport.objects.get().reason


def test_places_of_a_lot_are_reached_by_halves() -> None:
    assert claims.WHOLE <= LOT_SPAN
    assert claims.WHOLE & (claims.WHOLE - 1) == 0
