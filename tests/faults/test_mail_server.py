"""Mail servers that are away, hang, refuse, or never say that they took it: none is lost, few are doubled."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import connection
from pytest_django import Settings

from portal.ground import clock
from scheduling import tasks
from scheduling.models import Notice
from scheduling.operations import notices
from scheduling.operations.notices import sending
from tests.conftest import StartCelery, eventually, kill
from tests.scheduling.world import Clock
from tests.smtp import MailServer, Trouble

PEOPLE = [f"person-{number}@northern.example.com" for number in range(5)]
LEASE_SECONDS = "5"


class Died(BaseException):
    """What a power cut is to the code that it meets: nothing of it catches this."""


@pytest.fixture
def server(settings: Settings) -> Iterator[MailServer]:
    """Return a mail server that is up, and to which this process speaks with little patience."""
    with MailServer() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", server.port, 1
        yield server


@pytest.fixture
def ticking(transactional_db: None, now: datetime) -> Clock:
    """Owe everybody one e-mail, and return the clock by which it is."""
    owe(now)
    return Clock(now)


def owe(now: datetime) -> None:
    notices.owe(
        kind=Notice.Kind.ACCOUNT,
        subject_key="account:1",
        addresses=PEOPLE,
        context={"subject": "Hello", "text": "Hello", "html": "<p>Hello</p>"},
        now=now,
    )


def send(ticking: Clock) -> int:
    return notices.send(clock=ticking, limit=100)


def work(ticking: Clock, **span: float) -> None:
    """Let the timetable wake the sender once a minute, for so long."""
    until = ticking() + timedelta(**span)
    while ticking() < until:
        send(ticking)
        ticking.move(minutes=1)


def owed_ids() -> Counter[str]:
    return Counter(Notice.objects.values_list("message_id", flat=True))


def all_are_sent() -> bool:
    return not Notice.objects.filter(sent_at=None).exists()


class TestAMailServer:
    def test_that_is_down_for_hours_loses_none(self, ticking: Clock, server: MailServer) -> None:
        server.have(Trouble.DOWN)
        work(ticking, hours=6)
        assert set(Notice.objects.values_list("sent_at", flat=True)) == {None}
        server.have(Trouble.NONE)
        work(ticking, minutes=31)
        assert all_are_sent()
        assert Counter(server.ids) == owed_ids()

    @pytest.mark.parametrize(
        "trouble", [Trouble.SILENT, Trouble.BUSY, Trouble.DROPS_BEFORE_DATA, Trouble.FULL]
    )
    def test_that_takes_nothing_loses_and_doubles_none(
        self, ticking: Clock, server: MailServer, trouble: Trouble
    ) -> None:
        server.have(trouble)
        work(ticking, minutes=5)
        assert server.connections
        assert set(Notice.objects.values_list("sent_at", flat=True)) == {None}
        server.have(Trouble.NONE)
        work(ticking, minutes=31)
        assert all_are_sent()
        assert Counter(server.ids) == owed_ids()

    def test_that_is_silent_keeps_the_sender_no_longer_than_one_patience(
        self, ticking: Clock, server: MailServer
    ) -> None:
        server.have(Trouble.SILENT)
        assert send(ticking) == 0
        assert server.connections == 1

    @pytest.mark.parametrize("trouble", [Trouble.DROPS_AFTER_DATA, Trouble.HANGS_AFTER_DATA])
    def test_whose_answer_is_lost_gets_it_again_under_the_same_message_id(
        self, ticking: Clock, server: MailServer, trouble: Trouble
    ) -> None:
        server.have(trouble)
        send(ticking)
        server.have(Trouble.NONE)
        work(ticking, minutes=5)
        assert all_are_sent()
        assert set(server.ids) == set(owed_ids())
        assert set(Counter(server.ids).values()) == {2}

    def test_that_answers_when_nobody_listens_any_more_gets_it_again_too(
        self, ticking: Clock, server: MailServer
    ) -> None:
        server.seconds = 1.5  # longer than our patience
        send(ticking)
        server.seconds = 0
        work(ticking, minutes=5)
        assert all_are_sent()
        assert set(server.ids) == set(owed_ids())

    def test_that_hangs_at_the_goodbye_has_had_it_once(self, ticking: Clock, server: MailServer) -> None:
        server.have(Trouble.HANGS_AT_QUIT)
        work(ticking, minutes=3)
        assert all_are_sent()
        assert Counter(server.ids) == owed_ids()

    def test_that_is_slow_is_left_after_half_a_lease_and_gets_the_rest_later(
        self, ticking: Clock, server: MailServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = EmailMultiAlternatives.send

        def slowly(email: EmailMultiAlternatives, **named: bool) -> int:
            ticking.moment += sending.LEASE / 5
            return usual(email, **named)

        monkeypatch.setattr(EmailMultiAlternatives, "send", slowly)
        assert send(ticking) == 3
        assert send(ticking) == 2
        assert Counter(server.ids) == owed_ids()

    def test_that_refuses_one_address_for_good_gets_the_others_and_is_asked_again_in_hours(
        self, ticking: Clock, server: MailServer
    ) -> None:
        server.refused.add(PEOPLE[0])
        work(ticking, hours=5)
        refused = Notice.objects.get(sent_at=None)
        assert (refused.address, refused.attempts) == (PEOPLE[0], 1)
        assert "550" in refused.last_error
        assert Counter(server.ids) == owed_ids() - Counter([refused.message_id])
        server.refused.clear()
        work(ticking, hours=2)
        assert all_are_sent()
        assert Counter(server.ids) == owed_ids()

    def test_that_puts_one_address_off_is_asked_again_in_a_minute(
        self, ticking: Clock, server: MailServer
    ) -> None:
        server.postponed.add(PEOPLE[0])
        send(ticking)
        late = Notice.objects.get(sent_at=None)
        assert (late.address, late.next_try_at) == (PEOPLE[0], ticking() + sending.FIRST_RETRY)
        server.postponed.clear()
        work(ticking, minutes=2)
        assert all_are_sent()
        assert Counter(server.ids) == owed_ids()


class TestTheSender:
    def test_holds_no_transaction_while_it_speaks(
        self, ticking: Clock, server: MailServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = EmailMultiAlternatives.send

        def looked_at(email: EmailMultiAlternatives, **named: bool) -> int:
            assert not connection.in_atomic_block
            assert connection.get_autocommit()
            return usual(email, **named)

        monkeypatch.setattr(EmailMultiAlternatives, "send", looked_at)
        assert send(ticking) == len(PEOPLE)

    def test_that_dies_between_the_answer_and_the_stamp_is_followed_by_the_same_message_id(
        self, ticking: Clock, server: MailServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(*_: object) -> None:
            raise Died

        with monkeypatch.context() as patch:
            patch.setattr(sending, "_stamps", die)
            with pytest.raises(Died):
                send(ticking)
        [doubled] = server.ids
        work(ticking, minutes=3)
        assert all_are_sent()
        assert Counter(server.ids) == owed_ids() + Counter([doubled])

    def test_that_comes_back_after_its_lease_stamps_nothing(
        self, ticking: Clock, server: MailServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Frozen while it spoke: by now the e-mail is another sender's, and what that one knows stands."""
        usual = sending._stamps

        def late(notice: Notice, words: sending.Words, now: datetime) -> object:
            Notice.objects.filter(pk=notice.pk).update(token=notice.token + 1, next_try_at=ticking())
            return usual(notice, words, now)

        Notice.objects.exclude(address=PEOPLE[0]).delete()
        with monkeypatch.context() as patch:
            patch.setattr(sending, "_stamps", late)
            notices.send(clock=ticking, limit=1)
        assert Notice.objects.get().sent_at is None

    def test_that_is_killed_while_the_server_has_it_is_followed_by_another(
        self, transactional_db: None, server: MailServer, start_celery: StartCelery
    ) -> None:
        owe(clock.now())
        server.have(Trouble.HANGS_AFTER_DATA)
        settings = {"EMAIL_URL": server.url, "LEASE_SECONDS": LEASE_SECONDS}
        worker = start_celery("worker", "--concurrency", "1", **settings)
        tasks.send_notices.delay()
        assert eventually(lambda: server.mails, within=60)
        kill(worker)
        [doubled] = server.ids
        server.have(Trouble.NONE)

        start_celery("worker", "--concurrency", "1", **settings)

        def is_done() -> bool:
            tasks.send_notices.delay()
            return all_are_sent()

        assert eventually(is_done, within=90)
        assert Counter(server.ids) == owed_ids() + Counter([doubled])


class TestOwing:
    def test_the_same_twice_is_one_e_mail(self, ticking: Clock, server: MailServer) -> None:
        owe(ticking())
        send(ticking)
        owe(ticking())
        send(ticking)
        assert sorted(mail.address for mail in server.mails) == sorted(PEOPLE)
        assert len(set(server.ids)) == len(PEOPLE)
