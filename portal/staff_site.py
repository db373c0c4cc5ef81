"""DCC's side: the stock admin, which does not exist for anybody else."""

from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any, TypeVar, cast

from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin, SimpleListFilter
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, resolve_url
from django.urls import URLPattern, URLResolver, reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme

ViewType = TypeVar("ViewType", bound=Callable[..., Any])
OWN_DOORS = frozenset({"logout", "password_change", "password_change_done"})
"""What the portal's own pages do for everybody, second factor and rate limits included."""
VERBS = ("GET", "HEAD", "POST")
OFFERED = ("", "exact", "id__exact", "isnull", "isempty", "gte", "lt", "year", "month", "day")
"""How the lists' own filters and dates ask for a field."""


class Narrowed(ModelAdmin[Any]):
    """
    A table whose list is narrowed by the filters that it offers, and by nothing else.

    Django lets an address ask about any column of the table: who sees the list of people could find out a password's
    hash, letter by letter.
    """

    linked: tuple[str, ...] = ()
    """What links of our own ask for besides."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Let through what a filter, the dates above the list, or a link of ours asks for."""
        if lookup in self.linked:
            return True
        names: list[str] = [self.date_hierarchy] if self.date_hierarchy else []
        for one in self.get_list_filter(request) if request else ():
            if isinstance(one, type) and issubclass(one, SimpleListFilter):
                if lookup == one.parameter_name:
                    return True
            else:
                names.append(str(one[0] if isinstance(one, tuple | list) else one))
        return any(
            lookup.removeprefix(name).removeprefix("__") in OFFERED
            for name in names
            if lookup == name or lookup.startswith(f"{name}__")
        )


class StaffSite(AdminSite):
    """The admin behind the portal's own login, answering 404 to whoever is not DCC staff."""

    site_title = "DCC firmware"
    site_header = "DCC · Communications Hub firmware"
    index_title = "Administration"
    site_url = None
    enable_nav_sidebar = True

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Take a table in, with a list that is narrowed by what it offers alone."""
        given = admin_class or ModelAdmin
        super().register(model_or_iterable, type(given.__name__, (given, Narrowed), {}), **options)

    def admin_view(self, view: ViewType, cacheable: bool = False) -> ViewType:
        """Let DCC staff through, and nobody else know that there is a page."""
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not self.has_permission(request):
                raise Http404
            if request.method not in VERBS:
                return HttpResponseNotAllowed(VERBS)
            response: HttpResponse = inner(request, *args, **kwargs)
            return response

        return cast(ViewType, update_wrapper(guarded, inner))

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """Leave out the admin's own doors."""
        return [route for route in super().get_urls() if getattr(route, "name", None) not in OWN_DOORS]

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """Answer that there is no such page: no field of ours is completed by it, and it would search any table."""
        raise Http404

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
