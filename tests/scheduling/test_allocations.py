"""What nobody booked is allocated: when, to which slots, to whom, and never twice or silently not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import ModuleType

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.models import AvailabilityPeriod, FirmwareRelease
from firmware.operations import decisions
from hubs.models import CommunicationsHub
from hubs.operations import count_fleet
from scheduling.lifecycle import Ending, State
from scheduling.models import (
    LOT_SPAN,
    Allocation,
    Booking,
    Deployment,
    Exemption,
    HubException,
    Lot,
    Notice,
    Slot,
    UnplacedHub,
)
from scheduling.operations import allocations, bookings, changes, exceptions, exemptions, notices, stages
from scheduling.queries import allocations as queries
from scheduling.queries import deadlines
from scheduling.queries.parts import Destination, Part
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.test_changes import assert_books_balance
from tests.scheduling.world import World

DAY = timedelta(days=1)
NOW = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def of_policy(world: World, **spans: object) -> None:
    for field, value in spans.items():
        setattr(world.release.policy, field, value)
    world.release.policy.save()
    world.release = FirmwareRelease.objects.get(pk=world.release.pk)


def to_the_day(world: World) -> datetime:
    """Let time pass to just after the moment of the North network's allocation, and count the fleet."""
    period = world.release.periods.get()
    world.clock.moment = deadlines.allocation_at(period=period, policy=world.release.policy) + timedelta(
        minutes=1
    )
    count_fleet(now=world.clock())
    return world.clock()


def allocate(world: World) -> int:
    return allocations.allocate(clock=world.clock)


def booked_hubs() -> set[int]:
    return set(Deployment.objects.filter(ended_at=None).values_list("hub_id", flat=True))


def queued_hubs() -> set[int]:
    return set(HubException.objects.filter(ended_at=None).values_list("hub", flat=True))


def fail(world: World, hub: CommunicationsHub, *, state: State = State.FAILED) -> None:
    """Let a hub be booked and activated, and end so; one that is missed is not activated."""
    world.slot(start=timedelta(hours=3), room=1)
    booking = world.book(world.choose_ids(f"{hub.chf_id:016X}"))
    world.clock.move(hours=1)
    lot = booking.lots.get().pk * LOT_SPAN
    deployment = Deployment.objects.filter(pk__range=(lot, lot + LOT_SPAN - 1))
    if state != State.MISSED:
        stages.open_first(release=world.release.pk, now=world.clock())
        for on_its_way in (State.STAGING, State.STAGED):
            deployment.update(state=on_its_way)
        deployment.update(state=State.ACTIVATING, stage=1)
    ending = {State.FAILED: Ending.ACTIVATION_FAILED, State.MISSED: Ending.UNREACHABLE}.get(
        state, Ending.SILENT
    )
    deployment.update(state=state, ending=ending, next_at=None, ended_at=world.clock())


def next_working_day(world: World) -> None:
    world.clock.moment += DAY
    while world.clock().weekday() > 4:
        world.clock.moment += DAY


