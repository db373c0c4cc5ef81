"""
Act once upon a form, however often it arrives: clicked twice, sent again by a browser, repeated by a proxy.

Every form that may change something carries a key (`templatetags.once`), and the first request with it acts. Its copies
wait for what came of it, and are answered the same. What was sent with other content under the same key is refused.

Whether a request whose process died has acted, nobody can tell: its copies do not, and say so.
"""

import hashlib
import logging
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string

from portal.ground import asking, clock, sql
from portal.ground.models import RequestKey

logger = logging.getLogger(__name__)
FIELD: Final = "request_key"
HEADER: Final = "Idempotency-Key"
KEPT: Final = timedelta(days=1)
"""For so long a copy is known as one."""
PATIENCE_SECONDS: Final = 10.0
"""For so long a copy waits for what becomes of the first."""
LOOK_SECONDS: Final = 0.05
BLOCK: Final = 1 << 16

CLAIM = """
INSERT INTO ground_requestkey (user_id, key, path, body, begun_at)
VALUES (%(user)s, %(key)s, %(path)s, %(body)s, %(now)s) ON CONFLICT DO NOTHING
"""


def new_key() -> str:
    """Return a key for one form on one page."""
    return str(uuid.uuid4())


class Once:
    """The middleware: after those that say who asks, and that the form is ours."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer, and remember what was answered where a key was claimed."""
        response = self._get_response(request)
        if claimed := getattr(request, "claimed_key", None):
            _remember(claimed, response)
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Claim the key; answer copies. Whoever reads the request in a way of its own calls `claim` itself."""
        return None if getattr(view, "csrf_exempt", False) else claim(request=request)


def claim(*, request: HttpRequest) -> HttpResponse | None:
    """Claim the key of a request that is to act; answer one that is not: a copy, or something else under its key."""
    if request.method != "POST" or not request.user.is_authenticated:
        return None
    text = request.headers.get(HEADER) or request.POST.get(FIELD)
    if not text or getattr(request, "claimed_key", None):
        return None
    try:
        key = uuid.UUID(text)
    except ValueError:
        return _page("422.html", 422)
    terms = {
        "user": request.user.pk,
        "key": key,
        "path": request.get_full_path(),
        "body": _digest(request),
        "now": clock.now(),
    }
    try:
        with asking.at_the_door():
            return _claim(request, terms)
    except DatabaseError:  # which the view is about to find out as well, and has the words for
        logger.warning("a key could not be claimed", exc_info=True)
        return None


def _claim(request: HttpRequest, terms: dict[str, Any]) -> HttpResponse | None:
    mine = RequestKey.objects.filter(user=terms["user"], key=terms["key"])
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        if sql.run(CLAIM, terms):
            request.claimed_key = mine  # type: ignore[attr-defined]
            return None
        # none: it came to nothing meanwhile, and is ours to try
        for known in mine.values("path", "body", "status", "location"):
            if known["path"] != terms["path"] or bytes(known["body"]) != terms["body"]:
                return _page("422.html", 422)
            if known["status"] is not None:
                logger.info("a copy of a request was answered as the first was")
                return HttpResponse(status=known["status"], headers={"Location": known["location"]})
            if time.monotonic() > until:
                logger.warning("nobody knows what became of the request that this is a copy of")
                return _page("409.html", 409)
            time.sleep(LOOK_SECONDS)


def _digest(request: HttpRequest) -> bytes:
    """Hash what a request brings, but for what is new on every page."""
    digest = hashlib.sha256()

    def take(*words: str | bytes) -> None:
        for word in words:
            octets = word.encode(errors="surrogatepass") if isinstance(word, str) else word
            digest.update(len(octets).to_bytes(8) + octets)

    for name, values in sorted(request.POST.lists()):
        if name not in (FIELD, "csrfmiddlewaretoken"):
            take(name, str(len(values)), *map(str, values))
    for name, files in sorted(request.FILES.lists()):
        for file in files:
            content = hashlib.sha256()
            for chunk in file.chunks(BLOCK):
                content.update(chunk)
            file.seek(0)
            take(name, file.name or "", content.digest())
    return digest.digest()


def _remember(claimed: Any, response: HttpResponseBase) -> None:
    try:
        if "Location" in response:
            claimed.update(status=response.status_code, location=response["Location"])
        elif response.status_code < 500:  # a form with its errors, a refusal: nothing was done
            claimed.delete()
        # an error may have come after the act: nobody knows
    except DatabaseError:
        logger.exception("what came of a request was not kept: its copies are told that nobody knows")


def _page(template: str, status: int) -> HttpResponse:
    return HttpResponse(render_to_string(template), status=status)


def forget(*, now: datetime) -> int:
    """Forget old keys; return how many."""
    return RequestKey.objects.filter(begun_at__lt=now - KEPT).delete()[0]
