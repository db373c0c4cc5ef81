"""Who gets no further than the door: somebody whose session has ended, or who has yet to set up a second factor."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from allauth.account.internal.flows.login import get_authentication_records
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme

from portal import door, second_factors
from portal.sessions import CHANGED, IDLE, OVER

GetResponse = Callable[[HttpRequest], HttpResponseBase]
REASON: Final = "ended"
"""The parameter that tells the page of signing in why it is asked for."""
WHY: Final = {
    IDLE: "nothing was done in it",
    OVER: "its time is over",
    CHANGED: "another password or role, or the end of access",
}
"""How the log says why a session has ended."""
WITHOUT_SECOND_FACTOR: Final = frozenset(
    {
        "account_logout",
        "account_reauthenticate",
        "account_change_password",
        "mfa_activate_totp",
        "mfa_add_webauthn",
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "set-up-second-factor",
    }
)
"""The pages of somebody who has yet to set one up."""


class SignedOut:
    """Send whose session has ended to sign in, tell them why, and take them back to where they were."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Leave who is signed in, and public pages, alone."""
        if not getattr(view, "login_required", True) or request.user.is_authenticated:
            return None
        is_part = "HX-Request" in request.headers
        reason = _reason(request)
        if not reason and not is_part:
            return None  # Django's own middleware asks a stranger to sign in
        if reason:
            kept = getattr(request.session, "kept", None)
            whose = getattr(request.session, "whose", None) or (kept.user_id if kept else None)
            door.passed(f"session ended: {WHY[reason]}", user=whose)
        asked = {REDIRECT_FIELD_NAME: _whereabouts(request, is_part=is_part)}
        if reason:
            asked[REASON] = reason
        address = f"{resolve_url(settings.LOGIN_URL)}?{urlencode(asked)}"
        if is_part:  # a whole page is not put into a part of another
            return HttpResponse(status=204, headers={"HX-Redirect": address})
        return HttpResponseRedirect(address)


def _reason(request: HttpRequest) -> str:
    """Say why there is no session any more, where there was one; whoever has lost their access still bears theirs."""
    kept = getattr(request.session, "kept", None)
    return getattr(request.session, "ended", "") or (CHANGED if kept and kept.user_id else "")


def _whereabouts(request: HttpRequest, *, is_part: bool) -> str:
    """Return the page that somebody looked at; never one of another site."""
    if request.method == "GET" and not is_part:
        return request.get_full_path()
    page = request.headers.get("HX-Current-URL" if is_part else "Referer", "")
    if not url_has_allowed_host_and_scheme(
        page, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return "/"
    parts = urlsplit(page)
    return f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"


class SecondFactor:
    """Let nobody who needs a second factor, and has none, see more than the pages to set one up."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Ask for a second factor where one is needed."""
        if not getattr(view, "login_required", True) or not request.user.is_authenticated:
            return None
        match = request.resolver_match
        if (match and match.view_name in WITHOUT_SECOND_FACTOR) or not second_factors.is_needed(
            user=request.user
        ):
            return None
        if _gave_one(request) or second_factors.is_set_up(user=request.user):
            return None
        if "HX-Request" in request.headers:
            return HttpResponse(status=204, headers={"HX-Redirect": resolve_url("set-up-second-factor")})
        return redirect("set-up-second-factor")


def _gave_one(request: HttpRequest) -> bool:
    """Tell whether a second factor was given in this session, so that nobody has to look for it on every page."""
    return any(record.get("method") == "mfa" for record in get_authentication_records(request, request.user))
