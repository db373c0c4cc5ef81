"""The e-mails about releases, slots and bookings, written from what the portal really owes."""

from datetime import timedelta

import pytest

from hubs.operations import count_fleet
from scheduling.models import Notice
from scheduling.operations import bookings, notices
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
            assert "{" not in said
        assert "\n\n\n" not in words.text
        assert bool(words.calendar) == kind.endswith("reminder")

    def test_holds_no_hub(self, owed: World) -> None:
        for notice in Notice.objects.all():
            words = notices.render(notice=notice)
            assert "00-DB-" not in words.text + words.html
