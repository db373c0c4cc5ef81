"""The record of decisions, to be read."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portal.ground import roles
from portal.ground.downloads import csv_response
from portal.ground.models import AuditEntry, AuditLink

EXPORT: Final = (
    "Decision",
    "When (UTC)",
    "Who",
    "Acting as",
    "What",
    "Upon",
    "Reason",
    "Facts",
    "Number in the chain",
    "Link (SHA-256)",
)
AT_A_TIME: Final = 2_000


class SubjectFilter(admin.SimpleListFilter):
    """Decisions by the kind of thing decided upon."""

    title = "kind of subject"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer the kinds that have words."""
        return [(kind, kind) for kind in ("release", "booking", "hub", "slot", "user", "invitation")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Keep those of the chosen kind."""
        return queryset.filter(subject__startswith=f"{self.value()}:") if self.value() else queryset


class RoleFilter(admin.SimpleListFilter):
    """Decisions by a role that whoever decided acted in, among others or alone."""

    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer all roles of both sides."""
        known = (*roles.DccRole.values, roles.EVERYTHING, *roles.SupplierRole.values)
        return [(role, roles.in_words(role=role)) for role in known]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Keep those of the chosen role; a Supplier's people have one, and DCC's may have several."""
        match self.value():
            case None:
                return queryset
            case role if role in roles.SupplierRole:
                return queryset.filter(role=role)
            case role:
                return queryset.filter(role__contains=role)


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin[AuditEntry]):
    """Who decided what, when and why: a list that nobody can change."""

    list_display = ("recorded", "actor_shown", "role_shown", "verb", "subject", "reason")
    list_display_links = ("recorded",)
    # no filter by verb: its choices would be read from the whole record; the search finds verbs
    list_filter = ("recorded_at", SubjectFilter, RoleFilter)
    list_select_related = ("actor",)
    list_per_page = 50
    # the newest are looked at: no page counts the whole record
    show_full_result_count = False
    search_fields = ("subject__startswith", "verb__startswith", "actor__email", "role", "reason")
    search_help_text = "What a subject or verb begins with, an e-mail address, a role, or words of a reason"
    ordering = ("-pk",)
    fields = ("recorded_at", "actor_shown", "role_shown", "verb", "subject", "reason", "facts_shown")
    readonly_fields = fields
    change_list_template = "admin/ground/auditentry/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the file."""
        export = path("export/", self.admin_site.admin_view(self.export), name="ground_auditentry_export")
        return [export, *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Send what the list shows, all pages of it and the oldest first, each with its place in the chain."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            shown = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return redirect("admin:ground_auditentry_changelist")
        return csv_response(name="decisions.csv", header=EXPORT, rows=_rows(shown))

    @admin.display(description="when", ordering="pk")
    def recorded(self, entry: AuditEntry) -> datetime:
        """Show the moment."""
        return entry.recorded_at

    @admin.display(description="who", ordering="actor__email")
    def actor_shown(self, entry: AuditEntry) -> str:
        """Name the person, or the portal itself."""
        return str(entry.actor or "the portal")

    @admin.display(description="acting as", ordering="role", empty_value="–")
    def role_shown(self, entry: AuditEntry) -> str:
        """Name the roles in which they decided."""
        return entry.acting_as

    @admin.display(description="facts")
    def facts_shown(self, entry: AuditEntry) -> SafeString:
        """Show the facts as they were recorded."""
        return format_html(
            "<pre>{}</pre>", json.dumps(entry.facts, indent=2, ensure_ascii=False, sort_keys=True)
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: entries come with what they describe."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Say no."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Say no."""
        return False


def _rows(entries: QuerySet[AuditEntry]) -> Iterator[tuple[str, ...]]:
    link = AuditLink.objects.filter(entry=OuterRef("pk"))
    chained = entries.order_by("pk").annotate(
        number=Subquery(link.values("number")), link=Subquery(link.values("link"))
    )
    for entry in chained.iterator(chunk_size=AT_A_TIME):
        yield (
            str(entry.pk),
            entry.recorded_at.astimezone(UTC).isoformat(),
            entry.actor.email if entry.actor else "the portal",
            entry.acting_as,
            entry.verb,
            entry.subject,
            entry.reason,
            json.dumps(entry.facts, ensure_ascii=False, sort_keys=True),
            "" if entry.number is None else str(entry.number),
            "" if entry.link is None else bytes(entry.link).hex(),
        )
