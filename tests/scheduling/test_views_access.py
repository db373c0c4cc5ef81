"""Every page of a Supplier's side, asked by its own people, by another Supplier's, by DCC staff and by strangers."""

import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from hubs.operations import count_fleet
from portal.models import User
from scheduling import urls
from scheduling.models import Booking, Consent, HubSelection
from scheduling.operations import groups, selections, uploads
from scheduling.queries.uploads import RefusedRow, Upload
from scheduling.sheets import Format
from tests import factories
from tests.scheduling.world import World

VERBS = ("get", "post", "put", "patch", "delete", "head", "options")


class Cast:
    """The people, and one of everything that the addresses name."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.hub = world.hubs(1)[0]
        world.hubs(1)
        world.hubs(1, supplier=world.southern)
        world.slot(start=timedelta(hours=5), room=5)
        count_fleet(now=world.clock())
        self.southern = User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
        self.booking: Booking = world.book(world.choose_ids(f"{self.hub.chf_id:016X}"))
        self.selection: HubSelection = world.choose()
        # the southern Supplier books a hub that it shares, and asks the northern one
        world.hubs(1, supplier=world.southern, gas_supplier=world.northern)
        world.slot(start=timedelta(days=20), room=5)
        shared = selections.choose(
            supplier=world.southern, release=world.release, criteria={}, by=self.southern, now=world.clock()
        )
        world.book(shared)
        self.consent = Consent.objects.get()
        self.window = world.protect(start=timedelta(days=1))
        self.group, _ = groups.make(
            supplier=world.northern,
            name="Flats",
            hubs=io.BytesIO(f"{self.hub.chf_id:016X}".encode()),
            by=world.person,
            now=world.clock(),
        )
        self.upload = uploads.keep(
            supplier=world.northern,
            upload=Upload(
                of=f"group:{self.group.pk}",
                file_name="hubs.csv",
                at=world.clock(),
                by="Person",
                rows=1,
                taken=0,
                unchanged=0,
                format=Format.CSV,
                delimiter=",",
                header=None,
                refused=[RefusedRow(["what"], "Not a CHF ID")],
            ),
        )
        self.reading: HubSelection = world.choose()
        HubSelection.objects.filter(pk=self.reading.pk).update(state=HubSelection.State.READING)


@pytest.fixture
def cast(todays_world: World) -> Cast:
    return Cast(todays_world)


OBJECTS: dict[str, Callable[[Cast], list[object]]] = {
    "release": lambda cast: [cast.world.release.pk],
    "bad-hubs": lambda cast: [cast.world.release.pk],
    "book": lambda cast: [cast.world.release.pk],
    "when": lambda cast: [cast.selection.pk],
    "check": lambda cast: [cast.selection.pk],
    "reading": lambda cast: [cast.reading.pk],
    "refused": lambda cast: [cast.selection.pk],
    "booking": lambda cast: [cast.booking.reference],
    "progress": lambda cast: [cast.booking.reference],
    "cancel": lambda cast: [cast.booking.reference],
    "change": lambda cast: [cast.booking.reference],
    "booked-hubs": lambda cast: [cast.booking.reference],
    "export": lambda cast: [cast.booking.reference],
    "calendar": lambda cast: [cast.booking.reference],
    "hub": lambda cast: [cast.hub.chf_id],
    "consent": lambda cast: [cast.consent.pk],
    "consent-hubs": lambda cast: [cast.consent.pk],
    "object": lambda cast: [cast.consent.pk],
    "delete-window": lambda cast: [cast.window.pk],
    "edit-window": lambda cast: [cast.window.pk],
    "group": lambda cast: [cast.group.pk],
    "group-hubs": lambda cast: [cast.group.pk],
    "rename-group": lambda cast: [cast.group.pk],
    "pilot-group": lambda cast: [cast.group.pk],
    "delete-group": lambda cast: [cast.group.pk],
    "upload": lambda cast: [cast.upload],
    "upload-refused": lambda cast: [cast.upload],
}
LISTS = (
    *("home", "bookings", "hubs", "windows", "new-window", "week", "upload-windows", "example-windows"),
    *("groups", "new-group", "consents", "export-consents"),
)
NOT_FOREIGN = ("release", "bad-hubs", "book")
"""A release is open to every Supplier that leads hubs of its models; the others have a test of their own."""


def address(name: str, cast: Cast) -> str:
    query = "?plan=earliest" if name == "check" else ""
    return reverse(f"scheduling:{name}", args=OBJECTS[name](cast)) + query


class TestEveryRoute:
    def test_is_asked_here(self) -> None:
        assert {route.name for route in urls.urlpatterns} == {*OBJECTS, *LISTS}

    @pytest.mark.parametrize("name", sorted(OBJECTS))
    def test_answers_its_own_people(self, name: str, cast: Cast, client: Client) -> None:
        client.force_login(cast.world.person)

        assert client.get(address(name, cast)).status_code == 200

    @pytest.mark.parametrize("name", sorted(LISTS))
    def test_answers_everybody_of_a_supplier(self, name: str, cast: Cast, client: Client) -> None:
        for person in (cast.world.person, cast.southern):
            client.force_login(person)
            assert client.get(reverse(f"scheduling:{name}")).status_code == 200

    @pytest.mark.parametrize("name", sorted(set(OBJECTS) - set(NOT_FOREIGN)))
    def test_does_not_exist_for_another_supplier(self, name: str, cast: Cast, client: Client) -> None:
        client.force_login(cast.southern)

        assert [getattr(client, verb)(address(name, cast)).status_code for verb in VERBS] == [404] * len(
            VERBS
        )

    @pytest.mark.parametrize("name", NOT_FOREIGN)
    def test_does_not_exist_for_a_supplier_without_such_hubs(
        self, name: str, cast: Cast, client: Client
    ) -> None:
        client.force_login(factories.UserFactory.create(supplier=factories.SupplierFactory.create()))

        assert [getattr(client, verb)(address(name, cast)).status_code for verb in VERBS] == [404] * len(
            VERBS
        )

    @pytest.mark.parametrize("name", sorted(OBJECTS))
    def test_does_not_exist_for_staff(self, name: str, cast: Cast, client: Client) -> None:
        client.force_login(cast.world.staff)

        assert [getattr(client, verb)(address(name, cast)).status_code for verb in VERBS] == [404] * len(
            VERBS
        )

    @pytest.mark.parametrize("name", LISTS)
    def test_sends_staff_to_the_admin(self, name: str, cast: Cast, client: Client) -> None:
        client.force_login(cast.world.staff)

        assert client.get(reverse(f"scheduling:{name}")).headers["Location"] == "/admin/"

    @pytest.mark.parametrize("name", [*sorted(OBJECTS), *LISTS])
    def test_sends_a_stranger_to_sign_in(self, name: str, cast: Cast, client: Client) -> None:
        path = address(name, cast) if name in OBJECTS else reverse(f"scheduling:{name}")

        for verb in ("get", "post"):
            assert getattr(client, verb)(path).headers["Location"].startswith("/accounts/login/")

    def test_does_not_exist_for_a_release_that_is_no_longer_shown(self, cast: Cast, client: Client) -> None:
        type(cast.world.release).objects.update(state="withdrawn", ended_at=cast.world.clock())
        client.force_login(cast.world.person)

        assert [client.get(address(name, cast)).status_code for name in ("release", "book", "when")] == [
            404
        ] * 3
        assert client.get(address("booking", cast)).status_code == 200
