"""Halts of a network, hub model or installed version: what they stop, and that the rest goes on."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from firmware import queries as releases
from firmware.models import FirmwareRelease, Halt, Part, ReleaseState
from firmware.operations import decisions
from hubs.gateway import Phase, connect
from hubs.modelled_fleet.models import CommandLog
from hubs.models import CommunicationsHub, FirmwareVersion
from scheduling import breaker
from scheduling.eligibility import Refusal
from scheduling.lifecycle import Ending, State
from scheduling.models import Command, Deployment, Lot, Notice, Stage
from scheduling.operations import deployments, halts, notices, stages
from scheduling.queries import eligibility, evidence, previews
from tests import factories
from tests.scheduling.rows import SLOT_AT, Row, Sent, lay_out
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.test_gate import admit, states
from tests.scheduling.world import OLD, World

MINUTE = timedelta(minutes=1)
ASTRAY = 0x0000_0042
"""A version that the release is not for, which some hubs run."""
KINDS = ("network", "model", "installed_version")
AT_THE_GATE = (*KINDS, "corrected model")
"""What a part can be for the Gate: hubs count also as of the model that the inventory has corrected theirs to."""


def one_half(world: World, kind: str) -> Part:
    """Make every second hub unlike the others, and return the part of the release that the others are."""
    mine = CommunicationsHub.objects.order_by("chf_id")
    others = [hub.chf_id for hub in mine][1::2]
    if "model" in kind:
        other = factories.HubModelFactory.create()
        world.release.hub_models.add(other)
        mine.filter(chf_id__in=others).update(model=other)
        return Part(model=world.model if kind == "model" else other)
    if kind == "installed_version":
        factories.FirmwareVersionFactory.create(number=ASTRAY)
        mine.filter(chf_id__in=others).update(installed_version=FirmwareVersion.objects.get(number=ASTRAY))
        return Part(installed_version=FirmwareVersion.objects.get(number=OLD))
    return Part(network=world.network)


def stop(world: World, part: Part, reason: str = "They fall silent.") -> Halt:
    """Have one person halt a part of the release."""
    return decisions.halt(release=world.release, by=world.staff, reason=reason, now=world.clock(), part=part)


@pytest.fixture
def halves(world: World) -> Callable[[str], Part]:
    """Book ten hubs, every second of which is unlike the others, and let their slot begin."""

    def make(kind: str) -> Part:
        world.hubs(10)
        # all ran a predecessor when they were booked, and were of one model
        later = kind in ("installed_version", "corrected model")
        part = one_half(world, "network" if later else kind)
        world.slot(start=SLOT_AT, room=10)
        world.book()
        if later:
            part = one_half(world, kind)
        world.clock.move(seconds=SLOT_AT.total_seconds())
        return part

    return make


def in_part(part: Part) -> set[int]:
    """Return the deployments of the hubs in a part."""
    hubs = CommunicationsHub.objects.filter(**part.key)
    return set(Deployment.objects.filter(hub__in=hubs.values("chf_id")).values_list("id", flat=True))


@pytest.mark.django_db(transaction=True)
class TestTheGate:
    @pytest.mark.parametrize("kind", AT_THE_GATE)
    @pytest.mark.parametrize(
        ("row", "phase"),
        [
            (Row(State.BOOKED, Phase.READ), Phase.READ),
            (Row(State.STAGING, Phase.STAGE), Phase.STAGE),
            (Row(State.STAGED, Phase.ACTIVATE), Phase.ACTIVATE),
        ],
    )
    def test_holds_the_part_and_admits_the_rest(
        self, world: World, halves: Callable[[str], Part], kind: str, row: Row, phase: Phase
    ) -> None:
        part = halves(kind)
        laid = lay_out(world, [row] * 10)
        stop(world, part)
        stopped = in_part(part)
        assert len(stopped) == (10 if kind == "network" else 5)
        assert admit(world) == {(key, phase) for key in laid if key not in stopped}
        assert {key for key, (state, _) in states().items() if state == State.HELD} == stopped

    @pytest.mark.parametrize("kind", AT_THE_GATE)
    def test_reads_back_what_has_begun(self, world: World, halves: Callable[[str], Part], kind: str) -> None:
        part = halves(kind)
        laid = lay_out(world, [Row(State.ACTIVATING, Phase.VERIFY)] * 10)
        stop(world, part)
        assert admit(world) == {(key, Phase.VERIFY) for key in laid}

    @pytest.mark.parametrize("kind", AT_THE_GATE)
    def test_takes_back_what_has_not_left(
        self, world: World, halves: Callable[[str], Part], kind: str
    ) -> None:
        part = halves(kind)
        waiting = Row(State.ACTIVATING, Phase.ACTIVATE, is_due=False, awaits=Sent(is_sent=False))
        reading = Row(State.ACTIVATING, Phase.VERIFY, is_due=False, awaits=Sent(is_sent=False))
        laid = lay_out(world, [waiting, waiting, reading, reading] * 2 + [waiting, waiting])
        stop(world, part)
        admit(world)
        taken_back = set(
            Command.objects.filter(answered_at__isnull=False).values_list("deployment_id", flat=True)
        )
        assert taken_back == {key for key in in_part(part) if laid[key].phase == Phase.ACTIVATE}

    @pytest.mark.parametrize("kind", AT_THE_GATE)
    def test_says_of_the_part_that_its_slot_passed_in_the_halt(
        self, world: World, halves: Callable[[str], Part], kind: str
    ) -> None:
        part = halves(kind)
        lay_out(world, [Row(State.STAGED, Phase.ACTIVATE)] * 10)
        stop(world, part)
        world.clock.move(hours=1)
        admit(world)
        assert {key for key, (_, ending) in states().items() if ending == Ending.HALTED} == in_part(part)

    @pytest.mark.parametrize("kind", KINDS)
    def test_lets_the_part_go_on_once_it_is_resumed(
        self, world: World, halves: Callable[[str], Part], kind: str
    ) -> None:
        part = halves(kind)
        lay_out(world, [Row(State.STAGED, Phase.ACTIVATE)] * 10)
        halt = stop(world, part)
        admit(world)
        world.clock.move(minutes=1)
        world.resume(reason="Mended.", halt=halt)
        assert {phase for _, phase in admit(world)} >= {Phase.READ}
        assert State.HELD not in {state for state, _ in states().values()}

    def test_lets_what_is_resumed_sleep_until_it_is_staged(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(days=20), room=3)
        world.book()
        halt = stop(world, Part(network=world.network))
        deployments.wake_stopped(now=world.clock())
        admit(world)
        assert {state for state, _ in states().values()} == {State.HELD}
        world.clock.move(minutes=1)
        world.resume(reason="Mended.", halt=halt)
        deployments.wake_stopped(now=world.clock())
        world.work()
        assert {state for state, _ in states().values()} == {State.BOOKED}
        lot = Lot.objects.get()
        assert lot.due_at == lot.staging_from > world.clock()

    def test_holds_also_what_was_booked_as_of_the_part(
        self, world: World, halves: Callable[[str], Part]
    ) -> None:
        halves("corrected model")
        lay_out(world, [Row(State.STAGED, Phase.ACTIVATE)] * 10)
        stop(world, Part(model=world.model))
        assert admit(world) == set()
        assert {state for state, _ in states().values()} == {State.HELD}

    def test_ends_what_is_of_another_model_than_was_booked_once_that_is_resumed(
        self, world: World, halves: Callable[[str], Part]
    ) -> None:
        part = halves("corrected model")
        lay_out(world, [Row(State.STAGED, Phase.ACTIVATE)] * 10)
        halt = stop(world, part)
        admit(world)
        world.clock.move(minutes=1)
        world.resume(reason="Mended.", halt=halt)
        admit(world)
        ended = {key for key, (_, ending) in states().items() if ending == Ending.NO_LONGER_ELIGIBLE}
        assert ended == in_part(part)

    def test_wakes_lots_once_for_each_change(self, world: World, halves: Callable[[str], Part]) -> None:
        part = halves("model")
        lay_out(world, [Row(State.STAGED, Phase.ACTIVATE, is_due=False)] * 10)
        Lot.objects.update(due_at=world.clock() + 5 * MINUTE)
        assert deployments.wake_stopped(now=world.clock()) == 0
        halt = stop(world, part)
        assert deployments.wake_stopped(now=world.clock()) == 1
        admit(world)
        Lot.objects.update(due_at=world.clock() + 5 * MINUTE, lease_until=None)
        assert deployments.wake_stopped(now=world.clock()) == 0
        world.clock.move(minutes=1)
        world.resume(reason="Mended.", halt=halt)
        assert deployments.wake_stopped(now=world.clock()) == 1


@pytest.mark.django_db(transaction=True)
class TestTheSender:
    @pytest.mark.parametrize("kind", AT_THE_GATE)
    def test_hands_over_nothing_of_the_part_that_another_had_admitted(
        self, world: World, halves: Callable[[str], Part], kind: str
    ) -> None:
        part = halves(kind)
        laid = lay_out(
            world, [Row(State.STAGING, Phase.STAGE, is_due=False, awaits=Sent(is_sent=False))] * 10
        )
        stop(world, part)
        Lot.objects.update(due_at=world.clock())
        claimed = deployments.claim(now=world.clock())
        assert claimed
        deployments.send(claimed=claimed, gateway=connect(), clock=world.clock)
        assert set(CommandLog.objects.values_list("deployment", flat=True)) == set(laid) - in_part(part)
        kept = Deployment.objects.filter(next_at__lte=world.clock())
        assert set(kept.values_list("id", flat=True)) == in_part(part)

    def test_stops_between_two_handfuls_when_a_part_is_halted(self, world: World) -> None:
        world.hubs(120)
        world.slot(start=SLOT_AT, room=120)
        world.book()
        world.clock.move(seconds=SLOT_AT.total_seconds())
        lay_out(world, [Row(State.STAGED, Phase.ACTIVATE)] * 120)
        world.release.policy.stage_sizes = []
        world.release.policy.in_flight_floor = 1_000
        world.release.policy.save()
        fleet = connect()

        class Halting:
            """A carrier during whose first answer somebody halts the network."""

            def send(self, **given: object) -> object:
                receipts = fleet.send(**given)  # type: ignore[arg-type]
                stop(world, Part(network=world.network))
                return receipts

            def __getattr__(self, name: str) -> object:
                return getattr(fleet, name)

        Lot.objects.update(due_at=world.clock())
        deployments.carry_out(gateway=Halting(), clock=world.clock, lots=1)  # type: ignore[arg-type]
        assert CommandLog.objects.count() == 50


@pytest.mark.django_db(transaction=True)
class TestEvidence:
    @pytest.fixture
    def two(self, world: World) -> World:
        """Sixty staged hubs of each of two models, fifty of each activated."""
        world.release.policy.tolerated_bad_percent = "0.75"
        world.release.policy.in_flight_floor = 100
        world.release.policy.save()
        self.other = factories.HubModelFactory.create()
        world.release.hub_models.add(self.other)
        stage(world, 60)
        stage(world, 60, model=self.other)
        activate(50, model=world.model)
        activate(50, model=self.other)
        return world

    def test_leaves_out_a_model_that_is_halted(self, two: World) -> None:
        end(20, world=two, state=State.FAILED, ending=Ending.ACTIVATION_FAILED, model=two.model)
        assert evidence.look(release=two.release.pk, now=two.clock()).stops
        stop(two, Part(model=two.model))
        seen = evidence.look(release=two.release.pk, now=two.clock())
        assert not seen.stops
        assert {(one.model, one.stream) for one in seen.watched} == {
            (self.other.pk, breaker.Stream(0, 0, 50)),
            (None, breaker.Stream(0, 0, 50)),
        }
        assert halts.watch(now=two.clock()) == 0

    def test_leaves_out_a_network_that_is_halted(self, two: World) -> None:
        end(20, world=two, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        stop(two, Part(network=two.network))
        seen = evidence.look(release=two.release.pk, now=two.clock())
        assert {one.stream for one in seen.watched} == {breaker.NOTHING}

    def test_forgets_what_was_kept_before_a_part_was_halted(self, two: World) -> None:
        """Of those hubs some are looked at no more."""
        halts.watch(now=two.clock())
        two.clock.move(hours=3)
        look = evidence.look(release=two.release.pk, now=two.clock())
        assert all(one.reading.evidence <= 0 for one in look.watched)
        settled = evidence._settled(
            two.release.pk, {(two.model.pk, None): 1}, two.clock() - timedelta(hours=1)
        )
        assert settled[two.model.pk, None].hubs == 50
        stop(two, Part(model=self.other))
        assert not evidence._settled(
            two.release.pk, {(two.model.pk, None): 1}, two.clock() - timedelta(hours=1)
        )

    def test_begins_anew_with_the_model_alone_that_is_resumed(self, two: World) -> None:
        halt = stop(two, Part(model=two.model))
        end(100, world=two, state=State.SUCCEEDED)
        two.clock.move(minutes=1)
        two.resume(reason="Mended.", halt=halt)
        stages.cut_off(now=two.clock())
        cut = {stage.model_id: stage.cut_at is not None for stage in Stage.objects.all()}
        assert cut == {two.model.pk: True, self.other.pk: False}

    def test_opens_no_stage_of_a_model_that_is_halted(self, two: World) -> None:
        halt = stop(two, Part(model=two.model))
        end(100, world=two, state=State.SUCCEEDED)
        assert stages.advance(now=two.clock()) == 1
        assert Stage.objects.get(number=2).model_id == self.other.pk
        two.clock.move(minutes=1)
        two.resume(reason="Mended.", halt=halt)
        stages.cut_off(now=two.clock())
        assert stages.advance(now=two.clock()) == 1
        assert Stage.objects.get(number=2, model=two.model).step == 1


@pytest.mark.django_db(transaction=True)
class TestBooking:
    @pytest.mark.parametrize("kind", KINDS)
    def test_refuses_hubs_of_the_part_by_name(self, world: World, kind: str) -> None:
        world.hubs(4)
        part = one_half(world, kind)
        stop(world, part)
        chosen = world.choose()
        refused = eligibility.judge(selection=chosen, now=world.clock()).refused
        assert refused[Refusal.HALTED] == (4 if kind == "network" else 2)
        [said] = [one for one in previews.refusals(selection=chosen) if Refusal.HALTED.label in one.what]
        assert said.why == (
            f"Wait until DCC resumes it for {part}. The page of the release says why it was halted."
        )

    def test_names_no_part_that_was_resumed_meanwhile(self, world: World) -> None:
        world.hubs(1)
        world.clock.move(minutes=1)
        halt = stop(world, Part(model=world.model))
        chosen = world.choose()
        world.clock.move(minutes=1)
        world.resume(reason="Mended.", halt=halt)
        [said] = previews.refusals(selection=chosen)
        assert said.why == Refusal.HALTED.way_forward


@pytest.mark.django_db(transaction=True)
class TestNotices:
    def test_tell_of_a_halted_part_and_of_its_end(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=SLOT_AT, room=3)
        world.book()
        factories.FleetCountFactory.create(
            lead=world.northern, model=world.model, network=world.network, hubs=3
        )
        world.clock.move(minutes=1)
        halt = stop(world, Part(model=world.model))
        assert notices.owe_stops(now=world.clock()) == 1
        told = notices.render(notice=Notice.objects.get(kind=Notice.Kind.HALTED))
        assert f"hub model {world.model}" in told.subject
        assert "The rest of the release goes on" in told.text
        world.clock.move(minutes=1)
        world.resume(reason="Mended.", halt=halt)
        assert notices.owe_stops(now=world.clock()) == 1
        resumed = notices.render(notice=Notice.objects.get(kind=Notice.Kind.RESUMED))
        assert f"hub model {world.model}" in resumed.subject
        assert "go ahead in their slots" in resumed.text
        assert notices.owe_stops(now=world.clock()) == 0

    def test_concern_only_whom_the_part_concerns(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=SLOT_AT, room=3)
        world.book()
        world.clock.move(minutes=1)
        stop(world, Part(network=world.network))
        assert notices.owe_stops(now=world.clock()) == 0


@pytest.mark.django_db(transaction=True)
class TestResumption:
    def test_leaves_out_what_the_approver_left_out(self, world: World) -> None:
        other = factories.HubModelFactory.create()
        world.release.hub_models.add(other)
        decisions.halt(release=world.release, by=None, reason="Too many are bad.", now=world.clock())
        world.clock.move(minutes=1)
        world.resume(reason="Only that model.", leaves_out=[Part(model=other)])
        release = FirmwareRelease.objects.get(pk=world.release.pk)
        assert release.state == ReleaseState.PUBLISHED
        [halt] = releases.halted_parts(release=release)
        assert (halt.part, halt.halted_by, halt.halted_at) == (Part(model=other), world.staff, world.clock())
        assert halt.reason == ("Too many are bad. Left out when the release was resumed: Only that model.")
