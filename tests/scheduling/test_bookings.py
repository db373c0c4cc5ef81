"""Booking: what is placed, what is refused, and what comes back."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, FleetCount, HubStatus, Supplier
from hubs.operations import count_fleet
from scheduling.eligibility import Refusal
from scheduling.lifecycle import Ending, State
from scheduling.models import Booking, Deployment, Lot, Slot
from scheduling.operations import bookings
from scheduling.operations.bookings import UnableToBook, UnableToCancel
from scheduling.planning import Hours
from scheduling.queries import bookings as booking_queries
from scheduling.queries import progress, refusals, slots
from tests import factories
from tests.scheduling.world import World, forget_deployments

AT = datetime(2026, 11, 2, 2, tzinfo=UTC)


class TestBookAsEarlyAsPossible:
    def test_fills_the_first_slots_and_names_the_hubs_left_over(self, world: World) -> None:
        hubs = world.hubs(12)
        world.slot(start=timedelta(hours=6), room=4)
        world.slot(start=timedelta(hours=5), room=3)

        booking = world.book()

        assert (booking.hubs, booking.unplaced) == (7, 5)
        assert sorted(booking.lots.values_list("slot__start_at", "size")) == [
            (world.slots[1].start_at, 3),
            (world.slots[0].start_at, 4),
        ]
        assert [slot.taken for slot in Slot.objects.order_by("start_at")] == [3, 4]
        placed = [line.hub for line in booking_queries.hubs(booking=booking, start=0, limit=100)]
        left = [hub for hub, _ in booking_queries.unplaced(booking=booking, limit=100)]
        assert sorted(placed + left) == sorted(hub.chf_id for hub in hubs)

    def test_cuts_lots_of_at_most_a_thousand(self, world: World) -> None:
        world.hubs(2_001)
        world.slot(start=timedelta(hours=5), room=5_000)

        booking = world.book()

        assert list(booking.lots.order_by("id").values_list("size", flat=True)) == [667, 667, 667]
        for lot in booking.lots.all():
            found = Deployment.objects.filter(id__range=(lot.pk * 2_048, lot.pk * 2_048 + 2_047))
            assert found.count() == lot.size == lot.booked

    def test_passes_over_slots_whose_cut_off_is_gone(self, world: World) -> None:
        world.hubs(1)
        world.slot(start=timedelta(minutes=59), room=1)
        late = world.slot(start=timedelta(minutes=61), room=1)

        assert world.book().lots.get().slot == late

    def test_passes_over_slots_outside_the_period(self, world: World) -> None:
        world.hubs(1)
        world.slot(start=timedelta(days=60) - timedelta(minutes=30), room=1)

        with pytest.raises(UnableToBook, match="no room left"):
            world.book()

    def test_returns_the_first_booking_when_asked_twice(self, world: World) -> None:
        world.hubs(2)
        world.slot(start=timedelta(hours=5), room=5)
        selection = world.choose()

        assert world.book(selection) == world.book(selection)
        assert Booking.objects.count() == 1

    def test_books_nothing_for_a_halted_release(self, world: World) -> None:
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=1)
        selection = world.choose()
        type(world.release).objects.update(state="halted")

        with pytest.raises(UnableToBook, match="is halted"):
            world.book(selection)
        assert not Deployment.objects.exists()


class TestBookOneSlot:
    def test_takes_all_hubs_when_they_fit(self, world: World) -> None:
        world.hubs(3)
        slot = world.slot(start=timedelta(hours=5), room=3)

        assert world.book(start_at=slot.start_at).hubs == 3

    def test_takes_none_when_one_does_not_fit(self, world: World) -> None:
        world.hubs(4)
        slot = world.slot(start=timedelta(hours=5), room=3)

        with pytest.raises(UnableToBook, match=r"room for 3 of your hubs; 4 of them.*Nothing was booked"):
            world.book(start_at=slot.start_at)
        slot.refresh_from_db()
        assert slot.taken == 0
        assert not Booking.objects.exists()

    def test_says_so_when_there_is_no_slot_then(self, world: World) -> None:
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=3)

        with pytest.raises(UnableToBook, match="has no open slot on"):
            world.book(start_at=world.clock() + timedelta(hours=9))


class TestBookBetweenTwoSlots:
    def test_fills_the_slots_from_the_first_to_the_last_and_no_other(self, world: World) -> None:
        world.hubs(9)
        before, first, last, after = (
            world.slot(start=timedelta(hours=hour), room=3) for hour in (5, 6, 7, 8)
        )

        booking = world.book(start_at=first.start_at, last_start_at=last.start_at)

        assert (booking.hubs, booking.unplaced, booking.plan) == (6, 3, "range")
        assert set(booking.lots.values_list("slot", flat=True)) == {first.pk, last.pk}
        assert {before.pk, after.pk}.isdisjoint(Slot.objects.filter(taken__gt=0).values_list("pk", flat=True))

    def test_says_so_when_they_are_full(self, world: World) -> None:
        world.hubs(1)
        slot = world.slot(start=timedelta(hours=5), room=0)
        world.slot(start=timedelta(hours=6), room=5)

        with pytest.raises(UnableToBook, match="in the slots that you chose"):
            world.book(start_at=slot.start_at, last_start_at=slot.start_at)


class TestBookSpreadEvenly:
    def test_gives_every_night_its_part_across_the_change_of_clocks(self, world: World) -> None:
        world.hubs(10)
        # Saturday 24 to Tuesday 27 October 2026: 02:00 is at 01:00 UTC in summer, and at 02:00 afterwards
        sunday, monday, tuesday = (
            world.slot(start=timedelta(hours=hours), room=4) for hours in (1.5, 25.5, 49.5)
        )
        noon = world.slot(start=timedelta(hours=35.5), room=100)
        hours = Hours((0, 1, 6), time(2), time(5), date(2026, 10, 25), date(2026, 10, 27))

        booking = world.book(hours=hours)

        assert (booking.hubs, booking.unplaced) == (10, 0)
        assert dict(booking.lots.values_list("slot", "size")) == {sunday.pk: 4, monday.pk: 3, tuesday.pk: 3}
        noon.refresh_from_db()
        assert noon.taken == 0
        assert Booking.objects.get().hours == hours

    def test_spreads_what_does_not_fit_over_the_others_and_names_the_rest(self, world: World) -> None:
        world.hubs(12)
        for day, room in ((1, 1), (2, 5), (3, 3)):
            world.slot(start=timedelta(days=day, hours=2), room=room)
        hours = Hours(tuple(range(7)), time(0), time(0), date(2026, 10, 25), date(2026, 10, 30))

        booking = world.book(hours=hours)

        assert sorted(booking.lots.values_list("size", flat=True)) == [1, 3, 5]
        assert booking.unplaced == 3


class TestHubsOfABooking:
    def test_come_page_by_page_across_lots_each_once(self, world: World) -> None:
        world.hubs(7)
        for hour in (5, 6, 7):
            world.slot(start=timedelta(hours=hour), room=3)
        booking = world.book()

        pages, after = [], 0
        while page := booking_queries.hubs(booking=booking, start=after, limit=2):
            pages.append([line.deployment for line in page])
            after = page[-1].deployment

        assert [len(page) for page in pages] == [2, 2, 2, 1]
        assert [key for page in pages for key in page] == list(
            Deployment.objects.order_by("id").values_list("id", flat=True)
        )

    def test_leave_out_those_in_another_state(self, world: World) -> None:
        world.hubs(3)
        for hour in (5, 6, 7):
            world.slot(start=timedelta(hours=hour), room=1)
        booking = world.book()
        last = Deployment.objects.order_by("id").last()
        assert last
        Deployment.objects.filter(pk=last.pk).update(state=State.STAGING)

        staging = booking_queries.hubs(booking=booking, start=0, limit=2, state=State.STAGING)
        booked = booking_queries.hubs(booking=booking, start=0, limit=5, state=State.BOOKED)

        assert [line.deployment for line in staging] == [last.pk]
        assert len(booked) == 2
        assert last.pk not in {line.deployment for line in booked}


class TestRooms:
    def test_are_the_earliest_that_together_are_enough_whatever_is_taken(self, world: World) -> None:
        for hour, room, taken in ((8, 9, 0), (7, 4, 4), (6, 5, 2), (5, 2, 0)):
            slot = world.slot(start=timedelta(hours=hour), room=room)
            Slot.objects.filter(pk=slot.pk).update(taken=taken)

        found = {
            needed: [
                (room.start_at - world.clock(), room.room)
                for room in slots.rooms(
                    release=world.release,
                    supplier=world.northern,
                    needed={world.network.pk: needed},
                    now=world.clock(),
                )
            ]
            for needed in (2, 3, 5, 6, 100)
        }

        five, six, eight = (timedelta(hours=5), 2), (timedelta(hours=6), 3), (timedelta(hours=8), 9)
        assert found == {
            2: [five],
            3: [five, six],
            5: [five, six],
            6: [five, six, eight],
            100: [five, six, eight],
        }


class TestShares:
    """Ten places, three kept for DCC; the northern Supplier has three quarters of the network's eligible hubs."""

    @pytest.fixture
    def shared(self, world: World) -> World:
        """Nine hubs of the northern Supplier, three of the southern, and the policy of production."""
        world.hubs(9)
        world.hubs(3, supplier=world.southern)
        count_fleet(now=world.clock())
        policy = world.release.policy
        policy.reserve_percent, policy.fair_share_until = 30, "5 working days"
        policy.save()
        return world

    def test_keep_the_reserve_and_the_part_of_the_others_while_a_slot_is_far(self, shared: World) -> None:
        shared.slot(start=timedelta(days=10), room=10)
        assert shared.book().hubs == 6  # three quarters of seven, rounded up

    def test_count_what_the_supplier_has_in_the_slot_already(self, shared: World) -> None:
        slot = shared.slot(start=timedelta(days=10), room=10)
        shared.book(shared.choose_ids(ids(shared.northern, 5)), start_at=slot.start_at)
        with pytest.raises(UnableToBook, match="room for 1 of your hubs; 2 of them"):
            shared.book(shared.choose_ids(ids(shared.northern, 7, skip=5)), start_at=slot.start_at)

    def test_come_back_with_a_cancellation(self, shared: World) -> None:
        shared.slot(start=timedelta(days=10), room=10)
        bookings.cancel(booking=shared.book(), by=shared.person, reason="", now=shared.clock())
        assert shared.book().hubs == 6

    def test_leave_the_rest_to_whoever_comes_first_once_the_slot_is_near(self, shared: World) -> None:
        shared.slot(start=timedelta(days=2), room=10)
        assert shared.book().hubs == 7  # only the reserve is kept

    def test_are_never_nothing(self, shared: World) -> None:
        FleetCount.objects.filter(lead=shared.northern).delete()
        shared.slot(start=timedelta(days=10), room=10)
        assert shared.book().hubs == 3  # one third of seven, rounded up, of a part of one in three


