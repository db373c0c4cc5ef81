"""Updated hubs are looked at again a day and two days later, and stop a release whose defects show late."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from firmware.models import FirmwareRelease, Halt, Part, ReleaseState
from firmware.operations import decisions
from hubs.gateway import GatewayUnavailable, Outcome, Phase, Sighting, UnableToLook, Verdict, connect
from hubs.identifiers import format_eui64
from hubs.modelled_fleet.models import Defect, NetworkProfile
from hubs.models import CommunicationsHub, FirmwareVersion, HubStatus
from scheduling import breaker
from scheduling.lifecycle import State
from scheduling.models import BadHub, Cohort, Deployment, Incident, LateLook, LateTally, Maintenance, Stage
from scheduling.operations import halts, late_looks, stages
from scheduling.queries import cohorts, evidence
from tests import factories
from tests.scheduling.rows import add_command
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.world import NEW, OLD, World, publish

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


class Eye:
    """A carrier that hears every hub but the silent ones, and of each the version that it runs."""

    def __init__(self) -> None:
        self.silent: set[int] = set()
        self.fallen_back: set[int] = set()
        self.beyond: set[int] = set()
        self.dumb: set[int] = set()
        self.refusal: GatewayUnavailable | None = None
        self.asked: list[Sequence[int]] = []

    def look(self, *, hubs: Sequence[int], now: datetime) -> list[Sighting]:
        if self.refusal:
            raise self.refusal
        self.asked.append(hubs)
        return [
            Sighting(hub, False) if hub in self.silent else Sighting(hub, True, self.version_of(hub))
            for hub in hubs
        ]

    def version_of(self, hub: int) -> int | None:
        """Return what a hub says that it runs."""
        if hub in self.dumb:
            return None
        return OLD if hub in self.fallen_back else NEW + (hub in self.beyond)

    def send(self, **_: Any) -> Any:
        raise AssertionError("a look commands nothing")

    collect = acknowledge = send


@pytest.fixture
def eye() -> Eye:
    return Eye()


@pytest.fixture
def done(world: World) -> World:
    """Fifty hubs of the first stage have succeeded, in a release whose stages soak for a day."""
    world.release.policy.tolerated_bad_percent = "0.75"
    world.release.policy.soak = "24 hours"
    world.release.policy.save()
    stage(world, 60)
    activate(50)
    end(50, world=world, state=State.SUCCEEDED)
    assert stages.advance(now=world.clock()) == 0
    return world


def hubs() -> list[int]:
    """Return the hubs that succeeded, in the order of their deployments."""
    found = Deployment.objects.filter(state=State.SUCCEEDED).order_by("id")
    return list(found.values_list("hub_id", flat=True))


def tally() -> tuple[int, int]:
    """Return how many were well, and how many bad, in all."""
    rows = LateTally.objects.all()
    return sum(row.well for row in rows), sum(row.bad for row in rows)


def look(world: World, eye: Eye, *, after: timedelta = timedelta(0), times: int = 1) -> int:
    """Let time pass, and look so often, half an hour apart; return how many hubs were found bad."""
    world.clock.moment += after
    bad = 0
    for _ in range(times):
        bad += late_looks.look(gateway=eye, clock=world.clock)
        world.clock.move(minutes=30)
    return bad


def look_together(world: World, eye: Eye, *, times: int) -> list[int]:
    """Let so many look whose turns were over before the carrier answered; return how many hubs each found bad."""
    due = [
        late_looks._Due(late.deployment_id, late.hub, late.looks, late.misses, late.looked_at, NEW)
        for late in LateLook.objects.order_by("deployment_id")
    ]
    seen = eye.look(hubs=[one.hub for one in due], now=world.clock())
    return [late_looks._take_up(world.release, due, seen, world.clock()) for _ in range(times)]


def pause_and_resume(world: World) -> None:
    """Pause the network, and have two people end that ten minutes later."""
    part = Part(network=world.network)
    halt = decisions.halt(release=world.release, by=None, reason="Silent.", now=world.clock(), part=part)
    world.clock.move(minutes=10)
    world.resume(reason="It carries again.", halt=halt)
    stages.cut_off(now=world.clock())


def close_network(world: World, *, how: str) -> Callable[[], object]:
    """Close the network, or halt the release on it; return what opens it again."""
    now = world.clock()
    match how:
        case "maintenance":
            facts = {"network": world.network, "reason": "New masts.", "start_at": now}
            Maintenance.objects.create(end_at=now + timedelta(hours=4), **facts)
            return lambda: Maintenance.objects.update(end_at=now + timedelta(minutes=1))
        case "incident":
            Incident.objects.create(network=world.network, category=1, summary="Storm.", opened_at=now)
            return lambda: Incident.objects.update(closed_at=now)
        case _:
            part = Part(network=world.network)
            halt = decisions.halt(release=world.release, by=None, reason="Silent.", now=now, part=part)
            return lambda: world.resume(reason="It carries again.", halt=halt)


def answered(world: World, *, version: int) -> dict[str, Any]:
    """Return what a command has that was answered with a version."""
    now = world.clock()
    return {
        "sent_at": now,
        "verdict": Verdict.ACCEPTED,
        "answered_at": now,
        "outcome": Outcome.DONE,
        "version": version,
    }


def reach_with_another(world: World, hubs: Sequence[int], *, state: State) -> None:
    """Bring these hubs so far in another release, for the same model and network."""
    factories.FirmwareVersionFactory.create(number=NEW + 1)
    other = publish(
        model=world.model,
        network=world.network,
        staff=world.staff,
        approver=world.approver,
        now=world.clock(),
        version=NEW + 1,
    )
    world.slot(start=timedelta(hours=9), room=len(hubs))
    mine, world.release = world.release, other
    world.book(world.choose_ids("".join(f"{format_eui64(hub)}\n" for hub in hubs)))
    world.release = mine
    stages.open_first(release=other.pk, now=world.clock())
    keys = list(Deployment.objects.filter(state=State.BOOKED).values_list("id", flat=True))
    assert len(keys) == len(hubs)
    reached = Deployment.objects.filter(pk__in=keys)
    for step in (State.STAGING, State.STAGED):
        reached.update(state=step)
    if state != State.STAGED:
        reached.update(state=State.ACTIVATING, stage=1)
    if state == State.SUCCEEDED:
        reached.update(state=state, ended_at=world.clock() + timedelta(hours=1), next_at=None)


class TestWhoIsLookedAt:
    def test_is_every_hub_of_a_small_stage_that_succeeded(self, world: World) -> None:
        stage(world, 60)
        activate(50)
        end(40, world=world, state=State.SUCCEEDED)
        end(10, world=world, state=State.UNCONFIRMED)
        late = LateLook.objects.order_by("deployment_id")
        assert [one.hub for one in late] == hubs()
        assert {(one.stage, one.succeeded_at, one.looks, one.misses) for one in late} == {
            (1, world.clock(), 0, 0)
        }

    def test_is_one_in_twenty_of_a_large_stage(self, world: World) -> None:
        stage(world, 400)
        world.release.policy.in_flight_floor = 400
        world.release.policy.save()
        Stage.objects.update(size=50_000)
        activate(50)
        end(50, world=world, state=State.SUCCEEDED)
        few = LateLook.objects.count()
        assert few < 20
        for _ in range(7):
            activate(50)
            end(50, world=world, state=State.SUCCEEDED)
        assert 5 <= LateLook.objects.count() <= 45


class TestLook:
    def test_comes_after_a_day_and_after_two_and_then_no_more(self, done: World, eye: Eye) -> None:
        assert look(done, eye, after=DAY - timedelta(hours=1)) == 0
        assert not eye.asked
        assert look(done, eye, after=timedelta(hours=1)) == 0
        assert [len(asked) for asked in eye.asked] == [50]
        assert tally() == (50, 0)
        look(done, eye)
        assert len(eye.asked) == 1
        look(done, eye, after=DAY)
        assert [len(asked) for asked in eye.asked] == [50, 50]
        assert tally() == (50, 0)
        assert not LateLook.objects.exists()

    def test_comes_earlier_where_stages_soak_for_less(self, done: World, eye: Eye) -> None:
        done.release.policy.soak = "1 minutes"
        done.release.policy.save()
        look(done, eye, after=timedelta(minutes=1))
        assert tally() == (50, 0)

    def test_finds_those_silent_that_three_looks_do_not_hear(self, done: World, eye: Eye) -> None:
        eye.silent = set(hubs()[:5])
        assert look(done, eye, after=DAY, times=2) == 0
        assert tally() == (45, 0)
        assert look(done, eye) == 5
        assert tally() == (45, 5)
        assert set(BadHub.objects.values_list("hub_id", flat=True)) == eye.silent

    def test_asks_those_again_half_an_hour_later_and_not_at_once(self, done: World, eye: Eye) -> None:
        eye.silent = set(hubs()[:5])
        done.clock.moment += DAY
        for _ in range(5):
            late_looks.look(gateway=eye, clock=done.clock)
        assert [len(asked) for asked in eye.asked] == [50]
        assert late_looks.next_at(release=done.release, now=done.clock()) == done.clock() + timedelta(
            minutes=30
        )

    def test_gives_controls_time_to_say_that_it_is_the_network(self, done: World, eye: Eye) -> None:
        """However short the soak: they need a quarter of an hour."""
        done.release.policy.soak = "1 hours"
        done.release.policy.save()
        eye.silent = set(hubs()[:5])
        done.clock.move(hours=1)
        for _ in range(19):
            assert late_looks.look(gateway=eye, clock=done.clock) == 0
            done.clock.move(minutes=1)
        done.clock.move(minutes=1)
        assert late_looks.look(gateway=eye, clock=done.clock) == 5
        assert len(eye.asked) == 3

    def test_does_not_go_by_looks_that_came_too_soon_after_each_other(self, done: World, eye: Eye) -> None:
        eye.silent = set(hubs()[:5])
        look(done, eye, after=DAY)
        LateLook.objects.filter(misses=1).update(misses=2, missed_at=done.clock() - timedelta(minutes=19))
        assert look(done, eye) == 0
        assert look(done, eye) == 5

    def test_says_when_it_comes_next(self, done: World, eye: Eye) -> None:
        began = done.clock()
        look(done, eye, after=DAY - timedelta(hours=1))
        assert late_looks.next_at(release=done.release, now=done.clock()) == began + DAY
        eye.silent = set(hubs()[:5])
        done.clock.moment = began + DAY
        late_looks.look(gateway=eye, clock=done.clock)
        eye.silent = set()
        half_an_hour = timedelta(minutes=30)
        assert late_looks.next_at(release=done.release, now=done.clock()) == began + DAY + half_an_hour
        look(done, eye, after=half_an_hour)
        assert late_looks.next_at(release=done.release, now=done.clock()) == began + 2 * DAY

    @pytest.mark.parametrize("how", ["maintenance", "incident", "halt"])
    def test_passes_over_a_network_that_is_closed_and_begins_anew_after_it(
        self, done: World, eye: Eye, how: str
    ) -> None:
        eye.silent = set(hubs()[:5])
        look(done, eye, after=DAY, times=2)
        reopen = close_network(done, how=how)
        asked = len(eye.asked)
        look(done, eye, times=3)
        assert len(eye.asked) == asked
        reopen()
        assert look(done, eye, times=2) == 0
        assert look(done, eye) == 5

    def test_forgets_a_miss_that_was_followed_by_an_answer(self, done: World, eye: Eye) -> None:
        eye.silent = set(hubs()[:5])
        look(done, eye, after=DAY, times=2)
        eye.silent = set()
        look(done, eye)
        assert set(LateLook.objects.values_list("looks", "misses")) == {(1, 0)}
        assert tally() == (50, 0)

    def test_finds_those_bad_at_once_that_run_another_version(self, done: World, eye: Eye) -> None:
        eye.fallen_back = set(hubs()[:2])
        assert look(done, eye, after=DAY) == 2
        assert tally() == (48, 2)

    def test_takes_back_that_a_hub_was_well(self, done: World, eye: Eye) -> None:
        look(done, eye, after=DAY)
        eye.silent = set(hubs()[:5])
        assert look(done, eye, after=DAY, times=3) == 5
        assert tally() == (45, 5)

    def test_counts_once_what_comes_twice(self, done: World, eye: Eye) -> None:
        done.clock.moment += DAY
        eye.fallen_back = set(hubs()[:3])
        assert look_together(done, eye, times=2) == [3, 0]
        assert tally() == (47, 3)
        assert BadHub.objects.count() == 3
        assert set(LateLook.objects.values_list("looks", "misses")) == {(1, 0)}

    def test_counts_a_miss_once_that_comes_twice(self, done: World, eye: Eye) -> None:
        done.clock.moment += DAY
        eye.silent = set(hubs()[:3])
        assert look_together(done, eye, times=3) == [0, 0, 0]
        assert set(LateLook.objects.values_list("looks", "misses")) == {(1, 0), (0, 1)}

    def test_counts_hubs_anew_after_a_resumption(self, done: World, eye: Eye) -> None:
        """Those that are well as much as those that are bad: else a few of many would be all of them."""
        look(done, eye, after=DAY)
        pause_and_resume(done)
        eye.silent = set(hubs()[:2])
        look(done, eye, after=DAY, times=3)
        assert list(LateTally.objects.order_by("epoch").values_list("well", "bad")) == [(50, 0), (48, 2)]

    def test_takes_nothing_back_that_counted_in_another_epoch(self, done: World, eye: Eye) -> None:
        look(done, eye, after=DAY)
        pause_and_resume(done)
        eye.fallen_back = set(hubs())
        assert look(done, eye, after=DAY) == 50
        assert list(LateTally.objects.order_by("epoch").values_list("well", "bad")) == [(50, 0), (0, 50)]

    def test_is_left_to_one_at_a_time(self, done: World, eye: Eye) -> None:
        done.clock.moment += DAY
        with late_looks.turns.turn(name="late looks", lease=late_looks.TURN, clock=done.clock):
            late_looks.look(gateway=eye, clock=done.clock)
        assert not eye.asked

    def test_waits_for_a_carrier_that_cannot_be_asked(self, done: World, eye: Eye) -> None:
        eye.refusal = GatewayUnavailable("nobody answers")
        assert look(done, eye, after=DAY, times=5) == 0
        assert set(LateLook.objects.values_list("looks", "misses")) == {(0, 0)}
        assert stages.advance(now=done.clock()) == 0

    def test_awaits_nothing_of_a_carrier_that_cannot_look(self, done: World) -> None:
        blind: Any = SimpleNamespace(send=None, collect=None, acknowledge=None)
        late_looks.look(gateway=blind, clock=done.clock)
        assert not LateLook.objects.exists()

    def test_awaits_nothing_of_a_carrier_that_says_that_it_cannot_look(self, done: World, eye: Eye) -> None:
        eye.refusal = UnableToLook("nobody here looks at hubs")
        look(done, eye, after=DAY)
        assert not LateLook.objects.exists()
        assert stages.advance(now=done.clock()) == 1

    def test_passes_over_a_hub_that_runs_something_newer(self, done: World, eye: Eye) -> None:
        eye.beyond = set(hubs()[:5])
        assert look(done, eye, after=DAY) == 0
        assert tally() == (45, 0)
        assert LateLook.objects.count() == 45

    def test_takes_it_for_well_that_a_hub_answers_and_does_not_say_what_it_runs(
        self, done: World, eye: Eye
    ) -> None:
        eye.dumb = set(hubs()[:5])
        assert look(done, eye, after=DAY) == 0
        assert tally() == (50, 0)

    @pytest.mark.parametrize("state", [State.ACTIVATING, State.SUCCEEDED])
    def test_leaves_hubs_that_another_release_has_reached_to_that(
        self, done: World, eye: Eye, state: State
    ) -> None:
        reach_with_another(done, hubs()[:5], state=state)
        eye.silent = set(hubs()[:6])
        assert look(done, eye, after=DAY, times=3) == 1
        assert tally() == (44, 1)

    def test_is_not_put_off_by_a_release_that_has_reached_nobody_yet(self, done: World, eye: Eye) -> None:
        reach_with_another(done, hubs()[:5], state=State.STAGED)
        assert look(done, eye, after=DAY) == 0
        assert tally() == (50, 0)

    @pytest.mark.parametrize("what", ["status", "network", "model"])
    def test_passes_over_hubs_that_are_no_longer_what_was_updated(
        self, done: World, eye: Eye, what: str
    ) -> None:
        now = {
            "status": lambda: HubStatus.DECOMMISSIONED,
            "network": factories.NetworkFactory.create,
            "model": factories.HubModelFactory.create,
        }
        CommunicationsHub.objects.filter(chf_id__in=hubs()[:5]).update(**{what: now[what]()})
        eye.silent = set(hubs()[:5])
        assert look(done, eye, after=DAY, times=3) == 0
        assert tally() == (45, 0)
        assert LateLook.objects.count() == 45

    def test_passes_over_hubs_of_a_version_that_was_left_out(self, done: World, eye: Eye) -> None:
        """Their stage does not wait for them either."""
        eye.silent = set(hubs()[:8])
        other = factories.FirmwareVersionFactory.create(number=0x01000000)
        CommunicationsHub.objects.exclude(chf_id__in=eye.silent).update(installed_version=other)
        part = Part(installed_version=FirmwareVersion.objects.get(number=OLD))
        decisions.halt(release=done.release, by=done.staff, reason="Known.", now=done.clock(), part=part)
        assert look(done, eye, after=DAY, times=3) == 0
        assert tally() == (42, 0)
        assert stages.advance(now=done.clock()) == 1

    def test_goes_by_what_a_hub_said_that_it_ran(self, done: World, eye: Eye) -> None:
        """By now the inventory has the new version."""
        CommunicationsHub.objects.update(installed_version=done.release.version)
        for late in LateLook.objects.order_by("deployment_id")[:8]:
            add_command(done, late.deployment_id, Phase.READ, 1, **answered(done, version=OLD))
        part = Part(installed_version=FirmwareVersion.objects.get(number=OLD))
        decisions.halt(release=done.release, by=done.staff, reason="Known.", now=done.clock(), part=part)
        look(done, eye, after=DAY)
        assert tally() == (42, 0)

    @pytest.mark.parametrize("how", ["withdrawn", "closed"])
    def test_forgets_the_hubs_of_a_release_that_has_ended(self, done: World, eye: Eye, how: str) -> None:
        if how == "withdrawn":
            decisions.withdraw(release=done.release, by=done.staff, reason="Old.", now=done.clock())
        else:
            done.clock.moment = done.release.periods.get().end_at
            decisions.close(release=done.release, by=done.staff, now=done.clock())
        look(done, eye)
        assert not LateLook.objects.exists()
        assert not eye.asked

    def test_asks_nobody_on_a_network_that_is_halted(self, done: World, eye: Eye) -> None:
        part = Part(network=done.network)
        decisions.halt(release=done.release, by=None, reason="Silent.", now=done.clock(), part=part)
        look(done, eye, after=DAY)
        assert not eye.asked


class TestTheRelease:
    def test_stops_when_what_was_well_falls_silent(self, done: World, eye: Eye) -> None:
        eye.silent = set(hubs()[:8])
        look(done, eye, after=DAY, times=3)
        assert halts.watch(now=done.clock()) == 1
        halt = Halt.objects.get()
        assert "looked at again a day or two after they had succeeded, 8 are bad (16.0%)" in halt.reason
        assert next(one for one in halt.facts["streams"] if one["is_late"])["bad"] == 8
        assert FirmwareRelease.objects.get(pk=done.release.pk).state == ReleaseState.HALTED

    def test_says_of_each_hub_why_it_is_bad(self, done: World, eye: Eye) -> None:
        eye.silent = set(hubs()[:2])
        look(done, eye, after=DAY, times=3)
        concerned = cohorts.hubs_concerned(release=done.release, limit=10)
        assert {one.why for one in concerned} == {"Fell silent, or fell back, after it had succeeded"}
        assert len(concerned) == 2

    def test_says_what_hubs_of_an_earlier_tranche_have_in_common(self, world: World, eye: Eye) -> None:
        """None of those that are watched now is bad."""
        policy = world.release.policy
        policy.tolerated_bad_percent, policy.soak, policy.stage_sizes = "0.75", "0 minutes", [50]
        policy.save()
        stage(world, 110)
        world.clock.move(hours=5)
        activate(50)
        end(50, world=world, state=State.SUCCEEDED)
        assert stages.advance(now=world.clock()) == 1
        eye.silent = set(hubs()[:8])
        CommunicationsHub.objects.filter(chf_id__in=eye.silent).update(hardware_version=7)
        look(world, eye, after=DAY, times=3)
        assert halts.watch(now=world.clock()) == 1
        in_common = Halt.objects.get().facts["in_common"]
        assert (in_common["bad"], in_common["hubs"], in_common["is_estimate"]) == (8, 50, False)
        assert in_common["sentence"] == "Of the 8 bad hubs 8 with hardware version 0007."
        [hardware] = [line for line in in_common["lines"] if line["words"] == "with hardware version 0007"]
        assert (hardware["bad"], hardware["hubs"], hardware["warns"]) == (8, 8, True)
        halts.watch(now=world.clock.move(minutes=5))
        assert sum(one.bad for one in Cohort.objects.filter(kind=Cohort.Kind.SUPPLIER)) == 8
        world.resume(reason="Those had another power supply.")
        halts.watch(now=world.clock.move(minutes=5))
        assert not Cohort.objects.exists()

    def test_goes_on_when_all_are_well(self, done: World, eye: Eye) -> None:
        look(done, eye, after=DAY)
        assert halts.watch(now=done.clock()) == 0
        [late] = [
            one for one in evidence.look(release=done.release.pk, now=done.clock()).watched if one.is_late
        ]
        assert (late.model, late.stream) == (done.model.pk, breaker.Stream(50, 0, 0))

    def test_opens_the_next_stage_only_when_the_hubs_of_the_last_were_looked_at(
        self, done: World, eye: Eye
    ) -> None:
        done.clock.moment += DAY + timedelta(hours=1)
        assert stages.advance(now=done.clock()) == 0
        look(done, eye)
        assert stages.advance(now=done.clock()) == 1

    def test_is_not_held_to_what_was_known_before_it_was_resumed(self, done: World, eye: Eye) -> None:
        eye.silent = set(hubs()[:8])
        look(done, eye, after=DAY, times=3)
        assert halts.watch(now=done.clock()) == 1
        done.clock.move(minutes=1)
        done.resume(reason="Those had another power supply.")
        assert halts.watch(now=done.clock()) == 0
        eye.silent |= set(hubs()[8:16])
        look(done, eye, after=DAY, times=3)
        assert halts.watch(now=done.clock()) == 1

    def test_leaves_out_a_model_that_is_halted(self, done: World, eye: Eye) -> None:
        eye.silent = set(hubs()[:8])
        look(done, eye, after=DAY, times=3)
        part = Part(model=done.model)
        decisions.halt(release=done.release, by=done.staff, reason="Known.", now=done.clock(), part=part)
        assert halts.watch(now=done.clock()) == 0


class TestTheModelledFleet:
    def test_shows_a_late_defect_to_a_later_look_alone(self, world: World) -> None:
        NetworkProfile.objects.update(reachability=1.0, never_reached=0.0, silent_activation=0.0)
        world.release.policy.soak = "24 hours"
        world.release.policy.tolerated_bad_percent = "0.75"
        world.release.policy.save()
        Defect.objects.create(version=NEW, share=0.5, kind=Defect.Kind.LATE, late_by=6 * 3600)
        world.hubs(40)
        world.slot(start=timedelta(hours=5), room=40)
        world.book()
        for _ in range(40):
            world.clock.move(minutes=15)
            world.work()
        assert Deployment.objects.filter(state=State.SUCCEEDED).count() > 30
        assert halts.watch(now=world.clock()) == 0
        world.clock.moment += DAY
        for _ in range(3):
            late_looks.look(gateway=connect(), clock=world.clock)
            world.clock.move(minutes=30)
        assert halts.watch(now=world.clock()) == 1
        assert "looked at again" in Halt.objects.get().reason
