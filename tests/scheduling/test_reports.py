"""Reports, row by row: which command they answer, which deployment they move, and which are nobody's."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from hubs.gateway import Outcome, Phase, Report
from scheduling.lifecycle import State
from scheduling.models import Command, Deployment, Lot, Slot, StrayReport
from scheduling.operations import deployments
from tests.scheduling.rows import Lay, Row, Sent
from tests.scheduling.world import NEW, OLD, World

READING = Row(State.STAGING, Phase.READ, is_due=False, awaits=Sent())


def answer(key: int, *, phase: Phase = Phase.READ, version: int | None = OLD) -> Report:
    """Return the answer of a deployment's hub to its first command."""
    deployment = Deployment.objects.get(pk=key)
    return Report(key, key, phase, 1, deployment.hub_id, Outcome.DONE, version, deployment.moved_at)


def record(world: World, *reports: Report) -> None:
    """Record reports that came together."""
    try:
        deployments.record_reports(reports=reports, now=world.clock.move(seconds=1))
    except (LookupError, IntegrityError) as error:
        pytest.fail(f"an answer was taken for what it is not: {error!r}")


class TestAnAnswer:
    @pytest.mark.parametrize("wrong", ["deployment", "phase", "attempt", "hub"])
    def test_is_one_only_if_all_of_it_is_as_commanded(self, world: World, lay: Lay, wrong: str) -> None:
        key, other = lay([READING, READING])
        right = answer(key)
        differs = {
            "deployment": {"deployment": other},
            "phase": {"phase": Phase.STAGE},
            "attempt": {"attempt": 2},
            "hub": {"hub": Deployment.objects.get(pk=other).hub_id},
        }[wrong]
        record(world, right._replace(**differs))  # type: ignore[arg-type]
        assert not Command.objects.exclude(answered_at=None).exists()
        assert Deployment.objects.filter(awaiting=True, phase=Phase.READ).count() == 2
        stray = StrayReport.objects.get()
        assert (stray.deployment_id, stray.phase, stray.attempt, stray.hub) == tuple(
            {"deployment": key, "phase": Phase.READ, "attempt": 1, "hub": right.hub}.__or__(differs).values()
        )

        record(world, right)
        assert Command.objects.exclude(answered_at=None).get().deployment_id == key
        assert Deployment.objects.get(pk=key).phase == Phase.STAGE
        assert Deployment.objects.get(pk=other).awaiting
        assert StrayReport.objects.count() == 1

    def test_is_the_first_and_no_later_one(self, world: World, lay: Lay) -> None:
        [key] = lay([READING])
        first = answer(key)
        record(world, first)
        [command] = Command.objects.all()
        later = first._replace(id=2, outcome=Outcome.UNREACHABLE, version=None)
        record(world, later, first._replace(id=3, version=NEW))
        command.refresh_from_db()
        assert (command.outcome, command.version) == (Outcome.DONE, OLD)
        assert command.answered_at == world.clock() - timedelta(seconds=1)
        assert not StrayReport.objects.exists()

    def test_is_the_first_of_those_that_came_together(self, world: World, lay: Lay) -> None:
        [key] = lay([READING])
        first = answer(key)
        record(world, first, first._replace(id=2, outcome=Outcome.UNREACHABLE, version=None))
        assert Command.objects.get().outcome == Outcome.DONE
        assert Deployment.objects.get().phase == Phase.STAGE

    def test_to_what_never_left_is_nobodys(self, world: World, lay: Lay) -> None:
        [key] = lay([Row(State.STAGING, Phase.READ, is_due=False, awaits=Sent(is_sent=False))])
        record(world, answer(key))
        assert Command.objects.get().answered_at is None
        assert Deployment.objects.get().awaiting
        assert list(StrayReport.objects.values_list("deployment_id", flat=True)) == [key]

    def test_that_is_nobodys_is_kept_once(self, world: World, lay: Lay) -> None:
        [key] = lay([READING])
        forged = answer(key)._replace(attempt=7)
        record(world, forged)
        record(world, forged, forged)
        assert StrayReport.objects.count() == 1


class TestADeployment:
    def test_moves_only_while_it_awaits_that_very_answer(self, world: World, lay: Lay) -> None:
        rows = [
            READING,
            Row(State.STAGING, Phase.READ, is_due=False, holds=Sent()),  # its silence was noted meanwhile
            READING,  # asked again meanwhile
            READING,  # asked something else meanwhile
        ]
        awaits, silent, again, beyond = lay(rows)
        reports = [answer(key) for key in (awaits, silent, again, beyond)]
        Deployment.objects.filter(pk=again).update(attempt=2)
        Deployment.objects.filter(pk=beyond).update(phase=Phase.STAGE)
        before = {key: Deployment.objects.filter(pk=key).values().get() for key in (silent, again, beyond)}
        record(world, *reports)

        assert Command.objects.filter(answered_at=None).count() == 0  # what a hub said is kept in any case
        assert Deployment.objects.get(pk=awaits).phase == Phase.STAGE
        for key, row in before.items():
            assert Deployment.objects.filter(pk=key).values().get() == row

    def test_begins_its_next_phase_with_no_try_and_no_miss(self, world: World, lay: Lay) -> None:
        [key] = lay([replace(READING, tries=2, missed_for=timedelta(minutes=9))])
        record(world, answer(key))
        deployment = Deployment.objects.get()
        assert (deployment.tries, deployment.first_miss_at) == (0, None)

    def test_keeps_its_tries_and_its_first_miss_while_nobody_is_there(self, world: World, lay: Lay) -> None:
        known, new = lay([replace(READING, tries=2, missed_for=timedelta(minutes=9)), READING])
        first = Deployment.objects.get(pk=known).first_miss_at
        silent = [answer(key)._replace(outcome=Outcome.UNREACHABLE, version=None) for key in (known, new)]
        record(world, *silent)
        assert Deployment.objects.get(pk=known).tries == 2
        assert Deployment.objects.get(pk=known).first_miss_at == first
        assert Deployment.objects.get(pk=new).first_miss_at == world.clock()

    def test_of_a_hub_that_needs_nothing_gives_its_place_back(self, world: World, lay: Lay) -> None:
        key, _ = lay([READING, READING])
        record(world, answer(key, version=NEW))
        assert Deployment.objects.get(pk=key).state == State.CANCELLED
        assert Slot.objects.get().taken == 1

    def test_makes_its_lot_due_no_later_than_itself(self, world: World, lay: Lay) -> None:
        key, _ = lay([READING, READING])
        Lot.objects.update(due_at=world.clock() + timedelta(hours=1))
        record(world, answer(key))
        assert Lot.objects.get().due_at == Deployment.objects.get(pk=key).next_at == world.clock()

    def test_takes_its_lot_from_a_holder_only_when_no_hub_of_it_is_open(self, world: World, lay: Lay) -> None:
        """A holder that died would have it for ever: nobody claims what is never due again."""
        first, last = lay([READING, READING])
        held_until = world.clock() + timedelta(minutes=1)
        Lot.objects.update(due_at=world.clock(), lease_until=held_until)
        record(world, answer(first, version=NEW))
        assert Lot.objects.get().lease_until == held_until
        record(world, answer(last, version=NEW))
        assert Lot.objects.values_list("due_at", "lease_until").get() == (None, None)


class TestTheKeyOfACommand:
    def test_is_given_once(self, world: World, lay: Lay) -> None:
        lay([READING])
        [command] = Command.objects.all()
        with pytest.raises(IntegrityError, match="scheduling_command_pkey"), transaction.atomic():
            Command.objects.bulk_create([command])
        assert Command.objects.count() == 1
