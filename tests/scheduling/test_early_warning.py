"""The early warning: what is counted against a release, and that it stops."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from firmware.models import WHOLE, FirmwareRelease, Halt, Part, ReleaseState
from firmware.operations import decisions
from hubs.gateway import Outcome, Phase, Report, connect
from hubs.modelled_fleet.models import CommandLog, Defect, FleetHub
from hubs.models import FirmwareVersion, Network
from scheduling import breaker
from scheduling.lifecycle import Ending, State
from scheduling.models import (
    Command,
    Deployment,
    Evidence,
    InFlight,
    Lot,
    Stage,
    TallyChange,
    WarningSign,
)
from scheduling.operations import deployments, halts, stages
from scheduling.queries import evidence, reconciliation
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.rows import add_command
from tests.scheduling.world import World

HUBS = 60


@pytest.fixture
def world(world: World) -> World:
    """A release of which as many hubs may be bad as of any: 0.75 %."""
    world.release.policy.tolerated_bad_percent = "0.75"
    world.release.policy.save()
    return world


@pytest.fixture
def staged(world: World) -> World:
    """Sixty staged hubs of one model, the first fifty of which may be activated."""
    return stage(world, HUBS)


def stage(world: World, hubs: int, **facts: Any) -> World:
    """Book so many hubs more, and stage them."""
    world.hubs(hubs, **facts)
    world.slot(start=timedelta(hours=5 + Lot.objects.count()), room=hubs)
    world.book()
    for source, target in ((State.BOOKED, State.STAGING), (State.STAGING, State.STAGED)):
        Deployment.objects.filter(state=source).update(state=target)
    stages.open_first(release=world.release.pk, now=world.clock())
    return world


def activate(hubs: int, *, stage: int = 1, **which: Any) -> None:
    """Admit so many staged hubs in a stage."""
    chosen = Deployment.objects.filter(state=State.STAGED, **which).order_by("id")[:hubs]
    keys = [one.pk for one in chosen]
    assert len(keys) == hubs
    Deployment.objects.filter(pk__in=keys).update(state=State.ACTIVATING, stage=stage)


def end(hubs: int, *, world: World, state: State, ending: Ending = Ending.NONE, **which: Any) -> None:
    """Let so many hubs that are being activated end."""
    chosen = Deployment.objects.filter(state=State.ACTIVATING, **which).order_by("id")[:hubs]
    keys = [one.pk for one in chosen]
    assert len(keys) == hubs
    Deployment.objects.filter(pk__in=keys).update(
        state=state, ending=ending, ended_at=world.clock(), next_at=None
    )


def silence(hubs: int) -> None:
    """Let so many hubs that are being activated be silent at their deadline."""
    chosen = Deployment.objects.filter(state=State.ACTIVATING, silent=False).order_by("id")[:hubs]
    Deployment.objects.filter(pk__in=[one.pk for one in chosen]).update(silent=True)


def resume(world: World) -> None:
    """Have two people resume the release."""
    world.resume(reason="Understood.")


def publish_another(world: World) -> FirmwareRelease:
    """Publish a release for another model beside the world's own."""
    factories.FirmwareVersionFactory.create(number=worlds.NEW + 1)
    return worlds.publish(
        model=factories.HubModelFactory.create(),
        network=world.network,
        staff=world.staff,
        approver=world.approver,
        now=world.clock(),
        version=worlds.NEW + 1,
    )


def state(world: World) -> str:
    """Return the state of the world's release."""
    return FirmwareRelease.objects.get(pk=world.release.pk).state


def of_model(world: World) -> evidence.Watched:
    """Return what the hubs of the world's own model say."""
    [one] = [
        one
        for one in evidence.look(release=world.release.pk, now=world.clock()).watched
        if one.model == world.model.pk
    ]
    return one


