"""The lists that stand on the portal's own tables, and all lists by the names under which exports know them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import QueryDict
from django.urls import reverse

from hubs.models import Supplier
from portal import queries
from portal.forms import RecordForm
from portal.ground import roles
from portal.ground.uk_time import LONDON
from portal.models import User
from portal.queries import Deed
from portal.tables import RecordTable
from scheduling.lists.base import Column, Order, Slice, SupplierList, integer
from scheduling.lists.bookings import BookedHubList, BookingList, ProposalList
from scheduling.lists.consents import AnsweredList, AskedHubList
from scheduling.lists.hubs import HubList, MemberList
from scheduling.lists.windows import WindowList
from scheduling.models import Export
from scheduling.operations.exports import UnableToExport
from scheduling.queries import keyset


class RecordList(SupplierList[Deed]):
    """Who of the Supplier did what and when; in the order of the record and no other, since it only grows."""

    name = "record"
    title = "Record"
    nouns = ("act", "acts")
    table = RecordTable
    filters = ("person", "act", "first_day", "last_day")
    usual = Order("recorded_at", is_descending=True)
    usual_words = "newest first"
    to_see = roles.ADMINISTER
    columns = {
        "recorded_at": Column(
            {"When (UK time)": lambda deed: f"{deed.recorded_at.astimezone(LONDON):%Y-%m-%d %H:%M:%S %Z}"},
            sort="pk",
        ),
        "who": Column({"Who": lambda deed: deed.who}),
        "email": Column({"E-mail address": lambda deed: deed.email}, is_extra=True),
        "acting_as": Column({"Acting as": lambda deed: deed.acting_as}),
        "what": Column({"What": lambda deed: deed.what}),
        "subject": Column({"About": lambda deed: deed.subject}),
        "reason": Column({"Reason": lambda deed: deed.reason}),
    }

    def filter_form(self) -> RecordForm:
        """Return the form with the Supplier's people."""
        return RecordForm(self.asked, people=queries.people_of(supplier=self.supplier))

    def page(self, *, after: str, before: str, limit: int) -> Slice[Deed]:
        """Fetch a page; what the filter does not understand narrows nothing."""

        def fetch(start: int | None, is_backwards: bool, most: int) -> list[Deed]:
            return queries.deeds(
                supplier=self.supplier,
                start=start,
                is_upwards=is_backwards == self.order.is_descending,
                limit=most,
                **{name: self.filtered(name) for name in self.filters},
            )

        found = keyset.stretch(
            fetch=fetch,
            key_of=lambda deed: deed.pk,
            after=integer(after),
            before=integer(before),
            limit=limit,
        )
        return Slice(
            found.rows,
            None if found.after is None else str(found.after),
            None if found.before is None else str(found.before),
        )


EVERY: Final[Mapping[str, type[SupplierList[Any]]]] = {
    one.name: one
    for one in (
        HubList,
        MemberList,
        BookingList,
        BookedHubList,
        ProposalList,
        AnsweredList,
        AskedHubList,
        WindowList,
        RecordList,
    )
}
PAGES: Final[Mapping[str, tuple[str, bool]]] = {
    "hubs": ("scheduling:hubs", False),
    "group-hubs": ("scheduling:group", True),
    "bookings": ("scheduling:bookings", False),
    "booked-hubs": ("scheduling:booked-hubs", True),
    "proposals": ("scheduling:proposals", False),
    "answers": ("scheduling:consents", False),
    "consent-hubs": ("scheduling:consent", True),
    "windows": ("scheduling:windows", False),
    "record": ("record", False),
}
"""By the name of a list the route of the page that it is on, and whether that names what it is of."""


def address(*, name: str, subject: str, query: str) -> str:
    """Return the address at which a list is seen as it was asked for."""
    route, has_subject = PAGES[name]
    here = reverse(route, args=[subject] if has_subject else [])
    return f"{here}?{query}" if query else here


def opened(
    *, name: str, subject: str, query: str, supplier: Supplier, person: User, now: datetime
) -> SupplierList[Any]:
    """
    Return a list as an address asks for it.

    :raises LookupError: if there is no such list, or none of that for this Supplier
    :raises PermissionDenied: if this person may not see it
    """
    wanted = EVERY[name]
    if not person.may(wanted.to_see):
        raise PermissionDenied
    of = wanted.find(supplier=supplier, key=subject)
    return wanted(supplier=supplier, person=person, now=now, asked=QueryDict(query), of=of)


def source_of(export: Export, now: datetime) -> SupplierList[Any]:
    """
    Return the list that an export is of, as whoever asked for it may see it now.

    :raises UnableToExport: if it is no more, or no more theirs to see
    """
    person = export.asked_by
    if not person.is_active or person.supplier_id != export.supplier_id:
        raise UnableToExport("Whoever asked for it has no access any more.")
    try:
        return opened(
            name=export.list,
            subject=export.subject,
            query=export.query,
            supplier=export.supplier,
            person=person,
            now=now,
        )
    except LookupError:
        raise UnableToExport("What the list was of is no more, or is not yours any more.") from None
    except PermissionDenied:
        raise UnableToExport("Whoever asked for it may not see the list any more.") from None
