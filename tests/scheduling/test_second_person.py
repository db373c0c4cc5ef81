"""What touches many hubs takes two people of a Supplier, by whatever way it comes."""

import inspect
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import CommunicationsHub
from portal import operations as people
from portal.ground import sql
from portal.ground.models import AuditEntry
from portal.ground.roles import SupplierRole
from portal.models import User
from scheduling.lifecycle import State
from scheduling.models import Booking, Deployment, HubSelection, Notice, Proposal, SecondPersonRule, Slot
from scheduling.operations import bookings, changes, notices, proposals
from scheduling.operations import second_person as gate
from scheduling.operations.proposals import UnableToPropose, UnableToRule, Wish
from scheduling.operations.second_person import Agreement, SecondPersonNeeded, UnableToAgree
from scheduling.planning import Hours
from scheduling.queries import histories, second_person
from scheduling.queries.parts import Destination, Part
from scheduling.queries.plans import Timing
from tests.conftest import eventually
from tests.scheduling import world as worlds
from tests.scheduling.test_changes import assert_books_balance
from tests.scheduling.test_races import at_once
from tests.scheduling.world import World

EARLIEST = Timing(Booking.Plan.EARLIEST)
WHY = "Before the tariff changes"


def person_of(world: World, name: str, role: SupplierRole = SupplierRole.OPERATIONS) -> User:
    return User.objects.create_user(email=f"{name}@northern.example.com", supplier=world.northern, role=role)


def limit(world: World, size: int | None) -> None:
    """Let the northern Supplier have this rule."""
    SecondPersonRule.objects.update_or_create(
        supplier=world.northern,
        defaults={"size": size, "set_by": world.person, "set_at": world.clock()},
    )


@pytest.fixture
def two(world: World) -> World:
    """A world with six hubs, two slots, and a rule by which one person touches at most two hubs alone."""
    return furnish(world)


def furnish(world: World) -> World:
    world.hubs(6)
    world.slot(start=timedelta(days=5), room=6)
    world.slot(start=timedelta(days=6), room=6)
    person_of(world, "colleague")
    limit(world, 2)
    return world


def colleague(world: World) -> User:
    return User.objects.get(email="colleague@northern.example.com")


def booked(world: World) -> Booking:
    """Book all six hubs as if there were no rule."""
    limit(world, None)
    booking = world.book()
    limit(world, 2)
    return booking


def wanted(world: World, wish: Wish) -> SecondPersonNeeded:
    """Return what the act that a wish is about says of a second person."""
    with pytest.raises(SecondPersonNeeded) as needed:
        act(world, wish)
    return needed.value


def act(world: World, wish: Wish) -> object:
    """Do without asking anybody what a wish is about."""
    asked: dict[str, Any] = {"booking": wish.upon, "by": world.person, "reason": WHY}
    if isinstance(wish.upon, HubSelection):
        return bookings.book(selection=wish.upon, timing=EARLIEST, by=world.person, clock=world.clock)
    if wish.act == Proposal.Act.MOVE:
        to = Destination(Booking.Plan.ONE_SLOT, world.slots[1].start_at)
        return changes.move(**asked, part=Part(), to=to, only_if_all=True, clock=world.clock)
    if wish.terms["part"] is None:
        return bookings.cancel(**asked, now=world.clock())
    return changes.cancel_part(**asked, part=Part(), only_if_all=False, now=world.clock())


def proposed(world: World, wish: Wish) -> Proposal:
    """Ask for an act, and propose it."""
    return proposals.propose(
        wish=wish, forecast=wanted(world, wish).forecast, by=world.person, reason=WHY, now=world.clock()
    )


def to_book(world: World) -> Wish:
    return proposals.to_book(selection=world.choose(), timing=EARLIEST, despite="")


def to_cancel(world: World) -> Wish:
    return proposals.to_cancel(booking=booked(world))


def to_cancel_part(world: World) -> Wish:
    return proposals.to_cancel(booking=booked(world), part=Part(), only_if_all=False)


def to_move(world: World) -> Wish:
    to = Destination(Booking.Plan.ONE_SLOT, world.slots[1].start_at)
    return proposals.to_move(booking=booked(world), part=Part(), to=to, only_if_all=True)


