"""Send what is owed: claim a notice, write its e-mail, hand it to the mail server, keep what was sent."""

import logging
import smtplib
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template import TemplateDoesNotExist, TemplateSyntaxError
from django.template.loader import render_to_string
from icalendar import Alarm, Calendar, Event

from portal.ground import sql
from portal.ground.clock import Clock
from scheduling.models import Notice

logger = logging.getLogger(__name__)
FIRST_RETRY = timedelta(seconds=settings.LEASE_SECONDS)
"""Also the lease, so longer than a task can live: what is still being sent is not sent by another."""
LAST_RETRY = timedelta(minutes=30)
UNSENDABLE = (
    OSError,
    smtplib.SMTPException,
    # what cannot be written: a context that its templates do not understand, an address that is none
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    TemplateDoesNotExist,
    TemplateSyntaxError,
)
ONE_TIME = (Notice.Kind.INVITATION, Notice.Kind.ACCOUNT)
"""Kinds whose e-mails carry a link that lets its bearer in: not kept once they are sent, but in a demo."""
NOT_KEPT = "This e-mail carried a one-time link, so its words were not kept once it was sent."


CLAIM = """
UPDATE scheduling_notice SET token = token + 1, attempts = attempts + 1,
    -- also the lease: whoever dies now is followed by another after this long
    next_try_at = %(now)s + least(%(first)s * power(2, least(attempts, 10)), %(last)s)
WHERE id = (
    SELECT id FROM scheduling_notice WHERE next_try_at <= %(now)s
    ORDER BY next_try_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, token
"""


def send(*, clock: Clock, limit: int) -> int:
    """Send owed e-mails, at most `limit`; return how many went out."""
    sent = 0
    for _ in range(limit):
        now = clock()
        claimed = sql.rows(CLAIM, {"now": now, "first": FIRST_RETRY, "last": LAST_RETRY})
        if not claimed:
            break
        [(notice_id, token)] = claimed
        notice = Notice.objects.get(pk=notice_id)
        try:
            words = render(notice=notice)
            words.message(notice).send()
        except UNSENDABLE as error:
            logger.warning("notice %s was not sent", notice.pk, exc_info=error)
            told = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            Notice.objects.filter(pk=notice.pk, token=token).update(last_error=told[:1_000])
            continue
        kept = notice.kind not in ONE_TIME or settings.DEMO
        Notice.objects.filter(pk=notice.pk, token=token).update(
            sent_at=clock(),
            next_try_at=None,
            last_error="",
            subject=words.subject,
            text=words.text if kept else NOT_KEPT,
            html=words.html if kept else "",
            calendar=words.calendar,
            context=notice.context if kept else {},
        )
        sent += 1
    return sent


@dataclass(frozen=True, slots=True)
class Words:
    """An e-mail as it goes out."""

    subject: str
    text: str
    html: str
    calendar: str

    def message(self, notice: Notice) -> EmailMultiAlternatives:
        """Return the e-mail, ready to be sent."""
        email = EmailMultiAlternatives(
            self.subject, self.text, to=[notice.address], headers={"Message-ID": notice.message_id}
        )
        if self.html:
            email.attach_alternative(self.html, "text/html")
        if self.calendar:
            email.attach("slots.ics", self.calendar, "text/calendar")
        return email


def render(*, notice: Notice) -> Words:
    """Write a notice's e-mail from its kind's templates; one-time e-mails bring their own words."""
    if notice.kind in ONE_TIME:
        context = notice.context
        return Words(context["subject"], context["text"], context["html"], "")
    context = {**notice.context, "portal_url": settings.PORTAL_ADDRESS}
    stem = f"emails/{notice.kind}"
    subject = " ".join(render_to_string(f"{stem}_subject.txt", context).split())
    return Words(
        subject[:200],
        render_to_string(f"{stem}.txt", context).strip() + "\n",
        render_to_string(f"{stem}.html", {**context, "subject": subject}),
        calendar_of(notice=notice) if "slots" in context else "",
    )


def calendar_of(*, notice: Notice) -> str:
    """Return the slots of a reminder as calendar entries, each with an alarm a quarter of an hour ahead."""
    calendar = Calendar()
    calendar.add("prodid", "-//Communications Hub firmware portal//EN")
    calendar.add("version", "2.0")
    for number, slot in enumerate(notice.context["slots"]):
        event = Event()
        start = datetime.fromisoformat(slot["start"])
        event.add("uid", f"{notice.pk}-{number}@{urlsplit(settings.PORTAL_ADDRESS).hostname}")
        event.add("dtstamp", notice.owed_at)
        event.add("dtstart", start)
        event.add("dtend", datetime.fromisoformat(slot["end"]))
        event.add("summary", f"{notice.context['release']}: {slot['hubs']:,} hubs on {slot['network']}")
        event.add("url", notice.context["bookings_url"])
        alarm = Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("description", "Hub firmware slot begins")
        alarm.add("trigger", timedelta(minutes=-15))
        event.add_component(alarm)
        calendar.add_component(event)
    written: bytes = calendar.to_ical()
    return written.decode()
