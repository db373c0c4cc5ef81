"""The Gate, row by row: every state, phase and stamp, in every release state and at every moment."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import product
from typing import Any

import pytest
from django.db import IntegrityError
from django.db.models import F

from firmware.models import AvailabilityPeriod, ReleaseState
from firmware.operations import decisions
from hubs.gateway import Outcome, Phase, Verdict
from hubs.models import CommunicationsHub, HubStatus
from portal.models import User
from scheduling.lifecycle import FINAL, Ending, State
from scheduling.models import (
    LOT_SPAN,
    Command,
    Consent,
    Deployment,
    FirstHub,
    GroupedHub,
    Handover,
    HubGroup,
    InFlight,
    Lot,
    ProtectedWindow,
    Stage,
)
from scheduling.operations import deployments, stages
from scheduling.operations.deployments import claims
from scheduling.operations.deployments.claims import hand_back
from scheduling.operations.deployments.reports import wake_waiting
from tests import factories
from tests.scheduling.rows import SLOT_AT, Lay, Row, Sent, add_command, lay_out
from tests.scheduling.test_guards import change
from tests.scheduling.test_whole_way import rewrite
from tests.scheduling.world import World

OPEN = (State.PROVISIONAL, State.BOOKED, State.STAGING, State.STAGED, State.ACTIVATING, State.HELD)


def admit(world: World, *, image_whole: bool = True) -> set[tuple[int, Phase]]:
    """Claim the one lot and pass the Gate; return the new commands as (deployment, phase)."""
    before = set(Command.objects.values_list("deployment_id", "attempt"))
    Lot.objects.update(due_at=world.clock())
    claimed = deployments.claim(now=world.clock())
    assert claimed
    try:
        admitted = deployments.admit(claimed=claimed, image_whole=image_whole, clock=world.clock)
    except IntegrityError as error:
        pytest.fail(f"the Gate wants what the database refuses: {error}")
    new = [
        (deployment, Phase(phase))
        for deployment, phase, attempt in Command.objects.values_list("deployment_id", "phase", "attempt")
        if (deployment, attempt) not in before
    ]
    assert admitted.commands == len(new)
    return set(new)


def states() -> dict[int, tuple[str, str]]:
    """Return (state, ending) of every deployment by id."""
    return {
        key: (state, ending) for key, state, ending in Deployment.objects.values_list("id", "state", "ending")
    }


def stop(world: World, state: ReleaseState) -> None:
    """Bring the release into a state."""
    if state == ReleaseState.HALTED:
        decisions.halt(release=world.release, by=world.staff, reason="Trouble", now=world.clock())
    elif state == ReleaseState.WITHDRAWN:
        decisions.withdraw(release=world.release, by=world.staff, reason="Superseded", now=world.clock())


def ask(world: World, *, is_answered: bool) -> None:
    """Ask the southern Supplier about the one lot, and let it agree or not answer yet."""
    person = User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
    now = world.clock()
    answer = {"state": Consent.State.GIVEN, "answered_at": now, "answered_by": person} if is_answered else {}
    consent = Consent.objects.create(
        booking=Lot.objects.get().booking,
        supplier=world.southern,
        slot=world.slots[0],
        asked_at=now,
        answer_by=now,
        is_explicit=True,
        **answer,
    )
    Lot.objects.update(consent=consent)


EVERY_ROW = [
    *[Row(state, phase, is_due) for state, phase, is_due in product(OPEN, Phase, (True, False))],
    *[
        Row(state, phase, is_due=False, awaits=Sent())
        for state, phase in product((State.STAGING, State.ACTIVATING), Phase)
    ],
]
BEFORE_STAGING, STAGING, IN_SLOT, LAST_MOMENT, AFTER_SLOT = (
    timedelta(minutes=59),
    timedelta(hours=1),
    SLOT_AT,
    SLOT_AT + timedelta(minutes=59, seconds=59),
    SLOT_AT + timedelta(hours=1),
)


def expected(
    laid: Mapping[int, Row], *, may_stage: bool, may_activate: bool, may_verify: bool
) -> set[tuple[int, Phase]]:
    """Return the commands that the rows are due for, as the promises read."""
    found = set()
    for key, row in laid.items():
        match row:
            case Row(state=State.HELD) if may_stage:  # a hold that is over begins with a read
                found.add((key, Phase.READ))
            case Row(awaits=Sent()) | Row(is_due=False):
                pass
            case Row(state=State.BOOKED | State.STAGING, phase=Phase.READ | Phase.STAGE) if may_stage:
                found.add((key, row.phase))
            case Row(state=State.STAGED, phase=Phase.ACTIVATE) if may_activate:
                found.add((key, row.phase))
            case Row(state=State.ACTIVATING, phase=Phase.VERIFY) if may_verify:
                found.add((key, row.phase))
    return found


class TestAdmits:
    @pytest.mark.parametrize(
        ("moment", "may_stage", "may_activate"),
        [
            (BEFORE_STAGING, False, False),
            (STAGING, True, False),
            (SLOT_AT - timedelta(microseconds=1), True, False),
            (IN_SLOT, True, True),
            (LAST_MOMENT, True, True),
            (AFTER_SLOT, False, False),
        ],
        ids=["before staging", "staging", "just before the slot", "slot", "last moment", "after the slot"],
    )
    def test_what_is_due_in_its_time_and_nothing_else(
        self, world: World, lay: Lay, moment: timedelta, may_stage: bool, may_activate: bool
    ) -> None:
        laid = lay(EVERY_ROW, moment=moment)
        assert admit(world) == expected(laid, may_stage=may_stage, may_activate=may_activate, may_verify=True)

    @pytest.mark.parametrize("moment", [STAGING, IN_SLOT], ids=["staging", "slot"])
    @pytest.mark.parametrize("state", [ReleaseState.HALTED, ReleaseState.WITHDRAWN])
    def test_nothing_of_a_stopped_release_but_the_reading_back(
        self, world: World, lay: Lay, moment: timedelta, state: ReleaseState
    ) -> None:
        laid = lay(EVERY_ROW, moment=moment)
        stop(world, state)
        assert admit(world) == expected(
            laid, may_stage=False, may_activate=False, may_verify=state == ReleaseState.WITHDRAWN
        )

    @pytest.mark.parametrize("moment", [STAGING, IN_SLOT], ids=["staging", "slot"])
    @pytest.mark.parametrize("period", ["over", "to come", "of another network", "of another release"])
    def test_nothing_outside_the_period_but_the_reading_back(
        self, world: World, lay: Lay, moment: timedelta, period: str
    ) -> None:
        laid = lay(EVERY_ROW, moment=moment)
        now = world.clock()
        periods = AvailabilityPeriod.objects.all()
        match period:
            case "over":
                periods.update(end_at=now)
            case "to come":
                periods.update(start_at=now + timedelta(microseconds=1))
            case "of another release":
                periods.update(release=factories.FirmwareReleaseFactory.create())
            case _:
                periods.update(network=factories.NetworkFactory.create(code="south"))
        assert admit(world) == expected(laid, may_stage=False, may_activate=False, may_verify=True)

    def test_no_transfer_of_an_image_that_changed(self, world: World, lay: Lay) -> None:
        laid = lay(EVERY_ROW)
        assert admit(world, image_whole=False) == expected(
            laid, may_stage=False, may_activate=True, may_verify=True
        )

    def test_no_activation_while_the_network_or_the_hub_is_closed(self, world: World, lay: Lay) -> None:
        laid = lay(EVERY_ROW)
        world.protect(start_at=world.clock(), end_at=world.clock() + timedelta(minutes=30))
        assert admit(world) == expected(laid, may_stage=True, may_activate=False, may_verify=True)

    def test_what_is_then_awaited_with_one_more_try(self, world: World, lay: Lay) -> None:
        laid = lay(EVERY_ROW)
        now = world.clock()
        policy = world.release.policy
        for key, phase in admit(world):
            deployment = Deployment.objects.get(pk=key)
            command = Command.objects.get(deployment_id=key, phase=phase, attempt=deployment.attempt)
            assert deployment.awaiting
            assert deployment.tries == (1 if laid[key].state == State.HELD else laid[key].tries + 1)
            assert deployment.state == (
                State.STAGING if phase in (Phase.READ, Phase.STAGE) else State.ACTIVATING
            )
            assert deployment.attempt == 1
            assert deployment.next_at
            assert deployment.next_at > policy.silence_deadline.after(now)
            assert command.token == Lot.objects.get().token
            assert command.admitted_at == now
            assert (command.sent_at, command.verdict) == (None, None)

    def test_no_command_that_outlives_its_slot_its_period_or_its_silence(
        self, world: World, lay: Lay
    ) -> None:
        def last_moments(*, silence: str, period: datetime, window: datetime | None) -> dict[Phase, datetime]:
            world.release.policy.silence_deadline = silence
            world.release.policy.save()
            AvailabilityPeriod.objects.update(end_at=period)
            ProtectedWindow.objects.all().delete()
            if window:
                world.protect(start_at=window, end_at=window + timedelta(minutes=5))
            Command.objects.all().delete()
            Deployment.objects.filter(awaiting=True).update(awaiting=False)
            Deployment.objects.filter(phase=Phase.ACTIVATE, state=State.ACTIVATING).update(state=State.STAGED)
            Deployment.objects.update(next_at=world.clock(), attempt=F("attempt"))
            Lot.objects.update(lease_until=None)
            admit(world)
            return {
                Phase(phase): until for phase, until in Command.objects.values_list("phase", "valid_until")
            }

        lay(
            [
                Row(State.BOOKED, Phase.READ),
                Row(State.STAGING, Phase.STAGE),
                Row(State.STAGED, Phase.ACTIVATE),
                Row(State.ACTIVATING, Phase.VERIFY),
            ]
        )
        now = world.clock()
        slot_end, far = now + timedelta(hours=1), now + timedelta(days=9)
        for minutes in (10, 70):
            silent_at = now + timedelta(minutes=minutes)
            found = last_moments(silence=f"{minutes} minutes", period=far, window=None)
            assert found == {
                Phase.READ: slot_end,
                Phase.STAGE: slot_end,
                Phase.ACTIVATE: min(slot_end, silent_at),
                Phase.VERIFY: silent_at,
            }
        soon = now + timedelta(minutes=20)
        found = last_moments(silence="70 minutes", period=soon, window=None)
        assert (found[Phase.READ], found[Phase.STAGE], found[Phase.ACTIVATE]) == (soon, soon, soon)
        found = last_moments(silence="70 minutes", period=far, window=soon)
        assert (found[Phase.STAGE], found[Phase.ACTIVATE]) == (slot_end, soon)

    def test_nothing_for_whoever_lost_the_lot(self, world: World, lay: Lay) -> None:
        lay([Row(State.BOOKED, Phase.READ)])
        Lot.objects.update(due_at=world.clock())
        first = deployments.claim(now=world.clock())
        assert first
        world.clock.move(seconds=61)
        assert deployments.claim(now=world.clock())
        with pytest.raises(deployments.LeaseLost):
            deployments.admit(claimed=first, image_whole=True, clock=world.clock)
        assert not Command.objects.exists()

    def test_nothing_of_a_neighbouring_lot(self, world: World) -> None:
        world.hubs(6)
        for number in range(3):
            world.slot(start=SLOT_AT + number * timedelta(hours=1), room=2)
        world.book()
        world.clock.move(hours=3)
        _, second, _ = Lot.objects.order_by("id")
        Lot.objects.update(due_at=world.clock.move(hours=1))
        Lot.objects.filter(pk=second.pk).update(due_at=world.clock() - timedelta(minutes=1))
        claimed = deployments.claim(now=world.clock())
        assert claimed
        assert claimed.lot == second
        assert deployments.admit(claimed=claimed, image_whole=True, clock=world.clock).commands == 2
        assert {deployment.lot_id for deployment in Deployment.objects.filter(awaiting=True)} == {second.pk}


COMMANDED = [
    Row(state, phase, is_due=False, awaits=sent)
    for (state, phase), sent in product(
        (
            (State.STAGING, Phase.READ),
            (State.STAGING, Phase.STAGE),
            (State.ACTIVATING, Phase.ACTIVATE),
            (State.ACTIVATING, Phase.VERIFY),
        ),
        [
            *[
                Sent(is_sent=True, verdict=verdict, is_valid=is_valid)
                for verdict, is_valid in product((None, Verdict.ACCEPTED, Verdict.EXPIRED), (True, False))
            ],
            *[Sent(is_sent=False, is_valid=is_valid) for is_valid in (True, False)],
        ],
    )
]


class TestRecall:
    """What surely did nothing is taken back: its command is answered as expired, and its try does not count."""

    @pytest.mark.parametrize("stopped", ["", "halted", "withdrawn", "closed"])
    def test_takes_back_what_surely_did_nothing_and_nothing_else(
        self, world: World, lay: Lay, stopped: str
    ) -> None:
        others = [
            Row(State.STAGING, Phase.STAGE, is_due=False, holds=Sent(is_sent=False, is_valid=False)),
            Row(
                State.STAGING,
                Phase.STAGE,
                is_due=False,
                awaits=Sent(verdict=Verdict.EXPIRED, is_valid=False, is_answered=True),
            ),
        ]
        laid = lay([*COMMANDED, *others])
        if stopped == "closed":
            world.protect(start_at=world.clock(), end_at=world.clock() + timedelta(minutes=30))
        elif stopped:
            stop(world, ReleaseState(stopped))
        answered = set(Command.objects.exclude(answered_at=None).values_list("deployment_id", flat=True))
        admit(world)

        recalled = set()
        for key, row in laid.items():
            match row.awaits:
                case None | Sent(is_answered=True):
                    continue
                case Sent(is_sent=True, verdict=Verdict.EXPIRED):
                    recalled.add(key)
                case Sent(is_sent=True, verdict=None, is_valid=False) if row.phase == Phase.VERIFY:
                    recalled.add(key)
                case Sent(is_sent=False, is_valid=False):
                    recalled.add(key)
                case Sent(is_sent=False):
                    if (
                        stopped == "halted"
                        or (stopped == "withdrawn" and row.phase != Phase.VERIFY)
                        or (stopped == "closed" and row.phase == Phase.ACTIVATE)
                    ):
                        recalled.add(key)
                case Sent():
                    pass
        first = Command.objects.filter(attempt=1, deployment_id__in=laid)
        assert set(first.filter(outcome=Outcome.EXPIRED).values_list("deployment_id", flat=True)) == recalled
        assert set(first.exclude(answered_at=None).values_list("deployment_id", flat=True)) == (
            recalled | answered
        )
        for key in recalled:
            deployment, row = Deployment.objects.get(pk=key), laid[key]
            if deployment.state in FINAL:
                continue  # withdrawn: what was not on its way is cancelled
            assert deployment.tries == (row.tries if deployment.awaiting else row.tries - 1)
            if row.phase == Phase.ACTIVATE and not deployment.awaiting:
                assert deployment.state in (State.STAGED, State.HELD)

    def test_takes_back_no_earlier_command_of_the_same_hub(self, world: World, lay: Lay) -> None:
        [key] = lay(
            [Row(State.STAGING, Phase.STAGE, is_due=False, awaits=Sent(is_sent=False, is_valid=False))]
        )
        Deployment.objects.update(attempt=2)
        now = world.clock()
        add_command(world, key, Phase.STAGE, 2, sent_at=now, verdict=Verdict.ACCEPTED)
        add_command(world, key, Phase.READ, 2, valid_until=now)
        assert admit(world) == set()
        assert not Command.objects.exclude(answered_at=None).exists()
        assert Deployment.objects.get().awaiting


class TestSilence:
    """The deadline has passed, and no answer has come."""

    ROWS = [
        Row(state, phase, awaits=dataclasses.replace(sent, is_valid=is_valid), tries=tries)
        for (state, phase), sent, is_valid, tries in product(
            (
                (State.STAGING, Phase.READ),
                (State.STAGING, Phase.STAGE),
                (State.ACTIVATING, Phase.ACTIVATE),
                (State.ACTIVATING, Phase.VERIFY),
            ),
            (Sent(verdict=None), Sent(), Sent(with_others=True)),
            (True, False),
            (2, 3),
        )
    ]

    def test_is_the_hubs_only_when_the_carrier_took_the_command(self, world: World, lay: Lay) -> None:
        laid = lay(self.ROWS)
        now = world.clock()
        asked = admit(world)
        answer_by = world.release.policy.silence_deadline.after(now)
        for key, row in laid.items():
            deployment = Deployment.objects.get(pk=key)
            assert row.awaits
            unknown = row.awaits.verdict is None
            if unknown and row.awaits.is_valid:  # sent again under the same key, and the wait begins anew
                assert (deployment.awaiting, deployment.attempt, deployment.tries) == (True, 1, row.tries)
                assert deployment.next_at
                assert deployment.next_at > answer_by
                assert deployment.first_miss_at is None
                assert not deployment.silent
            elif (
                unknown and row.phase == Phase.VERIFY
            ):  # never taken, no longer valid: asked anew, no try counts
                assert (key, Phase.VERIFY) in asked
                assert deployment.tries == row.tries
            elif row.phase == Phase.VERIFY and row.tries == 3:
                assert (deployment.state, deployment.ending) == (State.UNCONFIRMED, Ending.SILENT)
                assert deployment.silent
            else:
                expected = Phase.VERIFY if row.phase == Phase.ACTIVATE else row.phase
                assert (key, expected) in asked
                assert deployment.first_miss_at == now
                assert deployment.silent == (row.state == State.ACTIVATING)
                assert deployment.tries == (1 if row.phase == Phase.ACTIVATE else row.tries + 1)
        assert not [key for key, phase in asked if phase == Phase.ACTIVATE]

    def test_is_found_also_where_the_carrier_took_every_command(self, world: World, lay: Lay) -> None:
        activated, read = lay(
            [
                Row(State.ACTIVATING, Phase.ACTIVATE, awaits=Sent()),
                Row(State.ACTIVATING, Phase.VERIFY, awaits=Sent(with_others=True), tries=3),
            ]
        )
        assert admit(world) == {(activated, Phase.VERIFY)}
        assert states()[read] == (State.UNCONFIRMED, Ending.SILENT)

    def test_is_none_before_the_deadline(self, world: World, lay: Lay) -> None:
        laid = lay(
            [
                Row(row.state, row.phase, is_due=False, awaits=Sent(verdict=verdict), tries=3)
                for row, verdict in product(self.ROWS[::6], (None, Verdict.ACCEPTED))
            ]
        )
        later = dict(Deployment.objects.values_list("id", "next_at"))
        assert admit(world) == set()
        assert Deployment.objects.filter(awaiting=True, first_miss_at=None).count() == len(laid)
        assert dict(Deployment.objects.values_list("id", "next_at")) == later

    def test_is_nobodys_who_was_not_asked(self, world: World, lay: Lay) -> None:
        reading, staged, staging, _ = lay(
            [
                Row(State.ACTIVATING, Phase.VERIFY, tries=3),
                Row(State.STAGED, Phase.STAGE, tries=3),
                Row(State.STAGING, Phase.STAGE, holds=Sent(verdict=None)),
                Row(State.STAGING, Phase.STAGE, is_due=False, awaits=Sent()),
            ]
        )
        assert admit(world) == {(reading, Phase.VERIFY), (staging, Phase.STAGE)}
        assert states()[staged] == (State.STAGED, Ending.NONE)
        assert Deployment.objects.get(pk=staged).first_miss_at is None

    def test_is_not_the_hubs_for_a_receipt_of_others(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGING, Phase.STAGE, awaits=Sent(verdict=None))])
        lot, sent_at = key // LOT_SPAN, Command.objects.get().sent_at
        assert sent_at
        for other in ((lot + 1, 1, sent_at), (lot, 2, sent_at), (lot, 1, sent_at - timedelta(seconds=1))):
            Handover.objects.create(lot_id=other[0], token=other[1], stamped_at=other[2])
        assert admit(world) == set()
        assert Deployment.objects.get().first_miss_at is None

    def test_is_that_of_the_command_that_is_awaited(self, world: World, lay: Lay) -> None:
        """Neither an answered command nor another one of the hub says that the line to the carrier is at fault."""
        keys = lay(
            [
                Row(State.STAGING, Phase.STAGE, awaits=Sent(verdict=None, is_answered=True)),
                Row(State.STAGING, Phase.STAGE, awaits=Sent()),
                Row(State.STAGING, Phase.STAGE, awaits=Sent()),
            ]
        )
        now = world.clock()
        others = (Phase.READ, 9), (Phase.READ, 1), (Phase.STAGE, 0)
        for key, (phase, attempt) in zip(keys, others, strict=True):
            add_command(world, key, phase, attempt)
        assert admit(world) == {(key, Phase.STAGE) for key in keys}
        assert set(Deployment.objects.values_list("first_miss_at", flat=True)) == {now}


class TestTheEndOfTheSlot:
    ROWS = [
        *[Row(state, Phase.READ, is_due=False) for state in OPEN],
        *[Row(state, Phase.READ, is_due=False, missed_for=timedelta(minutes=5)) for state in OPEN],
        Row(State.STAGING, Phase.STAGE, is_due=False, awaits=Sent()),
    ]

    @pytest.mark.parametrize("is_halted", [False, True], ids=["published", "halted"])
    def test_ends_what_was_not_activated_and_says_why(self, world: World, lay: Lay, is_halted: bool) -> None:
        laid = lay(self.ROWS, moment=AFTER_SLOT)
        if is_halted:
            stop(world, ReleaseState.HALTED)
        admit(world)
        for key, row in laid.items():
            if row.state == State.ACTIVATING:
                assert states()[key] == (State.ACTIVATING, Ending.NONE)
                continue
            if row.state == State.HELD or is_halted:
                why = Ending.HALTED
            elif row.state == State.PROVISIONAL:
                why = Ending.NO_CONSENT
            elif row.missed_for:
                why = Ending.UNREACHABLE
            else:
                why = Ending.NOT_STAGED if row.state == State.STAGING else Ending.SLOT_PASSED
            assert states()[key] == (State.MISSED, why)

    def test_says_of_what_waited_for_room_that_its_turn_did_not_come(self, world: World, lay: Lay) -> None:
        laid = lay(
            [Row(state, Phase.ACTIVATE, is_due=False) for state in (State.STAGED, State.BOOKED)],
            moment=AFTER_SLOT,
        )
        Lot.objects.update(waits=True)
        admit(world)
        assert [states()[key] for key in laid] == [
            (State.MISSED, Ending.NO_TURN),
            (State.MISSED, Ending.SLOT_PASSED),
        ]

    def test_is_not_there_a_moment_before(self, world: World, lay: Lay) -> None:
        lay(self.ROWS, moment=AFTER_SLOT - timedelta(microseconds=1))
        admit(world)
        assert not Deployment.objects.filter(state=State.MISSED).exists()


class TestGrace:
    def test_ends_the_tries_of_a_staged_hub_that_was_missed_too_long(self, world: World, lay: Lay) -> None:
        world.release.policy.grace = "20 minutes"
        world.release.policy.save()
        grace = timedelta(minutes=20)
        laid = lay(
            [
                Row(state, phase, is_due=False, missed_for=missed)
                for (state, phase), missed in product(
                    (
                        (State.BOOKED, Phase.READ),
                        (State.STAGING, Phase.STAGE),
                        (State.STAGED, Phase.ACTIVATE),
                        (State.ACTIVATING, Phase.VERIFY),
                    ),
                    (None, grace - timedelta(microseconds=1), grace),
                )
            ]
        )
        admit(world)
        for key, row in laid.items():
            if row.state == State.STAGED and row.missed_for == grace:
                assert states()[key] == (State.MISSED, Ending.UNREACHABLE)
            else:
                assert states()[key] == (row.state, Ending.NONE)


class TestHolding:
    def test_takes_hold_of_everything_that_is_not_on_its_way(self, world: World, lay: Lay) -> None:
        laid = lay(EVERY_ROW)
        stop(world, ReleaseState.HALTED)
        admit(world)
        for key, row in laid.items():
            is_on_its_way = row.state == State.ACTIVATING or row.awaits is not None
            assert states()[key][0] == (row.state if is_on_its_way else State.HELD)

    @pytest.mark.parametrize("is_asked", [False, True])
    def test_ends_as_it_began(self, world: World, lay: Lay, is_asked: bool) -> None:
        laid = lay(
            [
                Row(state, Phase.STAGE, is_due=False, tries=3, missed_for=timedelta(minutes=1))
                for state in OPEN
            ]
        )
        ask(world, is_answered=not is_asked)
        admit(world)
        for key, row in laid.items():
            deployment = Deployment.objects.get(pk=key)
            if row.state != State.HELD:
                assert (deployment.state, deployment.phase, deployment.tries) == (row.state, Phase.STAGE, 3)
            elif is_asked:
                assert (deployment.state, deployment.phase, deployment.tries) == (
                    "provisional",
                    Phase.READ,
                    0,
                )
                assert deployment.next_at == world.slots[0].end_at
                assert deployment.first_miss_at is None
            else:
                assert (deployment.state, deployment.phase, deployment.tries) == ("staging", Phase.READ, 1)
                assert (deployment.awaiting, deployment.first_miss_at) == (True, None)


class TestEligibility:
    """Facts of the hubs change between the booking and the Gate, one at a time."""

    def change(self, world: World, fact: str) -> None:
        hubs = CommunicationsHub.objects.all()
        match fact:
            case "lead":
                hubs.update(import_supplier=world.southern)
            case "other":
                hubs.update(gas_supplier=world.southern)
            case "model":
                hubs.update(model=factories.HubModelFactory.create())
            case "model for another of the release":
                other = factories.HubModelFactory.create()
                world.release.hub_models.add(other)
                hubs.update(model=other)
            case "models of the release":
                world.release.hub_models.set([factories.HubModelFactory.create()])
            case "network":
                hubs.update(network=factories.NetworkFactory.create(code="south"))
            case "hardware too old":
                hubs.update(hardware_version=0)
                rewrite(world, minimum_hardware=1, maximum_hardware=5)
            case "hardware too new":
                hubs.update(hardware_version=9)
                rewrite(world, minimum_hardware=1, maximum_hardware=5)
            case "status":
                hubs.update(status=HubStatus.RECOVERY)
            case _:
                raise AssertionError(fact)

    @pytest.mark.parametrize(
        ("fact", "ending"),
        [
            ("lead", Ending.NO_LONGER_ELIGIBLE),
            ("other", Ending.NO_CONSENT),
            ("model", Ending.NO_LONGER_ELIGIBLE),
            ("model for another of the release", Ending.NO_LONGER_ELIGIBLE),
            ("models of the release", Ending.NO_LONGER_ELIGIBLE),
            ("network", Ending.NO_LONGER_ELIGIBLE),
            ("hardware too old", Ending.NO_LONGER_ELIGIBLE),
            ("hardware too new", Ending.NO_LONGER_ELIGIBLE),
            ("status", Ending.NO_LONGER_ELIGIBLE),
        ],
    )
    def test_is_asked_of_every_hub_that_is_due(
        self, world: World, lay: Lay, fact: str, ending: Ending
    ) -> None:
        laid = lay(EVERY_ROW)
        self.change(world, fact)
        admit(world)
        gone = 0
        for key, row in laid.items():
            before = (State.BOOKED, State.STAGING, State.STAGED)
            is_held_no_more = row.state == State.HELD  # the hold is over, and the hub due as a booked one
            if is_held_no_more or (row.state in before and row.is_due and not row.awaits):
                assert states()[key] == (State.CANCELLED, ending)
                gone += 1
            else:
                assert states()[key][0] not in FINAL
        world.slots[0].refresh_from_db()
        assert world.slots[0].taken == len(laid) - gone

    def test_is_that_of_a_lead_that_another_shares_by_consent(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGED, Phase.ACTIVATE)])
        CommunicationsHub.objects.update(gas_supplier=world.southern)
        ask(world, is_answered=True)
        assert admit(world) == {(key, Phase.ACTIVATE)}

    def test_is_that_of_a_lead_whose_hub_nobody_shares_any_more(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGED, Phase.ACTIVATE)])
        ask(world, is_answered=True)
        assert admit(world) == {(key, Phase.ACTIVATE)}

    def test_is_not_asked_of_the_other_supplier_where_dcc_overrode(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGED, Phase.ACTIVATE)])
        CommunicationsHub.objects.update(gas_supplier=world.southern)
        Lot.objects.update(is_override=True)
        assert admit(world) == {(key, Phase.ACTIVATE)}

    def test_is_that_of_the_other_supplier_where_it_booked(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGED, Phase.ACTIVATE)])
        CommunicationsHub.objects.update(import_supplier=world.southern, gas_supplier=world.northern)
        Lot.objects.update(is_override=True)
        assert admit(world) == {(key, Phase.ACTIVATE)}


class TestLooksAgain:
    """What was due and not admitted is due again soon, and no later than its slot's end."""

    def test_soon_at_what_was_due_and_at_nothing_else(self, world: World, lay: Lay) -> None:
        before, soon = timedelta(seconds=10), timedelta(seconds=30)
        laid = lay(
            [
                Row(State.BOOKED, Phase.ACTIVATE),
                Row(State.ACTIVATING, Phase.ACTIVATE),
                Row(State.BOOKED, Phase.ACTIVATE, is_due=False),
            ],
            moment=AFTER_SLOT - before,
        )
        now = world.clock()
        assert admit(world) == set()
        waits, activating, later = (Deployment.objects.get(pk=key).next_at for key in laid)
        assert waits == world.slots[0].end_at == now + before
        assert activating == now + soon
        assert later == now + timedelta(minutes=5)
        world.clock.move(minutes=-10)
        Deployment.objects.filter(state=State.BOOKED).update(next_at=world.clock())
        Lot.objects.update(lease_until=None)
        admit(world)
        assert set(Deployment.objects.filter(state=State.BOOKED).values_list("next_at", flat=True)) == {
            world.clock() + soon
        }

    def test_after_the_slot_at_what_is_still_activating(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.ACTIVATING, Phase.ACTIVATE)], moment=AFTER_SLOT)
        assert admit(world) == set()
        assert Deployment.objects.get(pk=key).next_at == world.clock() + timedelta(seconds=30)


