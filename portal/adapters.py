"""What the portal wants otherwise than allauth does by itself."""

from typing import Any
from urllib.parse import quote

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.contrib import messages
from django.contrib.sites.shortcuts import get_current_site
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.encoding import force_str

from portal import notices
from portal.ground import clock
from portal.models import User


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up, links name our own address, and e-mails go the way of every other notice."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The e-mail address or the password is wrong.",
        "too_many_login_attempts": "Too many attempts with a wrong password: wait five minutes, or reset it.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Say no: accounts come from invitations alone."""
        return False

    def format_email_subject(self, subject: str) -> str:
        """Leave the subject as it is: the sender's name says who writes."""
        return force_str(subject)

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Build the link on our own address, whatever host the request claims to have been sent to."""
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": "UID", "key": "KEY"})
        return settings.PORTAL_ADDRESS + path.replace("UID-KEY", quote(key))

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Go on to the first page, by way of signing in again."""
        return reverse("scheduling:home")

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        """Tell whoever gave the right password that their access has ended, and stay at the door."""
        messages.error(request, "Your access has ended. Ask DCC, or your Supplier's administrator.")
        return redirect("account_login")

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Owe the e-mail instead of sending it while the visitor waits."""
        message = self.render_mail(
            template_prefix,
            email,
            {
                "request": self.request,
                "email": email,
                "current_site": get_current_site(self.request),
                **context,
            },
        )
        notices.account(address=email, subject=message.subject, text=str(message.body), now=clock.now())
