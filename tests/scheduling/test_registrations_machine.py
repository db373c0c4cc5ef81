"""The life of deployments while hubs change their Suppliers: whatever happens in between, the deployment follows."""

import contextlib
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from hubs.models import ChangeOfSupplier, CommunicationsHub, Supplier
from portal.ground import uk_time
from portal.models import User
from scheduling.lifecycle import State
from scheduling.models import Booking, Consent, Deployment, Lot
from scheduling.operations import bookings, changes, consents, registrations
from scheduling.operations.bookings import UnableToBook, UnableToCancel
from scheduling.operations.changes import UnableToMove
from scheduling.queries.parts import Destination, Part
from tests.scheduling.test_lifecycle_machine import Life

ROLES = st.sampled_from(list(ChangeOfSupplier.Role))


class Changing(Life):
    """The same life; a third of its hubs are shared, and any hub may go to any of three Suppliers."""

    @initialize()
    def begin(self) -> None:
        """Make the world, with a third Supplier, shared hubs, and a slot so far away that silence is consent."""
        Life.begin(self)
        self.western = Supplier.objects.create(
            name="Western", import_participant_id="WEST", gas_participant_id="WESG"
        )
        for supplier in (self.world.southern, self.western):
            User.objects.create_user(email=f"person@{supplier.name.lower()}.example.com", supplier=supplier)
        self.world.hubs(30, gas_supplier=self.world.southern)
        self.world.slot(start=timedelta(days=16), room=25)

    @rule(one_slot=st.booleans(), whose=st.integers(0, 2))
    def book(self, one_slot: bool, whose: int) -> None:
        """Let one of the Suppliers book whatever it can."""
        supplier = self.suppliers[whose]
        hubs = CommunicationsHub.objects.filter(lead_id=supplier.pk).values_list("pk", flat=True)
        # whatever is refused leaves nothing behind: the invariants look
        with contextlib.suppress(UnableToBook):
            self.world.book(
                self.world.choose_ids("\n".join(f"{hub:016X}" for hub in hubs) or "none", supplier=supplier),
                start_at=self.world.slots[-1].start_at if one_slot else None,
            )

    @property
    def suppliers(self) -> list[Supplier]:
        """Who may have a hub."""
        return [self.world.northern, self.world.southern, self.western]

    @rule(first=st.integers(0, 89), number=st.integers(1, 40), role=ROLES, whose=st.integers(0, 2))
    def register(self, first: int, number: int, role: ChangeOfSupplier.Role, whose: int) -> None:
        """Register that hubs go to a Supplier, two days ago: so long were the workers away."""
        ChangeOfSupplier.objects.bulk_create(
            [
                ChangeOfSupplier(
                    hub=hub,
                    role=role,
                    gaining=self.suppliers[whose],
                    effective_on=self.world.clock().astimezone(uk_time.LONDON).date() - timedelta(days=2),
                    imported_at=self.world.clock(),
                )
                for hub in CommunicationsHub.objects.order_by("pk").values_list("pk", flat=True)[
                    first : first + number
                ]
            ],
            ignore_conflicts=True,
        )

    @rule()
    def take_effect(self) -> None:
        """Let what is registered take effect: nothing that is open gets lost by it, and everything follows."""
        before = Counter(Deployment.objects.filter(ended_at=None).values_list("hub", flat=True))

        registrations.take_effect(now=self.world.clock())

        assert Counter(Deployment.objects.filter(ended_at=None).values_list("hub", flat=True)) == before
        hubs = CommunicationsHub.objects.in_bulk()
        lots = Lot.objects.in_bulk()
        for deployment in Deployment.objects.filter(ended_at=None).exclude(state=State.ACTIVATING):
            hub = hubs[deployment.hub_id]
            assert lots[deployment.lot_id].supplier_id in (hub.lead_id, hub.other_id)

    @precondition(lambda self: Booking.objects.exists())
    @rule(latest=st.booleans())
    def move(self, latest: bool) -> None:
        """Move a booking as early as may be from some time on."""
        booking = Booking.objects.latest("id") if latest else Booking.objects.earliest("id")
        person = User.objects.filter(supplier=booking.supplier).earliest("id")
        with contextlib.suppress(UnableToMove):
            changes.move(
                booking=booking,
                part=Part(),
                to=Destination(Booking.Plan.EARLIEST, self.world.clock() + timedelta(hours=2)),
                only_if_all=False,
                by=person,
                reason="",
                clock=self.world.clock,
            )

    @precondition(lambda self: Booking.objects.exists())
    @rule()
    def cancel(self) -> None:
        """Cancel the latest booking."""
        with contextlib.suppress(UnableToCancel):
            bookings.cancel(
                booking=Booking.objects.latest("id"),
                by=self.world.person,
                reason="",
                now=self.world.clock(),
            )

    @rule(hours=st.sampled_from([0, 6, 72]))
    def settle(self, hours: int) -> None:
        """Let time pass, and take silence for what it is."""
        self.world.clock.move(hours=hours)
        consents.settle(clock=self.world.clock)

    @invariant()
    def no_hub_goes_unasked(self) -> None:
        """Whatever is under way in a lot that has a question was agreed to, by somebody or by silence."""
        agreed = (Consent.State.GIVEN, Consent.State.LAPSED)
        lots = dict(Lot.objects.exclude(consent=None).values_list("id", "consent__state"))
        under_way = (State.BOOKED, State.STAGING, State.STAGED, State.ACTIVATING)
        for deployment in Deployment.objects.filter(state__in=under_way):
            assert lots.get(deployment.lot_id, Consent.State.GIVEN) in agreed


@pytest.mark.django_db
def test_the_life_of_deployments_that_change_hands() -> None:
    """Run the machine."""
    run_state_machine_as_test(
        Changing,
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
