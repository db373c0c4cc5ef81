"""The pages of the site itself: the front door, the way in for the invited, and what the words mean."""

from typing import Any

from allauth.account.utils import perform_login
from allauth.core import ratelimit
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from portal import operations, queries
from portal.forms import AcceptInvitationForm
from portal.ground import clock, glossary
from portal.models import Invitation


@method_decorator([login_not_required, sensitive_post_parameters("password1", "password2")], name="dispatch")
class InvitationView(FormView[AcceptInvitationForm]):
    """Where the link of an invitation leads: a name, a password, and in."""

    template_name = "portal/invitation.html"
    form_class = AcceptInvitationForm
    invitation: Invitation

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        refused: HttpResponse | None = ratelimit.consume_or_429(request, action="invitation", limit_get=True)
        if refused is not None:
            return refused
        invitation = queries.invitation_of(token=kwargs["token"])
        if invitation is None or not invitation.is_open(now=clock.now()):
            return self._refuse(invitation)
        if request.user.is_authenticated:
            return render(request, "portal/invitation_signed_in.html", {"invitation": invitation}, status=409)
        self.invitation = invitation
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        """Give the form the invitation that it answers."""
        return {**super().get_form_kwargs(), "invitation": self.invitation}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say who invited, and to which place."""
        return super().get_context_data(invitation=self.invitation, **kwargs)

    def form_valid(self, form: AcceptInvitationForm) -> HttpResponse:
        """Make the account and sign it in."""
        try:
            user = operations.accept(
                token=self.kwargs["token"],
                first_name=form.cleaned_data["first_name"],
                last_name=form.cleaned_data["last_name"],
                password=form.cleaned_data["password1"],
                now=clock.now(),
            )
        except operations.UnableToAccept:
            return self._refuse(queries.invitation_of(token=self.kwargs["token"]))
        response: HttpResponse = perform_login(
            self.request, user, email=user.email, redirect_url=reverse("scheduling:home")
        )
        return response

    def _refuse(self, invitation: Invitation | None) -> HttpResponse:
        return render(
            self.request,
            "portal/invitation_closed.html",
            {"invitation": invitation},
            status=404 if invitation is None else 410,
        )


class GlossaryView(TemplateView):
    """What each word of the field means, for everybody who is signed in."""

    template_name = "portal/glossary.html"
    extra_context = {"words": glossary.WORDS, "explains_words": True}
