"""Many at once, on real connections: what is scarce is never given twice."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import close_old_connections, connection, connections, transaction
from django.db.models import F

from firmware.models import FirmwareRelease, ReleaseState
from firmware.operations import decisions
from hubs.gateway import Command as Instruction
from hubs.gateway import Phase, Receipt, Verdict
from hubs.identifiers import format_eui64
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog
from hubs.models import CommunicationsHub
from hubs.operations import count_fleet
from portal.models import User
from scheduling import planning
from scheduling.lifecycle import State
from scheduling.models import (
    LOT_SPAN,
    Allocation,
    Booking,
    CapacityPattern,
    Command,
    Consent,
    Decision,
    Deployment,
    HubException,
    HubSelection,
    Lot,
    Notice,
    Slot,
    Weekday,
)
from scheduling.operations import allocations, bookings, changes, consents, deployments, exceptions, slots
from scheduling.operations.bookings import UnableToBook, UnableToCancel
from scheduling.operations.changes import UnableToMove
from scheduling.operations.consents import UnableToAnswer
from scheduling.queries import deadlines, plans
from scheduling.queries.exceptions import Portion
from scheduling.queries.parts import Destination, Part
from tests import factories
from tests.conftest import eventually
from tests.scheduling import world as worlds
from tests.scheduling.test_changes import assert_books_balance
from tests.scheduling.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(transactional_db: None, now: datetime) -> Iterator[World]:
    """The world, committed, so that every connection sees it."""
    return worlds.make(now=now)


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Run every act in a thread and a connection of its own, from one start; return results and errors."""
    barrier = threading.Barrier(len(acts))
    results: list[object] = [None] * len(acts)

    def run(number: int, act: Callable[[], object]) -> None:
        close_old_connections()
        try:
            barrier.wait(30)
            results[number] = act()
        except Exception as error:
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


class TestTheLastPlaces:
    def test_go_to_exactly_as_many_of_a_hundred_bookers_as_there_are(self, world: World) -> None:
        hubs = world.hubs(100)
        slot = world.slot(start=timedelta(hours=5), room=10)
        selections = [world.choose_ids(format_eui64(hub.chf_id)) for hub in hubs]

        results = at_once(
            *[
                lambda selection=selection: world.book(selection, start_at=slot.start_at)  # type: ignore[misc]
                for selection in selections
            ]
        )

        won = [result for result in results if isinstance(result, Booking)]
        lost = [result for result in results if isinstance(result, UnableToBook)]
        assert (len(won), len(lost)) == (10, 90)
        assert all("room for 0" in str(error) for error in lost)
        slot.refresh_from_db()
        assert (slot.taken, Deployment.objects.count()) == (10, 10)

    def test_are_sold_too_often_by_reading_first_and_writing_then(self, world: World) -> None:
        """Prove that the race above is one: the naive way, without lock or guard, oversells."""
        slot = world.slot(start=timedelta(hours=5), room=1_000)
        barrier = threading.Barrier(8)

        def naive() -> None:
            seen = Slot.objects.get(pk=slot.pk)
            barrier.wait(30)
            Slot.objects.filter(pk=slot.pk).update(taken=seen.taken + 1)

        at_once(*[naive] * 8)
        slot.refresh_from_db()
        assert slot.taken < 8