EVERY = pytest.mark.parametrize("wish", [to_book, to_cancel, to_cancel_part, to_move])
Wished = Callable[[World], Wish]


def picture() -> list[tuple[Any, ...]]:
    """Return everything that an act on hubs leaves behind."""
    return [
        *Booking.objects.order_by("pk").values_list("pk", "hubs", "abandoned_at"),
        *Deployment.objects.order_by("pk").values_list("pk", "state", "ending"),
        *Slot.objects.order_by("pk").values_list("pk", "taken"),
        *AuditEntry.objects.exclude(verb__startswith="proposal").order_by("pk").values_list("pk", "verb"),
    ]


def refusal(world: World, proposal: Proposal, by: User | None = None) -> str:
    """Have somebody agree, in vain; return why, and see that nothing has changed."""
    before = picture()
    with pytest.raises(UnableToAgree) as refused:
        proposals.agree(proposal=proposal, by=by or colleague(world), clock=world.clock)
    assert picture() == before
    return str(refused.value)


class TestAnActOnManyHubs:
    @EVERY
    def test_is_not_done_by_one_person(self, wish: Wished, two: World) -> None:
        wished = wish(two)
        before = picture()

        needed = wanted(two, wished)

        assert picture() == before
        assert needed.forecast.hubs == 6
        assert "at most 2 hubs in 24 hours alone; this is about 6." in str(needed)

    @EVERY
    def test_is_done_at_once_where_the_rule_is_larger(self, wish: Wished, two: World) -> None:
        wished = wish(two)
        limit(two, 12)  # six were booked before they are moved or cancelled

        assert act(two, wished)

    @EVERY
    def test_is_done_at_once_without_a_rule(self, wish: Wished, two: World) -> None:
        wished = wish(two)
        limit(two, None)

        assert act(two, wished)

    def test_is_asked_about_by_every_operation_that_somebody_does(self) -> None:
        taken = {
            f"{room.__name__.rpartition('.')[2]}.{name}": inspect.signature(one).parameters
            for room in (bookings, changes)
            for name, one in vars(room).items()
            if inspect.isfunction(one) and one.__module__ == room.__name__ and not name.startswith("_")
        }
        by_somebody = {name for name, parameters in taken.items() if "by" in parameters}

        assert by_somebody == {"bookings.book", "bookings.cancel", "changes.cancel_part", "changes.move"}
        assert {name for name, parameters in taken.items() if "agreed" in parameters} == by_somebody

    def test_is_dccs_and_the_portals_own_affair(self, two: World) -> None:
        booking = bookings.book(
            selection=two.choose(),
            timing=EARLIEST,
            by=None,
            clock=two.clock,
            origin=Booking.Origin.DEFAULT,
        )

        assert bookings.cancel(booking=booking, by=two.staff, reason="No", now=two.clock()) == 6

    def test_holds_for_one_supplier_alone(self, two: World) -> None:
        [hub] = two.hubs(1, supplier=two.southern)
        person = User.objects.create_user(email="person@southern.example.com", supplier=two.southern)
        limit(two, 1)

        selection = two.choose_ids(f"{hub.chf_id:016X}", supplier=two.southern)
        assert bookings.book(selection=selection, timing=EARLIEST, by=person, clock=two.clock).hubs == 1