class TestOneLook:
    """Each of what may have to be put in order is seen where there is nothing else."""

    def test_sees_what_is_held(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.HELD, Phase.READ, is_due=False)])
        admit(world)
        assert states()[key][0] == State.STAGING

    def test_sees_that_the_slot_is_over(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGED, Phase.ACTIVATE)])
        world.clock.moment = world.slots[0].end_at
        admit(world)
        assert states()[key] == (State.MISSED, Ending.SLOT_PASSED)

    @pytest.mark.parametrize(
        ("state", "becomes"), [(ReleaseState.HALTED, State.HELD), (ReleaseState.WITHDRAWN, State.CANCELLED)]
    )
    def test_sees_that_the_release_is_stopped(
        self, world: World, lay: Lay, state: ReleaseState, becomes: State
    ) -> None:
        [key] = lay([Row(State.STAGED, Phase.ACTIVATE)])
        stop(world, state)
        admit(world)
        assert states()[key][0] == becomes


class TestBudgets:
    """How many activations the Gate admits: of the open stage, then of what may be in flight."""

    ROWS = [
        *[Row(State.STAGED, Phase.ACTIVATE)] * 6,
        Row(State.ACTIVATING, Phase.VERIFY),
        Row(State.STAGING, Phase.STAGE),
        Row(State.STAGED, Phase.ACTIVATE, is_due=False),
    ]

    def limit(self, world: World, *, in_flight: int = 50, sizes: Sequence[int] = (50,)) -> None:
        """Let the release have had this policy when it was published."""
        policy = world.release.policy
        policy.in_flight_floor, policy.stage_sizes = in_flight, list(sizes)
        policy.save()

    def activated(self, world: World) -> list[int]:
        """Pass the Gate; return who is told to activate, and see that nobody else has to wait."""
        told = admit(world)
        assert len({phase for _, phase in told} & {Phase.VERIFY, Phase.STAGE}) == 2
        return sorted(key for key, phase in told if phase == Phase.ACTIVATE)

    @pytest.mark.parametrize(
        ("limits", "goes"),
        [
            ({"in_flight": 4}, 4),
            ({"sizes": (3, 50)}, 3),
            ({"in_flight": 2, "sizes": (3,)}, 2),
            ({"sizes": ()}, 6),
            ({}, 6),
        ],
        ids=["in flight", "stage", "both", "no stages", "room for all"],
    )
    def test_are_taken_in_the_order_of_the_hubs_and_no_further(
        self, world: World, lay: Lay, limits: dict[str, Any], goes: int
    ) -> None:
        self.limit(world, **limits)
        laid = lay(self.ROWS)
        activates = sorted(key for key, row in laid.items() if row == self.ROWS[0])
        assert self.activated(world) == activates[:goes]
        assert InFlight.objects.get().activating == goes
        assert Stage.objects.get().admitted == goes
        assert set(Deployment.objects.filter(pk__in=activates[:goes]).values_list("stage", flat=True)) == {1}
        # the others wait as they are, to go as soon as there is room
        for key in activates[goes:]:
            assert (states()[key][0], Deployment.objects.get(pk=key).next_at) == (State.STAGED, world.clock())

    def test_are_taken_by_those_whose_turn_has_come(self, world: World, lay: Lay) -> None:
        self.limit(world, sizes=(1, 50))
        later, due, *_ = lay([self.ROWS[-1], *self.ROWS])
        assert self.activated(world) == [due]
        assert states()[later][0] == State.STAGED

    def test_are_none_for_a_model_without_a_stage(self, world: World, lay: Lay) -> None:
        self.limit(world)
        lay(self.ROWS)
        stages.open_first(release=world.release.pk, now=world.clock())
        Stage.objects.all().delete()
        try:
            assert self.activated(world) == []
        except IntegrityError:
            pytest.fail("what waits for its stage held up everything else of its lot")

    def test_are_taken_by_activations_alone(self, world: World, lay: Lay) -> None:
        self.limit(world, sizes=(3, 50))
        others = [row for row in self.ROWS if row.phase != Phase.ACTIVATE]
        laid = lay([*others, *[self.ROWS[0]] * 6])
        activates = sorted(key for key, row in laid.items() if row == self.ROWS[0])
        assert self.activated(world) == activates[:3]
        assert Stage.objects.get().admitted == 3

    def test_are_empty_once_they_are_taken(self, world: World, lay: Lay) -> None:
        self.limit(world, in_flight=6, sizes=(4, 50))
        lay(self.ROWS)
        assert len(self.activated(world)) == 4
        Lot.objects.update(lease_until=None)
        assert admit(world) == set()

    @pytest.mark.parametrize("made", ["before", "after", "never"])
    def test_in_which_room_is_made_meanwhile_are_looked_at_again_at_once(
        self, world: World, lay: Lay, made: str
    ) -> None:
        """Whether the room is made before its holder hands the lot back or after."""
        self.limit(world, in_flight=2)
        lay(self.ROWS)
        claimed = deployments.claim(now=world.clock())
        assert claimed
        admission = deployments.admit(claimed=claimed, image_whole=True, clock=world.clock)
        assert admission.waits
        wake = partial(wake_waiting, release=world.release.pk, ended=2, now=world.clock())
        if made == "before":
            wake()
        hand_back(claimed=claimed, now=world.clock(), waits=admission.waits)
        if made == "after":
            wake()
        lot = Lot.objects.get()
        assert lot.waits == (made == "never")
        assert lot.due_at
        if made == "never":  # nobody has to look soon: whoever makes room wakes it
            assert lot.due_at > world.clock() + claims.LOOK_AGAIN
        else:
            assert lot.due_at <= world.clock()

    def test_that_wait_are_not_woken_while_every_stage_is_full(self, world: World, lay: Lay) -> None:
        self.limit(world, in_flight=2)
        lay(self.ROWS)
        claimed = deployments.claim(now=world.clock())
        assert claimed
        admission = deployments.admit(claimed=claimed, image_whole=True, clock=world.clock)
        hand_back(claimed=claimed, now=world.clock(), waits=admission.waits)
        Stage.objects.update(size=F("admitted"))
        wake_waiting(release=world.release.pk, ended=2, now=world.clock())
        assert Lot.objects.get().waits
        Stage.objects.update(size=F("admitted") + 1)
        wake_waiting(release=world.release.pk, ended=2, now=world.clock())
        assert not Lot.objects.get().waits

    def test_are_for_the_first_hubs_of_the_open_stage_alone(self, world: World, lay: Lay) -> None:
        """Whoever comes before them, and whoever was chosen for the stage before."""
        self.limit(world, sizes=(3, 50))
        laid = lay(self.ROWS)
        activates = sorted(key for key, row in laid.items() if row == self.ROWS[0])
        stages.open_first(release=world.release.pk, now=world.clock())
        before = Stage.objects.get()
        Stage.objects.update(size=0, full_at=world.clock(), closed_at=world.clock())
        now = Stage.objects.create(
            release=world.release, model=world.model, number=2, size=3,
            opened_at=world.clock(), chosen_at=world.clock(),
        )  # fmt: skip
        for stage, chosen in ((before, activates[:1]), (now, activates[2:4])):
            for key in chosen:
                FirstHub.objects.create(
                    stage=stage, deployment_id=key, is_pilot=False, chosen_at=world.clock()
                )

        assert self.activated(world) == activates[2:4]
        assert Lot.objects.get().waits
        for key in (*activates[:2], *activates[4:]):
            assert states()[key][0] == State.STAGED

    def test_are_each_models_own(self, world: World, lay: Lay) -> None:
        self.limit(world, sizes=(2, 50))
        other = factories.HubModelFactory.create()
        world.release.hub_models.add(other)
        world.hubs(3)
        two = dataclasses.replace(world, model=other)
        two.hubs(3)
        world.slot(start=SLOT_AT, room=6)
        world.book()
        world.clock.move(hours=5)
        lay_out(world, [Row(State.STAGED, Phase.ACTIVATE)] * 6)
        told = {key for key, _ in admit(world)}
        models = Deployment.objects.filter(pk__in=told).values_list("model", flat=True)
        assert Counter(models) == {world.model.pk: 2, other.pk: 2}


