"""What DCC sees of capacity, bookings, e-mails and exceptions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from firmware.models import FirmwareRelease
from hubs.identifiers import format_eui64
from portal.ground import clock
from portal.ground.recorded import RecordedAdmin
from scheduling.admin.base import ReadOnlyAdmin
from scheduling.admin.exceptions import ExemptionAdmin, HubExceptionAdmin
from scheduling.admin.quarantine import QuarantineAdmin
from scheduling.admin.reconciliation import FindingAdmin, ReconciliationAdmin
from scheduling.lifecycle import State
from scheduling.models import (
    Booking,
    CapacityPattern,
    Incident,
    Lot,
    Maintenance,
    Notice,
    OddReport,
    Reclaim,
    ReportCount,
    Slot,
    StrayReport,
)
from scheduling.operations import slots
from scheduling.queries import capacity, caps, forecasts, progress, standings
from scheduling.queries.forecasts import NetworkForecast

__all__ = [
    "ExemptionAdmin",
    "FindingAdmin",
    "HubExceptionAdmin",
    "QuarantineAdmin",
    "ReconciliationAdmin",
]

MAIL_POLICY = {
    "default-src": [NONE],
    "style-src": [UNSAFE_INLINE],  # mail programs read no other style
    "form-action": [NONE],
    "base-uri": [NONE],
    "frame-ancestors": [SELF],
}


class SentFilter(admin.SimpleListFilter):
    """Which e-mails have gone out."""

    title = "whether it was sent"
    parameter_name = "sent"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Offer the two."""
        return [("yes", "Sent"), ("no", "Owed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Notice]) -> QuerySet[Notice]:
        """Narrow to the chosen one."""
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(sent_at__isnull=self.value() == "no")


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    """Every e-mail, owed or sent; one that was sent is shown as it went out."""

    list_display = ("title", "kind", "address", "sent_at")
    list_filter = ("kind", SentFilter, "supplier")
    search_fields = ("address", "subject", "subject_key")
    search_help_text = "Address, subject, or what it is about, such as booking:BK-7F3K-92QD"
    ordering = ("-id",)
    fieldsets = (
        (None, {"fields": ("kind", "address", "supplier", "subject_key", "message_id")}),
        ("Sending", {"fields": ("owed_at", "sent_at", "attempts", "next_try_at", "last_error")}),
        ("The e-mail as it was sent", {"fields": ("subject", "words", "picture", "attachment")}),
    )

    @admin.display(description="subject")
    def title(self, notice: Notice) -> str:
        """Show the subject, or that it is not written yet."""
        return notice.subject or "(written when it is sent)"

    @admin.display(description="text")
    def words(self, notice: Notice) -> SafeString | str:
        """Show the text with its own lines."""
        return format_html("<pre>{}</pre>", notice.text) if notice.text else "–"

    @admin.display(description="as a mail program shows it")
    def picture(self, notice: Notice) -> SafeString | str:
        """Show the HTML in a frame that may run nothing, send nothing and reach no page of ours."""
        if not notice.html:
            return "–"
        return format_html(
            '<iframe sandbox="" title="The e-mail as HTML" src="{}" width="640" height="520"></iframe>',
            reverse("admin:scheduling_notice_html", args=[notice.pk]),
        )

    def get_urls(self) -> list[URLPattern]:
        """Add the page that the frame shows."""
        view = cast(
            Callable[[HttpRequest], HttpResponse], self.html
        )  # the types know of no address with a key
        html = csp(MAIL_POLICY)(self.admin_site.admin_view(view))
        return [path("<int:pk>/html/", html, name="scheduling_notice_html"), *super().get_urls()]

    def html(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer with the HTML of an e-mail, alone, under a policy that lets it have its colours and nothing else."""
        notice = get_object_or_404(Notice, pk=pk)
        if not self.has_view_permission(request, notice):
            raise PermissionDenied
        return HttpResponse(notice.html, headers={"X-Frame-Options": "SAMEORIGIN"})

    @admin.display(description="attached: slots.ics")
    def attachment(self, notice: Notice) -> SafeString | str:
        """Show the calendar file."""
        return format_html("<pre>{}</pre>", notice.calendar) if notice.calendar else "None"


class CapacityPatternForm(forms.ModelForm[CapacityPattern]):
    """A pattern that no other of its network and weekday overlaps."""

    class Meta:
        model = CapacityPattern
        fields = ("network", "weekday", "starts", "ends", "slot_minutes", "capacity")

    def clean(self) -> dict[str, Any]:
        """Refuse an overlap, naming the other pattern."""
        cleaned: dict[str, Any] = super().clean() or {}
        if {"network", "weekday", "starts"} - cleaned.keys():
            return cleaned
        other = capacity.overlapping(
            network=cleaned["network"],
            weekday=cleaned["weekday"],
            starts=cleaned["starts"],
            ends=cleaned.get("ends"),
            besides=self.instance.pk,
        )
        if other:
            until = f"{other.ends:%H:%M}" if other.ends else "midnight"
            raise ValidationError(
                f"On {other.get_weekday_display()} {other.network} has a pattern from {other.starts:%H:%M} to "
                f"{until} already, and this one overlaps it. Change or delete that one first."
            )
        return cleaned


@admin.register(CapacityPattern)
class CapacityPatternAdmin(RecordedAdmin[CapacityPattern]):
    """How many hubs a network takes, week by week; a change reaches the slots that have not begun."""

    form = CapacityPatternForm
    list_display = ("network", "weekday", "starts", "until", "slot_minutes", "capacity")
    list_filter = ("network", "weekday")
    list_select_related = ("network",)
    ordering = ("network", "weekday", "starts")

    @admin.display(description="to")
    def until(self, pattern: CapacityPattern) -> str:
        """Show when it ends; nothing kept means midnight."""
        return f"{pattern.ends:%H:%M}" if pattern.ends else "midnight"

    def save_model(
        self,
        request: HttpRequest,
        obj: CapacityPattern,
        form: forms.ModelForm[CapacityPattern],
        change: bool,
    ) -> None:
        """Keep it, and make the slots follow."""
        super().save_model(request, obj, form, change)
        slots.open_slots(now=clock.now())

    def delete_model(self, request: HttpRequest, obj: CapacityPattern) -> None:
        """Delete it, and close the slots that it made and that nobody has taken."""
        super().delete_model(request, obj)
        slots.open_slots(now=clock.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CapacityPattern]) -> None:
        """Delete several, and close the slots that they made and that nobody has taken."""
        super().delete_queryset(request, queryset)
        slots.open_slots(now=clock.now())


@admin.register(Maintenance)
class MaintenanceAdmin(RecordedAdmin[Maintenance]):
    """Spans in which DCC closes a network: nothing is booked into it, and nothing activated in it."""

    list_select_related = ("network",)
    list_display = ("network", "start_at", "end_at", "reason")
    list_filter = ("network",)
    ordering = ("-start_at",)

    def reason_of(self, obj: Maintenance) -> str:
        """Return what it is for."""
        return obj.reason


@admin.register(Incident)
class IncidentAdmin(RecordedAdmin[Incident]):
    """Incidents; one of Category 1 or 2 closes its network for everyone as long as it is open."""

    list_select_related = ("network",)
    list_display = ("network", "category", "summary", "opened_at", "expected_end_at", "closed_at")
    list_filter = ("network", "category", ("closed_at", admin.EmptyFieldListFilter))
    ordering = ("-opened_at",)

    def reason_of(self, obj: Incident) -> str:
        """Return what happened."""
        return obj.summary


@dataclass(frozen=True, slots=True)
class Bar:
    """One network in the picture: its period, and how much of it its hubs would fill. In units of the picture."""

    forecast: NetworkForecast
    y: int
    text_y: int
    x: int
    width: int
    filled: int


PICTURE, LABEL, ROW = 900, 190, 44
"""Width of the picture, of the names in it, and height of a network's row."""


def bars_of(*, networks: Sequence[NetworkForecast]) -> list[Bar]:
    """Lay the networks out over the time from the first opening to the last close."""
    if not networks:
        return []
    first = min(one.opens_at for one in networks)
    whole = max(one.closes_at for one in networks) - first

    def place(moment: datetime) -> int:
        return LABEL + round((PICTURE - LABEL) * ((moment - first) / whole))

    bars = []
    for number, one in enumerate(networks):
        x, end = place(one.opens_at), place(one.closes_at)
        filled = end if one.short else place(one.ends_at) if one.ends_at else x
        bars.append(Bar(one, number * ROW + 8, number * ROW + 27, x, end - x, filled - x))
    return bars


@admin.register(Slot)
class SlotAdmin(ReadOnlyAdmin):
    """How full the slots are, and whether a release would fit into them."""

    list_display = ("network", "start_at", "end_at", "capacity", "taken", "left")
    list_filter = ("network",)
    list_select_related = ("network",)
    date_hierarchy = "start_at"
    ordering = ("start_at", "network")

    @admin.display(description="room")
    def left(self, slot: Slot) -> int:
        """Show the places not taken."""
        return slot.room

    def get_urls(self) -> list[URLPattern]:
        """Add the page that says whether a release would fit."""
        view = cast(
            Callable[[HttpRequest], HttpResponse], self.fit
        )  # the types know of no address with a key
        fit = self.admin_site.admin_view(view)
        return [path("fit/<int:release_id>/", fit, name="scheduling_slot_fit"), *super().get_urls()]

    def fit(self, request: HttpRequest, release_id: int) -> HttpResponse:
        """Set the hubs of a release against the room of its networks over its periods."""
        if not (self.has_view_permission(request) and request.user.has_perm("firmware.view_firmwarerelease")):
            raise PermissionDenied
        now = clock.now()
        release = get_object_or_404(
            standings.with_facts(FirmwareRelease.objects.order_by("pk")), pk=release_id
        )
        patterns = forecasts.patterns_of(release=release)
        to_come = {
            period.network_id: list(
                slots.spans_of(
                    patterns=patterns.get(period.network_id, ()),
                    start=max(period.start_at, now) - timedelta(microseconds=1),
                    end=period.end_at,
                )
            )
            for period in release.periods.all()
        }
        outlook = forecasts.forecast(release=release, to_come=to_come, now=now)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Will it fit? {release.name}",
            "opts": self.opts,
            "release": release,
            "outlook": outlook,
            "vetoes": caps.vetoes(release=release, now=now),
            "bars": bars_of(networks=outlook.networks),
            "picture_width": PICTURE,
            "picture_height": ROW * len(outlook.networks),
            "now": now,
        }
        return render(request, "admin/scheduling/slot/fit.html", context)


@admin.register(Booking)
class BookingAdmin(ReadOnlyAdmin):
    """What Suppliers have booked."""

    list_display = (
        "reference",
        "supplier",
        "release",
        "plan",
        "hubs",
        "unplaced",
        "created_at",
        "placed_at",
        "done_at",
    )
    list_filter = ("release", "supplier", "plan", ("done_at", admin.EmptyFieldListFilter))
    list_select_related = ("supplier", "release")
    search_fields = ("reference",)
    ordering = ("-id",)
    fields = (
        "reference",
        "supplier",
        "release",
        "who",
        "plan",
        "start_at",
        "hubs",
        "unplaced",
        "outcome",
        "created_at",
        "placed_at",
        "abandoned_at",
        "done_at",
    )

    @admin.display(description="booked by")
    def who(self, booking: Booking) -> str:
        """Name the person; their page is not for everybody who may see this one."""
        return booking.maker

    @admin.display(description="hubs by state")
    def outcome(self, booking: Booking) -> str:
        """Show how its hubs stand."""
        present = progress.of_lots(lots=booking.lots.all()).present
        return ", ".join(f"{hubs:,} {state.label.lower()}" for state, hubs in present) or "–"


@admin.register(Lot)
class LotAdmin(ReadOnlyAdmin):
    """The units of work: what is due, who has it, and how its hubs stand."""

    list_display = ("id", "booking", "network", "slot", "size", "due_at", "lease_until", "token", "states")
    list_filter = ("network", "release", ("due_at", admin.EmptyFieldListFilter))
    list_select_related = ("booking", "network", "slot__network")
    search_fields = ("booking__reference",)
    ordering = ("-id",)

    @admin.display(description="hubs by state")
    def states(self, lot: Lot) -> str:
        """Show the counts that the lot carries."""
        return ", ".join(f"{hubs} {state.label.lower()}" for state in State if (hubs := getattr(lot, state)))


@admin.register(StrayReport)
class StrayReportAdmin(ReadOnlyAdmin):
    """Reports for commands that the portal never gave. There should be none."""

    list_display = ("received_at", "hub_id", "deployment_id", "phase", "attempt", "outcome", "version")
    ordering = ("-id",)

    @admin.display(description="hub")
    def hub_id(self, report: StrayReport) -> str:
        """Show the CHF ID as it is written."""
        return format_eui64(report.hub)


@admin.register(OddReport)
class OddReportAdmin(ReadOnlyAdmin):
    """What came back and could not be recorded, as it came. There should be none."""

    list_display = ("last_at", "reason", "times", "first_at")
    search_fields = ("reason", "text")
    search_help_text = "Words of the reason, or of what came"
    ordering = ("-last_at", "-pk")


@admin.register(ReportCount)
class ReportCountAdmin(ReadOnlyAdmin):
    """How many reports of each kind came, day by day."""

    list_display = ("day", "kind", "reports")
    list_filter = ("kind",)
    date_hierarchy = "day"
    ordering = ("-day", "kind")


@admin.register(Reclaim)
class ReclaimAdmin(ReadOnlyAdmin):
    """Lots whose worker died or hung, and that another one took over."""

    list_display = ("reclaimed_at", "lot_id", "token", "lease_until")
    search_fields = ("=lot_id",)
    search_help_text = "Number of the lot"
    date_hierarchy = "reclaimed_at"
    ordering = ("-reclaimed_at", "-id")
