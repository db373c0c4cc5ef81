"""What a page of the Supplier's side stands on, whichever app it belongs to."""

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.generic import View

from portal.ground import asking, roles
from portal.ground.roles import SupplierCapability

SAFE_VERBS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

if TYPE_CHECKING:
    from hubs.models import Supplier
    from portal.models import User


def user_of(request: HttpRequest) -> "User":
    """
    Return who asks, where the login middleware has let only people through.

    :raises Http404: if nobody is signed in, which only a page wrongly declared public can bring about
    """
    if not request.user.is_authenticated:
        raise Http404
    return request.user


class SupplierView(View):
    """
    A page of one Supplier's side: everything on it is reached through `self.supplier`.

    DCC staff, who act for no Supplier, are shown to the admin; an address that names an object
    does not exist for them. Whoever may see the page may not change anything with it for that.
    """

    http_method_names = ["get", "head", "post", "options"]
    supplier: "Supplier"
    to_see: ClassVar[SupplierCapability] = roles.SEE
    """What it takes to be shown the page at all: more where it is nothing but a form."""
    to_change: ClassVar[SupplierCapability] = roles.ACT
    """What it takes to change anything with it."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        person = user_of(request)
        supplier = person.supplier
        if supplier is None:
            if kwargs:
                raise Http404
            return redirect("admin:index")
        self.supplier = supplier
        # a form that waited for the password is taken up again by a page of the account, which asks at the door
        if asking.asker() is not None:
            asking.become(asking.Asker(asking.Role.SUPPLIER, supplier.pk))
        self.find()
        for capability in (self.to_see, *(() if request.method in SAFE_VERBS else (self.to_change,))):
            if not person.may(capability):
                return render(
                    request, "portal/not_your_role.html", {"why": roles.REFUSALS[capability]}, status=403
                )
        return super().dispatch(request, *args, **kwargs)

    def find(self) -> None:
        """
        Fetch what the address names, before the method is looked at: what is foreign is missing for every verb.

        :raises Http404: if it is not this Supplier's, or does not exist
        """