class TestProtection:
    """Groups and changes of supplier protect their own hubs, in their own time."""

    def test_is_that_of_the_windows_own_group(self, world: World, lay: Lay) -> None:
        protected, other = lay([Row(State.STAGED, Phase.ACTIVATE)] * 2)
        now = world.clock()
        window = {"start_at": now - SLOT_AT, "end_at": now + SLOT_AT, "scope": ProtectedWindow.Scope.GROUP}
        groups = []
        for key in (protected, other):
            kept = {"supplier": world.northern, "hubs": 1, "made_by": world.person}
            groups.append(HubGroup.objects.create(**kept, name=f"{key}", created_at=now, changed_at=now))
            GroupedHub.objects.create(group=groups[-1], hub=Deployment.objects.get(pk=key).hub_id)
        world.protect(**window, group=groups[0])  # type: ignore[arg-type]
        assert admit(world) == {(other, Phase.ACTIVATE)}

    def test_is_that_of_the_windows_own_list(self, world: World, lay: Lay) -> None:
        protected, other = lay([Row(State.STAGED, Phase.ACTIVATE)] * 2)
        now = world.clock()
        for key, start in ((protected, now - SLOT_AT), (other, now + 10 * SLOT_AT)):
            hub = CommunicationsHub.objects.get(pk=Deployment.objects.get(pk=key).hub_id)
            span = {"start_at": start, "end_at": start + 2 * SLOT_AT}
            world.protect(**span, hubs=[hub], scope=ProtectedWindow.Scope.HUBS)  # type: ignore[arg-type]
        assert admit(world) == {(other, Phase.ACTIVATE)}

    def test_is_that_of_the_day_of_the_change(self, world: World, lay: Lay) -> None:
        protected, other = lay([Row(State.STAGED, Phase.ACTIVATE)] * 2)
        for key, days in ((protected, 0), (other, 20)):
            hub = CommunicationsHub.objects.get(pk=Deployment.objects.get(pk=key).hub_id)
            change(world, hub, (world.clock() + timedelta(days=days)).date())
        assert admit(world) == {(other, Phase.ACTIVATE)}
