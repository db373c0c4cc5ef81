"""Several decide at once about hubs set aside, or a report comes meanwhile: each hub has one outcome, once."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.db import transaction
from django.db.models import Count

from hubs.gateway import Outcome, Phase, Report
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog
from portal.ground.models import AuditEntry
from scheduling.lifecycle import Ending, State
from scheduling.models import Command, Deployment, Lot, Quarantine
from scheduling.operations import deployments, quarantine
from scheduling.operations.deployments import aside, claims
from scheduling.queries import quarantine as found
from tests.faults import judge
from tests.scheduling import world as worlds
from tests.scheduling.rows import Row, Sent, lay_out
from tests.scheduling.test_races import at_once
from tests.scheduling.world import NEW, World

pytestmark = pytest.mark.django_db(transaction=True)
HUBS = 8


@pytest.fixture
def world(transactional_db: None, now: datetime) -> Iterator[World]:
    """Hubs in one lot, all set aside while they are read back after their activation."""
    world = worlds.make(now=now)
    world.hubs(HUBS)
    world.slot(start=timedelta(hours=2), room=HUBS)
    world.book()
    world.clock.move(hours=2)
    lay_out(world, [Row(State.ACTIVATING, Phase.VERIFY, is_due=False, awaits=Sent())] * HUBS)
    for pk in ids():
        aside.set_aside(deployment=pk, error="x", now=world.clock())
    return world


def ids() -> list[int]:
    return list(Deployment.objects.order_by("id").values_list("id", flat=True))


class TestDeciders:
    def test_at_once_decide_about_each_hub_once(self, world: World) -> None:
        taken: list[int] = []
        ended: list[int] = []

        def take(chosen: list[int]) -> None:
            taken.append(
                quarantine.take_back(deployments=chosen, by=world.staff, reason="x", now=world.clock())
            )

        def end(chosen: list[int]) -> None:
            done = quarantine.end(deployments=chosen, by=world.approver, reason="x", now=world.clock())
            ended.append(done.unconfirmed + done.missed)

        every = ids()
        results = at_once(
            *[
                lambda act=act, chosen=chosen: act(chosen)  # type: ignore[misc]
                for act in (take, end, take, end)
                for chosen in (every[:5], every[3:])
            ]
        )

        refused = [result for result in results if result is not None]
        assert all(isinstance(result, quarantine.UnableToDecide) for result in refused), refused
        assert sum(taken) + sum(ended) == HUBS
        assert Deployment.objects.filter(ending=Ending.SET_ASIDE).count() == sum(ended)
        assert Deployment.objects.filter(ended_at=None).count() == sum(taken)
        entries = AuditEntry.objects.filter(verb__startswith="quarantine.")
        assert sum(entry.facts["hubs"] for entry in entries) == HUBS
        assert not Quarantine.objects.exists()
        assert judge.balances_its_ledger(judge.Evidence()) == []

    def test_that_read_first_and_write_then_decide_twice(self, world: World) -> None:
        """Prove that the race above is one: without the lots' locks, several believe that they have decided."""
        barrier = threading.Barrier(4)
        decided: list[int] = []

        def naive() -> None:
            kept = found.open_among(deployments=ids())
            barrier.wait(30)
            Quarantine.objects.filter(pk__in=[one.deployment for one in kept]).delete()
            decided.append(len(kept))

        at_once(*[naive] * 4)
        assert sum(decided) == 4 * HUBS


class TestAReport:
    def test_or_the_decision_is_the_outcome_and_never_both(self, world: World) -> None:
        now = world.clock()
        reports = [
            Report(number, pk, Phase.VERIFY, 1, hub, Outcome.DONE, NEW, now)
            for number, (pk, hub) in enumerate(Deployment.objects.values_list("id", "hub_id"), 1)
        ]
        every = ids()
        results = at_once(
            *[
                lambda report=report: deployments.record_reports(reports=[report], now=now)  # type: ignore[misc]
                for report in reports
            ],
            *[
                lambda pk=pk: quarantine.end(  # type: ignore[misc]
                    deployments=[pk], by=world.staff, reason="x", now=now
                )
                for pk in every
            ],
        )

        ended = [result for result in results if isinstance(result, quarantine.Ended)]
        refused = [result for result in results if isinstance(result, Exception)]
        assert all(isinstance(result, quarantine.UnableToDecide) for result in refused), refused
        outcomes = dict(Deployment.objects.values_list("state").annotate(Count("id")))
        assert sum(outcomes.values()) == HUBS
        assert outcomes.get(State.UNCONFIRMED, 0) == len(ended)
        assert outcomes.get(State.SUCCEEDED, 0) == len(refused)
        quarantine.sweep(clock=world.clock)
        assert not Quarantine.objects.exists()
        assert Lot.objects.get().due_at is None
        assert judge.balances_its_ledger(judge.Evidence()) == []


