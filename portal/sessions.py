"""
Sessions, kept in a table that says whose each is, since when, and when something was last done in it.

A session ends eight hours after signing in, and when nothing was done in it for as long as its person may be away. The
database keeps a digest of what the browser bears, and the content sealed: whoever reads the table can be nobody by it.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import DatabaseError
from django.db.models import DateTimeField, F, Func
from django.http import HttpRequest, HttpResponse

from portal import sealing
from portal.ground import clock
from portal.models import Session, User

logger = logging.getLogger(__name__)
IDLE: Final = "idle"
OVER: Final = "over"
CHANGED: Final = "changed"
"""Why a session ended: nothing was done in it, its eight hours are over, or its person's password or role changed."""
NOTED_EVERY: Final = timedelta(seconds=30)
"""What is done is noted no more often."""
BROWSER_LENGTH: Final = 300


class _Now(Func):
    """The database's present moment."""

    function = "clock_timestamp"
    template = "%(function)s()"
    output_field = DateTimeField()


def kept_as(key: str) -> str:
    """Return what the database keeps of the secret that a browser bears."""
    return blake2b(key.encode(), digest_size=20).hexdigest()


class SessionStore(DatabaseStore):
    """The session of a request."""

    kept: Session | None = None
    """The row as it was loaded or written."""
    ended: str = ""
    """Why there is no session any more, where we know that there was one."""
    whose: int | None = None
    """Whose that one was."""
    address: str | None = None
    browser: str = ""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        """Return the table."""
        return Session

    def load(self) -> dict[str, Any]:
        """Return what the session holds, and nothing where it has ended."""
        row = (
            Session.objects.filter(session_key=kept_as(self.session_key or ""))
            .annotate(asked_at=_Now())
            .first()
        )
        if row is None:
            self._session_key = None
            return {}
        if row.asked_at >= row.expire_date:
            self.ended, self.whose = OVER if row.user_id else "", row.user_id
        elif row.active_at and row.idle_after and row.asked_at >= row.active_at + row.idle_after:
            self.ended, self.whose = IDLE, row.user_id
        else:
            self.kept = row
            return self.decode(row.session_data)
        self._session_key = None
        return {}

    def encode(self, session_dict: dict[str, Any]) -> str:
        """Seal the content."""
        return sealing.seal(text=super().encode(session_dict), keys=settings.SEALING_KEYS)

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        """Open the content; a session that cannot be opened is empty, and nobody's."""
        try:
            return super().decode(sealing.unseal(sealed=str(session_data), keys=settings.SEALING_KEYS))
        except sealing.UnableToOpen:
            logger.warning("a session was sealed with another key")
            return {}

    def flush(self) -> None:
        """Forget the session and all that it holds."""
        if self.kept is not None and self.kept.user_id:
            self.whose = self.kept.user_id
            self.ended = CHANGED  # somebody who signs out is told so by the page that does it
        super().flush()
        self.kept = None

    def exists(self, session_key: str) -> bool:
        """Tell whether there is a session under a key."""
        return Session.objects.filter(session_key=kept_as(session_key)).exists()

    def delete(self, session_key: str | None = None) -> None:
        """Delete the session under a key, or this one."""
        key = session_key or self.session_key
        if key is not None:
            Session.objects.filter(session_key=kept_as(key)).delete()

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        """Make the row of the session; its times stay those of its signing in."""
        now = clock.now()
        row = Session(
            session_key=kept_as(self.session_key or ""),
            session_data=self.encode(data),
            expire_date=now + timedelta(seconds=settings.SESSION_COOKIE_AGE),
        )
        person = data.get(SESSION_KEY)
        before = self.kept if self.kept and self.kept.session_key == row.session_key else None
        if before is not None:
            row.handle = before.handle
        if before is not None and person == (str(before.user_id) if before.user_id else None):
            for name in (
                "user_id",
                "began_at",
                "active_at",
                "idle_after",
                "address",
                "browser",
                "expire_date",
            ):
                setattr(row, name, getattr(before, name))
        elif person is not None:
            is_staff = User.objects.values_list("is_staff", flat=True).get(pk=person)
            row.user_id = int(person)
            row.began_at = row.active_at = now
            row.idle_after = timedelta(minutes=settings.IDLE_MINUTES["staff" if is_staff else "supplier"])
            row.address, row.browser = self.address or "", self.browser[:BROWSER_LENGTH]
        self.kept = row
        return row


class Sessions(SessionMiddleware):
    """Django's middleware, which also notes from where somebody signs in, and that they are still there."""

    def process_request(self, request: HttpRequest) -> None:
        """Open the session."""
        super().process_request(request)
        request.session.address = address_of(request)  # type: ignore[attr-defined]
        request.session.browser = request.headers.get("User-Agent", "")  # type: ignore[attr-defined]

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Keep the session; note that its person is there, unless the page has asked by itself."""
        row = getattr(request.session, "kept", None)
        response = super().process_response(request, response)
        asked_at = getattr(row, "asked_at", None)
        # a page that follows by itself asks with htmx; so do a few clicks, which the next page makes up for
        asks_by_itself = request.method == "GET" and "HX-Request" in request.headers
        if row is None or asked_at is None or row.active_at is None or asks_by_itself:
            return response
        if asked_at - row.active_at >= NOTED_EVERY:
            try:
                Session.objects.filter(pk=row.pk, user=row.user_id).update(active_at=_Now())
            except DatabaseError:  # which the page has found out as well
                logger.warning("that somebody is there was not noted", exc_info=True)
        return response


def address_of(request: HttpRequest) -> str | None:
    """Return the address of whoever asks, as far as we trust the proxies in front of us."""
    proxies: int = settings.TRUSTED_PROXIES
    passed = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if proxies and len(passed) >= proxies:
        return passed[-proxies][:45]
    address: str | None = request.META.get("REMOTE_ADDR")
    return address or None


@dataclass(frozen=True, slots=True)
class Sitting:
    """Where somebody is signed in."""

    handle: UUID
    began_at: datetime
    active_at: datetime
    address: str
    browser: str
    """In words."""


def of(*, user: User, now: datetime) -> list[Sitting]:
    """Return where somebody is signed in, the session that was used last first."""
    rows = Session.objects.filter(user=user, expire_date__gt=now, active_at__gt=now - F("idle_after"))
    alive = user.get_session_auth_hash()
    store = SessionStore()
    return [
        Sitting(row.handle, row.began_at, row.active_at, row.address, in_words(browser=row.browser))
        for row in rows.order_by("-active_at", "-began_at")
        if row.began_at and row.active_at and store.decode(row.session_data).get(HASH_SESSION_KEY) == alive
    ]


PROGRAMS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
"""What a browser calls itself, and what people call it; many name those before them as well."""


def in_words(*, browser: str) -> str:
    """Name a browser and its system as people do."""
    program = next((name for sign, name in PROGRAMS if sign in browser), "An unknown program")
    system = next((name for sign, name in SYSTEMS if sign in browser), "")
    return f"{program} on {system}" if system else program
