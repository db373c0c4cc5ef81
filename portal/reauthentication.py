"""Let an admin page ask whoever changes anything on it to show again who they are."""

from typing import Any, TypeVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from portal.ground.reauthentication import known_recently

Row = TypeVar("Row", bound=Model)


class KnownRecently(admin.ModelAdmin[Row]):
    """An admin of people, and of what they may do."""

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """List, or act upon what was chosen."""
        self._check_known(request)
        return super().changelist_view(request, *args, **kwargs)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show, or change."""
        self._check_known(request)
        return super().changeform_view(request, *args, **kwargs)

    def _check_known(self, request: HttpRequest) -> None:
        """Ask only those who may change anything: the others are refused by Django."""
        if self.has_add_permission(request) or self.has_change_permission(request):
            known_recently(request)
