"""A disk without room for the e-mail that a decision owes: no decision without its notice, and the person is told."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse

from portal import operations
from portal.ground import clock
from portal.ground.models import AuditEntry
from portal.models import Invitation, User
from scheduling.models import Booking, Consent, Deployment, Lot, Notice, Slot
from scheduling.operations import allocations, bookings, changes, consents
from scheduling.operations.consents import Offer
from scheduling.queries.parts import Destination, Part
from tests.scheduling import world as worlds
from tests.scheduling.test_allocations import to_the_day
from tests.scheduling.world import World

FAR = timedelta(days=20)
NO_ROOM = "could not extend file: No space left on device"


@pytest.fixture
def world(db: None) -> World:
    """Two shared hubs and three hours with room a good while ahead, by the database's clock."""
    world = worlds.make(now=clock.now())
    world.shared(2)
    for hour in range(3):
        world.slot(start=FAR + timedelta(hours=hour), room=4)
    return world


@pytest.fixture
def booking(world: World) -> Booking:
    return world.book(start_at=world.slots[0].start_at)


@pytest.fixture
def other(world: World) -> User:
    """A person of the southern Supplier, which is asked."""
    return User.objects.create_user(email="person@southern.example.com", supplier=world.southern)


def fill(table: str) -> None:
    """Let PostgreSQL find no room for one more row of a table, as it says it itself."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION '{NO_ROOM}' USING ERRCODE = 'disk_full'; END $$"""
        )
        cursor.execute(f"CREATE TRIGGER no_room BEFORE INSERT ON {table} EXECUTE FUNCTION no_room()")


def empty(table: str) -> None:
    """Let there be room again."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER no_room ON {table}")
        cursor.execute("DROP FUNCTION no_room()")


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of the apps that decide."""
    models = [*apps.get_app_config("scheduling").get_models(), Invitation, AuditEntry]
    return {model.__name__: sorted(model._default_manager.values_list(), key=str) for model in models}


class TestADecision:
    """Taken back whole: each act that owes an e-mail in its own transaction."""

    @pytest.fixture(autouse=True)
    def owed_to_somebody(self, other: User) -> None:
        """Without a person to tell there would be nothing to owe."""

    def refused(self, act: Callable[[], object]) -> None:
        """Try an act that finds no room for its e-mail, and find everything as it was; then it goes."""
        before = everything()
        fill(Notice._meta.db_table)
        with pytest.raises(OperationalError, match=NO_ROOM):
            act()
        assert everything() == before
        empty(Notice._meta.db_table)
        act()
        assert len(everything()["Notice"]) > len(before["Notice"])

    def test_to_object(self, world: World, booking: Booking, other: User) -> None:
        consent = Consent.objects.get(booking=booking)
        self.refused(
            lambda: consents.object_to(
                consent=consent,
                offer=Offer(hubs=None, alternative=world.slots[1]),
                reason="Price change that night",
                by=other,
                clock=world.clock,
            )
        )

    def test_to_let_silence_be_consent(self, world: World, booking: Booking) -> None:
        world.clock.moment = Consent.objects.get(booking=booking).answer_by
        self.refused(lambda: consents.settle(clock=world.clock))

    def test_to_move_hubs_that_others_are_asked_about(self, world: World, booking: Booking) -> None:
        world.clock.move(seconds=1)
        self.refused(
            lambda: changes.move(
                booking=booking,
                part=Part(),
                to=Destination(Booking.Plan.ONE_SLOT, world.slots[1].start_at),
                only_if_all=False,
                by=world.person,
                reason="Better then",
                clock=world.clock,
            )
        )

    def test_to_finish_an_allocation(self, world: World) -> None:
        to_the_day(world)
        world.slot(start=timedelta(days=10), room=10)
        fill(Notice._meta.db_table)
        with pytest.raises(OperationalError, match=NO_ROOM):
            allocations.allocate(clock=world.clock)
        empty(Notice._meta.db_table)
        world.clock.moment += 2 * allocations.LEASE + bookings.ABANDON_AFTER
        bookings.give_back_abandoned(now=world.clock())
        allocations.allocate(clock=world.clock)
        assert Notice.objects.filter(kind=Notice.Kind.ALLOCATED).count() == 1
        assert Booking.objects.filter(abandoned_at=None).count() == 1

    def test_to_invite(self, world: World) -> None:
        self.refused(
            lambda: operations.invite(
                email="new@northern.example.com",
                supplier=world.northern,
                role="operations",
                by=world.staff,
                now=world.clock(),
            )
        )

    def test_that_a_booking_is_done(self, world: World, booking: Booking) -> None:
        bookings.cancel(booking=booking, by=world.person, reason="", now=world.clock())
        self.refused(lambda: bookings.finish(now=world.clock()))

    def test_to_book_leaves_neither_hubs_nor_questions_nor_places(self, world: World) -> None:
        fill(Notice._meta.db_table)
        with pytest.raises(OperationalError, match=NO_ROOM):
            world.book()
        assert not Booking.objects.filter(abandoned_at=None).exists()
        for model in (Deployment, Consent, Lot):
            assert not model._default_manager.exists()
        assert set(Slot.objects.values_list("taken", flat=True)) == {0}
        empty(Notice._meta.db_table)
        world.book()
        assert Notice.objects.filter(kind=Notice.Kind.CONSENT_ASKED).exists()


class TestThePerson:
    def test_reads_that_nothing_was_done_and_what_to_do(
        self, world: World, booking: Booking, other: User, client: Client
    ) -> None:
        address = reverse("scheduling:object", args=[Consent.objects.get(booking=booking).pk])
        told = {
            "which": "all",
            "reason": "Price change that night",
            "instead": "slot",
            "alternative": world.slots[1].pk,
        }
        client.force_login(other)
        told["seen"] = client.post(address, told | {"look": "1"}).context["seen"]
        before = everything()
        fill(Notice._meta.db_table)

        response = client.post(address, told)

        assert response.status_code == 503
        assert response["Retry-After"] == "60"
        page = " ".join(response.content.decode().split())
        assert "what you asked for was not done" in page
        assert "Wait a few minutes, then do it again" in page
        assert everything() == before
        empty(Notice._meta.db_table)
        assert client.post(address, told).status_code == 302
