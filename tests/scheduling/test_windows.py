"""Protected windows, maintenance and incidents: in rooms, at booking, and at the Gate."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from hubs.gateway import Phase
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog
from hubs.models import CommunicationsHub, PaymentMode
from portal.ground.audit import AuditEntry
from scheduling.lifecycle import Ending
from scheduling.models import (
    Booking,
    Deployment,
    Incident,
    Lot,
    Maintenance,
    ProtectedWindow,
    Slot,
    UnplacedHub,
)
from scheduling.operations import bookings, deployments, placing
from scheduling.operations.bookings import UnableToBook
from scheduling.queries import plans, previews, slots, windows
from tests.scheduling.world import World

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
Scope = ProtectedWindow.Scope
PREPAYMENT = {"scope": Scope.PAYMENT_MODE, "payment_mode": PaymentMode.PREPAYMENT}


def maintain(world: World, *, start: timedelta, length: timedelta = HOUR) -> Maintenance:
    at = world.clock() + start
    return Maintenance.objects.create(
        network=world.network, start_at=at, end_at=at + length, reason="Mast work"
    )


def break_down(world: World, **facts: Any) -> Incident:
    return Incident.objects.create(
        **{"network": world.network, "category": 1, "summary": "Down", "opened_at": world.clock(), **facts}
    )


def starts(world: World) -> dict[int, datetime]:
    """Return by hub when its slot begins."""
    begins = {lot.pk: lot.slot.start_at for lot in Lot.objects.select_related("slot")}
    return {one.hub_id: begins[one.lot_id] for one in Deployment.objects.all()}


def assert_counts_are_right() -> None:
    for slot in Slot.objects.all():
        sizes = [lot.size for lot in Lot.objects.filter(slot=slot)]
        assert slot.taken == sum(sizes) <= slot.capacity
    for lot in Lot.objects.all():
        assert Deployment.objects.filter(id__gte=lot.pk << 11, id__lt=(lot.pk + 1) << 11).count() == lot.size


class TestTheDatabase:
    @pytest.mark.parametrize(
        ("facts", "constraint"),
        [
            ({"end_at": None}, "window_once_or_weekly"),
            ({"weekdays": 1}, "window_once_or_weekly"),
            ({"start_at": None, "end_at": None}, "window_once_or_weekly"),
            (
                {"start_at": None, "end_at": None, "weekdays": 128, "starts": time(1), "ends": time(2)},
                "window_once_or_weekly",
            ),
            (
                {
                    "start_at": None,
                    "end_at": None,
                    "weekdays": 1,
                    "starts": time(1),
                    "ends": time(2),
                    "valid_from": date(2026, 1, 2),
                    "valid_until": date(2026, 1, 1),
                },
                "window_days_in_order",
            ),
            ({"scope": Scope.NETWORK}, "window_scope_has_its_object"),
            ({"payment_mode": 1}, "window_scope_has_its_object"),
            ({"scope": Scope.HUBS}, "window_list_is_not_empty"),
        ],
    )
    def test_refuses_half_a_window(self, facts: dict[str, Any], constraint: str, world: World) -> None:
        window = world.protect(start=HOUR)

        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            ProtectedWindow.objects.filter(pk=window.pk).update(**facts)

    def test_refuses_a_listed_hub_twice(self, world: World) -> None:
        [hub] = world.hubs(1)
        window = world.protect(start=HOUR, hubs=[hub])

        with pytest.raises(IntegrityError, match="protected_hub_once_per_window"), transaction.atomic():
            window.listed.create(hub=hub.chf_id)

    def test_refuses_maintenance_that_ends_before_it_begins(self, world: World) -> None:
        closed = maintain(world, start=HOUR)

        with pytest.raises(IntegrityError, match="maintenance_ends_after_start"), transaction.atomic():
            Maintenance.objects.filter(pk=closed.pk).update(end_at=closed.start_at)

    @pytest.mark.parametrize(
        ("facts", "constraint"),
        [({"category": 6}, "incident_category_known"), ({"closed_at": -HOUR}, "incident_closes")],
    )
    def test_refuses_an_incident_that_cannot_be(
        self, facts: dict[str, Any], constraint: str, world: World
    ) -> None:
        incident = break_down(world)
        if "closed_at" in facts:
            facts = {"closed_at": world.clock() + facts["closed_at"]}

        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            Incident.objects.filter(pk=incident.pk).update(**facts)


class TestRooms:
    @pytest.fixture
    def rooms(self, world: World) -> Callable[[], list[tuple[int, str]]]:
        """Return a question: the room and the closing word of three slots, five, six and seven hours ahead."""
        world.hubs(3)
        for hours in (5, 6, 7):
            world.slot(start=hours * HOUR, room=10)

        def ask() -> list[tuple[int, str]]:
            found = slots.rooms_between(
                release=world.release,
                supplier=world.northern,
                networks=[world.network.pk],
                start=world.clock(),
                end=world.clock() + timedelta(days=1),
                now=world.clock(),
            )
            earliest = slots.rooms(
                release=world.release,
                supplier=world.northern,
                needed={world.network.pk: 1_000},
                now=world.clock(),
            )
            held = slots.rooms_in(
                release=world.release,
                supplier=world.northern,
                slots=[slot.pk for slot in world.slots],
                now=world.clock(),
            )
            # picture, plan and booking agree
            assert {room.slot: room.room for room in found} == held
            assert {room.slot for room in earliest} == {room.slot for room in found if room.room}
            return [(room.room, room.closed) for room in sorted(found, key=lambda room: room.start_at)]

        return ask

    OPEN = (10, "")

    def test_are_whole_without_a_window(self, rooms: Callable[[], Any]) -> None:
        assert rooms() == [self.OPEN] * 3

    @pytest.mark.parametrize("scope", [Scope.ALL, Scope.NETWORK])
    def test_are_closed_by_a_hard_window_that_touches_them(
        self, scope: Scope, world: World, rooms: Callable[[], Any]
    ) -> None:
        world.protect(
            start=6.5 * HOUR,
            length=0.25 * HOUR,
            scope=scope,
            network=world.network if scope == Scope.NETWORK else None,
        )

        assert rooms() == [self.OPEN, (0, "protected"), self.OPEN]

    def test_are_not_closed_by_a_window_beside_them(self, world: World, rooms: Callable[[], Any]) -> None:
        world.protect(start=4 * HOUR)
        world.protect(start=8 * HOUR)

        assert rooms() == [self.OPEN] * 3

    def test_are_not_closed_by_a_soft_window_nor_by_anothers(
        self, world: World, rooms: Callable[[], Any]
    ) -> None:
        world.protect(start=5 * HOUR, length=5 * HOUR, is_hard=False)
        world.protect(start=5 * HOUR, length=5 * HOUR, supplier=world.southern)

        assert rooms() == [self.OPEN] * 3

    def test_are_closed_week_by_week(self, world: World, rooms: Callable[[], Any]) -> None:
        # now is 01:30 BST on a Sunday; the slots begin at 05:30, 06:30 and 07:30 GMT
        world.protect(weekdays=1 << 6, starts=time(6, 30), ends=time(7, 30))

        assert rooms() == [self.OPEN, (0, "protected"), self.OPEN]

    def test_are_closed_by_maintenance_for_everyone(self, world: World, rooms: Callable[[], Any]) -> None:
        maintain(world, start=7 * HOUR)

        assert rooms() == [self.OPEN, self.OPEN, (0, "maintenance")]

    @pytest.mark.parametrize("category", [1, 2, 3, 4, 5])
    def test_are_closed_by_an_open_incident_of_the_first_two_categories(
        self, category: int, world: World, rooms: Callable[[], Any]
    ) -> None:
        incident = break_down(world, category=category)

        assert rooms() == [(0, "incident") if category <= 2 else self.OPEN] * 3

        Incident.objects.filter(pk=incident.pk).update(closed_at=world.clock() + HOUR)
        assert rooms() == [self.OPEN] * 3

    def test_are_open_after_the_expected_end_of_an_incident(
        self, world: World, rooms: Callable[[], Any]
    ) -> None:
        break_down(world, expected_end_at=world.clock() + 5.5 * HOUR)

        assert rooms() == [(0, "incident"), self.OPEN, self.OPEN]


class TestBook:
    def test_passes_over_closed_slots(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=5 * HOUR, room=10)
        late = world.slot(start=6 * HOUR, room=10)
        world.protect(start=5 * HOUR)

        world.book()

        assert set(starts(world).values()) == {late.start_at}
        assert_counts_are_right()

    @pytest.mark.parametrize(
        ("close", "words"),
        [
            (lambda world: world.protect(start=5 * HOUR), "you keep a protected window then"),
            (lambda world: maintain(world, start=5 * HOUR), "DCC has planned maintenance then"),
            (break_down, "an incident is open"),
        ],
    )
    def test_refuses_one_closed_slot_and_says_why(
        self, close: Callable[[World], object], words: str, world: World
    ) -> None:
        world.hubs(3)
        slot = world.slot(start=5 * HOUR, room=10)
        close(world)

        with pytest.raises(UnableToBook, match=f"closed for your 3 hubs.*{words}"):
            world.book(start_at=slot.start_at)
        assert Slot.objects.get().taken == 0

    def test_refuses_one_slot_with_the_number_of_hubs_in_a_window(self, world: World) -> None:
        world.hubs(3)
        world.hubs(2, payment_mode=PaymentMode.PREPAYMENT)
        slot = world.slot(start=5 * HOUR, room=10)
        world.protect(start=5 * HOUR, **PREPAYMENT)

        with pytest.raises(UnableToBook, match=r"2 of your 5 hubs on .* are not available on"):
            world.book(start_at=slot.start_at)
        assert not Deployment.objects.exists()

    @pytest.mark.parametrize("how", ["mode", "list"])
    def test_places_the_concerned_hubs_in_the_first_clear_slot(self, how: str, world: World) -> None:
        free = world.hubs(3)
        kept = world.hubs(2, payment_mode=PaymentMode.PREPAYMENT)
        first = world.slot(start=5 * HOUR, room=4)
        second = world.slot(start=6 * HOUR, room=4)
        if how == "mode":
            world.protect(start=5 * HOUR, **PREPAYMENT)
        else:
            world.protect(start=5 * HOUR, hubs=kept)

        booking = world.book()

        went = starts(world)
        assert {went[hub.chf_id] for hub in free} == {first.start_at}
        assert {went[hub.chf_id] for hub in kept} == {second.start_at}
        assert (booking.hubs, booking.unplaced) == (5, 0)
        assert_counts_are_right()

    def test_names_the_hubs_that_their_windows_keep_out(self, world: World) -> None:
        free = world.hubs(3)
        kept = world.hubs(2)
        world.slot(start=5 * HOUR, room=4)
        world.protect(start=5 * HOUR, hubs=kept)

        booking = world.book()

        assert (booking.hubs, booking.unplaced) == (3, 2)
        assert {(one.hub, one.why) for one in booking.unplaced_hubs.all()} == {
            (hub.chf_id, UnplacedHub.Why.PROTECTED_WINDOW) for hub in kept
        }
        assert set(starts(world)) == {hub.chf_id for hub in free}
        assert_counts_are_right()

    def test_names_want_of_room_where_it_is_that(self, world: World) -> None:
        world.hubs(3)
        kept = world.hubs(2)
        world.slot(start=5 * HOUR, room=3)
        world.slot(start=6 * HOUR, room=1)
        world.protect(start=5 * HOUR, hubs=kept)

        booking = world.book()

        assert [one.why for one in booking.unplaced_hubs.all()] == [UnplacedHub.Why.NO_ROOM]
        assert_counts_are_right()

    def test_says_that_windows_take_all_that_there_is(self, world: World) -> None:
        kept = world.hubs(2)
        world.slot(start=5 * HOUR, room=3)
        world.protect(start=5 * HOUR, hubs=kept)

        with pytest.raises(UnableToBook, match="in one of their protected windows"):
            world.book()

    def test_keeps_hubs_of_two_windows_out_of_both(self, world: World) -> None:
        both = world.hubs(2, payment_mode=PaymentMode.PREPAYMENT)
        listed = world.hubs(2)
        mode = world.hubs(2, payment_mode=PaymentMode.PREPAYMENT)
        slots_ = [world.slot(start=hours * HOUR, room=2) for hours in (5, 6, 7)]
        world.protect(start=5 * HOUR, **PREPAYMENT)
        world.protect(start=6 * HOUR, hubs=[*both, *listed])

        world.book()

        went = starts(world)
        assert {went[hub.chf_id] for hub in both} == {slots_[2].start_at}
        assert {went[hub.chf_id] for hub in listed} == {slots_[0].start_at}
        assert {went[hub.chf_id] for hub in mode} == {slots_[1].start_at}
        assert_counts_are_right()

    def test_gives_places_back_when_it_cannot_be_written(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = world.hubs(2)
        world.hubs(2)
        for hours in (5, 6):
            world.slot(start=hours * HOUR, room=4)
        world.protect(start=5 * HOUR, hubs=kept)
        monkeypatch.setattr(placing, "PLACE", "SELECT 1 / 0")

        with pytest.raises(Exception, match="division by zero"):
            world.book()
        assert set(Slot.objects.values_list("taken", flat=True)) == {0}

    def test_agrees_with_its_preview(self, world: World) -> None:
        world.hubs(3)
        kept = world.hubs(2)
        for hours, room in ((5, 2), (6, 2)):
            world.slot(start=hours * HOUR, room=room)
        world.protect(start=5 * HOUR, length=3 * HOUR, hubs=kept)
        selection = world.choose()

        preview = previews.preview(
            selection=selection, timing=plans.Timing(Booking.Plan.EARLIEST), now=world.clock()
        )
        booking = world.book(selection)

        assert (preview.placed, preview.left_over) == (booking.hubs, booking.unplaced) == (3, 2)
        assert preview.unplaced == [previews.Unplaced(world.network.name, 2, previews.PROTECTED)]
        assert {part.start_at: part.hubs for part in preview.parts} == {
            lot.slot.start_at: lot.size for lot in booking.lots.select_related("slot")
        }

    def test_asks_for_a_reason_to_go_in_a_soft_window(self, world: World) -> None:
        world.hubs(3)
        world.hubs(1, payment_mode=PaymentMode.PREPAYMENT)
        slot = world.slot(start=5 * HOUR, room=10)
        window = world.protect(start=5 * HOUR, is_hard=False, **PREPAYMENT)
        selection = world.choose()
        timing = plans.Timing(Booking.Plan.ONE_SLOT, start_at=slot.start_at)

        preview = previews.preview(selection=selection, timing=timing, now=world.clock())
        with pytest.raises(UnableToBook, match="1 of these hubs would go in your soft window"):
            world.book(selection, start_at=slot.start_at)
        booking = bookings.book(
            selection=selection,
            timing=timing,
            by=world.person,
            clock=world.clock,
            despite="The tariff can wait",
        )

        assert preview.warnings == {window: 1}
        assert booking.hubs == 4
        entry = AuditEntry.objects.get(verb="booking.proceeded")
        assert (entry.reason, entry.facts) == ("The tariff can wait", {str(window.pk): 1})


class TestTheGate:
    """The Oracle, the fleet's own log, shows what was followed and when."""

    @pytest.fixture
    def hubs(self, world: World) -> list[CommunicationsHub]:
        """Return three booked and staged hubs, one of them on prepayment, at the start of their slot."""
        hubs = [*world.hubs(2), *world.hubs(1, payment_mode=PaymentMode.PREPAYMENT)]
        world.slot(start=5 * HOUR, room=10)
        world.book()
        world.clock.move(hours=4)
        world.work()
        world.clock.move(hours=1)
        assert Lot.objects.get().staged == 3
        return hubs

    def activated(self) -> set[int]:
        return set(CommandLog.objects.filter(phase=Phase.ACTIVATE).values_list("hub", flat=True))

    def outcome(self) -> set[tuple[str, str]]:
        return set(Deployment.objects.values_list("state", "ending"))

    @pytest.mark.parametrize(
        ("close", "ending"),
        [
            (lambda world: world.protect(start=-0.5 * HOUR, length=4 * HOUR), Ending.PROTECTED_WINDOW),
            (lambda world: maintain(world, start=-HOUR, length=4 * HOUR), Ending.NETWORK_CLOSED),
            (break_down, Ending.NETWORK_CLOSED),
            # whatever DCC expects: it is open
            (
                lambda world: break_down(world, expected_end_at=world.clock() - HOUR, category=2),
                Ending.NETWORK_CLOSED,
            ),
        ],
    )
    def test_activates_nothing_while_it_is_closed_and_says_so_at_the_end(
        self,
        close: Callable[[World], object],
        ending: Ending,
        world: World,
        hubs: list[CommunicationsHub],
    ) -> None:
        close(world)

        for _ in range(7):
            world.work()
            world.clock.move(minutes=10)
        world.work()

        assert self.activated() == set()
        assert self.outcome() == {("missed", ending)}

    def test_activates_later_in_the_slot_once_it_is_over(
        self, world: World, hubs: list[CommunicationsHub]
    ) -> None:
        world.protect(start=-0.5 * HOUR, length=HOUR)
        world.work()
        assert self.activated() == set()

        world.clock.move(minutes=31)
        world.work()

        assert self.activated() == {hub.chf_id for hub in hubs}

    @pytest.mark.parametrize("how", ["mode", "list"])
    def test_stops_only_the_concerned_hubs(
        self, how: str, world: World, hubs: list[CommunicationsHub]
    ) -> None:
        facts: dict[str, Any] = PREPAYMENT if how == "mode" else {"hubs": hubs[2:]}
        world.protect(start=-0.5 * HOUR, length=4 * HOUR, **facts)

        world.work()
        world.clock.move(hours=1)
        world.work()

        assert self.activated() == {hub.chf_id for hub in hubs[:2]}
        assert Deployment.objects.get(hub=hubs[2]).ending == Ending.PROTECTED_WINDOW

    @pytest.mark.parametrize("facts", [{"is_hard": False}, {"supplier": "southern"}])
    def test_lets_soft_windows_and_those_of_others_pass(
        self, facts: dict[str, Any], world: World, hubs: list[CommunicationsHub]
    ) -> None:
        facts = {
            name: getattr(world, value) if name == "supplier" else value for name, value in facts.items()
        }
        world.protect(start=-0.5 * HOUR, length=4 * HOUR, **facts)

        world.work()

        assert self.activated() == {hub.chf_id for hub in hubs}

    def test_says_nothing_of_a_closure_that_was_over_before_the_slot(
        self, world: World, hubs: list[CommunicationsHub]
    ) -> None:
        maintain(world, start=-HOUR, length=HOUR)
        break_down(world, opened_at=world.clock() - HOUR, closed_at=world.clock())
        world.clock.move(hours=1)

        world.work()

        assert self.outcome() == {("missed", Ending.SLOT_PASSED)}

    def test_lets_no_command_be_followed_in_a_window_that_begins_later(
        self, world: World, hubs: list[CommunicationsHub]
    ) -> None:
        """The command says until when it may be followed; the carrier would keep it until the slot's end."""
        window = world.protect(start=0.5 * HOUR)
        claimed = deployments.claim(now=world.clock())
        assert claimed

        deployments.admit(claimed=claimed, image_whole=True, clock=world.clock)
        world.clock.move(minutes=31)
        while deployments.send(claimed=claimed, gateway=ModelledFleet(), clock=world.clock):
            pass

        assert claimed.lot.slot.end_at > world.clock()
        assert window.start_at < world.clock()
        assert self.activated() == set()

    @pytest.mark.parametrize("close", [break_down, lambda world: world.protect(start=-HOUR, length=9 * HOUR)])
    def test_takes_back_what_was_admitted_and_not_sent_when_it_closed(
        self, close: Callable[[World], object], world: World, hubs: list[CommunicationsHub]
    ) -> None:
        claimed = deployments.claim(now=world.clock())
        assert claimed
        assert deployments.admit(claimed=claimed, image_whole=True, clock=world.clock).commands == 3

        close(world)
        sent = deployments.send(claimed=claimed, gateway=ModelledFleet(), clock=world.clock)
        deployments.admit(claimed=claimed, image_whole=True, clock=world.clock)

        assert sent == 0
        assert Lot.objects.get().staged == 3
        assert self.activated() == set()


