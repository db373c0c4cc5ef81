"""Hubs that the stages of a release keep waiting: who is moved, when, where to, and who stays."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from firmware.models import Part as FirmwarePart
from firmware.operations import decisions
from hubs.gateway import connect
from hubs.modelled_fleet.models import NetworkProfile
from hubs.models import FirmwareVersion
from portal.ground.models import AuditEntry
from scheduling.lifecycle import Ending, State
from scheduling.models import (
    Booking,
    Consent,
    Deployment,
    FirstHub,
    GroupedHub,
    HubGroup,
    Lot,
    Notice,
    Slot,
)
from scheduling.operations import first_hubs, late_looks, stages, turns
from scheduling.operations.changes import cancel_part
from scheduling.queries import reconciliation
from scheduling.queries import turns as queries
from scheduling.queries.parts import Part
from scheduling.queries.turns import Move, Wait
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.test_first_hubs import set_policy
from tests.scheduling.test_late_looks import Eye
from tests.scheduling.test_races import at_once
from tests.scheduling.world import World

HOUR = timedelta(hours=1)
AHEAD = 20
"""Hours until the first slot; its hubs are staged four hours before."""


@pytest.fixture
def world(world: World) -> World:
    """A release whose stages have four hubs and then ten, and soak for six hours."""
    set_policy(world, sizes=[4, 10], soak="6 hours")
    return world


@pytest.fixture
def crowded(world: World) -> World:
    """Thirty hubs in one slot, and later slots with room; the first slot's hubs are about to be staged."""
    return crowd(world)


def crowd(world: World) -> World:
    world.hubs(30)
    world.slot(start=AHEAD * HOUR, room=40)
    world.book()
    for later in (2, 6, 8, 14, 20):
        world.slot(start=(AHEAD + later) * HOUR, room=40)
    world.clock.move(hours=AHEAD - 5)
    return world


def keep(world: World) -> int:
    late_looks.look(gateway=connect(), clock=world.clock)  # stages that soak wait for it
    return turns.keep(clock=world.clock)


def places(world: World) -> dict[int, int]:
    """Return how many open hubs there are, by hours from the first slot; see that the slots count the same."""
    counted: Counter[int] = Counter()
    first = world.slots[0].start_at
    for deployment in Deployment.objects.filter(ended_at=None):
        slot = Lot.objects.get(pk=deployment.lot_id).slot
        counted[round((slot.start_at - first) / HOUR)] += 1
    for slot in Slot.objects.all():
        assert slot.taken == counted[round((slot.start_at - first) / HOUR)]
    return dict(counted)


