"""What the portal wants otherwise than allauth does by itself."""

from typing import Any
from urllib.parse import quote

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.internal.flows.login import get_authentication_records
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.sites.shortcuts import get_current_site
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.encoding import force_str

from portal import door, notices, sealing, second_factors
from portal.ground import clock
from portal.models import User


class Backend(AuthenticationBackend):  # type: ignore[misc]
    """Know people again by their address and password."""

    def get_user(self, user_id: int) -> User | None:
        """Return whose session it is, as they are now."""
        user: User | None = super().get_user(user_id)
        if user is not None:
            user.has_read_epoch = True
        return user


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up, links name our own address, and e-mails go the way of every other notice."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The e-mail address or the password is wrong.",
        "too_many_login_attempts": "Too many wrong attempts: wait five minutes, then try again.",
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

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """Ask whoever has a second factor for that: a password may be known to whoever took a session over."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        factors = [method for method in methods if method["id"].startswith("mfa_")]
        # a security key first: whoever has nothing else but recovery codes would have to use one up
        factors.sort(
            key=lambda method: method["id"] == "mfa_reauthenticate" and not second_factors.has_app(user=user)
        )
        return factors or methods

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count the attempt, and say so in the log where there were too many."""
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            door.refused("password not looked at: too many attempts", user=_account_of(credentials))
            raise

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Say in the log that a password was wrong, and whose account it was to open, where there is one."""
        super().authentication_failed(request, **credentials)
        door.refused("wrong password", user=_account_of(credentials))

    def login(self, request: HttpRequest, user: User) -> None:
        """Let somebody in, and say by what in the log."""
        super().login(request, user)
        by = [record.get("type", record["method"]) for record in get_authentication_records(request, user)]
        door.passed(f"signed in with {' and '.join(by) or 'an invitation'}", user=user.pk)

    def logout(self, request: HttpRequest) -> None:
        """Let somebody out, and say so in the log."""
        user = request.user.pk
        super().logout(request)
        door.passed("signed out", user=user)

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        """Tell whoever gave the right password that their access has ended, and stay at the door."""
        door.refused("right password of somebody whose access has ended", user=user.pk)
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
        words = notices.account_words(subject=message.subject, text=str(message.body))
        notices.account(address=email, words=words, now=clock.now())


def _account_of(credentials: dict[str, Any]) -> int | None:
    """Return the id of the account that was to be opened; it takes as long where there is none."""
    email = str(credentials.get("email") or "").strip().lower()
    return User.objects.filter(email=email).values_list("pk", flat=True).first()


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors: sealed in the database, and kept by whoever needs one."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "This code is wrong, or was used already. Wait for the next one, and check your clock.",
        "cannot_delete_authenticator": "You need a second factor: set up another one before you remove the last.",
    }

    def encrypt(self, text: str) -> str:
        """Seal a secret for the database."""
        return sealing.seal(text=text, keys=settings.SEALING_KEYS)

    def decrypt(self, encrypted_text: str) -> str:
        """Open a secret of the database."""
        return sealing.unseal(sealed=encrypted_text, keys=settings.SEALING_KEYS)

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Keep the last second factor of whoever needs one."""
        return not second_factors.is_last_needed(authenticator=authenticator)

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:  # noqa: A002 - its name there
        """Offer a name for a new key."""
        return f"Key {Authenticator.objects.filter(user_id=user.pk, type=type).count() + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Name the portal in the browser's question for a security key."""
        entity: dict[str, str] = super().get_public_key_credential_rp_entity()
        return {**entity, "name": settings.MFA_TOTP_ISSUER}
