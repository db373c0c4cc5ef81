"""Reconciliation: every excess and every bent counter is found, and a healthy run leaves nothing to find."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from firmware.models import FirmwareRelease, Halt, ReleaseState
from hubs.gateway import GatewayUnavailable, Outcome, Phase, ReceivedCommand, Verdict, connect
from hubs.modelled_fleet.models import CommandLog
from portal.ground.models import AuditEntry
from portal.models import User
from scheduling.lifecycle import State
from scheduling.models import (
    EXCESSES,
    LOT_SPAN,
    Command,
    Deployment,
    Finding,
    InFlight,
    Lot,
    Mismatch,
    Notice,
    Reconciliation,
    Slot,
    Stage,
)
from scheduling.operations import notices, reconciliation, stages, tallies
from scheduling.queries import counters
from scheduling.queries import reconciliation as questions
from tests.conftest import eventually
from tests.scheduling import world as worlds
from tests.scheduling.test_races import Aside, at_once, waiting
from tests.scheduling.test_stages import activate
from tests.scheduling.world import World

HUBS = 4
HOUR = timedelta(hours=1)


@pytest.fixture
def done(world: World) -> World:
    """A world in which four hubs were carried out to the end, in two slots."""
    world.hubs(HUBS)
    world.slot(start=5 * HOUR, room=3)
    world.slot(start=6 * HOUR, room=3)
    world.book()
    stages.advance(now=world.clock())
    for _ in range(45):
        world.clock.move(minutes=10)
        world.work()
    assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
    return world


def found() -> set[tuple[str, str]]:
    """Return what does not agree, as kind and subject."""
    return {(one.kind, one.subject) for one in questions.everything(gateway=connect())}


@contextmanager
def past_triggers() -> Iterator[None]:
    """Let what is within write deployments past every trigger, as whoever owns the table can."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE scheduling_deployment DISABLE TRIGGER USER")
        try:
            yield
        finally:
            cursor.execute("ALTER TABLE scheduling_deployment ENABLE TRIGGER USER")


def reconcile(world: World, *, gateway: Any = None, portions: int = 100) -> Reconciliation:
    """Reconcile until a pass is finished."""
    finished = reconciliation.reconcile(gateway=gateway or connect(), clock=world.clock, portions=portions)
    assert finished
    return finished


class Carrier:
    """A carrier that says that it has received what a test gives it."""

    def __init__(self, *log: ReceivedCommand, is_silent: bool = False) -> None:
        self.log = log
        self.is_silent = is_silent

    def received(self, *, after: int, limit: int) -> list[ReceivedCommand]:
        """Return it."""
        if self.is_silent:
            raise GatewayUnavailable("no answer")
        return [one for one in self.log if one.position > after][:limit]


def logged(world: World, phase: Phase = Phase.ACTIVATE) -> ReceivedCommand:
    """Return a command of the fleet's log, as the carrier would say it again later."""
    [one] = [one for one in connect().received(after=0, limit=10_000) if one.phase == phase][:1]  # type: ignore[attr-defined]
    return replace(one, position=10_000)


class TestEverything:
    def test_agrees_after_a_healthy_run(self, done: World) -> None:
        assert CommandLog.objects.count() == 4 * HUBS
        assert questions.everything(gateway=connect()) == []

    def test_agrees_while_hubs_are_in_every_state(self, world: World) -> None:
        world.hubs(3)
        world.shared(2)
        world.slot(start=5 * HOUR, room=10)
        world.book()
        stages.advance(now=world.clock())
        assert found() == set()
        world.clock.move(hours=2)
        world.work(rounds=1)
        assert found() == set()
        tallies.fold(limit=1_000)
        assert found() == set()

    def test_passes_over_lots_whose_hubs_are_not_written_yet(self, world: World) -> None:
        world.hubs(2)
        world.slot(start=5 * HOUR, room=10)
        booking = world.book()
        worlds.forget_deployments()
        assert {kind for kind, _ in found()} == {Mismatch.LOT, Mismatch.TALLY}
        booking.placed_at = None
        booking.save()
        assert found() == set()