class TestKeep:
    def test_moves_who_has_no_turn_to_when_the_stage_opens_that_takes_them(self, crowded: World) -> None:
        assert keep(crowded) == 25
        # four and a substitute stay; ten and one go where the next stage opens, after six hours, and so on
        assert places(crowded) == {0: 5, 6: 11, 14: 11, 20: 3}
        assert Deployment.objects.filter(ending=Ending.MOVED).count() == 25
        assert not FirstHub.objects.exclude(
            deployment_id__in=Deployment.objects.filter(ended_at=None).values("pk")
        ).exists()

    def test_keeps_the_order_of_the_hubs(self, crowded: World) -> None:
        hubs = list(Deployment.objects.order_by("id").values_list("hub", flat=True))
        stay = set(FirstHub.objects.values_list("deployment_id", flat=True))
        keep(crowded)

        line = [
            hub
            for lot in Lot.objects.filter(moved_from__isnull=False).order_by("slot__start_at")
            for hub in sorted(
                Deployment.objects.filter(pk__gte=lot.pk * 2048, pk__lt=(lot.pk + 1) * 2048).values_list(
                    "hub", flat=True
                )
            )
        ]
        assert not stay
        assert line == [hub for hub in hubs if hub in set(line)]
        assert {lot.moved_from for lot in Lot.objects.filter(moved_from__isnull=False)} == {
            crowded.slots[0].start_at
        }

    def test_moves_nobody_twice_and_carries_everybody_out(self, crowded: World) -> None:
        keep(crowded)
        for minutes in [55, 5] * 26:
            crowded.clock.move(minutes=minutes)
            crowded.work()
            keep(crowded)
        assert Counter(Deployment.objects.values_list("state", "ending"))[State.SUCCEEDED, ""] == 30
        moved = Counter(Deployment.objects.filter(ending=Ending.MOVED).values_list("hub", flat=True))
        # a substitute that was not needed waited in vain; nobody else was moved again
        assert sum(times > 1 for times in moved.values()) <= 3
        assert not reconciliation.everything(gateway=connect())

    def test_waits_until_they_are_about_to_be_staged(self, crowded: World) -> None:
        crowded.clock.move(seconds=-1)
        assert keep(crowded) == 0
        crowded.clock.move(seconds=1)
        assert keep(crowded) == 25

    def test_leaves_those_alone_to_whom_something_was_sent(self, crowded: World) -> None:
        crowded.clock.move(hours=1)
        crowded.work()
        assert keep(crowded) == 0

    def test_moves_pilots_last_while_the_first_stage_is_open(self, crowded: World) -> None:
        hubs = list(Deployment.objects.order_by("id").values_list("hub", flat=True))
        group = HubGroup.objects.create(
            supplier=crowded.northern, name="Pilots", is_pilot=True, made_by=crowded.person,
            created_at=crowded.clock(), changed_at=crowded.clock(),
        )  # fmt: skip
        GroupedHub.objects.bulk_create(GroupedHub(group=group, hub=hub) for hub in hubs[10:18])

        assert keep(crowded) == 22

        stayed = {
            deployment.hub_id
            for deployment in Deployment.objects.filter(ended_at=None)
            if Lot.objects.get(pk=deployment.lot_id).slot == crowded.slots[0]
        }
        assert stayed == set(hubs[10:18])

    @pytest.mark.parametrize("why", ["halted", "no stages", "room for all"])
    def test_moves_nobody_who_need_not_wait(self, world: World, why: str) -> None:
        if why == "no stages":
            set_policy(world, sizes=[])
        elif why == "room for all":
            set_policy(world, sizes=[30])
        crowd(world)
        if why == "halted":
            decisions.halt(release=world.release, by=world.staff, reason="Trouble", now=world.clock())
        assert keep(world) == 0

    @pytest.mark.parametrize("part", ["network", "model", "installed_version"])
    def test_moves_nobody_of_a_part_that_is_halted(self, crowded: World, part: str) -> None:
        old = FirmwareVersion.objects.get(number=worlds.OLD)
        of = {"network": crowded.network, "model": crowded.model, "installed_version": old}[part]
        decisions.halt(
            release=crowded.release,
            by=crowded.staff,
            reason="Odd",
            now=crowded.clock(),
            part=FirmwarePart(**{part: of}),
        )
        assert keep(crowded) == 0

    def test_goes_by_each_model_for_itself(self, world: World) -> None:
        other = factories.HubModelFactory.create()
        world.release.hub_models.add(other)
        stages.advance(now=world.clock())
        world.hubs(3, model=other)
        crowd(world)

        assert keep(world) == 25
        assert Deployment.objects.filter(ending=Ending.MOVED, model=other).count() == 0

    def test_leaves_in_their_slot_for_whom_there_is_no_place(self, world: World) -> None:
        world.hubs(30)
        world.slot(start=AHEAD * HOUR, room=40)
        world.book()
        world.slot(start=(AHEAD + 7) * HOUR, room=3)
        world.clock.move(hours=AHEAD - 5)

        assert keep(world) == 3
        assert places(world) == {0: 27, 7: 3}
        world.clock.move(hours=5)
        world.work()
        world.clock.move(hours=1)
        world.work()
        assert Counter(Deployment.objects.values_list("ending", flat=True))[Ending.NO_TURN] == 23

    def test_moves_before_the_slots_end_what_waited_in_vain(self, crowded: World) -> None:
        first_hubs.choose(now=crowded.clock())
        crowded.clock.move(hours=1)
        crowded.work()  # they are staged before anybody looks whether they have a turn
        crowded.clock.move(hours=4)
        crowded.work()
        waiting = Deployment.objects.filter(state=State.STAGED).count()
        assert waiting == 26
        crowded.clock.move(minutes=54)
        assert keep(crowded) == 0
        crowded.clock.move(minutes=1)
        assert keep(crowded) == waiting
        assert Deployment.objects.filter(state=State.STAGED).count() == 0
        crowded.clock.move(minutes=5)
        crowded.work()
        assert not Deployment.objects.filter(ending=Ending.NO_TURN).exists()

    def test_goes_where_no_cut_off_would_let_anybody_book(self, crowded: World) -> None:
        type(crowded.release.policy).objects.update(cut_off="5 days")
        assert keep(crowded) == 25

    def test_keeps_clear_of_protected_windows(self, crowded: World) -> None:
        crowded.protect(start=10 * HOUR, length=4 * HOUR)
        keep(crowded)
        assert set(places(crowded)) == {0, 14, 20}

    def test_tells_the_supplier_once_a_day_and_says_why(self, crowded: World) -> None:
        assert keep(crowded) == 25
        notices = Notice.objects.filter(kind=Notice.Kind.BOOKING_MOVED)
        assert notices.count() == 1
        assert "They keep their order" in notices.get().context["why"]
        entries = AuditEntry.objects.filter(verb="booking.moved_by_stages").order_by("pk")
        assert [(entry.facts["hubs"], entry.actor) for entry in entries] == [
            (11, None),
            (11, None),
            (3, None),
        ]
        assert "no turn for them before stage 2" in entries[0].reason

    def test_asks_the_other_supplier_anew_and_so_late_that_its_silence_counts(self, world: World) -> None:
        policy = world.release.policy
        policy.explicit_consent_within = "19 hours"
        policy.save()
        world.shared(30)
        world.slot(start=AHEAD * HOUR, room=40)
        world.book()
        for later in (8, 15, 18):
            world.slot(start=(AHEAD + later) * HOUR, room=40)
        Consent.objects.update(state=Consent.State.LAPSED, answered_at=world.clock())
        Deployment.objects.update(state=State.BOOKED)
        world.clock.move(hours=AHEAD - 5)

        assert keep(world) == 25

        assert places(world) == {0: 5, 15: 22, 18: 3}
        asked = Consent.objects.filter(state=Consent.State.ASKED)
        assert {(one.is_explicit, one.slot) for one in asked} == {(False, slot) for slot in world.slots[2:]}

    @pytest.mark.parametrize("kind", ["default", "override"])
    def test_moves_what_dcc_allocated(self, crowded: World, kind: str) -> None:
        type(crowded.release.policy).objects.update(reserve_percent=100)
        Booking.objects.update(origin=Booking.Origin.DEFAULT)
        Lot.objects.update(is_override=kind == "override")
        group = HubGroup.objects.create(
            supplier=crowded.northern, name="Flats", made_by=crowded.person,
            created_at=crowded.clock(), changed_at=crowded.clock(),
        )  # fmt: skip
        GroupedHub.objects.bulk_create(
            GroupedHub(group=group, hub=hub) for hub in Deployment.objects.values_list("hub", flat=True)
        )
        crowded.protect(start=5 * HOUR, length=40 * HOUR, scope="group", group=group)

        assert keep(crowded) == (25 if kind == "override" else 0)
        if kind == "override":
            assert set(Lot.objects.values_list("is_override", flat=True)) == {True}

    def test_stops_when_it_is_asked_to(self, crowded: World) -> None:
        assert turns.keep(clock=crowded.clock, keep_going=lambda: False) == 0


