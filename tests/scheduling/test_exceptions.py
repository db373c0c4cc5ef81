"""DCC's exceptions queue: what gets into it, what leaves it by itself, and the three decisions."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.db.models import F

from firmware.operations import groups as staff_groups
from hubs.gateway import Phase
from hubs.models import CommunicationsHub, PaymentMode
from portal.ground.models import AuditEntry
from portal.models import User
from scheduling.lifecycle import Ending, State
from scheduling.models import (
    LOT_SPAN,
    Booking,
    CapacityPattern,
    Command,
    Decision,
    Deployment,
    Exemption,
    HubException,
    Incident,
    Lot,
    Maintenance,
    Notice,
    Slot,
    UnplacedHub,
)
from scheduling.operations import bookings, exceptions, notices
from scheduling.operations.exceptions import UnableToDecide
from scheduling.queries import exceptions as queries
from scheduling.queries.exceptions import Portion
from tests import factories
from tests.scheduling.test_allocations import (
    DAY,
    allocate,
    booked_hubs,
    next_working_day,
    queued_hubs,
    to_the_day,
)
from tests.scheduling.test_changes import assert_books_balance
from tests.scheduling.world import World

How = HubException.How
Why = HubException.Why


@pytest.fixture
def manager(world: World) -> User:
    # operations decide about exceptions; to give a release more time is its managers' as well
    return member("manager@dcc.example.com", staff_groups.OPERATIONS, staff_groups.RELEASE_MANAGERS)


@pytest.fixture
def second(world: World) -> User:
    return member("second@dcc.example.com", staff_groups.APPROVERS)


def member(email: str, *groups: str) -> User:
    person = User.objects.create_user(email=email, is_staff=True)
    person.groups.set(Group.objects.filter(name__in=groups))
    return person


def queue(world: World, hubs: Iterable[CommunicationsHub], **facts: Any) -> None:
    """Put hubs into the queue."""
    HubException.objects.bulk_create(
        HubException(
            **{
                "release": world.release,
                "hub": hub.chf_id,
                "why": Why.NO_SLOT,
                "supplier_id": hub.lead_id or world.northern.pk,
                "network": world.network,
                "raised_at": world.clock(),
                **facts,
            }
        )
        for hub in hubs
    )


def miss(world: World, *hubs: CommunicationsHub) -> None:
    """Let hubs be booked, and end as missed."""
    world.slot(start=timedelta(hours=3), room=len(hubs))
    booking = world.book(world.choose_ids("\n".join(f"{hub.chf_id:016X}" for hub in hubs)))
    world.clock.move(hours=1)
    for lot in booking.lots.all():
        Deployment.objects.filter(pk__range=(lot.pk * LOT_SPAN, lot.pk * LOT_SPAN + LOT_SPAN - 1)).update(
            state=State.MISSED, ending=Ending.UNREACHABLE, next_at=None, ended_at=world.clock()
        )


def ended(hub: CommunicationsHub) -> tuple[str, User | None]:
    one = HubException.objects.get(hub=hub.chf_id)
    assert one.ended_at
    return one.how, one.decided_by


class TestRaiseMissedTwice:
    def test_takes_a_hub_at_its_second_miss(self, world: World) -> None:
        once, twice = world.hubs(2)
        miss(world, once, twice)
        assert exceptions.raise_missed_twice(now=world.clock()) == 0
        miss(world, twice)

        assert exceptions.raise_missed_twice(now=world.clock()) == 1

        one = HubException.objects.get()
        assert (one.hub, one.why, one.supplier, one.network) == (
            twice.chf_id,
            Why.MISSED_TWICE,
            world.northern,
            world.network,
        )

    def test_looks_at_each_lot_once(self, world: World) -> None:
        hubs = world.hubs(2)
        miss(world, *hubs)
        miss(world, *hubs)

        exceptions.raise_missed_twice(now=world.clock())

        assert not Lot.objects.filter(missed__gt=F("misses_seen")).exists()
        assert exceptions.raise_missed_twice(now=world.clock()) == 0
        assert HubException.objects.count() == 2

    def test_lets_a_hub_be_that_is_booked_again(self, world: World) -> None:
        hubs = world.hubs(1)
        miss(world, *hubs)
        miss(world, *hubs)
        world.slot(start=timedelta(hours=3), room=1)
        world.book()

        assert exceptions.raise_missed_twice(now=world.clock()) == 0

    def test_asks_again_only_after_another_miss(self, world: World) -> None:
        [hub] = world.hubs(1)
        miss(world, hub)
        miss(world, hub)
        exceptions.raise_missed_twice(now=world.clock())
        HubException.objects.update(ended_at=world.clock(), how=How.BOOKED)
        Lot.objects.update(misses_seen=0)
        assert exceptions.raise_missed_twice(now=world.clock()) == 0
        miss(world, hub)

        assert exceptions.raise_missed_twice(now=world.clock()) == 1

    def test_can_still_be_booked_by_the_supplier(self, world: World) -> None:
        [hub] = world.hubs(1)
        miss(world, hub)
        miss(world, hub)
        exceptions.raise_missed_twice(now=world.clock())
        world.slot(start=timedelta(hours=3), room=1)

        world.book()
        exceptions.settle(now=world.clock())

        assert ended(hub) == (How.BOOKED, None)


class TestSettle:
    def test_lets_go_what_is_booked_done_or_no_longer_eligible_and_keeps_the_rest(self, world: World) -> None:
        booked, done, gone, lost, stays = world.hubs(5)
        queue(world, [booked, done, gone, lost, stays])
        world.slot(start=timedelta(hours=3), room=1)
        world.book(world.choose_ids(f"{booked.chf_id:016X}"))
        hubs = CommunicationsHub.objects
        hubs.filter(pk=done.pk).update(installed_version=world.release.version)
        hubs.filter(pk=gone.pk).update(status=7)
        hubs.filter(pk=lost.pk).update(import_supplier=world.southern)

        assert exceptions.settle(now=world.clock()) == 4

        assert [ended(hub) for hub in (booked, done, gone, lost)] == [
            (How.BOOKED, None),
            (How.DONE, None),
            (How.GONE, None),
            (How.GONE, None),
        ]
        assert queued_hubs() == {stays.chf_id}

    def test_keeps_what_is_booked_for_another_release(self, world: World) -> None:
        hub, other = world.hubs(2)
        queue(world, [hub], release=factories.FirmwareReleaseFactory.create(published=True))
        queue(world, [other])
        world.slot(start=timedelta(hours=3), room=1)
        world.book(world.choose_ids(f"{hub.chf_id:016X}"))
        HubException.objects.filter(hub=hub.chf_id).update(release=world.release)
        assert exceptions.settle(now=world.clock()) == 1

        assert queued_hubs() == {other.chf_id}

    def test_reads_the_queue_to_its_end(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exceptions, "SETTLED", 2)
        hubs = world.hubs(7)
        queue(world, hubs)
        CommunicationsHub.objects.filter(pk__in=[hub.pk for hub in hubs[::3]]).update(status=7)

        assert exceptions.settle(now=world.clock()) == 3
        assert len(queued_hubs()) == 4

    def test_empties_the_queue_of_a_release_that_has_ended(self, world: World) -> None:
        hubs = world.hubs(2)
        queue(world, hubs)
        type(world.release).objects.update(state="withdrawn", ended_at=world.clock())

        assert exceptions.settle(now=world.clock()) == 2


class TestQueue:
    def test_is_counted_in_groups(self, world: World) -> None:
        queue(world, world.hubs(3))
        queue(world, world.hubs(2), why=Why.MISSED_TWICE)
        queue(world, world.hubs(1, supplier=world.southern), supplier_id=world.southern.pk)

        found = [(one.supplier.name, one.why, one.hubs) for one in queries.groups()]

        assert found == [
            ("Northern", Why.MISSED_TWICE, 2),
            ("Northern", Why.NO_SLOT, 3),
            ("Southern", Why.NO_SLOT, 1),
        ]

    def test_is_read_in_pages_and_narrowed(self, world: World) -> None:
        hubs = world.hubs(5)
        queue(world, hubs)
        [prepaid] = world.hubs(1, payment_mode=PaymentMode.PREPAYMENT)
        queue(world, [prepaid])
        portion = Portion(world.release)

        first = queries.lines(portion=portion, after=None, limit=4)
        rest = queries.lines(portion=portion, after=first[-1].hub, limit=4)

        assert [line.hub for line in [*first, *rest]] == sorted(hub.chf_id for hub in [*hubs, prepaid])
        assert [line.hub for line in queries.every_line(portion=portion)] == [
            line.hub for line in [*first, *rest]
        ]
        narrowed = Portion(world.release, payment_mode=PaymentMode.PREPAYMENT, model=world.model)
        assert [line.hub for line in queries.lines(portion=narrowed, after=None, limit=4)] == [prepaid.chf_id]
        assert queries.count(portion=narrowed) == queries.Count(1, 0)

    def test_has_a_hub_once_for_a_release(self, world: World) -> None:
        hubs = world.hubs(1)
        queue(world, hubs)
        with pytest.raises(IntegrityError, match="exception_one_open_per_hub"), transaction.atomic():
            queue(world, hubs)
        HubException.objects.update(ended_at=world.clock(), how=How.DONE)
        queue(world, hubs)

    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ({"how": "done"}, "exception_open_or_ended"),
            ({"ended_at": "now", "how": "overridden"}, "exception_decided_by_somebody"),
        ],
    )
    def test_cannot_be_written_past_python(self, change: dict[str, Any], name: str, world: World) -> None:
        queue(world, world.hubs(1))
        if "ended_at" in change:
            change = change | {"ended_at": world.clock()}

        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            HubException.objects.update(**change)


class TestExtend:
    def extend(self, world: World, by: User, **changed: Any) -> Decision:
        return exceptions.extend(
            **{  # type: ignore[arg-type]
                "portion": Portion(world.release, network=world.network),
                "until": world.release.periods.get().end_at + 7 * DAY,
                "reason": "Storm damage",
                "by": by,
                "now": world.clock(),
                **changed,
            }
        )

    def test_gives_more_time_opens_slots_and_allocates_again(self, world: World, manager: User) -> None:
        hubs = world.hubs(4)
        to_the_day(world)
        allocate(world)
        assert len(queued_hubs()) == 4
        world.clock.moment = world.release.periods.get().end_at - DAY
        CapacityPattern.objects.create(
            network=world.network, weekday=0, starts="01:00", ends="02:00", capacity=3
        )
        end = world.release.periods.get().end_at

        decision = self.extend(world, manager, until=end + 28 * DAY)
        allocate(world)

        assert world.release.periods.get().end_at == end + 28 * DAY
        assert len(booked_hubs()) == 4
        assert not queued_hubs()
        assert {ended(hub) for hub in hubs} == {(How.EXTENDED, manager)}
        decision.refresh_from_db()
        assert (decision.hubs, decision.done_at) == (4, world.clock())
        assert all(slot.start_at > end for slot in Slot.objects.filter(taken__gt=0))
        assert set(AuditEntry.objects.filter(reason="Storm damage").values_list("verb", "actor")) == {
            ("release.period_extended", manager.pk),
            ("exception.extended", manager.pk),
        }

    def test_leaves_what_finds_no_slot_even_so_for_another_decision(
        self, world: World, manager: User
    ) -> None:
        hubs = world.hubs(4)
        queue(world, hubs)
        to_the_day(world)
        CapacityPattern.objects.create(  # three Mondays are left
            network=world.network, weekday=0, starts="01:00", ends="02:00", capacity=1
        )

        self.extend(world, manager)
        allocate(world)

        assert len(booked_hubs()) == 3
        [left] = HubException.objects.filter(ended_at=None)
        assert left.decision is None

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            ({"reason": " "}, "Say in a few words why"),
            ({"until": "earlier"}, "Choose a later end"),
            ({"portion": "no network"}, "Choose one network"),
        ],
    )
    def test_is_refused_in_a_sentence(
        self, changed: dict[str, Any], sentence: str, world: World, manager: User
    ) -> None:
        queue(world, world.hubs(1))
        end = world.release.periods.get().end_at
        if "until" in changed:
            changed = {"until": end}
        if "portion" in changed:
            changed = {"portion": Portion(world.release)}

        with pytest.raises(UnableToDecide, match=sentence):
            self.extend(world, manager, **changed)

        assert not Decision.objects.exists()
        assert world.release.periods.get().end_at == end

    def test_is_for_release_managers(self, world: World, second: User) -> None:
        queue(world, world.hubs(1))
        for person in (second, world.person):
            with pytest.raises(UnableToDecide, match="Only a DCC release manager"):
                self.extend(world, person)

    def test_is_refused_where_nothing_is_open(self, world: World, manager: User) -> None:
        with pytest.raises(UnableToDecide, match="No hub of this choice is open any more"):
            self.extend(world, manager)


class TestOverride:
    @pytest.fixture(autouse=True)
    def kept_out(self, world: World) -> None:
        self.hubs = world.hubs(3)
        queue(world, self.hubs)
        self.slot = world.slot(start=timedelta(hours=3), room=5)
        world.protect(start=timedelta(hours=3))

    def ask(self, world: World, by: User) -> Decision:
        return exceptions.ask_override(
            portion=Portion(world.release, supplier=world.northern), reason="Safety", by=by, now=world.clock()
        )

    def test_waits_for_a_second_person(self, world: World, manager: User) -> None:
        self.ask(world, manager)

        assert allocate(world) == 0

        assert not booked_hubs()
        assert queries.count(portion=Portion(world.release)) == queries.Count(0, 3)
        with pytest.raises(UnableToDecide, match="another decision is about them"):
            self.ask(world, manager)

    def test_is_never_approved_by_who_asked(self, world: World) -> None:
        decision = self.ask(world, world.staff)

        with pytest.raises(UnableToDecide, match="Somebody else has to approve it"):
            exceptions.approve_override(decision=decision, by=world.staff, now=world.clock())
        with pytest.raises(IntegrityError, match="decision_approved_by_another_person"), transaction.atomic():
            Decision.objects.update(approved_by=F("asked_by"), approved_at=world.clock())

    def test_is_not_done_without_approval(self, world: World, manager: User) -> None:
        self.ask(world, manager)

        with (
            pytest.raises(IntegrityError, match="decision_override_done_only_when_approved"),
            transaction.atomic(),
        ):
            Decision.objects.update(done_at=world.clock())

    def test_is_for_approvers(self, world: World, manager: User) -> None:
        decision = self.ask(world, manager)
        other = member("other@dcc.example.com", staff_groups.OPERATIONS)

        for person in (other, world.person):
            with pytest.raises(UnableToDecide, match="Only a DCC approver"):
                exceptions.approve_override(decision=decision, by=person, now=world.clock())

    def test_books_into_the_first_slots_with_room_despite_windows(
        self, world: World, manager: User, second: User
    ) -> None:
        later = world.slot(start=timedelta(hours=6), room=5)
        Slot.objects.filter(pk=self.slot.pk).update(capacity=2)
        decision = self.ask(world, manager)
        exceptions.approve_override(decision=decision, by=second, now=world.clock())

        assert allocate(world) == 1

        assert booked_hubs() == {hub.chf_id for hub in self.hubs}
        assert [Slot.objects.get(pk=slot.pk).taken for slot in (self.slot, later)] == [2, 1]
        assert all(lot.is_override for lot in Lot.objects.all())
        assert {ended(hub) for hub in self.hubs} == {(How.OVERRIDDEN, second)}
        booking = Booking.objects.get()
        assert (booking.origin, booking.supplier, booking.booked_by) == ("default", world.northern, None)
        decision.refresh_from_db()
        assert decision.done_at
        assert_books_balance()
        verbs = AuditEntry.objects.filter(verb__startswith="exception.").order_by("id")
        assert list(verbs.values_list("verb", "actor")) == [
            ("exception.override_asked", manager.pk),
            ("exception.override_approved", second.pk),
        ]
        [notice] = Notice.objects.filter(kind=Notice.Kind.ALLOCATED)
        assert "Its reason: Safety" in notices.render(notice=notice).text

    def test_asks_no_other_supplier(self, world: World, manager: User, second: User) -> None:
        CommunicationsHub.objects.update(gas_supplier=world.southern)
        world.protect(start=timedelta(hours=3), supplier=world.southern)
        decision = self.ask(world, manager)
        exceptions.approve_override(decision=decision, by=second, now=world.clock())

        allocate(world)

        assert {one.state for one in Deployment.objects.all()} == {State.BOOKED}
        assert not Lot.objects.exclude(consent=None).exists()

    @pytest.mark.parametrize("kind", [Maintenance, Incident])
    def test_stays_out_of_what_dcc_has_closed(
        self, kind: type[Any], world: World, manager: User, second: User
    ) -> None:
        close(kind, world, world.clock() + timedelta(hours=2), world.clock() + timedelta(hours=5))
        decision = self.ask(world, manager)
        exceptions.approve_override(decision=decision, by=second, now=world.clock())

        assert allocate(world) == 1

        assert not booked_hubs()
        assert {one.decision for one in HubException.objects.filter(ended_at=None)} == {None}

    def test_names_what_found_no_room(self, world: World, manager: User, second: User) -> None:
        Slot.objects.update(capacity=2)
        decision = self.ask(world, manager)
        exceptions.approve_override(decision=decision, by=second, now=world.clock())

        allocate(world)

        booking = Booking.objects.get()
        assert (booking.hubs, booking.unplaced) == (2, 1)
        assert set(UnplacedHub.objects.values_list("hub", flat=True)) == queued_hubs()

    @pytest.mark.parametrize("is_shared", [False, True])
    def test_passes_the_gate_in_spite_of_windows(
        self, is_shared: bool, world: World, manager: User, second: User
    ) -> None:
        if is_shared:
            CommunicationsHub.objects.update(gas_supplier=world.southern)
            world.protect(start=timedelta(hours=3), supplier=world.southern)
        decision = self.ask(world, manager)
        exceptions.approve_override(decision=decision, by=second, now=world.clock())
        allocate(world)
        world.work()
        world.clock.moment = self.slot.start_at + timedelta(minutes=1)

        world.work()

        assert Command.objects.filter(phase=Phase.ACTIVATE).count() == 3

    @pytest.mark.parametrize("kind", [Maintenance, Incident])
    def test_does_not_pass_the_gate_while_dcc_has_closed_the_network(
        self, kind: type[Any], world: World, manager: User, second: User
    ) -> None:
        decision = self.ask(world, manager)
        exceptions.approve_override(decision=decision, by=second, now=world.clock())
        allocate(world)
        world.work()
        close(kind, world, self.slot.start_at - DAY, self.slot.end_at)
        world.clock.moment = self.slot.start_at + timedelta(minutes=1)

        world.work()

        assert not Command.objects.filter(phase=Phase.ACTIVATE).exists()

    def test_does_not_go_with_hubs_that_are_moved(self, world: World, manager: User, second: User) -> None:
        decision = self.ask(world, manager)
        exceptions.approve_override(decision=decision, by=second, now=world.clock())
        allocate(world)
        bookings.cancel(booking=Booking.objects.get(), by=world.person, reason="", now=world.clock())
        world.slot(start=timedelta(hours=9), room=5)

        again = world.book()

        assert not again.lots.filter(is_override=True).exists()

    def test_can_be_refused_or_taken_back(self, world: World, manager: User, second: User) -> None:
        for person in (second, manager):
            decision = self.ask(world, manager)
            exceptions.drop_override(decision=decision, by=person, reason="Too early", now=world.clock())
            assert queries.count(portion=Portion(world.release)) == queries.Count(3, 0)
            with pytest.raises(UnableToDecide, match="decided already"):
                exceptions.approve_override(decision=decision, by=second, now=world.clock())

    def test_is_done_at_once_where_every_hub_has_left(
        self, world: World, manager: User, second: User
    ) -> None:
        decision = self.ask(world, manager)
        HubException.objects.update(ended_at=world.clock(), how=How.DONE)

        exceptions.approve_override(decision=decision, by=second, now=world.clock())

        assert Decision.objects.get().done_at
        assert allocate(world) == 0


def close(kind: type[Any], world: World, start: Any, end: Any) -> None:
    if kind is Maintenance:
        Maintenance.objects.create(network=world.network, start_at=start, end_at=end, reason="Masts")
    else:
        Incident.objects.create(network=world.network, category=1, summary="Masts", opened_at=start)


class TestExempt:
    def exempt(self, world: World, by: User, **changed: Any) -> Decision:
        return exceptions.exempt(
            **{  # type: ignore[arg-type]
                "portion": Portion(world.release),
                "expires_at": world.clock() + 2 * DAY,
                "reason": "Hospital",
                "by": by,
                "now": world.clock(),
                **changed,
            }
        )

    def test_takes_hubs_out_of_the_queue_until_it_expires(self, world: World, manager: User) -> None:
        hubs, others = world.hubs(3), world.hubs(2, supplier=world.southern)
        to_the_day(world)
        allocate(world)

        self.exempt(world, manager, expires_at=world.clock() + 4 * DAY)

        assert {ended(hub) for hub in [*hubs, *others]} == {(How.EXEMPTED, manager)}
        made = Exemption.objects.order_by("supplier__name")
        assert list(made.values_list("supplier__name", "hubs")) == [("Northern", 3), ("Southern", 2)]
        next_working_day(world)
        world.slot(start=10 * DAY, room=10)
        allocate(world)
        assert not booked_hubs() | queued_hubs()
        world.clock.moment += 2 * DAY
        next_working_day(world)
        allocate(world)
        assert booked_hubs() == {hub.chf_id for hub in [*hubs, *others]}

    def test_is_never_for_good(self, world: World, manager: User) -> None:
        queue(world, world.hubs(1))

        with pytest.raises(UnableToDecide, match="at the latest with the release's last availability period"):
            self.exempt(world, manager, expires_at=world.clock() + 365 * DAY)

        assert not Decision.objects.exists()

    def test_can_be_for_a_part_of_a_group(self, world: World, manager: User) -> None:
        queue(world, world.hubs(2))
        [prepaid] = world.hubs(1, payment_mode=PaymentMode.PREPAYMENT)
        queue(world, [prepaid])

        decision = self.exempt(
            world, manager, portion=Portion(world.release, payment_mode=PaymentMode.PREPAYMENT)
        )

        assert decision.hubs == 1
        assert ended(prepaid) == (How.EXEMPTED, manager)
        assert len(queued_hubs()) == 2


class TestDecision:
    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ({"reason": ""}, "decision_has_a_reason"),
            ({"kind": "exempt"}, "decision_has_what_its_kind_wants"),
            ({"kind": "extend"}, "decision_has_what_its_kind_wants"),
            ({"approved_at": "now"}, "decision_approved_at_with_approver"),
            ({"dropped_at": "now"}, "decision_dropped_only_while_it_waits"),
        ],
    )
    def test_cannot_be_written_past_python(
        self, change: dict[str, Any], name: str, world: World, manager: User
    ) -> None:
        queue(world, world.hubs(1))
        exceptions.ask_override(portion=Portion(world.release), reason="x", by=manager, now=world.clock())
        change = {field: world.clock() if value == "now" else value for field, value in change.items()}

        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            Decision.objects.update(**change)
