"""Somebody's own account: their password, second factor and sessions; and a Supplier's rule for its people."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.generic import TemplateView, View

from portal import door, queries, second_factors, sessions
from portal.ground import clock, roles
from portal.ground.access import SupplierView, user_of
from portal.ground.reauthentication import known_recently
from portal.models import Session


class AccountView(TemplateView):
    """How somebody signs in, and where they are signed in at present."""

    template_name = "portal/account.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what there is, and what can be done about it."""
        user = user_of(self.request)
        held = queries.second_factors_of(user=user)
        codes = held["recovery_codes"]
        return super().get_context_data(
            app=held["totp"][0] if held["totp"] else None,
            keys=held["webauthn"],
            has_codes=bool(codes),
            codes_left=len(codes[0].wrap().get_unused_codes()) if codes else 0,
            is_needed=second_factors.is_needed(user=user),
            has_factor=bool(held["totp"] or held["webauthn"]),
            sessions=sessions.of(user=user, now=clock.now()),
            here=_here(self.request),
            may_rule=user.supplier is not None and second_factors.may_rule(user=user),
            idle_minutes=settings.IDLE_MINUTES["staff" if user.is_staff else "supplier"],
            **kwargs,
        )


class SetUpSecondFactorView(TemplateView):
    """What somebody who needs a second factor, and has none, is shown instead of all others."""

    template_name = "portal/set_up_second_factor.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the two ways, or the account, where there is nothing to set up."""
        if second_factors.is_set_up(user=user_of(request)):
            return redirect("account")
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say whether the person needs one."""
        return super().get_context_data(
            is_needed=second_factors.is_needed(user=user_of(self.request)), **kwargs
        )


class EndSessionView(View):
    """End one other session of one's own."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest) -> HttpResponse:
        """End it, and say so."""
        try:
            handle = UUID(request.POST.get("session", ""))
        except ValueError as error:
            raise Http404 from error
        if handle == _here(request):
            raise Http404  # one signs out of this one
        ended, _ = Session.objects.filter(user=user_of(request), handle=handle).delete()
        if not ended:
            raise Http404
        door.passed("session ended: by its person, from another one", user=user_of(request).pk)
        messages.success(request, "That session is ended: whoever has it has to sign in again.")
        return redirect("account")


class EndOtherSessionsView(View):
    """End every session of one's own but this one."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest) -> HttpResponse:
        """End them, and say how many."""
        ended, _ = Session.objects.filter(user=user_of(request)).exclude(pk=_kept(request)).delete()
        door.passed(f"sessions ended: {ended}, by their person, from another one", user=user_of(request).pk)
        messages.success(
            request,
            "You were signed in nowhere else."
            if not ended
            else f"Ended: {ended} other session{'s' if ended > 1 else ''}.",
        )
        return redirect("account")


class RuleView(SupplierView):
    """Whether the people of one's Supplier need a second factor."""

    to_see = to_change = roles.ADMINISTER

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the rule, and what another would do."""
        return render(
            request,
            "portal/second_factor_rule.html",
            {
                "supplier": self.supplier,
                "without": queries.people_without_second_factor(supplier=self.supplier),
            },
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        """Change it."""
        known_recently(request)
        is_required = request.POST.get("required") == "yes"
        try:
            second_factors.rule(
                supplier=self.supplier, is_required=is_required, by=user_of(request), now=clock.now()
            )
        except second_factors.UnableToRule as error:
            raise PermissionDenied(str(error)) from error
        messages.success(
            request,
            f"Everybody at {self.supplier} needs a second factor now."
            if is_required
            else f"A second factor is up to each person at {self.supplier} now.",
        )
        return redirect("account")


def _kept(request: HttpRequest) -> str:
    """Return the key of the row of the session of the request at hand."""
    kept: Session | None = getattr(request.session, "kept", None)
    return kept.session_key if kept else ""


def _here(request: HttpRequest) -> UUID | None:
    """Return what the session of the request at hand is called."""
    kept: Session | None = getattr(request.session, "kept", None)
    return kept.handle if kept else None
