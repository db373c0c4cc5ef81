"""
What holds for every request: UK time, whose it is in the log, as whom the database is asked, and what is said when a
server that we need is not there.

(Login is required by Django's own middleware.)
"""

import logging
import re
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings
from django.db import DatabaseError
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils import timezone

from portal import walls
from portal.ground import asking, logs
from portal.ground.uk_time import LONDON

if TYPE_CHECKING:
    from portal.models import User

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


class AtTheDoor:
    """
    Ask the database as somebody who has not said yet who they are: for sessions, for signing in, for the health checks.

    Outermost of all that asks it anything, so that nothing of a request is asked as anybody else.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        with asking.acting(asking.ENTRANCE):
            return self._get_response(request)


class AsWhoAsks:
    """
    Ask the database as the person who asks, in the view and the rendering of its page: as their Supplier, or as DCC.

    Innermost, so that sessions are kept, and copies of requests known, as at the door. Public pages stay there too, and
    so do a Supplier's people on those of their accounts, which are about no Supplier's things.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request; what is still to be fetched as it is sent is fetched as who asks as well."""
        with asking.acting(asking.ENTRANCE):
            response = self._get_response(request)
            who = asking.asker()
        if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
            assert who is not None  # noqa: S101 - one of the two above
            response.streaming_content = _fetched(cast("Iterator[bytes]", response.streaming_content), who)
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Say who asks, once the address is known; the session, too, has been read by then."""
        if not getattr(view, "login_required", True) or not request.user.is_authenticated:
            return
        walls.require()
        match = request.resolver_match
        is_of_accounts = bool(match and match.route.startswith("accounts/"))
        # with their password given once more, DCC's people are taken on to the decision that asked for it
        if request.user.is_staff or not is_of_accounts:
            asking.become(asker_of(user=request.user))

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Leave whoever takes up what a view could not do at the door: it may ask somebody to sign in anew."""
        asking.become(asking.ENTRANCE)


def asker_of(*, user: "User") -> asking.Asker:
    """Return as whom the database is asked for a person."""
    if user.is_staff:
        return asking.Asker(asking.Role.STAFF)
    return asking.Asker(asking.Role.SUPPLIER, user.supplier_id)


def _fetched(parts: Iterator[bytes], who: asking.Asker) -> Iterator[bytes]:
    """Fetch each part of an answer as somebody; between two of them the connection is nobody's."""
    while True:
        with asking.acting(who):
            part = next(parts, None)
        if part is None:
            return
        yield part


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
