"""
What holds for every request: UK time, whose it is in the log, and what is said when a server that we need is not there.

(Login is required by Django's own middleware.)
"""

import logging
import re
import uuid
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.utils import timezone

from portal.ground import logs
from portal.ground.uk_time import LONDON

logger = logging.getLogger(__name__)
GetResponse = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID: Final = re.compile(r"[0-9A-Za-z-]{8,64}")


def london_time(get_response: GetResponse) -> GetResponse:
    """Show and read local times as Europe/London on every page; the database keeps UTC."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with timezone.override(LONDON):
            return get_response(request)

    return middleware


NOTHING_OF_THE_DEVICE: Final = ", ".join(
    f"{feature}=()"
    for feature in ("camera", "display-capture", "geolocation", "microphone", "payment", "serial", "usb")
)


def kept_nowhere(get_response: GetResponse) -> GetResponse:
    """
    Let no browser and no proxy keep an answer, no other site embed it, and no page ask for what a device has.

    Static files are answered before this, and are kept for as long as their names last.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response["Cache-Control"] = "no-store, private"
        response["Cross-Origin-Resource-Policy"] = "same-origin"
        response["Permissions-Policy"] = NOTHING_OF_THE_DEVICE
        return response

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


class Sorry:
    """Say in a sentence what cannot be done, and what to do, where PostgreSQL is in trouble."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer for what a view could not; what we know nothing of is left to the page of errors."""
        if not (isinstance(exception, DatabaseError) and takes_no_changes(error=exception)):
            return None
        logger.error("%s could not be answered", request.path, exc_info=exception)
        return HttpResponse(render_to_string("503.html"), status=503, headers={"Retry-After": RETRY_AFTER})


RETRY_AFTER: Final = "60"
NO_CHANGES: Final = ("53", "25006")
"""How the codes begin with which PostgreSQL has no room, memory or connections left, or is a standby."""


def takes_no_changes(*, error: DatabaseError) -> bool:
    """Tell whether PostgreSQL surely did nothing, for want of room or since it only reads."""
    state = getattr(error.__cause__, "sqlstate", None)
    return isinstance(state, str) and state.startswith(NO_CHANGES)
