"""The counters of deployments: always what the deployments say, folded or not."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from scheduling.lifecycle import FINAL, State
from scheduling.models import LOT_SPAN, Deployment, Lot, Tally, TallyChange
from scheduling.operations import stages, tallies
from scheduling.queries import counters
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.test_races import at_once
from tests.scheduling.test_stages import activate, resolve
from tests.scheduling.world import World


def true_counts(key: str) -> Mapping[int, Mapping[str, int]]:
    """Count the deployments themselves by what their lots or they say."""
    lots = Lot.objects.in_bulk()
    found: dict[int, Counter[str]] = {}
    for one in Deployment.objects.all():
        which = getattr(one if key in ("model_id", "stage") else lots[one.lot_id], key)
        found.setdefault(which, Counter())[one.state] += 1
    return found


def assert_true(world: World) -> None:
    """Hold every counter against the deployments."""
    release = world.release.pk
    assert counters.by_release(releases=[release]) == true_counts("release_id")
    assert counters.by_network(release=release) == true_counts("network_id")
    assert counters.by_model(release=release) == true_counts("model_id")
    assert counters.by_stage(release=release) == true_counts("stage")


@pytest.fixture
def booked(world: World) -> World:
    """Hubs of two models in two slots, one of them shared."""
    world.hubs(3)
    world.shared(2)
    other = factories.HubModelFactory.create()
    world.release.hub_models.add(other)
    world.hubs(2, model=other)
    world.slot(start=timedelta(hours=100), room=4)
    world.slot(start=timedelta(hours=5), room=10)
    world.book()
    return world


class TestTheCounters:
    def test_say_what_was_booked(self, booked: World) -> None:
        assert_true(booked)
        [counts] = counters.by_release(releases=[booked.release.pk]).values()
        assert counts == {State.BOOKED: 5, State.PROVISIONAL: 2}

    def test_follow_every_move(self, booked: World) -> None:
        stages.advance(now=booked.clock())
        Deployment.objects.filter(state=State.BOOKED).update(state=State.STAGING)
        assert_true(booked)
        Deployment.objects.filter(state=State.STAGING).update(state=State.STAGED)
        activate(4)
        assert_true(booked)
        tallies.fold(limit=3)
        resolve(2, world=booked)
        assert_true(booked)
        Deployment.objects.filter(state=State.ACTIVATING).update(state=State.STAGED, stage=0)
        assert_true(booked)

    def test_are_nothing_for_a_release_without_deployments(self, world: World) -> None:
        assert counters.by_release(releases=[world.release.pk]) == {}


class TestFold:
    def test_changes_no_sum_and_leaves_no_change(self, booked: World) -> None:
        Deployment.objects.filter(state=State.BOOKED).update(state=State.STAGING)
        before = TallyChange.objects.count()
        assert before > 2

        assert tallies.fold(limit=2) == 2
        assert_true(booked)
        assert tallies.fold(limit=1_000) == before - 2
        assert_true(booked)
        assert tallies.fold(limit=1_000) == 0

        assert not TallyChange.objects.exists()
        assert sum(Tally.objects.values_list("hubs", flat=True)) == Deployment.objects.count()


class TestFoldingAtOnce:
    @pytest.fixture
    def world(self, transactional_db: None, now: datetime) -> World:
        """Return the world, committed, so that every connection sees it."""
        return worlds.make(now=now)

    def test_counts_each_change_once(self, booked: World) -> None:
        for state in (State.STAGING, State.STAGED, State.MISSED):
            done = {"ended_at": booked.clock(), "next_at": None} if state == State.MISSED else {}
            for one in Deployment.objects.exclude(state=State.PROVISIONAL):
                Deployment.objects.filter(pk=one.pk).update(state=state, **done)
        changes = TallyChange.objects.count()

        results = at_once(*[lambda: tallies.fold(limit=5) for _ in range(8)])

        assert sum(result for result in results if isinstance(result, int)) == min(changes, 40)
        assert_true(booked)


class TestTheDatabase:
    @pytest.mark.parametrize("state", [state for state in State if state not in ("provisional", "booked")])
    def test_lets_a_deployment_begin_at_its_beginning_alone(self, booked: World, state: State) -> None:
        [hub] = booked.hubs(1)
        lot = Lot.objects.earliest("id")
        ended = {"ended_at": booked.clock()} if state in FINAL else {"next_at": booked.clock()}
        with pytest.raises(IntegrityError, match=f"cannot begin as {state}"), transaction.atomic():
            Deployment.objects.create(
                id=lot.pk * LOT_SPAN + 2_000, hub=hub, model=hub.model, state=state, moved_at=booked.clock(), **ended
            )  # fmt: skip

    def test_lets_no_deployment_begin_in_a_stage_or_without_a_lot(self, booked: World) -> None:
        [hub] = booked.hubs(1)
        lot = Lot.objects.latest("id").pk
        facts = {"hub": hub, "model": hub.model, "moved_at": booked.clock(), "next_at": booked.clock()}
        with pytest.raises(IntegrityError, match="cannot begin"), transaction.atomic():
            Deployment.objects.create(id=lot * LOT_SPAN + 2_000, stage=1, **facts)
        with pytest.raises(IntegrityError, match="has no lot"), transaction.atomic():
            Deployment.objects.create(id=(lot + 1) * LOT_SPAN, **facts)

    @pytest.mark.parametrize("statement", ["DELETE FROM", "TRUNCATE"])
    def test_keeps_every_deployment(self, booked: World, statement: str) -> None:
        with (
            connection.cursor() as cursor,
            pytest.raises(IntegrityError, match="never deleted"),
            transaction.atomic(),
        ):
            cursor.execute(f"{statement} scheduling_deployment")

    def test_keeps_each_in_its_lot_for_its_hub(self, booked: World) -> None:
        one = Deployment.objects.earliest("id")
        [other] = booked.hubs(1, model=factories.HubModelFactory.create())
        for change in ({"id": one.pk + 1_000}, {"hub": other}, {"model": other.model}):
            with pytest.raises(IntegrityError, match="never change"), transaction.atomic():
                Deployment.objects.filter(pk=one.pk).update(**change)
        Deployment.objects.filter(pk=one.pk).update(hub=one.hub_id, model=one.model_id)
        with pytest.raises(IntegrityError, match="deployment_stage_from_0"), transaction.atomic():
            Deployment.objects.filter(pk=one.pk).update(stage=-1)
