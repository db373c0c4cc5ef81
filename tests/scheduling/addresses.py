"""One of everything of a Supplier's that an address can name, and the addresses."""

import io
from collections.abc import Callable
from datetime import timedelta

from django.urls import reverse

from hubs.models import CommunicationsHub
from hubs.operations import count_fleet
from portal.models import User
from scheduling.models import (
    Booking,
    Consent,
    Export,
    HubGroup,
    HubSelection,
    Proposal,
    ProtectedWindow,
    SavedFilter,
)
from scheduling.operations import groups, proposals, selections, uploads
from scheduling.queries.second_person import Forecast
from scheduling.queries.uploads import RefusedRow, Upload
from scheduling.sheets import Format
from tests.scheduling.world import World


class Things:
    """One of everything of the northern Supplier's."""

    world: World
    hub: CommunicationsHub
    booking: Booking
    foreign_booking: Booking
    selection: HubSelection
    reading: HubSelection
    consent: Consent
    window: ProtectedWindow
    group: HubGroup
    upload: str
    proposal: Proposal
    export: Export
    saved: SavedFilter

    def furnish(self, *, asking: User, window: str, group: str, file: str) -> None:
        """Make them; somebody of the southern Supplier's is `asking` the northern one about a hub that they share."""
        world = self.world
        self.hub, *_ = world.hubs(3)
        world.hubs(1, supplier=world.southern)
        world.slot(start=timedelta(hours=5), room=5)
        count_fleet(now=world.clock())
        self.booking = world.book(world.choose_ids(f"{self.hub.chf_id:016X}"))
        self.selection = world.choose()
        world.hubs(1, supplier=world.southern, gas_supplier=world.northern)
        world.slot(start=timedelta(days=20), room=5)
        shared = selections.choose(
            supplier=world.southern, release=world.release, criteria={}, by=asking, now=world.clock()
        )
        self.foreign_booking = world.book(shared)
        self.consent = Consent.objects.get()
        self.window = world.protect(start=timedelta(days=1), reason=window)
        self.group, _ = groups.make(
            supplier=world.northern,
            name=group,
            hubs=io.BytesIO(f"{self.hub.chf_id:016X}".encode()),
            by=world.person,
            now=world.clock(),
        )
        self.upload = uploads.keep(
            supplier=world.northern,
            upload=Upload(
                of=f"group:{self.group.pk}",
                file_name=file,
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
        self.propose(why=window)
        self.saved = SavedFilter.objects.create(
            supplier=world.northern, person=world.person, list="hubs", name=group, made_at=world.clock()
        )
        self.export = Export.objects.create(
            supplier=world.northern,
            asked_by=world.person,
            asked_at=world.clock(),
            list="hubs",
            title=group,
            format=Export.Format.CSV,
        )
        self.reading = world.choose()
        HubSelection.objects.filter(pk=self.reading.pk).update(state=HubSelection.State.READING)

    def propose(self, *, why: str) -> None:
        """Propose to cancel the booking, to a colleague who may agree."""
        world = self.world
        if (
            not User.objects.filter(supplier=world.northern, is_active=True)
            .exclude(pk=world.person.pk)
            .exists()
        ):
            User.objects.create_user(email="colleague@northern.example.com", supplier=world.northern)
        now = world.clock()
        self.proposal = proposals.propose(
            wish=proposals.to_cancel(booking=self.booking),
            forecast=Forecast(1, 1, 1, now + timedelta(hours=5), now + timedelta(hours=6)),
            by=world.person,
            reason=why,
            now=now,
        )


OWN: dict[str, Callable[[Things], object]] = {
    **dict.fromkeys(("release", "bad-hubs", "rollout", "book"), lambda things: things.world.release.pk),
    **dict.fromkeys(("when", "room", "check", "refused"), lambda things: things.selection.pk),
    "reading": lambda things: things.reading.pk,
    **dict.fromkeys(
        ("booking", "progress", "cancel", "change", "booked-hubs", "export", "calendar"),
        lambda things: things.booking.reference,
    ),
    "hub": lambda things: things.hub.chf_id,
    **dict.fromkeys(("consent", "consent-hubs", "object"), lambda things: things.consent.pk),
    "proposal": lambda things: things.proposal.pk,
    **dict.fromkeys(("edit-window", "delete-window"), lambda things: things.window.pk),
    **dict.fromkeys(
        ("group", "group-hubs", "rename-group", "pilot-group", "delete-group"), lambda things: things.group.pk
    ),
    **dict.fromkeys(("upload", "upload-refused"), lambda things: things.upload),
}
"""What the addresses name, all of it the northern Supplier's."""


def address_of(name: str, things: Things) -> str:
    """Return the address of a Supplier's page, of the northern Supplier's own where it names something."""
    named = OWN.get(name)
    query = "?plan=earliest" if name == "check" else ""
    return reverse(f"scheduling:{name}", args=[named(things)] if named else []) + query