class TestLook:
    def test_has_a_stream_for_each_model_and_for_each_network_with_hubs(self, staged: World) -> None:
        found = evidence.look(release=staged.release.pk, now=staged.clock())
        assert [(one.model, one.network, one.stream.hubs) for one in found.watched] == [
            (staged.model.pk, None, 0)
        ]
        assert found.worst is None
        assert not found.stops

        activate(1)
        found = evidence.look(release=staged.release.pk, now=staged.clock())
        assert [(one.model, one.network, one.stream.hubs) for one in found.watched] == [
            (staged.model.pk, None, 1),
            (None, staged.network.pk, 1),
        ]

    def test_counts_good_bad_and_waiting_hubs(self, staged: World) -> None:
        activate(20)
        end(5, world=staged, state=State.SUCCEEDED)
        end(2, world=staged, state=State.FAILED, ending=Ending.WRONG_VERSION)
        end(1, world=staged, state=State.UNCONFIRMED, ending=Ending.SILENT)
        assert of_model(staged).stream == breaker.Stream(good=5, bad=3, waiting=12)

    def test_takes_a_hub_that_is_silent_at_its_deadline_for_bad_until_it_is_read(self, staged: World) -> None:
        activate(10)
        silence(4)
        assert of_model(staged).stream == breaker.Stream(good=0, bad=4, waiting=6)
        end(1, world=staged, state=State.SUCCEEDED, silent=True)
        assert of_model(staged).stream == breaker.Stream(good=1, bad=3, waiting=6)
        end(1, world=staged, state=State.UNCONFIRMED, ending=Ending.SILENT, silent=True)
        assert of_model(staged).stream == breaker.Stream(good=1, bad=3, waiting=6)

    def test_divides_the_false_alarms_among_all_models_and_networks(self, staged: World) -> None:
        activate(1)
        assert of_model(staged).reading == breaker.read(
            stream=breaker.Stream(0, 0, 1), tolerated=0.0075, episode=1, streams=3
        )

    def test_adds_up_the_stages_of_an_episode(self, staged: World) -> None:
        Stage.objects.update(size=2)
        activate(2)
        end(2, world=staged, state=State.SUCCEEDED)
        stages.advance(now=staged.clock())
        activate(3, stage=2)
        assert of_model(staged).stream == breaker.Stream(good=2, bad=0, waiting=3)
        assert of_model(staged).episode == 1

    def test_begins_anew_with_each_tranche_after_the_sizes_of_the_policy(self, world: World) -> None:
        world.release.policy.stage_sizes = [2, 3]
        world.release.policy.save()
        Stage.objects.all().delete()
        stage(world, 20)
        seen = []
        for number, size in ((1, 2), (2, 3), (3, 3), (4, 3)):
            opened = Stage.objects.get(closed_at=None)
            assert (opened.number, opened.step, opened.size) == (number, number, size)
            assert opened.episode == breaker.tranche(stage=number, sizes=2)
            activate(size, stage=number)
            end(size, world=world, state=State.SUCCEEDED)
            found = evidence.look(release=world.release.pk, now=world.clock())
            seen.append([(one.episode, one.stream.good) for one in found.watched])
            assert stages.advance(now=world.clock()) == 1
        assert seen == [[(1, 2)] * 2, [(1, 5)] * 2, [(2, 3)] * 2, [(3, 3)] * 2]

    def test_counts_the_episodes_of_all_models_for_a_network(self, staged: World) -> None:
        other = factories.HubModelFactory.create()
        staged.release.hub_models.add(other)
        stages.open_first(release=staged.release.pk, now=staged.clock())
        Stage.objects.filter(model=other).update(episode=3)
        Stage.objects.filter(model=staged.model).update(episode=2)
        activate(1)
        found = evidence.look(release=staged.release.pk, now=staged.clock())
        assert {(one.model, one.network): one.episode for one in found.watched} == {
            (staged.model.pk, None): 2,
            (other.pk, None): 3,
            (None, staged.network.pk): 4,
        }

    def test_tells_refusals_of_the_image_from_other_failures(self, staged: World) -> None:
        activate(6)
        for ending, refused in (
            (Ending.ACTIVATION_FAILED, 0),
            (Ending.HASH_MISMATCH, 1),
            (Ending.WRONG_HARDWARE, 2),
        ):
            end(1, world=staged, state=State.FAILED, ending=ending)
            assert evidence.look(release=staged.release.pk, now=staged.clock()).refused == refused


