"""
E-mails: owe them, send them.

A notice is a row, written in the transaction of what it tells, once for each subject and address. The sender
claims one, sends it, and stamps it; one that fails is tried again later, for as long as it takes. Should the
sender die between the mail server's yes and the stamp, the e-mail goes out twice under the same Message-ID.
"""

import logging
import smtplib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.db.models import F, Sum
from django.template import TemplateDoesNotExist, TemplateSyntaxError
from django.template.loader import render_to_string
from django.urls import reverse
from icalendar import Alarm, Calendar, Event

from firmware import queries as releases
from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Supplier
from portal.ground import sql, uk_time
from portal.ground.clock import Clock
from scheduling.lifecycle import OPEN, State
from scheduling.models import Booking, Lot, Notice

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


def owe(
    *,
    kind: Notice.Kind,
    subject_key: str,
    addresses: Iterable[str],
    context: Mapping[str, Any],
    now: datetime,
    supplier: Supplier | None = None,
) -> None:
    """
    Owe one e-mail to each address, in the caller's transaction; what is owed or sent already is left alone.

    `context` fills the templates of the kind, `emails/<kind>.*`, and holds counts and links, never data of
    hubs or households.
    """
    domain = urlsplit(settings.PORTAL_ADDRESS).hostname or "localhost"
    Notice.objects.bulk_create(
        [
            Notice(
                kind=kind,
                subject_key=subject_key,
                address=address,
                supplier=supplier,
                context=dict(context),
                owed_at=now,
                next_try_at=now,
                message_id=f"<{uuid.uuid4()}@{domain}>",
            )
            for address in addresses
        ],
        ignore_conflicts=True,
    )


def people_of(*, supplier: Supplier) -> list[str]:
    """Return the addresses of a Supplier's people who can sign in."""
    people = get_user_model().objects.filter(supplier=supplier, is_active=True)
    return sorted(people.values_list("email", flat=True))


@transaction.atomic
def owe_published(*, now: datetime) -> int:
    """Tell every Supplier that leads eligible hubs of a published release, once; return how many were told."""
    told = 0
    for release in FirmwareRelease.objects.filter(state=ReleaseState.PUBLISHED).select_related("version"):
        counts = (
            releases.eligible_counts(release=release)
            .filter(lead__isnull=False)
            .values("lead")
            .annotate(hubs=Sum("hubs"))
            .order_by("lead")
        )
        already = set(
            Notice.objects.filter(
                kind=Notice.Kind.PUBLISHED, subject_key=releases.subject(release_id=release.pk)
            ).values_list("supplier", flat=True)
        )
        periods = list(release.periods.select_related("network").order_by("start_at", "network__name"))
        for count in counts:
            if count["lead"] in already:
                continue
            supplier = Supplier.objects.get(pk=count["lead"])
            owe(
                kind=Notice.Kind.PUBLISHED,
                subject_key=releases.subject(release_id=release.pk),
                addresses=people_of(supplier=supplier),
                context={
                    **_of_release(release),
                    "supplier": supplier.name,
                    "hubs": count["hubs"],
                    "opens": shown(periods[0].start_at),
                    "periods": [
                        {
                            "network": period.network.name,
                            "opens": shown(period.start_at),
                            "closes": shown(period.end_at),
                        }
                        for period in periods
                    ],
                    "cut_off": str(release.policy.cut_off),
                },
                now=now,
                supplier=supplier,
            )
            told += 1
    return told


def owe_booking_done(*, booking: Booking, now: datetime) -> None:
    """Tell a booking's Supplier how its hubs fared."""
    totals = booking.lots.aggregate(**{str(state): Sum(str(state)) for state in State})
    owe(
        kind=Notice.Kind.BOOKING_DONE,
        subject_key=f"booking:{booking.reference}",
        addresses=people_of(supplier=booking.supplier),
        context={
            **_of_release(booking.release),
            "supplier": booking.supplier.name,
            "reference": booking.reference,
            "hubs": booking.hubs,
            "outcomes": [[State(state).label, hubs] for state, hubs in totals.items() if hubs],
            "succeeded": totals["succeeded"],
            "booking_url": _address("scheduling:booking", booking.reference),
        },
        now=now,
        supplier=booking.supplier,
    )


