"""What became of hubs by the day of their slot: the same as the deployments say, folded or not, and nobody else's."""

from collections import Counter
from datetime import date, datetime, timedelta
from importlib import import_module

import pytest
from django.db import connection

from portal.ground.uk_time import LONDON
from scheduling.lifecycle import Ending, State
from scheduling.models import Deployment, Mismatch, OutcomeTally, Slot, TallyChange
from scheduling.operations import reconciliation, tallies
from scheduling.queries import control_room, outcomes
from scheduling.queries import reconciliation as questions
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.world import World

MIGRATION = import_module("scheduling.migrations.0041_outcomes_by_day")


@pytest.fixture
def rolled_out(world: World) -> World:
    """Sixty staged hubs: five succeeded, two failed, one is unconfirmed, one missed, one is under way."""
    stage(world, 60)
    activate(9)
    end(5, world=world, state=State.SUCCEEDED)
    end(2, world=world, state=State.FAILED, ending=Ending.WRONG_VERSION)
    end(1, world=world, state=State.UNCONFIRMED, ending=Ending.SILENT)
    one = Deployment.objects.filter(state=State.STAGED).earliest("id")
    Deployment.objects.filter(pk=one.pk).update(
        state=State.MISSED, ending=Ending.UNREACHABLE, ended_at=world.clock(), next_at=None
    )
    return world


def day_of(slot: Slot) -> date:
    """Return the day of a slot, as people in Great Britain call it."""
    return slot.start_at.astimezone(LONDON).date()


def kept() -> Counter[tuple[State, Ending]]:
    """Return what has been taken up, by state and reason."""
    rows = OutcomeTally.objects.values_list("state", "ending", "hubs")
    found = Counter[tuple[State, Ending]]()
    for state, ending, hubs in rows:
        found[State(state), Ending(ending)] += hubs
    return +found


TRUTH = {
    (State.SUCCEEDED, Ending.NONE): 5,
    (State.FAILED, Ending.WRONG_VERSION): 2,
    (State.UNCONFIRMED, Ending.SILENT): 1,
    (State.MISSED, Ending.UNREACHABLE): 1,
    (State.ACTIVATING, Ending.NONE): 1,
}