class TestDueNetworks:
    def test_are_none_before_the_policy_s_part_of_the_period_is_over(self, world: World) -> None:
        moment = deadlines.allocation_at(period=world.release.periods.get(), policy=world.release.policy)
        assert queries.due_networks(release=world.release, now=moment - timedelta(seconds=1)) == []
        assert queries.due_networks(release=world.release, now=moment) == [world.network.pk]

    def test_are_due_on_every_working_day_until_the_period_is_over(self, world: World) -> None:
        moment = deadlines.allocation_at(period=world.release.periods.get(), policy=world.release.policy)
        end = world.release.periods.get().end_at

        days = [
            day
            for number in range(40)
            for day in [moment + number * DAY]
            if queries.due_networks(release=world.release, now=day)
        ]

        assert days[0] == moment
        assert days[-1] < end
        assert end - days[-1] < 5 * DAY
        assert all(day.weekday() < 5 for day in days[1:])
        assert date(2026, 12, 7) in {day.date() for day in days}

    def test_begin_on_the_day_itself_also_at_a_weekend(self, world: World) -> None:
        saturday = datetime(2026, 12, 5, 12, tzinfo=UTC)
        AvailabilityPeriod.objects.update(start_at=saturday - 67 * DAY, end_at=saturday + 33 * DAY)

        due = [
            bool(queries.due_networks(release=world.release, now=saturday + number * DAY))
            for number in range(-1, 4)
        ]

        assert due == [False, True, False, True, True]

    def test_wait_for_a_network_whose_moment_is_later_on_the_same_day(self, world: World) -> None:
        other = factories.NetworkFactory.create(code="south")
        noon = datetime(2026, 12, 2, 12, tzinfo=UTC)
        AvailabilityPeriod.objects.update(start_at=noon - 67 * DAY, end_at=noon + 33 * DAY)
        shift = timedelta(hours=5)
        factories.AvailabilityPeriodFactory.create(
            release=world.release,
            network=other,
            start_at=noon + shift - 67 * DAY,
            end_at=noon + shift + 33 * DAY,
        )

        assert queries.due_networks(release=world.release, now=noon + timedelta(hours=4)) == []
        assert queries.due_networks(release=world.release, now=noon + shift) == sorted(
            [world.network.pk, other.pk]
        )

    def test_stay_due_when_the_period_is_given_more_time(self, world: World) -> None:
        world.hubs(1)
        now = to_the_day(world)
        allocate(world)
        world.release.periods.update(end_at=now + 400 * DAY)
        release = FirmwareRelease.objects.get(pk=world.release.pk)

        assert queries.due_networks(release=release, now=now + 3 * DAY) == [world.network.pk]