Change = Callable[[ReceivedCommand, World], ReceivedCommand]
ODD: dict[Mismatch, list[tuple[Phase, Change]]] = {
    Mismatch.UNADMITTED: [
        (Phase.READ, lambda one, world: replace(one, attempt=one.attempt + 7)),
        (Phase.ACTIVATE, lambda one, world: replace(one, deployment=one.deployment + LOT_SPAN * 100)),
        (Phase.READ, lambda one, world: replace(one, phase=Phase.ACTIVATE)),
        (Phase.READ, lambda one, world: replace(one, phase=99)),
    ],
    Mismatch.OTHER_HUB: [(Phase.VERIFY, lambda one, world: replace(one, hub=one.hub + 1))],
    Mismatch.OTHER_IMAGE: [
        (Phase.STAGE, lambda one, world: replace(one, digest="0" * 64)),
        (Phase.ACTIVATE, lambda one, world: replace(one, digest="")),
        (Phase.STAGE, lambda one, world: replace(one, version=one.version - 1)),
    ],
    Mismatch.OUTSIDE_SLOT: [
        (Phase.ACTIVATE, lambda one, world: replace(one, received_at=one.received_at - 4 * HOUR)),
        (Phase.ACTIVATE, lambda one, world: replace(one, received_at=one.received_at + 4 * HOUR)),
        (Phase.ACTIVATE, lambda one, world: replace(one, valid_until=one.valid_until + 4 * HOUR)),
    ],
}


class TestReceived:
    @pytest.mark.parametrize(
        ("kind", "number"), [(kind, number) for kind, cases in ODD.items() for number in range(len(cases))]
    )
    def test_finds_each_excess(self, done: World, kind: Mismatch, number: int) -> None:
        phase, change = ODD[kind][number]
        [one] = questions.received(commands=[change(logged(done, phase), done)])
        assert (one.kind, one.is_excess) == (kind, True)

    def test_lets_what_was_admitted_be_received(self, done: World) -> None:
        assert questions.received(commands=[logged(done, phase) for phase in Phase]) == []
        assert questions.received(commands=[]) == []

    def test_lets_a_carrier_be_late_whose_command_it_refused(self, done: World) -> None:
        late = logged(done)
        late = replace(late, received_at=late.received_at + 4 * HOUR, is_accepted=False)
        assert questions.received(commands=[late]) == []

    def test_lets_a_carriers_clock_be_some_seconds_behind(self, done: World) -> None:
        start = done.slots[0].start_at
        early = [replace(logged(done), received_at=start - timedelta(seconds=number)) for number in (9, 11)]
        assert [one.kind for one in questions.received(commands=early)] == [Mismatch.OUTSIDE_SLOT]

    @pytest.mark.parametrize(
        ("first", "is_excess"),
        [
            ({"outcome": Outcome.DONE}, True),
            ({"outcome": None, "answered_at": None}, True),
            ({"outcome": Outcome.TRANSFER_FAILED}, True),
            ({"outcome": Outcome.UNREACHABLE}, False),
            ({"outcome": Outcome.EXPIRED}, False),
            ({"verdict": Verdict.EXPIRED, "outcome": None, "answered_at": None}, False),
            ({"sent_at": None, "verdict": None, "outcome": Outcome.EXPIRED}, False),
        ],
    )
    def test_finds_a_second_activation_unless_the_first_surely_did_nothing(
        self, done: World, first: dict[str, Any], is_excess: bool
    ) -> None:
        one = logged(done)
        command = Command.objects.get(deployment_id=one.deployment, phase=Phase.ACTIVATE)
        again = command.attempt + 5
        Deployment.objects.filter(pk=one.deployment).update(attempt=again)
        Command.objects.create(
            deployment_id=one.deployment,
            phase=Phase.ACTIVATE,
            attempt=again,
            token=command.token,
            admitted_at=command.admitted_at,
            valid_until=command.valid_until,
            sent_at=command.sent_at,
            verdict=Verdict.ACCEPTED,
        )
        Command.objects.filter(pk=command.pk).update(**first)

        judged = questions.received(commands=[replace(one, attempt=again)])

        expected = {Mismatch.SECOND_ACTIVATION} if is_excess else set()
        assert {found.kind for found in judged} == expected
        # the portal's own commands say the same without the carrier
        assert {found.kind for found in questions.lots(after=0).found} == expected


