"""The e-mails that the worker has delivered."""

from django.core import mail
from django.core.mail import EmailMessage

from portal.ground import clock
from scheduling.operations import notices


def delivered() -> list[EmailMessage]:
    """Let the worker send what is owed, and return everything sent so far."""
    notices.send(clock=clock.now, limit=10)
    return mail.outbox
