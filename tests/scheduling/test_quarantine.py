"""What DCC, or time, decides about hubs that were set aside, and what becomes of them without it."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group

from firmware.operations import groups as staff_groups
from hubs.gateway import Command as Instruction
from hubs.gateway import CommandRefused, Outcome, Phase, Receipt, Report, Verdict
from hubs.identifiers import format_eui64
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog, FleetHub
from hubs.models import CommunicationsHub
from portal.ground.models import AuditEntry
from portal.models import User
from scheduling.lifecycle import Ending, State
from scheduling.models import (
    Command,
    Deployment,
    HubException,
    InFlight,
    Lot,
    Notice,
    Quarantine,
    ReportCount,
    ReportKind,
    Slot,
    Stage,
)
from scheduling.operations import bookings, deployments, exceptions, notices, quarantine
from scheduling.operations.bookings import UnableToCancel
from scheduling.operations.deployments import aside
from scheduling.operations.deployments.gate import LAST_WORD
from scheduling.queries import quarantine as found
from tests.faults import judge
from tests.scheduling.rows import Row, Sent, lay_out
from tests.scheduling.world import World


class Refusing(ModelledFleet):
    """A fleet whose carrier takes no command of some phases for one hub."""

    def __init__(self, hub: int, *phases: Phase) -> None:
        self.hub, self.phases = hub, phases

    def send(self, *, commands: Sequence[Instruction], now: object) -> Sequence[Receipt]:
        if any(command.hub == self.hub and command.phase in self.phases for command in commands):
            raise CommandRefused("no such hub")
        return super().send(commands=commands, now=now)  # type: ignore[arg-type]


def set_aside(world: World, phase: Phase) -> Deployment:
    """
    Book twenty hubs, and carry them out until one is set aside because its commands of a phase fail.

    The others go their way; the clock stands in the slot.
    """
    world.hubs(20)
    world.slot(start=timedelta(hours=5), room=100)
    world.book()
    world.clock.move(hours=1)
    poisoned = Deployment.objects.order_by("id")[7]
    fleet = Refusing(poisoned.hub_id, phase)
    for _ in range(aside.STRIKES):
        world.work(gateway=fleet)
        world.clock.move(seconds=31)
    world.clock.move(hours=4)
    for _ in range(aside.STRIKES):
        world.work(gateway=fleet)
        world.clock.move(seconds=31)
    world.work(gateway=fleet)
    poisoned.refresh_from_db()
    assert Quarantine.objects.get().since is not None
    assert Deployment.objects.filter(state=State.SUCCEEDED).count() == 19
    return poisoned


@pytest.fixture
def manager(world: World) -> User:
    """Somebody who may decide."""
    person = User.objects.create_user(email="manager@dcc.example.com", is_staff=True)
    person.groups.add(Group.objects.get(name=staff_groups.OPERATIONS))
    return person


class TestTakeBack:
    @pytest.mark.parametrize(
        ("phase", "state"),
        [
            (Phase.READ, State.STAGING),
            (Phase.STAGE, State.STAGING),
            (Phase.ACTIVATE, State.ACTIVATING),
            (Phase.VERIFY, State.ACTIVATING),
        ],
    )
    def test_lets_a_hub_go_on_where_it_was_to_its_success(
        self, phase: Phase, state: State, world: World, manager: User
    ) -> None:
        poisoned = set_aside(world, phase)
        assert (poisoned.state, poisoned.phase) == (state, phase)

        taken = quarantine.take_back(
            deployments=[poisoned.pk], by=manager, reason="Mended", now=world.clock()
        )
        assert Lot.objects.get().due_at == world.clock()
        world.work()
        world.clock.move(minutes=5)
        world.work()

        assert taken == 1
        poisoned.refresh_from_db()
        assert poisoned.state == State.SUCCEEDED
        assert not Quarantine.objects.exists()
        assert FleetHub.objects.get(pk=poisoned.hub_id).activations == 1
        assert judge.balances_its_ledger(judge.Evidence()) == []

    def test_leaves_a_hub_missed_whose_slot_is_over(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.STAGE)
        world.clock.move(hours=2)
        quarantine.take_back(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        world.work()
        poisoned.refresh_from_db()
        assert (poisoned.state, poisoned.ending) == (State.MISSED, Ending.NOT_STAGED)

    def test_does_not_cut_short_the_wait_for_an_answer(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.VERIFY)
        Command.objects.filter(deployment_id=poisoned.pk, phase=Phase.VERIFY).update(verdict=1)
        waits_until = poisoned.next_at
        assert waits_until
        assert waits_until > world.clock()
        quarantine.take_back(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        poisoned.refresh_from_db()
        assert poisoned.next_at == waits_until

    def test_counts_strikes_anew(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.ACTIVATE)
        quarantine.take_back(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        world.work(gateway=Refusing(poisoned.hub_id, Phase.ACTIVATE))
        assert Quarantine.objects.get().strikes == 1
        assert not found.every_open().exists()

    def test_is_recorded(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.STAGE)
        quarantine.take_back(deployments=[poisoned.pk], by=manager, reason="Mended", now=world.clock())
        entry = AuditEntry.objects.get(verb="quarantine.taken_back")
        assert (entry.actor, entry.reason, entry.subject) == (
            manager,
            "Mended",
            f"release:{world.release.pk}",
        )
        assert entry.facts["hubs"] == 1
        assert entry.facts["which"][0]["deployment"] == poisoned.pk


class TestEnd:
    @pytest.mark.parametrize(
        ("phase", "state"),
        [
            (Phase.STAGE, State.MISSED),
            (Phase.ACTIVATE, State.UNCONFIRMED),
            (Phase.VERIFY, State.UNCONFIRMED),
        ],
    )
    def test_ends_a_hub_by_how_far_it_came(
        self, phase: Phase, state: State, world: World, manager: User
    ) -> None:
        poisoned = set_aside(world, phase)
        ended = quarantine.end(deployments=[poisoned.pk], by=manager, reason="Broken", now=world.clock())

        poisoned.refresh_from_db()
        assert (poisoned.state, poisoned.ending) == (state, Ending.SET_ASIDE)
        assert (ended.missed, ended.unconfirmed) == (
            int(state == State.MISSED),
            int(state == State.UNCONFIRMED),
        )
        assert not Quarantine.objects.exists()
        assert Lot.objects.get().due_at is None
        assert judge.balances_its_ledger(judge.Evidence()) == []
        assert bookings.finish(now=world.clock())
        entry = AuditEntry.objects.get(verb="quarantine.ended")
        assert (entry.actor, entry.reason) == (manager, "Broken")

    def test_keeps_its_place_as_other_missed_hubs_do(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.STAGE)
        quarantine.end(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        assert Slot.objects.get().taken == 20

    def test_hands_it_back_to_its_booker_and_lets_it_be_booked_again(
        self, world: World, manager: User
    ) -> None:
        poisoned = set_aside(world, Phase.STAGE)
        quarantine.end(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        world.slot(start=timedelta(hours=9), room=10)
        world.clock.move(hours=2)
        notices.owe_missed(now=world.clock())

        context = Notice.objects.get(kind=Notice.Kind.MISSED).context
        assert context["reasons"] == [[Ending.SET_ASIDE.label, 1]]
        assert context["may_go"] == 1
        assert world.book().hubs == 1

    def test_counts_towards_the_exceptions_of_hubs_missed_twice(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.STAGE)
        quarantine.end(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        assert exceptions.raise_missed_twice(now=world.clock()) == 0
        world.slot(start=timedelta(hours=5), room=10)
        world.book()
        world.clock.move(hours=8)  # nobody carried it out
        world.work()

        assert exceptions.raise_missed_twice(now=world.clock()) == 1
        assert HubException.objects.get().hub == poisoned.hub_id

    def test_makes_room_in_flight_and_in_its_stage(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.ACTIVATE)
        assert InFlight.objects.get().activating == 1
        Lot.objects.update(waits=True, due_at=world.clock() + timedelta(hours=1))
        quarantine.end(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())

        assert (InFlight.objects.get().activating, InFlight.objects.get().resolved) == (0, 20)
        assert Stage.objects.get().resolved == 20
        lot = Lot.objects.get()
        assert not lot.waits

    def test_never_lets_a_late_answer_open_it_again(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.VERIFY)
        command = Command.objects.filter(deployment_id=poisoned.pk).latest("attempt")
        quarantine.end(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        deployments.record_reports(reports=[answer(poisoned, command, world)], now=world.clock())

        poisoned.refresh_from_db()
        assert (poisoned.state, poisoned.ending) == (State.UNCONFIRMED, Ending.SET_ASIDE)
        command.refresh_from_db()
        assert command.answered_at
        assert judge.balances_its_ledger(judge.Evidence()) == []


def answer(poisoned: Deployment, command: Command, world: World) -> Report:
    """Return a hub's answer that it runs the new version."""
    return Report(
        1,
        poisoned.pk,
        Phase(command.phase),
        command.attempt,
        poisoned.hub_id,
        Outcome.DONE,
        world.release.version.number,
        world.clock(),
    )