class TestManySmallActs:
    def test_count_together(self, two: World) -> None:
        hubs = [f"{deployment:016X}" for deployment in sorted(hub_ids(two))]
        two.book(two.choose_ids(hubs[0]))
        booking = two.book(two.choose_ids(hubs[1]))

        with pytest.raises(
            SecondPersonNeeded, match=r"this is about 1\. Alone you have done so with 2 since"
        ):
            two.book(two.choose_ids(hubs[2]))
        with pytest.raises(SecondPersonNeeded):
            bookings.cancel(booking=booking, by=two.person, reason="No", now=two.clock())

    def test_are_counted_for_a_day(self, two: World) -> None:
        hubs = [f"{hub:016X}" for hub in sorted(hub_ids(two))]
        booking = two.book(two.choose_ids("\n".join(hubs[:2])))
        two.clock.move(hours=23, minutes=59)
        with pytest.raises(SecondPersonNeeded):
            bookings.cancel(booking=booking, by=two.person, reason="No", now=two.clock())

        two.clock.move(minutes=2)
        assert bookings.cancel(booking=booking, by=two.person, reason="No", now=two.clock()) == 2
        with pytest.raises(SecondPersonNeeded, match="with 2 since"):
            two.book(two.choose_ids(hubs[2]))

    def test_are_each_persons_own(self, two: World) -> None:
        hubs = [f"{hub:016X}" for hub in sorted(hub_ids(two))]
        two.book(two.choose_ids("\n".join(hubs[:2])))

        other = bookings.book(
            selection=two.choose_ids("\n".join(hubs[2:4])),
            timing=EARLIEST,
            by=colleague(two),
            clock=two.clock,
        )
        assert other.hubs == 2

    def test_do_not_count_what_a_colleague_agreed_to(self, two: World) -> None:
        proposals.agree(proposal=proposed(two, to_book(two)), by=colleague(two), clock=two.clock)
        proposals.agree(
            proposal=proposed(two, proposals.to_cancel(booking=Booking.objects.get())),
            by=colleague(two),
            clock=two.clock,
        )

        found = second_person.standing(supplier=two.northern, person=two.person, now=two.clock())
        assert found.alone == 0


def hub_ids(world: World) -> set[int]:
    return set(CommunicationsHub.objects.filter(lead_id=world.northern.pk).values_list("chf_id", flat=True))