class TestARollout:
    def test_goes_on_as_it_was_expected_to_although_some_are_not_reached(self, world: World) -> None:
        """
        With three hundred hubs in four slots, and stages of ten and then fifty that soak for four hours.

        Always the same hubs with the same luck: where a stage's last hubs come late, it opens later than expected.
        """
        factories.CommunicationsHubFactory.reset_sequence(0)
        set_policy(world, sizes=[10, 50], soak="4 hours")
        NetworkProfile.objects.update(reachability=0.95)
        world.hubs(300)
        for hours in range(10, 50):
            world.slot(start=hours * HOUR, room=80)
        world.book()

        for minutes in [20, 20, 15, 5] * 45:
            world.clock.move(minutes=minutes)
            keep(world)
            world.work()

        left = Deployment.objects.exclude(ending=Ending.MOVED)
        assert left.count() == 300
        assert {(one.state, one.ending) for one in left} <= {
            (State.SUCCEEDED, ""),
            (State.MISSED, Ending.UNREACHABLE),
        }
        times = Counter(Deployment.objects.filter(ending=Ending.MOVED).values_list("hub", flat=True))
        # substitutes that were not needed, and nobody else
        assert sum(number > 1 for number in times.values()) <= 0.15 * len(times)
        assert max(times.values()) <= 3
        assert not reconciliation.everything(gateway=connect())


