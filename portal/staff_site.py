"""DCC's side: the stock admin, which does not exist for anybody else."""

from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any, TypeVar, cast

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.urls import URLPattern, URLResolver, reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme

ViewType = TypeVar("ViewType", bound=Callable[..., Any])
OWN_DOORS = frozenset({"logout", "password_change", "password_change_done"})
"""What the portal's own pages do for everybody, second factor and rate limits included."""


class StaffSite(AdminSite):
    """The admin behind the portal's own login, answering 404 to whoever is not DCC staff."""

    site_title = "DCC firmware"
    site_header = "DCC · Communications Hub firmware"
    index_title = "Administration"
    site_url = None
    enable_nav_sidebar = True

    def admin_view(self, view: ViewType, cacheable: bool = False) -> ViewType:
        """Let DCC staff through, and nobody else know that there is a page."""
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not self.has_permission(request):
                raise Http404
            response: HttpResponse = inner(request, *args, **kwargs)
            return response

        return cast(ViewType, update_wrapper(guarded, inner))

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """Leave out the admin's own doors."""
        return [route for route in super().get_urls() if getattr(route, "name", None) not in OWN_DOORS]

    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> HttpResponse:
        """Send whoever is not signed in to the portal's login page, and staff to where they were going."""
        wanted = request.GET.get(REDIRECT_FIELD_NAME, "")
        if not url_has_allowed_host_and_scheme(
            wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
        ):
            wanted = reverse("admin:index", current_app=self.name)
        if not request.user.is_authenticated:
            return redirect_to_login(wanted, resolve_url(settings.LOGIN_URL))
        if not self.has_permission(request):
            raise Http404
        return redirect(wanted)
