"""Ask whoever does what matters to show again who they are, if they have not within five minutes."""

from typing import Any, TypeVar

from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from portal.ground import asking
from portal.ground.access import SAFE_VERBS

Row = TypeVar("Row", bound=Model)


def known_recently(request: HttpRequest) -> None:
    """
    Let a request that changes something through where its person has shown of late who they are.

    :raises ReauthenticationRequired: if not; the middleware then asks them, and takes the request up again
    """
    if request.method not in SAFE_VERBS:
        with asking.at_the_door():
            raise_if_reauthentication_required(request, app="portal")


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