def ids(supplier: Supplier, until: int, *, skip: int = 0) -> str:
    """Return the CHF IDs of some of a Supplier's hubs, as a file names them."""
    hubs = CommunicationsHub.objects.filter(lead_id=supplier.pk).order_by("chf_id")[skip:until]
    return "\n".join(format_eui64(hub.chf_id) for hub in hubs)


class TestRefusals:
    @pytest.mark.parametrize(
        ("facts", "refusal"),
        [
            ({"status": HubStatus.RECOVERY}, Refusal.STATUS),
            ({"status": HubStatus.INSTALLED_NOT_COMMISSIONED}, Refusal.STATUS),
        ],
    )
    def test_name_the_status(self, world: World, facts: dict[str, int], refusal: Refusal) -> None:
        world.hubs(2, **facts)

        selection = world.choose()

        assert selection.refused == {str(int(refusal)): 2}
        assert selection.eligible == {}

    def test_name_hubs_that_run_the_version_already(self, world: World) -> None:
        world.hubs(2, installed_version=world.release.version)

        assert world.choose().refused == {str(int(Refusal.INSTALLED)): 2}

    def test_name_hubs_on_a_network_without_a_period(self, world: World) -> None:
        world.hubs(1)
        hubs = world.hubs(2)
        elsewhere = factories.NetworkFactory.create(code="south")
        CommunicationsHub.objects.filter(pk__in=[hub.pk for hub in hubs]).update(network=elsewhere)

        selection = world.choose()

        assert selection.refused == {str(int(Refusal.NO_PERIOD)): 2}
        assert selection.eligible == {str(world.network.pk): 1}

    def test_leave_suspended_hubs_in(self, world: World) -> None:
        world.hubs(2, status=HubStatus.SUSPENDED)

        assert world.choose().eligible == {str(world.network.pk): 2}

    def test_name_hubs_that_are_booked_already(self, world: World) -> None:
        world.hubs(2)
        world.slot(start=timedelta(hours=5), room=5)
        world.book()

        assert world.choose().refused == {str(int(Refusal.OPEN_DEPLOYMENT)): 2}

    def test_of_a_file_come_back_row_by_row(self, world: World) -> None:
        mine, other = world.hubs(2)
        [foreign] = world.hubs(1, supplier=world.southern)
        [shared] = world.hubs(1, supplier=world.southern, gas_supplier=world.northern)
        text = "\ufeffCHF ID,note\r\n" + "\r\n".join(
            [
                format_eui64(mine.chf_id),
                format_eui64(mine.chf_id).replace("-", "").lower() + ",again",
                format_eui64(foreign.chf_id),
                format_eui64(shared.chf_id),
                "nonsense",
                "",
                "00-00-00-00-00-00-00-01",
                format_eui64(other.chf_id).replace("-", ":"),
            ]
        )

        selection = world.choose_ids(text)

        assert selection.eligible == {str(world.network.pk): 2}
        refused = refusals.refused(selection=selection, now=world.clock())
        assert [(row.text, row.refusal) for row in refused] == [
            (format_eui64(mine.chf_id).replace("-", "").lower() + ",again", Refusal.REPEATED),
            (format_eui64(foreign.chf_id), Refusal.NOT_FOUND),
            (format_eui64(shared.chf_id), Refusal.NOT_LEAD),
            ("nonsense", Refusal.UNREADABLE),
            ("00-00-00-00-00-00-00-01", Refusal.NOT_FOUND),
        ]
        world.slot(start=timedelta(hours=5), room=5)
        assert world.book(selection).hubs == 2


