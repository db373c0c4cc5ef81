"""DCC's desk for second factors: one that was lost is taken away, and a Supplier's rule is changed."""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from hubs.models import Supplier
from portal import queries, second_factors
from portal.ground import clock
from portal.ground.access import user_of
from portal.ground.reauthentication import known_recently
from portal.models import User

MAY_MANAGE = "portal.change_user"


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, user_id: int) -> HttpResponse:
    """Show what a person can give beside their password, and take it away where they have lost it."""
    _check(request)
    known_recently(request)
    person = get_object_or_404(User.objects.select_related("supplier"), pk=user_id)
    if request.method == "POST":
        return _take_away(request, person)
    return render(
        request,
        "admin/second_factor/person.html",
        {
            **admin.site.each_context(request),
            "title": f"Second factor: {person}",
            "person": person,
            "held": [row for rows in queries.second_factors_of(user=person).values() for row in rows],
            "is_self": person == request.user,
        },
    )


def _take_away(request: HttpRequest, person: User) -> HttpResponse:
    try:
        second_factors.take_away(
            user=person, by=user_of(request), reason=request.POST.get("reason", ""), now=clock.now()
        )
    except second_factors.UnableToTakeAway as refusal:
        messages.error(request, str(refusal))
        return redirect("second-factor-of", user_id=person.pk)
    messages.success(request, f"Taken away. {person.email} is told, and signs in with the password alone.")
    return redirect("admin:portal_user_change", person.pk)


@require_http_methods(["GET", "HEAD", "POST"])
def rule(request: HttpRequest, supplier_id: int) -> HttpResponse:
    """Show whether a Supplier's people need a second factor, and change it."""
    _check(request)
    known_recently(request)
    supplier = get_object_or_404(Supplier, pk=supplier_id)
    if request.method == "POST":
        return _rule(request, supplier)
    return render(
        request,
        "admin/second_factor/supplier.html",
        {
            **admin.site.each_context(request),
            "title": f"Second factor: {supplier}",
            "supplier": supplier,
            "without": queries.people_without_second_factor(supplier=supplier),
        },
    )


def _rule(request: HttpRequest, supplier: Supplier) -> HttpResponse:
    is_required = request.POST.get("required") == "yes"
    second_factors.rule(supplier=supplier, is_required=is_required, by=user_of(request), now=clock.now())
    messages.success(
        request,
        f"Everybody at {supplier} needs a second factor now."
        if is_required
        else f"A second factor is up to each person at {supplier} now.",
    )
    return redirect("second-factor-of-supplier", supplier_id=supplier.pk)


def _check(request: HttpRequest) -> None:
    if not user_of(request).has_perm(MAY_MANAGE):
        raise PermissionDenied
