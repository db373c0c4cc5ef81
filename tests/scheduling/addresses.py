"""One of everything that a Supplier's addresses name, and the addresses."""

import io
from collections.abc import Callable
from datetime import timedelta

from django.urls import reverse

from hubs.operations import count_fleet
from portal.ground.roles import SupplierRole
from portal.models import User
from scheduling.models import Booking, Consent, HubSelection
from scheduling.operations import groups, selections, uploads
from scheduling.queries.uploads import RefusedRow, Upload
from scheduling.sheets import Format
from tests.scheduling.world import World


class Cast:
    """The people, and one of everything that the addresses name."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.hub = world.hubs(1)[0]
        world.hubs(1)
        world.hubs(1, supplier=world.southern)
        world.slot(start=timedelta(hours=5), room=5)
        count_fleet(now=world.clock())
        self.southern = User.objects.create_user(
            email="person@southern.example.com", supplier=world.southern, role=SupplierRole.OPERATIONS
        )
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


def address(name: str, cast: Cast) -> str:
    """Return the address of a page about one of these."""
    query = "?plan=earliest" if name == "check" else ""
    return reverse(f"scheduling:{name}", args=OBJECTS[name](cast)) + query
