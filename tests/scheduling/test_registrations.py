"""Changes of supplier that take effect: the deployment follows the hub, and no place is lost or invented."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pytest

from hubs.models import ChangeOfSupplier, CommunicationsHub, Supplier
from portal.ground import uk_time
from portal.ground.models import AuditEntry
from portal.models import User
from scheduling.lifecycle import Ending, State
from scheduling.models import Booking, Consent, Deployment, Lot, Notice
from scheduling.operations import bookings, changes, deployments, notices, registrations
from scheduling.queries.parts import Destination, Part
from tests import factories
from tests.scheduling.test_changes import assert_books_balance
from tests.scheduling.world import World

IMPORT, GAS = ChangeOfSupplier.Role.IMPORT, ChangeOfSupplier.Role.GAS
TODAY = date(2026, 10, 25)
DAYS_AGO = date(2026, 10, 23)
"""The workers were away then; the hub is no longer protected around its change."""


def change(
    hubs: Sequence[CommunicationsHub],
    gaining: Supplier,
    *,
    role: ChangeOfSupplier.Role = IMPORT,
    on: date = DAYS_AGO,
) -> None:
    """Register that another Supplier gets the hubs."""
    ChangeOfSupplier.objects.bulk_create(
        ChangeOfSupplier(
            hub=hub.pk,
            role=role,
            gaining=gaining,
            effective_on=on,
            imported_at=datetime.combine(on - timedelta(days=3), datetime.min.time(), uk_time.LONDON),
        )
        for hub in hubs
    )


def take_effect(world: World) -> int:
    """Let changes take effect, a second later than whatever was done before."""
    world.clock.move(seconds=1)
    return registrations.take_effect(now=world.clock())


def open_of(hub: CommunicationsHub) -> Deployment:
    return Deployment.objects.get(hub=hub, ended_at=None)


def lot_of(hub: CommunicationsHub) -> Lot:
    return Lot.objects.select_related("booking", "consent", "slot").get(pk=open_of(hub).lot_id)


@pytest.fixture
def western(world: World) -> Supplier:
    supplier = Supplier.objects.create(
        name="Western", import_participant_id="WEST", gas_participant_id="WESG"
    )
    User.objects.create_user(email="person@western.example.com", supplier=supplier)
    return supplier


class TestTakeEffect:
    def test_gives_the_hub_to_its_gaining_supplier_from_the_first_moment_of_the_day(
        self, world: World
    ) -> None:
        [hub] = world.hubs(1)
        change([hub], world.southern, on=date(2026, 10, 26))
        midnight = uk_time.day_bounds(date(2026, 10, 26))[0]

        assert registrations.take_effect(now=midnight - timedelta(microseconds=1)) == 0
        assert registrations.take_effect(now=midnight) == 1

        hub.refresh_from_db()
        assert (hub.import_supplier, hub.lead_id) == (world.southern, world.southern.pk)
        assert ChangeOfSupplier.objects.get().applied_at == midnight
        assert registrations.take_effect(now=midnight) == 0

    def test_changes_both_meters_of_a_hub_at_once(self, world: World, western: Supplier) -> None:
        [hub] = world.hubs(1, gas_supplier=world.northern)
        world.slot(start=timedelta(hours=5), room=5)
        world.book()
        change([hub], western, on=TODAY - timedelta(days=1))
        change([hub], western, role=GAS)

        assert take_effect(world) == 1

        hub.refresh_from_db()
        assert (hub.lead_id, hub.other_id) == (western.pk, None)
        assert lot_of(hub).consent is None
        assert Deployment.objects.filter(hub=hub).count() == 2

    def test_goes_on_batch_by_batch_and_leaves_the_rest_for_the_next_call(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registrations, "BATCH", 2)
        hubs = world.hubs(5)
        world.slot(start=timedelta(hours=5), room=5)
        world.book()
        change(hubs, world.southern)
        User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
        now = world.clock.move(seconds=1)

        assert registrations.take_effect(now=now, batches=2) == 4
        assert not Notice.objects.filter(kind=Notice.Kind.CARRIED_OVER).exists()
        assert registrations.take_effect(now=now, batches=2) == 1

        [booking] = Booking.objects.filter(supplier=world.southern)
        assert (booking.hubs, booking.origin) == (5, Booking.Origin.CARRIED_OVER)
        assert Notice.objects.get(kind=Notice.Kind.CARRIED_OVER).context["hubs"] == 5
        assert_books_balance()

    def test_stamps_a_change_of_a_hub_that_is_not_there_any_more(self, world: World) -> None:
        [hub] = world.hubs(1)
        change([hub], world.southern)
        hub.delete()

        take_effect(world)

        assert not ChangeOfSupplier.objects.filter(applied_at=None).exists()

    def test_waits_while_an_import_is_written(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        change(world.hubs(1), world.southern)
        monkeypatch.setattr("hubs.operations.registrations.lock", lambda: False)

        assert take_effect(world) == 0
        assert ChangeOfSupplier.objects.filter(applied_at=None).exists()


class TestTheDeployment:
    @pytest.fixture
    def booked(self, world: World) -> list[CommunicationsHub]:
        """Three hubs of the northern Supplier in a slot five hours ahead, and one in the next."""
        hubs = world.hubs(4)
        for hours in (5, 6):
            world.slot(start=timedelta(hours=hours), room=3)
        world.book()
        return hubs

    def test_follows_the_hub_into_the_same_slot(self, world: World, booked: list[CommunicationsHub]) -> None:
        [old] = Booking.objects.all()
        slots = {hub.pk: lot_of(hub).slot for hub in booked}
        change(booked[:2], world.southern)

        take_effect(world)

        for hub in booked[:2]:
            lot = lot_of(hub)
            assert (lot.slot, lot.supplier, lot.booking.origin) == (
                slots[hub.pk],
                world.southern,
                Booking.Origin.CARRIED_OVER,
            )
            assert lot.change_until == lot.slot.start_at
            assert (lot.due_at, open_of(hub).next_at) == (lot.staging_from, lot.staging_from)
            ended = Deployment.objects.exclude(ended_at=None).get(hub=hub)
            assert (ended.state, ended.ending) == (State.CANCELLED, Ending.CARRIED_OVER)
        for hub in booked[2:]:
            assert lot_of(hub).booking == old
        assert (lot_of(booked[0]).booking.hubs, lot_of(booked[0]).booking.plan) == (2, Booking.Plan.EARLIEST)
        assert_books_balance()

    def test_stays_where_it_is_when_the_hub_stays(
        self, world: World, booked: list[CommunicationsHub]
    ) -> None:
        before = list(Deployment.objects.order_by("pk").values())
        change(booked, world.northern)

        take_effect(world)

        assert list(Deployment.objects.order_by("pk").values()) == before

    def test_begins_again_as_booked_when_it_was_staged(
        self, world: World, booked: list[CommunicationsHub]
    ) -> None:
        world.clock.move(hours=4, minutes=30)
        world.work()
        assert open_of(booked[0]).state == State.STAGED
        change(booked, world.southern)

        take_effect(world)
        assert {open_of(hub).state for hub in booked} == {State.BOOKED}
        assert not Lot.objects.filter(supplier=world.northern).exclude(due_at=None).exists()

        for _ in range(20):
            world.work()
            world.clock.move(minutes=6)
        assert Deployment.objects.filter(state=State.SUCCEEDED).count() == 4
        assert_books_balance()

    def test_stays_where_it_is_while_it_is_activating(
        self, world: World, booked: list[CommunicationsHub]
    ) -> None:
        world.clock.move(hours=4, minutes=30)
        world.work()
        world.clock.move(minutes=45)
        claimed = deployments.claim(now=world.clock())
        assert claimed
        deployments.admit(claimed=claimed, image_whole=True, clock=world.clock)
        activating = [hub for hub in booked if open_of(hub).state == State.ACTIVATING]
        assert activating
        change(booked, world.southern)

        take_effect(world)

        assert {lot_of(hub).supplier for hub in activating} == {world.northern}
        assert {lot_of(hub).supplier for hub in booked if hub not in activating} == {world.southern}
        assert_books_balance()

    def test_follows_after_all_when_the_hub_was_never_told_to_activate(
        self, world: World, booked: list[CommunicationsHub]
    ) -> None:
        world.clock.move(hours=4, minutes=30)
        world.work()
        world.clock.move(minutes=45)
        claimed = deployments.claim(now=world.clock())
        assert claimed
        deployments.admit(claimed=claimed, image_whole=True, clock=world.clock)
        change(booked, world.southern)
        take_effect(world)
        Deployment.objects.filter(state=State.ACTIVATING).update(
            state=State.STAGED, awaiting=False, next_at=world.clock()
        )

        take_effect(world)

        assert {lot_of(hub).supplier for hub in booked} == {world.southern}
        assert_books_balance()

    def test_follows_after_all_when_a_booking_was_being_written(
        self, world: World, booked: list[CommunicationsHub]
    ) -> None:
        change(booked, world.southern)
        take_effect(world)
        # as it is when the booking's rows are committed after the change
        old = Booking.objects.get(supplier=world.northern)
        new = Booking.objects.get(supplier=world.southern)
        new.lots.update(supplier=world.northern, booking=old)

        take_effect(world)

        assert {lot_of(hub).supplier for hub in booked} == {world.southern}
        assert {lot_of(hub).booking.hubs for hub in booked} == {8}
        assert_books_balance()

    def test_goes_with_the_next_change_too(
        self, world: World, booked: list[CommunicationsHub], western: Supplier
    ) -> None:
        change(booked, world.southern)
        take_effect(world)
        change(booked, western)
        take_effect(world)

        assert {lot_of(hub).supplier for hub in booked} == {western}
        assert Deployment.objects.filter(ending=Ending.CARRIED_OVER).count() == 8
        assert_books_balance()

    def test_may_be_moved_once_after_its_cut_off_and_then_no_more(
        self, world: World, booked: list[CommunicationsHub]
    ) -> None:
        later = world.slot(start=timedelta(hours=8), room=4)
        change(booked, world.southern)
        world.clock.move(hours=4, minutes=30)
        take_effect(world)
        [booking] = Booking.objects.filter(supplier=world.southern)
        person = User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
        world.clock.move(seconds=1)

        moved = changes.move(
            booking=booking,
            part=Part(),
            to=Destination(Booking.Plan.ONE_SLOT, later.start_at),
            only_if_all=False,
            by=person,
            reason="Ours now",
            clock=world.clock,
        )

        assert moved == 4
        lot = lot_of(booked[0])
        assert lot.change_until == world.release.policy.cut_off.before(later.start_at)
        assert_books_balance()

    def test_is_recorded_in_both_bookings_with_its_number_alone(
        self, world: World, booked: list[CommunicationsHub]
    ) -> None:
        [old] = Booking.objects.all()
        change(booked[:3], world.southern)

        take_effect(world)

        [new] = Booking.objects.filter(supplier=world.southern)
        gone = AuditEntry.objects.get(verb="booking.carried_over")
        came = AuditEntry.objects.get(verb="booking.received")
        assert (gone.subject, gone.facts["hubs"]) == (f"booking:{old.reference}", 3)
        assert (came.subject, came.facts) == (f"booking:{new.reference}", {"hubs": 3})

    def test_ends_the_booking_that_has_no_other(self, world: World, booked: list[CommunicationsHub]) -> None:
        [old] = Booking.objects.all()
        change(booked, world.southern)
        take_effect(world)

        assert bookings.finish(now=world.clock()) == [old.pk]

    def test_can_be_cancelled_by_its_new_supplier(
        self, world: World, booked: list[CommunicationsHub]
    ) -> None:
        change(booked, world.southern)
        take_effect(world)
        [booking] = Booking.objects.filter(supplier=world.southern)

        freed = bookings.cancel(booking=booking, by=world.person, reason="", now=world.clock.move(seconds=1))

        assert freed == 4
        assert_books_balance()


class TestOweCarriedOver:
    def test_tells_each_person_once_and_again_when_more_hubs_came(
        self, world: World, western: Supplier
    ) -> None:
        hubs = world.hubs(3)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()
        change(hubs[:2], western)
        take_effect(world)
        take_effect(world)
        [notice] = Notice.objects.filter(kind=Notice.Kind.CARRIED_OVER)
        assert (notice.supplier, notice.address) == (western, "person@western.example.com")

        words = notices.render(notice=notice)

        assert words.subject == "2 hubs came to you with Spring release booked"
        for said in (words.text, words.html):
            assert f"/bookings/{notice.context['reference']}/" in said
            assert "Sunday 25 October 2026, 05:30 GMT" in said
            assert "releases@dcc.example.com" in said
            assert "00-DB-" not in said
            assert "Northern" not in said

        change(hubs[2:], western)
        take_effect(world)
        assert [notice.context["hubs"] for notice in Notice.objects.order_by("pk")] == [2, 3]


class TestTheQuestion:
    """Hubs whose gas is the southern Supplier's, in a slot of which silence is consent, eight days ahead."""

    @pytest.fixture
    def shared(self, world: World) -> list[CommunicationsHub]:
        hubs = world.hubs(2, gas_supplier=world.southern)
        world.slot(start=timedelta(days=16), room=5)
        world.book()
        assert {open_of(hub).state for hub in hubs} == {State.PROVISIONAL}
        return hubs

    def test_stays_as_it_is_when_the_lead_changes_and_the_other_does_not(
        self, world: World, shared: list[CommunicationsHub], western: Supplier
    ) -> None:
        [old] = Consent.objects.all()
        change(shared, western)

        take_effect(world)

        [new] = Consent.objects.exclude(pk=old.pk)
        assert (new.supplier, new.state, new.asked_at, new.answer_by, new.is_explicit) == (
            world.southern,
            Consent.State.ASKED,
            old.asked_at,
            old.answer_by,
            old.is_explicit,
        )
        assert new.booking.supplier == western
        assert {lot_of(hub).consent for hub in shared} == {new}
        assert {open_of(hub).state for hub in shared} == {State.PROVISIONAL}
        assert {open_of(hub).next_at for hub in shared} == {world.slots[0].end_at}
        old.refresh_from_db()
        assert old.state == Consent.State.WITHDRAWN

    def test_is_put_to_an_other_supplier_that_was_there_and_never_asked(
        self, world: World, western: Supplier
    ) -> None:
        hubs = world.hubs(2)
        world.slot(start=timedelta(days=16), room=5)
        world.book()
        CommunicationsHub.objects.update(gas_supplier=world.southern)  # as an inventory does
        change(hubs, western)

        take_effect(world)

        asked = Consent.objects.get()
        assert (asked.supplier, asked.state, asked.booking.supplier) == (
            world.southern,
            Consent.State.ASKED,
            western,
        )
        assert {open_of(hub).state for hub in hubs} == {State.PROVISIONAL}

    def test_that_was_answered_is_answered(
        self, world: World, shared: list[CommunicationsHub], western: Supplier
    ) -> None:
        person = User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
        Consent.objects.update(state=Consent.State.GIVEN, answered_at=world.clock(), answered_by=person)
        Deployment.objects.update(state=State.BOOKED)
        change(shared, western)

        take_effect(world)

        new = Consent.objects.latest("pk")
        assert (new.state, new.answered_by) == (Consent.State.GIVEN, person)
        assert {open_of(hub).state for hub in shared} == {State.BOOKED}
        assert Consent.objects.filter(state=Consent.State.GIVEN).count() == 2

    @pytest.mark.parametrize("state", [Consent.State.ASKED, Consent.State.UNANSWERED])
    def test_that_nobody_has_agreed_to_is_open_however_the_halt_held_the_hubs(
        self, state: Consent.State, world: World, shared: list[CommunicationsHub], western: Supplier
    ) -> None:
        Deployment.objects.update(state=State.HELD)
        if state != Consent.State.ASKED:
            Consent.objects.update(state=state, answered_at=world.clock())
        change(shared, western)

        take_effect(world)

        assert {open_of(hub).state for hub in shared} == {State.PROVISIONAL}

    def test_is_put_anew_to_a_new_other_supplier_in_the_same_booking(
        self, world: World, shared: list[CommunicationsHub], western: Supplier
    ) -> None:
        [booking] = Booking.objects.all()
        change(shared[:1], western, role=GAS)

        take_effect(world)

        [hub, left] = shared
        lot = lot_of(hub)
        assert (lot.booking, lot.change_until) == (booking, lot_of(left).change_until)
        assert lot.consent is not None
        policy = world.release.policy
        assert (lot.consent.supplier, lot.consent.answer_by, lot.consent.is_explicit) == (
            western,
            policy.objection_window.after(world.clock()),
            False,
        )
        assert lot_of(left).consent != lot.consent
        assert Consent.objects.get(supplier=world.southern).state == Consent.State.ASKED
        assert Deployment.objects.filter(ending=Ending.MOVED).count() == 1
        booking.refresh_from_db()
        assert booking.hubs == 2
        assert not Booking.objects.filter(origin=Booking.Origin.CARRIED_OVER).exists()
        assert_books_balance()

    def test_of_a_slot_that_is_near_wants_a_word(self, world: World, western: Supplier) -> None:
        world.hubs(1, gas_supplier=world.southern)
        slot = world.slot(start=timedelta(hours=20), room=5)
        world.book()
        change(list(CommunicationsHub.objects.all()), western, role=GAS)

        take_effect(world)

        consent = Consent.objects.get(supplier=western)
        assert (consent.is_explicit, consent.answer_by) == (True, slot.start_at)

    def test_is_put_to_the_old_lead_that_keeps_the_other_meter(self, world: World, western: Supplier) -> None:
        [hub] = world.hubs(1, gas_supplier=world.northern)
        world.slot(start=timedelta(days=16), room=5)
        world.book()
        assert open_of(hub).state == State.BOOKED
        change([hub], western)

        take_effect(world)

        lot = lot_of(hub)
        assert lot.supplier == western
        assert lot.consent is not None
        assert lot.consent.supplier == world.northern
        assert open_of(hub).state == State.PROVISIONAL

    def test_is_gone_when_one_supplier_has_both_meters(
        self, world: World, shared: list[CommunicationsHub]
    ) -> None:
        change(shared[:1], world.southern)
        change(shared[1:], world.northern, role=GAS)

        take_effect(world)

        assert [lot_of(hub).supplier for hub in shared] == [world.southern, world.northern]
        for hub in shared:
            assert (lot_of(hub).consent, open_of(hub).state) == (None, State.BOOKED)
            assert open_of(hub).next_at == lot_of(hub).staging_from == lot_of(hub).due_at
        assert Consent.objects.get().state == Consent.State.WITHDRAWN
        assert_books_balance()

    def test_is_the_same_one_for_every_batch(
        self,
        world: World,
        shared: list[CommunicationsHub],
        western: Supplier,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(registrations, "BATCH", 1)
        change(shared, western, role=GAS)

        take_effect(world)

        assert Consent.objects.filter(supplier=western).count() == 1


class TestAHubThatEitherMayBook:
    """Booked by its other Supplier, since the Lead was silent to the middle of the period."""

    @pytest.fixture
    def hub(self, world: World) -> CommunicationsHub:
        [hub] = world.hubs(1, supplier=world.southern, gas_supplier=world.northern)
        world.clock.move(days=40)
        world.slot(start=timedelta(days=16), room=5)
        world.book(world.choose_ids(f"{hub.pk:016X}"))
        assert lot_of(hub).supplier == world.northern
        return hub

    def test_stays_with_it_when_the_lead_changes_and_the_new_lead_is_asked(
        self, world: World, hub: CommunicationsHub, western: Supplier
    ) -> None:
        person = factories.UserFactory.create(supplier=western)
        change([hub], western, on=date(2026, 12, 3))

        take_effect(world)

        lot = lot_of(hub)
        assert lot.supplier == world.northern
        assert lot.consent is not None
        assert lot.consent.supplier == western
        asked = Notice.objects.filter(kind=Notice.Kind.CONSENT_ASKED, supplier=western)
        assert person.email in asked.values_list("address", flat=True)

    def test_goes_to_the_lead_when_the_other_changes_and_the_new_other_is_asked(
        self, world: World, hub: CommunicationsHub, western: Supplier
    ) -> None:
        change([hub], western, role=GAS, on=date(2026, 12, 3))

        take_effect(world)

        lot = lot_of(hub)
        assert lot.supplier == world.southern
        assert lot.consent is not None
        assert lot.consent.supplier == western
