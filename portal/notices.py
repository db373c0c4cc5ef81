"""What the portal writes to people about their accounts: notices like any other, sent by the worker."""

from datetime import datetime

from django.template.loader import render_to_string

from portal.models import Invitation
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
        subject=render_to_string("emails/invitation_subject.txt", context).strip(),
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
        subject=subject,
        text=text,
        html=render_to_string("emails/account.html", {"subject": subject, "text": text}),
        now=now,
    )
