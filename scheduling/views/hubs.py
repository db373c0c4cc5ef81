"""A Supplier's hubs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.generic import TemplateView

from firmware import queries as releases
from hubs import queries as fleet
from hubs import registrations
from hubs.identifiers import format_eui64, format_mpan, masked
from hubs.models import CommunicationsHub, FleetCount, Supplier
from hubs.queries import SupplierChange
from hubs.registrations import DAY
from portal.ground.uk_time import LONDON
from scheduling.forms import FILTERED, HubFilterForm
from scheduling.lifecycle import CANCELLABLE, State
from scheduling.queries import deployments, hubs, standings
from scheduling.queries.deployments import Happening, Story
from scheduling.queries.hubs import OpenDeployment
from scheduling.tables import HubTable
from scheduling.views.base import SupplierPage
from scheduling.views.bookings import change_address

PAGE = 50
STORIES = 10
CHANGES = 10
LEAD, OTHER = "Lead", "Other"
"""A hub's Supplier that books, and its second one."""


@dataclass(frozen=True, slots=True)
class Line:
    """One hub in the list, with the Supplier's role and where the hub is booked now."""

    hub: CommunicationsHub
    role: str
    deployment: OpenDeployment | None


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


class HubsView(SupplierPage, TemplateView):
    """The hubs that a Supplier sees, filtered, paged by key."""

    template_name = "scheduling/hubs.html"
    extra_context = {"section": "hubs"}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Fetch one page, and the open deployments of its hubs."""
        form = self.filter_form()
        if not form.is_valid():
            return super().get_context_data(form=form, table=None, **kwargs)
        page = fleet.page_of_hubs(
            supplier=self.supplier,
            filters=form.filters,
            after=_signed(self.request.GET.get("after", "")),
            before=_signed(self.request.GET.get("before", "")),
            limit=PAGE,
        )
        booked = hubs.open_deployments(hubs=[hub.pk for hub in page.hubs], supplier=self.supplier)
        lines = [Line(hub, role_of(hub, self.supplier), booked.get(hub.pk)) for hub in page.hubs]
        return super().get_context_data(
            form=form,
            table=HubTable(lines),
            has_hubs=bool(lines),
            is_filtered=any(self.request.GET.get(name) for name in (*FILTERED, "search")),
            group_address=self.group_address(),
            is_unfinished=page.is_unfinished,
            shown=f"{len(lines)} hub{'' if len(lines) == 1 else 's'} on this page, in the order of their CHF IDs",
            first=self.address() if page.previous_before is not None else "",
            previous=self.address(before=page.previous_before) if page.previous_before is not None else "",
            next=self.address(after=page.next_after) if page.next_after is not None else "",
            **kwargs,
        )

    def filter_form(self) -> HubFilterForm:
        """Return the form with the values that this Supplier's hubs have."""
        return HubFilterForm(self.request.GET, **filter_choices(self.supplier))

    def group_address(self) -> str:
        """Return where all that the filter shows can be kept as a group."""
        kept = {name: value for name in FILTERED if (value := self.request.GET.get(name))}
        return (
            f"{reverse('scheduling:new-group')}?{urlencode(kept | {'source': 'filter'})}"
            if kept and self.person.may_act
            else ""
        )

    def address(self, **key: int | None) -> str:
        """Return where another page of the same list is."""
        kept = {name: value for name in (*FILTERED, "search") if (value := self.request.GET.get(name))}
        asked = urlencode(kept | {name: value for name, value in key.items() if value is not None})
        return f"{reverse('scheduling:hubs')}?{asked}"


def _signed(text: str) -> int | None:
    """Read a key of a page; what is none, or beyond any, is ignored."""
    try:
        key = int(text)
    except ValueError:
        return None
    return key if -(2**63) <= key < 2**63 else None


def _shape_of(event: Happening, story: Story) -> str:
    """Give the end of a deployment the shape of its state, and what goes before a plain one."""
    return story.deployment.state if event.at == story.deployment.ended_at else "info"


@dataclass(frozen=True, slots=True)
class StoryEvent:
    """One line of a hub's story (for `components/timeline`)."""

    moment: datetime
    shape: str
    title: str
    text: str