class TestProposing:
    def test_keeps_everything_and_holds_nothing(self, two: World) -> None:
        proposal = proposed(two, to_book(two))

        assert (proposal.hubs, proposal.slots, proposal.nights) == (6, 1, 1)
        assert (proposal.first_start, proposal.last_end) == (two.slots[0].start_at, two.slots[0].end_at)
        assert proposal.reason == WHY
        assert Slot.objects.get(pk=two.slots[0].pk).taken == 0
        assert not Booking.objects.exists()
        entry = AuditEntry.objects.get(verb="proposal.made")
        assert (entry.actor, entry.subject, entry.reason) == (two.person, f"proposal:{proposal.pk}", WHY)

    def test_tells_those_who_may_agree(self, two: World) -> None:
        person_of(two, "reader", SupplierRole.READ_ONLY)
        person_of(two, "administrator", SupplierRole.ADMINISTRATOR)
        User.objects.filter(pk=person_of(two, "gone").pk).update(is_active=False)

        proposed(two, to_book(two))

        told = Notice.objects.filter(kind=Notice.Kind.PROPOSED).order_by("address")
        assert [notice.address.partition("@")[0] for notice in told] == ["administrator", "colleague"]
        words = notices.render(notice=told[0])
        assert "proposes to book 6 hubs of Northern, for Spring release" in words.text
        assert "6 hubs" in words.subject

    def test_wants_a_reason(self, two: World) -> None:
        wish = to_book(two)
        needed = wanted(two, wish)

        with pytest.raises(UnableToPropose, match="Say why"):
            proposals.propose(wish=wish, forecast=needed.forecast, by=two.person, reason=" ", now=two.clock())

    def test_wants_somebody_who_may_agree(self, two: World) -> None:
        wish = to_book(two)
        people.change_role(user=colleague(two), role=SupplierRole.READ_ONLY, by=two.staff, now=two.clock())

        with pytest.raises(UnableToPropose, match="Let an administrator invite a colleague"):
            proposed(two, wish)

    def test_is_once_for_a_choice_of_hubs(self, two: World) -> None:
        wish = to_book(two)
        first = proposed(two, wish)
        with pytest.raises(UnableToPropose, match="waits for a colleague already"):
            proposed(two, wish)

        proposals.take_back(proposal=first, by=two.person, now=two.clock())
        assert proposed(two, wish).pk != first.pk

    def test_can_be_repeated_once_it_has_lapsed(self, two: World) -> None:
        wish = to_book(two)
        first = proposed(two, wish)
        two.clock.moment = first.until

        again = proposed(two, wish)

        first.refresh_from_db()
        assert (first.state, again.state) == ("lapsed", "waiting")

    def test_stops_at_so_many(self, two: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(proposals, "MOST_WAITING", 2)
        proposed(two, to_book(two))
        proposed(two, to_book(two))

        with pytest.raises(UnableToPropose, match="2 proposals of your Supplier wait"):
            proposed(two, to_book(two))

    def test_lapses_before_its_first_slot(self, world: World) -> None:
        near = furnish(world)
        first = near.slot(start=timedelta(hours=5), room=6)

        assert proposed(near, to_book(near)).until == first.start_at


class TestAgreeing:
    @EVERY
    def test_does_what_was_proposed(self, wish: Wished, two: World) -> None:
        wished = wish(two)
        proposal = proposed(two, wished)
        two.clock.move(minutes=5)

        said = proposals.agree(proposal=proposal, by=colleague(two), clock=two.clock)

        assert said.startswith("6 hubs are")
        proposal.refresh_from_db()
        assert (proposal.state, proposal.decided_by) == ("agreed", colleague(two))
        states = list(Deployment.objects.exclude(ending="moved").values_list("state", flat=True))
        ends = State.CANCELLED if wished.act == Proposal.Act.CANCEL else State.BOOKED
        assert states == [ends] * 6
        if wished.act == Proposal.Act.MOVE:
            two.slots[1].refresh_from_db()
            assert two.slots[1].taken == 6
        assert_books_balance()

    @EVERY
    def test_is_on_record_with_both_people(self, wish: Wished, two: World) -> None:
        proposal = proposed(two, wish(two))

        proposals.agree(proposal=proposal, by=colleague(two), clock=two.clock)

        done = AuditEntry.objects.filter(verb__startswith="booking.").latest("pk")
        assert done.actor == two.person
        assert done.facts["agreed_by"] == colleague(two).email
        assert done.facts["proposal"] == proposal.pk
        agreed = AuditEntry.objects.get(verb="proposal.agreed")
        assert agreed.actor == colleague(two)
        assert agreed.facts["asked_by"] == two.person.email
        history = histories.of_booking(booking=Booking.objects.get())
        assert history[-1].title.endswith(f"6 hubs, agreed to by {colleague(two).email}")

    def test_tells_whoever_proposed(self, two: World) -> None:
        proposals.agree(proposal=proposed(two, to_book(two)), by=colleague(two), clock=two.clock)

        [notice] = Notice.objects.filter(kind=Notice.Kind.PROPOSAL_ANSWERED)
        assert notice.address == two.person.email
        words = notices.render(notice=notice)
        assert "colleague@northern.example.com has agreed to what you proposed" in words.text
        assert "It is done." in words.html

    @EVERY
    def test_is_done_once(self, wish: Wished, two: World) -> None:
        proposal = proposed(two, wish(two))
        proposals.agree(proposal=proposal, by=colleague(two), clock=two.clock)

        said = refusal(two, proposal, person_of(two, "third"))

        assert "colleague@northern.example.com has agreed to this already" in said

    @EVERY
    def test_is_for_another_person(self, wish: Wished, two: World) -> None:
        assert "You have proposed this yourself" in refusal(two, proposed(two, wish(two)), two.person)

    @pytest.mark.parametrize("who", ["reader", "foreign", "ended", "staff"])
    def test_is_for_colleagues_who_may(self, who: str, two: World) -> None:
        askers = {
            "reader": lambda: person_of(two, "reader", SupplierRole.READ_ONLY),
            "foreign": lambda: User.objects.create_user(
                email="x@southern.example.com", supplier=two.southern
            ),
            "ended": lambda: User.objects.create_user(
                email="ended@northern.example.com", supplier=two.northern, is_active=False
            ),
            "staff": lambda: two.staff,
        }
        refusal(two, proposed(two, to_book(two)), askers[who]())

    @EVERY
    def test_comes_too_late(self, wish: Wished, two: World) -> None:
        proposal = proposed(two, wish(two))
        two.clock.moment = proposal.until

        assert "This has lapsed" in refusal(two, proposal)

    def test_is_refused_where_fewer_hubs_would_go(self, two: World) -> None:
        proposal = proposed(two, to_book(two))
        other = bookings.book(
            selection=two.choose_ids(f"{min(hub_ids(two)):016X}"),
            timing=EARLIEST,
            by=colleague(two),
            clock=two.clock,
        )
        assert other.hubs == 1

        said = refusal(two, proposal)

        assert "not be what was asked for any more: 6 hubs in 1 slot" in said
        assert "Now it would be 5 hubs in 1 slot" in said
        proposal.refresh_from_db()
        assert proposal.state == "waiting"

    def test_is_refused_where_the_room_went(self, two: World) -> None:
        proposal = proposed(two, to_book(two))
        Slot.objects.filter(pk=two.slots[0].pk).update(capacity=5)

        assert "in 2 slots" in refusal(two, proposal)

    def test_is_refused_where_a_part_of_the_booking_went(self, two: World) -> None:
        proposal = proposed(two, to_move(two))
        limit(two, 20)
        changes.cancel_part(
            booking=Booking.objects.get(),
            part=Part(hubs=[min(hub_ids(two))]),
            only_if_all=True,
            by=two.person,
            reason="",
            now=two.clock(),
        )

        assert "Now it would be 5 hubs" in refusal(two, proposal)

    def test_is_refused_while_the_release_is_halted(self, two: World) -> None:
        proposal = proposed(two, to_book(two))
        FirmwareRelease.objects.update(state=ReleaseState.HALTED)

        assert "This release is halted" in refusal(two, proposal)

    def test_is_refused_where_the_hubs_were_booked_otherwise(self, two: World) -> None:
        proposal = proposed(two, to_book(two))
        limit(two, None)
        bookings.book(selection=proposal.selection, timing=EARLIEST, by=two.person, clock=two.clock)  # type: ignore[misc]

        assert "booked otherwise meanwhile" in refusal(two, proposal)

    def test_keeps_to_what_it_is_about(self, two: World) -> None:
        """An agreement opens no other act than its own."""
        proposal = proposed(two, to_book(two))
        booking = booked(two)

        with pytest.raises(UnableToAgree, match="Something else was proposed"):
            bookings.cancel(
                booking=booking,
                by=two.person,
                reason="",
                now=two.clock(),
                agreed=Agreement(proposal, colleague(two)),
            )


class TestWhoeverProposed:
    def test_who_lost_the_role_has_proposed_nothing(self, two: World) -> None:
        proposal = proposed(two, to_book(two))
        people.change_role(user=two.person, role=SupplierRole.READ_ONLY, by=two.staff, now=two.clock())

        assert "may not do this any more" in refusal(two, proposal)

    def test_who_has_no_access_has_proposed_nothing(self, two: World) -> None:
        proposal = proposed(two, to_book(two))
        people.deactivate(user=two.person, by=two.staff, now=two.clock())
        assert "may not do this any more" in refusal(two, proposal)

        people.reactivate(user=two.person, by=two.staff, now=two.clock())
        assert "has changed since" in refusal(two, proposal)  # and it stays void

    def test_who_signs_in_with_something_else_has_proposed_nothing(self, two: World) -> None:
        proposal = proposed(two, to_book(two))
        two.person.set_password("another one that nobody knows")
        two.person.save()

        assert "has changed since" in refusal(two, proposal)

    def test_takes_it_back(self, two: World) -> None:
        proposal = proposed(two, to_book(two))
        with pytest.raises(UnableToAgree, match="Only whoever proposed it"):
            proposals.take_back(proposal=proposal, by=colleague(two), now=two.clock())

        proposals.take_back(proposal=proposal, by=two.person, now=two.clock())

        assert "has taken this back" in refusal(two, proposal)
        assert AuditEntry.objects.get(verb="proposal.taken_back").actor == two.person


class TestDeclining:
    def test_ends_it_with_a_reason(self, two: World) -> None:
        proposal = proposed(two, to_book(two))
        with pytest.raises(UnableToAgree, match="Say why you decline"):
            proposals.decline(proposal=proposal, by=colleague(two), reason="", now=two.clock())

        proposals.decline(proposal=proposal, by=colleague(two), reason="Not mine", now=two.clock())

        assert "has declined this already" in refusal(two, proposal)
        assert AuditEntry.objects.get(verb="proposal.declined").reason == "Not mine"
        [notice] = Notice.objects.filter(kind=Notice.Kind.PROPOSAL_ANSWERED)
        assert "The reason: Not mine" in notices.render(notice=notice).text

    def test_is_not_for_whoever_proposed(self, two: World) -> None:
        proposal = proposed(two, to_book(two))

        with pytest.raises(UnableToAgree, match="yourself"):
            proposals.decline(proposal=proposal, by=two.person, reason="No", now=two.clock())


class TestABookingThatIsGivenUp:
    def test_lets_the_proposal_wait_again(self, two: World, monkeypatch: pytest.MonkeyPatch) -> None:
        proposal = proposed(two, to_book(two))

        def fail(*args: object) -> None:
            raise RuntimeError("no")

        with monkeypatch.context() as patch:
            patch.setattr(bookings, "_place", fail)
            with pytest.raises(RuntimeError):
                proposals.agree(proposal=proposal, by=colleague(two), clock=two.clock)
        proposal.refresh_from_db()
        assert (proposal.state, proposal.decided_by) == ("waiting", None)
        assert not AuditEntry.objects.filter(verb="proposal.agreed").exists()

        proposals.agree(proposal=proposal, by=colleague(two), clock=two.clock)
        assert Deployment.objects.count() == 6


class TestTheRule:
    @pytest.fixture
    def administrator(self, two: World) -> User:
        return person_of(two, "administrator", SupplierRole.ADMINISTRATOR)

    def rule(self, world: World, by: User, size: int | None, reason: str = "") -> Proposal | None:
        return proposals.rule(supplier=world.northern, size=size, by=by, reason=reason, now=world.clock())

    def size(self, world: World, others: int = 1) -> int | None:
        return second_person.rule(supplier=world.northern, others=others).size

    def test_is_usual_where_two_may_act(self, world: World) -> None:
        person = world.person
        alone = second_person.standing(supplier=world.northern, person=person, now=world.clock())
        assert alone.rule == second_person.Rule(None, is_usual=True)

        person_of(world, "reader", SupplierRole.READ_ONLY)
        assert second_person.standing(supplier=world.northern, person=person, now=world.clock()) == alone

        person_of(world, "colleague")
        found = second_person.standing(supplier=world.northern, person=person, now=world.clock())
        assert found.rule == second_person.Rule(100_000, is_usual=True)

    def test_is_made_stricter_by_one(self, two: World, administrator: User) -> None:
        assert self.rule(two, administrator, 1) is None

        assert self.size(two) == 1
        entry = AuditEntry.objects.get(verb="second_person.ruled")
        assert entry.facts == {"supplier": "Northern", "before": 2, "after": 1}

    @pytest.mark.parametrize("size", [3, None])
    def test_is_loosened_by_two(self, size: int | None, two: World, administrator: User) -> None:
        with pytest.raises(UnableToRule, match="Say why"):
            self.rule(two, administrator, size)
        proposal = self.rule(two, administrator, size, WHY)
        assert proposal
        assert self.size(two) == 2

        # where there is no other administrator, whoever may act
        proposals.agree(proposal=proposal, by=two.person, clock=two.clock)

        assert self.size(two) == size
        entry = AuditEntry.objects.get(verb="second_person.ruled")
        assert (entry.actor, entry.facts["agreed_by"]) == (administrator, two.person.email)

    def test_is_loosened_by_two_administrators_where_there_are(self, two: World, administrator: User) -> None:
        second = person_of(two, "second", SupplierRole.ADMINISTRATOR)
        proposal = self.rule(two, administrator, None, WHY)
        assert proposal

        assert "Another administrator" in refusal(two, proposal, two.person)
        assert "yourself" in refusal(two, proposal, administrator)
        proposals.agree(proposal=proposal, by=second, clock=two.clock)
        assert self.size(two) is None

    def test_is_loosened_by_whoever_is_alone(self, two: World, administrator: User) -> None:
        for one in (two.person, colleague(two)):
            people.deactivate(user=one, by=two.staff, now=two.clock())

        assert self.rule(two, administrator, None) is None
        assert self.size(two) is None

    def test_is_not_loosened_from_what_it_is_no_longer(self, two: World, administrator: User) -> None:
        proposal = self.rule(two, administrator, 5, WHY)
        assert proposal
        self.rule(two, administrator, 1)

        assert "The rule was changed meanwhile" in refusal(two, proposal, two.person)
        assert self.size(two) == 1

    def test_waits_once(self, two: World, administrator: User) -> None:
        self.rule(two, administrator, 5, WHY)
        with pytest.raises(UnableToRule, match="Another change of the rule waits"):
            self.rule(two, administrator, 6, WHY)

    def test_is_the_administrators(self, two: World, administrator: User) -> None:
        for one in (two.person, two.staff):
            with pytest.raises(UnableToRule, match="Only the administrators"):
                self.rule(two, one, 1)
        with pytest.raises(UnableToRule, match="already"):
            self.rule(two, administrator, 2)

    def test_is_not_what_who_was_an_administrator_wanted(self, two: World, administrator: User) -> None:
        proposal = self.rule(two, administrator, None, WHY)
        assert proposal
        people.change_role(user=administrator, role=SupplierRole.OPERATIONS, by=two.staff, now=two.clock())

        assert "may not do this any more" in refusal(two, proposal, two.person)


class TestTheDatabase:
    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("proposal_waits_or_is_decided", {"state": "agreed"}),
            ("proposal_waits_or_is_decided", {"state": "done"}),
            ("proposal_of_hubs_has_its_numbers", {"hubs": 0}),
            ("proposal_names_what_its_act_is_upon", {"act": "move"}),
        ],
    )
    def test_refuses(self, name: str, change: dict[str, object], two: World) -> None:
        proposal = proposed(two, to_book(two))

        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            Proposal.objects.filter(pk=proposal.pk).update(**change)

    @pytest.mark.parametrize("state", ["agreed", "declined"])
    def test_lets_nobody_answer_themselves(self, state: str, two: World) -> None:
        proposal = proposed(two, to_book(two))

        with (
            pytest.raises(IntegrityError, match="proposal_decided_by_another_person"),
            transaction.atomic(),
        ):
            Proposal.objects.filter(pk=proposal.pk).update(
                state=state, decided_by=two.person, decided_at=two.clock()
            )

    def test_knows_no_rule_of_no_hub(self, two: World) -> None:
        with (
            pytest.raises(IntegrityError, match="second_person_rule_of_a_hub_or_more"),
            transaction.atomic(),
        ):
            SecondPersonRule.objects.update(size=0)


MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
DAYS = st.dates(date(2026, 1, 1), date(2030, 1, 1))
HOURS = st.builds(
    lambda weekdays, opens, closes, days: Hours(tuple(sorted(weekdays)), opens, closes, *sorted(days)),
    st.sets(st.integers(0, 6), min_size=1),
    st.times(),
    st.sampled_from([time(), time(5), time(23, 30)]),
    st.tuples(DAYS, DAYS),
)


class TestTerms:
    @given(
        plan=st.sampled_from(Booking.Plan),
        start=st.none() | MOMENTS,
        last=st.none() | MOMENTS,
        hours=st.none() | HOURS,
    )
    def test_of_a_plan_are_read_as_they_were_written(
        self, plan: Booking.Plan, start: datetime | None, last: datetime | None, hours: Hours | None
    ) -> None:
        timing = Timing(plan, start, last, hours)

        kept = json.loads(json.dumps(proposals.written_timing(timing=timing)))
        assert proposals.read_timing(terms=kept) == timing

    @given(
        criteria=st.dictionaries(
            st.sampled_from(["network", "model", "slot"]), st.lists(st.integers(0, 2**40), min_size=1)
        ),
        hubs=st.none() | st.lists(st.integers(-(2**63), 2**63 - 1)),
    )
    def test_of_a_part_are_read_as_they_were_written(
        self, criteria: dict[str, list[int]], hubs: list[int] | None
    ) -> None:
        part = Part(criteria, hubs)

        kept = json.loads(json.dumps(proposals.written_part(part=part)))
        assert proposals.read_part(terms=kept) == part


