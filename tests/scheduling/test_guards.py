"""Hubs that must not go just anywhere: shared ones, listed ones, those that change their Supplier."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from hubs import registrations
from hubs.gateway import Phase
from hubs.modelled_fleet.models import CommandLog
from hubs.models import ChangeOfSupplier, CommunicationsHub, PaymentMode
from scheduling.eligibility import Refusal
from scheduling.lifecycle import Ending, State
from scheduling.models import (
    Booking,
    Consent,
    Deployment,
    GroupedHub,
    HubGroup,
    Lot,
    Notice,
    ProtectedWindow,
    Slot,
    UnplacedHub,
)
from scheduling.operations import bookings, changes
from scheduling.operations.bookings import UnableToBook
from scheduling.queries import guards, plans, previews
from scheduling.queries.parts import Destination, Part
from tests import factories
from tests.scheduling.world import World, forget_deployments

HOUR = timedelta(hours=1)
Scope = ProtectedWindow.Scope


def shared(world: World, number: int, **facts: Any) -> list[CommunicationsHub]:
    """Add hubs that the northern Supplier books and the southern one shares."""
    return world.hubs(number, gas_supplier=world.southern, **facts)


def change(world: World, hub: CommunicationsHub, day: date) -> ChangeOfSupplier:
    return ChangeOfSupplier.objects.create(
        hub=hub.chf_id,
        role=ChangeOfSupplier.Role.IMPORT,
        gaining=world.southern,
        effective_on=day,
        imported_at=world.clock(),
    )


def starts(world: World) -> dict[int, datetime]:
    """Return by hub when its slot begins."""
    begins = {lot.pk: lot.slot.start_at for lot in Lot.objects.select_related("slot")}
    return {one.hub_id: begins[one.lot_id] for one in Deployment.objects.filter(ended_at=None)}


def states() -> set[tuple[int, str]]:
    return set(Deployment.objects.values_list("hub", "state"))


class TestBookingSharedHubs:
    def test_makes_them_provisional_and_asks_the_other_supplier_once_for_each_slot(
        self, world: World
    ) -> None:
        own, theirs = world.hubs(2), shared(world, 3)
        first, second = (world.slot(start=hours * HOUR, room=room) for hours, room in [(5, 4), (6, 5)])

        booking = world.book()

        assert states() == {
            *((hub.chf_id, State.BOOKED) for hub in own),
            *((hub.chf_id, State.PROVISIONAL) for hub in theirs),
        }
        asked = Consent.objects.order_by("slot__start_at")
        assert [(one.booking, one.supplier, one.slot, one.state) for one in asked] == [
            (booking, world.southern, first, Consent.State.ASKED),
            (booking, world.southern, second, Consent.State.ASKED),
        ]
        lots = Lot.objects.order_by("slot__start_at", "provisional").values_list(
            "slot", "consent", "booked", "provisional"
        )
        assert list(lots) == [
            (first.pk, None, 2, 0),
            (first.pk, asked[0].pk, 0, 2),
            (second.pk, asked[1].pk, 0, 1),
        ]
        assert [slot.taken for slot in Slot.objects.order_by("start_at")] == [4, 1]

    def test_gives_hubs_that_nobody_else_has_to_be_asked_about_the_first_places(self, world: World) -> None:
        theirs, own = shared(world, 2), world.hubs(2)
        first, second = (world.slot(start=hours * HOUR, room=2) for hours in (5, 6))

        world.book()

        assert starts(world) == {
            **{hub.chf_id: first.start_at for hub in own},
            **{hub.chf_id: second.start_at for hub in theirs},
        }

    @pytest.mark.parametrize(("hours", "is_explicit"), [(24 * 5, True), (24 * 9, False)])
    def test_wants_their_word_for_a_near_slot_and_their_silence_for_another(
        self, hours: int, is_explicit: bool, world: World
    ) -> None:
        shared(world, 1)
        world.slot(start=hours * HOUR, room=1)

        world.book()

        consent = Consent.objects.get()
        assert consent.is_explicit is is_explicit
        assert consent.answer_by == world.release.policy.objection_window.after(world.clock())

    def test_never_waits_longer_for_an_answer_than_the_slot(self, world: World) -> None:
        shared(world, 1)
        slot = world.slot(start=5 * HOUR, room=1)

        world.book()

        assert Consent.objects.get().answer_by == slot.start_at

    def test_asks_each_of_several_others_about_its_own_hubs(self, world: World) -> None:
        eastern = factories.SupplierFactory.create(name="Eastern")
        theirs, others = shared(world, 2), world.hubs(1, gas_supplier=eastern)
        world.slot(start=5 * HOUR, room=9)

        world.book()

        lots = {
            lot.consent.supplier: lot
            for lot in Lot.objects.select_related("consent__supplier")
            if lot.consent
        }
        assert {supplier: lot.provisional for supplier, lot in lots.items()} == {
            world.southern: 2,
            eastern: 1,
        }
        of_lot = {one.hub_id: one.lot_id for one in Deployment.objects.all()}
        assert {of_lot[hub.chf_id] for hub in theirs} == {lots[world.southern].pk}
        assert {of_lot[hub.chf_id] for hub in others} == {lots[eastern].pk}

    def test_owes_each_of_them_one_e_mail(self, world: World) -> None:
        other = factories.UserFactory.create(supplier=world.southern)
        shared(world, 3)
        world.slot(start=5 * HOUR, room=2)
        world.slot(start=6 * HOUR, room=2)

        world.book()

        notice = Notice.objects.get(kind=Notice.Kind.CONSENT_ASKED)
        assert (notice.address, notice.supplier) == (other.email, world.southern)

    def test_takes_the_questions_back_when_the_booking_is_abandoned(self, world: World) -> None:
        shared(world, 1)
        world.slot(start=5 * HOUR, room=1)
        booking = world.book()
        forget_deployments()
        Booking.objects.update(placed_at=None)

        world.clock.move(hours=1)
        bookings.give_back_abandoned(now=world.clock())

        booking.refresh_from_db()
        assert booking.abandoned_at
        assert not Consent.objects.exists()
        assert Slot.objects.get().taken == 0

    def test_is_shown_before_with_who_will_be_asked_about_how_many(self, world: World) -> None:
        world.hubs(2)
        shared(world, 3)
        world.slot(start=5 * HOUR, room=3)
        world.slot(start=24 * 9 * HOUR, room=9)

        preview = previews.preview(
            selection=world.choose(), timing=plans.Timing(Booking.Plan.EARLIEST), now=world.clock()
        )

        assert preview.asks == [previews.Ask(world.southern, 3, 1)]

    def test_asks_again_when_they_are_moved(self, world: World) -> None:
        shared(world, 1)
        world.slot(start=5 * HOUR, room=1)
        booking = world.book()
        later = world.slot(start=8 * HOUR, room=1)

        changes.move(
            booking=booking,
            part=Part(),
            to=Destination(Booking.Plan.ONE_SLOT, later.start_at),
            only_if_all=True,
            by=world.person,
            reason="",
            clock=world.clock,
        )

        [lot] = Lot.objects.filter(slot=later)
        assert lot.provisional == 1
        assert lot.consent
        assert (lot.consent.state, lot.consent.slot) == (Consent.State.ASKED, later)
        assert Deployment.objects.get(ended_at=None).next_at == later.end_at == lot.due_at


class TestTheOthersWindows:
    @pytest.mark.parametrize("how", ["all", "network", "mode", "list", "group"])
    def test_keep_shared_hubs_out_and_nobody_else(self, how: str, world: World) -> None:
        own = world.hubs(1, payment_mode=PaymentMode.PREPAYMENT)
        [theirs] = shared(world, 1, payment_mode=PaymentMode.PREPAYMENT)
        first, second = (world.slot(start=hours * HOUR, room=9) for hours in (5, 7))
        facts: dict[str, Any] = {"supplier": world.southern}
        if how == "network":
            facts |= {"scope": Scope.NETWORK, "network": world.network}
        elif how == "mode":
            facts |= {"scope": Scope.PAYMENT_MODE, "payment_mode": PaymentMode.PREPAYMENT}
        elif how == "list":
            facts |= {"hubs": [*own, theirs]}  # a hub that is no longer theirs may still be on their list
        elif how == "group":
            facts |= {"scope": Scope.GROUP, "group": group(world, [*own, theirs])}
        world.protect(start=5 * HOUR, **facts)

        world.book()

        assert starts(world) == {own[0].chf_id: first.start_at, theirs.chf_id: second.start_at}

    def test_say_no_more_than_that_a_slot_is_not_available(self, world: World) -> None:
        shared(world, 2)
        slot = world.slot(start=5 * HOUR, room=9)
        world.protect(start=5 * HOUR, supplier=world.southern, reason="Secret tariff")

        with pytest.raises(UnableToBook, match=r"2 of your 2 hubs on .* are not available") as refusal:
            world.book(start_at=slot.start_at)

        assert "Secret" not in str(refusal.value)

    def test_are_nothing_to_the_supplier_that_books_when_they_are_soft(self, world: World) -> None:
        [hub] = shared(world, 1)
        slot = world.slot(start=5 * HOUR, room=9)
        world.protect(start=5 * HOUR, supplier=world.southern, is_hard=False)

        world.book()

        assert starts(world) == {hub.chf_id: slot.start_at}


def group(world: World, hubs: list[CommunicationsHub]) -> HubGroup:
    made = HubGroup.objects.create(
        supplier=world.southern,
        name="Pilot",
        hubs=len(hubs),
        made_by=world.person,
        created_at=world.clock(),
        changed_at=world.clock(),
    )
    GroupedHub.objects.bulk_create(GroupedHub(group=made, hub=hub.chf_id) for hub in hubs)
    return made


class TestChangesOfSupplier:
    def test_keep_their_hub_out_from_the_evening_before_to_the_end_of_the_day_after(
        self, world: World
    ) -> None:
        day = date(2026, 11, 3)
        opens, closes = registrations.protected_span(effective_on=day)
        moving, _ = world.hubs(2)
        change(world, moving, day)
        offsets = [opens - 2 * HOUR, opens - 0.5 * HOUR, opens, closes - HOUR, closes]
        slots = [world.slot(start=at - world.clock(), room=1) for at in offsets]

        groups = _groups(world)
        clear = [[one.is_clear(start=slot.start_at, end=slot.end_at) for slot in slots] for one in groups]

        assert sorted(clear) == [[True, False, False, False, True], [True] * 5]

    def test_leave_a_hub_over_that_has_no_other_slot(self, world: World) -> None:
        moving, staying = world.hubs(2)
        slot = world.slot(start=50 * HOUR, room=2)
        change(world, moving, slot.start_at.date())

        booking = world.book()

        assert starts(world) == {staying.chf_id: slot.start_at}
        assert booking.unplaced == 1
        assert list(UnplacedHub.objects.values_list("hub", "why")) == [
            (moving.chf_id, UnplacedHub.Why.PROTECTED_WINDOW)
        ]

    def test_of_both_meters_hold_together(self, world: World) -> None:
        [hub] = shared(world, 1)
        for role, day in ((1, date(2026, 11, 3)), (2, date(2026, 11, 9))):
            ChangeOfSupplier.objects.create(
                hub=hub.chf_id, role=role, gaining=world.northern, effective_on=day, imported_at=world.clock()
            )

        [one] = _groups(world)

        assert len(one.closed) == 2


def _groups(world: World) -> list[guards.Group]:
    guard = guards.guard_for(release=world.release, supplier=world.northern, now=world.clock())
    hubs, parameters = previews.eligibility.chosen_hubs(selection=world.choose(), now=world.clock())
    return guards.counted(guard=guard, hubs=hubs, parameters=parameters)


class TestTheGate:
    def book(self, world: World) -> CommunicationsHub:
        [hub] = shared(world, 1)
        world.slot(start=5 * HOUR, room=2)
        world.book()
        return hub

    def activated(self) -> set[int]:
        return set(CommandLog.objects.filter(phase=Phase.ACTIVATE).values_list("hub", flat=True))

    def agree(self) -> None:
        """Answer as the other Supplier would, in the tables themselves."""
        Consent.objects.update(
            state=Consent.State.LAPSED, is_explicit=False, answered_at=datetime(2026, 10, 25, tzinfo=UTC)
        )
        for lot in Lot.objects.all():
            Deployment.objects.filter(state=State.PROVISIONAL).update(
                state=State.BOOKED, next_at=lot.staging_from
            )
            Lot.objects.filter(pk=lot.pk).update(due_at=lot.staging_from)

    def test_commands_nothing_that_nobody_agreed_to(self, world: World) -> None:
        self.book(world)

        for _ in range(7):
            world.clock.move(hours=1)
            world.work()

        assert not CommandLog.objects.exists()
        assert list(Deployment.objects.values_list("state", "ending")) == [("missed", Ending.NO_CONSENT)]

    def test_asks_the_windows_of_the_other_supplier_too(self, world: World) -> None:
        self.book(world)
        self.agree()
        world.clock.move(hours=5)
        world.protect(start=-0.5 * HOUR, length=4 * HOUR, supplier=world.southern)

        world.work()
        world.clock.move(hours=1)
        world.work()

        assert self.activated() == set()
        assert Deployment.objects.get().ending == Ending.PROTECTED_WINDOW

    @pytest.mark.parametrize("how", ["group", "change"])
    def test_asks_groups_and_changes_of_supplier(self, how: str, world: World) -> None:
        hub = self.book(world)
        [other] = world.hubs(1)
        world.book(world.choose())
        self.agree()
        world.clock.move(hours=4)
        world.work()  # stages them
        world.clock.move(hours=1)
        if how == "group":
            world.protect(
                start=-0.5 * HOUR,
                length=4 * HOUR,
                supplier=world.southern,
                scope=Scope.GROUP,
                group=group(world, [hub]),
            )
        else:
            change(world, hub, world.clock().date())

        world.work()

        assert self.activated() == {other.chf_id}

    def test_makes_what_a_halt_held_provisional_again_until_it_is_answered(self, world: World) -> None:
        self.book(world)
        lot = Lot.objects.get()
        Lot.objects.update(due_at=world.clock())
        Deployment.objects.update(state=State.HELD, next_at=world.clock())

        world.work()

        deployment = Deployment.objects.get()
        assert deployment.state == State.PROVISIONAL
        assert deployment.next_at == lot.slot.end_at


class TestAfterHalfThePeriod:
    def test_either_supplier_may_book_and_the_lead_is_asked(self, world: World) -> None:
        [hub] = world.hubs(1, supplier=world.southern, gas_supplier=world.northern)
        before = world.choose_ids(f"{hub}\n")
        assert before.refused == {str(int(Refusal.NOT_LEAD)): 1}
        assert world.choose().eligible == {}

        world.clock.move(days=31)
        world.slot(start=24 * 9 * HOUR, room=1)
        world.book(world.choose())

        lot = Lot.objects.get()
        assert lot.consent
        assert (lot.provisional, lot.supplier, lot.consent.supplier) == (1, world.northern, world.southern)

    def test_a_lead_that_has_booked_is_not_silent(self, world: World) -> None:
        [hub] = shared(world, 1)
        world.clock.move(days=31)
        world.slot(start=24 * 9 * HOUR, room=1)
        world.book()

        theirs = world.choose_ids(f"{hub}\n", supplier=world.southern)

        assert theirs.refused == {str(int(Refusal.OPEN_DEPLOYMENT)): 1}

    def test_the_gate_lets_the_hub_of_the_other_supplier_go(self, world: World) -> None:
        world.hubs(1, supplier=world.southern, gas_supplier=world.northern)
        world.clock.move(days=31)
        world.slot(start=5 * HOUR, room=1)
        world.book(world.choose())
        TestTheGate().agree()
        world.clock.move(hours=4)

        world.work()

        assert Lot.objects.get().staged == 1
