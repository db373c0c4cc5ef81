"""What the portal writes to people about their accounts: notices like any other, sent by the worker."""

from collections.abc import Mapping
from datetime import datetime

from django.conf import settings
from django.template.loader import render_to_string

from portal.models import Invitation, User
from scheduling.models import Notice
from scheduling.operations import notices
from scheduling.operations.notices import Words


def invitation(*, invitation: Invitation, link: str, now: datetime) -> None:
    """Owe a person the e-mail that a place is kept for them, in the caller's transaction."""
    words = invitation_words(
        link=link,
        inviter=str(invitation.invited_by),
        supplier=str(invitation.supplier or ""),
        expires_at=invitation.expires_at,
    )
    notices.owe_words(
        kind=Notice.Kind.INVITATION,
        address=invitation.email,
        subject=words.subject,
        text=words.text,
        html=words.html,
        supplier=invitation.supplier,
        now=now,
    )


def invitation_words(*, link: str, inviter: str, supplier: str, expires_at: datetime) -> Words:
    """Write an invitation for a Supplier, or for DCC where that is empty."""
    context = {"link": link, "inviter": inviter, "supplier": supplier, "expires_at": expires_at}
    subject = one_line(render_to_string("emails/invitation_subject.txt", context))
    return Words(
        subject,
        render_to_string("emails/invitation.txt", context),
        render_to_string("emails/invitation.html", {**context, "subject": subject}),
        "",
    )


def account(*, address: str, words: Words, now: datetime) -> None:
    """Owe a person an e-mail about their sign-in: a password reset, a changed password."""
    notices.owe_words(
        kind=Notice.Kind.ACCOUNT,
        address=address,
        subject=words.subject,
        text=words.text,
        html=words.html,
        now=now,
    )


def account_words(*, subject: str, text: str) -> Words:
    """Write an e-mail about an account, of which there is the text."""
    subject = one_line(subject)
    html = render_to_string("emails/account.html", {"subject": subject, "text": text})
    return Words(subject, text, html, "")


def access_changed(*, user: User, has_access: bool, reason: str, now: datetime) -> None:
    """Owe a person the e-mail that their access has ended, or is theirs again, in the caller's transaction."""
    template = "access_given_back" if has_access else "access_ended"
    _tell(user=user, template=template, said={"reason": reason}, now=now)


def role_changed(*, user: User, word: str, reason: str, now: datetime) -> None:
    """Owe a person the e-mail that they may do something else from now on, in the caller's transaction."""
    _tell(user=user, template="role_changed", said={"role": word, "reason": reason}, now=now)


def second_factor_taken_away(*, by: str) -> Words:
    """Write to a person that somebody of DCC, or an administrator, has taken their second factor away."""
    return account_words(
        subject="Your second factor was taken away",
        text=render_to_string("account/email/second_factor_taken_away.txt", {"by": by}),
    )


def told(*, template: str, of: str, said: Mapping[str, str]) -> Words:
    """Write what a person of a Supplier, or of DCC, is told about what they may do."""
    context = {**said, "for": of, "address": settings.PORTAL_ADDRESS}
    return account_words(
        subject=render_to_string(f"emails/{template}_subject.txt", context),
        text=render_to_string(f"emails/{template}.txt", context),
    )


def _tell(*, user: User, template: str, said: Mapping[str, str], now: datetime) -> None:
    account(
        address=user.email, words=told(template=template, of=str(user.supplier or "DCC"), said=said), now=now
    )


def one_line(words: str) -> str:
    """Write words on one line, as a header of an e-mail needs it: a name may have brought a break along."""
    return " ".join(words.split())
