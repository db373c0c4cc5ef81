"""The sender, row by row: what it hands over, what it keeps back, and what it makes of receipts."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import product

import pytest

from firmware.models import ReleaseState
from firmware.operations import decisions
from hubs.gateway import Command as Instruction
from hubs.gateway import Phase, Receipt, Verdict
from hubs.modelled_fleet.models import CommandLog
from scheduling.lifecycle import State
from scheduling.models import Command, Deployment, Handover, Lot
from scheduling.operations import deployments
from tests.scheduling.rows import Lay, Row, Sent, add_command
from tests.scheduling.test_deployments import Recorder
from tests.scheduling.world import World

ON_THEIR_WAY = (
    (State.STAGING, Phase.READ),
    (State.STAGING, Phase.STAGE),
    (State.ACTIVATING, Phase.ACTIVATE),
    (State.ACTIVATING, Phase.VERIFY),
)
ROWS = [
    *[
        Row(state, phase, is_due=False, awaits=sent)
        for (state, phase), sent in product(
            ON_THEIR_WAY,
            [
                Sent(is_sent=False),
                Sent(is_sent=False, is_valid=False),
                Sent(is_sent=True, verdict=None),
                Sent(is_sent=True, verdict=None, is_valid=False),
                Sent(is_sent=True, verdict=Verdict.ACCEPTED),
                Sent(is_sent=True, with_others=True),
                Sent(is_sent=True, verdict=Verdict.EXPIRED),
                Sent(is_sent=True, verdict=None, is_answered=True),
            ],
        )
    ],
    *[Row(state, phase, is_due=False, holds=Sent(is_sent=False)) for state, phase in ON_THEIR_WAY],
]


def send(world: World, gateway: Recorder) -> list[tuple[int, Phase, int]]:
    """Claim the one lot and send once; return the keys of what the carrier was handed."""
    Lot.objects.update(due_at=world.clock(), lease_until=None)
    claimed = deployments.claim(now=world.clock())
    assert claimed
    before = len(gateway.handed)
    sent = deployments.send(claimed=claimed, gateway=gateway, clock=world.clock)
    handed = gateway.handed[before:]
    assert sent == len(handed)
    assert {command.token for command in handed} <= {claimed.token}
    return [(command.deployment, command.phase, command.attempt) for command in handed]


def stop(world: World, how: str) -> None:
    """Halt or withdraw the release, or close its hubs for half an hour."""
    given = {"release": world.release, "by": world.staff, "reason": "Trouble", "now": world.clock()}
    if how == "halted":
        decisions.halt(**given)
    elif how == "withdrawn":
        decisions.withdraw(**given)
    elif how:
        world.protect(start_at=world.clock(), end_at=world.clock() + timedelta(minutes=30))


class TestHandsOver:
    @pytest.mark.parametrize("stopped", ["", "halted", "withdrawn", "closed"])
    def test_what_nobody_has_taken_yet_and_may_still_be_done(
        self, world: World, lay: Lay, stopped: str
    ) -> None:
        laid = lay(ROWS)
        stop(world, stopped)
        expected = {
            (key, row.phase, 1)
            for key, row in laid.items()
            if row.awaits
            and row.awaits.is_valid
            and not row.awaits.is_answered
            and (not row.awaits.is_sent or row.awaits.verdict is None)
            and (row.phase == Phase.VERIFY or stopped != "withdrawn")
            and (row.phase != Phase.ACTIVATE or stopped != "closed")
            and stopped != "halted"
        }
        assert set(send(world, Recorder())) == expected

    def test_no_command_but_the_one_that_is_awaited(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGING, Phase.STAGE, is_due=False, awaits=Sent(is_sent=False))])
        for phase, attempt in ((Phase.READ, 1), (Phase.STAGE, 2), (Phase.STAGE, 3)):
            add_command(world, key, phase, attempt)
        assert send(world, Recorder()) == [(key, Phase.STAGE, 1)]
        for stamped in (Command.objects.exclude(sent_at=None), Command.objects.exclude(verdict=None)):
            assert list(stamped.values_list("phase", "attempt")) == [(Phase.STAGE, 1)]

    def test_fifty_at_a_time_and_each_once(self, world: World, lay: Lay) -> None:
        sizes: list[int] = []

        class Counting(Recorder):
            def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
                sizes.append(len(commands))
                return super().send(commands=commands, now=now)

        laid = lay([Row(State.STAGING, Phase.READ, is_due=False, awaits=Sent(is_sent=False))] * 120)
        gateway, handed = Counting(), []
        while portion := send(world, gateway):
            handed += portion
        assert handed == [(key, Phase.READ, 1) for key in sorted(laid)]
        assert sizes == [50, 50, 20]

    def test_nothing_of_a_neighbouring_lot(self, world: World) -> None:
        world.hubs(6)
        for number in range(3):
            world.slot(start=timedelta(hours=5 + number), room=2)
        world.book()
        world.clock.move(hours=4)
        for lot in Lot.objects.all():
            assert deployments.admit(
                claimed=deployments.Claim(lot, lot.token), image_whole=True, clock=world.clock
            ).commands
        _, second, _ = Lot.objects.order_by("id")
        gateway = Recorder()
        claimed = deployments.Claim(second, second.token)
        assert deployments.send(claimed=claimed, gateway=gateway, clock=world.clock) == 2
        assert {command.lot for command in gateway.handed} == {second.pk}

    def test_stamps_what_it_hands_over_and_nothing_else_with_the_first_moment(
        self, world: World, lay: Lay
    ) -> None:
        laid = lay(ROWS)
        before = {command.deployment_id: command.sent_at for command in Command.objects.all()}
        handed = {key for key, _, _ in send(world, Recorder())}
        for command in Command.objects.all():
            was = before[command.deployment_id]
            stamped = world.clock() if command.deployment_id in handed and was is None else was
            assert command.sent_at == stamped
        assert {key for key in handed if before[key] is None} != set()
        assert {key for key in handed if before[key] is not None} != set()
        assert len(laid) == len(before)


class TestKeepsBack:
    @pytest.mark.parametrize("stopped", ["halted", "withdrawn", "closed"])
    def test_what_never_left_for_the_gate_to_take_back_soon(
        self, world: World, lay: Lay, stopped: str
    ) -> None:
        laid = lay(ROWS)
        later = dict(Deployment.objects.values_list("id", "next_at"))
        stop(world, stopped)
        send(world, Recorder())
        for key, row in laid.items():
            concerns = {
                "halted": True,
                "withdrawn": row.phase != Phase.VERIFY,
                "closed": row.phase == Phase.ACTIVATE,
            }[stopped]
            kept = row.awaits is not None and not row.awaits.is_sent and concerns
            assert Deployment.objects.get(pk=key).next_at == (world.clock() if kept else later[key])

    def test_also_what_was_claimed_before_the_stop(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGING, Phase.STAGE, is_due=False, awaits=Sent(is_sent=False))])
        Lot.objects.update(due_at=world.clock(), lease_until=None)
        claimed = deployments.claim(now=world.clock())
        assert claimed
        stop(world, "halted")
        assert deployments.send(claimed=claimed, gateway=Recorder(), clock=world.clock) == 0
        assert Deployment.objects.get(pk=key).next_at == world.clock()

    def test_the_command_that_is_awaited_and_no_other(self, world: World, lay: Lay) -> None:
        keys = lay([Row(State.STAGING, Phase.STAGE, is_due=False, awaits=Sent())] * 2)
        later = dict(Deployment.objects.values_list("id", "next_at"))
        for key, (phase, attempt) in zip(keys, ((Phase.READ, 1), (Phase.STAGE, 2)), strict=True):
            add_command(world, key, phase, attempt)
        stop(world, "halted")
        send(world, Recorder())
        assert dict(Deployment.objects.values_list("id", "next_at")) == later

    def test_nothing_later_than_it_was_due(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.ACTIVATING, Phase.ACTIVATE, is_due=False, awaits=Sent(is_sent=False))])
        earlier = world.clock() - timedelta(minutes=1)
        Deployment.objects.update(next_at=earlier)
        stop(world, "halted")
        send(world, Recorder())
        assert Deployment.objects.get(pk=key).next_at == earlier


class Answering(Recorder):
    """A carrier that answers every command with one verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__()
        self.verdict = verdict

    def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
        self.handed += commands
        return [
            Receipt(command.deployment, command.phase, command.attempt, self.verdict) for command in commands
        ]


