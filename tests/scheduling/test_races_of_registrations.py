"""Changes of supplier on real connections, beside whatever else changes bookings: nothing is lost or stuck."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pytest
from django.db import connection, transaction

from hubs.identifiers import format_eui64
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.models import ChangeOfSupplier, CommunicationsHub
from hubs.operations import REGISTRATION_COLUMNS, import_registrations
from hubs.operations.registrations import Imported
from portal.ground import uk_time
from scheduling.lifecycle import Ending
from scheduling.models import Booking, Deployment, Lot
from scheduling.operations import bookings, changes, placing, registrations
from scheduling.operations.bookings import UnableToCancel
from scheduling.operations.changes import UnableToMove
from scheduling.queries.parts import Destination, Part
from tests.scheduling import world as worlds
from tests.scheduling.test_changes import assert_books_balance
from tests.scheduling.test_lifecycle_machine import Ticking
from tests.scheduling.test_races import at_once
from tests.scheduling.test_registrations import change
from tests.scheduling.world import World

pytestmark = pytest.mark.django_db(transaction=True)
WHOLE = Part()


@pytest.fixture
def world(transactional_db: None, now: datetime, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world, committed, with a clock that never says the same twice, and batches of seven hubs."""
    world = worlds.make(now=now)
    world.clock = Ticking(now)
    monkeypatch.setattr(registrations, "BATCH", 7)
    return world


def settle(world: World) -> None:
    """Let the timetable come again."""
    registrations.take_effect(now=world.clock.move(seconds=1), batches=100)


def assert_everything_follows() -> None:
    """No change is left, and whatever is open belongs to a Supplier of its hub."""
    assert not ChangeOfSupplier.objects.filter(applied_at=None).exists()
    supplier_of = dict(Lot.objects.values_list("id", "supplier"))
    hubs = {hub.pk: hub for hub in CommunicationsHub.objects.all()}
    for deployment in Deployment.objects.filter(ended_at=None):
        hub = hubs[deployment.hub_id]
        assert supplier_of[deployment.lot_id] in (hub.lead_id, hub.other_id)
    assert_books_balance()


def assert_nobody_fell(results: Sequence[object]) -> None:
    for result in results:
        assert not isinstance(result, Exception) or isinstance(result, UnableToMove | UnableToCancel), result


class TestTakingEffect:
    def test_goes_on_beside_movers_cancellers_workers_and_itself(self, world: World) -> None:
        hubs = world.hubs(60, gas_supplier=world.southern) + world.hubs(60)
        for hours in range(4, 12):
            world.slot(start=timedelta(days=14, hours=hours), room=60)
        first, second = world.book(world.choose_ids(ids(hubs[:30] + hubs[60:90]))), world.book()
        change(hubs[::2], world.southern)

        def move(booking: Booking) -> int:
            return changes.move(
                booking=booking,
                part=WHOLE,
                to=Destination(Booking.Plan.EARLIEST, world.slots[2].start_at),
                only_if_all=False,
                by=world.person,
                reason="",
                clock=world.clock,
            )

        results = at_once(
            lambda: registrations.take_effect(now=world.clock(), batches=100),
            lambda: registrations.take_effect(now=world.clock(), batches=100),
            lambda: move(first),
            lambda: move(second),
            lambda: bookings.cancel(booking=second, by=world.person, reason="", now=world.clock()),
            lambda: world.work(gateway=ModelledFleet(), rounds=3),
        )

        assert_nobody_fell(results)
        settle(world)
        assert_everything_follows()

    def test_waits_for_nobody_who_takes_places_in_the_same_slots(self, world: World) -> None:
        """Its lots are for slots in no order, so whoever locks those in their order must not wait for it in turn."""
        hubs = world.hubs(5)
        world.slot(start=timedelta(hours=6), room=5)
        world.book()
        change(hubs, world.southern)

        def take_effect() -> int:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            return registrations.take_effect(now=world.clock(), batches=100)

        with transaction.atomic():
            placing.lock(slots=[world.slots[0].pk])
            results = at_once(take_effect)

        assert results == [5]
        assert_everything_follows()

    def test_catches_a_booking_that_was_being_written(self, world: World) -> None:
        hubs = world.hubs(40)
        world.slot(start=timedelta(hours=6), room=100)
        selection = world.choose()
        change(hubs, world.southern)

        results = at_once(
            lambda: world.book(selection), lambda: registrations.take_effect(now=world.clock(), batches=100)
        )

        assert not isinstance(results[1], Exception), results[1]
        settle(world)
        assert_everything_follows()

    def test_looks_again_when_hubs_were_moved_between_the_look_and_the_lock(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hubs = world.hubs(5)
        for hours in (6, 8):
            world.slot(start=timedelta(hours=hours), room=5)
        booking = world.book()
        change(hubs, world.southern)
        lock, overtaken = registrations._lock, []

        def look_and_be_overtaken(*terms: object) -> set[int]:
            if overtaken:
                return lock(*terms)  # type: ignore[arg-type]
            seen = set(Lot.objects.values_list("id", flat=True))
            overtaken.extend(
                at_once(
                    lambda: changes.move(
                        booking=booking,
                        part=WHOLE,
                        to=Destination(Booking.Plan.ONE_SLOT, world.slots[1].start_at),
                        only_if_all=False,
                        by=world.person,
                        reason="",
                        clock=world.clock,
                    )
                )
            )
            return seen

        monkeypatch.setattr(registrations, "_lock", look_and_be_overtaken)
        registrations.take_effect(now=world.clock.move(seconds=1), batches=100)

        assert overtaken == [5]
        assert Deployment.objects.filter(ending=Ending.CARRIED_OVER).count() == 5
        assert_everything_follows()


class TestImporting:
    def test_loses_no_row_beside_what_takes_effect_and_beside_itself(self, world: World) -> None:
        hubs = world.hubs(60)
        world.slot(start=timedelta(days=14), room=100)
        world.book()
        today = world.clock().astimezone(uk_time.LONDON).date()

        def bring_in(participant: str | None, own: Sequence[CommunicationsHub]) -> Imported:
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, REGISTRATION_COLUMNS)
            writer.writeheader()
            for hub in own:
                writer.writerow(
                    {
                        "chf_id": format_eui64(hub.pk),
                        "role": "import",
                        "participant_id": participant,
                        "effective_on": today,
                    }
                )
            text.seek(0)
            return import_registrations(lines=text, refused=io.StringIO(), actor=None, now=world.clock())

        southern = world.southern.import_participant_id
        bring_in(southern, hubs[:40])
        results = at_once(
            lambda: registrations.take_effect(now=world.clock(), batches=100),
            # the other way round, and half of them again
            lambda: bring_in(southern, hubs[:19:-1]),
            lambda: bring_in(southern, hubs),
            lambda: registrations.take_effect(now=world.clock(), batches=100),
        )

        assert_nobody_fell(results)
        settle(world)
        assert_everything_follows()
        assert set(CommunicationsHub.objects.values_list("lead_id", flat=True)) == {world.southern.pk}
        assert ChangeOfSupplier.objects.count() == 60
        imported = [result for result in results if isinstance(result, Imported)]
        assert sum(result.added for result in imported) == 20


def ids(hubs: Sequence[CommunicationsHub]) -> str:
    return "\n".join(f"{hub.pk:016X}" for hub in hubs)