class TestTheSecondLook:
    """Hubs that were commanded a deadline ago, by themselves: new ones that count as good do not hide them."""

    @pytest.fixture
    def silent(self, world: World) -> World:
        """Forty hubs commanded two and a half hours ago, three of which are silent; 400 others a minute ago."""
        Stage.objects.all().delete()
        world.release.policy.stage_sizes = [1_000]
        world.release.policy.in_flight_floor = 500
        world.release.policy.save()
        InFlight.objects.all().delete()
        stage(world, 440)
        activate(40)
        self.command(world)
        world.clock.move(minutes=2)
        halts.watch(now=world.clock())
        world.clock.move(minutes=150)
        silence(3)
        end(37, world=world, state=State.SUCCEEDED, silent=False)
        activate(400)
        self.command(world)
        world.clock.move(minutes=1)
        return world

    def command(self, world: World) -> None:
        """Write the commands of those that have none."""
        for one in Deployment.objects.filter(state=State.ACTIVATING, attempt=0):
            add_command(world, one.pk, Phase.ACTIVATE, 1, sent_at=world.clock())
        Deployment.objects.filter(state=State.ACTIVATING).update(attempt=1)

    def test_sees_silence_among_those_of_which_everything_is_known(self, silent: World) -> None:
        one = of_model(silent)
        assert one.stream == breaker.Stream(good=37, bad=3, waiting=400)
        assert one.reading == breaker.read(
            stream=breaker.Stream(good=37, bad=3, waiting=0), tolerated=0.0075, episode=1, streams=3
        )

    def test_counts_nobody_who_was_commanded_later(self, silent: World) -> None:
        end(20, world=silent, state=State.FAILED, ending=Ending.ACTIVATION_FAILED, silent=False)
        [(hubs, bad)] = {
            (one.stream.hubs, one.stream.bad)
            for one in evidence.look(release=silent.release.pk, now=silent.clock()).watched
        }
        assert (hubs, bad) == (440, 23)
        all_of_them = breaker.read(
            stream=breaker.Stream(good=37, bad=23, waiting=380), tolerated=0.0075, episode=1, streams=3
        )
        assert of_model(silent).reading == all_of_them

    def test_takes_a_hub_for_good_again_that_was_found_to_be(self, silent: World) -> None:
        end(3, world=silent, state=State.SUCCEEDED, silent=True)
        assert of_model(silent).reading == breaker.read(
            stream=breaker.Stream(good=40, bad=0, waiting=0), tolerated=0.0075, episode=1, streams=3
        )

    def test_is_of_the_same_episode(self, silent: World) -> None:
        Evidence.objects.update(episode=2)
        assert of_model(silent).reading == breaker.read(
            stream=breaker.Stream(good=37, bad=3, waiting=400), tolerated=0.0075, episode=1, streams=3
        )

    def test_waits_until_the_deadline_is_over(self, silent: World) -> None:
        silent.clock.move(minutes=-30)
        assert of_model(silent).reading == breaker.read(
            stream=breaker.Stream(good=37, bad=3, waiting=400), tolerated=0.0075, episode=1, streams=3
        )