class TestReceipts:
    def test_are_kept_with_the_command_that_they_are_for(self, world: World, lay: Lay) -> None:
        lay(ROWS)
        before = {command.deployment_id: command.verdict for command in Command.objects.all()}
        handed = {key for key, _, _ in send(world, Answering(Verdict.ACCEPTED))}
        for command in Command.objects.all():
            expected = Verdict.ACCEPTED if command.deployment_id in handed else before[command.deployment_id]
            assert command.verdict == expected

    def test_are_of_no_other_command_of_the_hub(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGING, Phase.STAGE, is_due=False, awaits=Sent(is_sent=False))])
        for phase, attempt in ((Phase.READ, 1), (Phase.STAGE, 2)):
            add_command(world, key, phase, attempt, sent_at=world.clock())
        assert send(world, Answering(Verdict.ACCEPTED)) == [(key, Phase.STAGE, 1)]
        with_receipt = Command.objects.exclude(verdict=None)
        assert list(with_receipt.values_list("phase", "attempt")) == [(Phase.STAGE, 1)]

    def test_of_a_newer_token_end_the_work_of_this_worker(self, world: World, lay: Lay) -> None:
        lay(ROWS)
        with pytest.raises(deployments.LeaseLost):
            send(world, Answering(Verdict.STALE_TOKEN))
        assert not Command.objects.filter(verdict=Verdict.STALE_TOKEN).exists()

    def test_that_say_too_late_make_the_gate_look_at_once(self, world: World, lay: Lay) -> None:
        laid = lay(ROWS)
        later = dict(Deployment.objects.values_list("id", "next_at"))
        handed = {key for key, _, _ in send(world, Answering(Verdict.EXPIRED))}
        assert handed
        for key in laid:
            expected = world.clock() if key in handed else later[key]
            assert Deployment.objects.get(pk=key).next_at == expected

    @pytest.mark.parametrize("change", [{"phase": Phase.VERIFY}, {"attempt": 2}, {"awaiting": False}])
    def test_that_say_too_late_change_nothing_where_an_answer_was_faster(
        self, world: World, lay: Lay, change: dict[str, object]
    ) -> None:
        class Slow(Answering):
            def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
                Deployment.objects.update(**change)
                return super().send(commands=commands, now=now)

        lay([Row(State.ACTIVATING, Phase.ACTIVATE, is_due=False, awaits=Sent(is_sent=False))] * 2)
        later = dict(Deployment.objects.values_list("id", "next_at"))
        assert len(send(world, Slow(Verdict.EXPIRED))) == 2
        assert dict(Deployment.objects.values_list("id", "next_at")) == later

    def test_of_a_release_that_is_halted_there_are_none(self, world: World, lay: Lay) -> None:
        lay(ROWS)
        stop(world, "halted")
        world.release.refresh_from_db()
        assert world.release.state == ReleaseState.HALTED
        gateway = Answering(Verdict.ACCEPTED)
        assert send(world, gateway) == []
        assert gateway.handed == []