class TestLots:
    def test_finds_a_bent_count(self, done: World) -> None:
        lot = Lot.objects.earliest("id")
        Lot.objects.filter(pk=lot.pk).update(succeeded=lot.succeeded - 1, failed=1)

        [one] = questions.lots(after=0).found

        assert (one.kind, one.subject, one.row) == (Mismatch.LOT, f"lot {lot.pk}", lot.pk)
        assert one.words == "2 succeeded counted, 3 there, 1 failed counted, 0 there."

    def test_finds_deployments_without_a_lot(self, done: World) -> None:
        lots = list(Lot.objects.order_by("id").values_list("pk", flat=True))
        for key in (1, lots[-1] + 50):
            with past_triggers():
                first = Deployment.objects.earliest("id")
                Deployment.objects.filter(pk=first.pk).update(id=key * LOT_SPAN)
            assert (Mismatch.LOT, f"lot {key}") in found()

    def test_finds_deployments_and_commands_that_do_not_agree(self, done: World) -> None:
        one, two, three, four = Deployment.objects.order_by("id")
        Command.objects.filter(deployment_id=one.pk, phase=Phase.ACTIVATE).delete()
        with past_triggers():
            Deployment.objects.filter(pk=two.pk).update(
                state="staging", phase=Phase.STAGE, attempt=99, awaiting=True, ended_at=None,
                next_at=done.clock(),
            )  # fmt: skip
            Deployment.objects.filter(pk=three.pk).update(attempt=1)
        Command.objects.filter(deployment_id=four.pk, phase=Phase.READ).update(deployment_id=four.pk + 1_000)

        words = {
            one.subject: one.words for one in questions.lots(after=0).found if one.kind == Mismatch.COMMANDS
        }

        assert words == {
            f"deployment {one.pk}": "It is succeeded, and there is no command to activate it.",
            f"deployment {two.pk}": "It awaits an answer to a command that there is not.",
            f"deployment {three.pk}": "There is a command of attempt 4, and it counts 1.",
            f"deployment {four.pk + 1_000}": "There are commands for it, and it does not exist.",
        }

    @pytest.mark.parametrize(
        "bend",
        [
            lambda slot: {"admitted_at": slot.end_at},
            lambda slot: {"admitted_at": slot.start_at - timedelta(seconds=1)},
            lambda slot: {"valid_until": slot.end_at + timedelta(seconds=1)},
        ],
    )
    def test_finds_an_activation_admitted_outside_its_slot(
        self, done: World, bend: Callable[[Slot], dict[str, Any]]
    ) -> None:
        lot = Lot.objects.select_related("slot").earliest("id")
        command = Command.objects.filter(phase=Phase.ACTIVATE, deployment_id__lt=(lot.pk + 1) * LOT_SPAN)[0]
        Command.objects.filter(pk=command.pk).update(**bend(lot.slot))
        [one] = questions.lots(after=0).found
        assert (one.kind, one.subject) == (
            Mismatch.OUTSIDE_SLOT,
            f"ACTIVATE {command.deployment_id}/{command.attempt}",
        )

    def test_goes_by_portions(self, done: World) -> None:
        lots = list(Lot.objects.order_by("id").values_list("pk", flat=True))
        Lot.objects.update(succeeded=0, failed=1, missed=1, size=2)
        portions, after = [], 0
        while True:
            portion = questions.lots(after=after, limit=1)
            portions.append([one.row for one in portion.found])
            if portion.last is None:
                break
            after = portion.last
        assert portions == [[lots[0]], [lots[1]], []]