class TestAllocate:
    def test_spreads_what_is_left_evenly_over_the_slots_after_the_notice(self, world: World) -> None:
        world.hubs(30)
        now = to_the_day(world)
        too_soon = world.slot(start=4 * DAY, room=100)
        later = [world.slot(start=8 * DAY + number * DAY, room=100) for number in range(3)]

        assert allocate(world) == 1

        booking = Booking.objects.get()
        assert (booking.origin, booking.booked_by, booking.hubs) == ("default", None, 30)
        assert booking.supplier == world.northern
        too_soon.refresh_from_db()
        assert too_soon.taken == 0
        for slot in later:
            slot.refresh_from_db()
            assert slot.taken == 10
            assert slot.start_at >= world.release.policy.default_allocation_notice.after(now)
        assert not HubException.objects.exists()
        allocation = Allocation.objects.get()
        assert (allocation.hubs, allocation.booked, allocation.left_over) == (30, 30, 0)
        assert allocation.finished_at

    def test_books_every_lead_supplier_its_own(self, world: World) -> None:
        ours, theirs = world.hubs(3), world.hubs(2, supplier=world.southern)
        to_the_day(world)
        world.slot(start=8 * DAY, room=100)

        assert allocate(world) == 2

        for supplier, hubs in ((world.northern, ours), (world.southern, theirs)):
            lots = Lot.objects.filter(supplier=supplier).values_list("id", flat=True)
            held = Deployment.objects.annotate(lot=F("id") / LOT_SPAN).filter(lot__in=list(lots))
            assert set(held.values_list("hub_id", flat=True)) == {hub.chf_id for hub in hubs}

    def test_uses_dcc_s_reserve_and_no_fair_share_binds(self, world: World) -> None:
        world.hubs(10)
        world.hubs(90, supplier=world.southern)
        of_policy(world, reserve_percent=50, fair_share_until="0 days")
        to_the_day(world)
        slot = world.slot(start=8 * DAY, room=100)

        allocate(world)

        slot.refresh_from_db()
        assert slot.taken == 100

    def test_keeps_clear_of_protected_windows(self, world: World) -> None:
        world.hubs(4)
        to_the_day(world)
        protected = world.slot(start=8 * DAY, room=100)
        clear = world.slot(start=9 * DAY, room=3)
        world.protect(start=8 * DAY)

        allocate(world)

        assert not Slot.objects.get(pk=protected.pk).taken
        assert Slot.objects.get(pk=clear.pk).taken == 3
        assert HubException.objects.get().why == HubException.Why.NO_SLOT

    def test_leaves_what_is_booked_where_it_is(self, world: World) -> None:
        world.hubs(4)
        world.slot(start=50 * DAY, room=100)
        booking = world.book()
        to_the_day(world)
        world.slot(start=8 * DAY, room=100)

        assert allocate(world) == 0

        assert Booking.objects.get() == booking
        assert Allocation.objects.get().selection is None

    def test_does_nothing_before_its_day_or_for_a_halted_release(self, world: World) -> None:
        world.hubs(4)
        count_fleet(now=world.clock())
        world.slot(start=50 * DAY, room=100)
        assert allocate(world) == 0
        to_the_day(world)
        decisions.halt(release=world.release, by=world.staff, reason="Silent hubs", now=world.clock())

        assert allocate(world) == 0

        assert not Allocation.objects.exists()

    def test_goes_on_with_what_a_halt_interrupted_once_the_release_is_resumed(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.hubs(4)
        to_the_day(world)
        world.slot(start=8 * DAY, room=100)
        begin = allocations._begin

        def then_halted(*given: object) -> None:
            begin(*given)  # type: ignore[arg-type]
            FirmwareRelease.objects.update(state="halted")

        with monkeypatch.context() as patch:
            patch.setattr(allocations, "_begin", then_halted)
            assert allocate(world) == 0
        assert not Booking.objects.exists()
        assert not HubException.objects.exists()
        FirmwareRelease.objects.update(state="published")

        assert allocate(world) == 1

        assert Booking.objects.get().hubs == 4

    def test_happens_once_a_day_for_each_supplier(self, world: World) -> None:
        world.hubs(4)
        to_the_day(world)
        world.slot(start=8 * DAY, room=100)
        allocate(world)
        bookings.cancel(booking=Booking.objects.get(), by=world.person, reason="No", now=world.clock())

        assert allocate(world) == 0

        assert not booked_hubs()

    def test_takes_what_was_cancelled_again_on_the_next_working_day(self, world: World) -> None:
        hubs = world.hubs(4)
        to_the_day(world)
        world.slot(start=10 * DAY, room=100)
        allocate(world)
        bookings.cancel(booking=Booking.objects.get(), by=world.person, reason="No", now=world.clock())
        next_working_day(world)

        assert allocate(world) == 1

        assert booked_hubs() == {hub.chf_id for hub in hubs}
        assert Allocation.objects.count() == 2

    def test_can_be_moved_by_the_supplier_until_the_cut_off(self, world: World) -> None:
        world.hubs(4)
        to_the_day(world)
        world.slot(start=8 * DAY, room=100)
        other = world.slot(start=12 * DAY, room=100)
        allocate(world)
        booking = Booking.objects.get()

        moved = changes.move(
            booking=booking,
            part=Part(),
            to=Destination(Booking.Plan.ONE_SLOT, other.start_at),
            only_if_all=False,
            by=world.person,
            reason="",
            clock=world.clock,
        )

        assert moved == 2
        assert Slot.objects.get(pk=other.pk).taken == 4
        assert_books_balance()

    def test_puts_what_finds_no_slot_into_the_queue(self, world: World) -> None:
        hubs = world.hubs(10)
        to_the_day(world)
        world.slot(start=8 * DAY, room=6)

        allocate(world)

        assert len(booked_hubs()) == 6
        assert queued_hubs() == {hub.chf_id for hub in hubs} - booked_hubs()
        one = HubException.objects.all()[0]
        assert (one.release, one.supplier, one.network) == (world.release, world.northern, world.network)
        assert UnplacedHub.objects.count() == 4

    @pytest.mark.parametrize("left", ["1 hours", "20 working days"])
    def test_queues_everything_where_there_is_no_room_or_too_little_notice_is_left(
        self, left: str, world: World
    ) -> None:
        hubs = world.hubs(3)
        of_policy(world, default_allocation_notice=left)
        to_the_day(world)
        if left != "1 hours":
            world.slot(start=8 * DAY, room=100)

        assert allocate(world) == 1

        assert not Booking.objects.exists()
        assert queued_hubs() == {hub.chf_id for hub in hubs}

    def test_books_what_was_in_the_queue_when_there_is_room_again(self, world: World) -> None:
        hubs = world.hubs(3)
        to_the_day(world)
        allocate(world)
        next_working_day(world)
        world.slot(start=8 * DAY, room=100)

        allocate(world)

        assert booked_hubs() == {hub.chf_id for hub in hubs}

    def test_lets_what_dcc_has_to_decide_about_after_two_misses_be(self, world: World) -> None:
        hub, other = world.hubs(2)
        HubException.objects.create(
            release=world.release,
            hub=hub.chf_id,
            why=HubException.Why.MISSED_TWICE,
            supplier=world.northern,
            network=world.network,
            raised_at=world.clock(),
        )
        to_the_day(world)
        world.slot(start=8 * DAY, room=100)

        allocate(world)

        assert booked_hubs() == {other.chf_id}

    def test_tries_no_hub_again_on_which_the_release_failed(self, world: World) -> None:
        """A handful of bad hubs, all activated once more, would speak against a release that is good."""
        failed, unconfirmed, missed, other = world.hubs(4)
        fail(world, failed)
        fail(world, unconfirmed, state=State.UNCONFIRMED)
        fail(world, missed, state=State.MISSED)
        to_the_day(world)
        world.slot(start=8 * DAY, room=100)

        allocate(world)

        assert booked_hubs() == {missed.chf_id, other.chf_id}
        raised = HubException.objects.filter(ended_at=None)
        assert {(one.hub, one.why, one.supplier, one.network) for one in raised} == {
            (hub.chf_id, HubException.Why.FAILED, world.northern, world.network)
            for hub in (failed, unconfirmed)
        }

    def test_puts_failed_hubs_before_dcc_also_where_nothing_else_is_left(self, world: World) -> None:
        [hub] = world.hubs(1)
        fail(world, hub)
        to_the_day(world)

        allocate(world)

        assert queued_hubs() == {hub.chf_id}
        assert not booked_hubs()

    def test_queues_failed_hubs_that_left_the_queue_only_when_they_fail_again(self, world: World) -> None:
        [hub] = world.hubs(1)
        fail(world, hub)
        to_the_day(world)
        allocate(world)
        HubException.objects.update(ended_at=world.clock(), how=HubException.How.GONE)
        next_working_day(world)
        allocate(world)
        assert not queued_hubs() | booked_hubs()

        fail(world, hub)
        next_working_day(world)
        allocate(world)
        assert queued_hubs() == {hub.chf_id}

    def test_neither_queues_nor_tries_failed_hubs_that_are_exempt(self, world: World) -> None:
        [hub] = world.hubs(1)
        fail(world, hub)
        to_the_day(world)
        exemptions.exempt(
            release=world.release,
            supplier=world.northern,
            network=None,
            hubs=[],
            reason="Replaced next month.",
            expires_at=world.clock() + 2 * DAY,
            by=world.staff,
            now=world.clock(),
        )

        allocate(world)

        assert not queued_hubs() | booked_hubs()

    def test_lets_the_supplier_book_failed_hubs_again(self, world: World) -> None:
        [hub] = world.hubs(1)
        fail(world, hub)
        world.slot(start=8 * DAY, room=1)

        world.book()

        assert booked_hubs() == {hub.chf_id}

    def test_takes_hubs_from_their_lead_also_when_the_other_supplier_may_book(self, world: World) -> None:
        shared = world.hubs(2, gas_supplier=world.southern)
        to_the_day(world)
        world.slot(start=15 * DAY, room=100)

        assert allocate(world) == 1

        assert Booking.objects.get().supplier == world.northern
        assert booked_hubs() == {hub.chf_id for hub in shared}
        assert {one.state for one in Deployment.objects.all()} == {State.PROVISIONAL}

    def test_tells_the_supplier_once(self, world: World) -> None:
        world.hubs(10)
        to_the_day(world)
        world.slot(start=8 * DAY, room=6)
        allocate(world)
        allocate(world)

        [notice] = Notice.objects.filter(kind=Notice.Kind.ALLOCATED)
        words = notices.render(notice=notice)

        assert notice.address == world.person.email
        assert "DCC allocated 6 of your hubs to slots for Spring release" in words.subject
        assert "Nobody had booked 6 hubs of Northern" in words.text
        assert "4 more hubs found no clear slot" in words.text
        for said in (words.text, words.html):
            assert "releases@dcc.example.com" in said
            assert Booking.objects.get().reference in said
            assert "{{" not in said
            assert "{%" not in said
            assert "00-DB-" not in said

    def test_holds_its_day_and_its_decision_to_one_row_each(self, world: World) -> None:
        world.hubs(1)
        to_the_day(world)
        allocate(world)
        done = Allocation.objects.get()
        done.pk = None
        done.selection = None

        with pytest.raises(IntegrityError, match="allocation_once_a_day"), transaction.atomic():
            done.save(force_insert=True)

    def test_refuses_a_row_that_is_to_be_carried_out_without_hubs(self, world: World) -> None:
        with (
            pytest.raises(IntegrityError, match="allocation_finished_unless_it_has_a_selection"),
            transaction.atomic(),
        ):
            Allocation.objects.create(
                release=world.release,
                supplier=world.northern,
                day=world.clock().date(),
                begun_at=world.clock(),
            )


class Died(BaseException):
    """What a power cut is to the code that it meets: nothing of it catches this."""


class TestACrash:
    """Whoever dies in between leaves a row, and the next one goes on."""

    @pytest.fixture(autouse=True)
    def due(self, world: World) -> None:
        self.hubs = {hub.chf_id for hub in world.hubs(10)}
        to_the_day(world)
        world.slot(start=8 * DAY, room=6)

    def dies_at(self, world: World, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        def die(*_given: object, **_named: object) -> None:
            raise Died

        with monkeypatch.context() as patch:
            patch.setattr(allocations, step, die)
            with pytest.raises(Died):
                allocate(world)

    @pytest.mark.parametrize("step", ["_carry_out", "_book", "_finish"])
    def test_is_found_and_finished_once_its_lease_is_over(
        self, step: str, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.dies_at(world, monkeypatch, step)
        assert allocate(world) == 0  # as long as the lease lasts

        world.clock.moment += 2 * allocations.LEASE
        assert allocate(world) == 1

        assert Booking.objects.filter(abandoned_at=None).count() == 1
        assert Notice.objects.filter(kind=Notice.Kind.ALLOCATED).count() == 1
        assert booked_hubs() | queued_hubs() == self.hubs
        assert len(booked_hubs()) == 6

    def test_between_the_places_and_the_hubs_is_waited_for_and_then_begun_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(*_given: object) -> None:
            raise Died

        with monkeypatch.context() as patch:
            patch.setattr(bookings, "_place", die)
            with pytest.raises(Died):
                allocate(world)
        world.clock.moment += 2 * allocations.LEASE
        assert allocate(world) == 0  # the places are still held
        assert not queued_hubs()
        world.clock.moment += bookings.ABANDON_AFTER + 2 * allocations.LEASE
        assert bookings.give_back_abandoned(now=world.clock()) == 1

        assert allocate(world) == 1

        assert len(booked_hubs()) == 6
        assert booked_hubs() | queued_hubs() == self.hubs
        assert Slot.objects.get().taken == 6


class TestAStop:
    """A worker that is to end breaks off what it is at; the next one need not wait for anything."""

    @pytest.mark.parametrize(
        ("room", "step"), [(allocations, "_book"), (bookings, "_place"), (allocations, "_finish")]
    )
    def test_hands_back_what_was_begun(
        self, room: ModuleType, step: str, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hubs = {hub.chf_id for hub in world.hubs(10)}
        to_the_day(world)
        world.slot(start=8 * DAY, room=6)

        def break_off(*_given: object, **_named: object) -> None:
            raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(room, step, break_off)
            with pytest.raises(SystemExit):
                allocate(world)

        assert allocate(world) == 1
        assert len(booked_hubs()) == 6
        assert booked_hubs() | queued_hubs() == hubs
        assert Slot.objects.get().taken == 6

    def test_begins_nothing_more(self, world: World) -> None:
        world.hubs(10)
        to_the_day(world)
        world.slot(start=8 * DAY, room=10)
        assert allocations.allocate(clock=world.clock, keep_going=lambda: False) == 0
        assert not Allocation.objects.exists()


class TestACrowd:
    """Others book the same slots, or the same hubs, faster than the allocation each time."""

    def test_is_waited_for_and_puts_nothing_into_the_queue(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hubs = {hub.chf_id for hub in world.hubs(10)}
        to_the_day(world)
        world.slot(start=8 * DAY, room=10)
        with monkeypatch.context() as patch:
            patch.setattr("scheduling.operations.placing.move_places", lambda places: 0)
            assert allocate(world) == 0
        assert not queued_hubs()

        world.clock.moment += 2 * allocations.LEASE
        assert allocate(world) == 1

        assert booked_hubs() == hubs
        assert_books_balance()


class TestExempt:
    def exempt(self, world: World, **facts: object) -> Exemption:
        return exemptions.exempt(
            **{  # type: ignore[arg-type]
                "release": world.release,
                "supplier": world.northern,
                "network": None,
                "hubs": [],
                "reason": "Hospital",
                "expires_at": world.clock() + 2 * DAY,
                "by": world.staff,
                "now": world.clock(),
                **facts,
            }
        )

    @pytest.fixture(autouse=True)
    def due(self, world: World) -> None:
        self.hubs = world.hubs(5)
        to_the_day(world)
        world.slot(start=15 * DAY, room=100)

    def test_hubs_are_neither_allocated_nor_queued(self, world: World) -> None:
        self.exempt(world)

        assert allocate(world) == 0

        assert not booked_hubs() | queued_hubs()

    def test_hubs_are_those_of_a_network_or_of_a_list(self, world: World) -> None:
        self.exempt(world, network=factories.NetworkFactory.create(code="south"))
        self.exempt(world, hubs=[self.hubs[0].chf_id, self.hubs[1].chf_id])

        allocate(world)

        assert booked_hubs() == {hub.chf_id for hub in self.hubs[2:]}
        assert not queued_hubs()

    def test_hubs_on_their_network_are_left_alone(self, world: World) -> None:
        self.exempt(world, network=world.network)

        assert allocate(world) == 0

    def test_hubs_can_be_booked_by_their_supplier(self, world: World) -> None:
        self.exempt(world)

        assert world.book().hubs == 5

    def test_hubs_are_allocated_once_it_has_expired(self, world: World) -> None:
        self.exempt(world)
        allocate(world)
        world.clock.moment += 2 * DAY
        next_working_day(world)

        allocate(world)

        assert booked_hubs() == {hub.chf_id for hub in self.hubs}

    def test_ends_early_when_dcc_says_so(self, world: World) -> None:
        exemption = self.exempt(world)
        exemptions.end(exemption=exemption, by=world.staff, reason="Was a mistake", now=world.clock())

        allocate(world)

        assert len(booked_hubs()) == 5
        with pytest.raises(exemptions.UnableToExempt, match="ended already"):
            exemptions.end(exemption=exemption, by=world.staff, reason="", now=world.clock())

    @pytest.mark.parametrize(
        ("facts", "sentence"),
        [
            ({"reason": " "}, "Say in a few words why"),
            ({"expires_at": NOW + 400 * DAY}, "at the latest with the release's last availability period"),
            ({"expires_at": NOW}, "ends after now"),
            ({"hubs": [1, 2]}, "2 of the 2 listed hubs are not hubs that Northern leads"),
        ],
    )
    def test_is_refused_in_a_sentence(self, facts: dict[str, object], sentence: str, world: World) -> None:
        with pytest.raises(exemptions.UnableToExempt, match=sentence):
            self.exempt(world, **facts)
        assert not Exemption.objects.exists()

    def test_is_dcc_s_alone(self, world: World) -> None:
        with pytest.raises(exemptions.UnableToExempt, match="Only a DCC release manager"):
            self.exempt(world, by=world.person)

    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ({"reason": ""}, "exemption_has_a_reason"),
            ({"expires_at": NOW - DAY}, "exemption_expires_after_it_is_made"),
            ({"ended_at": NOW}, "exemption_ended_at_with_ended_by"),
        ],
    )
    def test_cannot_be_written_past_python(self, change: dict[str, object], name: str, world: World) -> None:
        exemption = self.exempt(world)

        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            Exemption.objects.filter(pk=exemption.pk).update(**change)


class TestNothing:
    """Whatever the world is like, every eligible hub is booked, exempt or in the queue afterwards."""

    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        ours=st.integers(0, 12),
        theirs=st.integers(0, 6),
        shared=st.integers(0, 4),
        booked=st.integers(0, 5),
        slots=st.dictionaries(st.integers(1, 18), st.integers(0, 6), max_size=5),
        protected=st.sets(st.integers(1, 18), max_size=6),
        exempt=st.integers(0, 3),
        days=st.integers(1, 3),
    )
    def test_is_silently_skipped(
        self,
        world: World,
        ours: int,
        theirs: int,
        shared: int,
        booked: int,
        slots: dict[int, int],
        protected: set[int],
        exempt: int,
        days: int,
    ) -> None:
        with rolled_back():
            world = replace(world, clock=worlds.Clock(NOW))
            hubs = world.hubs(ours) + world.hubs(shared, gas_supplier=world.southern)
            world.hubs(theirs, supplier=world.southern)
            world.slot(start=55 * DAY, room=booked)
            if booked and hubs:
                world.book()
            to_the_day(world)
            for start, room in slots.items():
                world.slot(start=start * DAY, room=room)
            for start in protected:
                world.protect(start=start * DAY)
            exempted = {hub.chf_id for hub in hubs[:exempt]}
            if exempted:
                exemptions.exempt(
                    release=world.release,
                    supplier=world.northern,
                    network=None,
                    hubs=exempted,
                    reason="Hospital",
                    expires_at=world.clock() + 10 * DAY,
                    by=world.staff,
                    now=world.clock(),
                )
            for _ in range(days):
                allocate(world)
                exceptions.settle(now=world.clock())
                every = set(CommunicationsHub.objects.values_list("chf_id", flat=True))
                assert booked_hubs() | queued_hubs() | exempted == every
                assert not booked_hubs() & queued_hubs()
                assert not exempted & queued_hubs()
                assert not Slot.objects.filter(taken__gt=F("capacity")).exists()
                next_working_day(world)


@contextmanager
def rolled_back() -> Iterator[None]:
    """Forget what an example did."""
    outer = transaction.atomic()
    outer._from_testcase = True  # type: ignore[attr-defined]  # as in a test: operations may be durable
    with outer:
        yield
        transaction.set_rollback(True)
