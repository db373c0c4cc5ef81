"""Lists of hubs: a Supplier's, and a saved group's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hubs import queries as fleet
from hubs.identifiers import format_eui64, format_mpan, masked
from hubs.models import CommunicationsHub, FleetCount, Supplier
from hubs.queries import Named
from scheduling.forms import FILTERED, HubFilterForm
from scheduling.lists.base import Column, Order, Slice, SupplierList, Text, integer
from scheduling.models import HubGroup
from scheduling.queries import groups, hubs
from scheduling.queries.hubs import OpenDeployment
from scheduling.tables import HubTable, MemberTable

LEAD, OTHER = "Lead", "Other"
"""A hub's Supplier that books, and its second one."""


@dataclass(frozen=True, slots=True)
class Line:
    """One hub in the list, with the Supplier's role and where the hub is booked now."""

    hub: CommunicationsHub
    role: str
    deployment: OpenDeployment | None
    mpan: str
    mprn: str


def role_of(hub: CommunicationsHub, supplier: Supplier) -> str:
    """Say which of the hub's Suppliers this one is."""
    return LEAD if hub.lead_id == supplier.pk else OTHER


def filter_choices(supplier: Supplier) -> dict[str, list[tuple[int, str]]]:
    """Return the values that a Supplier's hubs have, from the counts of the fleet, as the filter's form takes them."""
    counted = list(
        FleetCount.objects.filter(lead=supplier)
        .values_list(
            "network_id",
            "network__name",
            "model_id",
            "model__name",
            "installed_version_id",
            "installed_version__number",
        )
        .distinct()
    )
    return {
        "networks": sorted({row[0:2] for row in counted}, key=lambda choice: choice[1]),
        "models": sorted({row[2:4] for row in counted}, key=lambda choice: choice[1]),
        "versions": [
            (key, f"{number:08X}")
            for key, number in sorted({row[4:6] for row in counted}, key=lambda choice: choice[1])
        ],
    }


class HubList(SupplierList[Line]):
    """
    The hubs that a Supplier sees.

    In the order of their CHF IDs, up or down, and no other: that is the order in which indexes have millions of them.
    """

    name = "hubs"
    title = "Hubs"
    nouns = ("hub", "hubs")
    table = HubTable
    filters = (*FILTERED, "search")
    usual = Order("hub", is_descending=False)
    usual_words = "in the order of their CHF IDs"
    columns = {
        "hub": Column({"CHF ID": lambda line: format_eui64(line.hub.chf_id)}, sort="chf_id"),
        "gpf_id": Column({"GPF ID": lambda line: format_eui64(line.hub.gpf_id)}, is_extra=True),
        "network": Column({"Network": lambda line: line.hub.network.name}),
        "region": Column({"Region": lambda line: line.hub.get_region_display()}, is_extra=True),
        "model": Column({"Hub model": lambda line: line.hub.model.name}),
        "hardware": Column({"Hardware version": lambda line: line.hub.hardware_version}, is_extra=True),
        "installed_version": Column({"Installed version": lambda line: str(line.hub.installed_version)}),
        "status": Column({"Status": lambda line: line.hub.get_status_display()}),
        "payment_mode": Column({"Payment mode": lambda line: line.hub.get_payment_mode_display()}),
        "mpan": Column({"MPAN": lambda line: line.mpan}, is_extra=True),
        "mprn": Column({"MPRN": lambda line: line.mprn}, is_extra=True),
        "role": Column({"You are": lambda line: line.role}),
        "deployment": Column(
            {
                "Booked for": lambda line: line.deployment.release if line.deployment else "",
                "State": lambda line: line.deployment.state.label if line.deployment else "",
                "Booking": lambda line: line.deployment.reference if line.deployment else "",
            }
        ),
    }

    knowing: Named | None = None

    def filter_form(self) -> HubFilterForm:
        """Return the form with the values that this Supplier's hubs have."""
        return HubFilterForm(self.asked, **filter_choices(self.supplier))

    def refused(self) -> None:
        """Say it beside the field: nobody is shown millions of hubs who asked for one."""

    def page(self, *, after: str, before: str, limit: int) -> Slice[Line]:
        """Fetch a page, and the open deployments of its hubs."""
        form = self.form
        if not isinstance(form, HubFilterForm) or not form.is_valid():
            return Slice([], None, None)
        found = fleet.page_of_hubs(
            supplier=self.supplier,
            filters=form.filters,
            after=integer(after),
            before=integer(before),
            is_descending=self.order.is_descending,
            limit=limit,
            knowing=self.knowing,
        )
        return Slice(
            self.lines(found.hubs), _text(found.next_after), _text(found.previous_before), found.is_unfinished
        )

    def portion(self, *, after: str, limit: int) -> tuple[list[list[Text]], str | None]:
        """Write millions of lines without asking for each what it points to."""
        if self.knowing is None:
            self.knowing = fleet.named()
        return super().portion(after=after, limit=limit)

    def lines(self, found: Sequence[CommunicationsHub]) -> list[Line]:
        """Say of each hub what this person may know of it."""
        booked = (
            hubs.open_deployments(hubs=[hub.pk for hub in found], supplier=self.supplier)
            if "deployment" in self.shown
            else {}
        )
        whole = self.person.may_act
        return [
            Line(
                hub,
                role_of(hub, self.supplier),
                booked.get(hub.pk),
                meter_point("" if hub.mpan is None else format_mpan(hub.mpan), is_whole=whole),
                meter_point("" if hub.mprn is None else str(hub.mprn), is_whole=whole),
            )
            for hub in found
        ]

    def expected(self) -> int | None:
        """Return how many the Supplier leads, as at the last count: those that it shares are few beside them."""
        form = self.form
        if not isinstance(form, HubFilterForm) or not form.is_valid() or form.filters.search:
            return None
        return fleet.number_of_hubs(supplier=self.supplier, filters=form.filters)


