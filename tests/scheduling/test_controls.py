"""Controls: a network on which hubs fall silent that nobody updates is paused, and the release is not blamed."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import IntegrityError

from firmware import queries as releases
from firmware.models import AvailabilityPeriod, FirmwareRelease, Halt, Part, ReleaseState
from hubs.gateway import GatewayUnavailable, Sighting, UnableToLook, connect
from hubs.modelled_fleet.models import NetworkProfile, Outage
from hubs.models import CommunicationsHub, HubStatus
from scheduling.lifecycle import State
from scheduling.models import Control, ControlLook, Deployment, Incident, LateLook, Maintenance
from scheduling.operations import controls, halts
from scheduling.queries import controls as questions
from scheduling.queries import evidence
from tests import factories
from tests.scheduling.test_early_warning import activate, end, silence, stage
from tests.scheduling.world import Clock, World

pytestmark = pytest.mark.django_db(transaction=True)
HUBS = 300


class Eye:
    """A carrier that sees every hub but the blind ones, and counts how often it is asked."""

    def __init__(self) -> None:
        self.blind: set[int] = set()
        self.is_there = True
        self.asked: list[Sequence[int]] = []

    def look(self, *, hubs: Sequence[int], now: datetime) -> list[Sighting]:
        if not self.is_there:
            raise GatewayUnavailable("nobody answers")
        self.asked.append(hubs)
        return [Sighting(hub, hub not in self.blind) for hub in hubs]

    def send(self, **_: Any) -> Any:
        raise AssertionError("a look commands nothing")

    collect = acknowledge = send


class BlindEye(Eye):
    """A carrier that says that it cannot look at hubs."""

    def look(self, *, hubs: Sequence[int], now: datetime) -> list[Sighting]:
        self.asked.append(hubs)
        raise UnableToLook("nobody here looks at hubs")


class SlowEye(Eye):
    """A carrier that answers when the turn of whoever asked is over, and somebody else has looked."""

    def __init__(self, *, meanwhile: Callable[[], object], clock: Clock) -> None:
        super().__init__()
        self.meanwhile, self.clock = meanwhile, clock

    def look(self, *, hubs: Sequence[int], now: datetime) -> list[Sighting]:
        seen = super().look(hubs=hubs, now=now)
        self.clock.move(seconds=controls.TURN.total_seconds())
        self.meanwhile()
        return seen


@pytest.fixture
def world(world: World) -> World:
    """A release that may be activated now, whose deadline is two hours, and hubs that it does not touch."""
    world.release.policy.tolerated_bad_percent = "0.75"
    world.release.policy.save()
    world.hubs(HUBS, status=HubStatus.SUSPENDED)
    world.clock.move(minutes=2)
    return world


@pytest.fixture
def eye() -> Eye:
    return Eye()


def look(world: World, eye: Eye, *, times: int = 1) -> int:
    """Look so often, five minutes apart; return how many releases were paused."""
    paused = 0
    for _ in range(times):
        paused += controls.watch(gateway=eye, clock=world.clock)
        world.clock.move(minutes=5)
    return paused


def chosen() -> set[int]:
    """Return the hubs that are controls."""
    return set(Control.objects.values_list("hub", flat=True))


def state(world: World) -> str:
    return FirmwareRelease.objects.get(pk=world.release.pk).state


class TestChoosing:
    def test_takes_hubs_of_the_network(self, world: World, eye: Eye) -> None:
        world.hubs(10, network=factories.NetworkFactory.create())
        look(world, eye)
        here = CommunicationsHub.objects.filter(network=world.network)
        assert chosen() == set(here.values_list("chf_id", flat=True))

    def test_takes_hubs_that_are_booked_until_they_are_commanded(self, world: World, eye: Eye) -> None:
        world.hubs(10)
        world.slot(start=timedelta(hours=5), room=10)
        world.book()
        booked = set(Deployment.objects.values_list("hub_id", flat=True))
        assert len(booked) == 10
        look(world, eye)
        assert booked <= chosen()
        world.clock.move(hours=2)  # their staging has begun
        world.work(rounds=1)
        commanded = set(Deployment.objects.filter(attempt__gt=0).values_list("hub_id", flat=True))
        assert commanded == booked
        look(world, eye)
        assert not booked & chosen()
        assert len(chosen()) == HUBS

    def test_takes_no_hub_that_was_updated_within_a_week(self, world: World, eye: Eye) -> None:
        stage(world, 60)
        activate(50)
        look(world, eye)
        updated = set(Deployment.objects.filter(stage=1).values_list("hub_id", flat=True))
        assert not updated & chosen()
        end(50, world=world, state=State.SUCCEEDED)
        world.clock.move(days=6)
        look(world, eye)
        assert not updated & chosen()
        world.clock.move(days=1)
        look(world, eye)
        assert updated <= chosen()

    def test_takes_no_more_than_are_wanted(
        self, world: World, eye: Eye, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(controls, "SIZE", 20)
        look(world, eye, times=2)
        assert Control.objects.count() == 20
        assert [len(asked) for asked in eye.asked] == [20, 20]

    def test_reads_a_part_of_a_fleet_that_nobody_has_counted_yet(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(controls, "PAGES", 1)
        found = []
        for _ in range(30):
            controls._renew(world.network.pk, world.clock())
            found.append(len(chosen()))
            Control.objects.all().delete()
        assert min(found) < HUBS
        assert max(found) > 0

    def test_lets_those_go_that_are_updated_silent_for_a_day_or_were_never_heard(
        self, world: World, eye: Eye, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(controls, "SIZE", 5)
        look(world, eye)
        updated, silent, unheard, gone, kept = Control.objects.order_by("hub")
        hub = CommunicationsHub.objects.filter(pk=updated.hub)
        hub.update(status=HubStatus.COMMISSIONED)
        world.slot(start=timedelta(hours=5), room=400)
        world.book(world.choose_ids(f"{updated.hub & 0xFFFFFFFFFFFFFFFF:016X}\n"))
        Deployment.objects.update(attempt=1)
        Control.objects.filter(pk=silent.pk).update(
            chosen_at=world.clock() - timedelta(days=3), heard_at=world.clock() - timedelta(days=2)
        )
        Control.objects.filter(pk=unheard.pk).update(heard_at=None, misses=3)
        CommunicationsHub.objects.filter(pk=gone.hub).update(status=HubStatus.DECOMMISSIONED)
        controls._renew(world.network.pk, world.clock())
        left = set(Control.objects.values_list("hub", flat=True))
        assert kept.hub in left
        assert not {updated.hub, gone.hub} & left
        again = Control.objects.filter(pk__in=[silent.pk, unheard.pk])
        assert {(one.heard_at, one.misses) for one in again} <= {(None, 0)}  # chosen anew, at most


class TestLooking:
    def test_happens_where_a_release_may_be_activated_and_not_too_often(self, world: World, eye: Eye) -> None:
        assert questions.due(now=world.clock()) == [world.network.pk]
        controls.watch(gateway=eye, clock=world.clock)
        assert questions.due(now=world.clock()) == []
        world.clock.move(minutes=4, seconds=59)
        assert controls.watch(gateway=eye, clock=world.clock) == 0
        assert len(eye.asked) == 1
        world.clock.move(seconds=1)
        assert questions.due(now=world.clock()) == [world.network.pk]
        world.clock.move(days=60)
        assert questions.due(now=world.clock()) == []

    def test_goes_on_after_the_period_while_hubs_are_looked_at_again(self, world: World, eye: Eye) -> None:
        stage(world, 60)
        activate(50)
        end(50, world=world, state=State.SUCCEEDED)
        look(world, eye)
        world.clock.moment = AvailabilityPeriod.objects.get().end_at + timedelta(hours=30)
        assert questions.due(now=world.clock()) == [world.network.pk]
        LateLook.objects.filter(deployment_id__gt=LateLook.objects.order_by("pk")[0].pk).delete()
        assert questions.due(now=world.clock()) == [world.network.pk]
        LateLook.objects.all().delete()
        assert questions.due(now=world.clock()) == []

    def test_comes_long_before_hubs_count_as_silent(self, world: World, eye: Eye) -> None:
        world.release.policy.silence_deadline = "4 minutes"
        world.release.policy.save()
        controls.watch(gateway=eye, clock=world.clock)
        world.clock.move(seconds=10)
        assert questions.due(now=world.clock()) == [world.network.pk]

    def test_is_left_to_one_at_a_time(self, world: World, eye: Eye) -> None:
        with controls.turns.turn(name="controls", lease=controls.TURN, clock=world.clock):
            assert controls.watch(gateway=eye, clock=world.clock) == 0
        assert not eye.asked

    def test_counts_once_where_another_looks_before_the_carrier_has_answered(
        self, world: World, eye: Eye
    ) -> None:
        look(world, eye)
        eye.blind = chosen()
        slow = SlowEye(meanwhile=lambda: controls.watch(gateway=eye, clock=world.clock), clock=world.clock)
        slow.blind = eye.blind
        assert controls.watch(gateway=slow, clock=world.clock) == 0
        assert len(slow.asked) == 1
        assert len(eye.asked) == 2
        assert set(Control.objects.values_list("misses", flat=True)) == {1}
        assert ControlLook.objects.count() == 2

    def test_leaves_everything_where_the_carrier_cannot_be_asked(self, world: World, eye: Eye) -> None:
        look(world, eye)
        eye.is_there = False
        assert look(world, eye, times=5) == 0
        assert ControlLook.objects.count() == 1
        assert set(Control.objects.values_list("misses", flat=True)) == {0}

    def test_makes_no_noise_about_a_carrier_that_says_that_it_cannot_look(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        eye = BlindEye()
        assert look(world, eye, times=3) == 0
        assert len(eye.asked) == 3
        assert not ControlLook.objects.exists()
        assert not [record for record in caplog.records if record.name == controls.logger.name]

    def test_is_not_done_with_a_carrier_that_cannot_look(self, world: World) -> None:
        blind = SimpleNamespace(send=None, collect=None, acknowledge=None)
        assert controls.watch(gateway=blind, clock=world.clock) == 0  # type: ignore[arg-type]
        assert not ControlLook.objects.exists()

    def test_forgets_what_is_too_old(self, world: World, eye: Eye) -> None:
        look(world, eye)
        ControlLook.objects.update(at=world.clock() - timedelta(days=91))
        look(world, eye)
        assert ControlLook.objects.count() == 1


class TestLatest:
    def test_is_the_last_look_at_each_network_by_its_name(self, world: World) -> None:
        east, west = (factories.NetworkFactory.create(name=name) for name in ("East", "West"))
        unseen = factories.NetworkFactory.create(name="South")
        for network, minutes in ((west, 5), (east, 1), (west, 9), (east, 3), (west, 7)):
            ControlLook.objects.create(
                network=network,
                at=world.clock() + timedelta(minutes=minutes),
                hubs=minutes,
                silent=0,
                usual=0.005,
                evidence=0,
                threshold=1,
            )
        assert [(look.network, look.hubs) for look in questions.latest()] == [(east, 3), (west, 9)]
        assert unseen.pk not in {look.network_id for look in questions.latest()}


class TestSilence:
    def test_of_a_tenth_pauses_the_network_at_the_third_look(self, world: World, eye: Eye) -> None:
        look(world, eye)
        eye.blind = set(sorted(Control.objects.values_list("hub", flat=True))[:30])
        assert look(world, eye, times=2) == 0
        assert look(world, eye) == 1
        assert state(world) == ReleaseState.PUBLISHED
        [halt] = releases.halted_parts(release=world.release)
        assert (halt.part, halt.halted_by) == (Part(network=world.network), None)
        assert "30 (10.0%) have fallen silent" in halt.reason
        assert halt.facts["silent"] == 30
        assert look(world, eye, times=3) == 0  # it stands

    def test_of_a_few_is_usual(self, world: World, eye: Eye) -> None:
        look(world, eye)
        eye.blind = set(sorted(Control.objects.values_list("hub", flat=True))[:3])
        assert look(world, eye, times=10) == 0
        assert not Halt.objects.exists()

    def test_is_none_in_one_missed_look(self, world: World, eye: Eye) -> None:
        look(world, eye)
        for _ in range(6):
            eye.blind = set(Control.objects.values_list("hub", flat=True))
            assert look(world, eye, times=2) == 0
            eye.blind = set()
            assert look(world, eye) == 0

    def test_of_hubs_that_never_answered_says_nothing(self, world: World, eye: Eye) -> None:
        eye.blind = set(CommunicationsHub.objects.values_list("chf_id", flat=True))
        assert look(world, eye, times=5) == 0
        assert {one.hubs for one in ControlLook.objects.all()} == {0}

    @pytest.mark.parametrize(("hubs", "paused"), [(49, 0), (50, 1)])
    def test_of_fewer_than_fifty_hubs_says_nothing(
        self, world: World, eye: Eye, hubs: int, paused: int
    ) -> None:
        keep = CommunicationsHub.objects.order_by("chf_id").values_list("chf_id", flat=True)[:hubs]
        CommunicationsHub.objects.exclude(chf_id__in=list(keep)).update(status=HubStatus.DECOMMISSIONED)
        look(world, eye)
        eye.blind = chosen()
        assert look(world, eye, times=3) == paused
        last = ControlLook.objects.latest("at")
        assert (last.hubs, last.silent) == (hubs, hubs)
        assert last.is_of_too_few is not bool(paused)

    def test_pauses_again_what_was_resumed_too_soon(self, world: World, eye: Eye) -> None:
        look(world, eye)
        eye.blind = set(Control.objects.values_list("hub", flat=True))
        assert look(world, eye, times=3) == 1
        world.resume(reason="It carries again.", halt=Halt.objects.get())
        assert look(world, eye) == 1

    def test_pauses_again_what_was_resumed_too_soon_days_later(self, world: World, eye: Eye) -> None:
        look(world, eye)
        eye.blind = chosen()
        assert look(world, eye, times=3) == 1
        world.clock.move(days=3)
        look(world, eye)
        world.resume(reason="It carries again.", halt=Halt.objects.get())
        assert look(world, eye) == 1

    def test_is_kept_in_mind_for_a_day_after_the_network_was_resumed(self, world: World, eye: Eye) -> None:
        look(world, eye)
        eye.blind = chosen()
        look(world, eye, times=3)
        for_good = set(sorted(chosen())[:2])
        eye.blind = for_good
        world.clock.move(days=3)
        world.resume(reason="It carries again.", halt=Halt.objects.get())
        assert look(world, eye) == 0
        kept = Control.objects.filter(hub__in=for_good, misses__gte=questions.MISSES)
        world.clock.move(hours=23)
        look(world, eye)
        assert kept.count() == 2
        world.clock.move(hours=1)
        look(world, eye)
        assert not kept.exists()

    def test_that_begins_after_the_pause_is_forgotten_after_a_day(self, world: World, eye: Eye) -> None:
        look(world, eye)
        eye.blind = chosen()
        look(world, eye, times=3)
        eye.blind = set()
        look(world, eye)
        eye.blind = set(sorted(chosen())[:2])
        look(world, eye, times=3)
        assert Control.objects.filter(misses=3).count() == 2
        world.clock.move(days=1)
        look(world, eye)
        assert not Control.objects.filter(hub__in=eye.blind, misses__gte=questions.MISSES).exists()

    def test_is_measured_once_there_is_enough_of_it(
        self, world: World, eye: Eye, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look(world, eye)
        assert questions.baseline(network=world.network.pk, now=world.clock()) == questions.BASELINE
        monkeypatch.setattr(questions, "MEASURED_FROM", 1_000)
        eye.blind = set(sorted(Control.objects.values_list("hub", flat=True))[:3])
        look(world, eye, times=9)
        measured = questions.baseline(network=world.network.pk, now=world.clock())
        assert measured == pytest.approx(3 * 7 / (HUBS * 10))


class TestClosedNetwork:
    """DCC has closed the network: hubs on it may be silent on purpose."""

    def test_is_not_looked_at(self, world: World, eye: Eye) -> None:
        look(world, eye)
        Maintenance.objects.create(
            network=world.network,
            start_at=world.clock(),
            end_at=world.clock() + timedelta(minutes=20),
            reason="New masts.",
        )
        eye.blind = chosen()
        assert look(world, eye, times=4) == 0
        assert len(eye.asked) == 1
        eye.blind = set()
        assert look(world, eye, times=4) == 0
        assert len(eye.asked) == 5

    def test_has_as_many_looks_as_ever_to_come_back(self, world: World, eye: Eye) -> None:
        look(world, eye)
        eye.blind = chosen()
        look(world, eye, times=2)
        incident = Incident.objects.create(
            network=world.network, category=1, summary="The masts burn.", opened_at=world.clock()
        )
        assert look(world, eye, times=3) == 0
        incident.closed_at = world.clock()
        incident.save()
        assert look(world, eye, times=2) == 0
        assert look(world, eye) == 1

    def test_leaves_the_others_alone(self, world: World, eye: Eye) -> None:
        look(world, eye)
        Incident.objects.create(
            network=factories.NetworkFactory.create(),
            category=1,
            summary="The masts burn.",
            opened_at=world.clock(),
        )
        eye.blind = chosen()
        assert look(world, eye, times=2) == 0
        assert look(world, eye) == 1


class TestTheRelease:
    """Controls that fall silent together with the hubs that are being updated."""

    @pytest.fixture
    def going(self, world: World) -> World:
        """Fifty hubs of the first stage are activated, twenty of which will be silent."""
        return stage(world, 60)

    def test_is_not_blamed_for_what_its_network_does(self, going: World, eye: Eye) -> None:
        look(going, eye)
        activate(50)
        eye.blind = set(Control.objects.values_list("hub", flat=True))
        assert look(going, eye, times=3) == 1
        silence(50)
        assert halts.watch(now=going.clock()) == 0
        assert state(going) == ReleaseState.PUBLISHED
        seen = evidence.look(release=going.release.pk, now=going.clock())
        assert not any(one.stream.hubs for one in seen.watched)

    def test_is_blamed_where_the_controls_are_well(self, going: World, eye: Eye) -> None:
        look(going, eye)
        activate(50)
        assert look(going, eye, times=3) == 0
        silence(20)
        assert halts.watch(now=going.clock()) == 1
        assert state(going) == ReleaseState.HALTED

    def test_alone_is_blamed_for_what_its_hubs_do_hours_later(self, going: World, eye: Eye) -> None:
        activate(50)
        end(50, world=going, state=State.SUCCEEDED)
        look(going, eye)
        going.clock.move(hours=6)
        look(going, eye)
        eye.blind = set(Deployment.objects.filter(stage=1).values_list("hub_id", flat=True))
        assert look(going, eye, times=4) == 0
        assert {one.silent for one in ControlLook.objects.all()} == {0}

    def test_is_judged_anew_once_the_network_is_resumed(self, going: World, eye: Eye) -> None:
        look(going, eye)
        activate(50)
        eye.blind = set(Control.objects.values_list("hub", flat=True))
        look(going, eye, times=3)
        silence(50)
        eye.blind = set()
        look(going, eye)
        end(50, world=going, state=State.UNCONFIRMED)
        going.resume(reason="It carries again.", halt=Halt.objects.get())
        assert halts.watch(now=going.clock()) == 0
        assert state(going) == ReleaseState.PUBLISHED


class TestTheModelledFleet:
    def test_falls_silent_in_an_outage_and_is_heard_after_it(self, world: World) -> None:
        NetworkProfile.objects.update(reachability=1.0, never_reached=0.0)
        fleet = connect()
        hubs = sorted(CommunicationsHub.objects.values_list("chf_id", flat=True))

        def heard() -> int:
            return sum(seen.is_heard for seen in fleet.look(hubs=hubs, now=world.clock()))  # type: ignore[attr-defined]

        assert heard() == HUBS
        outage = Outage.objects.create(
            network=world.network, share=0.4, since=world.clock(), until=world.clock() + timedelta(hours=1)
        )
        assert 0.3 * HUBS < HUBS - heard() < 0.5 * HUBS
        outage.share = 1.0
        outage.save()
        assert heard() == 0
        world.clock.move(hours=1)
        assert heard() == HUBS

    def test_pauses_its_network_in_an_outage(self, world: World) -> None:
        fleet = connect()
        assert controls.watch(gateway=fleet, clock=world.clock) == 0
        Outage.objects.create(network=world.network, share=0.5, since=world.clock())
        paused = 0
        for _ in range(4):
            world.clock.move(minutes=5)
            paused += controls.watch(gateway=fleet, clock=world.clock)
        assert paused == 1

    def test_refuses_more_hubs_than_one_look_takes(self, world: World) -> None:
        with pytest.raises(ValueError, match="more than the 1000"):
            connect().look(hubs=range(1_001), now=world.clock())  # type: ignore[attr-defined]


class TestConstraints:
    def test_hold(self, world: World, eye: Eye) -> None:
        look(world, eye)
        with pytest.raises(IntegrityError, match="control_heard_once_chosen"):
            Control.objects.update(heard_at=world.clock() - timedelta(days=1))
        with pytest.raises(IntegrityError, match="control_look_silent_of_hubs"):
            ControlLook.objects.update(silent=HUBS + 1)
        one = ControlLook.objects.get()
        with pytest.raises(IntegrityError, match="control_look_once_a_moment"):
            ControlLook.objects.create(
                network=one.network, at=one.at, hubs=1, silent=0, usual=0.1, evidence=0.0, threshold=1.0
            )
        outage = Outage.objects.create(network=world.network, share=0.5, since=world.clock())
        with pytest.raises(IntegrityError, match="outage_share_is_a_share"):
            Outage.objects.filter(pk=outage.pk).update(share=1.1)
        with pytest.raises(IntegrityError, match="outage_ends_after_it_begins"):
            Outage.objects.filter(pk=outage.pk).update(until=outage.since)