class TestCancel:
    def test_frees_the_places_and_the_hubs(self, world: World) -> None:
        world.hubs(3)
        slot = world.slot(start=timedelta(hours=5), room=3)
        booking = world.book()

        freed = bookings.cancel(booking=booking, by=world.person, reason="", now=world.clock())

        slot.refresh_from_db()
        assert (freed, slot.taken) == (3, 0)
        assert set(Deployment.objects.values_list("state", "ending")) == {
            (State.CANCELLED, Ending.BY_SUPPLIER)
        }
        assert progress.by_booking(bookings=[booking.pk])[booking.pk].by_state[State.CANCELLED] == 3
        assert world.book().hubs == 3

    def test_is_refused_after_the_cut_off(self, world: World) -> None:
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=3)
        booking = world.book()
        world.clock.move(hours=4, minutes=1)

        with pytest.raises(UnableToCancel, match="cut-off has passed"):
            bookings.cancel(booking=booking, by=world.person, reason="", now=world.clock())


class TestGiveBackAbandoned:
    def test_returns_places_that_were_never_filled(self, world: World) -> None:
        world.hubs(3)
        slot = world.slot(start=timedelta(hours=5), room=3)
        booking = world.book()
        forget_deployments()
        Booking.objects.filter(pk=booking.pk).update(placed_at=None)  # as a dead process leaves it
        world.clock.move(minutes=3)

        assert bookings.give_back_abandoned(now=world.clock()) == 1

        slot.refresh_from_db()
        assert slot.taken == 0
        assert not Lot.objects.exists()
        assert world.book(booking.selection).hubs == 3

    def test_leaves_placed_and_young_bookings_alone(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=3)
        booking = world.book()
        world.clock.move(hours=1)
        assert bookings.give_back_abandoned(now=world.clock()) == 0
        Booking.objects.filter(pk=booking.pk).update(placed_at=None, created_at=world.clock())
        assert bookings.give_back_abandoned(now=world.clock()) == 0