class TestALargeBooking:
    def test_gets_past_others_who_are_faster_every_time(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After every look at the slots somebody takes a place, as long as the slot is not locked."""
        world.hubs(20)
        slot = world.slot(start=timedelta(hours=5), room=10)
        world.slot(start=timedelta(hours=6), room=30)
        overtaken: list[bool] = []
        look = plans.rooms

        def overtake() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '200ms'")
                cursor.execute("UPDATE scheduling_slot SET capacity = capacity - 1 WHERE id = %s", [slot.pk])

        def look_and_be_overtaken(**terms: Any) -> list[planning.Room]:
            rooms = look(**terms)
            [answer] = at_once(overtake)
            overtaken.append(answer is None)
            return rooms

        monkeypatch.setattr(plans, "rooms", look_and_be_overtaken)
        booking = world.book()

        assert overtaken == [True, True, False]
        assert booking.hubs == 20
        assert [one.taken for one in Slot.objects.order_by("start_at")] == [8, 12]


class TestAShare:
    def test_is_never_exceeded_whoever_of_the_supplier_is_fastest(self, world: World) -> None:
        hubs = world.hubs(30)
        world.hubs(30, supplier=world.southern)
        count_fleet(now=world.clock())
        world.release.policy.reserve_percent, world.release.policy.fair_share_until = 20, "5 working days"
        world.release.policy.save()
        world.slot(start=timedelta(days=10), room=25)
        selections = [world.choose_ids(format_eui64(hub.chf_id)) for hub in hubs]

        results = at_once(
            *[lambda selection=selection: world.book(selection) for selection in selections]  # type: ignore[misc]
        )

        won = [result for result in results if isinstance(result, Booking)]
        assert len(won) == Slot.objects.get().taken == 10  # half of what the reserve leaves
        assert all(isinstance(result, Booking | UnableToBook) for result in results)


class TestTwoBookingsOfOneHub:
    def test_leave_one_winner_and_one_sentence(self, world: World) -> None:
        hubs = world.hubs(200)
        world.slot(start=timedelta(hours=5), room=1_000)
        selections = [world.choose() for _ in range(4)]

        results = at_once(
            *[lambda selection=selection: world.book(selection) for selection in selections]  # type: ignore[misc]
        )

        won = [result for result in results if isinstance(result, Booking)]
        lost = [result for result in results if isinstance(result, UnableToBook)]
        assert (len(won), len(lost)) == (1, 3)
        assert "booked elsewhere" in str(lost[0])
        assert Deployment.objects.count() == len(hubs)
        assert Slot.objects.get().taken == len(hubs)

    def test_would_all_win_by_looking_first_and_writing_then(self, world: World) -> None:
        """Prove that the race above is one: without the constraint, whoever looked before writes."""
        [hub] = world.hubs(1)
        barrier = threading.Barrier(4)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE naive_deployment (hub_id bigint)")

        def naive() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM naive_deployment WHERE hub_id = %s", [hub.pk])
                [seen] = cursor.fetchone()
                barrier.wait(30)
                if not seen:
                    cursor.execute("INSERT INTO naive_deployment VALUES (%s)", [hub.pk])

        try:
            at_once(*[naive] * 4)
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM naive_deployment")
                assert cursor.fetchone() == (4,)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE naive_deployment")

    def test_of_one_selection_are_one_booking(self, world: World) -> None:
        world.hubs(20)
        world.slot(start=timedelta(hours=5), room=1_000)
        selection = world.choose()

        results = at_once(*[lambda: world.book(selection)] * 6)

        bookings_made = list(Booking.objects.values_list("pk", flat=True))
        assert len(bookings_made) == 1
        assert {result.pk for result in results if isinstance(result, Booking)} == set(bookings_made)
        assert len([result for result in results if isinstance(result, Booking)]) == 6
        assert Slot.objects.get().taken == 20


class TestBookersAndCancellers:
    def test_never_lose_or_invent_a_place(self, world: World) -> None:
        world.hubs(60)
        slots = [world.slot(start=timedelta(hours=5 + number), room=15) for number in range(4)]
        booking = world.book(world.choose())
        selections = [world.choose() for _ in range(3)]

        at_once(
            lambda: bookings.cancel(booking=booking, by=world.person, reason="", now=world.clock()),
            *[lambda selection=selection: world.book(selection) for selection in selections],  # type: ignore[misc]
        )

        open_hubs = Deployment.objects.filter(ended_at=None).count()
        assert sum(Slot.objects.values_list("taken", flat=True)) == open_hubs
        assert not Slot.objects.filter(taken__gt=F("capacity")).exists()
        assert len(slots) == 4


class TestWorkers:
    def test_never_hold_the_same_lot(self, world: World) -> None:
        world.hubs(40)
        for number in range(20):
            world.slot(start=timedelta(hours=2, minutes=2 * number), room=2, length=timedelta(minutes=2))
        world.book()
        world.clock.move(hours=1, minutes=59)

        def claim_all() -> list[int]:
            claimed = []
            while claim := deployments.claim(now=world.clock()):
                claimed.append(claim.lot.pk)
            return claimed

        results = at_once(*[claim_all] * 6)

        lots = [lot for result in results if isinstance(result, list) for lot in result]
        assert sorted(lots) == sorted(Lot.objects.values_list("id", flat=True))

    def test_carry_out_together_and_every_hub_once(self, world: World) -> None:
        world.hubs(120)
        world.slot(start=timedelta(hours=2), room=1_000)
        world.book()
        world.clock.move(hours=2)
        at_once(*[lambda: world.work(gateway=ModelledFleet(), rounds=40)] * 4)
        world.work()

        activations = list(
            CommandLog.objects.filter(phase=Phase.ACTIVATE, is_applied=True).values_list("hub", flat=True)
        )
        assert len(activations) == len(set(activations)) == 120
        assert Lot.objects.get().succeeded == 120


class Aside:
    """An act in a thread and a connection of its own, while the test does something else."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self.run, args=[act])
        self.thread.start()

    def run(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()

    def is_done(self, *, within: float) -> bool:
        self.thread.join(within)
        return not self.thread.is_alive()


def waiting() -> int:
    """Return how many connections wait for a lock that another one holds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        number: int = cursor.fetchone()[0]
    return number


class TestAHalt:
    @pytest.mark.parametrize("step", ["admit", "send"])
    def test_does_not_wait_for_a_gate_that_waits_for_its_lot(self, world: World, step: str) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=10)
        world.book()
        world.clock.move(hours=1)
        claimed = deployments.claim(now=world.clock())
        assert claimed
        steps: dict[str, Callable[[], object]] = {
            "admit": lambda: deployments.admit(claimed=claimed, image_whole=True, clock=world.clock),
            "send": lambda: deployments.send(claimed=claimed, gateway=ModelledFleet(), clock=world.clock),
        }
        with transaction.atomic():
            Lot.objects.select_for_update().get()  # as whoever records reports holds it
            gate = Aside(steps[step])
            assert eventually(waiting)
            halt = Aside(
                lambda: decisions.halt(
                    release=world.release, by=world.staff, reason="Hubs go quiet", now=world.clock()
                )
            )
            halted = halt.is_done(within=5)
        assert gate.is_done(within=30)
        assert halt.is_done(within=30)
        assert halted
        assert (gate.error, halt.error) == (None, None)
        assert FirmwareRelease.objects.get().state == ReleaseState.HALTED


class TestReceiptsAndReports:
    def test_of_one_lot_are_written_one_after_the_other(self, world: World) -> None:
        """Each changes many commands, in whatever order: the row of the lot lets one of them begin."""
        handed_over, go_on = threading.Event(), threading.Event()

        class Slow(ModelledFleet):
            def send(self, *, commands: Sequence[Instruction], now: datetime) -> Sequence[Receipt]:
                first, *others = super().send(commands=commands, now=now)
                handed_over.set()
                assert go_on.wait(30)
                # not all alike, so that each has its own
                return [first._replace(verdict=Verdict.EXPIRED), *others]

        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=10)
        world.book()
        world.clock.move(hours=1)
        sender = Aside(lambda: deployments.carry_out(gateway=Slow(), clock=world.clock, lots=1))
        assert handed_over.wait(30)
        last_first = Command.objects.order_by("-deployment_id")
        with transaction.atomic():
            Lot.objects.select_for_update(no_key=True).get()
            keys = list(last_first.values_list("deployment_id", flat=True))
            Command.objects.filter(deployment_id=keys[0]).update(version=None)
            go_on.set()
            assert eventually(waiting)
            Command.objects.filter(deployment_id__in=keys[1:]).update(version=None)
        assert sender.is_done(within=30)
        assert sender.error is None
        verdicts = Command.objects.order_by("deployment_id").values_list("verdict", flat=True)
        assert list(verdicts) == [Verdict.EXPIRED, Verdict.ACCEPTED, Verdict.ACCEPTED]


class TestTwoNetworks:
    @pytest.fixture
    def second(self, world: World) -> worlds.World:
        """Return the same world, but that hubs and slots are of another network."""
        network = factories.NetworkProfileFactory.create(network__code="south").network
        period = world.release.periods.get()
        world.release.periods.create(network=network, start_at=period.start_at, end_at=period.end_at)
        return worlds.World(
            clock=world.clock,
            network=network,
            model=world.model,
            northern=world.northern,
            southern=world.southern,
            release=world.release,
            person=world.person,
            staff=world.staff,
            approver=world.approver,
        )

    def test_are_written_in_one_order_whichever_slots_come_first(self, world: World, second: World) -> None:
        [north], [south] = world.hubs(1), second.hubs(1)
        second.slot(start=timedelta(hours=5), room=1)
        world.slot(start=timedelta(hours=6), room=1)
        selection = world.choose()

        lot = factories.LotFactory.create(release=world.release, slot=world.slots[0], size=2, booked=2)

        def write(number: int, hub: CommunicationsHub) -> None:
            Deployment.objects.create(
                id=lot.pk * LOT_SPAN + number,
                hub=hub,
                model=hub.model,
                next_at=world.clock(),
                moved_at=world.clock(),
                state=State.BOOKED,
            )

        assert world.network.pk < second.network.pk
        with transaction.atomic():  # another booking of the same hubs, which is written at the same moment
            write(1, north)
            booker = Aside(lambda: world.book(selection))
            assert eventually(waiting)
            write(2, south)
        assert booker.is_done(within=30)
        assert isinstance(booker.error, UnableToBook)
        assert "booked elsewhere" in str(booker.error)
        assert set(Slot.objects.values_list("taken", flat=True)) == {0}

    def test_do_not_let_the_making_of_slots_and_a_booking_lock_each_other_out(
        self, world: World, second: World
    ) -> None:
        for network in (world.network, second.network):
            CapacityPattern.objects.bulk_create(
                CapacityPattern(network=network, weekday=weekday, starts="02:00", ends="05:00", capacity=10)
                for weekday in Weekday
            )
        slots.open_slots(now=world.clock())
        # slots that were made later have higher ids, whatever their network and start
        first = Slot.objects.filter(network=world.network).earliest("start_at")
        Slot.objects.filter(pk=first.pk).delete()
        slots.open_slots(now=world.clock())
        early, late = Slot.objects.filter(network=second.network).first(), Slot.objects.order_by("pk").last()
        assert early
        assert late
        assert (late.network_id, late.start_at) == (world.network.pk, first.start_at)
        CapacityPattern.objects.update(capacity=20)

        with transaction.atomic():  # a booking locks its slots in the order of their ids
            Slot.objects.select_for_update().get(pk=early.pk)
            maker = Aside(lambda: slots.open_slots(now=world.clock()))
            assert eventually(waiting)
            Slot.objects.select_for_update().get(pk=late.pk)
        assert maker.is_done(within=30)
        assert maker.error is None
        assert set(Slot.objects.values_list("capacity", flat=True)) == {20}

    def test_do_not_make_bookings_wait_for_slots_that_stay_as_they_are(self, world: World) -> None:
        CapacityPattern.objects.bulk_create(
            CapacityPattern(network=world.network, weekday=weekday, starts="02:00", ends="05:00", capacity=10)
            for weekday in Weekday
        )
        slots.open_slots(now=world.clock())
        with transaction.atomic():
            assert list(Slot.objects.select_for_update())
            maker = Aside(lambda: slots.open_slots(now=world.clock()))
            done = maker.is_done(within=10)
        assert maker.is_done(within=30)
        assert done


class TestABookingThatIsBeingWritten:
    def test_is_passed_over_by_whoever_gives_back_abandoned_ones(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=10)
        booking = world.book()
        Booking.objects.update(placed_at=None)
        with transaction.atomic():
            Booking.objects.update(placed_at=world.clock())  # as the writing of a very large one holds it
            keeper = Aside(lambda: bookings.give_back_abandoned(now=world.clock.move(minutes=10)))
            done = keeper.is_done(within=10)
        assert keeper.is_done(within=30)
        assert done
        assert keeper.error is None
        booking.refresh_from_db()
        assert (booking.abandoned_at, Slot.objects.get().taken) == (None, 3)


class TestChanges:
    """Parts of one booking are cancelled and moved while workers advance it and others book."""

    def test_never_lose_or_invent_a_place_or_a_hub(self, world: World) -> None:
        hubs = [hub.chf_id for hub in world.hubs(60)]
        for number in range(6):
            world.slot(start=timedelta(hours=5 + number), room=20)
        booking = world.book(world.choose_ids("\n".join(map(format_eui64, hubs[:40]))))
        selections = [world.choose_ids("\n".join(map(format_eui64, hubs[40:50]))), world.choose()]
        world.clock.move(hours=3)  # the workers stage what the changes take away
        third, last = world.slots[2].start_at, world.slots[5].start_at
        asked = {"booking": booking, "only_if_all": False, "by": world.person, "reason": "Race"}

        def move(start: int, stop: int, plan: Booking.Plan, at: datetime) -> int:
            # ends of one hub lie apart in time: the clocks of two people never say the same microsecond
            clock = worlds.Clock(world.clock() + timedelta(microseconds=1 + start))
            part = Part(hubs=hubs[start:stop])
            return changes.move(**asked, part=part, to=Destination(plan, at), clock=clock)

        def cancel(start: int, stop: int) -> int:
            part = Part(hubs=hubs[start:stop])
            return changes.cancel_part(**asked, part=part, now=world.clock())

        results = at_once(
            lambda: world.work(gateway=ModelledFleet(), rounds=3),
            lambda: world.work(gateway=ModelledFleet(), rounds=3),
            lambda: cancel(0, 10),
            lambda: move(5, 25, Booking.Plan.EARLIEST, third),
            lambda: move(20, 40, Booking.Plan.ONE_SLOT, last),
            lambda: cancel(30, 35),
            *[lambda selection=selection: world.book(selection) for selection in selections],  # type: ignore[misc]
        )

        assert [
            result
            for result in results
            if isinstance(result, Exception)
            and not isinstance(result, UnableToBook | UnableToMove | UnableToCancel)
        ] == []
        assert sum(isinstance(result, int) for result in results) >= 2
        assert_books_balance()

    def test_of_the_last_places_leave_nobody_without_a_slot(self, world: World) -> None:
        hubs = [hub.chf_id for hub in world.hubs(40)]
        here = world.slot(start=timedelta(hours=5), room=40)
        bookings_made = [
            world.book(world.choose_ids(format_eui64(hub)), start_at=here.start_at) for hub in hubs[:20]
        ]
        there = world.slot(start=timedelta(hours=9), room=10)
        selections = [world.choose_ids(format_eui64(hub)) for hub in hubs[20:]]
        to = Destination(Booking.Plan.ONE_SLOT, there.start_at)
        world.clock.move(seconds=1)

        def move(booking: Booking) -> int:
            return changes.move(
                booking=booking,
                part=Part(),
                to=to,
                only_if_all=True,
                by=world.person,
                reason="Race",
                clock=world.clock,
            )

        results = at_once(
            *[lambda booking=booking: move(booking) for booking in bookings_made],  # type: ignore[misc]
            *[
                lambda selection=selection: world.book(selection, start_at=there.start_at)  # type: ignore[misc]
                for selection in selections
            ],
        )

        moved = results.count(1)
        booked = sum(isinstance(result, Booking) for result in results)
        there.refresh_from_db()
        here.refresh_from_db()
        assert moved + booked == there.taken == 10
        assert here.taken == 20 - moved
        assert all(isinstance(result, int | Booking | UnableToBook | UnableToMove) for result in results)
        assert_books_balance()


class TestTheDefaultAllocation:
    @pytest.fixture(autouse=True)
    def due(self, world: World) -> None:
        self.hubs = {hub.chf_id for hub in world.hubs(120)}
        period = world.release.periods.get()
        world.clock.moment = deadlines.allocation_at(period=period, policy=world.release.policy) + timedelta(
            minutes=1
        )
        count_fleet(now=world.clock())
        for number in range(4):
            world.slot(start=timedelta(days=8 + number), room=50)

    def balances(self) -> None:
        held = list(Deployment.objects.filter(ended_at=None).values_list("hub_id", flat=True))
        assert len(held) == len(set(held))
        assert sum(Slot.objects.values_list("taken", flat=True)) == len(held)
        assert set(held) == self.hubs

    def test_happens_once_however_many_beats_come_at_once(self, world: World) -> None:
        results = at_once(*[lambda: allocations.allocate(clock=world.clock)] * 4)

        assert sorted(results) == [0, 0, 0, 1]  # type: ignore[type-var]
        assert Booking.objects.filter(abandoned_at=None).count() == 1
        assert Allocation.objects.count() == 1
        assert Notice.objects.filter(kind=Notice.Kind.ALLOCATED).count() == 1
        assert not HubException.objects.exists()
        self.balances()

    def test_is_begun_twice_without_its_row(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Prove that the race above is one: who only looks whether there was one begins it as often as there are."""
        barrier = threading.Barrier(4)

        def naive() -> bool:
            seen = HubSelection.objects.exists()
            barrier.wait(30)
            if not seen:
                HubSelection.objects.create(
                    supplier=world.northern,
                    release=world.release,
                    created_at=world.clock(),
                    method=HubSelection.Method.ALL,
                )
            return seen

        at_once(*[naive] * 4)

        assert HubSelection.objects.count() == 4

    def test_and_a_booking_of_the_supplier_share_the_hubs_and_nobody_fails(self, world: World) -> None:
        selections = [
            world.choose_ids("\n".join(format_eui64(hub) for hub in sorted(self.hubs)[first : first + 60]))
            for first in (0, 30, 60)
        ]

        results = at_once(
            lambda: allocations.allocate(clock=world.clock),
            *[lambda selection=selection: world.book(selection) for selection in selections],  # type: ignore[misc]
        )

        assert results[0] == 1
        assert all(isinstance(result, Booking | UnableToBook) for result in results[1:])
        # who came too late for some of its hubs is left over, and taken on the next working day
        world.clock.move(days=3)
        while world.clock().weekday() > 4:
            world.clock.move(days=1)
        allocations.allocate(clock=world.clock)
        self.balances()


class TestTwoDecisions:
    def test_never_take_the_same_hubs(self, world: World) -> None:
        hubs = world.hubs(40)
        HubException.objects.bulk_create(
            HubException(
                release=world.release,
                hub=hub.chf_id,
                why=HubException.Why.NO_SLOT,
                supplier=world.northern,
                network=world.network,
                raised_at=world.clock(),
            )
            for hub in hubs
        )
        portion = Portion(world.release)

        results = at_once(
            *[
                lambda: exceptions.exempt(
                    portion=portion,
                    expires_at=world.clock() + timedelta(days=1),
                    reason="Hospital",
                    by=world.staff,
                    now=world.clock(),
                ),
                lambda: exceptions.ask_override(
                    portion=portion, reason="Safety", by=world.staff, now=world.clock()
                ),
            ]
            * 2
        )

        won = [result for result in results if isinstance(result, Decision)]
        lost = [result for result in results if isinstance(result, exceptions.UnableToDecide)]
        assert (len(won), len(lost)) == (1, 3)
        assert won[0].hubs == 40

    def test_of_one_override_are_one(self, world: World) -> None:
        world.hubs(3)
        HubException.objects.bulk_create(
            HubException(
                release=world.release,
                hub=hub,
                why=HubException.Why.NO_SLOT,
                supplier=world.northern,
                network=world.network,
                raised_at=world.clock(),
            )
            for hub in CommunicationsHub.objects.values_list("chf_id", flat=True)
        )
        world.slot(start=timedelta(hours=5), room=10)
        decision = exceptions.ask_override(
            portion=Portion(world.release), reason="Safety", by=world.staff, now=world.clock()
        )

        results = at_once(
            lambda: exceptions.approve_override(decision=decision, by=world.approver, now=world.clock()),
            lambda: exceptions.drop_override(
                decision=decision, by=world.approver, reason="No", now=world.clock()
            ),
            lambda: exceptions.approve_override(decision=decision, by=world.approver, now=world.clock()),
        )

        assert len([result for result in results if isinstance(result, exceptions.UnableToDecide)]) == 2
        at_once(*[lambda: allocations.allocate(clock=world.clock)] * 3)
        approved = Decision.objects.get().approved_at is not None
        assert Deployment.objects.count() == (3 if approved else 0)


class TestAnswers:
    """Whoever answers, changes or settles the same question: one wins, and the other reads a sentence."""

    @pytest.fixture
    def other(self, world: World) -> User:
        return User.objects.create_user(email="person@southern.example.com", supplier=world.southern)

    @pytest.fixture
    def asked(self, world: World, other: User) -> Consent:
        """Forty shared hubs in question in ten days, and room for them an hour later."""
        world.shared(40)
        for hour in range(2):
            world.slot(start=timedelta(days=10, hours=hour), room=40)
        world.book(start_at=world.slots[0].start_at)
        return Consent.objects.get()

    def objects(self, world: World, asked: Consent, other: User) -> consents.Outcome:
        # a microsecond later: two ends of one hub never have the same moment
        return consents.object_to(
            consent=asked,
            offer=consents.Offer(hubs=None, alternative=world.slots[1]),
            reason="Price change",
            by=other,
            clock=worlds.Clock(world.clock() + timedelta(microseconds=1)),
        )

    def agrees(self, world: World, asked: Consent, other: User) -> consents.Agreed:
        return consents.agree(consents=[asked], by=other, now=world.clock())

    def test_of_two_people_are_one_answer(self, world: World, asked: Consent, other: User) -> None:
        results = at_once(
            *[lambda: self.agrees(world, asked, other)] * 2,
            *[lambda: self.objects(world, asked, other)] * 2,
        )

        won = [result for result in results if not isinstance(result, Exception)]
        lost = [result for result in results if isinstance(result, UnableToAnswer)]
        assert (len(won), len(lost)) == (1, 3)
        assert all("already" in str(error) for error in lost)
        asked.refresh_from_db()
        agreed = isinstance(won[0], consents.Agreed)
        assert asked.state == (Consent.State.GIVEN if agreed else Consent.State.OBJECTED)
        assert [slot.taken for slot in Slot.objects.order_by("start_at")] == ([40, 0] if agreed else [0, 40])
        assert set(Deployment.objects.filter(ended_at=None).values_list("state", flat=True)) == {"booked"}
        assert_books_balance()

    def test_would_be_two_by_reading_first_and_writing_then(self, world: World, asked: Consent) -> None:
        """Prove that the race above is one: without the lock on the booking, both answers are taken."""
        barrier = threading.Barrier(2)

        def naive(state: Consent.State) -> bool:
            seen = Consent.objects.get(pk=asked.pk)
            barrier.wait(30)
            if seen.state != Consent.State.ASKED:
                return False
            return bool(Consent.objects.filter(pk=asked.pk).update(state=state, answered_at=world.clock()))

        assert at_once(*[lambda: naive(Consent.State.LAPSED), lambda: naive(Consent.State.WITHDRAWN)]) == [
            True,
            True,
        ]

    def test_and_the_end_of_the_time_are_one_decision(
        self, world: World, asked: Consent, other: User
    ) -> None:
        late = worlds.Clock(asked.answer_by)

        results = at_once(
            lambda: self.agrees(world, asked, other),
            lambda: consents.settle(clock=late),
            lambda: consents.settle(clock=late),
        )

        assert not [
            result
            for result in results
            if isinstance(result, Exception) and not isinstance(result, UnableToAnswer)
        ]
        asked.refresh_from_db()
        settled = sum(result for result in results if isinstance(result, int))
        if isinstance(results[0], UnableToAnswer):
            assert (asked.state, settled) == ("lapsed", 1)
        else:
            assert (asked.state, settled) == ("given", 0)
        assert set(Deployment.objects.values_list("state", flat=True)) == {"booked"}

    def test_of_nobody_in_time_move_the_hubs_once(self, world: World, asked: Consent) -> None:
        Consent.objects.update(is_explicit=True)
        late = worlds.Clock(asked.answer_by)

        results = at_once(*[lambda: consents.settle(clock=late)] * 4)

        assert sorted(result for result in results if isinstance(result, int)) == [0, 0, 0, 1]
        assert [slot.taken for slot in Slot.objects.order_by("start_at")] == [0, 40]
        assert_books_balance()

    @pytest.mark.parametrize("act", ["cancel", "move"])
    def test_and_the_lead_s_own_change_are_one_after_the_other(
        self, world: World, asked: Consent, other: User, act: str
    ) -> None:
        given = {
            "booking": asked.booking,
            "part": Part(),
            "only_if_all": True,
            "by": world.person,
            "reason": "Race",
        }
        to = Destination(Booking.Plan.ONE_SLOT, world.slots[1].start_at)
        change: Callable[[], object] = {
            "cancel": lambda: changes.cancel_part(**given, now=world.clock()),
            "move": lambda: changes.move(**given, to=to, clock=world.clock),
        }[act]

        objected, changed = at_once(lambda: self.objects(world, asked, other), change)

        assert isinstance(objected, consents.Outcome | UnableToAnswer)
        assert isinstance(changed, int | UnableToCancel | UnableToMove)
        # who comes second finds the hubs gone from that slot: to object then is too late, to cancel is not
        assert isinstance(objected, consents.Outcome) or isinstance(changed, int)
        if isinstance(objected, UnableToAnswer):
            assert "no longer asked" in str(objected)
        assert_books_balance()

    def test_and_a_halt_let_nothing_out(self, world: World, asked: Consent, other: User) -> None:
        staging = min(lot.staging_from for lot in Lot.objects.all())
        Consent.objects.update(answer_by=staging + timedelta(hours=2))
        world.clock.moment = staging + timedelta(minutes=1)

        results = at_once(
            lambda: self.agrees(world, asked, other),
            lambda: decisions.halt(
                release=world.release, by=world.staff, reason="Hubs go quiet", now=world.clock()
            ),
            lambda: world.work(gateway=ModelledFleet(), rounds=2),
        )
        assert not [result for result in results if isinstance(result, Exception)]
        sent = CommandLog.objects.count()
        deployments.wake_stopped(now=world.clock())
        world.work(gateway=ModelledFleet(), rounds=3)

        assert CommandLog.objects.count() == sent
        assert set(Deployment.objects.values_list("state", flat=True)) <= {"held", "staging", "staged"}
        asked.refresh_from_db()
        assert asked.state == Consent.State.GIVEN