class TestCounters:
    @pytest.mark.parametrize("table", ["scheduling_tally", "scheduling_tallychange"])
    def test_find_a_bent_tally(self, done: World, table: str) -> None:
        if table == "scheduling_tally":
            tallies.fold(limit=1_000)
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET hubs = hubs + 1"
                f" WHERE id = (SELECT max(id) FROM {table} WHERE state = 'succeeded')"
            )
        said = {one.kind: one.words for one in questions.counters()}
        assert said == {
            Mismatch.TALLY: "5 in the tally, 4 in the lots.",
            Mismatch.IN_FLIGHT: "4 resolved, 5 tallied.",
            Mismatch.STAGE: "4 admitted, 5 tallied; 4 resolved, 5 tallied.",
        }

    def test_find_a_tally_of_another_stage_with_all_deployments_counted(self, done: World) -> None:
        tallies.fold(limit=1_000)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE scheduling_tally SET stage = stage + 1 WHERE state = 'succeeded'")
        assert {kind for kind, _ in found()} >= {Mismatch.TALLY}
        assert not [one for one in questions.counters() if one.kind == Mismatch.TALLY]

    def test_find_bent_places(self, done: World) -> None:
        slot = Slot.objects.earliest("start_at")
        Slot.objects.filter(pk=slot.pk).update(taken=2)
        [one] = questions.counters()
        assert (one.kind, one.row, one.words) == (
            Mismatch.SLOT,
            slot.pk,
            "2 places are taken, 3 hubs are in its lots.",
        )

    def test_find_bent_budgets_and_stages(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=5 * HOUR, room=3)
        world.book()
        stages.advance(now=world.clock())
        for state in (State.STAGING, State.STAGED):
            Deployment.objects.update(state=state)
        activate(2)
        assert questions.counters() == []
        for model, change, words in (
            (InFlight, {"activating": 1}, "1 in flight, 2 tallied."),
            (InFlight, {"resolved": 1}, "1 resolved, 0 tallied."),
            (InFlight, {"ceiling": 10_001}, "Its budget is not the policy's."),
            (Stage, {"admitted": 3}, "3 admitted, 2 tallied."),
            (Stage, {"resolved": 1}, "1 resolved, 0 tallied."),
        ):
            with transaction.atomic():
                model._default_manager.update(**change)
                [one] = questions.counters()
                assert (one.kind, one.words) == (
                    Mismatch.IN_FLIGHT if model is InFlight else Mismatch.STAGE,
                    words,
                )
                transaction.set_rollback(True)
        Stage.objects.all().delete()
        InFlight.objects.all().delete()
        assert {one.kind for one in questions.counters()} == {Mismatch.IN_FLIGHT, Mismatch.STAGE}


class TestEnforcement:
    def test_finds_a_changed_table_of_moves(self, db: None) -> None:
        assert questions.enforcement() == []
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE scheduling_move DISABLE TRIGGER moves_stay")
            cursor.execute("INSERT INTO scheduling_move VALUES ('missed', 'booked')")
            cursor.execute("DELETE FROM scheduling_move WHERE source = 'staged' AND target = 'held'")
            cursor.execute("ALTER TABLE scheduling_move ENABLE TRIGGER moves_stay")
        assert [(one.kind, one.subject, one.words) for one in questions.enforcement()] == [
            (Mismatch.MOVES, "missed to booked", "It is in the table."),
            (Mismatch.MOVES, "staged to held", "It is not in the table."),
        ]

    @pytest.mark.parametrize(
        ("table", "name"), [(table, name) for table, names in questions.ENFORCING.items() for name in names]
    )
    @pytest.mark.parametrize(
        "act", ["ALTER TABLE {table} DISABLE TRIGGER {name}", "DROP TRIGGER {name} ON {table}"]
    )
    def test_finds_each_trigger_that_is_off(self, db: None, table: str, name: str, act: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(act.format(table=table, name=name))
        [one] = questions.enforcement()
        assert (one.kind, one.subject) == (Mismatch.TRIGGER, f"{name} on {table}")

    def test_names_every_trigger_that_there_is(self, db: None) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"
            )
            there = cursor.fetchall()
        assert there == sorted(
            (table, name) for table, names in questions.ENFORCING.items() for name in names
        )