class TestStops:
    def test_asks_nothing_of_a_slot_to_come(self, world: World) -> None:
        slot = world.slot(start=5 * HOUR, room=1)
        world.protect(start=HOUR, length=9 * HOUR)

        answer = windows.stops(
            suppliers=[world.northern.pk], network=world.network.pk, slot=slot, now=world.clock()
        )

        assert (answer.now.everything, answer.slot.everything) == (False, False)


class TestClosedNetworks:
    def test_are_those_in_maintenance_from_its_first_moment_to_its_last(self, world: World) -> None:
        maintain(world, start=HOUR)
        here = {world.network.pk}
        begins = world.clock() + HOUR
        moments = (begins - SECOND, begins, begins + HOUR - SECOND, begins + HOUR)
        assert [windows.closed_networks(now=moment) for moment in moments] == [set(), here, here, set()]

    def test_are_those_with_an_open_incident_that_closes(self, world: World) -> None:
        begins = world.clock()
        incident = break_down(world, category=2, expected_end_at=begins + HOUR)
        here = {world.network.pk}
        assert windows.closed_networks(now=begins - SECOND) == set()
        assert windows.closed_networks(now=begins + 9 * HOUR) == here
        incident.closed_at = begins + 2 * HOUR
        incident.save()
        assert windows.closed_networks(now=begins + 2 * HOUR - SECOND) == here
        assert windows.closed_networks(now=begins + 2 * HOUR) == set()

    def test_are_none_with_a_small_incident(self, world: World) -> None:
        break_down(world, category=3)
        assert windows.closed_networks(now=world.clock()) == set()
