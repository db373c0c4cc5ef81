"""
The whole life of deployments as a state machine: anything may happen in any order, and nothing breaks.

Hypothesis books, cancels, halts, resumes, withdraws, lets time pass, lets workers work, die in mid-lot and lose
the line to the carrier, and lets the fleet go silent; after every step the database and the fleet's own log have
to agree with the promises.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.db.models import F, Sum
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from firmware.models import FirmwareRelease, ReleaseState
from firmware.operations import decisions
from hubs.gateway import Phase
from hubs.modelled_fleet.models import CommandLog, FleetHub, NetworkProfile
from hubs.models import CommunicationsHub
from scheduling.lifecycle import FINAL, State
from scheduling.models import LOT_SPAN, Booking, Deployment, Lot, Slot, StrayReport
from scheduling.operations import bookings, deployments
from scheduling.operations.bookings import UnableToBook, UnableToCancel
from tests.scheduling import world as worlds
from tests.scheduling.test_deployments import Recorder

NOW = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


class Ticking(worlds.Clock):
    """A clock that never says the same twice, as no clock does."""

    def __call__(self) -> datetime:
        self.moment += timedelta(microseconds=1)
        return self.moment


class Life(RuleBasedStateMachine):
    """Sixty hubs, four slots of an hour, one release."""

    @initialize()
    def begin(self) -> None:
        """Make the world inside a transaction that is rolled back at the end."""
        self.outer = transaction.atomic()
        self.outer._from_testcase = True  # type: ignore[attr-defined]  # as in a test: operations may be durable
        self.outer.__enter__()
        self.world = worlds.make(now=NOW)
        self.world.clock = Ticking(NOW)
        policy = self.world.release.policy
        policy.silence_deadline, policy.retry_interval, policy.grace = "10 minutes", "5 minutes", "30 minutes"
        policy.save()
        self.world.hubs(60)
        for hour in (3, 4, 6, 8):
            self.world.slot(start=timedelta(hours=hour), room=25)

    def teardown(self) -> None:
        """Forget the world."""
        if hasattr(self, "outer"):
            transaction.set_rollback(True)
            self.outer.__exit__(None, None, None)

    @property
    def state(self) -> str:
        """Where the release is."""
        return FirmwareRelease.objects.values_list("state", flat=True).get(pk=self.world.release.pk)

    @rule(one_slot=st.booleans())
    def book(self, one_slot: bool) -> None:
        """Book whatever can be booked."""
        try:
            self.world.book(start_at=self.world.slots[-1].start_at if one_slot else None)
        except UnableToBook:
            # whatever is refused leaves nothing behind: the invariants look
            assert one_slot or self.state != ReleaseState.PUBLISHED or not self.has_room()

    def has_room(self) -> bool:
        """Say whether a hub can be booked and a slot takes it."""
        booked = Deployment.objects.filter(ended_at=None).values("hub")
        left = CommunicationsHub.objects.filter(installed_version__number=worlds.OLD).exclude(pk__in=booked)
        slots = Slot.objects.filter(
            taken__lt=F("capacity"), start_at__gt=self.world.clock() + timedelta(hours=1)
        )
        return left.exists() and slots.exists()

    @precondition(lambda self: Booking.objects.exists())
    @rule()
    def cancel(self) -> None:
        """Cancel the latest booking."""
        booking = Booking.objects.latest("id")
        try:
            bookings.cancel(booking=booking, by=self.world.person, reason="", now=self.world.clock())
        except UnableToCancel:
            assert not booking.lots.filter(
                change_until__gt=self.world.clock(), booked__gt=0
            ).exists()  # what waits before its cut-off can always be cancelled

    @rule(minutes=st.sampled_from([1, 4, 11, 31, 61]))
    def time_passes(self, minutes: int) -> None:
        """Let time pass."""
        self.world.clock.move(minutes=minutes)

    @rule(rounds=st.sampled_from([1, 2, 20]))
    def work(self, rounds: int) -> None:
        """Let the workers work."""
        deployments.wake_stopped(now=self.world.clock())
        self.world.work(rounds=rounds)
        bookings.finish(now=self.world.clock())

    @rule(after=st.sampled_from(["claim", "gate", "handing over", "cut off"]))
    def die(self, after: str) -> None:
        """Let a worker die somewhere in a lot; its lease runs out later."""
        if after in ("claim", "gate"):
            claimed = deployments.claim(now=self.world.clock())
            if claimed and after == "gate":
                deployments.admit(claimed=claimed, image_whole=True, clock=self.world.clock)
            return
        recorder = Recorder(dies=after == "handing over", is_cut_off=after == "cut off")
        deployments.carry_out(gateway=recorder, clock=self.world.clock, lots=1)
        self.world.clock.move(seconds=5)

    @rule(dropped=st.sampled_from([0.0, 0.5, 1.0]), reachable=st.sampled_from([0.0, 0.7, 1.0]))
    def weather(self, dropped: float, reachable: float) -> None:
        """Change how the network behaves."""
        NetworkProfile.objects.update(report_dropped=dropped, reachability=reachable, report_doubled=0.3)

    @precondition(lambda self: self.state == ReleaseState.PUBLISHED)
    @rule()
    def halt(self) -> None:
        """Halt the release, and see that no command is admitted until it is resumed."""
        decisions.halt(release=self.world.release, by=self.world.staff, reason="x", now=self.world.clock())

    @precondition(lambda self: self.state == ReleaseState.HALTED)
    @rule()
    def resume(self) -> None:
        """Resume it, with a second person's agreement."""
        self.world.resume(reason="x")

    @precondition(lambda self: self.state in (ReleaseState.PUBLISHED, ReleaseState.HALTED))
    @rule(sure=st.integers(0, 9))
    def withdraw(self, sure: int) -> None:
        """Withdraw it, seldom."""
        if sure == 0:
            decisions.withdraw(
                release=self.world.release, by=self.world.staff, reason="x", now=self.world.clock()
            )

    @invariant()
    def the_ledger_balances(self) -> None:
        """What was booked is what ended and what is open; every place taken belongs to somebody."""
        rows: dict[int, Counter[str]] = {}
        for pk, state in Deployment.objects.values_list("id", "state"):
            rows.setdefault(pk // LOT_SPAN, Counter())[state] += 1
        for lot in Lot.objects.all():
            assert rows.get(lot.pk, Counter()) == {
                state: getattr(lot, state) for state in State if getattr(lot, state)
            }
            assert sum(rows[lot.pk].values()) == lot.size
        held = dict(
            Lot.objects.values_list("slot")
            .annotate(places=Sum(F("size") - F("cancelled")))
            .values_list("slot", "places")
        )
        for slot in Slot.objects.all():
            assert slot.taken == held.get(slot.pk, 0)
            assert slot.taken <= slot.capacity

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Every open deployment is looked at again, no later than its lot is due."""
        earliest: dict[int, datetime] = {}
        for pk, next_at in Deployment.objects.filter(ended_at=None).values_list("id", "next_at"):
            assert next_at is not None
            earliest[pk // LOT_SPAN] = min(next_at, earliest.get(pk // LOT_SPAN, next_at))
        for lot in Lot.objects.filter(pk__in=earliest):
            assert lot.due_at is not None
            assert lot.due_at <= earliest[lot.pk] or lot.waits

    @invariant()
    def the_oracle_shows_no_breach(self) -> None:
        """No hub was activated twice or outside its slot, and success is what the fleet itself runs."""
        assert not FleetHub.objects.filter(activations__gt=1).exists()
        slots = {lot.pk: lot.slot for lot in Lot.objects.select_related("slot")}
        activated = CommandLog.objects.filter(phase=Phase.ACTIVATE, is_applied=True)
        for lot, received, acted in activated.values_list("lot", "received_at", "acts_at"):
            assert slots[lot].holds(received)
            assert slots[lot].holds(acted)
        done = Deployment.objects.filter(state=State.SUCCEEDED).values("hub")
        assert not FleetHub.objects.filter(pk__in=done).exclude(running_version=worlds.NEW).exists()
        assert not StrayReport.objects.exists()

    @invariant()
    def nothing_is_commanded_during_a_halt(self) -> None:
        """The fleet received nothing between a halt and its end."""
        for halt in self.world.release.halts.all() if hasattr(self, "world") else []:
            during = CommandLog.objects.filter(received_at__gt=halt.halted_at)
            if halt.lifted_at:
                during = during.filter(received_at__lt=halt.lifted_at)
            assert not during.exists()


@pytest.mark.django_db
def test_the_life_of_deployments() -> None:
    """Run the machine."""
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_final_state_is_final() -> None:
    """The machine above asks what has ended by its stamp alone."""
    assert set(FINAL) < set(State)