class TestOfBooking:
    def test_says_which_stage_hubs_wait_for_and_where_they_were_moved(self, crowded: World) -> None:
        keep(crowded)

        standing = queries.of_booking(booking=Booking.objects.get(), now=crowded.clock())

        first, name = crowded.slots[0].start_at, crowded.model.name
        assert standing.waits == [
            Wait(11, name, 2, is_open=False, opens_at=first + 6 * HOUR),
            Wait(11, name, 3, is_open=False, opens_at=first + 12 * HOUR),
            Wait(3, name, 4, is_open=False, opens_at=first + 16 * HOUR),
        ]
        assert standing.moves == [Move(25, first, first + 6 * HOUR, first + 20 * HOUR)]
        assert not standing.has_models

    def test_says_when_nobody_knows(self, crowded: World) -> None:
        keep(crowded)
        decisions.halt(release=crowded.release, by=crowded.staff, reason="Trouble", now=crowded.clock())
        booking = Booking.objects.select_related("release").get()

        waits = queries.of_booking(booking=booking, now=crowded.clock()).waits

        assert {(wait.is_open, wait.opens_at) for wait in waits} == {(False, None)}

    def test_says_of_those_that_wait_in_their_slot_that_the_next_stage_takes_them(
        self, crowded: World
    ) -> None:
        first_hubs.choose(now=crowded.clock())
        for hours in (1, 4):
            crowded.clock.move(hours=hours)
            crowded.work()

        standing = queries.of_booking(booking=Booking.objects.get(), now=crowded.clock())

        assert [(wait.hubs, wait.stage, wait.is_open) for wait in standing.waits] == [(26, 2, False)]
        assert standing.moves == []

    def test_asks_two_questions_where_nothing_waits(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=AHEAD * HOUR, room=40)
        booking = world.book()
        with CaptureQueriesContext(connection) as asked:
            standing = queries.of_booking(booking=booking, now=world.clock())
        assert (standing.waits, standing.moves) == ([], [])
        assert len(asked) == 2


class TestOpenings:
    def test_are_those_of_each_model(self, crowded: World) -> None:
        found = queries.openings(release=crowded.release.pk, now=crowded.clock(), limit=2)
        assert [(one.number, one.size) for one in found[crowded.model.pk]] == [(2, 10), (3, 10)]

    def test_are_no_sooner_than_they_come_where_a_hub_succeeded_late_and_another_does_not_answer(
        self, world: World
    ) -> None:
        """The last hub of the stage succeeds an hour after the others, and that one is silent a day later."""
        set_policy(world, sizes=[50, 500])
        world.release.policy.tolerated_bad_percent = "0.75"
        world.release.policy.save()
        stage(world, 60)
        activate(50)
        stages.advance(now=world.clock())
        end(49, world=world, state=State.SUCCEEDED)
        last = world.clock.move(hours=1)
        end(1, world=world, state=State.SUCCEEDED)
        assert self.opening(world) == last + 24 * HOUR + queries.LATE

        eye = Eye()
        eye.silent = {Deployment.objects.filter(state=State.SUCCEEDED).latest("id").hub_id}
        world.clock.move(hours=24)
        late_looks.look(gateway=eye, clock=world.clock)
        opening = self.opening(world)
        assert opening > world.clock() + HOUR
        while world.clock() < opening:
            world.clock.move(minutes=1)
            late_looks.look(gateway=eye, clock=world.clock)
        assert stages.advance(now=opening) == 1

    def opening(self, world: World) -> datetime:
        found = queries.openings(release=world.release.pk, now=world.clock(), limit=1)
        return found[world.model.pk][0].at

    def test_take_two_statements_and_one_for_each_model(self, crowded: World) -> None:
        with CaptureQueriesContext(connection) as asked:
            queries.openings(release=crowded.release.pk, now=crowded.clock(), limit=2)
        assert len(asked) == 3


class TestRaces:
    @pytest.fixture
    def world(self, transactional_db: None, now: datetime) -> World:
        """Return a crowded world, committed, so that every connection sees it."""
        world = worlds.make(now=now)
        set_policy(world, sizes=[4, 10], soak="6 hours")
        return crowd(world)

    def cancels(self, world: World) -> Callable[[], Any]:
        booking = Booking.objects.get()
        hubs = list(Deployment.objects.order_by("id").values_list("hub", flat=True)[10:])
        return lambda: cancel_part(
            booking=booking, part=Part(hubs=hubs), only_if_all=False, by=world.person, reason="Changed",
            now=world.clock(),
        )  # fmt: skip

    def test_move_everybody_once_however_many_do_at_once(self, world: World) -> None:
        results = at_once(*[lambda: turns.keep(clock=world.clock) for _ in range(4)])
        assert sum(results) >= 20
        keep(world)
        assert sum(places(world).values()) == 30
        assert Deployment.objects.filter(ending=Ending.MOVED).count() == 25
        assert not reconciliation.everything(gateway=connect())

    def test_leave_everything_right_when_somebody_cancels_meanwhile(self, world: World) -> None:
        at_once(
            self.cancels(world), lambda: turns.keep(clock=world.clock), lambda: turns.keep(clock=world.clock)
        )
        world.clock.move(minutes=11)
        keep(world)
        counts = places(world)
        assert counts[0] <= 5 or sum(counts.values()) <= 10
        gone = Deployment.objects.filter(ending=Ending.BY_SUPPLIER).count()
        assert gone == 20
        assert sum(counts.values()) == 10
        assert not reconciliation.everything(gateway=connect())