class TestBoth:
    @pytest.mark.parametrize("decide", [quarantine.take_back, quarantine.end])
    def test_are_for_those_who_may_with_a_reason(self, decide: object, world: World, manager: User) -> None:
        assert callable(decide)
        poisoned = set_aside(world, Phase.STAGE)
        stranger = User.objects.create_user(email="approver@other.example.com", is_staff=True)
        stranger.groups.add(Group.objects.get(name=staff_groups.APPROVERS))
        for by, reason, sentence in (
            (stranger, "x", "Only a DCC release manager"),
            (world.person, "x", "Only a DCC release manager"),
            (manager, " ", "Say in a few words why"),
        ):
            with pytest.raises(quarantine.UnableToDecide, match=sentence):
                decide(deployments=[poisoned.pk], by=by, reason=reason, now=world.clock())
        with pytest.raises(quarantine.UnableToDecide, match="1,000 at most"):
            decide(deployments=range(1_001), by=manager, reason="x", now=world.clock())
        assert found.count() == 1
        assert not AuditEntry.objects.filter(verb__startswith="quarantine.").exists()

    @pytest.mark.parametrize("decide", [quarantine.take_back, quarantine.end])
    def test_touch_no_hub_that_is_not_set_aside(self, decide: object, world: World, manager: User) -> None:
        assert callable(decide)
        world.hubs(2)
        world.slot(start=timedelta(hours=5), room=100)
        world.book()
        one, other = Deployment.objects.order_by("id")
        aside.strike(deployment=one.pk, error="x", now=world.clock())  # not yet enough
        with pytest.raises(quarantine.UnableToDecide, match="None of these hubs is set aside any more"):
            decide(deployments=[one.pk, other.pk, 5], by=manager, reason="x", now=world.clock())
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.BOOKED}
        assert Quarantine.objects.get().strikes == 1