class TestTheReceiptForAll:
    """What the Gate has stamped leaves at once; where the carrier takes everything, one row says so."""

    NEW = Row(State.STAGING, Phase.READ)
    LEFT_BEHIND = Row(State.STAGING, Phase.READ, is_due=False, awaits=Sent(verdict=None))

    def advance(self, world: World, gateway: Recorder) -> None:
        Lot.objects.update(due_at=world.clock(), lease_until=None)
        claimed = deployments.claim(now=world.clock())
        assert claimed
        # no two moments are the same
        deployments.advance(claimed=claimed, gateway=gateway, clock=lambda: world.clock.move(milliseconds=1))

    def test_is_one_row_and_nothing_is_sent_again(self, world: World, lay: Lay) -> None:
        lay([self.NEW] * 60)
        gateway = Recorder()
        self.advance(world, gateway)
        assert len(gateway.handed) == 60
        assert not Command.objects.exclude(verdict=None).exists()
        handover = Handover.objects.get()
        assert {(command.token, command.sent_at) for command in Command.objects.all()} == {
            (handover.token, handover.stamped_at)
        }
        assert send(world, gateway) == []

    def test_is_none_where_one_of_them_was_refused(self, world: World, lay: Lay) -> None:
        refused, *taken = lay([self.NEW] * 60)

        class TooLate(Recorder):
            def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
                return [
                    receipt._replace(verdict=Verdict.EXPIRED) if receipt.deployment == refused else receipt
                    for receipt in super().send(commands=commands, now=now)
                ]

        self.advance(world, TooLate())
        assert not Handover.objects.exists()
        verdicts = dict(Command.objects.values_list("deployment_id", "verdict"))
        assert verdicts == {refused: Verdict.EXPIRED} | dict.fromkeys(taken, Verdict.ACCEPTED)

    def test_is_none_where_a_receipt_is_of_another_command(self, world: World, lay: Lay) -> None:
        laid = lay([self.NEW] * 60)

        class Doubling(Recorder):
            def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
                first, _, *others = super().send(commands=commands, now=now)
                return [first, first, *others]

        self.advance(world, Doubling())
        assert not Handover.objects.exists()
        assert Command.objects.filter(verdict=None).count() == 2
        assert len(laid) == 60

    def test_is_none_where_some_were_kept_back(self, world: World, lay: Lay) -> None:
        lay([self.NEW] * 60)

        class Stopping(Recorder):
            def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
                receipts = super().send(commands=commands, now=now)
                stop(world, "halted")
                return receipts

        self.advance(world, Stopping())
        assert not Handover.objects.exists()
        assert Command.objects.filter(verdict=Verdict.ACCEPTED).count() == 50
        assert Command.objects.filter(sent_at=None).count() == 10

    def test_is_not_for_what_an_earlier_holder_left_behind(self, world: World, lay: Lay) -> None:
        *new, before = lay([*[self.NEW] * 59, self.LEFT_BEHIND])
        self.advance(world, Recorder())
        assert Handover.objects.count() == 1
        verdicts = dict(Command.objects.values_list("deployment_id", "verdict"))
        assert verdicts == {before: Verdict.ACCEPTED} | dict.fromkeys(new)

    def test_is_kept_when_the_lot_was_taken_over_meanwhile(self, world: World, lay: Lay) -> None:
        lay([self.NEW] * 10)

        class Slow(Recorder):
            def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
                receipts = super().send(commands=commands, now=now)
                Lot.objects.update(token=99)
                return receipts

        self.advance(world, Slow())
        assert Handover.objects.count() == 1
        assert Lot.objects.get().lease_until