class TestTime:
    def test_a_report_or_a_person_is_what_decides_and_only_one_of_them(self, world: World) -> None:
        now = world.clock.move(hours=3)
        every = ids()
        hubs = dict(Deployment.objects.values_list("id", "hub_id"))
        succeeded = [
            Report(number, pk, Phase.VERIFY, 1, hubs[pk], Outcome.DONE, NEW, now)
            for number, pk in enumerate(every[:4], 1)
        ]
        ended: list[int] = []

        def end() -> None:
            done = quarantine.end(deployments=every[2:6], by=world.staff, reason="x", now=now)
            ended.append(done.unconfirmed)

        results = at_once(
            *[lambda: quarantine.lapse(clock=world.clock)] * 3,
            lambda: deployments.record_reports(reports=succeeded, now=now),
            end,
        )
        refused = [result for result in results if isinstance(result, Exception)]
        assert all(isinstance(result, quarantine.UnableToDecide) for result in refused), refused
        by_time = sum(result for result in results if isinstance(result, int))
        by_time += quarantine.lapse(clock=world.clock)  # whatever somebody else held the lot for

        outcomes = dict(Deployment.objects.values_list("state").annotate(Count("id")))
        assert outcomes.get(State.UNCONFIRMED, 0) == by_time + sum(ended)
        assert sum(outcomes.values()) == HUBS
        assert set(outcomes) <= {State.UNCONFIRMED, State.SUCCEEDED}
        assert Quarantine.objects.filter(lapsed_at__isnull=False).count() == by_time
        told = AuditEntry.objects.filter(verb__startswith="quarantine.")
        which = [one["deployment"] for entry in told for one in entry.facts["which"]]
        assert len(which) == len(set(which)) == by_time + sum(ended)
        assert Lot.objects.get().due_at is None
        assert judge.balances_its_ledger(judge.Evidence()) == []
        assert judge.takes_silence_for_an_outcome(judge.Evidence()) == []

    def test_that_read_first_and_wrote_then_would_decide_twice(self, world: World) -> None:
        """Prove that the race above is one: without the lots' locks, several believe that time has decided."""
        now = world.clock.move(hours=3)
        barrier = threading.Barrier(3)
        decided: list[int] = []

        def naive() -> None:
            kept = found.silent_too_long(moments=found.deadlines(now=now), limit=HUBS)
            barrier.wait(30)
            Quarantine.objects.filter(pk__in=[one.deployment for one in kept]).update(lapsed_at=now)
            decided.append(len(kept))

        at_once(*[naive] * 3)
        assert sum(decided) == 3 * HUBS

    def test_waits_for_nobody_who_has_the_lot(self, world: World) -> None:
        world.clock.move(hours=3)
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with transaction.atomic():
                list(Lot.objects.select_for_update(no_key=True))
                held.set()
                assert done.wait(30)

        def lapse() -> int:
            assert held.wait(30)
            try:
                return quarantine.lapse(clock=world.clock)
            finally:
                done.set()

        assert at_once(hold, lapse) == [None, 0]
        assert quarantine.lapse(clock=world.clock) == HUBS


class TestAWorker:
    def test_that_holds_the_lot_leaves_what_is_to_be_sent_again_to_the_next_look(self, world: World) -> None:
        Command.objects.update(verdict=None)  # the carrier never said that it had them
        hand_back_after_taking_back(world)
        due_at = Lot.objects.get().due_at
        assert due_at
        assert due_at <= world.clock() + claims.LOOK_AGAIN
        world.clock.move(seconds=claims.LOOK_AGAIN.total_seconds())
        deployments.carry_out(gateway=ModelledFleet(), clock=world.clock, lots=1)
        assert list(CommandLog.objects.values_list("deployment", flat=True)) == ids()[:1]

    def test_that_holds_the_lot_lets_the_awaited_answer_come(self, world: World) -> None:
        hand_back_after_taking_back(world)
        due_at = Lot.objects.get().due_at
        assert due_at
        assert due_at > world.clock()


def hand_back_after_taking_back(world: World) -> None:
    """Let a worker claim the lot, DCC take a hub back, and the worker hand the lot back then."""
    Lot.objects.update(due_at=world.clock())
    claimed = deployments.claim(now=world.clock())
    assert claimed
    quarantine.take_back(deployments=ids()[:1], by=world.staff, reason="x", now=world.clock())
    claims.hand_back(claimed=claimed, now=world.clock())
