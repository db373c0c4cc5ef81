"""What the portal writes to people about their accounts: notices like any other, sent by the worker."""

from datetime import datetime

from django.conf import settings
from django.template.loader import render_to_string

from portal.models import Invitation, User
from scheduling.models import Notice
from scheduling.operations import notices


def invitation(*, invitation: Invitation, link: str, now: datetime) -> None:
    """Owe a person the e-mail that a place is kept for them, in the caller's transaction."""
    context = {
        "link": link,
        "inviter": str(invitation.invited_by),
        "supplier": str(invitation.supplier) if invitation.supplier else "",
        "expires_at": invitation.expires_at,
    }
    notices.owe_words(
        kind=Notice.Kind.INVITATION,
        address=invitation.email,
        subject=one_line(render_to_string("emails/invitation_subject.txt", context)),
        text=render_to_string("emails/invitation.txt", context),
        html=render_to_string("emails/invitation.html", context),
        supplier=invitation.supplier,
        now=now,
    )


def account(*, address: str, subject: str, text: str, now: datetime) -> None:
    """Owe a person an e-mail about their sign-in: a password reset, a changed password."""
    notices.owe_words(
        kind=Notice.Kind.ACCOUNT,
        address=address,
        subject=one_line(subject),
        text=text,
        html=render_to_string("emails/account.html", {"subject": subject, "text": text}),
        now=now,
    )


def access_changed(*, user: User, has_access: bool, reason: str, now: datetime) -> None:
    """Owe a person the e-mail that their access has ended, or is theirs again, in the caller's transaction."""
    template = "access_given_back" if has_access else "access_ended"
    _tell(user=user, template=template, context={"reason": reason}, now=now)


def role_changed(*, user: User, word: str, reason: str, now: datetime) -> None:
    """Owe a person the e-mail that they may do something else from now on, in the caller's transaction."""
    _tell(user=user, template="role_changed", context={"role": word, "reason": reason}, now=now)


def _tell(*, user: User, template: str, context: dict[str, str], now: datetime) -> None:
    said = {**context, "for": str(user.supplier or "DCC"), "address": settings.PORTAL_ADDRESS}
    account(
        address=user.email,
        subject=one_line(render_to_string(f"emails/{template}_subject.txt", said)),
        text=render_to_string(f"emails/{template}.txt", said),
        now=now,
    )


def one_line(words: str) -> str:
    """Write words on one line, as a header of an e-mail needs it: a name may have brought a break along."""
    return " ".join(words.split())
