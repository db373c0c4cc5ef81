"""E-mails owed and sent: none lost, none told twice."""

import smtplib
from collections.abc import Iterator
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.conf import settings
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from icalendar import Calendar
from pytest_django import Settings

from firmware.models import FirmwareRelease, ReleaseState
from hubs.operations import count_fleet
from portal.models import User
from scheduling.models import Notice
from scheduling.operations import bookings, notices
from tests.scheduling.world import World


def send(world: World) -> list[EmailMultiAlternatives]:
    """Let the worker send what is owed; return everything sent so far."""
    notices.send(clock=world.clock, limit=100)
    return [message for message in mail.outbox if isinstance(message, EmailMultiAlternatives)]


class TestPublished:
    @pytest.fixture(autouse=True)
    def fleet(self, world: World) -> None:
        """Twelve hubs of the northern Supplier and none of the southern."""
        world.hubs(12)
        count_fleet(now=world.clock())

    def test_is_told_to_every_supplier_with_eligible_hubs_and_to_nobody_else(self, world: World) -> None:
        User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
        notices.owe_published(now=world.clock())

        [message] = send(world)
        assert message.to == [world.person.email]
        assert "12" in message.subject
        assert world.release.name in message.subject
        assert f"/releases/{world.release.pk}/" in message.body
        assert "12" in str(message.alternatives[0][0])

    def test_is_told_once(self, world: World) -> None:
        for _ in range(3):
            notices.owe_published(now=world.clock())
            send(world)
        assert len(mail.outbox) == 1

    def test_is_not_told_of_a_release_that_is_not_published(self, world: World) -> None:
        FirmwareRelease.objects.update(state=ReleaseState.HALTED)
        assert notices.owe_published(now=world.clock()) == 0

    def test_is_not_told_to_people_whose_access_has_ended(self, world: World) -> None:
        User.objects.update(is_active=False)
        notices.owe_published(now=world.clock())
        assert not Notice.objects.exists()


class TestReminders:
    @pytest.fixture(autouse=True)
    def booked(self, world: World) -> None:
        """Three hubs booked in five days, in two slots of one day."""
        world.hubs(3)
        world.slot(start=timedelta(days=5), room=2)
        world.slot(start=timedelta(days=5, hours=2), room=2)
        world.book()

    def test_come_seven_days_and_one_day_ahead_once_for_each_day(self, world: World) -> None:
        for _ in range(2):
            notices.owe_reminders(now=world.clock())
        assert list(Notice.objects.values_list("kind", flat=True)) == [Notice.Kind.FIRST_REMINDER]

        later = world.clock.move(days=4, hours=1)
        for _ in range(2):
            notices.owe_reminders(now=later)
        assert sorted(Notice.objects.values_list("kind", flat=True)) == [
            Notice.Kind.FIRST_REMINDER,
            Notice.Kind.LAST_REMINDER,
        ]

    def test_carry_the_numbers_and_a_calendar_of_the_slots(self, world: World) -> None:
        notices.owe_reminders(now=world.clock())
        [message] = send(world)

        assert "3" in message.subject
        [(name, content, kind)] = message.attachments
        assert (name, kind) == ("slots.ics", "text/calendar")
        events = Calendar.from_ical(content).walk("VEVENT")
        assert [event["dtstart"].dt for event in events] == [slot.start_at for slot in world.slots]
        assert ["2 hubs" in str(event["summary"]) for event in events] == [True, False]
        assert all(event.walk("VALARM") for event in events)

    def test_tell_of_every_slot_of_the_day_when_its_first_comes_near(self, world: World) -> None:
        world.clock.move(days=4, hours=-1)  # the first slot begins in 25 hours, the second in 27
        notices.owe_reminders(now=world.clock())
        Notice.objects.all().delete()
        world.clock.move(hours=1)
        notices.owe_reminders(now=world.clock())
        notice = Notice.objects.get()
        assert (notice.kind, notice.context["hubs"]) == (Notice.Kind.LAST_REMINDER, 3)

    def test_do_not_come_for_hubs_that_were_cancelled(self, world: World) -> None:
        booking = bookings.Booking.objects.get()
        bookings.cancel(booking=booking, by=world.person, reason="", now=world.clock())
        notices.owe_reminders(now=world.clock())
        assert not Notice.objects.exists()


