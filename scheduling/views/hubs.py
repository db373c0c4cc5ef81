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
from hubs.identifiers import format_eui64, format_mpan
from hubs.models import CommunicationsHub
from hubs.queries import SupplierChange
from hubs.registrations import DAY
from portal.ground.uk_time import LONDON
from scheduling.forms import FILTERED
from scheduling.lifecycle import CANCELLABLE, State
from scheduling.lists.bookings import change_address
from scheduling.lists.hubs import LEAD, OTHER, HubList, meter_point, role_of
from scheduling.queries import deployments, hubs, standings
from scheduling.queries.deployments import Happening, Story
from scheduling.queries.hubs import OpenDeployment
from scheduling.views.base import SupplierPage
from scheduling.views.lists import ListPage

PAGE = 50
STORIES = 10
CHANGES = 10


class HubsView(ListPage, TemplateView):
    """The hubs that a Supplier sees, filtered, paged by key."""

    template_name = "scheduling/hubs.html"
    extra_context = {"section": "hubs"}
    list_class = HubList

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Fetch one page, and the open deployments of its hubs."""
        listing = self.listing(limit=PAGE, caption="Your hubs")
        return super().get_context_data(listing=listing, group_address=self.group_address(), **kwargs)

    def group_address(self) -> str:
        """Return where all that the filter shows can be kept as a group."""
        kept = {name: value for name in FILTERED if (value := self.request.GET.get(name))}
        return (
            f"{reverse('scheduling:new-group')}?{urlencode(kept | {'source': 'filter'})}"
            if kept and self.person.may_act
            else ""
        )


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
            ("MPAN", self.point(hub.mpan and format_mpan(hub.mpan))),
            ("MPRN", self.point(hub.mprn)),
            ("Your role", f"{role} Supplier"),
            ("Second Supplier", self.second(hub, role)),
        ]

    def point(self, number: int | str | None) -> str:
        """Write the number of a household's meter point, if there is one."""
        return meter_point("" if number is None else str(number), is_whole=self.person.may_act)

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