class TestTrip:
    def test_halts_a_release_that_breaks_most_of_its_hubs(self, staged: World) -> None:
        activate(50)
        end(20, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        assert halts.trip(release=staged.release.pk, now=staged.clock())

        assert state(staged) == ReleaseState.HALTED
        halt = Halt.objects.get()
        assert halt.halted_by is None
        assert "of 50 hubs" in halt.reason
        assert "20 are bad (40.0%)" in halt.reason
        assert "0.75% are tolerated" in halt.reason
        assert "30 have yet to answer" in halt.reason
        assert str(staged.model) in halt.reason or str(staged.network) in halt.reason
        assert {stream["bad"] for stream in halt.facts["streams"]} == {20}

    def test_keeps_the_evidence_that_halted_it(self, staged: World) -> None:
        activate(50)
        end(20, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.trip(release=staged.release.pk, now=staged.clock())
        for kept in Evidence.objects.all():
            assert (kept.good, kept.bad, kept.waiting) == (0, 20, 30)
            assert kept.evidence >= kept.threshold
        assert Evidence.objects.count() == 2

    def test_leaves_a_release_that_is_no_worse_than_tolerated(self, staged: World) -> None:
        activate(50)
        end(1, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        end(49, world=staged, state=State.SUCCEEDED)
        assert not halts.trip(release=staged.release.pk, now=staged.clock())
        assert state(staged) == ReleaseState.PUBLISHED

    def test_halts_for_one_network_that_a_model_hides(self, staged: World) -> None:
        other = Network.objects.exclude(pk=staged.network.pk)[0]
        activate(50)
        end(10, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        end(40, world=staged, state=State.SUCCEEDED)
        TallyChange.objects.create(
            release=staged.release,
            network=other,
            model=staged.model,
            stage=1,
            state=State.SUCCEEDED,
            hubs=9_000,
        )
        found = evidence.look(release=staged.release.pk, now=staged.clock())
        trips = {(one.model, one.network): one.reading.trips for one in found.watched}
        assert trips == {
            (staged.model.pk, None): False,
            (None, staged.network.pk): True,
            (None, other.pk): False,
        }
        assert halts.trip(release=staged.release.pk, now=staged.clock())
        assert f"on network {staged.network}" in Halt.objects.get().reason

    def test_halts_when_three_hubs_refuse_the_image(self, staged: World) -> None:
        activate(50)
        end(45, world=staged, state=State.SUCCEEDED)
        end(2, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        assert not halts.trip(release=staged.release.pk, now=staged.clock())
        end(1, world=staged, state=State.FAILED, ending=Ending.WRONG_HARDWARE)
        assert halts.trip(release=staged.release.pk, now=staged.clock())
        assert "3 hubs refused the image" in Halt.objects.get().reason

    def test_changes_nothing_where_it_was_halted_already(self, staged: World) -> None:
        activate(50)
        end(20, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        by_hand = decisions.halt(
            release=staged.release, by=staged.staff, reason="By hand.", now=staged.clock()
        )
        assert not halts.trip(release=staged.release.pk, now=staged.clock())
        assert list(Halt.objects.all()) == [by_hand]

    def test_leaves_a_release_that_was_withdrawn(self, staged: World) -> None:
        activate(50)
        end(20, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        decisions.withdraw(release=staged.release, by=staged.staff, reason="Over.", now=staged.clock())
        assert not halts.trip(release=staged.release.pk, now=staged.clock())
        assert state(staged) == ReleaseState.WITHDRAWN


class TestWatch:
    def test_halts_what_trips_and_nothing_else(self, staged: World) -> None:
        activate(50)
        assert halts.watch(now=staged.clock()) == 0
        end(20, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        assert halts.watch(now=staged.clock()) == 1
        assert halts.watch(now=staged.clock()) == 0
        assert Halt.objects.count() == 1

    def test_keeps_evidence_once_a_minute_and_only_where_it_changes(self, staged: World) -> None:
        activate(5)
        for _ in range(2):
            halts.watch(now=staged.clock())
        assert Evidence.objects.count() == 2
        end(1, world=staged, state=State.SUCCEEDED)
        halts.watch(now=staged.clock())
        assert set(Evidence.objects.values_list("good", "waiting")) == {(1, 4)}
        staged.clock.move(minutes=3)
        halts.watch(now=staged.clock())
        assert Evidence.objects.count() == 2
        end(1, world=staged, state=State.SUCCEEDED)
        halts.watch(now=staged.clock())
        assert Evidence.objects.count() == 4

    def test_looks_at_the_others_where_one_cannot_be_looked_at(
        self, staged: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = staged.release.pk, publish_another(staged).pk
        look = evidence.look

        def fail_for_the_first(*, release: int, now: datetime) -> evidence.Look:
            if release == first:
                raise RuntimeError("out of order")
            return look(release=release, now=now)

        monkeypatch.setattr(evidence, "look", fail_for_the_first)
        WarningSign.objects.create(
            release_id=second,
            network=staged.network,
            model=staged.model,
            stage=0,
            kind=WarningSign.Kind.REFUSED,
            hubs=3,
        )
        assert halts.watch(now=staged.clock()) == 1
        assert FirmwareRelease.objects.get(pk=second).state == ReleaseState.HALTED


class TestAResumption:
    @pytest.fixture
    def halted(self, staged: World) -> World:
        """Fifty activated, of which twenty failed and ten have yet to answer; then halted by the portal."""
        activate(50)
        end(20, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        end(20, world=staged, state=State.SUCCEEDED)
        assert halts.watch(now=staged.clock()) == 1
        staged.clock.move(minutes=1)
        return staged

    def test_does_not_halt_again_for_what_was_known(self, halted: World) -> None:
        resume(halted)
        for _ in range(2):
            assert halts.watch(now=halted.clock()) == 0
            stages.advance(now=halted.clock())
        end(10, world=halted, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        assert halts.watch(now=halted.clock()) == 0
        assert state(halted) == ReleaseState.PUBLISHED

    def test_admits_nobody_before_the_stage_is_cut_off(self, halted: World) -> None:
        resume(halted)
        assert stages.lock(release=halted.release.pk, now=halted.clock()).stages == {}
        halts.watch(now=halted.clock())
        assert stages.lock(release=halted.release.pk, now=halted.clock()).stages == {}

    def test_tries_the_same_size_again_with_fresh_evidence(self, halted: World) -> None:
        resume(halted)
        halts.watch(now=halted.clock())
        assert stages.advance(now=halted.clock()) == 0  # ten have yet to answer
        end(10, world=halted, state=State.SUCCEEDED)
        halted.clock.move(minutes=1)
        assert stages.advance(now=halted.clock()) == 1
        cut, after = Stage.objects.order_by("number")
        assert (cut.size, cut.admitted, cut.closed_at) == (50, 50, halted.clock())
        assert (after.number, after.step, after.size, after.episode) == (2, 1, 50, 2)
        assert stages.lock(release=halted.release.pk, now=halted.clock()).stages[halted.model.pk].room == 50
        activate(1, stage=2)
        assert of_model(halted).stream == breaker.Stream(0, 0, 1)

    def test_cuts_a_stage_off_at_what_it_has_admitted(self, staged: World) -> None:
        activate(7)
        decisions.halt(release=staged.release, by=staged.staff, reason="Odd reports.", now=staged.clock())
        staged.clock.move(minutes=1)
        resume(staged)
        assert stages.cut_off(now=staged.clock()) == 1
        assert stages.cut_off(now=staged.clock()) == 0
        stage = Stage.objects.get()
        assert (stage.size, stage.admitted, stage.full_at) == (7, 7, staged.clock())

    def test_closes_a_stage_whose_hub_came_back_unactivated(self, staged: World) -> None:
        activate(7)
        end(6, world=staged, state=State.SUCCEEDED)
        decisions.halt(release=staged.release, by=staged.staff, reason="Odd reports.", now=staged.clock())
        staged.clock.move(minutes=1)
        resume(staged)
        stages.cut_off(now=staged.clock())
        Deployment.objects.filter(state=State.ACTIVATING).update(state=State.STAGED, stage=0)
        assert stages.advance(now=staged.clock()) == 1
        cut, after = Stage.objects.order_by("number")
        assert (cut.size, cut.resolved) == (6, 6)
        assert (after.step, after.size) == (1, 50)

    def test_begins_the_refusals_anew(self, staged: World) -> None:
        activate(50)
        end(3, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        assert halts.watch(now=staged.clock()) == 1
        staged.clock.move(minutes=1)
        resume(staged)
        assert halts.watch(now=staged.clock()) == 0
        end(2, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        assert halts.watch(now=staged.clock()) == 0
        end(1, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        assert halts.watch(now=staged.clock()) == 1

    @pytest.mark.parametrize(
        ("resumed", "halted"),
        [
            ("network", 1),
            ("installed version", 1),
            ("another model", 1),
            ("the model", 0),
            ("the release", 0),
        ],
    )
    def test_begins_the_refusals_anew_where_those_who_resumed_knew_of_them(
        self, staged: World, resumed: str, halted: int
    ) -> None:
        """Two hubs have refused the image before, and two do so afterwards."""
        other = factories.HubModelFactory.create()
        staged.release.hub_models.add(other)
        stages.advance(now=staged.clock())
        activate(50)
        end(2, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        part = {
            "network": Part(network=staged.network),
            "installed version": Part(installed_version=FirmwareVersion.objects.get(number=worlds.OLD)),
            "another model": Part(model=other),
            "the model": Part(model=staged.model),
            "the release": WHOLE,
        }[resumed]
        halt = decisions.halt(
            release=staged.release, by=staged.staff, reason="Odd.", now=staged.clock(), part=part
        )
        staged.clock.move(minutes=1)
        staged.resume(reason="Understood.", halt=halt)
        assert halts.watch(now=staged.clock()) == 0
        end(2, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        assert halts.watch(now=staged.clock()) == halted

    def test_gives_each_network_a_new_episode_too(self, halted: World) -> None:
        def episodes() -> list[int]:
            return [
                one.episode
                for one in evidence.look(release=halted.release.pk, now=halted.clock()).watched
                if one.network
            ]

        assert episodes() == [1]
        end(10, world=halted, state=State.SUCCEEDED)
        resume(halted)
        halts.watch(now=halted.clock())
        halted.clock.move(minutes=1)
        stages.advance(now=halted.clock())
        activate(1, stage=2)
        assert episodes() == [3]


class TestTheEndOfATranche:
    def test_is_not_reached_by_a_release_that_has_to_stop(self, world: World) -> None:
        world.release.policy.stage_sizes = [20]
        world.release.policy.save()
        Stage.objects.all().delete()
        stage(world, 40)
        stages.advance(now=world.clock())
        activate(20)
        end(10, world=world, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        end(10, world=world, state=State.SUCCEEDED)
        assert stages.advance(now=world.clock()) == 0
        assert halts.watch(now=world.clock()) == 1


class TestReports:
    def test_that_end_hubs_halt_a_release_at_once(self, staged: World) -> None:
        """Nobody waits for the timetable."""
        activate(50)
        found = Deployment.objects.filter(state=State.ACTIVATING)
        found.update(phase=Phase.ACTIVATE, attempt=1, awaiting=True)
        for one in found:
            Command.objects.create(
                deployment_id=one.pk,
                phase=Phase.ACTIVATE,
                attempt=1,
                token=1,
                admitted_at=staged.clock(),
                valid_until=staged.clock() + timedelta(hours=1),
                sent_at=staged.clock(),
            )
        bad = [
            Report(
                None, one.pk, Phase.ACTIVATE, 1, one.hub_id, Outcome.ACTIVATION_FAILED, None, staged.clock()
            )
            for one in found[:20]
        ]
        ended = deployments.record_reports(reports=bad, now=staged.clock())
        assert ended == {staged.release.pk}
        assert halts.check(releases=ended, now=staged.clock()) == 1
        assert state(staged) == ReleaseState.HALTED


class TestARollout:
    """The whole way, with hubs that really are broken by the release."""

    @pytest.mark.parametrize("kind", ["visible", "silent"])
    def test_ends_by_itself_within_the_first_stage(self, world: World, kind: str) -> None:
        Defect.objects.create(version=worlds.NEW, share=0.4, kind=kind)
        world.hubs(300)
        world.slot(start=timedelta(hours=5), room=300, length=timedelta(hours=5))
        world.book()
        world.clock.move(hours=2)
        world.work()
        world.clock.move(hours=3, minutes=1)
        for _ in range(10):
            world.work()
            halts.watch(now=world.clock())
            world.clock.move(minutes=16)
        halt = Halt.objects.get()

        assert state(world) == ReleaseState.HALTED
        assert halt.halted_by is None
        assert FleetHub.objects.filter(activations__gt=0).count() <= 50
        assert not Command.objects.filter(admitted_at__gt=halt.halted_at).exists()
        assert not CommandLog.objects.filter(received_at__gt=halt.halted_at).exists()
        assert reconciliation.everything(gateway=connect()) == []


class TestTheDatabase:
    @pytest.mark.parametrize(
        ("facts", "constraint"),
        [
            ({"model_id": None, "network_id": None}, "evidence_of_a_model_or_a_network"),
            ({"model_id": 1, "network_id": 1}, "evidence_of_a_model_or_a_network"),
        ],
    )
    def test_keeps_evidence_of_one_thing(self, staged: World, facts: Any, constraint: str) -> None:
        names = {name: {"model_id": staged.model.pk, "network_id": staged.network.pk}[name] if value else None
                 for name, value in facts.items()}  # fmt: skip
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            Evidence.objects.create(
                release=staged.release, at=staged.clock(), episode=1, good=0, bad=0, waiting=1,
                tolerated=0.01, evidence=0.0, threshold=1.0, **names,
            )  # fmt: skip
