"""The record of decisions, to be read."""

import json
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portal.ground.models import AuditEntry


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


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin[AuditEntry]):
    """Who decided what, when and why: a list that nobody can change."""

    list_display = ("recorded", "actor_shown", "verb", "subject", "reason")
    list_display_links = ("recorded",)
    # no filter by verb: its choices would be read from the whole record; the search finds verbs
    list_filter = ("recorded_at", SubjectFilter)
    list_select_related = ("actor",)
    list_per_page = 50
    # the newest are looked at: no page counts the whole record
    show_full_result_count = False
    search_fields = ("subject__startswith", "verb__startswith", "actor__email", "reason")
    search_help_text = "What a subject or verb begins with, an e-mail address, or words of a reason"
    ordering = ("-pk",)
    fields = ("recorded_at", "actor_shown", "verb", "subject", "reason", "facts_shown")
    readonly_fields = fields

    @admin.display(description="when", ordering="pk")
    def recorded(self, entry: AuditEntry) -> datetime:
        """Show the moment."""
        return entry.recorded_at

    @admin.display(description="who", ordering="actor__email")
    def actor_shown(self, entry: AuditEntry) -> str:
        """Name the person, or the portal itself."""
        return str(entry.actor or "the portal")

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
