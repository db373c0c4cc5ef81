"""What holds for every request: UK time, and whose it is in the log. (Login is required by Django's own middleware.)"""

import re
import uuid
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from portal.ground import logs
from portal.ground.uk_time import LONDON

GetResponse = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID: Final = re.compile(r"[0-9A-Za-z-]{8,64}")


def london_time(get_response: GetResponse) -> GetResponse:
    """Show and read local times as Europe/London on every page; the database keeps UTC."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with timezone.override(LONDON):
            return get_response(request)

    return middleware


class Logged:
    """
    Let every line of the log carry its request, and who asks; the answer names the request as well.

    A proxy that we trust may have named it, in `X-Request-ID`; nobody else writes into the log what they like.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Name the request, and answer it."""
        name = request.headers.get("X-Request-ID", "") if settings.TRUSTED_PROXIES else ""
        if not REQUEST_ID.fullmatch(name):
            name = uuid.uuid4().hex
        with logs.bound(request=name):
            response = self._get_response(request)
            logs.remember(thing=request)
        response["X-Request-ID"] = name
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Bind who asks, and for which booking, once the address is known."""
        logs.add(booking=kwargs.get("reference"))
        # a public page is not made to look up a person for the sake of its log
        if getattr(view, "login_required", True) and request.user.is_authenticated:
            logs.add(user=request.user.pk, supplier=request.user.supplier_id)