WHOLE_WEEK = {
    "plan": "spread",
    "start_at": None,
    "weekdays": [0],
    "opens": time(2),
    "closes": time(5),
    "first_day": date(2026, 11, 2),
    "last_day": date(2026, 11, 9),
}


class TestDatabase:
    @pytest.mark.parametrize(
        "change",
        [
            {"plan": "one_slot"},
            {"plan": "range", "start_at": AT},
            {"plan": "range", "start_at": AT, "last_start_at": AT - timedelta(hours=1)},
            {"plan": "range", "last_start_at": AT},
            {"last_start_at": AT},
            WHOLE_WEEK | {"last_start_at": AT},
        ],
    )
    def test_refuses_starts_that_the_plan_does_not_want(self, change: dict[str, Any], world: World) -> None:
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()
        with pytest.raises(IntegrityError, match="booking_starts_as_its_plan_wants"), transaction.atomic():
            Booking.objects.update(**change)

    @pytest.mark.parametrize(
        "change",
        [
            *(WHOLE_WEEK | {name: None} for name in ("weekdays", "opens", "closes", "first_day", "last_day")),
            WHOLE_WEEK | {"weekdays": []},
            WHOLE_WEEK | {"weekdays": [7]},
            WHOLE_WEEK | {"last_day": date(2026, 11, 1)},
            {"weekdays": [0]},
            {"opens": time(2)},
        ],
    )
    def test_refuses_hours_that_are_not_a_spreads(self, change: dict[str, Any], world: World) -> None:
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()
        Booking.objects.update(**WHOLE_WEEK)
        Booking.objects.update(plan="earliest", **dict.fromkeys(tuple(WHOLE_WEEK)[1:]))
        with pytest.raises(IntegrityError, match="booking_hours_for_a_spread"), transaction.atomic():
            Booking.objects.update(**change)

    def test_refuses_more_than_the_capacity(self, world: World) -> None:
        slot = world.slot(start=timedelta(hours=5), room=3)
        with pytest.raises(IntegrityError, match="slot_never_over_capacity"), transaction.atomic():
            Slot.objects.filter(pk=slot.pk).update(taken=4)

    def test_refuses_a_second_open_deployment_of_a_hub(self, world: World) -> None:
        [hub] = world.hubs(1)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()
        first = Deployment.objects.get()
        with pytest.raises(IntegrityError, match="deployment_one_open_per_hub"), transaction.atomic():
            Deployment.objects.create(
                id=first.pk + 1, hub=hub, model=hub.model, next_at=first.next_at, moved_at=first.moved_at
            )

    def test_refuses_counts_that_do_not_add_up(self, world: World) -> None:
        world.hubs(1)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()
        with pytest.raises(IntegrityError, match="lot_counts_add_up"), transaction.atomic():
            Lot.objects.update(staged=1)
