"""What several of DCC's tables have in common."""

from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.formats import localize

from portal.ground.uk_time import LONDON


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """A table that DCC reads, and that only the portal's own operations write."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Say no."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Say no."""
        return False


class ToldAdmin(ReadOnlyAdmin):
    """A list that is named by what is in it, and says above it in words what that means."""

    change_list_template = "admin/scheduling/told.html"
    title: ClassVar[str]
    told: ClassVar[str]

    def said(self, request: HttpRequest) -> tuple[str, str]:
        """Return the title of the list that is asked for, and the words above it."""
        return self.title, self.told

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add the title and the words."""
        title, told = self.said(request)
        return super().changelist_view(request, {"title": title, "told": told, **(extra_context or {})})

    def shown(self, moment: datetime | None) -> str | None:
        """Write a moment as lists do; without this a page about one row writes it as machines do."""
        return None if moment is None else str(localize(moment.astimezone(LONDON)))