@transaction.atomic
def owe_reminders(*, now: datetime) -> None:
    """Remind Suppliers of their slots, once for each UK day of slots and each of the policy's two reminders."""
    for release in FirmwareRelease.objects.filter(state=ReleaseState.PUBLISHED).select_related("policy"):
        soon, ahead = release.policy.last_reminder.after(now), release.policy.first_reminder.after(now)
        _remind(release, Notice.Kind.LAST_REMINDER, now, soon, now)
        _remind(release, Notice.Kind.FIRST_REMINDER, soon, ahead, now)


@dataclass(frozen=True, slots=True)
class _Row:
    supplier: int
    network: str
    start_at: datetime
    end_at: datetime
    hubs: int


def _remind(
    release: FirmwareRelease, kind: Notice.Kind, after: datetime, until: datetime, now: datetime
) -> None:
    """Tell of every UK day whose next slot begins after `after` and not after `until`, with all its slots."""
    waiting = sum((F(str(state)) for state in OPEN if state != State.ACTIVATING), start=F("provisional") * 0)
    end_of_day = uk_time.day_bounds(until.astimezone(uk_time.LONDON).date())[1]
    rows = [
        _Row(*row)
        for row in Lot.objects.filter(
            release=release, slot__start_at__gt=now, slot__start_at__lt=end_of_day, due_at__isnull=False
        )
        .values_list("supplier_id", "network__name", "slot__start_at", "slot__end_at")
        .annotate(hubs=Sum(waiting))
        .filter(hubs__gt=0)
        .order_by("slot__start_at", "network__name")
    ]
    days: dict[tuple[int, str], list[_Row]] = {}
    for row in rows:
        day = row.start_at.astimezone(uk_time.LONDON).date().isoformat()
        days.setdefault((row.supplier, day), []).append(row)
    for (supplier_id, day), of_day in days.items():
        if not after < of_day[0].start_at <= until:
            continue
        supplier = Supplier.objects.get(pk=supplier_id)
        owe(
            kind=kind,
            subject_key=f"{releases.subject(release_id=release.pk)}:{day}",
            addresses=people_of(supplier=supplier),
            context={
                **_of_release(release),
                "supplier": supplier.name,
                "hubs": sum(row.hubs for row in of_day),
                "begins": shown(of_day[0].start_at),
                "slots": [
                    {
                        "network": row.network,
                        "start": row.start_at.isoformat(),
                        "end": row.end_at.isoformat(),
                        "shown": shown(row.start_at),
                        "hubs": row.hubs,
                    }
                    for row in of_day
                ],
                "cut_off": str(release.policy.cut_off),
                "bookings_url": _address("scheduling:bookings"),
            },
            now=now,
            supplier=supplier,
        )


def _of_release(release: FirmwareRelease) -> dict[str, str]:
    return {
        "release": release.name,
        "cpl_entry_id": release.cpl_entry_id,
        "release_url": _address("scheduling:release", release.pk),
        "contact": release.contact,
    }


def shown(at: datetime) -> str:
    """Write an instant as people in the UK read it, with BST or GMT."""
    return f"{at.astimezone(uk_time.LONDON):%A %-d %B %Y, %H:%M %Z}"


def _address(route: str, *arguments: object) -> str:
    return settings.PORTAL_ADDRESS + reverse(route, args=arguments)


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


def owe_words(
    *,
    kind: Notice.Kind,
    address: str,
    subject: str,
    text: str,
    html: str,
    now: datetime,
    supplier: Supplier | None = None,
) -> None:
    """Owe an e-mail whose words are written already, such as a password reset."""
    owe(
        kind=kind,
        subject_key=f"{kind}:{uuid.uuid4()}",
        addresses=[address],
        context={"subject": subject, "text": text, "html": html},
        now=now,
        supplier=supplier,
    )
