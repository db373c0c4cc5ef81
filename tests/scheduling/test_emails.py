"""The e-mails about releases, slots and bookings, written from what the portal really owes."""

from datetime import timedelta

import pytest

from firmware.models import RolloutPolicy
from hubs.operations import count_fleet
from portal.models import User
from scheduling.models import Booking, Notice
from scheduling.operations import bookings, changes, notices
from scheduling.queries.parts import Destination, Part
from tests.scheduling.test_notices_of_releases import halt, resume, withdraw
from tests.scheduling.world import World


@pytest.fixture
def owed(todays_world: World) -> World:
    """A world that owes an e-mail of each kind."""
    world = todays_world
    world.hubs(1_200)
    world.slot(start=timedelta(hours=5), room=600)
    world.slot(start=timedelta(days=6), room=590)
    count_fleet(now=world.clock())
    notices.owe_published(now=world.clock())
    booking = world.book()
    notices.owe_reminders(now=world.clock())
    bookings.cancel(booking=booking, by=world.person, reason="No", now=world.clock())
    bookings.finish(now=world.clock())
    return world


@pytest.fixture
def owed_on_the_way(todays_world: World) -> World:
    """A world that owes an e-mail of each kind that is told between publication and the last hub."""
    world = todays_world
    RolloutPolicy.objects.update(default_allocation_percent=100)
    User.objects.create_user(email="colleague@northern.example.com", supplier=world.northern)
    world.hubs(1_190)
    world.slot(start=timedelta(hours=5), room=600)
    world.slot(start=timedelta(days=50), room=590)
    world.slot(start=timedelta(days=51), room=590)
    count_fleet(now=world.clock())
    booking = world.book()
    changes.move(
        booking=booking,
        part=Part({"slot": [world.slots[1].pk]}),
        to=Destination(Booking.Plan.ONE_SLOT, world.slots[2].start_at),
        only_if_all=True,
        by=world.person,
        reason="",
        clock=world.clock,
    )
    world.clock.move(hours=7)
    world.work()
    notices.owe_missed(now=world.clock())
    world.clock.move(days=50)
    notices.owe_deadlines(now=world.clock())
    halt(world)
    notices.owe_stops(now=world.clock())
    world.clock.move(minutes=1)
    resume(world)
    notices.owe_stops(now=world.clock())
    withdraw(world)
    notices.owe_stops(now=world.clock())
    return world


class TestEveryKindOnTheWay:
    @pytest.mark.parametrize(
        ("kind", "subject", "sentence"),
        [
            ("deadline", "600 hubs still to book for Spring release", "600 hubs of Northern are still to be"),
            ("booking_moved", "590 hubs of BK-", "person@northern.example.com has moved 590 hubs of BK-"),
            ("missed", "600 hubs of BK-", "600 hubs of Northern were not updated to Spring release"),
            ("halted", "Halted: Spring release, 590 hubs of yours held", "590 hubs of Northern are held."),
            ("resumed", "Resumed: Spring release, 590 hubs", "590 hubs of Northern go ahead in their slots"),
            ("withdrawn", "Withdrawn: Spring release, 590 hubs", "590 hubs of Northern were still to be"),
        ],
    )
    def test_says_its_one_thing_in_text_and_in_html(
        self, kind: str, subject: str, sentence: str, owed_on_the_way: World
    ) -> None:
        notice = Notice.objects.filter(kind=kind).order_by("pk")[0]

        words = notices.render(notice=notice)

        assert subject in words.subject
        assert sentence in words.text
        for said in (words.text, words.html):
            assert "http://127.0.0.1:8000/" in said
            assert "releases@dcc.example.com" in said
            assert "{{" not in said
            assert "{%" not in said
            assert "00-DB-" not in said
        assert "\n\n\n" not in words.text
        assert not words.calendar


class TestEveryKind:
    @pytest.mark.parametrize(
        ("kind", "subject", "sentence"),
        [
            ("published", "1,200 of your hubs", "for 1,200 Communications Hubs of Northern"),
            ("first_reminder", "Ahead: 590 hubs", "590 hubs of Northern are due to get Spring release"),
            (
                "last_reminder",
                "Begins soon: 600 hubs",
                "600 hubs of Northern are about to get Spring release",
            ),
            ("booking_done", "is done: 0 of 1,190 hubs run Spring release", "Cancelled: 1,190"),
        ],
    )
    def test_says_its_one_thing_in_text_and_in_html(
        self, kind: str, subject: str, sentence: str, owed: World
    ) -> None:
        [notice] = Notice.objects.filter(kind=kind)

        words = notices.render(notice=notice)

        assert subject in words.subject
        assert sentence in words.text
        for said in (words.text, words.html):
            assert "http://127.0.0.1:8000/" in said
            assert "releases@dcc.example.com" in said
            assert "{{" not in said
            assert "{%" not in said
        assert "\n\n\n" not in words.text
        assert bool(words.calendar) == kind.endswith("reminder")

    def test_holds_no_hub(self, owed: World) -> None:
        for notice in Notice.objects.all():
            words = notices.render(notice=notice)
            assert "00-DB-" not in words.text + words.html