class TestALateReport:
    def test_is_recorded_and_ends_a_hub_that_is_set_aside(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.VERIFY)
        command = Command.objects.filter(deployment_id=poisoned.pk).latest("attempt")
        deployments.record_reports(reports=[answer(poisoned, command, world)], now=world.clock())

        poisoned.refresh_from_db()
        assert poisoned.state == State.SUCCEEDED
        assert found.count() == 0
        with pytest.raises(quarantine.UnableToDecide, match="have ended"):
            quarantine.end(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        poisoned.refresh_from_db()
        assert poisoned.state == State.SUCCEEDED
        assert quarantine.sweep(clock=world.clock) == 1
        assert not Quarantine.objects.exists()

    def test_moves_on_a_hub_that_stays_set_aside(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.STAGE)
        hand_over(poisoned, world)
        world.clock.move(minutes=5)
        world.work()

        poisoned.refresh_from_db()
        assert (poisoned.state, poisoned.phase) == (State.STAGED, Phase.ACTIVATE)
        assert quarantine.sweep(clock=world.clock) == 0
        assert found.count() == 1
        assert not CommandLog.objects.filter(hub=poisoned.hub_id, phase=Phase.ACTIVATE).exists()
        quarantine.take_back(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        world.work()
        world.clock.move(minutes=5)
        world.work()
        poisoned.refresh_from_db()
        assert poisoned.state == State.SUCCEEDED


def hand_over(poisoned: Deployment, world: World) -> None:
    """Let the last command of a hub arrive after all, as a carrier's answer can be lost and its hub obey."""
    command = Command.objects.filter(deployment_id=poisoned.pk).latest("attempt")
    ModelledFleet().send(
        commands=[
            Instruction(
                deployment=poisoned.pk,
                phase=Phase(command.phase),
                attempt=command.attempt,
                hub=poisoned.hub_id,
                lot=poisoned.lot_id,
                token=Lot.objects.get(pk=poisoned.lot_id).token,
                valid_until=command.valid_until,
                digest=world.release.digest,
                version=world.release.version.number,
            )
        ],
        now=world.clock(),
    )


def lapse(world: World) -> int:
    return quarantine.lapse(clock=world.clock)


def wait_until_too_long(poisoned: Deployment, world: World) -> None:
    """Let time pass until what was set aside has been silent for too long, to the second."""
    since = Quarantine.objects.get(pk=poisoned.pk).since
    assert since
    world.clock.moment = world.release.policy.silence_deadline.after(since) + LAST_WORD


class TestLapse:
    @pytest.mark.parametrize("phase", [Phase.ACTIVATE, Phase.VERIFY])
    def test_ends_what_was_being_activated_once_it_was_silent_for_too_long(
        self, phase: Phase, world: World
    ) -> None:
        poisoned = set_aside(world, phase)
        wait_until_too_long(poisoned, world)
        assert not Command.objects.filter(valid_until__gt=world.clock()).exists()
        world.clock.move(seconds=-1)
        assert lapse(world) == 0
        poisoned.refresh_from_db()
        assert poisoned.state == State.ACTIVATING
        world.clock.move(seconds=1)

        assert lapse(world) == 1
        poisoned.refresh_from_db()
        assert (poisoned.state, poisoned.ending) == (State.UNCONFIRMED, Ending.SET_ASIDE)
        assert poisoned.ended_at == world.clock()
        assert Lot.objects.get().due_at is None
        assert bookings.finish(now=world.clock())
        assert judge.balances_its_ledger(judge.Evidence()) == []
        assert judge.takes_silence_for_an_outcome(judge.Evidence()) == []
        assert lapse(world) == 0

    def test_goes_by_the_policy_of_the_release(self, world: World) -> None:
        policy = world.release.policy
        policy.silence_deadline = "20 hours"
        policy.save()
        poisoned = set_aside(world, Phase.ACTIVATE)
        world.clock.move(hours=19)
        assert lapse(world) == 0
        wait_until_too_long(poisoned, world)
        assert lapse(world) == 1

    def test_makes_room_in_flight_and_in_its_stage(self, world: World) -> None:
        poisoned = set_aside(world, Phase.ACTIVATE)
        assert (InFlight.objects.get().activating, Stage.objects.get().resolved) == (1, 19)
        wait_until_too_long(poisoned, world)
        Lot.objects.update(waits=True, due_at=world.clock() + timedelta(hours=1))
        lapse(world)

        assert (InFlight.objects.get().activating, InFlight.objects.get().resolved) == (0, 20)
        assert (Stage.objects.get().admitted, Stage.objects.get().resolved) == (20, 20)
        assert not Lot.objects.get().waits

    @pytest.mark.parametrize("phase", [Phase.READ, Phase.STAGE])
    def test_leaves_what_is_not_being_activated_to_dcc(self, phase: Phase, world: World) -> None:
        poisoned = set_aside(world, phase)
        world.clock.move(days=40)
        assert lapse(world) == 0
        poisoned.refresh_from_db()
        assert poisoned.state == State.STAGING
        assert found.count() == 1

    def test_takes_back_an_activation_that_surely_never_left(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.ACTIVATE)
        command = Command.objects.filter(deployment_id=poisoned.pk, phase=Phase.ACTIVATE)
        command.update(sent_at=None)
        wait_until_too_long(poisoned, world)

        assert lapse(world) == 0
        poisoned.refresh_from_db()
        assert (poisoned.state, poisoned.phase, poisoned.stage) == (State.STAGED, Phase.ACTIVATE, 0)
        assert not poisoned.awaiting
        assert command.get().outcome == Outcome.EXPIRED
        assert (InFlight.objects.get().activating, InFlight.objects.get().resolved) == (0, 19)
        assert (Stage.objects.get().admitted, Stage.objects.get().resolved) == (19, 19)
        assert found.count() == 1  # DCC still decides
        assert not AuditEntry.objects.filter(verb="quarantine.lapsed").exists()
        assert judge.balances_its_ledger(judge.Evidence()) == []
        ended = quarantine.end(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        assert (ended.missed, ended.unconfirmed) == (1, 0)

    def test_takes_back_an_activation_that_came_too_late(self, world: World) -> None:
        poisoned = set_aside(world, Phase.ACTIVATE)
        Command.objects.filter(deployment_id=poisoned.pk, phase=Phase.ACTIVATE).update(
            verdict=Verdict.EXPIRED
        )
        wait_until_too_long(poisoned, world)
        assert lapse(world) == 0
        poisoned.refresh_from_db()
        assert poisoned.state == State.STAGED

    def test_lets_a_late_report_change_nothing_but_the_inventory(self, world: World) -> None:
        poisoned = set_aside(world, Phase.ACTIVATE)
        command = Command.objects.filter(deployment_id=poisoned.pk, phase=Phase.ACTIVATE).get()
        wait_until_too_long(poisoned, world)
        lapse(world)
        before = Deployment.objects.filter(pk=poisoned.pk).values().get()
        late = ReportCount.objects.filter(kind=ReportKind.LATE)
        assert not late.exists()
        deployments.record_reports(reports=[answer(poisoned, command, world)], now=world.clock())

        assert Deployment.objects.filter(pk=poisoned.pk).values().get() == before
        assert late.get().reports == 1
        hub = CommunicationsHub.objects.get(pk=poisoned.hub_id)
        assert hub.installed_version.number == world.release.version.number
        command.refresh_from_db()
        assert command.outcome == Outcome.DONE
        assert judge.balances_its_ledger(judge.Evidence()) == []

    def test_is_recorded_as_the_portals_own_decision(self, world: World) -> None:
        poisoned = set_aside(world, Phase.ACTIVATE)
        wait_until_too_long(poisoned, world)
        lapse(world)
        entry = AuditEntry.objects.get(verb="quarantine.lapsed")
        assert (entry.actor, entry.subject) == (None, f"release:{world.release.pk}")
        assert entry.facts == {
            "hubs": 1,
            "which": [
                {"chf_id": format_eui64(poisoned.hub_id), "deployment": poisoned.pk, "was": "activating"}
            ],
        }

    def test_counts_from_when_it_was_set_aside_last(self, world: World, manager: User) -> None:
        poisoned = set_aside(world, Phase.VERIFY)
        world.clock.move(minutes=100)
        quarantine.take_back(deployments=[poisoned.pk], by=manager, reason="x", now=world.clock())
        aside.set_aside(deployment=poisoned.pk, error="x", now=world.clock())
        world.clock.move(minutes=100)
        assert lapse(world) == 0
        wait_until_too_long(poisoned, world)
        assert lapse(world) == 1

    def test_stays_in_the_list_of_what_time_decided_and_not_in_that_of_what_waits(self, world: World) -> None:
        poisoned = set_aside(world, Phase.ACTIVATE)
        wait_until_too_long(poisoned, world)
        lapse(world)
        assert found.count() == 0
        assert [(kept.pk, kept.lapsed_at) for kept in found.every_open_or_lapsed()] == [
            (poisoned.pk, world.clock())
        ]

    def test_goes_on_until_nothing_is_left_or_it_is_to_stop(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quarantine, "PORTION", 2)
        world.hubs(5)
        world.slot(start=timedelta(hours=2), room=5)
        world.book()
        world.clock.move(hours=2)
        laid = lay_out(world, [Row(State.ACTIVATING, Phase.VERIFY, is_due=False, awaits=Sent())] * 5)
        for pk in laid:
            aside.set_aside(deployment=pk, error="x", now=world.clock())
        world.clock.move(hours=3)
        stops = iter([True, False])

        assert quarantine.lapse(clock=world.clock, keep_going=lambda: next(stops)) == 2
        assert lapse(world) == 3
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.UNCONFIRMED}


class TestSweep:
    def test_lets_time_decide_and_remembers_it_for_four_weeks(self, world: World) -> None:
        poisoned = set_aside(world, Phase.ACTIVATE)
        wait_until_too_long(poisoned, world)
        assert quarantine.sweep(clock=world.clock) == 0
        assert Quarantine.objects.get().lapsed_at == world.clock()
        world.clock.move(days=28)
        assert quarantine.sweep(clock=world.clock) == 0
        world.clock.move(seconds=1)
        assert quarantine.sweep(clock=world.clock) == 1
        assert not Quarantine.objects.exists()

    def test_forgets_what_was_cancelled_and_leaves_what_is_open(self, world: World) -> None:
        world.hubs(2)
        world.slot(start=timedelta(hours=5), room=100)
        one = world.book(world.choose_ids(text_of(world, 0)))
        world.book()
        for pk in Deployment.objects.values_list("pk", flat=True):
            aside.set_aside(deployment=pk, error="x", now=world.clock())
        bookings.cancel(booking=one, by=world.person, reason="x", now=world.clock())

        assert found.count() == 1
        assert quarantine.sweep(clock=world.clock) == 1
        assert Quarantine.objects.get().pk == Deployment.objects.get(ended_at=None).pk
        with pytest.raises(UnableToCancel):
            bookings.cancel(booking=one, by=world.person, reason="x", now=world.clock())

    def test_goes_on_until_nothing_is_left(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(quarantine, "SWEPT", 2)
        world.hubs(5)
        world.slot(start=timedelta(hours=5), room=100)
        booking = world.book()
        for pk in Deployment.objects.values_list("pk", flat=True):
            aside.strike(deployment=pk, error="x", now=world.clock())
        bookings.cancel(booking=booking, by=world.person, reason="x", now=world.clock())
        assert quarantine.sweep(clock=world.clock) == 5
        assert not Quarantine.objects.exists()


def text_of(world: World, place: int) -> str:
    """Return the CHF ID of one of the world's hubs, as it is typed."""
    return format_eui64(FleetHub.objects.order_by("chf_id")[place].pk)


class TestPlain:
    @pytest.mark.parametrize(
        ("error", "words"),
        [
            ("CommandRefused: no such hub", "The carrier does not take its command: no such hub"),
            ("ValueError: bad key", "Carrying it out fails: bad key"),
            ("KeyError", "Carrying it out fails: KeyError"),
            (found.DEATHS, "Every worker that carried it out died"),
        ],
    )
    def test_says_what_fails_without_names_of_the_code(self, error: str, words: str) -> None:
        assert found.plain(error=error) == words
