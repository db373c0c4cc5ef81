"""The hubs of a first stage: who is chosen, when, and in whose place."""

from datetime import datetime, timedelta

import pytest

from firmware.models import Halt
from firmware.models import Part as FirmwarePart
from firmware.operations import decisions
from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, FirmwareVersion, PaymentMode
from scheduling.lifecycle import State
from scheduling.models import Deployment, FirstHub, GroupedHub, HubGroup, Lot, Quarantine, Stage
from scheduling.operations import first_hubs, stages
from scheduling.operations.changes import cancel_part
from scheduling.operations.deployments import wake_stopped
from scheduling.queries import turns
from scheduling.queries.parts import Part
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.test_races import at_once
from tests.scheduling.world import World

HOUR = timedelta(hours=1)


@pytest.fixture
def world(world: World) -> World:
    """A release whose first stage has four hubs; images are staged four hours before a slot."""
    set_policy(world, sizes=[4, 50])
    return world


def set_policy(world: World, *, sizes: list[int], soak: str = "24 hours") -> None:
    policy = world.release.policy
    policy.stage_sizes, policy.soak = sizes, soak
    policy.save()
    Stage.objects.all().delete()
    stages.advance(now=world.clock())


def book(world: World, hubs: list[CommunicationsHub], *, start: timedelta) -> None:
    slot = world.slot(start=start, room=len(hubs))
    world.book(world.choose_ids("\n".join(format_eui64(hub.chf_id) for hub in hubs)), start_at=slot.start_at)


def volunteer(world: World, hubs: list[CommunicationsHub]) -> None:
    group = HubGroup.objects.create(
        supplier=world.northern, name="Pilots", is_pilot=True, made_by=world.person,
        created_at=world.clock(), changed_at=world.clock(),
    )  # fmt: skip
    GroupedHub.objects.bulk_create(GroupedHub(group=group, hub=hub.chf_id) for hub in hubs)


def chosen(*, stage: int = 1) -> set[int]:
    """Return the CHF IDs of those who were chosen, whatever became of them."""
    keys = FirstHub.objects.filter(stage__number=stage).values_list("deployment_id", flat=True)
    return set(Deployment.objects.filter(pk__in=keys).values_list("hub", flat=True))


def ids(*hubs: CommunicationsHub) -> set[int]:
    return {hub.chf_id for hub in hubs}


