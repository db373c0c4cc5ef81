"""Stages and budgets: what is in flight, stage by stage, and what the database refuses."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from firmware.models import FirmwareRelease, Halt, Part, ReleaseState
from firmware.operations import decisions
from portal.ground import sql
from scheduling.lifecycle import State
from scheduling.models import Deployment, InFlight, LateLook, Lot, Stage, TallyChange
from scheduling.operations import stages
from scheduling.queries import evidence, turns
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.test_early_warning import publish_another
from tests.scheduling.test_races import at_once
from tests.scheduling.world import World

HUBS = 6


@pytest.fixture
def staged(world: World) -> World:
    """Six hubs of one model that are staged, none of which is in flight."""
    world.hubs(HUBS)
    world.slot(start=timedelta(hours=5), room=10)
    world.book()
    for state in (State.STAGING, State.STAGED):
        Deployment.objects.update(state=state)
    stages.open_first(release=world.release.pk, now=world.clock())
    return world


def activate(hubs: int, *, stage: int = 1) -> None:
    """Admit so many staged hubs in a stage."""
    chosen = Deployment.objects.filter(state=State.STAGED).order_by("id")[:hubs]
    Deployment.objects.filter(pk__in=[one.pk for one in chosen]).update(state=State.ACTIVATING, stage=stage)


def resolve(hubs: int, *, world: World, state: State = State.SUCCEEDED) -> None:
    """Let so many hubs that are being activated end."""
    chosen = Deployment.objects.filter(state=State.ACTIVATING).order_by("id")[:hubs]
    Deployment.objects.filter(pk__in=[one.pk for one in chosen]).update(
        state=state, ended_at=world.clock(), next_at=None
    )


def numbers(**terms: object) -> tuple[int, int, int, int]:
    """Return what is in flight and resolved of the release, and what the stage has admitted and resolved."""
    in_flight = InFlight.objects.get()
    stage = Stage.objects.get(**{"number": 1, **terms})
    return in_flight.activating, in_flight.resolved, stage.admitted, stage.resolved


def set_sizes(world: World, *sizes: int) -> None:
    """Give the release other stages, and open none of them."""
    Stage.objects.all().delete()
    world.release.policy.stage_sizes = list(sizes)
    world.release.policy.save()


class TestOpenFirst:
    def test_takes_the_figures_of_the_policy(self, world: World) -> None:
        InFlight.objects.all().delete()
        Stage.objects.all().delete()
        stages.open_first(release=world.release.pk, now=world.clock())

        in_flight, stage = InFlight.objects.get(), Stage.objects.get()
        assert (in_flight.floor, in_flight.percent, in_flight.ceiling) == (50, 10, 10_000)
        assert (stage.release, stage.model, stage.number) == (world.release, world.model, 1)
        assert (stage.size, stage.opened_at, stage.full_at, stage.closed_at) == (
            50,
            world.clock(),
            None,
            None,
        )

    def test_opens_a_stage_for_each_model(self, world: World) -> None:
        other = factories.HubModelFactory.create()
        world.release.hub_models.add(other)

        stages.open_first(release=world.release.pk, now=world.clock())

        assert set(Stage.objects.values_list("model", flat=True)) == {world.model.pk, other.pk}

    def test_opens_one_without_limit_where_the_policy_has_no_stages(self, world: World) -> None:
        set_sizes(world)
        stages.open_first(release=world.release.pk, now=world.clock())
        assert Stage.objects.get().size is None

    def test_does_nothing_the_second_time(self, staged: World) -> None:
        activate(2)
        stages.open_first(release=staged.release.pk, now=staged.clock())
        assert numbers() == (2, 0, 2, 0)


class TestLock:
    def test_says_what_may_still_go(self, staged: World) -> None:
        activate(2)
        budget = stages.lock(release=staged.release.pk, now=staged.clock())
        assert budget == stages.Budget(48, {staged.model.pk: stages.OpenStage(1, 48)})

    def test_opens_what_nobody_has_opened(self, world: World) -> None:
        InFlight.objects.all().delete()
        Stage.objects.all().delete()
        budget = stages.lock(release=world.release.pk, now=world.clock())
        assert budget == stages.Budget(50, {world.model.pk: stages.OpenStage(1, 50)})

    def test_grows_with_what_is_resolved_up_to_the_ceiling(self, staged: World) -> None:
        InFlight.objects.update(resolved=700)
        assert stages.lock(release=staged.release.pk, now=staged.clock()).room == 70
        InFlight.objects.update(ceiling=60)
        assert stages.lock(release=staged.release.pk, now=staged.clock()).room == 60

    def test_has_no_limit_in_a_stage_without_one(self, world: World) -> None:
        set_sizes(world)
        stages.open_first(release=world.release.pk, now=world.clock())
        budget = stages.lock(release=world.release.pk, now=world.clock())
        assert budget.stages[world.model.pk] == stages.OpenStage(1, None)

    def test_has_no_stage_for_a_model_whose_stage_is_closed(self, staged: World) -> None:
        Stage.objects.update(size=2, admitted=2, resolved=2, full_at=staged.clock(), closed_at=staged.clock())
        assert stages.lock(release=staged.release.pk, now=staged.clock()).stages == {}


class TestAdvance:
    @pytest.fixture
    def short(self, world: World) -> World:
        """Staged hubs of a release with stages of one and of two."""
        set_sizes(world, 1, 2)
        world.hubs(HUBS)
        world.slot(start=timedelta(hours=5), room=10)
        world.book()
        for state in (State.STAGING, State.STAGED):
            Deployment.objects.update(state=state)
        stages.advance(now=world.clock())
        return world

    def test_opens_what_published_releases_lack_and_no_other(self, world: World) -> None:
        InFlight.objects.all().delete()
        Stage.objects.all().delete()
        draft = factories.FirmwareReleaseFactory.create()
        factories.RolloutPolicyFactory.create(release=draft)
        draft.hub_models.add(world.model)

        assert stages.advance(now=world.clock()) == 0

        assert InFlight.objects.get().release == Stage.objects.get().release == world.release

    def test_waits_for_the_last_outcome_and_opens_the_next_size_and_then_the_last_again(
        self, short: World
    ) -> None:
        for number, size in ((1, 1), (2, 2), (3, 2)):
            activate(size, stage=number)
            opened = short.clock()
            assert stages.advance(now=opened) == 0
            resolve(size - 1, world=short)
            assert stages.advance(now=short.clock.move(minutes=1)) == 0
            resolve(1, world=short, state=State.UNCONFIRMED if number == 1 else State.SUCCEEDED)
            now = short.clock.move(minutes=1)
            assert stages.advance(now=now) == 1
            assert stages.advance(now=now) == 0
            stage = Stage.objects.get(number=number)
            assert (stage.size, stage.full_at, stage.closed_at) == (size, opened, now)
        assert list(Stage.objects.filter(closed_at=None).values_list("number", "size")) == [(4, 2)]

    def test_lets_the_stages_of_the_policy_soak_from_their_last_admission_and_tranches_not(
        self, short: World
    ) -> None:
        short.release.policy.soak = "2 hours"
        short.release.policy.save()
        for number, size, soak in ((1, 1, 2), (2, 2, 2), (3, 2, 0)):
            activate(size, stage=number)
            assert stages.advance(now=short.clock.move(minutes=1)) == 0
            resolve(size, world=short)
            full = short.clock()
            if soak:
                assert stages.advance(now=full + timedelta(hours=soak, seconds=-1)) == 0
            short.clock.moment = full + timedelta(hours=soak)
            if soak:  # what it was for: to look at them again
                assert stages.advance(now=short.clock()) == 0
                assert LateLook.objects.filter(stage=number).update(looks=1) == size
            assert stages.advance(now=short.clock()) == 1

    def test_waits_for_nobody_to_look_where_a_network_is_halted(self, short: World) -> None:
        short.release.policy.soak = "2 hours"
        short.release.policy.save()
        activate(1)
        resolve(1, world=short)
        for _ in range(2):
            assert stages.advance(now=short.clock()) == 0
            short.clock.move(hours=3)
        assert stages.advance(now=short.clock()) == 0
        part = Part(network=short.network)
        decisions.halt(release=short.release, by=None, reason="Silent.", now=short.clock(), part=part)
        assert stages.advance(now=short.clock()) == 1

    @pytest.mark.parametrize(("on_halted", "size"), [(4, 4), (3, 4), (2, 6)])
    def test_tries_the_same_size_again_where_hardly_anybody_could_be_judged(
        self, world: World, on_halted: int, size: int
    ) -> None:
        """Of four hubs, so many are on a network that was paused meanwhile, and what they say is left out."""
        set_sizes(world, 4, 6)
        elsewhere = factories.NetworkFactory.create(name="Elsewhere")
        world.hubs(HUBS)
        world.slot(start=timedelta(hours=5), room=10)
        world.book()
        moved = Lot.objects.get()
        for state in (State.STAGING, State.STAGED):
            Deployment.objects.update(state=state)
        stages.advance(now=world.clock())
        activate(4 - on_halted)
        resolve(4 - on_halted, world=world)
        Lot.objects.filter(pk=moved.pk).update(network=elsewhere)
        activate(on_halted)
        resolve(on_halted, world=world, state=State.UNCONFIRMED)
        for network in (elsewhere, world.network):
            Halt.objects.create(
                release=world.release,
                network=network,
                reason="Silent.",
                halted_at=world.clock(),
                lifted_at=None if network == elsewhere else world.clock() - timedelta(hours=9),
                lifted_by=None if network == elsewhere else world.staff,
            )
        [line] = turns.lines(release=world.release.pk, now=world.clock())
        assert line.forecast.openings[0].size == size

        assert stages.advance(now=world.clock.move(minutes=1)) == 1

        stage = Stage.objects.get(closed_at=None)
        assert (stage.number, stage.size, stage.episode) == (2, size, 1)

    def test_goes_on_with_the_others_where_one_cannot_be_looked_at(
        self, short: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = publish_another(short)
        stages.advance(now=short.clock())
        for release in (short.release, other):
            Stage.objects.filter(release=release).update(
                size=0, full_at=short.clock()
            )  # nobody is left to wait for
        look = evidence.look

        def failing(*, release: int, now: datetime) -> evidence.Look:
            if release == short.release.pk:
                sql.rows("SELECT 1 / 0", {})
            return look(release=release, now=now)

        monkeypatch.setattr(evidence, "look", failing)
        assert stages.advance(now=short.clock()) == 1
        assert list(Stage.objects.filter(number=2).values_list("release", flat=True)) == [other.pk]

    def waiting(self, world: World, *, tokens: Sequence[int]) -> list[int]:
        """Let a lot wait for each token, due in a while; return their ids."""
        for number in range(1, len(tokens)):
            world.hubs(1)
            world.slot(start=timedelta(hours=5 + number), room=1)
            world.book()
        lots = list(Lot.objects.order_by("id").values_list("id", flat=True))
        later = world.clock() + timedelta(minutes=10)
        for lot, token in zip(lots, tokens, strict=True):
            Lot.objects.filter(pk=lot).update(waits=True, token=token, due_at=later)
        return lots

    def woken(self, world: World) -> set[int]:
        stages.advance(now=world.clock())
        assert not Lot.objects.filter(waits=True, due_at__lte=world.clock()).exists()
        return set(Lot.objects.filter(due_at__lte=world.clock()).values_list("id", flat=True))

    def test_wakes_some_of_those_that_wait_where_room_is_left(self, short: World) -> None:
        lots = self.waiting(short, tokens=(5, 4, 4))
        assert self.woken(short) == {lots[1]}
        assert self.woken(short) == {lots[1], lots[2]}
        assert self.woken(short) == set(lots)

    @pytest.mark.parametrize("lacks", ["room", "release", "stage"])
    def test_wakes_nobody_who_could_not_go(self, short: World, lacks: str) -> None:
        self.waiting(short, tokens=(1,))
        if lacks == "room":
            InFlight.objects.update(floor=0, percent=0)
        elif lacks == "stage":
            activate(1)
        else:
            decisions.halt(release=short.release, by=short.staff, reason="Trouble", now=short.clock())
        assert self.woken(short) == set()

    def test_leaves_the_stages_of_a_halted_release(self, short: World) -> None:
        activate(1)
        resolve(1, world=short)
        decisions.halt(release=short.release, by=short.staff, reason="Odd reports.", now=short.clock())

        assert stages.advance(now=short.clock()) == 0

        FirmwareRelease.objects.update(state=ReleaseState.PUBLISHED)
        assert stages.advance(now=short.clock()) == 1

    def test_takes_a_stage_for_full_no_longer_when_a_hub_comes_back(self, short: World) -> None:
        activate(1)
        stages.advance(now=short.clock())
        Deployment.objects.filter(state=State.ACTIVATING).update(state=State.STAGED, stage=0)
        stage = Stage.objects.get()
        assert (stage.admitted, stage.full_at) == (0, None)


class TestTheDatabase:
    def test_counts_what_comes_and_what_ends(self, staged: World) -> None:
        activate(4)
        assert numbers() == (4, 0, 4, 0)
        for state, left in ((State.SUCCEEDED, 3), (State.FAILED, 2), (State.UNCONFIRMED, 1)):
            resolve(1, world=staged, state=state)
            assert numbers() == (left, 4 - left, 4, 4 - left)

    def test_takes_back_what_surely_was_not_contacted(self, staged: World) -> None:
        activate(4)
        Deployment.objects.filter(state=State.ACTIVATING).update(state=State.STAGED)
        assert numbers() == (0, 0, 0, 0)
        assert set(Deployment.objects.values_list("stage", flat=True)) == {0}

    def test_refuses_an_activation_in_no_stage(self, staged: World) -> None:
        with pytest.raises(IntegrityError, match="activated in no stage"), transaction.atomic():
            activate(1, stage=0)

    def test_counts_different_moves_in_one_statement(self, staged: World) -> None:
        activate(4)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE scheduling_deployment deployment SET state = wanted.state, stage = wanted.stage,
                    ended_at = CASE WHEN wanted.state = 'succeeded' THEN %(now)s::timestamptz END,
                    next_at = CASE WHEN wanted.state <> 'succeeded' THEN %(now)s::timestamptz END
                FROM (SELECT id, (ARRAY['succeeded', 'staged', 'staged', 'activating', 'activating', 'staged'])[n]
                                 AS state,
                             (ARRAY[1, 0, 0, 1, 1, 0])[n] AS stage
                      FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM scheduling_deployment) numbered) wanted
                WHERE wanted.id = deployment.id
                """,
                {"now": staged.clock()},
            )
        assert numbers() == (2, 1, 3, 1)

    def test_counts_each_stage_and_model_for_itself(self, staged: World) -> None:
        other = factories.HubModelFactory.create()
        staged.release.hub_models.add(other)
        stages.advance(now=staged.clock())
        Stage.objects.create(
            release=staged.release, model=staged.model, number=2, opened_at=staged.clock(),
            size=1, admitted=1, resolved=1, full_at=staged.clock(), closed_at=staged.clock(),
        )  # fmt: skip
        activate(3)
        assert numbers(model=staged.model) == (3, 0, 3, 0)
        assert numbers(model=other) == (3, 0, 0, 0)
        assert numbers(number=2) == (3, 0, 1, 1)

    def test_refuses_more_in_flight_than_the_budget(self, staged: World) -> None:
        InFlight.objects.update(floor=2)
        activate(2)
        with pytest.raises(IntegrityError, match="in_flight_within_budget"), transaction.atomic():
            activate(1)
        resolve(1, world=staged)
        activate(1)
        with pytest.raises(IntegrityError, match="in_flight_within_budget"), transaction.atomic():
            InFlight.objects.update(activating=3)

    def test_lets_the_budget_grow_by_percent_and_no_further_than_the_ceiling(self, world: World) -> None:
        stages.open_first(release=world.release.pk, now=world.clock())
        InFlight.objects.update(resolved=999, activating=99)
        with pytest.raises(IntegrityError, match="in_flight_within_budget"), transaction.atomic():
            InFlight.objects.update(activating=100)
        InFlight.objects.update(resolved=10**9, activating=10_000)
        with pytest.raises(IntegrityError, match="in_flight_within_budget"), transaction.atomic():
            InFlight.objects.update(activating=10_001)

    def test_refuses_more_than_the_stage_takes(self, staged: World) -> None:
        Stage.objects.update(size=2)
        activate(2)
        with pytest.raises(IntegrityError, match="stage_never_over_its_size"), transaction.atomic():
            activate(1)

    def test_refuses_a_stage_that_is_not_there(self, staged: World) -> None:
        with pytest.raises(IntegrityError, match="stage that is not there"), transaction.atomic():
            activate(1, stage=2)

    def test_refuses_what_has_no_budget(self, staged: World) -> None:
        InFlight.objects.all().delete()
        with pytest.raises(IntegrityError, match="without a budget"), transaction.atomic():
            activate(1)

    def test_refuses_another_stage_for_what_is_in_flight(self, staged: World) -> None:
        activate(1)
        under_way = Deployment.objects.filter(state=State.ACTIVATING)
        for change in (
            {"stage": 2},
            {"state": State.SUCCEEDED, "stage": 2, "ended_at": staged.clock(), "next_at": None},
        ):
            with pytest.raises(IntegrityError, match="cannot"), transaction.atomic():
                under_way.update(**change)
        with pytest.raises(IntegrityError, match="cannot go from stage 0 to 1"), transaction.atomic():
            Deployment.objects.filter(state=State.STAGED).update(state=State.HELD, stage=1)

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"number": 0}, "stage_numbers_begin_at_1"),
            ({"resolved": 1}, "stage_resolves_what_was_admitted"),
            ({"full_at": F("opened_at")}, "stage_full_at_its_size"),
            ({"closed_at": F("opened_at")}, "stage_closed_when_all_resolved"),
            (
                {"size": 1, "admitted": 1, "full_at": F("opened_at"), "closed_at": F("opened_at")},
                "stage_closed_when_all_resolved",
            ),
            ({"size": None, "closed_at": F("opened_at")}, "stage_closed_when_all_resolved"),
        ],
    )
    def test_refuses_stages_that_cannot_be(
        self, staged: World, change: dict[str, Any], constraint: str
    ) -> None:
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            Stage.objects.update(**change)

    def test_refuses_two_open_stages_of_a_model(self, staged: World) -> None:
        with pytest.raises(IntegrityError, match="stage_one_open_per_model"), transaction.atomic():
            Stage.objects.create(
                release=staged.release, model=staged.model, number=2, opened_at=staged.clock()
            )

    def test_writes_nothing_where_no_state_changes(self, staged: World) -> None:
        TallyChange.objects.all().delete()
        assert Deployment.objects.update(moved_at=staged.clock.move(minutes=1)) == HUBS
        assert not TallyChange.objects.exists()


class TestRaces:
    @pytest.fixture
    def world(self, transactional_db: None, now: datetime) -> World:
        """Return the world, committed, so that every connection sees it."""
        return worlds.make(now=now)

    def test_open_one_stage_however_many_advance_at_once(self, world: World) -> None:
        set_sizes(world, 1, 5)
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=1)
        world.book()
        for state in (State.STAGING, State.STAGED):
            Deployment.objects.update(state=state)

        results = at_once(*[lambda: stages.advance(now=world.clock()) for _ in range(8)])
        assert results == [0] * 8
        activate(1)
        resolve(1, world=world)
        results = at_once(*[lambda: stages.advance(now=world.clock()) for _ in range(8)])

        assert sum(results) == 1
        assert list(Stage.objects.order_by("number").values_list("number", "size")) == [(1, 1), (2, 5)]