class TestBetweenTwoHandfuls:
    """Between two times of fifty the halt, the moment and the token are asked again."""

    ROWS = [
        *[Row(State.STAGING, Phase.READ, is_due=False, awaits=Sent(is_sent=False))] * 100,
        *[Row(State.STAGING, Phase.READ, is_due=False, awaits=Sent(is_sent=True, verdict=None))] * 20,
    ]

    def send(self, world: World, meanwhile: Callable[[], object]) -> list[int]:
        """Send, while something happens during the first handful; return how many were handed over at a time."""
        sizes: list[int] = []

        class Interrupted(Recorder):
            def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
                sizes.append(len(commands))
                receipts = super().send(commands=commands, now=now)
                if len(sizes) == 1:
                    meanwhile()
                return receipts

        Lot.objects.update(due_at=world.clock(), lease_until=None)
        claimed = deployments.claim(now=world.clock())
        assert claimed
        deployments.send(claimed=claimed, gateway=Interrupted(), clock=world.clock)
        return [size for size in sizes if size]

    def unstamped(self) -> int:
        return Command.objects.filter(sent_at=None).count()

    def test_all_goes_out_when_nothing_happens(self, world: World, lay: Lay) -> None:
        lay(self.ROWS)
        assert self.send(world, lambda: None) == [50, 50, 20]
        assert self.unstamped() == 0

    @pytest.mark.parametrize("stopped", ["halted", "withdrawn"])
    def test_a_stop_keeps_the_rest_and_what_surely_did_not_leave_is_unstamped(
        self, world: World, lay: Lay, stopped: str
    ) -> None:
        lay(self.ROWS)
        assert self.send(world, lambda: stop(world, stopped)) == [50]
        assert self.unstamped() == 50  # the last twenty may have left with another sender, long ago

    def test_a_new_token_ends_the_sending(self, world: World, lay: Lay) -> None:
        lay(self.ROWS)
        with pytest.raises(deployments.LeaseLost):
            self.send(world, lambda: Lot.objects.update(token=99))
        assert CommandLog.objects.count() == 50

    def test_a_last_moment_that_has_come_keeps_what_it_is_of(self, world: World, lay: Lay) -> None:
        lay(self.ROWS)
        Command.objects.update(valid_until=world.clock() + timedelta(seconds=1))
        assert self.send(world, lambda: world.clock.move(seconds=1)) == [50]
        assert self.unstamped() == 50

    def test_after_a_while_all_the_rules_are_asked_again(self, world: World, lay: Lay) -> None:
        lay(self.ROWS)
        assert self.send(world, lambda: world.clock.move(seconds=2)) == [50]
