"""What the portal writes to people about their accounts; counts and links only."""

from functools import partial

from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string

from portal.models import Invitation


def invitation(*, invitation: Invitation, link: str) -> None:
    """Tell a person that a place is kept for them, once the caller's transaction is committed."""
    context = {
        "link": link,
        "inviter": str(invitation.invited_by),
        "supplier": str(invitation.supplier) if invitation.supplier else "",
        "expires_at": invitation.expires_at,
    }
    post(
        address=invitation.email,
        subject=render_to_string("emails/invitation_subject.txt", context).strip(),
        text=render_to_string("emails/invitation.txt", context),
        html=render_to_string("emails/invitation.html", context),
    )


def account(*, address: str, subject: str, text: str) -> None:
    """Write to a person about their sign-in: a password reset, a changed password."""
    html = render_to_string("emails/account.html", {"subject": subject, "text": text})
    post(address=address, subject=subject, text=text, html=html)


def post(*, address: str, subject: str, text: str, html: str) -> None:
    """Send one e-mail after commit, so that no transaction waits on a mail server."""
    message = EmailMultiAlternatives(subject=subject, body=text, to=[address])
    message.attach_alternative(html, "text/html")
    transaction.on_commit(partial(message.send, fail_silently=False))
