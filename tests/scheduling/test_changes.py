"""Changing a booking: what a part is, what goes, what stays, and that no place is lost or invented."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubs.models import CommunicationsHub, HubStatus, PaymentMode
from hubs.operations import count_fleet
from portal.ground.models import AuditEntry
from scheduling.lifecycle import Ending, State
from scheduling.models import Booking, Deployment, Lot, Slot
from scheduling.operations import bookings, changes
from scheduling.operations.bookings import UnableToBook, UnableToCancel
from scheduling.operations.changes import UnableToMove
from scheduling.queries import bookings as booking_queries
from scheduling.queries import parts, progress
from scheduling.queries.parts import Destination, Obstacle, Part
from tests import factories
from tests.scheduling.world import World, in_no_stage

WHOLE = Part()


@pytest.fixture
def booked(world: World) -> Booking:
    """Six hubs booked in two slots with three places each, five and six hours ahead."""
    world.hubs(6)
    for hours in (5, 6):
        world.slot(start=timedelta(hours=hours), room=3)
    return world.book()


def cancel(world: World, booking: Booking, part: Part, *, only_if_all: bool = False) -> int:
    return changes.cancel_part(
        booking=booking,
        part=part,
        only_if_all=only_if_all,
        by=world.person,
        reason="Tariff change",
        now=world.clock(),
    )


def move(world: World, booking: Booking, to: Destination, part: Part = WHOLE, **asked: Any) -> int:
    """Move, a second later than whatever was done before."""
    world.clock.move(seconds=1)
    return changes.move(
        booking=booking,
        part=part,
        to=to,
        only_if_all=asked.get("only_if_all", False),
        by=world.person,
        reason="Better then",
        clock=world.clock,
    )


def into(slot: Slot) -> Destination:
    return Destination(Booking.Plan.ONE_SLOT, slot.start_at)


def earliest(world: World, **span: float) -> Destination:
    return Destination(Booking.Plan.EARLIEST, world.clock() + timedelta(**span))


def hubs_in(slot: Slot) -> list[int]:
    """Return the hubs with an open deployment in a slot."""
    lots = set(Lot.objects.filter(slot=slot).values_list("id", flat=True))
    return [one.hub_id for one in Deployment.objects.filter(ended_at=None) if one.lot_id in lots]


def assert_books_balance() -> None:
    """Hold every count against the deployments themselves."""
    open_in: Counter[int] = Counter()
    slot_of = dict(Lot.objects.values_list("id", "slot"))
    moved: Counter[int] = Counter()
    for deployment in Deployment.objects.all():
        if deployment.state != State.CANCELLED:
            open_in[slot_of[deployment.lot_id]] += 1
        moved[deployment.lot_id] += deployment.ending == Ending.MOVED
    for slot in Slot.objects.all():
        assert slot.taken == open_in[slot.pk] <= slot.capacity
    for lot in Lot.objects.all():
        assert lot.size - lot.cancelled == sum(getattr(lot, state) for state in State if state != "cancelled")
        assert lot.moved == moved[lot.pk]
    hubs = list(Deployment.objects.filter(ended_at=None).values_list("hub", flat=True))
    assert len(hubs) == len(set(hubs))


class TestCancelPart:
    def test_of_one_slot_frees_exactly_its_places(self, world: World, booked: Booking) -> None:
        first, second = world.slots

        assert cancel(world, booked, Part({"slot": [first.pk]})) == 3

        first.refresh_from_db()
        second.refresh_from_db()
        assert (first.taken, second.taken) == (0, 3)
        assert list(booked.lots.order_by("slot__start_at").values_list("cancelled", "booked")) == [
            (3, 0),
            (0, 3),
        ]
        assert_books_balance()

    @pytest.mark.parametrize("facet", ["network", "model", "installed_version", "payment_mode"])
    def test_goes_by_every_facet(self, world: World, booked: Booking, facet: str) -> None:
        column = facet if facet == "payment_mode" else f"{facet}_id"
        two = Deployment.objects.order_by("id").values_list("hub", flat=True)[:2]
        value = getattr(CommunicationsHub.objects.get(pk=two[0]), column)
        others = CommunicationsHub.objects.exclude(pk__in=list(two))
        if facet == "payment_mode":
            others.update(payment_mode=PaymentMode.PREPAYMENT)
        elif facet == "model":
            others.update(model=factories.HubModelFactory.create())
        elif facet == "installed_version":
            others.update(installed_version=factories.FirmwareVersionFactory.create(number=0x01000000))

        assert cancel(world, booked, Part({facet: [value]})) == (6 if facet == "network" else 2)
        assert parts.outlook(booking=booked, part=Part({facet: [value]}), now=world.clock()).would_go == 0

    def test_by_a_list_leaves_the_others_and_names_what_is_not_here(
        self, world: World, booked: Booking
    ) -> None:
        one, two = Deployment.objects.order_by("id").values_list("hub", flat=True)[:2]
        part = Part(hubs=[one, two, two, 1])

        outlook = parts.outlook(booking=booked, part=part, now=world.clock())
        gone = cancel(world, booked, part)

        assert (outlook.would_go, dict(outlook.refused)) == (2, {Obstacle.NOT_BOOKED: 1})
        assert gone == 2
        assert set(Deployment.objects.filter(ended_at=None).values_list("hub", flat=True)).isdisjoint(
            {one, two}
        )

    def test_names_what_stands_in_the_way_of_each_hub(self, world: World, booked: Booking) -> None:
        first, second, third, *_ = Deployment.objects.order_by("id")
        cancel(world, booked, Part(hubs=[first.hub_id]))
        for state in (State.STAGING, State.STAGED, State.ACTIVATING):
            with in_no_stage():
                Deployment.objects.filter(pk=second.pk).update(state=state)
        world.clock.move(hours=4, minutes=1)  # the cut-off of the first slot is an hour before it
        Deployment.objects.filter(pk=third.pk).update(moved_at=world.clock())
        late = hubs_in(world.slots[1])

        outlook = parts.outlook(
            booking=booked,
            part=Part(hubs=[first.hub_id, second.hub_id, third.hub_id, *late]),
            now=world.clock(),
        )

        assert dict(outlook.refused) == {
            Obstacle.ENDED: 1,
            Obstacle.ACTIVATING: 1,
            Obstacle.PAST_CUT_OFF: 1,
        }
        assert outlook.by_slot == {world.slots[1].pk: 3}

    def test_cancels_nothing_unless_all_can_go_where_that_is_asked(
        self, world: World, booked: Booking
    ) -> None:
        world.clock.move(hours=4, minutes=1)

        with pytest.raises(UnableToCancel, match=r"3 of 6 hubs could go \(3 its cut-off has passed\)"):
            cancel(world, booked, WHOLE, only_if_all=True)
        assert not Deployment.objects.filter(state=State.CANCELLED).exists()
        assert cancel(world, booked, WHOLE) == 3
        assert (
            cancel_is_refused(world, booked)
            == "None of these hubs can be cancelled (3 its cut-off has passed)."
        )

    def test_leaves_room_that_can_be_booked_at_once(self, world: World, booked: Booking) -> None:
        world.hubs(3)
        with pytest.raises(UnableToBook, match="no room left"):
            world.book()
        cancel(world, booked, Part({"slot": [world.slots[1].pk]}))

        assert world.book().hubs == 3

    def test_is_on_record_with_its_reason(self, world: World, booked: Booking) -> None:
        cancel(world, booked, Part({"slot": [world.slots[0].pk]}))

        entry = AuditEntry.objects.get(verb="booking.cancelled")
        assert (entry.reason, entry.actor) == ("Tariff change", world.person)
        assert entry.facts == {"hubs": 3, "part": {"slot": [world.slots[0].pk]}}

    def test_lets_a_booking_without_a_hub_be_done(self, world: World, booked: Booking) -> None:
        cancel(world, booked, WHOLE)

        assert not booked.lots.filter(due_at__isnull=False).exists()
        assert bookings.finish(now=world.clock()) == [booked.pk]


def cancel_is_refused(world: World, booking: Booking) -> str:
    with pytest.raises(UnableToCancel) as refusal:
        cancel(world, booking, WHOLE)
    return str(refusal.value)


class TestMove:
    def test_takes_a_part_to_another_slot(self, world: World, booked: Booking) -> None:
        first, second = world.slots
        third = world.slot(start=timedelta(hours=9), room=5)
        hubs = hubs_in(first)

        assert move(world, booked, into(third), Part({"slot": [first.pk]})) == 3

        assert sorted(hubs_in(third)) == sorted(hubs)
        assert [slot.taken for slot in Slot.objects.order_by("start_at")] == [0, 3, 3]
        assert set(Deployment.objects.filter(state=State.CANCELLED).values_list("ending", flat=True)) == {
            Ending.MOVED
        }
        lot = third.lots.get()
        assert (lot.booking, lot.booked, lot.due_at) == (booked, 3, lot.staging_from)
        assert lot.change_until == third.start_at - timedelta(hours=1)
        assert len(hubs_in(second)) == 3
        assert_books_balance()

    def test_counts_and_lists_a_hub_where_it_went_alone(self, world: World, booked: Booking) -> None:
        third = world.slot(start=timedelta(hours=9), room=6)
        move(world, booked, into(third))

        assert progress.of_lots(lots=booked.lots.all()).by_state == {
            **dict.fromkeys(State, 0),
            State.BOOKED: 6,
        }
        assert [slot.start_at for slot in progress.by_slot(lots=booked.lots.all())] == [third.start_at]
        listed = booking_queries.hubs(booking=booked, start=0, limit=100)
        assert {line.slot_start for line in listed} == {third.start_at}
        assert len(listed) == 6
        assert booking_queries.hubs(booking=booked, start=0, limit=9, state=State.CANCELLED) == []

    def test_moves_none_when_one_does_not_fit(self, world: World, booked: Booking) -> None:
        third = world.slot(start=timedelta(hours=9), room=5)
        before = list(Deployment.objects.order_by("id").values())

        with pytest.raises(UnableToMove, match=r"Nothing was moved.*has room for 5 of 6 hubs"):
            move(world, booked, into(third))

        assert list(Deployment.objects.order_by("id").values()) == before
        assert [slot.taken for slot in Slot.objects.order_by("start_at")] == [3, 3, 0]
        assert_books_balance()

    def test_says_so_when_there_is_no_slot_then(self, world: World, booked: Booking) -> None:
        with pytest.raises(UnableToMove, match="has room for 0 of 6 hubs"):
            move(world, booked, Destination(Booking.Plan.ONE_SLOT, world.clock() + timedelta(hours=20)))

    def test_goes_as_early_as_possible_from_a_moment_on(self, world: World, booked: Booking) -> None:
        for hours, room in ((7, 2), (8, 2), (9, 9)):
            world.slot(start=timedelta(hours=hours), room=room)

        assert move(world, booked, earliest(world, hours=6, minutes=30)) == 6

        assert [slot.taken for slot in Slot.objects.order_by("start_at")] == [0, 0, 2, 2, 2]
        assert_books_balance()

    def test_counts_the_places_that_it_leaves_as_free(self, world: World, booked: Booking) -> None:
        """The second slot is full of this very booking, and takes three again; the others need the third."""
        world.slot(start=timedelta(hours=7), room=3)

        assert move(world, booked, earliest(world, hours=5, minutes=30)) == 6

        assert [slot.taken for slot in Slot.objects.order_by("start_at")] == [0, 3, 3]
        assert_books_balance()

    def test_keeps_to_share_and_reserve(self, world: World) -> None:
        world.hubs(4)
        world.hubs(4, supplier=world.southern)
        count_fleet(now=world.clock())
        world.slot(start=timedelta(days=9), room=100)
        booking = world.book()
        policy = world.release.policy
        policy.reserve_percent, policy.fair_share_until = 20, "5 working days"
        policy.save()
        narrow = world.slot(start=timedelta(days=10), room=5)

        with pytest.raises(UnableToMove, match="has room for 2 of 4 hubs"):  # half of the four not kept
            move(world, Booking.objects.get(pk=booking.pk), into(narrow))

    def test_leaves_hubs_that_are_there_already_or_may_no_longer_go(
        self, world: World, booked: Booking
    ) -> None:
        first, second = world.slots
        Slot.objects.filter(pk=second.pk).update(capacity=9)
        lost = hubs_in(first)[0]
        CommunicationsHub.objects.filter(pk=lost).update(status=HubStatus.RECOVERY)

        outlook = parts.outlook(booking=booked, part=WHOLE, now=world.clock(), to=into(second))

        assert dict(outlook.refused) == {Obstacle.THERE_ALREADY: 3, Obstacle.NOT_ELIGIBLE: 1}
        with pytest.raises(UnableToMove, match="not all can be: 2 of 6"):
            move(world, booked, into(second), only_if_all=True)
        assert move(world, booked, into(second)) == 2
        assert hubs_in(first) == [lost]
        assert_books_balance()

    def test_is_refused_after_the_cut_off_and_for_a_slot_whose_own_has_passed(
        self, world: World, booked: Booking
    ) -> None:
        near = world.slot(start=timedelta(minutes=30), room=9)
        with pytest.raises(UnableToMove, match="has room for 0 of 6"):
            move(world, booked, into(near))
        third = world.slot(start=timedelta(hours=30), room=9)
        world.clock.move(hours=5, minutes=1)
        with pytest.raises(UnableToMove, match="6 its cut-off has passed"):
            move(world, booked, into(third))

    def test_is_refused_while_the_release_is_halted(self, world: World, booked: Booking) -> None:
        third = world.slot(start=timedelta(hours=9), room=9)
        type(world.release).objects.update(state="halted")

        with pytest.raises(UnableToMove, match=r"is halted.*can still be cancelled"):
            move(world, booked, into(third))

    def test_may_be_done_again_and_undone(self, world: World, booked: Booking) -> None:
        first = world.slots[0]
        third = world.slot(start=timedelta(hours=9), room=9)
        only_first = Part({"slot": [first.pk]})
        hubs = hubs_in(first)

        move(world, booked, into(third), only_first)
        move(world, booked, into(first), Part({"slot": [third.pk]}))

        assert sorted(hubs_in(first)) == sorted(hubs)
        assert progress.of_lots(lots=booked.lots.all()).total == 6
        assert_books_balance()

    def test_is_carried_out_in_its_new_slot(self, world: World, booked: Booking) -> None:
        third = world.slot(start=timedelta(hours=9), room=9)
        move(world, booked, into(third))

        world.clock.move(hours=8, minutes=59)
        world.work()
        assert not Deployment.objects.filter(state=State.SUCCEEDED).exists()
        world.clock.moment = third.start_at
        world.work()

        assert progress.of_lots(lots=booked.lots.all()).present == [(State.SUCCEEDED, 6)]

    def test_is_on_record_with_its_reason(self, world: World, booked: Booking) -> None:
        third = world.slot(start=timedelta(hours=9), room=9)
        move(world, booked, into(third))

        entry = AuditEntry.objects.get(verb="booking.moved")
        assert (entry.reason, entry.facts["hubs"], entry.facts["slots"]) == ("Better then", 6, 1)


class TestMoveAndProtectedWindows:
    def test_moves_no_hub_into_its_own_window(self, world: World, booked: Booking) -> None:
        third = world.slot(start=timedelta(hours=9), room=9)
        kept = CommunicationsHub.objects.order_by("chf_id")[0]
        world.protect(start=timedelta(hours=9), hubs=[kept])

        with pytest.raises(UnableToMove, match=r"has room for 5 of 6 hubs. A slot in a protected window"):
            move(world, booked, into(third))

        others = [hub for hub in hubs_in(world.slots[0]) + hubs_in(world.slots[1]) if hub != kept.pk]
        assert move(world, booked, into(third), Part(hubs=others)) == 5
        assert_books_balance()

    def test_places_each_hub_clear_of_its_windows(self, world: World, booked: Booking) -> None:
        third = world.slot(start=timedelta(hours=9), room=9)
        fourth = world.slot(start=timedelta(hours=12), room=9)
        kept = list(CommunicationsHub.objects.order_by("chf_id")[1:3])
        world.protect(start=timedelta(hours=9), hubs=kept)

        assert move(world, booked, earliest(world, hours=8)) == 6

        assert sorted(hubs_in(fourth)) == [hub.pk for hub in kept]
        assert len(hubs_in(third)) == 4
        assert_books_balance()

    def test_moves_nothing_into_a_window_of_all(self, world: World, booked: Booking) -> None:
        third = world.slot(start=timedelta(hours=9), room=9)
        world.protect(start=timedelta(hours=9))

        with pytest.raises(UnableToMove, match="has room for 0 of 6 hubs"):
            move(world, booked, into(third))

    def test_records_the_soft_windows_despite_which_it_moved(self, world: World, booked: Booking) -> None:
        third = world.slot(start=timedelta(hours=9), room=9)
        soft = world.protect(start=timedelta(hours=9), is_hard=False)

        assert move(world, booked, into(third)) == 6

        assert AuditEntry.objects.get(verb="booking.moved").facts["despite"] == {str(soft.pk): 6}


class TestTheDatabase:
    def test_refuses_more_moved_than_cancelled(self, world: World, booked: Booking) -> None:
        with pytest.raises(IntegrityError, match="lot_moved_are_cancelled"), transaction.atomic():
            Lot.objects.update(moved=F("cancelled") + 1)


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["cancel", "one_slot", "earliest", "book"]),
        st.integers(0, 3),
        st.sets(st.integers(0, 9), max_size=6),
        st.booleans(),
    ),
    max_size=8,
)


class TestAnyChanges:
    @given(rooms=st.lists(st.integers(1, 6), min_size=4, max_size=4), acts=ACTS)
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_never_lose_or_invent_a_place_or_a_hub(
        self, world: World, rooms: list[int], acts: list[tuple[str, int, set[int], bool]]
    ) -> None:
        point = transaction.savepoint()
        self.run(world, rooms, acts)
        transaction.savepoint_rollback(point)
        world.slots.clear()

    def run(self, world: World, rooms: list[int], acts: list[tuple[str, int, set[int], bool]]) -> None:
        hubs = [hub.chf_id for hub in world.hubs(10)]
        slots = [world.slot(start=timedelta(hours=5 + hour), room=room) for hour, room in enumerate(rooms)]
        booking = world.book()
        for act, number, listed, whole in acts:
            world.clock.move(seconds=1)
            before = set(Deployment.objects.filter(ended_at=None).values_list("hub", flat=True))
            part = WHOLE if whole else Part(hubs=[hubs[index] for index in listed])
            to = Destination(
                Booking.Plan.EARLIEST if act == "earliest" else Booking.Plan.ONE_SLOT, slots[number].start_at
            )
            done = 0
            try:
                if act == "cancel":
                    done = cancel(world, booking, part)
                elif act == "book":
                    world.book()
                else:
                    move(world, booking, to, part)
            except (UnableToCancel, UnableToMove, UnableToBook):
                assert act in ("cancel", "book", "one_slot", "earliest")
            after = set(Deployment.objects.filter(ended_at=None).values_list("hub", flat=True))
            if act != "book":
                assert after <= before
                assert len(before) - len(after) == done
            assert_books_balance()
