"""What every page of this app stands on."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponseBase

from portal.ground import clock
from portal.ground.access import SupplierView, user_of

if TYPE_CHECKING:
    from portal.models import User


class SupplierPage(SupplierView):
    """A page of one Supplier's side that knows who asks, and one moment for all that it shows."""

    person: "User"
    now: datetime

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.person = user_of(request)
        self.now = clock.now()
        return super().dispatch(request, *args, **kwargs)