class TestChoose:
    def test_takes_hubs_unlike_each_other_with_the_earliest_slots(self, world: World) -> None:
        alike = world.hubs(10)
        other_way_to_pay = world.hubs(3, payment_mode=PaymentMode.PREPAYMENT)
        other_hardware = world.hubs(3, hardware_version=2)
        world.hubs(2, hardware_version=3)  # nobody booked them
        book(world, [*alike, *other_way_to_pay, *other_hardware], start=5 * HOUR)

        assert first_hubs.choose(now=world.clock()) == 4

        found = chosen()
        assert len(found) == 4
        assert all(found & ids(*kind) for kind in (alike, other_way_to_pay, other_hardware))
        assert Stage.objects.get().chosen_at == world.clock()

    def test_takes_pilots_before_others_and_none_that_is_not_booked_early(self, world: World) -> None:
        early = world.hubs(10)
        late, unbooked = world.hubs(2), world.hubs(2)
        book(world, early, start=5 * HOUR)
        book(world, late, start=40 * HOUR)
        volunteer(world, [*early[6:9], *late, *unbooked])

        first_hubs.choose(now=world.clock())

        assert ids(*early[6:9]) < chosen() < ids(*early)
        assert FirstHub.objects.filter(is_pilot=True).count() == 3

    def test_finds_pilots_beyond_the_lots_that_it_looks_through(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(first_hubs, "LOTS_EACH", 1)
        early, pilots = world.hubs(5), world.hubs(2)
        book(world, early, start=5 * HOUR)
        book(world, pilots, start=7 * HOUR)
        volunteer(world, pilots)

        first_hubs.choose(now=world.clock())

        assert ids(*pilots) < chosen()

    def test_waits_until_the_first_of_them_are_about_to_be_staged(self, world: World) -> None:
        book(world, world.hubs(5), start=10 * HOUR)

        world.clock.move(hours=5, seconds=-1)
        assert first_hubs.choose(now=world.clock()) == 0
        assert Stage.objects.get().chosen_at is None
        world.clock.move(seconds=1)
        assert first_hubs.choose(now=world.clock()) == 4

    def test_takes_none_of_a_slot_that_is_so_late_that_the_stage_would_wait_for_it(
        self, world: World
    ) -> None:
        early, late = world.hubs(2), world.hubs(5)
        book(world, early, start=5 * HOUR)
        book(world, late, start=29 * HOUR + timedelta(seconds=1))

        first_hubs.choose(now=world.clock())

        assert chosen() == ids(*early)

    def test_takes_those_of_a_stage_that_does_not_soak_whose_slots_begin_within_the_minute(
        self, world: World
    ) -> None:
        """Nobody looks again sooner, and they would wait for room that there is."""
        set_policy(world, sizes=[6, 50], soak="0 minutes")
        slots = (timedelta(), timedelta(minutes=1), timedelta(minutes=2))
        first, soon, late = world.hubs(2), world.hubs(2), world.hubs(2)
        for hubs, later in zip((first, soon, late), slots, strict=True):
            slot = world.slot(start=5 * HOUR + later, room=2, length=timedelta(minutes=1))
            world.book(
                world.choose_ids("\n".join(format_eui64(hub.chf_id) for hub in hubs)), start_at=slot.start_at
            )
        world.clock.move(hours=4, minutes=30)

        first_hubs.choose(now=world.clock())

        assert chosen() == ids(*first, *soon)

    def test_finds_hubs_beyond_lots_in_which_none_of_the_model_is_left(self, world: World) -> None:
        set_policy(world, sizes=[10, 50])
        other = factories.HubModelFactory.create()
        world.release.hub_models.add(other)
        for nth in range(first_hubs.LOTS_EACH):
            [gone] = world.hubs(1)
            book(world, [gone, *world.hubs(3, model=other)], start=(5 + nth) * HOUR)
            Deployment.objects.filter(hub=gone.chf_id).update(
                state=State.CANCELLED, ended_at=world.clock(), next_at=None
            )
        there = world.hubs(20)
        book(world, there, start=9 * HOUR)

        first_hubs.choose(now=world.clock())

        assert len(chosen() & ids(*there)) == 10

    def test_takes_none_that_may_not_go_or_was_tried_in_vain(self, world: World) -> None:
        book(world, hubs := world.hubs(3), start=5 * HOUR)
        book(world, world.shared(2), start=6 * HOUR)  # provisional
        Deployment.objects.filter(hub=hubs[0].chf_id).update(first_miss_at=world.clock())

        first_hubs.choose(now=world.clock())

        assert chosen() == ids(*hubs[1:])

    @pytest.mark.parametrize("why", ["no stages", "a later stage", "halted", "closed"])
    def test_does_nothing_where_there_is_no_first_stage_to_fill(self, world: World, why: str) -> None:
        book(world, world.hubs(5), start=5 * HOUR)
        match why:
            case "no stages":
                set_policy(world, sizes=[])
            case "a later stage":
                Stage.objects.update(step=2)
            case "halted":
                type(world.release).objects.update(state="halted")
            case "closed":
                Stage.objects.update(admitted=4, resolved=4, full_at=world.clock(), closed_at=world.clock())

        assert first_hubs.choose(now=world.clock()) == 0

    def test_chooses_others_in_place_of_those_that_left_after_a_minute(self, world: World) -> None:
        book(world, hubs := world.hubs(6), start=10 * HOUR)
        world.clock.move(hours=5)
        first_hubs.choose(now=world.clock())
        before = chosen()
        gone = sorted(before)[:2]
        cancel_part(
            booking=Lot.objects.get().booking, part=Part(hubs=gone), only_if_all=True, by=world.person,
            reason="Moved house", now=world.clock(),
        )  # fmt: skip

        assert first_hubs.choose(now=world.clock.move(seconds=59)) == 0
        assert first_hubs.choose(now=world.clock.move(seconds=1)) == 2
        assert chosen() == ids(*hubs)
        assert first_hubs.choose(now=world.clock.move(minutes=2)) == 0

    @pytest.mark.parametrize("part", ["network", "model", "installed_version"])
    def test_takes_none_of_a_part_that_is_halted_and_others_in_place_of_those_held(
        self, world: World, part: str
    ) -> None:
        book(world, world.hubs(8), start=10 * HOUR)
        world.clock.move(hours=5)
        first_hubs.choose(now=world.clock())
        old = FirmwareVersion.objects.get(number=worlds.OLD)
        of = {"network": world.network, "model": world.model, "installed_version": old}[part]
        decisions.halt(
            release=world.release,
            by=world.staff,
            reason="Odd",
            now=world.clock(),
            part=FirmwarePart(**{part: of}),
        )
        Deployment.objects.filter(pk__in=FirstHub.objects.values("deployment_id")).update(state=State.HELD)

        assert first_hubs.choose(now=world.clock.move(minutes=2)) == 0
        Halt.objects.update(
            lifted_at=world.clock() - 9 * HOUR, lifted_by=world.staff
        )  # before the stage opened
        assert first_hubs.choose(now=world.clock.move(minutes=2)) == 4

    def test_takes_another_in_place_of_one_that_is_set_aside(self, world: World) -> None:
        hubs = world.hubs(8)
        book(world, hubs, start=5 * HOUR)
        first_hubs.choose(now=world.clock())
        one, other = sorted(FirstHub.objects.values_list("deployment_id", flat=True))[:2]
        for deployment, since in ((one, world.clock()), (other, None)):  # the other was only struck
            Quarantine.objects.create(
                deployment_id=deployment, strikes=3, error="x", last_at=world.clock(), since=since
            )

        assert first_hubs.choose(now=world.clock.move(minutes=1)) == 1
        [line] = turns.lines(release=world.release.pk, now=world.clock())
        assert line.forecast.turns[world.slots[0].pk].slot.first == 4

    def test_wakes_those_that_wait(self, world: World) -> None:
        book(world, world.hubs(5), start=5 * HOUR)
        later = world.clock() + HOUR
        Lot.objects.update(waits=True, due_at=later)

        first_hubs.choose(now=world.clock())

        assert list(Lot.objects.values_list("waits", "due_at")) == [(False, world.clock())]

    def test_chooses_anew_for_the_stage_after_a_resumption(self, world: World) -> None:
        book(world, world.hubs(9), start=5 * HOUR)
        first_hubs.choose(now=world.clock())
        cut = world.clock()
        Stage.objects.update(size=0, cut_at=cut, full_at=cut, closed_at=cut)
        Stage.objects.create(
            release=world.release, model=world.model, number=2, episode=2, size=4, opened_at=cut
        )

        assert first_hubs.choose(now=world.clock.move(seconds=1)) == 4
        assert len(chosen(stage=2)) == 4

    def test_lets_the_chosen_alone_be_activated_also_after_a_resumption(self, world: World) -> None:
        """All that was staged before is woken at once, and is due before anybody has chosen."""
        set_policy(world, sizes=[4, 50], soak="0 minutes")
        alike, different = world.hubs(10), world.hubs(2, hardware_version=2)
        book(world, [*alike, *different], start=5 * HOUR)
        first_hubs.choose(now=world.clock())
        world.clock.move(hours=2)
        world.work()
        decisions.halt(release=world.release, by=world.staff, reason="Odd", now=world.clock())
        wake_stopped(now=world.clock())
        world.work()
        world.clock.moment = world.slots[0].start_at
        world.resume(reason="Mended")
        stages.cut_off(now=world.clock())
        stages.advance(now=world.clock.move(seconds=1))
        wake_stopped(now=world.clock())

        world.work()

        again = Stage.objects.get(number=2)
        assert (again.step, again.admitted) == (1, 4)
        activated = Deployment.objects.filter(stage=2).values_list("hub", flat=True)
        assert set(activated) == chosen(stage=2)
        assert set(activated) & ids(*different)
        assert Deployment.objects.filter(state=State.SUCCEEDED).count() == 12

    def test_lets_nobody_into_a_first_stage_that_tries_again_before_its_hubs_are_chosen(
        self, world: World
    ) -> None:
        book(world, world.hubs(5), start=5 * HOUR)
        Stage.objects.update(number=2)
        [budget] = stages.lock(release=world.release.pk, now=world.clock()).stages.values()
        assert budget.chosen == Stage.objects.get().pk
        Stage.objects.update(size=None)  # no stage of the policy: all may go
        [budget] = stages.lock(release=world.release.pk, now=world.clock()).stages.values()
        assert budget.chosen is None

    def test_looks_anew_at_none_but_the_stages_that_try_again(self, world: World) -> None:
        book(world, world.hubs(5), start=5 * HOUR)
        assert first_hubs.choose(now=world.clock(), anew=True) == 0
        Stage.objects.update(number=2)
        assert first_hubs.choose(now=world.clock(), anew=True) == 4
        Deployment.objects.filter(pk=FirstHub.objects.earliest("deployment_id").deployment_id).update(
            state=State.CANCELLED, ended_at=world.clock(), next_at=None
        )
        world.clock.move(minutes=1)
        assert first_hubs.choose(now=world.clock(), anew=True) == 0
        assert first_hubs.choose(now=world.clock()) == 1

    @pytest.mark.parametrize(("is_halted", "found"), [(False, 4), (True, 0)])
    def test_takes_those_that_are_about_to_go_on_after_a_halt(
        self, world: World, is_halted: bool, found: int
    ) -> None:
        book(world, world.hubs(5), start=5 * HOUR)
        Deployment.objects.update(state=State.HELD)
        if is_halted:
            decisions.halt(
                release=world.release,
                by=world.staff,
                reason="Odd",
                now=world.clock(),
                part=FirmwarePart(network=world.network),
            )
        assert first_hubs.choose(now=world.clock()) == found

    def test_takes_none_that_was_held_and_waits_for_a_consent_again(self, world: World) -> None:
        book(world, world.shared(5), start=5 * HOUR)
        Deployment.objects.update(state=State.HELD)
        assert first_hubs.choose(now=world.clock()) == 0

    def test_chooses_a_part_at_a_time_where_the_stage_is_large(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(first_hubs, "AT_ONCE", 3)
        book(world, world.hubs(6), start=5 * HOUR)

        assert first_hubs.choose(now=world.clock()) == 3
        assert first_hubs.choose(now=world.clock.move(minutes=1)) == 1

    def test_lets_the_chosen_alone_be_activated_and_then_the_others(self, world: World) -> None:
        set_policy(world, sizes=[4, 50], soak="0 minutes")
        alike, different = world.hubs(10), world.hubs(2, hardware_version=2)
        book(world, [*alike, *different], start=5 * HOUR)
        first_hubs.choose(now=world.clock())
        first = chosen()
        world.clock.move(hours=2)
        world.work()
        world.clock.move(hours=3)

        world.work()

        done = Deployment.objects.filter(state=State.SUCCEEDED)
        assert set(done.filter(stage=1).values_list("hub", flat=True)) == first
        assert first & ids(*different)
        assert done.count() == 12


class TestRaces:
    @pytest.fixture
    def world(self, transactional_db: None, now: datetime) -> World:
        """Return the world, committed, so that every connection sees it."""
        world = worlds.make(now=now)
        set_policy(world, sizes=[4, 50])
        return world

    def test_choose_once_however_many_do_at_once(self, world: World) -> None:
        book(world, world.hubs(9), start=5 * HOUR)

        assert sum(at_once(*[lambda: first_hubs.choose(now=world.clock()) for _ in range(6)])) == 4
        assert FirstHub.objects.count() == 4