def changes_told(changes: Sequence[SupplierChange]) -> list[StoryEvent]:
    """Tell of changes of supplier, in order of time; other Suppliers are not named."""
    told = []
    for change in changes:
        meter = change.role.label.lower()
        day = f"{change.effective_on:%-d %B %Y}"
        whose = "yours" if change.is_gain else "another Supplier's"
        if change.imported_at:
            start, end = registrations.protected_span(effective_on=change.effective_on)
            told.append(
                StoryEvent(
                    change.imported_at,
                    "info",
                    f"Change of supplier registered: {meter}",
                    f"From {day}, 00:00, the meter is {whose}. Nothing is activated from "
                    f"{start.astimezone(LONDON):%-d %B, %H:%M} to the end of {end.astimezone(LONDON) - DAY:%-d %B}.",
                )
            )
        if change.applied_at:
            told.append(
                StoryEvent(
                    change.applied_at,
                    "info",
                    f"Change of supplier in effect: {meter}",
                    f"From {day}, 00:00, the meter is {whose}.",
                )
            )
    return sorted(told, key=lambda event: event.moment)


class HubView(SupplierPage, TemplateView):
    """One hub: its facts, what it may be booked for, and its story."""

    template_name = "scheduling/hub.html"
    hub: CommunicationsHub

    def find(self) -> None:
        """Fetch the hub, if it is one that the Supplier sees."""
        self.hub = get_object_or_404(
            fleet.by_ids(supplier=self.supplier, chf_ids=[self.kwargs["chf_id"]]).select_related(
                "network", "model", "installed_version", "import_supplier", "gas_supplier"
            )
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask a fixed number of questions."""
        hub = self.hub
        shown = list(standings.with_facts(releases.open_to(supplier=self.supplier)).order_by("-published_at"))
        role = role_of(hub, self.supplier)
        booked = hubs.open_deployments(hubs=[hub.pk], supplier=self.supplier).get(hub.pk)
        stories = deployments.stories(hub=hub, supplier=self.supplier, limit=STORIES)
        return super().get_context_data(
            section="hubs",
            hub=hub,
            facts=self.facts(hub, role),
            role=role,
            booked=booked,
            change=self.change(booked),
            changes=changes_told(fleet.changes_of_supplier(hub=hub, supplier=self.supplier, limit=CHANGES)),
            verdicts=hubs.verdicts(hub=hub, supplier=self.supplier, releases_shown=shown, now=self.now),
            stories=[
                (
                    story,
                    State(story.deployment.state),
                    [
                        StoryEvent(event.at, _shape_of(event, story), event.words, event.detail)
                        for event in story.happenings
                    ],
                )
                for story in stories
            ],
            **kwargs,
        )

    def change(self, booked: OpenDeployment | None) -> str:
        """Return where the hub can be cancelled or moved, while its own booker still can."""
        if (
            booked is None
            or not self.person.may_act
            or booked.change_until is None
            or booked.change_until <= self.now
            or booked.state not in CANCELLABLE
        ):
            return ""
        return change_address(booked.reference, self.hub.pk)

    def facts(self, hub: CommunicationsHub, role: str) -> list[tuple[str, str]]:
        """Name what is known of the hub; the other Supplier only by role and participant ID."""
        return [
            ("CHF ID", format_eui64(hub.chf_id)),
            ("GPF ID", format_eui64(hub.gpf_id)),
            ("Hub model", f"{hub.model.name}, hardware {hub.hardware_version}"),
            ("Installed version", str(hub.installed_version)),
            ("Status", hub.get_status_display()),
            ("Network", hub.network.name),
            ("Region of the site", hub.get_region_display()),
            ("Payment mode", hub.get_payment_mode_display()),
            ("MPAN", "" if hub.mpan is None else self.shown(format_mpan(hub.mpan))),
            ("MPRN", "" if hub.mprn is None else self.shown(str(hub.mprn))),
            ("Your role", f"{role} Supplier"),
            ("Second Supplier", self.second(hub, role)),
        ]

    def shown(self, meter_point: str) -> str:
        """Write the number of a household's meter point: whole for those who work with it."""
        return meter_point if self.person.may_act else masked(meter_point)

    def second(self, hub: CommunicationsHub, role: str) -> str:
        """Return the other side's role and participant ID, where there is another side."""
        if hub.other_id is None:
            return "None"
        theirs = hub.other_id if role == LEAD else hub.lead_id
        their_role = OTHER if role == LEAD else LEAD
        if hub.import_supplier is not None and theirs == hub.import_supplier_id:
            return (
                f"{their_role} Supplier, {hub.import_supplier.import_participant_id or 'no ID'} (electricity)"
            )
        assert hub.gas_supplier is not None  # noqa: S101 - a hub's Suppliers are these two
        return f"{their_role} Supplier, {hub.gas_supplier.gas_participant_id or 'no ID'} (gas)"