class TestTheTally:
    def test_takes_up_each_outcome_with_its_reason_and_its_supplier(self, rolled_out: World) -> None:
        tallies.fold(limit=1_000)

        assert kept() == TRUTH
        assert set(OutcomeTally.objects.values_list("supplier", "network", "model", "day")) == {
            (
                rolled_out.northern.pk,
                rolled_out.network.pk,
                rolled_out.model.pk,
                day_of(rolled_out.slots[0]),
            )
        }

    def test_takes_a_hub_back_that_was_never_contacted(self, rolled_out: World) -> None:
        Deployment.objects.filter(state=State.ACTIVATING).update(state=State.STAGED, stage=0)

        tallies.fold(limit=1_000)

        assert (State.ACTIVATING, Ending.NONE) not in kept()

    def test_says_nothing_of_what_has_no_outcome(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()

        assert not TallyChange.objects.exclude(slot=None, supplier=None, ending="").exists()
        tallies.fold(limit=1_000)
        assert not OutcomeTally.objects.exists()

    def test_is_filled_with_what_was_there_before_it(self, rolled_out: World) -> None:
        with connection.cursor() as cursor:
            cursor.execute(MIGRATION.FILL)

        assert kept() == TRUTH

    def test_holds_a_slot_by_its_day_in_great_britain(self, world: World) -> None:
        midnight = datetime(2026, 7, 1, tzinfo=LONDON)
        stage(world, 1)
        Slot.objects.update(start_at=midnight, end_at=midnight + timedelta(hours=1))
        activate(1)

        assert [step.day for step in outcomes.rollout(release=world.release.pk).steps] == [date(2026, 7, 1)]
        tallies.fold(limit=1_000)
        assert [step.day for step in outcomes.rollout(release=world.release.pk).steps] == [date(2026, 7, 1)]


def tallied() -> list[questions.Found]:
    """Return what of the tallies does not agree with the deployments; these have no commands."""
    found = questions.everything(gateway=object())
    return [one for one in found if one.kind == Mismatch.TALLY]


class TestReconciliation:
    def test_finds_nothing_where_all_agrees(self, rolled_out: World) -> None:
        assert not questions.counters()
        tallies.fold(limit=1_000)
        assert not questions.counters()
        assert not tallied()

    def test_finds_and_mends_an_outcome_of_another_day(self, rolled_out: World) -> None:
        tallies.fold(limit=1_000)
        OutcomeTally.objects.filter(state=State.SUCCEEDED).update(day=date(2020, 1, 1))

        assert {one.words for one in questions.counters()} == {
            "5 in the tally, 0 in the lots.",
            "0 in the tally, 5 in the lots.",
        }
        reconciliation.mend(by=None, now=rolled_out.clock())
        assert not questions.counters()

    def test_finds_and_mends_an_outcome_with_another_reason(self, rolled_out: World) -> None:
        tallies.fold(limit=1_000)
        OutcomeTally.objects.filter(state=State.FAILED).update(ending=Ending.HASH_MISMATCH)

        assert not questions.counters()  # the lots know no reasons
        assert len(tallied()) == 2
        reconciliation.mend(by=None, now=rolled_out.clock())
        assert not tallied()
        assert kept() == TRUTH


class TestRollout:
    @pytest.mark.parametrize("is_folded", [True, False])
    def test_says_what_was_commanded_and_what_became_of_it(self, rolled_out: World, is_folded: bool) -> None:
        if is_folded:
            tallies.fold(limit=1_000)

        found = outcomes.rollout(release=rolled_out.release.pk)

        assert found.steps == [outcomes.Step(day_of(rolled_out.slots[0]), 9, 5, 3)]
        assert found.steps[0].waiting == 1

    def test_is_the_sum_that_the_control_room_says(self, rolled_out: World) -> None:
        failed = Deployment.objects.filter(state=State.STAGED).earliest("id")
        Deployment.objects.filter(pk=failed.pk).update(state=State.HELD)
        shown = control_room.rolling_out()
        [situation] = control_room.situations(shown=shown, now=rolled_out.clock())

        [step] = outcomes.rollout(release=rolled_out.release.pk).steps

        national = situation.national
        assert (step.commanded, step.succeeded, step.bad) == (
            national.activated,
            national.succeeded,
            national.bad,
        )

    def test_leaves_out_what_failed_before_anything_was_activated(self, world: World) -> None:
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=1)
        world.book()
        Deployment.objects.update(state=State.STAGING)
        Deployment.objects.update(
            state=State.FAILED, ending=Ending.TRANSFER_FAILED, ended_at=world.clock(), next_at=None
        )

        assert outcomes.rollout(release=world.release.pk).steps == []

    def test_has_no_gap_between_its_days(self, rolled_out: World) -> None:
        tallies.fold(limit=1_000)
        first = day_of(rolled_out.slots[0])
        row = OutcomeTally.objects.get(state=State.SUCCEEDED)
        OutcomeTally.objects.create(**facts(row), day=first + timedelta(days=3), hubs=7)

        found = outcomes.rollout(release=rolled_out.release.pk)

        assert [step.day - first for step in found.steps] == [timedelta(days=days) for days in range(4)]
        assert [step.commanded for step in found.steps] == [9, 0, 0, 7]
        assert not found.is_weekly

    def test_goes_by_weeks_where_it_took_long(self, rolled_out: World) -> None:
        tallies.fold(limit=1_000)
        first = day_of(rolled_out.slots[0])
        row = OutcomeTally.objects.get(state=State.SUCCEEDED)
        OutcomeTally.objects.create(**facts(row), day=first + timedelta(days=100), hubs=7)

        found = outcomes.rollout(release=rolled_out.release.pk)

        assert found.is_weekly
        assert {step.day.weekday() for step in found.steps} == {0}
        assert (found.steps[0].commanded, found.steps[-1].commanded) == (9, 7)
        assert sum(step.commanded for step in found.steps) == 16


def facts(row: OutcomeTally) -> dict[str, object]:
    """Return what another row is of, beside its day."""
    names = ("release_id", "supplier_id", "network_id", "model_id", "state", "ending", "is_activated")
    return {name: getattr(row, name) for name in names}


class TestResults:
    @pytest.mark.parametrize("is_folded", [True, False])
    def test_tell_a_suppliers_hubs_by_week_network_and_model(
        self, rolled_out: World, is_folded: bool
    ) -> None:
        if is_folded:
            tallies.fold(limit=1_000)

        found = outcomes.results(supplier=rolled_out.northern, release=rolled_out.release)

        [result] = found.by_week
        assert result.week == outcomes.monday(day_of(rolled_out.slots[0]))
        assert (result.network, result.model) == (rolled_out.network.name, rolled_out.model.name)
        assert result.by_state == {
            State.ACTIVATING: 1,
            State.SUCCEEDED: 5,
            State.FAILED: 2,
            State.UNCONFIRMED: 1,
            State.MISSED: 1,
        }
        assert result.ended == 9
        assert {(one.ending, one.hubs) for one in found.reasons} == {
            (Ending.WRONG_VERSION, 2),
            (Ending.SILENT, 1),
            (Ending.UNREACHABLE, 1),
        }

    def test_are_nobody_elses(self, rolled_out: World) -> None:
        tallies.fold(limit=1_000)

        assert outcomes.results(supplier=rolled_out.southern, release=rolled_out.release).by_week == []
        assert list(outcomes.with_results(supplier=rolled_out.southern)) == []
        assert list(outcomes.with_results(supplier=rolled_out.northern)) == [rolled_out.release]
