"""The e-mails about what became of a booking: moved by a colleague, missed in its slots."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail

from firmware.operations import decisions
from hubs.operations import count_fleet
from portal.models import User
from scheduling.models import Booking, Deployment, Notice
from scheduling.operations import changes, notices
from scheduling.queries.parts import Destination, Part
from tests.scheduling.world import World, in_no_stage


@pytest.fixture
def now() -> datetime:
    """A Wednesday at noon, without a clock change near."""
    return datetime(2026, 6, 10, 11, 0, tzinfo=UTC)


@pytest.fixture
def colleague(world: World) -> User:
    """Return another person of the northern Supplier."""
    return User.objects.create_user(email="colleague@northern.example.com", supplier=world.northern)


@pytest.fixture
def foreigner(world: World) -> User:
    """Return a person of the southern Supplier."""
    return User.objects.create_user(email="person@southern.example.com", supplier=world.southern)


def notices_of(kind: Notice.Kind) -> list[Notice]:
    return list(Notice.objects.filter(kind=kind).order_by("pk"))


class TestOweBookingMoved:
    @pytest.fixture
    def booking(self, world: World, colleague: User, foreigner: User) -> Booking:
        """Five hubs in two slots tomorrow, and room in a third."""
        world.hubs(5)
        world.slot(start=timedelta(days=1), room=3)
        world.slot(start=timedelta(days=1, hours=1), room=3)
        world.slot(start=timedelta(days=2), room=5)
        count_fleet(now=world.clock())
        return world.book()

    def move(self, world: World, booking: Booking, *, slot: int, to: int) -> None:
        changes.move(
            booking=booking,
            part=Part({"slot": [world.slots[slot].pk]}),
            to=Destination(Booking.Plan.ONE_SLOT, world.slots[to].start_at),
            only_if_all=True,
            by=world.person,
            reason="Flat 3, 12 High Street is away",
            clock=world.clock,
        )

    def test_tells_the_colleagues_and_nobody_else(
        self, world: World, booking: Booking, colleague: User
    ) -> None:
        self.move(world, booking, slot=0, to=2)
        [notice] = notices_of(Notice.Kind.BOOKING_MOVED)
        assert (notice.address, notice.supplier) == (colleague.email, world.northern)

    def test_says_from_where_to_where_by_slot(self, world: World, booking: Booking) -> None:
        self.move(world, booking, slot=0, to=2)
        [notice] = notices_of(Notice.Kind.BOOKING_MOVED)
        assert [(line["shown"], line["hubs"]) for line in notice.context["left"]] == [
            ("Thursday 11 June 2026, 12:00 BST", 3)
        ]
        assert [(line["shown"], line["hubs"]) for line in notice.context["taken"]] == [
            ("Friday 12 June 2026, 12:00 BST", 3)
        ]

    def test_keeps_the_mover_s_own_words_out(self, world: World, booking: Booking) -> None:
        self.move(world, booking, slot=0, to=2)
        [notice] = notices_of(Notice.Kind.BOOKING_MOVED)
        words = notices.render(notice=notice)
        assert "High Street" not in words.subject + words.text + words.html + str(notice.context)

    def test_tells_of_each_of_two_moves(self, world: World, booking: Booking) -> None:
        self.move(world, booking, slot=0, to=2)
        self.move(world, booking, slot=1, to=2)
        assert [notice.context["hubs"] for notice in notices_of(Notice.Kind.BOOKING_MOVED)] == [3, 2]

    def test_tells_nothing_when_nothing_was_moved(self, world: World, booking: Booking) -> None:
        with pytest.raises(changes.UnableToMove):
            self.move(world, booking, slot=0, to=1)
        assert not notices_of(Notice.Kind.BOOKING_MOVED)


class TestOweMissed:
    @pytest.fixture
    def booking(self, world: World, foreigner: User) -> Booking:
        """Four hubs in two slots of tomorrow, and two in one of the day after."""
        world.hubs(6)
        world.slot(start=timedelta(days=1), room=2)
        world.slot(start=timedelta(days=1, hours=1), room=2)
        world.slot(start=timedelta(days=2), room=2)
        world.slot(start=timedelta(days=5), room=4)
        count_fleet(now=world.clock())
        return world.book()

    def miss(self, world: World, booking: Booking, *slots: int) -> None:
        """Let the hubs of these slots end as missed, two ways in turn."""
        for slot in slots:
            [lot] = booking.lots.filter(slot=world.slots[slot])
            for number, deployment in enumerate(
                Deployment.objects.filter(pk__range=(lot.pk * 2_048, lot.pk * 2_048 + 2_047))
            ):
                Deployment.objects.filter(pk=deployment.pk).update(
                    state="missed",
                    ending="slot_passed" if number else "unreachable",
                    ended_at=world.clock(),
                    next_at=None,
                )

    def test_waits_until_the_last_slot_of_the_day_is_over(self, world: World, booking: Booking) -> None:
        world.clock.move(days=1, minutes=59)
        self.miss(world, booking, 0, 1)
        assert notices.owe_missed(now=world.clock.move(minutes=60)) == 0
        assert notices.owe_missed(now=world.clock.move(minutes=1)) == 1

    def test_waits_for_hubs_that_can_still_be_missed(self, world: World, booking: Booking) -> None:
        world.clock.move(days=1, hours=3)
        self.miss(world, booking, 0)
        assert notices.owe_missed(now=world.clock()) == 0
        self.miss(world, booking, 1)
        assert notices.owe_missed(now=world.clock()) == 1

    def test_tells_the_booker_alone_once_for_each_day(
        self, world: World, booking: Booking, colleague: User
    ) -> None:
        world.clock.move(days=1, hours=3)
        self.miss(world, booking, 0, 1)
        told = [notices.owe_missed(now=world.clock()) for _ in range(3)]
        world.clock.move(days=1)
        self.miss(world, booking, 2)
        told += [notices.owe_missed(now=world.clock()) for _ in range(3)]

        assert told == [1, 0, 0, 1, 0, 0]
        found = {
            (notice.subject_key, notice.address, notice.context["hubs"])
            for notice in notices_of(Notice.Kind.MISSED)
        }
        assert found == {
            (f"booking:{booking.reference}:2026-06-{day}", address, hubs)
            for day, hubs in ((11, 4), (12, 2))
            for address in (world.person.email, colleague.email)
        }

    def test_counts_by_reason_and_names_the_next_slots_with_room(
        self, world: World, booking: Booking
    ) -> None:
        world.clock.move(days=1, hours=3)
        self.miss(world, booking, 0, 1)
        notices.owe_missed(now=world.clock())
        [notice] = notices_of(Notice.Kind.MISSED)
        assert sorted(notice.context["reasons"]) == [
            ["The hub could not be reached in its slot", 2],
            ["The slot ended before the hub's turn", 2],
        ]
        # the slot of the day after is full, and that of the fifth day has room
        assert [(line["shown"], line["hubs"]) for line in notice.context["next"]] == [
            ("Monday 15 June 2026, 12:00 BST", 4)
        ]

    def test_names_no_slot_that_is_closed_for_the_booker(self, world: World, booking: Booking) -> None:
        world.slot(start=timedelta(days=6), room=9)
        world.protect(start=timedelta(days=5))
        world.clock.move(days=1, hours=3)
        self.miss(world, booking, 0, 1)
        notices.owe_missed(now=world.clock())
        [notice] = notices_of(Notice.Kind.MISSED)
        assert [line["shown"] for line in notice.context["next"]] == ["Tuesday 16 June 2026, 12:00 BST"]

    def test_names_slots_that_are_clear_for_the_very_hubs(self, world: World, booking: Booking) -> None:
        world.slot(start=timedelta(days=6), room=9)
        [lot] = booking.lots.filter(slot=world.slots[0])
        first = Deployment.objects.filter(pk__range=(lot.pk * 2_048, lot.pk * 2_048 + 2_047)).order_by("pk")[
            0
        ]
        world.protect(start=timedelta(days=5), hubs=[first.hub])
        world.clock.move(days=1, hours=3)
        self.miss(world, booking, 0, 1)
        notices.owe_missed(now=world.clock())
        [notice] = notices_of(Notice.Kind.MISSED)
        assert [(line["shown"], line["hubs"]) for line in notice.context["next"]] == [
            ("Monday 15 June 2026, 12:00 BST", 3),
            ("Tuesday 16 June 2026, 12:00 BST", 1),
        ]

    def test_says_for_how_many_there_is_no_slot(self, world: World, booking: Booking) -> None:
        world.slots[3].capacity = 3
        world.slots[3].save()
        world.clock.move(days=1, hours=3)
        self.miss(world, booking, 0, 1)
        notices.owe_missed(now=world.clock())
        [notice] = notices_of(Notice.Kind.MISSED)
        assert notice.context["without"] == 1
        assert "For 1 no open slot is clear and has room." in notices.render(notice=notice).text

    def test_says_that_nothing_can_be_booked_while_the_release_is_halted(
        self, world: World, booking: Booking
    ) -> None:
        decisions.halt(release=world.release, by=world.staff, reason="Silence.", now=world.clock())
        world.clock.move(days=1, hours=3)
        self.miss(world, booking, 0, 1)
        notices.owe_missed(now=world.clock())
        [notice] = notices_of(Notice.Kind.MISSED)
        assert notice.context["next"] == []
        assert "The release is halted, so nothing can be booked now." in notices.render(notice=notice).text

    def test_says_nothing_of_days_on_which_all_went_well(self, world: World, booking: Booking) -> None:
        world.clock.move(days=1, hours=3)
        Deployment.objects.update(state="staging")
        Deployment.objects.update(state="staged")
        with in_no_stage():
            Deployment.objects.update(state="activating")
        Deployment.objects.update(state="succeeded", ended_at=world.clock(), next_at=None)
        assert notices.owe_missed(now=world.clock()) == 0

    def test_tells_nobody_whose_access_has_ended(self, world: World, booking: Booking) -> None:
        world.clock.move(days=1, hours=3)
        self.miss(world, booking, 0, 1)
        User.objects.filter(supplier=world.northern).update(is_active=False)
        assert notices.owe_missed(now=world.clock()) == 0

    def test_comes_from_the_workers_own_doing(self, world: World, booking: Booking) -> None:
        """Nobody stages anything in time: the slots pass, the Gate ends the hubs, and the booker hears of it."""
        world.clock.move(days=1, hours=3)
        world.work()
        assert notices.owe_missed(now=world.clock()) == 1
        notices.send(clock=world.clock, limit=10)
        [message] = mail.outbox
        assert message.to == [world.person.email]
        assert f"4 hubs of {booking.reference} missed on Thursday 11 June 2026" in message.subject
