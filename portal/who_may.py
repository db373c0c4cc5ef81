"""Show DCC staff who may do what: the roles, as they are stated, and whom to ask for one."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from portal.ground import roles
from portal.ground.roles import DccRole, SupplierRole


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show both sides as tables: what is done, and which roles may."""
    sides = (
        ("DCC staff", list(DccRole), roles.CAPABILITIES),
        ("A Supplier's people", list(SupplierRole), roles.SUPPLIER_CAPABILITIES),
    )
    context = {
        **admin.site.each_context(request),
        "title": "Who may do what",
        "sides": [
            (
                heading,
                [(role.label, role.value if isinstance(role, DccRole) else "") for role in columns],
                [(one.words, [role in one.roles for role in columns]) for one in capabilities],
            )
            for heading, columns, capabilities in sides
        ],
        "apart": roles.CONFLICTS,
    }
    return render(request, "admin/roles.html", context)