class TestReconcile:
    def test_finds_nothing_after_a_healthy_run_and_halts_nothing(self, done: World) -> None:
        pass_ = reconcile(done)
        assert (pass_.commands, pass_.lots, pass_.log_silent) == (4 * HUBS, 2, False)
        assert not Finding.objects.exists()
        assert FirmwareRelease.objects.get().state == ReleaseState.PUBLISHED

    def test_reads_the_log_on_and_the_lots_again(self, done: World) -> None:
        reconcile(done)
        again = reconcile(done)
        assert (again.commands, again.lots) == (0, 2)

    def test_goes_by_portions_and_remembers_where_it_was(
        self, done: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(questions, "COMMANDS", 7)
        steps = 0
        while not reconciliation.reconcile(gateway=connect(), clock=done.clock, portions=1):
            steps += 1
        assert steps == 3 + 1  # 7 + 7 + 2 commands, the lots, and then the counters
        assert Reconciliation.objects.get().commands == 4 * HUBS

    def test_stops_between_two_portions_when_it_is_asked_to(self, done: World) -> None:
        assert (
            reconciliation.reconcile(
                gateway=connect(), clock=done.clock, portions=100, keep_going=lambda: False
            )
            is None
        )
        assert Reconciliation.objects.get().commands == 0

    @pytest.mark.parametrize("kind", list(ODD))
    def test_halts_every_published_release_for_an_excess_and_tells_dcc_once(
        self, done: World, kind: Mismatch
    ) -> None:
        other = FirmwareRelease.objects.get(pk=done.release.pk)
        second = worlds.publish(
            model=done.model, network=done.network, staff=done.staff, approver=done.approver,
            now=done.clock(), version=0x01000003,
        )  # fmt: skip
        phase, change = ODD[kind][0]
        carrier = Carrier(change(logged(done, phase), done))

        reconcile(done, gateway=carrier)
        reconcile(done, gateway=carrier)

        for release in (other, second):
            release.refresh_from_db()
            assert release.state == ReleaseState.HALTED
        assert Finding.objects.get().acted_at == done.clock()
        reasons = set(Halt.objects.values_list("reason", "halted_by"))
        label = f"{kind.label[0].lower()}{kind.label[1:]}"
        assert reasons == {
            (f"Halted by the portal, which found more than it had admitted: {label} (1).", None)
        }
        entry = AuditEntry.objects.get(verb="fleet.excess_found")
        assert entry.facts == {"findings": 1, str(kind): 1, "halted": [other.pk, second.pk]}
        owed = Notice.objects.filter(kind=Notice.Kind.EXCESS)
        assert set(owed.values_list("address", flat=True)) == {done.staff.email, done.approver.email}

    def test_does_not_halt_again_for_what_was_known_when_it_was_resumed(self, done: World) -> None:
        carrier = Carrier(replace(logged(done), attempt=77))
        reconcile(done, gateway=carrier)
        FirmwareRelease.objects.update(state=ReleaseState.PUBLISHED)

        reconciliation.start_over(now=done.clock(), from_log=0)
        reconcile(done, gateway=carrier)

        assert FirmwareRelease.objects.get().state == ReleaseState.PUBLISHED
        assert Finding.objects.count() == 1

    def test_halts_for_an_excess_in_the_portals_own_commands(self, done: World) -> None:
        late = done.clock.move(days=1)
        Command.objects.filter(phase=Phase.ACTIVATE).update(
            admitted_at=late, valid_until=late + timedelta(minutes=1)
        )
        reconcile(done)
        assert FirmwareRelease.objects.get().state == ReleaseState.HALTED
        assert set(Finding.objects.values_list("kind", flat=True)) == {Mismatch.OUTSIDE_SLOT}

    def test_acts_on_what_somebody_found_who_died_then(self, done: World) -> None:
        pass_ = Reconciliation.objects.create(started_at=done.clock(), log_from=0, log_to=0)
        Finding.objects.create(
            reconciliation=pass_, kind=Mismatch.UNADMITTED, is_excess=True, subject="READ 1/1", words="",
            found_at=done.clock(),
        )  # fmt: skip
        reconciliation.reconcile(gateway=connect(), clock=done.clock, portions=0)
        assert FirmwareRelease.objects.get().state == ReleaseState.HALTED

    def test_reports_a_difference_and_neither_halts_nor_mends_it(self, done: World) -> None:
        Slot.objects.update(taken=0)
        for _ in range(2):
            pass_ = reconcile(done)
            assert [one.kind for one in pass_.findings.all()] == [Mismatch.SLOT] * 2
        assert set(Slot.objects.values_list("taken", flat=True)) == {0}
        assert FirmwareRelease.objects.get().state == ReleaseState.PUBLISHED
        assert not Notice.objects.filter(kind=Notice.Kind.EXCESS).exists()

    @pytest.mark.parametrize("gateway", [object(), Carrier(is_silent=True)])
    def test_compares_the_rest_where_the_carrier_says_nothing(self, done: World, gateway: Any) -> None:
        pass_ = reconcile(done, gateway=gateway)
        assert (pass_.log_silent, pass_.commands, pass_.lots) == (True, 0, 2)

    def test_forgets_old_passes_that_found_nothing(self, done: World) -> None:
        clean = reconcile(done)
        Slot.objects.update(taken=0)
        kept = reconcile(done)
        done.clock.move(days=29)
        latest = reconcile(done)
        assert list(Reconciliation.objects.order_by("id")) == [kept, latest]
        assert clean.pk < kept.pk


class TestMend:
    def bend(self, world: World) -> None:
        """Bend every counter that there is."""
        lot = Lot.objects.earliest("id")
        Lot.objects.filter(pk=lot.pk).update(succeeded=lot.succeeded - 1, failed=1)
        Slot.objects.update(taken=1)
        InFlight.objects.update(resolved=5, ceiling=9_999)
        Stage.objects.update(admitted=7, resolved=6)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE scheduling_tallychange SET hubs = hubs + 1, model_id = 99")

    def test_sets_every_counter_to_what_is_there_and_puts_it_on_record(self, done: World) -> None:
        self.bend(done)
        assert len(found()) > 5

        assert reconciliation.mend(by=done.staff, now=done.clock()) == []

        assert found() == set()
        entry = AuditEntry.objects.get(verb="counters.mended")
        assert (entry.actor, entry.facts["left"]) == (done.staff, 0)
        assert counters.by_release(releases=[done.release.pk]) == {done.release.pk: {State.SUCCEEDED: HUBS}}

    def test_records_nothing_where_all_agrees(self, done: World) -> None:
        assert reconciliation.mend(by=None, now=done.clock()) == []
        assert not AuditEntry.objects.filter(verb="counters.mended").exists()

    def test_leaves_what_a_rule_refuses(self, done: World) -> None:
        Slot.objects.update(taken=0, capacity=2)
        [one] = reconciliation.mend(by=None, now=done.clock())
        assert one.words == "0 places are taken, 3 hubs are in its lots."


class TestTheCommand:
    @pytest.fixture
    def world(self, todays_world: World) -> World:
        """The world by the database's clock, which the command goes by."""
        return todays_world

    def test_says_that_all_agrees(self, done: World) -> None:
        said = StringIO()
        call_command("reconcile", stdout=said)
        assert said.getvalue() == (
            "Compared: 16 commands received since the last time; 2 lots; all counters. 0 found.\n"
        )

    def test_fails_with_what_it_found_as_json(self, done: World) -> None:
        Slot.objects.filter(pk=done.slots[0].pk).update(taken=1)
        said = StringIO()
        with pytest.raises(CommandError, match=r"^1 things do not agree"):
            call_command("reconcile", json=True, stdout=said)
        told = json.loads(said.getvalue())
        assert (told["commands"], told["lots"], told["excess"]) == (16, 2, 0)
        assert told["found"] == [
            {
                "kind": "slot",
                "excess": False,
                "subject": f"slot {done.slots[0].pk}",
                "words": "1 places are taken, 3 hubs are in its lots.",
            }
        ]

    def test_mends_when_asked(self, done: World) -> None:
        Slot.objects.update(taken=0)
        said = StringIO()
        call_command("reconcile", repair=True, stdout=said)
        assert "0 found" in said.getvalue()
        assert AuditEntry.objects.filter(verb="counters.mended").exists()

    def test_reads_the_log_from_where_it_was_unless_told_otherwise(self, done: World) -> None:
        for options, commands in (({}, 16), ({}, 0), ({"whole_log": True}, 16)):
            said = StringIO()
            call_command("reconcile", json=True, stdout=said, **options)
            assert json.loads(said.getvalue())["commands"] == commands


class TestTheEmail:
    def test_says_what_was_found_and_what_was_halted(self, todays_world: World) -> None:
        world = todays_world
        stranger = ReceivedCommand(
            1, LOT_SPAN, int(Phase.ACTIVATE), 1, 7, "0" * 64, 1, world.clock(), world.clock(), True
        )
        reconcile(world, gateway=Carrier(stranger))
        notices.send(clock=world.clock, limit=10)
        sent = Notice.objects.get(kind=Notice.Kind.EXCESS, address=world.staff.email)
        assert sent.subject == "Excess found: 1 command that nobody admitted"
        for words in (sent.text, sent.html):
            assert "The carrier received a command that was never admitted" in words
            assert "halted every published release: Spring release" in words
            assert "/scheduling/finding/" in words

    def test_says_it_where_nothing_could_be_halted(self, todays_world: World) -> None:
        world = todays_world
        FirmwareRelease.objects.update(state=ReleaseState.HALTED)
        stranger = ReceivedCommand(
            1, LOT_SPAN, int(Phase.READ), 1, 7, "", 0, world.clock(), world.clock(), True
        )
        reconcile(world, gateway=Carrier(stranger))
        notices.send(clock=world.clock, limit=10)
        sent = Notice.objects.get(kind=Notice.Kind.EXCESS, address=world.staff.email)
        assert "there was nothing to halt" in sent.text


class TestTheDatabase:
    def test_refuses_two_passes_at_once_and_one_finished_half_way(self, world: World) -> None:
        first = Reconciliation.objects.create(started_at=world.clock(), log_from=0, log_to=0)
        rows = Reconciliation.objects.filter(pk=first.pk)
        with pytest.raises(IntegrityError, match="one_under_way"), transaction.atomic():
            Reconciliation.objects.create(started_at=world.clock(), log_from=0, log_to=0)
        with pytest.raises(IntegrityError, match="finished_when_all_is_read"), transaction.atomic():
            rows.update(finished_at=world.clock())
        with pytest.raises(IntegrityError, match="reads_forwards"), transaction.atomic():
            rows.update(log_from=1)

    def test_refuses_findings_that_say_otherwise_than_their_kind(self, world: World) -> None:
        pass_ = Reconciliation.objects.create(started_at=world.clock(), log_from=0, log_to=0)
        for kind in Mismatch:
            fields = {"reconciliation": pass_, "subject": "x", "words": "", "found_at": world.clock()}
            with pytest.raises(IntegrityError, match="only_in_excess"), transaction.atomic():
                Finding.objects.create(kind=kind, is_excess=kind not in EXCESSES, **fields)
            if kind not in EXCESSES:
                with pytest.raises(IntegrityError, match="only_in_excess"), transaction.atomic():
                    Finding.objects.create(kind=kind, is_excess=False, acted_at=world.clock(), **fields)


class TestAtOnce:
    @pytest.fixture
    def world(self, transactional_db: None, now: datetime) -> World:
        """Return the world, committed, so that every connection sees it."""
        return worlds.make(now=now)

    def test_reconcile_each_portion_once_and_tell_of_an_excess_once(self, done: World) -> None:
        carrier = Carrier(
            *[replace(logged(done), position=number, attempt=number) for number in range(50, 90)]
        )

        results = at_once(
            *[
                lambda: reconciliation.reconcile(gateway=carrier, clock=done.clock, portions=20)  # type: ignore[arg-type]
                for _ in range(4)
            ]
        )

        assert not [one for one in results if isinstance(one, Exception)]
        assert Finding.objects.count() == 40
        assert Halt.objects.count() == AuditEntry.objects.filter(verb="fleet.excess_found").count() == 1
        assert set(Reconciliation.objects.values_list("commands", flat=True)) <= {0, 40}
        assert User.objects.filter(is_staff=True).count() == Notice.objects.filter(kind="excess").count()

    def test_wait_for_commands_that_are_being_logged(self, done: World) -> None:
        last = connect().received(after=0, limit=100)[-1]  # type: ignore[attr-defined]
        log = CommandLog.objects.get(pk=last.position)
        with transaction.atomic():
            with connection.cursor() as cursor:  # as a sender does, before it logs anything
                cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [0x4C4F474C])
            log.pk, log.attempt = None, 90
            log.save()
            reader = Aside(lambda: connect().received(after=last.position, limit=100))  # type: ignore[attr-defined]
            assert eventually(waiting)
        assert reader.is_done(within=30)
        assert reader.error is None