def meter_point(number: str, *, is_whole: bool) -> str:
    """Write the number of a household's meter point: whole for those who work with it."""
    return number if is_whole or not number else masked(number)


def _text(key: int | None) -> str | None:
    return None if key is None else str(key)


class MemberList(SupplierList[CommunicationsHub]):
    """The hubs of a saved group that are still the Supplier's to see."""

    name = "group-hubs"
    title = "Hubs of a group"
    nouns = ("hub", "hubs")
    table = MemberTable
    usual = Order("chf_id", is_descending=False)
    usual_words = "in the order of their CHF IDs"
    columns = {
        "chf_id": Column({"CHF ID": lambda hub: format_eui64(hub.chf_id)}, sort="chf_id"),
        "gpf_id": Column({"GPF ID": lambda hub: format_eui64(hub.gpf_id)}, is_extra=True),
        "network": Column({"Network": lambda hub: hub.network.name}),
        "region": Column({"Region": lambda hub: hub.get_region_display()}, is_extra=True),
        "model": Column({"Hub model": lambda hub: hub.model.name}),
        "hardware": Column({"Hardware version": lambda hub: hub.hardware_version}, is_extra=True),
        "installed_version": Column({"Installed version": lambda hub: str(hub.installed_version)}),
        "status": Column({"Status": lambda hub: hub.get_status_display()}),
        "payment_mode": Column({"Payment mode": lambda hub: hub.get_payment_mode_display()}),
    }
    of: HubGroup

    @classmethod
    def find(cls, *, supplier: Supplier, key: str) -> Any:
        """Return the group."""
        group = groups.of_supplier(supplier=supplier).filter(pk=integer(key) or 0).first()
        if group is None:
            raise LookupError(key)
        return group

    def key(self) -> str:
        """Return the number of the group."""
        return str(self.of.pk)

    def heading(self) -> str:
        """Name the group."""
        return f"Hubs of the group “{self.of.name}”"

    def page(self, *, after: str, before: str, limit: int) -> Slice[CommunicationsHub]:
        """Fetch a page."""
        found = groups.members(
            group=self.of,
            after=integer(after),
            before=integer(before),
            is_descending=self.order.is_descending,
            limit=limit,
        )
        return Slice(found.rows, _text(found.after), _text(found.before))

    def expected(self) -> int:
        """Return how many were put into the group."""
        return self.of.hubs