WAITS = "SELECT FROM pg_locks WHERE NOT granted"


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    @pytest.fixture
    def two(self, transactional_db: None, now: datetime) -> Iterator[World]:
        """The same, committed, with a third person."""
        two = furnish(worlds.make(now=now))
        person_of(two, "third")
        return two

    @EVERY
    def test_two_colleagues_have_it_done_once(self, wish: Wished, two: World) -> None:
        proposal = proposed(two, wish(two))
        third = User.objects.get(email="third@northern.example.com")

        results = at_once(
            *(
                lambda by=by: proposals.agree(proposal=proposal, by=by, clock=two.clock)  # type: ignore[misc]
                for by in (colleague(two), third)
            )
        )

        assert sorted(type(one).__name__ for one in results) == ["UnableToAgree", "str"], results
        proposal.refresh_from_db()
        [winner] = AuditEntry.objects.filter(verb="proposal.agreed").values_list("actor", flat=True)
        assert proposal.decided_by_id == winner
        assert_books_balance()

    @EVERY
    def test_it_is_done_or_taken_back(self, wish: Wished, two: World) -> None:
        proposal = proposed(two, wish(two))
        before = picture()

        agreed, taken_back = at_once(
            lambda: proposals.agree(proposal=proposal, by=colleague(two), clock=two.clock),
            lambda: proposals.take_back(proposal=proposal, by=two.person, now=two.clock()),
        )

        proposal.refresh_from_db()
        assert isinstance(agreed, UnableToAgree) != isinstance(taken_back, UnableToAgree), (
            agreed,
            taken_back,
        )
        assert proposal.state == ("agreed" if isinstance(agreed, str) else "taken_back")
        assert (picture() == before) == isinstance(agreed, UnableToAgree)
        assert_books_balance()

    @EVERY
    def test_nobody_takes_back_what_is_being_done(
        self, wish: Wished, two: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proposal = proposed(two, wish(two))
        check, results = gate.check, list[object]()
        late = threading.Thread(
            target=lambda: results.extend(
                at_once(lambda: proposals.take_back(proposal=proposal, by=two.person, now=two.clock()))
            )
        )

        def checked(**asked: Any) -> None:
            check(**asked)
            if connection.in_atomic_block and not late.ident:  # in the transaction of the act
                late.start()
                assert eventually(lambda: results or sql.rows(WAITS, {}))

        monkeypatch.setattr(gate, "check", checked)
        proposals.agree(proposal=proposal, by=colleague(two), clock=two.clock)
        late.join(60)

        [taken_back] = results
        assert isinstance(taken_back, UnableToAgree), taken_back

    def test_one_person_books_no_more_than_they_may_alone(self, two: World) -> None:
        selections = [two.choose_ids(f"{hub:016X}") for hub in sorted(hub_ids(two))]

        results = at_once(*(lambda one=one: two.book(one) for one in selections))  # type: ignore[misc]

        assert sum(isinstance(one, Booking) for one in results) == 2, results
        assert sum(isinstance(one, SecondPersonNeeded) for one in results) == 4, results
        assert Deployment.objects.count() == 2

    def test_one_person_would_book_more_without_taking_turns(
        self, two: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prove that the race above is one: whoever only looks first passes the rule."""
        selections = [two.choose_ids(f"{hub:016X}") for hub in sorted(hub_ids(two))]
        barrier = threading.Barrier(len(selections))
        standing = second_person.standing

        def look(**asked: Any) -> second_person.Standing:
            found = standing(**asked)
            barrier.wait(30)
            return found

        monkeypatch.setattr("scheduling.operations.second_person._LOCK", "SELECT 1")
        monkeypatch.setattr(second_person, "standing", look)
        at_once(*(lambda one=one: two.book(one) for one in selections))  # type: ignore[misc]

        assert Deployment.objects.count() > 2
