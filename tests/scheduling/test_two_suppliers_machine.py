"""
Two Suppliers and the hubs that they share, as a state machine: book, object, agree, say nothing, change supplier,
move and cancel in any order.

Whatever happens, no hub is commanded before the other Supplier had its say, none is activated in a window of either,
a deployment follows its hub, and nobody sees what is not theirs. The promises of the machine that this one extends
hold as well.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import pytest
from django.db import transaction
from django.db.models import Q, Sum
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from firmware.models import ReleaseState
from hubs import queries as fleet
from hubs.gateway import Phase
from hubs.modelled_fleet.models import CommandLog
from hubs.models import ChangeOfSupplier, CommunicationsHub, Supplier
from portal.ground.uk_time import LONDON, day_bounds
from scheduling.lifecycle import State
from scheduling.models import (
    LOT_SPAN,
    Booking,
    Consent,
    Deployment,
    Lot,
    Objection,
    ProtectedWindow,
    Slot,
)
from scheduling.operations import bookings, changes, consents, registrations, selections
from scheduling.operations.bookings import UnableToBook, UnableToCancel
from scheduling.operations.changes import UnableToMove
from scheduling.operations.consents import Offer, UnableToAnswer
from scheduling.queries import bookings as booked
from scheduling.queries import consents as questions
from scheduling.queries import histories
from scheduling.queries.parts import Destination, Part
from scheduling.queries.plans import Timing
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.test_lifecycle_machine import NOW, Life, Ticking

HOUR = timedelta(hours=1)
AGREED = (Consent.State.GIVEN, Consent.State.LAPSED)
SCOPE = ProtectedWindow.Scope
WHICH = st.integers(0, 10**6)
"""Which of however many there are."""


class Shared(Life):
    """Three Suppliers; most hubs are shared by two of them, and some of those change hands at midnight."""

    # of the other machine, which has them; here they would leave too few steps for what is new
    book = cancel = die = weather = withdraw = None  # type: ignore[assignment]

    @initialize()
    def begin(self) -> None:
        """Make the world inside a transaction that is rolled back at the end."""
        self.outer = transaction.atomic()
        self.outer._from_testcase = True  # type: ignore[attr-defined]  # as in a test: operations may be durable
        self.outer.__enter__()
        self.world = world = worlds.make(now=NOW)
        world.clock = Ticking(NOW)
        policy = world.release.policy
        policy.silence_deadline, policy.retry_interval, policy.grace = "10 minutes", "5 minutes", "30 minutes"
        policy.objection_window, policy.explicit_consent_within = "3 hours", "5 hours"
        policy.save()
        self.eastern = factories.SupplierFactory.create(name="Eastern")
        self.people = {world.northern.pk: world.person}
        for supplier in (world.southern, self.eastern):
            self.people[supplier.pk] = factories.UserFactory.create(supplier=supplier)
        world.hubs(6)
        world.hubs(8, gas_supplier=world.southern)
        world.hubs(6, gas_supplier=self.eastern)
        world.hubs(6, supplier=world.southern, gas_supplier=world.northern)
        for hour in (3, 4, 8, 14, 26, 32, 40, 44):
            world.slot(start=hour * HOUR, room=4)
        self.book_as("northern", one_slot=False)

    @rule(which=st.sampled_from(["northern", "southern"]), one_slot=st.booleans())
    def book_as(self, which: str, one_slot: bool) -> None:
        """Let one of the Suppliers book all that it can."""
        supplier: Supplier = getattr(self.world, which)
        selection = selections.choose(
            supplier=supplier,
            release=self.world.release,
            criteria={},
            by=self.people[supplier.pk],
            now=self.world.clock(),
        )
        slot = self.world.slots[-1].start_at if one_slot else None
        plan = Booking.Plan.ONE_SLOT if one_slot else Booking.Plan.EARLIEST
        try:
            bookings.book(
                selection=selection,
                timing=Timing(plan, start_at=slot),
                by=self.people[supplier.pk],
                clock=self.world.clock,
            )
        except UnableToBook:
            assert not Booking.objects.filter(selection=selection, placed_at__isnull=False).exists()

    def asked(self, which: int) -> Consent | None:
        """Return one of the open questions."""
        found = list(Consent.objects.filter(state=Consent.State.ASKED).order_by("id"))
        return found[which % len(found)] if found else None

    @precondition(lambda self: Consent.objects.filter(state=Consent.State.ASKED).exists())
    @rule(which=WHICH)
    def agree(self, which: int) -> None:
        """Let an asked Supplier agree."""
        consent = self.asked(which)
        assert consent
        try:
            consents.agree(consents=[consent], by=self.people[consent.supplier_id], now=self.world.clock())
        except UnableToAnswer:
            self.assert_too_late(consent)

    @precondition(lambda self: Consent.objects.filter(state=Consent.State.ASKED).exists())
    @rule(which=WHICH, with_window=st.booleans(), some=st.booleans())
    def object_to(self, which: int, with_window: bool, some: bool) -> None:
        """Let an asked Supplier object, to all or to one hub, with a window or another slot."""
        consent = self.asked(which)
        assert consent
        hubs = None
        if some:
            first = next(iter(questions.hubs(consent=consent, start=-(2**63), limit=1)), None)
            hubs = [first.hub] if first else None
        slot = consent.slot
        others = Slot.objects.exclude(pk=slot.pk).filter(start_at__gt=self.world.clock()).order_by("start_at")
        window = ProtectedWindow(
            kind=ProtectedWindow.Kind.METER_FIRMWARE,
            reason="Meter job",
            scope=SCOPE.HUBS,
            start_at=slot.start_at - HOUR,
            end_at=slot.end_at,
        )
        offer = Offer(hubs, window=window) if with_window else Offer(hubs, alternative=others.first())
        try:
            consents.object_to(
                consent=consent,
                offer=offer,
                reason="Not then",
                by=self.people[consent.supplier_id],
                clock=self.world.clock,
            )
        except UnableToAnswer:
            self.assert_too_late(consent, or_else=offer.window is None and offer.alternative is None)

    def assert_too_late(self, consent: Consent, *, or_else: bool = False) -> None:
        """Assert that whoever was asked had no hubs to answer about any more, or no time."""
        consent.refresh_from_db()
        waits = consent.lots.aggregate(hubs=Sum("provisional") + Sum("held"))["hubs"] or 0
        assert (
            or_else
            or not waits
            or consent.answer_by <= self.world.clock()
            or self.state not in (ReleaseState.PUBLISHED, ReleaseState.HALTED)
            or ProtectedWindow.objects.filter(supplier=consent.supplier).exists()  # it would be over the cap
            or consent.slot.end_at <= self.world.clock()
        )

    @rule()
    def settle(self) -> None:
        """Let the timetable settle what nobody answered."""
        consents.settle(clock=self.world.clock)

    @rule(which=WHICH, role=st.sampled_from([1, 2]), days=st.integers(1, 2))
    def register(self, which: int, role: int, days: int) -> None:
        """Let a change of supplier of one hub become known, rather of one that is booked for another day."""
        self.registered(which, role, days)

    def registered(self, which: int, role: int, days: int) -> None:
        """Keep a change of supplier of one hub, where its meter has a Supplier and no change ahead."""
        late = Lot.objects.filter(slot__start_at__gt=self.next_midnight()).values_list("id", flat=True)
        later = [
            deployment.hub_id
            for deployment in Deployment.objects.filter(ended_at=None)
            if deployment.lot_id in set(late)
        ]
        every = CommunicationsHub.objects.order_by("chf_id")
        hubs = list(every.filter(pk__in=later)) or list(every)
        hub = hubs[which % len(hubs)]
        old = hub.import_supplier_id if role == ChangeOfSupplier.Role.IMPORT else hub.gas_supplier_id
        gaining = sorted(set(self.people) - {old})[which % 2]
        ahead = ChangeOfSupplier.objects.filter(hub=hub.pk, role=role, applied_at=None)
        if old is None or ahead.exists():
            return
        day = self.world.clock().astimezone(LONDON).date() + timedelta(days=days)
        ChangeOfSupplier.objects.create(
            hub=hub.pk, role=role, gaining_id=gaining, effective_on=day, imported_at=self.world.clock()
        )

    @rule(which=WHICH)
    def change_hands(self, which: int) -> None:
        """Let a hub that is booked for later change its import Supplier at the next midnight, and let that come."""
        self.registered(which, ChangeOfSupplier.Role.IMPORT, 1)
        self.hours_pass(-(-(self.next_midnight() - self.world.clock()) // HOUR))

    @rule()
    def take_effect(self) -> None:
        """Let the changes of supplier that are due take effect."""
        registrations.take_effect(now=self.world.clock())

    @rule(hours=st.sampled_from([3, 9, 24]))
    def a_long_time_passes(self, hours: int) -> None:
        """Let many hours pass."""
        self.hours_pass(hours)

    def hours_pass(self, hours: int) -> None:
        """Let hours pass, with the timetable at work at the end of each, as it would be all along."""
        for _ in range(hours):
            self.world.clock.move(hours=1)
            consents.settle(clock=self.world.clock)
            registrations.take_effect(now=self.world.clock())
            self.world.work()

    @precondition(lambda self: Booking.objects.exists())
    @rule(which=WHICH, to_slot=st.booleans())
    def move(self, which: int, to_slot: bool) -> None:
        """Move all that can be moved of a booking."""
        booking = self.any_booking(which)
        last = self.world.slots[-1].start_at
        plan = Booking.Plan.ONE_SLOT if to_slot else Booking.Plan.EARLIEST
        at = last if to_slot else self.world.clock() + 2 * HOUR
        try:
            changes.move(
                booking=booking,
                part=Part(),
                to=Destination(plan, at),
                only_if_all=False,
                by=self.people[booking.supplier_id],
                reason="",
                clock=self.world.clock,
            )
        except UnableToMove:
            return  # whatever is refused leaves nothing behind: the invariants look

    @precondition(lambda self: Booking.objects.exists())
    @rule(which=WHICH)
    def cancel_any(self, which: int) -> None:
        """Cancel a booking."""
        booking = self.any_booking(which)
        try:
            bookings.cancel(
                booking=booking, by=self.people[booking.supplier_id], reason="", now=self.world.clock()
            )
        except UnableToCancel:
            return

    def any_booking(self, which: int) -> Booking:
        """Return one of the bookings."""
        found = list(Booking.objects.order_by("id"))
        return found[which % len(found)]

    # -- what always holds --

    def open_deployments(self) -> Iterator[tuple[Deployment, Lot, CommunicationsHub]]:
        """Yield what is open with its lot and its hub."""
        lots = Lot.objects.select_related("consent").in_bulk()
        hubs = CommunicationsHub.objects.in_bulk()
        for deployment in Deployment.objects.filter(ended_at=None):
            yield deployment, lots[deployment.pk // LOT_SPAN], hubs[deployment.hub_id]

    @invariant()
    def nothing_is_commanded_without_consent(self) -> None:
        """Whatever a hub was told, the other Supplier of its lot had agreed, or let the question lapse."""
        commanded = Lot.objects.filter(pk__in=CommandLog.objects.values("lot"), consent__isnull=False)
        assert not commanded.exclude(consent__state__in=[*AGREED, Consent.State.OBJECTED]).exists()
        # of a question objected to, what was agreed to is in other lots
        objected = commanded.filter(consent__state=Consent.State.OBJECTED)
        assert not objected.exists()

    @invariant()
    def silence_is_consent_only_where_it_may_be(self) -> None:
        """A question lapses after its time alone, and never where a word is wanted."""
        lapsed = Consent.objects.filter(state=Consent.State.LAPSED)
        assert not lapsed.filter(is_explicit=True).exists()
        for consent in lapsed:
            assert consent.answered_at
            assert consent.answered_at >= consent.answer_by

    @invariant()
    def what_is_provisional_is_asked_about(self) -> None:
        """A deployment waits for an answer as long as its question is open, and no longer."""
        for deployment, lot, _ in self.open_deployments():
            asked = bool(lot.consent and lot.consent.state == Consent.State.ASKED)
            if deployment.state == State.PROVISIONAL:
                assert asked
            elif deployment.state != State.HELD:
                assert not asked

    @invariant()
    def a_deployment_follows_its_hub(self) -> None:
        """What is open belongs to a Supplier of the hub, and the other one is the one that was asked."""
        ahead = set(
            ChangeOfSupplier.objects.filter(
                applied_at=None, effective_on__lte=self.today() if hasattr(self, "world") else NOW.date()
            ).values_list("hub", flat=True)
        )
        for deployment, lot, hub in self.open_deployments():
            if deployment.state == State.ACTIVATING or hub.pk in ahead:
                continue
            assert lot.supplier_id in (hub.lead_id, hub.other_id)
            partner = hub.other_id if lot.supplier_id == hub.lead_id else hub.lead_id
            if lot.consent and partner:
                assert lot.consent.supplier_id == partner
            if partner and not lot.consent:
                # the Supplier that books was the other one when it was asked
                assert lot.booking.origin == Booking.Origin.CARRIED_OVER

    def next_midnight(self) -> datetime:
        """Return when the next day begins in the UK."""
        return day_bounds(self.today())[1]

    def today(self) -> date:
        """Return the day in the UK."""
        return self.world.clock().astimezone(LONDON).date()

    @invariant()
    def nothing_is_activated_in_a_window_of_either(self) -> None:
        """No hub acted in a hard window that was kept when it was told to."""
        acted = CommandLog.objects.filter(phase=Phase.ACTIVATE, is_applied=True)
        lots = Lot.objects.select_related("consent").in_bulk()
        for log in acted:
            lot = lots[log.lot]
            parties = [lot.supplier_id, *([lot.consent.supplier_id] if lot.consent else [])]
            kept = ProtectedWindow.objects.filter(
                Q(scope=SCOPE.ALL) | Q(listed__hub=log.hub),
                supplier__in=parties,
                created_at__lte=log.received_at,
                start_at__lte=log.acts_at,
                end_at__gt=log.acts_at,
            )
            assert not kept.exists()

    @invariant()
    def nobody_sees_what_is_not_theirs(self) -> None:
        """Every hub that a list of a Supplier's names is one that it sees."""
        if not hasattr(self, "world"):
            return
        for supplier in Supplier.objects.filter(pk__in=self.people):
            seen = set(fleet.hubs_of(supplier=supplier).values_list("chf_id", flat=True))
            for booking in booked.of_supplier(supplier=supplier):
                assert {line.hub for line in booked.hubs(booking=booking, start=0, limit=10_000)} <= seen
                assert {hub for hub, _ in histories.every_unplaced(booking=booking)} <= seen
            for consent in Consent.objects.filter(supplier=supplier):
                listed = questions.hubs(consent=consent, start=-(2**63), limit=10_000)
                assert {one.hub for one in listed} <= seen


@pytest.mark.django_db
def test_its_rules_lead_to_every_end() -> None:
    """Go one way by hand: a machine whose rules never came there would prove nothing of it."""
    machine = Shared()
    try:
        machine.begin()
        machine.object_to(which=2, with_window=True, some=False)
        machine.agree(which=1)
        machine.book_as("southern", one_slot=False)
        machine.cancel_any(which=1)
        machine.settle()
        machine.hours_pass(5)
        machine.book_as("northern", one_slot=False)
        machine.change_hands(which=0)
        machine.hours_pass(1)
        reached = {
            *Consent.objects.values_list("state", flat=True),
            *Booking.objects.values_list("origin", flat=True),
            *Deployment.objects.values_list("state", flat=True),
        }
        ends = {*Consent.State, Booking.Origin.CARRIED_OVER, State.SUCCEEDED} - {Consent.State.ASKED}
        assert ends <= reached
        assert Objection.objects.filter(moved__gt=0).exists()
    finally:
        machine.teardown()


@pytest.mark.django_db
def test_two_suppliers_and_their_hubs() -> None:
    """Run the machine."""
    run_state_machine_as_test(
        Shared,
        settings=settings(
            max_examples=14,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
