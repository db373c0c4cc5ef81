"""The e-mails about a release on its way: its booking deadline, and that it was halted, resumed or withdrawn."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from firmware.models import AvailabilityPeriod, FirmwareRelease, RolloutPolicy
from firmware.operations import decisions
from hubs.models import CommunicationsHub, FirmwareVersion
from hubs.operations import count_fleet
from portal.ground.uk_time import Span
from portal.models import User
from scheduling.models import Booking, Notice
from scheduling.operations import bookings, notices
from scheduling.queries import deadlines
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.world import OLD, World


def notices_of(kind: Notice.Kind) -> list[Notice]:
    return list(Notice.objects.filter(kind=kind).order_by("pk"))


def people_told(kind: Notice.Kind) -> list[str]:
    return [notice.address for notice in notices_of(kind)]


@pytest.fixture
def foreigner(world: World) -> User:
    """Return a person of the southern Supplier, which has neither hub nor booking here."""
    return User.objects.create_user(email="person@southern.example.com", supplier=world.southern)


class TestOweDeadlines:
    @pytest.fixture
    def now(self) -> datetime:
        """Half past two at night, long before Easter 2027 (26 and 29 March are bank holidays)."""
        return datetime(2027, 2, 1, 2, 30, tzinfo=UTC)

    @pytest.fixture
    def until(self) -> datetime:
        """The last moment to book: noon BST on the Wednesday after Easter."""
        return datetime(2027, 3, 31, 11, 0, tzinfo=UTC)

    @pytest.fixture(autouse=True)
    def fleet(self, world: World, until: datetime, foreigner: User) -> None:
        """Three hubs of the northern Supplier, and a last slot whose cut-off, an hour before, is the deadline."""
        AvailabilityPeriod.objects.update(end_at=until + timedelta(days=30))
        RolloutPolicy.objects.update(default_allocation_percent=100)
        world.hubs(3)
        world.slot(start=until + timedelta(hours=1) - world.clock(), room=1)
        count_fleet(now=world.clock())

    def run(self, world: World, moment: datetime) -> int:
        world.clock.moment = moment
        return notices.owe_deadlines(now=moment)

    @pytest.mark.parametrize(
        ("days", "moment"),
        [
            # noon on the wall each time: GMT before 28 March, BST after; Good Friday and Easter Monday are no days
            (10, datetime(2027, 3, 15, 12, 0, tzinfo=UTC)),
            (5, datetime(2027, 3, 22, 12, 0, tzinfo=UTC)),
            (2, datetime(2027, 3, 25, 12, 0, tzinfo=UTC)),
        ],
    )
    def test_come_at_10_5_and_2_working_days_over_easter(
        self, days: int, moment: datetime, world: World
    ) -> None:
        key = f"release:{world.release.pk}:2027-03-31:{days}"

        self.run(world, moment - timedelta(seconds=1))
        assert not Notice.objects.filter(subject_key=key).exists()

        self.run(world, moment)
        assert Notice.objects.filter(subject_key=key).count() == 1

    @pytest.mark.parametrize(
        ("days", "moment"),
        [
            # Monday 28 December 2026 stands in for Boxing Day; 25 December and 1 January are days off as well
            (10, datetime(2026, 12, 18, 12, 0, tzinfo=UTC)),
            (5, datetime(2026, 12, 29, 12, 0, tzinfo=UTC)),
            (2, datetime(2027, 1, 4, 12, 0, tzinfo=UTC)),
        ],
    )
    def test_come_at_10_5_and_2_working_days_over_christmas(
        self, days: int, moment: datetime, world: World
    ) -> None:
        until = datetime(2027, 1, 6, 12, 0, tzinfo=UTC)
        FirmwareRelease.objects.update(published_at=datetime(2026, 11, 2, tzinfo=UTC))
        world.slots[0].start_at = until + timedelta(hours=1)
        world.slots[0].end_at = until + timedelta(hours=2)
        world.slots[0].save()
        AvailabilityPeriod.objects.update(start_at=datetime(2026, 11, 3, tzinfo=UTC))
        key = f"release:{world.release.pk}:2027-01-06:{days}"

        self.run(world, moment - timedelta(seconds=1))
        assert not Notice.objects.filter(subject_key=key).exists()

        self.run(world, moment)
        assert Notice.objects.filter(subject_key=key).count() == 1

    def test_come_once_each(self, world: World, until: datetime) -> None:
        moment = world.clock()
        told = 0
        while moment < until + timedelta(days=3):
            told += self.run(world, moment)
            moment += timedelta(hours=7)
        assert told == 3
        assert people_told(Notice.Kind.DEADLINE) == [world.person.email] * 3

    def test_leave_out_those_that_were_slept_over(self, world: World, until: datetime) -> None:
        self.run(world, until - timedelta(hours=1))
        [notice] = notices_of(Notice.Kind.DEADLINE)
        assert notice.subject_key.endswith(":2")

    def test_leave_out_those_that_had_passed_when_the_release_was_published(
        self, world: World, until: datetime
    ) -> None:
        FirmwareRelease.objects.update(published_at=Span(4, "working days").before(until))
        assert self.run(world, Span(3, "working days").before(until)) == 0
        assert self.run(world, Span(2, "working days").before(until)) == 1

    def test_do_not_come_when_it_is_too_late(self, world: World, until: datetime) -> None:
        assert self.run(world, until) == 0

    def test_say_how_many_are_left_and_until_when(self, world: World, until: datetime) -> None:
        world.book()  # one: there is no more room
        count_fleet(now=world.clock())
        self.run(world, until - timedelta(hours=1))
        [notice] = notices_of(Notice.Kind.DEADLINE)
        assert notice.context["networks"] == [
            {"network": world.network.name, "hubs": 2, "shown": "Wednesday 31 March 2027, 12:00 BST"}
        ]
        assert f"/releases/{world.release.pk}/book/" in notices.render(notice=notice).text

    def test_say_it_network_by_network(self, world: World, until: datetime) -> None:
        other = factories.NetworkProfileFactory.create(network__code="south").network
        AvailabilityPeriod.objects.create(
            release=world.release, network=other, start_at=world.clock(), end_at=until + timedelta(hours=5)
        )
        CommunicationsHub.objects.filter(pk__in=[hub.pk for hub in world.hubs(2)]).update(network=other)
        count_fleet(now=world.clock())
        self.run(world, until - timedelta(hours=1))
        [notice] = notices_of(Notice.Kind.DEADLINE)
        assert sorted((line["network"], line["hubs"]) for line in notice.context["networks"]) == sorted(
            [(world.network.name, 3), (other.name, 2)]
        )
        assert notice.context["hubs"] == 5

    def test_leave_suppliers_alone_that_have_booked_all(self, world: World, until: datetime) -> None:
        world.slot(start=until - timedelta(days=1) - world.clock(), room=2)
        world.book()
        assert self.run(world, until - timedelta(hours=1)) == 0

    def test_do_not_trust_a_count_that_lags(self, world: World, until: datetime) -> None:
        """The hubs took the release from elsewhere since the fleet was counted: nothing is left to book."""
        CommunicationsHub.objects.update(installed_version=world.release.version)
        assert self.run(world, until - timedelta(hours=1)) == 0

    def test_are_not_for_releases_that_are_halted(self, world: World, until: datetime) -> None:
        decisions.halt(release=world.release, by=world.staff, reason="Silence.", now=world.clock())
        assert self.run(world, until - timedelta(hours=1)) == 0


class TestLastMoment:
    def moment(self, world: World) -> datetime:
        release = FirmwareRelease.objects.select_related("policy").get()
        return deadlines.of_releases(releases_shown=[release])[release.pk][world.network.pk]

    def test_is_the_default_allocation_where_slots_go_on(self, world: World) -> None:
        period = AvailabilityPeriod.objects.get()
        world.slot(start=timedelta(days=59), room=1)
        assert self.moment(world) == period.start_at + (period.end_at - period.start_at) * 0.67

    def test_is_the_cut_off_of_the_last_slot_where_that_is_earlier(self, world: World) -> None:
        world.slot(start=timedelta(days=7), room=1)
        last = world.slot(start=timedelta(days=9), room=1)
        world.slot(start=timedelta(days=10), room=0)  # DCC has closed it
        assert self.moment(world) == last.start_at - timedelta(hours=1)

    def test_counts_no_slot_that_ends_after_the_period(self, world: World) -> None:
        inside = world.slot(start=timedelta(days=9), room=1)
        end_at = inside.end_at + timedelta(minutes=30)
        AvailabilityPeriod.objects.update(end_at=end_at)
        RolloutPolicy.objects.update(default_allocation_percent=100)
        world.slot(start=timedelta(days=9, hours=1), room=1)
        assert self.moment(world) == inside.start_at - timedelta(hours=1)

    def test_is_held_to_the_period_s_end_where_there_is_no_slot(self, world: World) -> None:
        RolloutPolicy.objects.update(default_allocation_percent=100)
        assert self.moment(world) == AvailabilityPeriod.objects.get().end_at - timedelta(hours=1)


Decide = Callable[[World], None]


def halt(world: World) -> None:
    decisions.halt(
        release=world.release, by=world.staff, reason="Too many hubs fell silent.", now=world.clock()
    )


def resume(world: World) -> None:
    world.resume(reason="The carrier was down.")


def withdraw(world: World) -> None:
    decisions.withdraw(release=world.release, by=world.staff, reason="It drains power.", now=world.clock())


class TestOweStops:
    @pytest.fixture
    def booked(self, world: World, foreigner: User) -> Booking:
        """Two of the northern Supplier's three hubs are booked; the southern has one that nobody told it of."""
        world.hubs(3)
        world.hubs(1, supplier=world.southern)
        world.slot(start=timedelta(days=1), room=2)
        booking = world.book()
        world.clock.move(minutes=1)
        return booking

    def owe(self, world: World) -> int:
        """Let the timetable look twice, as it does; return to how many Suppliers something was told."""
        told = notices.owe_stops(now=world.clock())
        assert notices.owe_stops(now=world.clock.move(seconds=15)) == 0
        return told

    def test_tell_of_a_halt_with_its_reason_and_the_hubs_held(self, world: World, booked: Booking) -> None:
        halt(world)
        assert self.owe(world) == 1
        [notice] = notices_of(Notice.Kind.HALTED)
        assert (notice.address, notice.context["hubs"]) == (world.person.email, 2)
        words = notices.render(notice=notice)
        assert "Too many hubs fell silent." in words.text
        assert "2 hubs of Northern are held" in words.text

    def test_count_the_same_once_the_gate_has_held_them(self, world: World, booked: Booking) -> None:
        halt(world)
        world.clock.move(days=1)
        world.work()
        assert booked.lots.get().held == 2
        self.owe(world)
        assert notices_of(Notice.Kind.HALTED)[0].context["hubs"] == 2

    def test_tell_of_the_end_of_a_halt(self, world: World, booked: Booking) -> None:
        halt(world)
        self.owe(world)
        world.clock.move(hours=1)
        resume(world)
        assert self.owe(world) == 1
        [notice] = notices_of(Notice.Kind.RESUMED)
        words = notices.render(notice=notice)
        assert "The carrier was down." in words.text
        assert "Too many hubs fell silent." in words.text

    def test_tell_each_of_two_halts(self, world: World, booked: Booking) -> None:
        for _ in range(2):
            halt(world)
            self.owe(world)
            world.clock.move(hours=1)
            resume(world)
            self.owe(world)
            world.clock.move(hours=1)
        assert len(notices_of(Notice.Kind.HALTED)) == len(notices_of(Notice.Kind.RESUMED)) == 2

    def test_tell_of_a_halt_that_was_over_before_anybody_heard_with_its_end_alone(
        self, world: World, booked: Booking
    ) -> None:
        halt(world)
        world.clock.move(seconds=5)
        resume(world)
        assert self.owe(world) == 1
        assert not notices_of(Notice.Kind.HALTED)
        assert len(notices_of(Notice.Kind.RESUMED)) == 1

    def test_tell_of_a_withdrawal_with_what_it_cancels(self, world: World, booked: Booking) -> None:
        withdraw(world)
        assert self.owe(world) == 1
        [notice] = notices_of(Notice.Kind.WITHDRAWN)
        assert (notice.address, notice.context["hubs"]) == (world.person.email, 2)
        assert "It drains power." in notices.render(notice=notice).text

    def test_count_what_a_withdrawal_has_cancelled_already(self, world: World, booked: Booking) -> None:
        withdraw(world)
        world.clock.move(days=1)
        world.work()
        assert booked.lots.get().cancelled == 2
        self.owe(world)
        assert notices_of(Notice.Kind.WITHDRAWN)[0].context["hubs"] == 2

    def test_do_not_count_what_the_supplier_had_cancelled_itself(self, world: World, booked: Booking) -> None:
        bookings.cancel(booking=booked, by=world.person, reason="", now=world.clock())
        withdraw(world)
        assert self.owe(world) == 1
        [notice] = notices_of(Notice.Kind.WITHDRAWN)
        assert notice.context["hubs"] == 0
        assert "No hub of Northern was waiting for it." in notices.render(notice=notice).text

    @pytest.mark.parametrize("decide", [halt, withdraw])
    def test_go_to_suppliers_that_were_told_of_the_release_and_have_not_booked(
        self, decide: Decide, world: World, foreigner: User
    ) -> None:
        world.hubs(1)
        count_fleet(now=world.clock())
        notices.owe_published(now=world.clock())
        world.hubs(1, supplier=world.southern)  # the southern has heard of nothing
        world.clock.move(minutes=1)
        decide(world)
        assert self.owe(world) == 1
        assert set(Notice.objects.values_list("address", flat=True)) == {world.person.email}

    @pytest.mark.parametrize("decide", [halt, withdraw])
    def test_go_to_nobody_who_has_heard_of_nothing(
        self, decide: Decide, world: World, foreigner: User
    ) -> None:
        world.hubs(1)
        decide(world)
        assert self.owe(world) == 0

    def test_are_no_news_to_who_comes_later(self, world: World, booked: Booking, foreigner: User) -> None:
        halt(world)
        self.owe(world)
        world.clock.move(hours=1)
        resume(world)
        self.owe(world)
        world.clock.move(hours=1)
        User.objects.create_user(email="new@northern.example.com", supplier=world.northern)
        count_fleet(now=world.clock())
        notices.owe_published(now=world.clock())  # the southern Supplier hears of the release only now
        assert foreigner.email in people_told(Notice.Kind.PUBLISHED)
        assert self.owe(world) == 0

    def test_are_told_of_one_release_and_not_of_another(self, world: World, booked: Booking) -> None:
        other = worlds.publish(
            model=world.model,
            network=world.network,
            staff=world.staff,
            approver=world.approver,
            now=world.clock(),
            version=0x01000003,
        )
        decisions.halt(release=other, by=world.staff, reason="Silence.", now=world.clock())
        assert self.owe(world) == 0


class TestOwePublished:
    def test_waits_while_the_release_is_halted_and_comes_when_it_is_resumed(
        self, world: World, foreigner: User
    ) -> None:
        assert FirmwareVersion.objects.filter(number=OLD).exists()
        world.hubs(2)
        count_fleet(now=world.clock())
        halt(world)  # within seconds of its publication
        assert notices.owe_published(now=world.clock()) == notices.owe_stops(now=world.clock()) == 0

        world.clock.move(hours=1)
        resume(world)
        for _ in range(2):
            notices.owe_published(now=world.clock.move(seconds=15))
            notices.owe_stops(now=world.clock())

        # who never knew of the release is not told that a halt of it is over
        assert list(Notice.objects.values_list("kind", "address")) == [
            (Notice.Kind.PUBLISHED, world.person.email)
        ]