class TestBookingDone:
    def test_comes_once_with_the_outcomes(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=3)
        booking = world.book()
        assert bookings.finish(now=world.clock()) == []
        world.clock.move(hours=5)
        world.work()

        assert bookings.finish(now=world.clock()) == [booking.pk]
        assert bookings.finish(now=world.clock()) == []

        [message] = send(world)
        assert booking.reference in message.subject
        assert "Succeeded" in message.body
        assert message.extra_headers["Message-ID"] == Notice.objects.get().message_id


class TestSend:
    @pytest.fixture
    def owed(self, world: World) -> Notice:
        """Return one e-mail that is owed."""
        self.owe(world, "Hello")
        return Notice.objects.get()

    def owe(self, world: World, subject: str, kind: Notice.Kind = Notice.Kind.ACCOUNT) -> None:
        notices.owe_words(
            kind=kind,
            address="person@northern.example.com",
            subject=subject,
            text="https://portal.example.com/secret",
            html="<p>secret</p>",
            now=world.clock(),
        )

    @pytest.fixture
    def dead_server(self) -> Iterator[None]:
        """The mail server refuses for as long as this lasts."""
        with patch.object(EmailMultiAlternatives, "send", side_effect=smtplib.SMTPServerDisconnected("gone")):
            yield

    def test_tries_again_for_as_long_as_the_mail_server_is_away(self, world: World, owed: Notice) -> None:
        with patch.object(
            EmailMultiAlternatives, "send", side_effect=ConnectionRefusedError("no")
        ) as attempt:
            for _ in range(100):
                notices.send(clock=world.clock, limit=10)
                world.clock.move(minutes=5)
            assert 15 < attempt.call_count < 30
        owed.refresh_from_db()
        assert (owed.sent_at, owed.last_error) == (None, "no")

        world.clock.move(minutes=30)
        assert len(send(world)) == 1
        owed.refresh_from_db()
        assert (owed.next_try_at, owed.last_error) == (None, "")

    @pytest.mark.usefixtures("dead_server")
    def test_lets_one_bad_address_hold_up_nobody(self, world: World, owed: Notice) -> None:
        self.owe(world, "Second")
        assert notices.send(clock=world.clock, limit=10) == 0
        assert set(Notice.objects.values_list("attempts", flat=True)) == {1}

    def test_lets_an_email_that_cannot_be_written_hold_up_nobody(self, world: World, owed: Notice) -> None:
        notices.owe(
            kind=Notice.Kind.LAST_REMINDER,
            subject_key="release:1:2026-10-25",
            addresses=["person@northern.example.com"],
            context={"slots": [{}]},  # as an older version of the portal may have left it
            now=world.clock() - timedelta(minutes=1),
        )
        broken = Notice.objects.get(kind=Notice.Kind.LAST_REMINDER)
        assert len(send(world)) == 1
        broken.refresh_from_db()
        assert (broken.sent_at, broken.attempts) == (None, 1)
        assert "KeyError" in broken.last_error

    def test_leaves_an_email_alone_that_another_worker_is_still_sending(
        self, world: World, owed: Notice
    ) -> None:
        others: list[int] = []

        def slowly(_: EmailMultiAlternatives) -> int:
            world.clock.move(seconds=settings.CELERY_TASK_TIME_LIMIT)  # as long as a task can live
            if not others:
                others.append(-1)
                others.append(notices.send(clock=world.clock, limit=1))
            return 1

        with patch.object(EmailMultiAlternatives, "send", slowly):
            assert notices.send(clock=world.clock, limit=1) == 1
        assert others == [-1, 0]

    def test_goes_out_again_under_the_same_message_id_when_the_sender_died_before_the_stamp(
        self, world: World, owed: Notice
    ) -> None:
        send(world)
        Notice.objects.update(
            sent_at=None, next_try_at=world.clock()
        )  # as a death before the stamp leaves it
        Notice.objects.update(context=owed.context)
        first, second = send(world)
        assert first.extra_headers["Message-ID"] == second.extra_headers["Message-ID"] == owed.message_id

    def test_forgets_one_time_links_once_they_are_sent(self, world: World, owed: Notice) -> None:
        send(world)
        owed.refresh_from_db()
        assert "secret" not in owed.text + owed.html + str(owed.context)
        assert owed.subject == "Hello"

    def test_keeps_them_in_a_demo_which_has_no_mail_server(
        self, world: World, owed: Notice, settings: Settings
    ) -> None:
        settings.DEMO = True
        send(world)
        owed.refresh_from_db()
        assert "secret" in owed.text
