"""Send what is owed: claim a notice, write its e-mail, hand it to the mail server, keep what was sent."""

import contextlib
import logging
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends import smtp
from django.core.mail.backends.base import BaseEmailBackend
from django.db.models import QuerySet
from django.template import TemplateDoesNotExist, TemplateSyntaxError
from django.template.loader import render_to_string
from icalendar import Alarm, Calendar, Event

from portal.ground import logs, sql
from portal.ground.clock import Clock
from portal.ground.stopping import KeepGoing, always
from scheduling.models import Notice

logger = logging.getLogger(__name__)
LEASE = timedelta(seconds=settings.LEASE_SECONDS)
"""Longer than a task can live: what is still being sent is not sent by another."""
FIRST_RETRY = LEASE
LAST_RETRY = timedelta(minutes=30)
REFUSED_RETRY = timedelta(hours=6)
"""Where the server says that it will never take it: servers are mended too, but not every half hour."""
PERMANENT = 500
"""From here on a mail server's answers are for good; below, it asks to be asked again."""
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


def send(*, clock: Clock, limit: int, keep_going: KeepGoing = always) -> int:
    """
    Send owed e-mails, at most `limit` and for half a lease; return how many went out.

    No transaction is open while the mail server is spoken to. Its yes is stamped before another word is exchanged.
    """
    sent = 0
    until = clock() + LEASE / 2
    for _ in range(limit):
        if not keep_going() or (now := clock()) >= until:
            break
        claimed = sql.rows(CLAIM, {"now": now, "first": FIRST_RETRY, "last": LAST_RETRY})
        if not claimed:
            break
        [(notice_id, token)] = claimed
        notice = Notice.objects.get(pk=notice_id)
        mine = Notice.objects.filter(pk=notice.pk, token=token)
        server = get_connection()
        try:
            words = render(notice=notice)
            with _spoken_to(server):
                words.message(notice, server).send()
                mine.update(**_stamps(notice, words, clock()))
        except _Unreachable as error:
            _put_off(mine, error.why)
            break  # the others would fare no better, and a server that hangs would keep us
        except UNSENDABLE as error:
            _put_off(mine, error, at=now + REFUSED_RETRY if _is_refused(error) else None)
            continue
        except (
            SystemExit,
            KeyboardInterrupt,
        ):  # broken off: it may have gone out, and whoever comes next asks again
            mine.filter(sent_at=None).update(next_try_at=clock())
            raise
        sent += 1
    return sent


class _Unreachable(Exception):
    """The mail server did not let us in, which says nothing about the e-mail."""

    def __init__(self, why: Exception) -> None:
        self.why = why


@contextlib.contextmanager
def _spoken_to(server: BaseEmailBackend) -> Iterator[None]:
    """
    Open a conversation with the mail server, and end it; politely where all went well.

    Not left to Django, whose goodbye comes before anybody can stamp the e-mail: a server that hangs or hangs up there
    has taken it all the same.

    :raises _Unreachable: if it cannot be opened
    """
    try:
        server.open()
    except UNSENDABLE as error:
        raise _Unreachable(error) from error
    try:
        yield
    except BaseException:
        _hang_up(server)
        raise
    try:
        server.close()
    except (OSError, smtplib.SMTPException):
        _hang_up(server)


def _hang_up(server: BaseEmailBackend) -> None:
    """Drop the connection without a goodbye, which a server that hangs would not answer."""
    if isinstance(server, smtp.EmailBackend) and server.connection:
        server.connection.close()
        server.connection = None


def _is_refused(error: Exception) -> bool:
    """Tell whether the mail server has refused this address or this e-mail for good."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= PERMANENT for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= PERMANENT


def _put_off(mine: QuerySet[Notice], error: Exception, *, at: datetime | None = None) -> None:
    """Keep why an e-mail was not sent; it is tried again at `at`, or when the claim said."""
    notice = mine.values_list("pk", flat=True).first()
    with logs.bound(notice=notice):
        logger.warning("notice %s was not sent", notice, exc_info=error)
    told = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    mine.update(last_error=told[:1_000], **({"next_try_at": at} if at else {}))


def _stamps(notice: Notice, words: "Words", now: datetime) -> dict[str, Any]:
    """Return the columns of an e-mail that was sent; a link that lets its bearer in is forgotten."""
    kept = notice.kind not in ONE_TIME or settings.DEMO
    return {
        "sent_at": now,
        "next_try_at": None,
        "last_error": "",
        "subject": words.subject,
        "text": words.text if kept else NOT_KEPT,
        "html": words.html if kept else "",
        "calendar": words.calendar,
        "context": notice.context if kept else {},
    }


@dataclass(frozen=True, slots=True)
class Words:
    """An e-mail as it goes out."""

    subject: str
    text: str
    html: str
    calendar: str

    def message(self, notice: Notice, server: BaseEmailBackend) -> EmailMultiAlternatives:
        """Return the e-mail, ready to be sent by a mail server."""
        email = EmailMultiAlternatives(
            self.subject,
            self.text,
            to=[notice.address],
            headers={"Message-ID": notice.message_id},
            connection=server,
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
