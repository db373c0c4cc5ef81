"""Carrying out: from a due lot to an outcome, under every rule."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from firmware.models import AvailabilityPeriod, FirmwareRelease, ReleaseState
from firmware.operations import decisions
from hubs.gateway import Command as Instruction
from hubs.gateway import Outcome, Phase, Receipt, Report
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog, FleetHub, NetworkProfile
from hubs.models import CommunicationsHub, FirmwareVersion, HubStatus
from scheduling.lifecycle import FINAL, MOVES, Ending, State
from scheduling.models import LOT_SPAN, Command, Deployment, Lot, StrayReport
from scheduling.operations import deployments, halts
from scheduling.operations.deployments import gate
from tests.scheduling.world import NEW, OLD, World, in_no_stage


def endings() -> list[tuple[str, str]]:
    """Return (state, ending) of every deployment, in order."""
    return list(Deployment.objects.order_by("id").values_list("state", "ending"))


def phases(hub: CommunicationsHub) -> list[Phase]:
    """Return what the fleet says it was asked to do with a hub, in order."""
    return [
        Phase(phase)
        for phase in CommandLog.objects.filter(hub=hub.chf_id).order_by("id").values_list("phase", flat=True)
    ]


@pytest.fixture
def booked(world: World) -> World:
    """Three hubs of the northern Supplier, booked five hours from now; staging opens in one hour."""
    world.hubs(3)
    world.slot(start=timedelta(hours=5), room=10)
    world.book()
    return world


class TestTheWholeWay:
    def test_reads_stages_activates_and_reads_back(self, booked: World) -> None:
        booked.work()
        assert not CommandLog.objects.exists()

        booked.clock.move(hours=1)
        booked.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}

        booked.clock.move(hours=4)
        booked.work()

        assert endings() == [(State.SUCCEEDED, Ending.NONE)] * 3
        for hub in CommunicationsHub.objects.select_related("installed_version"):
            assert phases(hub) == [Phase.READ, Phase.STAGE, Phase.ACTIVATE, Phase.VERIFY]
            assert hub.installed_version.number == NEW
        lot = Lot.objects.get()
        assert (lot.succeeded, lot.due_at, lot.lease_until) == (3, None, None)

    def test_sends_nothing_before_staging_opens(self, booked: World) -> None:
        booked.clock.move(minutes=59)
        booked.work()
        assert not CommandLog.objects.exists()

    def test_corrects_the_inventory_and_leaves_hubs_that_run_the_version_already(self, booked: World) -> None:
        hub = CommunicationsHub.objects.first()
        assert hub
        FleetHub.objects.filter(pk=hub.pk).update(running_version=NEW)
        booked.clock.move(hours=5)
        booked.work()

        assert Deployment.objects.get(hub=hub).ending == Ending.ALREADY_INSTALLED
        assert phases(hub) == [Phase.READ]
        hub.refresh_from_db()
        assert hub.installed_version.number == NEW
        booked.slots[0].refresh_from_db()
        assert booked.slots[0].taken == 2  # its place is free again

    def test_never_stages_over_a_version_that_is_no_predecessor(self, booked: World) -> None:
        FleetHub.objects.update(running_version=0x00AA0000)
        booked.clock.move(hours=5)
        booked.work()

        assert endings() == [(State.CANCELLED, Ending.VERSION_CHANGED)] * 3
        assert not CommandLog.objects.filter(phase__gt=Phase.READ).exists()
        assert FirmwareVersion.objects.filter(number=0x00AA0000).exists()


class TestTheSlot:
    def test_is_waited_for(self, booked: World) -> None:
        booked.clock.move(hours=4, minutes=59)
        booked.work()
        assert not CommandLog.objects.filter(phase=Phase.ACTIVATE).exists()

    def test_once_over_makes_its_hubs_missed(self, booked: World) -> None:
        booked.clock.move(hours=6)
        booked.work()
        assert endings() == [(State.MISSED, Ending.SLOT_PASSED)] * 3
        assert not CommandLog.objects.exists()

    def test_bounds_the_retries_of_hubs_that_cannot_be_reached(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        NetworkProfile.objects.update(reachability=0.0)
        for _ in range(120):
            booked.clock.move(minutes=3)
            booked.work()

        assert endings() == [(State.MISSED, Ending.UNREACHABLE)] * 3
        slot = booked.slots[0]
        activations = CommandLog.objects.filter(phase=Phase.ACTIVATE)
        assert activations.count() > 3  # it was tried again
        assert not activations.exclude(received_at__gte=slot.start_at, received_at__lt=slot.end_at).exists()

    def test_ends_early_for_a_hub_whose_grace_is_over(self, booked: World) -> None:
        booked.release.policy.grace = "30 minutes"
        booked.release.policy.save()
        booked.clock.move(hours=1)
        booked.work()
        NetworkProfile.objects.update(reachability=0.0)
        booked.clock.move(hours=4)
        booked.work()
        for _ in range(14):
            booked.clock.move(minutes=3)
            booked.work()
        assert endings() == [(State.MISSED, Ending.UNREACHABLE)] * 3

    def test_takes_a_hub_back_that_answers_again(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        NetworkProfile.objects.update(reachability=0.0)
        booked.clock.move(hours=4)
        booked.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}
        NetworkProfile.objects.update(reachability=1.0)
        booked.clock.move(minutes=21)
        booked.work()
        assert endings() == [(State.SUCCEEDED, Ending.NONE)] * 3

    def test_shortened_period_stops_the_activation(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        AvailabilityPeriod.objects.update(end_at=booked.clock() + timedelta(hours=1))
        booked.clock.move(hours=4)
        booked.work()
        assert not CommandLog.objects.filter(phase=Phase.ACTIVATE).exists()

    def test_gives_no_command_longer_than_the_period(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        booked.clock.move(hours=4)
        end = booked.clock() + timedelta(minutes=10)
        AvailabilityPeriod.objects.update(end_at=end)
        NetworkProfile.objects.update(activate_delay=1_800.0)
        booked.work()
        booked.clock.move(minutes=30)
        booked.work()
        activations = CommandLog.objects.filter(phase=Phase.ACTIVATE)
        assert set(activations.values_list("valid_until", "is_applied")) == {(end, False)}
        assert endings() == [(State.STAGED, Ending.NONE)] * 3


class TestFailures:
    @pytest.mark.parametrize(
        ("share", "ending"),
        [
            ("hash_mismatch", Ending.HASH_MISMATCH),
            ("verification_failed", Ending.VERIFICATION_FAILED),
            ("activation_failed", Ending.ACTIVATION_FAILED),
            ("transfer_failed", Ending.TRANSFER_FAILED),
        ],
    )
    def test_are_recorded_with_their_reason(self, booked: World, share: str, ending: Ending) -> None:
        NetworkProfile.objects.update(**{share: 1.0})
        for _ in range(60):
            booked.clock.move(minutes=6)
            booked.work()
        assert endings() == [(State.FAILED, ending)] * 3

    def test_silence_leads_to_a_read_and_never_to_a_second_activation(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        NetworkProfile.objects.update(report_dropped=1.0)
        booked.clock.move(hours=4)
        booked.work()
        NetworkProfile.objects.update(report_dropped=0.0)
        booked.clock.move(minutes=121)
        booked.work()

        assert endings() == [(State.SUCCEEDED, Ending.NONE)] * 3
        assert CommandLog.objects.filter(phase=Phase.ACTIVATE).count() == 3

    def test_lasting_silence_is_unconfirmed(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        NetworkProfile.objects.update(report_dropped=1.0)
        booked.clock.move(hours=4)
        for _ in range(12):
            booked.work()
            booked.clock.move(minutes=61)
        assert endings() == [(State.UNCONFIRMED, Ending.SILENT)] * 3
        assert CommandLog.objects.filter(phase=Phase.ACTIVATE).count() == 3

    def test_of_the_line_to_the_carrier_are_no_silence_of_the_hub(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        NetworkProfile.objects.update(silent_activation=1.0)
        booked.clock.move(hours=4)
        booked.work()
        booked.clock.move(hours=1)
        cut_off = Recorder(is_cut_off=True)
        for _ in range(8):  # longer than all tries of a read together
            booked.clock.move(minutes=61)
            booked.work(gateway=cut_off)
        assert endings() == [(State.ACTIVATING, Ending.NONE)] * 3
        assert not CommandLog.objects.filter(phase=Phase.VERIFY).exists()

        booked.clock.move(minutes=61)
        booked.work()
        assert endings() == [(State.SUCCEEDED, Ending.NONE)] * 3

    def test_an_activation_that_comes_too_late_for_its_answer_is_tried_again(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        booked.release.policy.silence_deadline = "10 minutes"
        booked.release.policy.save()
        NetworkProfile.objects.update(activate_delay=1_500.0)  # long after the deadline, still in the slot
        booked.clock.move(hours=4)
        booked.work()
        NetworkProfile.objects.update(activate_delay=0.0)
        booked.clock.move(minutes=10, seconds=5)
        booked.work()
        booked.clock.move(minutes=21)
        booked.work()

        assert endings() == [(State.SUCCEEDED, Ending.NONE)] * 3
        assert CommandLog.objects.filter(phase=Phase.ACTIVATE, is_applied=True).count() == 3


class TestTheGate:
    def test_admits_nothing_while_the_release_is_halted(self, booked: World) -> None:
        decisions.halt(release=booked.release, by=booked.staff, reason="Trouble", now=booked.clock())
        booked.clock.move(hours=5)
        booked.work()
        assert not Command.objects.exists()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.HELD}

    def test_takes_held_hubs_up_again_after_the_halt(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        decisions.halt(release=booked.release, by=booked.staff, reason="Trouble", now=booked.clock())
        deployments.wake_stopped(now=booked.clock())
        booked.work()
        assert Lot.objects.get().held == 3
        booked.resume(reason="Mended")
        halts.watch(now=booked.clock())
        deployments.wake_stopped(now=booked.clock())
        booked.clock.move(hours=4)
        booked.work()
        assert endings() == [(State.SUCCEEDED, Ending.NONE)] * 3

    def test_sends_soon_after_the_halt_what_it_kept_from_leaving(
        self, booked: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        booked.clock.move(hours=1)
        booked.work()
        booked.clock.move(hours=4)
        admit = gate.admit

        def admit_and_halt(**given: Any) -> int:
            admitted = admit(**given)
            decisions.halt(release=booked.release, by=booked.staff, reason="Trouble", now=booked.clock())
            return admitted

        with monkeypatch.context() as patch:
            patch.setattr(gate, "admit", admit_and_halt)
            deployments.carry_out(gateway=ModelledFleet(), clock=booked.clock, lots=1)
        assert Command.objects.filter(phase=Phase.ACTIVATE, sent_at=None).count() == 3

        FirmwareRelease.objects.update(state=ReleaseState.PUBLISHED)
        deployments.wake_stopped(now=booked.clock.move(minutes=1))
        booked.work()
        assert endings() == [(State.SUCCEEDED, Ending.NONE)] * 3

    def test_cancels_what_has_not_begun_when_the_release_is_withdrawn(self, booked: World) -> None:
        decisions.withdraw(release=booked.release, by=booked.staff, reason="Superseded", now=booked.clock())
        assert deployments.wake_stopped(now=booked.clock()) == 1
        booked.work()
        assert endings() == [(State.CANCELLED, Ending.WITHDRAWN)] * 3
        booked.slots[0].refresh_from_db()
        assert booked.slots[0].taken == 0

    @pytest.mark.parametrize("status", [HubStatus.DECOMMISSIONED, HubStatus.RECOVERY])
    def test_cancels_hubs_that_may_no_longer_go(self, booked: World, status: HubStatus) -> None:
        booked.clock.move(hours=1)
        booked.work()
        CommunicationsHub.objects.update(status=status)
        booked.clock.move(hours=4)
        booked.work()
        assert endings() == [(State.CANCELLED, Ending.NO_LONGER_ELIGIBLE)] * 3
        booked.slots[0].refresh_from_db()
        assert booked.slots[0].taken == 0

    @pytest.mark.parametrize("hours", [0, 1], ids=["before staging", "after staging"])
    def test_hands_hubs_back_whose_other_supplier_an_inventory_names_only_now(
        self, booked: World, hours: int
    ) -> None:
        booked.clock.move(hours=hours)
        booked.work()
        CommunicationsHub.objects.update(gas_supplier=booked.southern)
        booked.clock.move(hours=5 - hours)
        booked.work()
        assert endings() == [(State.CANCELLED, Ending.NO_CONSENT)] * 3
        assert not CommandLog.objects.filter(phase=Phase.ACTIVATE).exists()
        booked.slots[0].refresh_from_db()
        assert booked.slots[0].taken == 0

    def test_stages_nothing_and_halts_when_the_stored_image_changed(
        self, booked: World, media_root: Path
    ) -> None:
        stored = media_root / booked.release.image.name
        stored.chmod(0o600)
        content = bytearray(stored.read_bytes())
        content[100] ^= 1
        stored.write_bytes(content)
        booked.clock.move(hours=2)
        booked.work()

        assert not CommandLog.objects.exists()
        booked.release.refresh_from_db()
        assert booked.release.state == ReleaseState.HALTED
        assert (
            "no longer" in booked.release.halts.get().reason or "changed" in booked.release.halts.get().reason
        )


class Recorder:
    """A gateway that remembers what it was handed and can fail on the way there or back."""

    def __init__(self, *, dies: bool = False, is_cut_off: bool = False) -> None:
        self.fleet = ModelledFleet()
        self.dies = dies
        self.is_cut_off = is_cut_off
        self.handed: list[Instruction] = []

    def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
        self.handed += commands
        if self.is_cut_off:
            raise ConnectionResetError("no way to the carrier")
        receipts = self.fleet.send(commands=commands, now=now)
        if self.dies:
            raise ConnectionResetError("the line went dead after the carrier took the commands")
        return receipts

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report]:
        return self.fleet.collect(limit=limit, now=now)

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        self.fleet.acknowledge(reports=reports)


class TestLeases:
    def test_give_a_lot_to_one_worker(self, booked: World) -> None:
        booked.clock.move(hours=1)
        assert deployments.claim(now=booked.clock())
        assert deployments.claim(now=booked.clock()) is None

    def test_run_out_and_are_fenced(self, booked: World) -> None:
        booked.clock.move(hours=1)
        first = deployments.claim(now=booked.clock())
        assert first
        deployments.admit(claimed=first, image_whole=True, clock=booked.clock)
        booked.clock.move(seconds=61)
        second = deployments.claim(now=booked.clock())
        assert second
        assert second.token == first.token + 1
        with pytest.raises(deployments.LeaseLost):
            deployments.send(claimed=first, gateway=ModelledFleet(), clock=booked.clock)
        assert deployments.send(claimed=second, gateway=ModelledFleet(), clock=booked.clock) == 3

    def test_of_a_sender_that_died_are_followed_with_the_same_keys(self, booked: World) -> None:
        booked.clock.move(hours=1)
        dead = Recorder(dies=True)
        deployments.carry_out(gateway=dead, clock=booked.clock, lots=1)
        assert Command.objects.filter(sent_at__isnull=False, verdict=None).count() == 3
        booked.clock.move(seconds=61)
        heir = Recorder()
        booked.work(gateway=heir)

        assert {(c.deployment, c.phase, c.attempt) for c in heir.handed[:3]} == {
            (c.deployment, c.phase, c.attempt) for c in dead.handed
        }
        assert set(CommandLog.objects.filter(phase=Phase.READ).values_list("repeats", flat=True)) == {1}
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}

    def test_do_not_let_silence_pass_over_commands_that_never_left(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        booked.clock.move(hours=4)
        dead = deployments.claim(now=booked.clock())
        assert dead
        assert deployments.admit(claimed=dead, image_whole=True, clock=booked.clock).commands == 3
        booked.release.policy.silence_deadline = "30 seconds"  # shorter than the lease
        booked.release.policy.save()
        Deployment.objects.update(next_at=booked.clock.move(seconds=61))
        booked.work()
        assert endings() == [(State.SUCCEEDED, Ending.NONE)] * 3

    def test_send_again_what_has_no_receipt_instead_of_reading_its_silence(self, booked: World) -> None:
        booked.clock.move(hours=1)
        booked.work()
        booked.clock.move(hours=4)
        deployments.carry_out(gateway=Recorder(is_cut_off=True), clock=booked.clock, lots=1)
        assert Command.objects.filter(phase=Phase.ACTIVATE, sent_at__isnull=False, verdict=None).count() == 3
        Deployment.objects.update(
            next_at=booked.clock.move(seconds=61)
        )  # the silence deadline passes meanwhile
        booked.work()
        assert endings() == [(State.SUCCEEDED, Ending.NONE)] * 3
        assert CommandLog.objects.filter(phase=Phase.ACTIVATE).count() == 3


class TestRecordReports:
    def report(self, command: Command, **facts: object) -> Report:
        """Return an answer to a command as its hub would give it."""
        values = {
            "id": 1,
            "deployment": command.deployment_id,
            "phase": Phase(command.phase),
            "attempt": command.attempt,
            "hub": Deployment.objects.get(pk=command.deployment_id).hub_id,
            "outcome": Outcome.DONE,
            "version": OLD,
            "observed_at": command.admitted_at,
        }
        return Report(**(values | facts))  # type: ignore[arg-type]

    @pytest.fixture
    def command(self, booked: World) -> Command:
        """Return the first of three reads that were sent and not answered."""
        booked.clock.move(hours=1)
        deployments.carry_out(gateway=ModelledFleet(), clock=booked.clock, lots=1)
        return Command.objects.order_by("deployment_id")[0]

    def test_moves_a_deployment_once(self, booked: World, command: Command) -> None:
        report = self.report(command)
        deployments.record_reports(reports=[report, report], now=booked.clock())
        later = booked.clock.move(minutes=1)
        deployments.record_reports(
            reports=[self.report(command, outcome=Outcome.UNREACHABLE, version=None)], now=later
        )
        deployment = Deployment.objects.get(pk=command.deployment_id)
        assert (deployment.phase, deployment.awaiting) == (Phase.STAGE, False)
        command.refresh_from_db()
        assert command.outcome == Outcome.DONE
        assert not StrayReport.objects.exists()

    def test_keeps_reports_that_nobody_asked_for(self, booked: World, command: Command) -> None:
        forged = self.report(command, attempt=9)
        foreign = self.report(command, hub=4711)
        unknown = self.report(command, deployment=999 * LOT_SPAN)
        for _ in range(2):
            deployments.record_reports(reports=[forged, foreign, unknown], now=booked.clock())
        assert StrayReport.objects.count() == 3
        assert Deployment.objects.get(pk=command.deployment_id).awaiting

    def test_takes_the_right_hubs_answer_that_comes_with_a_stray_one(
        self, booked: World, command: Command
    ) -> None:
        wrong = self.report(command, hub=12345, outcome=Outcome.UNREACHABLE, version=None)
        deployments.record_reports(reports=[wrong, self.report(command, id=2)], now=booked.clock())
        command.refresh_from_db()
        assert (command.outcome, command.version) == (Outcome.DONE, OLD)
        assert Deployment.objects.get(pk=command.deployment_id).phase == Phase.STAGE
        assert StrayReport.objects.get().hub == 12345

    @pytest.mark.parametrize("version", [-1, 2**32])
    def test_is_not_held_up_by_a_version_that_is_none(
        self, booked: World, command: Command, version: int
    ) -> None:
        second = Command.objects.order_by("deployment_id")[1]
        deployments.record_reports(
            reports=[self.report(command, version=version), self.report(second, id=2)], now=booked.clock()
        )
        states = Deployment.objects.order_by("id").values_list("state", "phase")
        assert states[0] == (State.CANCELLED, Phase.READ)
        assert states[1] == (State.STAGING, Phase.STAGE)
        hub = CommunicationsHub.objects.get(pk=Deployment.objects.earliest("id").hub_id)
        assert hub.installed_version.number == OLD

    def test_ignores_an_answer_that_comes_after_the_next_question(
        self, booked: World, command: Command
    ) -> None:
        booked.clock.move(minutes=121)  # past the silence deadline: it is asked again
        deployments.carry_out(gateway=ModelledFleet(), clock=booked.clock, lots=1)
        deployments.record_reports(reports=[self.report(command)], now=booked.clock())
        deployment = Deployment.objects.get(pk=command.deployment_id)
        assert (deployment.awaiting, deployment.attempt) == (True, command.attempt + 1)


class TestTheDatabase:
    def test_refuses_every_move_that_the_lifecycle_does_not_have(self, booked: World) -> None:
        deployment = Deployment.objects.first()
        assert deployment
        for source in State:
            for target in State:
                if source == target:
                    continue
                with transaction.atomic():
                    _force(deployment.pk, source)
                    stamps = (
                        {"ended_at": booked.clock(), "next_at": None, "awaiting": False}
                        if target in FINAL
                        else {"ended_at": None, "next_at": booked.clock()}
                    )
                    rows = Deployment.objects.filter(pk=deployment.pk)
                    with in_no_stage():
                        if target in MOVES[source]:
                            assert rows.update(state=target, **stamps) == 1
                        else:
                            with pytest.raises(IntegrityError, match="cannot move"), transaction.atomic():
                                rows.update(state=target, **stamps)
                    transaction.set_rollback(True)

    def test_has_the_moves_of_the_lifecycle_and_no_other(self, db: None) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT source, target FROM scheduling_move")
            assert set(cursor.fetchall()) == {
                (source, target) for source, targets in MOVES.items() for target in targets
            }

    def test_keeps_the_counts_of_lots_through_every_move(self, booked: World) -> None:
        booked.clock.move(hours=5)
        for _ in range(10):
            booked.work(rounds=1)
            lot = Lot.objects.get()
            for state in State:
                assert getattr(lot, state) == Deployment.objects.filter(state=state).count()
            assert Deployment.objects.filter(ended_at=None, next_at=None).count() == 0
            assert not Lot.objects.exclude(size=F("succeeded") + F("staging") + F("staged") + F("activating"))


def _force(deployment: int, state: State) -> None:
    """Put a booked deployment into a state past the trigger, and its lot's counts with it."""
    final = state in FINAL
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE scheduling_deployment DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE scheduling_deployment SET state = %(state)s,"
            " ended_at = CASE WHEN %(final)s THEN now() END, next_at = CASE WHEN NOT %(final)s THEN now() END"
            " WHERE id = %(id)s",
            {"state": state, "final": final, "id": deployment},
        )
        cursor.execute("ALTER TABLE scheduling_deployment ENABLE TRIGGER USER")
    if state != State.BOOKED:
        Lot.objects.filter(pk=deployment // LOT_SPAN).update(
            **{"booked": F("booked") - 1, state: F(state) + 1}
        )
