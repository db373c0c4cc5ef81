"""Questions to the other Supplier of shared hubs: answered, objected to, or decided by the time that passes."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from firmware.models import FirmwareRelease, ReleaseState
from firmware.operations import decisions
from hubs.models import CommunicationsHub, HubStatus, Supplier
from portal.ground.models import AuditEntry
from portal.models import User
from scheduling.lifecycle import Ending, State
from scheduling.models import Booking, Consent, Deployment, Lot, Notice, Objection, ProtectedWindow, Slot
from scheduling.operations import bookings, changes, consents, deployments, notices
from scheduling.operations.consents import Offer, Outcome, UnableToAnswer
from scheduling.queries import consents as questions
from scheduling.queries.parts import Destination, Part
from tests.scheduling.test_changes import assert_books_balance
from tests.scheduling.world import World

FAR = timedelta(days=10)
"""So far away that silence is consent."""
HOUR = timedelta(hours=1)


@pytest.fixture
def other(world: World) -> User:
    """A person of the southern Supplier, which is asked."""
    return User.objects.create_user(email="person@southern.example.com", supplier=world.southern)


@pytest.fixture
def far(world: World, other: User) -> Booking:
    """Three shared hubs booked in one slot ten days ahead, and room for as many in each of the two hours after it."""
    world.shared(3)
    for hour in range(3):
        world.slot(start=FAR + hour * HOUR, room=3)
    return world.book(start_at=world.slots[0].start_at)


@pytest.fixture
def near(world: World, other: User) -> Booking:
    """Three shared hubs booked in a slot five hours ahead, and room for as many tomorrow and in ten days."""
    world.shared(3)
    for start in (5 * HOUR, timedelta(days=1), FAR):
        world.slot(start=start, room=3)
    return world.book(start_at=world.slots[0].start_at)


def question(booking: Booking) -> Consent:
    """Return the latest question of a booking."""
    found = Consent.objects.filter(booking=booking).order_by("-id").first()
    assert found
    return found


def states() -> list[str]:
    return sorted(Deployment.objects.filter(ended_at=None).values_list("state", flat=True))


def open_in(slot: Slot) -> list[str]:
    """Return the states of the hubs that are to go in a slot."""
    lots = set(Lot.objects.filter(slot=slot).values_list("id", flat=True))
    return [one.state for one in Deployment.objects.filter(ended_at=None) if one.lot_id in lots]


def window(slot: Slot, **facts: Any) -> ProtectedWindow:
    """Return a hard window that just covers a slot, not kept yet."""
    return ProtectedWindow(
        **{
            "kind": ProtectedWindow.Kind.TARIFF,
            "reason": "Price change",
            "scope": ProtectedWindow.Scope.ALL,
            "start_at": slot.start_at,
            "end_at": slot.end_at,
            **facts,
        }
    )


def object_to(
    world: World,
    consent: Consent,
    by: User,
    *,
    hubs: Sequence[CommunicationsHub] | None = None,
    reason: str = "Price change that night",
    **offer: Any,
) -> Outcome:
    """Object, a second later than whatever was done before."""
    world.clock.move(seconds=1)
    return consents.object_to(
        consent=consent,
        offer=Offer(hubs=None if hubs is None else [hub.pk for hub in hubs], **offer),
        reason=reason,
        by=by,
        clock=world.clock,
    )


def told(kind: Notice.Kind) -> list[str]:
    return sorted(Notice.objects.filter(kind=kind).values_list("address", flat=True))


class TestAgree:
    def test_books_what_was_provisional_and_wakes_it_when_staging_opens(
        self, world: World, far: Booking, other: User
    ) -> None:
        assert states() == ["provisional"] * 3

        agreed = consents.agree(consents=[question(far)], by=other, now=world.clock())

        assert (agreed.questions, agreed.hubs, agreed.late) == (1, 3, 0)
        consent = Consent.objects.get()
        assert (consent.state, consent.answered_by, consent.answered_at) == ("given", other, world.clock())
        lot = Lot.objects.get()
        assert (lot.provisional, lot.booked, lot.due_at) == (0, 3, lot.staging_from)
        assert set(Deployment.objects.values_list("state", "next_at")) == {("booked", lot.staging_from)}
        assert AuditEntry.objects.get(verb="consent.given").actor == other
        assert_books_balance()

    def test_of_a_slot_whose_staging_has_opened_stages_at_once(
        self, world: World, near: Booking, other: User
    ) -> None:
        world.clock.move(hours=2)

        consents.agree(consents=[question(near)], by=other, now=world.clock())
        assert Lot.objects.get().due_at == world.clock()
        world.work()

        assert states() == ["staged"] * 3

    def test_carries_on_to_the_end(self, world: World, near: Booking, other: User) -> None:
        consents.agree(consents=[question(near)], by=other, now=world.clock())
        world.clock.move(hours=2)
        world.work()
        world.clock.move(hours=3)
        world.work()

        assert Lot.objects.get().succeeded == 3

    def test_answers_several_bookings_at_once(self, world: World, far: Booking, other: User) -> None:
        world.shared(2)
        world.book(start_at=world.slots[1].start_at)

        agreed = consents.agree(consents=list(Consent.objects.all()), by=other, now=world.clock())

        assert (agreed.questions, agreed.hubs) == (2, 5)
        assert states() == ["booked"] * 5

    def test_leaves_what_is_held_as_it_is_and_the_resumption_books_it(
        self, world: World, near: Booking, other: User
    ) -> None:
        halt(world)
        assert states() == ["held"] * 3

        agreed = consents.agree(consents=[question(near)], by=other, now=world.clock())

        assert agreed.hubs == 3
        assert states() == ["held"] * 3
        world.clock.move(hours=2)
        resume(world)
        assert states() == ["staged"] * 3

    def test_takes_what_is_still_open_and_counts_what_is_not(
        self, world: World, far: Booking, other: User
    ) -> None:
        world.shared(2)
        world.book(start_at=world.slots[1].start_at)
        first = Consent.objects.order_by("id").first()
        assert first
        consents.agree(consents=[first], by=other, now=world.clock())

        agreed = consents.agree(consents=list(Consent.objects.all()), by=other, now=world.clock())

        assert (agreed.questions, agreed.hubs, agreed.late) == (1, 2, 1)

    def test_is_refused_in_a_sentence_when_it_comes_too_late(
        self, world: World, far: Booking, other: User
    ) -> None:
        consent = question(far)
        world.clock.moment = consent.answer_by

        with pytest.raises(UnableToAnswer, match=r"Nobody did, and silence is consent\.$"):
            consents.agree(consents=[consent], by=other, now=world.clock())
        assert states() == ["provisional"] * 3

    def test_is_refused_when_the_hubs_have_been_taken_back(
        self, world: World, far: Booking, other: User
    ) -> None:
        bookings.cancel(booking=far, by=world.person, reason="No", now=world.clock())

        with pytest.raises(UnableToAnswer, match="no longer asked"):
            consents.agree(consents=[question(far)], by=other, now=world.clock())

    def test_is_not_for_the_side_that_asks(self, world: World, far: Booking) -> None:
        with pytest.raises(UnableToAnswer):
            consents.agree(consents=[question(far)], by=world.person, now=world.clock())
        assert states() == ["provisional"] * 3


class TestWithoutAnAnswer:
    def test_nothing_is_staged_or_activated(self, world: World, near: Booking) -> None:
        for hours in (2, 3, 2):
            world.clock.move(hours=hours)
            world.work()

        [ended] = set(Deployment.objects.values_list("state", "ending", "attempt"))
        assert ended == ("missed", Ending.NO_CONSENT, 0)


class TestObjectTo:
    def test_with_a_window_keeps_it_and_moves_the_hubs_to_the_first_slot_clear_for_both(
        self, world: World, far: Booking, other: User
    ) -> None:
        first, second, third = world.slots
        covering = window(first, end_at=second.end_at)

        outcome = object_to(world, question(far), other, window=covering)

        assert (outcome.hubs, outcome.moved, outcome.handed_back) == (3, 3, 0)
        assert outcome.slots == [(world.network.name, third.start_at, 3)]
        kept = ProtectedWindow.objects.get()
        assert (kept.supplier, kept.made_by, kept.is_hard) == (world.southern, other, True)
        assert open_in(third) == ["provisional"] * 3
        assert not open_in(first) + open_in(second)
        objected, asked = Consent.objects.order_by("id")
        assert (objected.state, objected.answered_by) == ("objected", other)
        assert (asked.state, asked.slot, asked.is_explicit) == ("asked", third, False)
        objection = Objection.objects.get()
        assert (objection.hubs, objection.moved, objection.handed_back) == (3, 3, 0)
        assert AuditEntry.objects.get(verb="consent.refused").reason == "Price change that night"
        assert_books_balance()

    def test_tells_the_people_who_booked_and_asks_anew(self, world: World, far: Booking, other: User) -> None:
        object_to(world, question(far), other, window=window(world.slots[0]))

        assert told(Notice.Kind.OBJECTED) == [world.person.email]
        assert told(Notice.Kind.BOOKING_MOVED) == [world.person.email]
        assert told(Notice.Kind.CONSENT_ASKED)[-1] == other.email

    def test_with_another_slot_moves_them_there_and_has_agreed(
        self, world: World, far: Booking, other: User
    ) -> None:
        third = world.slots[2]

        outcome = object_to(world, question(far), other, alternative=third)

        assert (outcome.moved, outcome.is_agreed) == (3, True)
        assert open_in(third) == ["booked"] * 3
        assert question(far).state == Consent.State.GIVEN
        assert Objection.objects.get().alternative == third
        lot = Lot.objects.get(slot=third)
        assert lot.due_at == lot.staging_from
        assert_books_balance()

    def test_with_another_slot_that_is_full_goes_to_the_first_that_is_not(
        self, world: World, far: Booking, other: User
    ) -> None:
        Slot.objects.filter(pk=world.slots[1].pk).update(capacity=2)

        outcome = object_to(world, question(far), other, alternative=world.slots[1])

        assert (outcome.moved, outcome.is_agreed) == (3, False)
        assert [len(open_in(slot)) for slot in world.slots] == [0, 2, 1]
        assert set(Consent.objects.values_list("state", flat=True)) == {"objected", "asked"}
        assert_books_balance()

    def test_never_brings_hubs_back_to_a_slot_that_was_refused(
        self, world: World, far: Booking, other: User
    ) -> None:
        first, second, third = world.slots
        Slot.objects.filter(pk=third.pk).update(capacity=1)
        object_to(world, question(far), other, alternative=third)  # too small for all of them
        again = Consent.objects.get(slot=second, state=Consent.State.ASKED)

        outcome = object_to(world, again, other, alternative=third)

        assert open_in(first) == []
        assert (outcome.moved, outcome.handed_back) == (1, 2)
        assert_books_balance()

    def test_with_another_slot_that_is_not_available_to_the_lead_goes_elsewhere(
        self, world: World, far: Booking, other: User
    ) -> None:
        world.protect(start=FAR + HOUR)

        object_to(world, question(far), other, alternative=world.slots[1])

        assert [len(open_in(slot)) for slot in world.slots] == [0, 0, 3]

    def test_to_some_leaves_the_others_in_question(self, world: World, far: Booking, other: User) -> None:
        hub = CommunicationsHub.objects.order_by("pk").first()
        assert hub

        outcome = object_to(world, question(far), other, hubs=[hub], alternative=world.slots[1])

        assert (outcome.hubs, outcome.moved) == (1, 1)
        assert [open_in(slot) for slot in world.slots] == [["provisional"] * 2, ["booked"], []]
        assert Consent.objects.order_by("id")[0].state == Consent.State.ASKED
        assert_books_balance()

    def test_with_a_window_for_a_list_protects_exactly_those_hubs(
        self, world: World, far: Booking, other: User
    ) -> None:
        hub = CommunicationsHub.objects.order_by("pk")[1]
        listed = window(world.slots[0], scope=ProtectedWindow.Scope.HUBS)

        object_to(world, question(far), other, hubs=[hub], window=listed)

        kept = ProtectedWindow.objects.get()
        assert (kept.hubs, list(kept.listed.values_list("hub", flat=True))) == (1, [hub.pk])
        assert [len(open_in(slot)) for slot in world.slots] == [2, 1, 0]

    def test_hands_back_what_finds_no_place(self, world: World, far: Booking, other: User) -> None:
        Slot.objects.filter(pk=world.slots[1].pk).update(capacity=2)
        Slot.objects.filter(pk=world.slots[2].pk).update(capacity=0)

        outcome = object_to(world, question(far), other, window=window(world.slots[0]))

        assert (outcome.hubs, outcome.moved, outcome.handed_back) == (3, 2, 1)
        assert [len(open_in(slot)) for slot in world.slots] == [0, 2, 0]
        assert Deployment.objects.filter(ending=Ending.OBJECTED).count() == 1
        assert_books_balance()

    def test_hands_back_what_may_no_longer_be_booked(self, world: World, far: Booking, other: User) -> None:
        gone = CommunicationsHub.objects.order_by("pk")[0]
        CommunicationsHub.objects.filter(pk=gone.pk).update(status=HubStatus.RECOVERY)

        outcome = object_to(world, question(far), other, alternative=world.slots[1])

        assert (outcome.moved, outcome.handed_back) == (2, 1)
        assert Deployment.objects.get(ending=Ending.OBJECTED).hub_id == gone.pk
        assert_books_balance()

    def test_after_the_cut_off_frees_the_hubs_all_the_same(
        self, world: World, near: Booking, other: User
    ) -> None:
        world.clock.move(hours=4, minutes=30)
        with pytest.raises(bookings.UnableToCancel):
            bookings.cancel(booking=near, by=world.person, reason="No", now=world.clock())

        outcome = object_to(world, question(near), other, window=window(world.slots[0]))

        assert outcome.moved == 3
        assert open_in(world.slots[1]) == ["provisional"] * 3
        assert question(near).is_explicit
        assert_books_balance()

    def test_while_the_release_is_halted_moves_what_is_held(
        self, world: World, far: Booking, other: User
    ) -> None:
        halt(world)
        assert states() == ["held"] * 3

        object_to(world, question(far), other, window=window(world.slots[0]))
        work(world)

        assert open_in(world.slots[1]) == ["held"] * 3
        assert_books_balance()

    def test_would_do_what_it_says_and_does_nothing_yet(
        self, world: World, far: Booking, other: User
    ) -> None:
        offer = Offer(hubs=None, window=window(world.slots[0]))

        rehearsed = consents.would_object(consent=question(far), offer=offer, by=other, clock=world.clock)

        assert (rehearsed.moved, rehearsed.slots) == (3, [(world.network.name, world.slots[1].start_at, 3)])
        assert not ProtectedWindow.objects.exists()
        assert not Notice.objects.filter(kind=Notice.Kind.OBJECTED).exists()
        assert open_in(world.slots[0]) == ["provisional"] * 3
        assert object_to(world, question(far), other, window=offer.window) == rehearsed

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"reason": " "}, "Say why"),
            ({}, "an objection needs one of them"),
            ({"window": "apart"}, "does not touch this slot"),
            ({"alternative": "same"}, "That is the slot that you object to"),
            ({"alternative": "later", "hubs": []}, "You listed no hub"),
        ],
    )
    def test_is_refused_in_a_sentence_without_what_it_needs(
        self, world: World, far: Booking, other: User, given: dict[str, Any], sentence: str
    ) -> None:
        first, second, _ = world.slots
        words = {"apart": window(second), "same": first, "later": second}
        facts = {
            name: words.get(value, value) if isinstance(value, str) else value
            for name, value in given.items()
        }

        with pytest.raises(UnableToAnswer, match=sentence):
            object_to(world, question(far), other, **facts)
        assert open_in(first) == ["provisional"] * 3
        assert not ProtectedWindow.objects.exists()

    def test_says_nothing_of_hubs_that_are_not_in_question(
        self, world: World, far: Booking, other: User
    ) -> None:
        [foreign] = world.hubs(1)

        with pytest.raises(UnableToAnswer, match="1 of the 1 listed hubs is not waiting for your answer"):
            object_to(world, question(far), other, hubs=[foreign], alternative=world.slots[1])

    def test_is_refused_with_the_windows_own_sentence(self, world: World, far: Booking, other: User) -> None:
        months = window(world.slots[0], end_at=world.slots[0].end_at + timedelta(days=40))

        with pytest.raises(UnableToAnswer, match="at most half"):
            object_to(world, question(far), other, window=months)
        assert open_in(world.slots[0]) == ["provisional"] * 3

    def test_is_refused_once_silence_has_decided(self, world: World, far: Booking, other: User) -> None:
        consent = question(far)
        world.clock.moment = consent.answer_by

        with pytest.raises(UnableToAnswer, match="silence is consent"):
            object_to(world, consent, other, window=window(world.slots[0]))

    def test_is_refused_once_the_release_is_withdrawn(self, world: World, far: Booking, other: User) -> None:
        FirmwareRelease.objects.update(state=ReleaseState.WITHDRAWN, ended_at=world.clock())

        with pytest.raises(UnableToAnswer, match="release is withdrawn"):
            object_to(world, question(far), other, window=window(world.slots[0]))


class TestSettle:
    def test_takes_silence_for_consent_when_the_time_is_up(
        self, world: World, far: Booking, other: User
    ) -> None:
        consent = question(far)
        world.clock.moment = consent.answer_by - timedelta(microseconds=1)
        assert consents.settle(clock=world.clock) == 0

        world.clock.moment = consent.answer_by
        assert [consents.settle(clock=world.clock) for _ in range(2)] == [1, 0]

        consent.refresh_from_db()
        assert (consent.state, consent.answered_by) == ("lapsed", None)
        assert states() == ["booked"] * 3
        assert told(Notice.Kind.CONSENT_LAPSED) == [world.person.email, other.email]
        assert_books_balance()

    def test_tells_of_all_slots_of_a_booking_in_one_e_mail(self, world: World, other: User) -> None:
        world.shared(5)
        for hour in range(5):
            world.slot(start=FAR + hour * HOUR, room=1)
        booking = world.book()
        world.clock.moment = question(booking).answer_by

        consents.settle(clock=world.clock, limit=3)
        assert not told(Notice.Kind.CONSENT_LAPSED)
        consents.settle(clock=world.clock, limit=3)

        notice = Notice.objects.get(kind=Notice.Kind.CONSENT_LAPSED, address=other.email)
        assert (notice.context["hubs"], len(notice.context["parts"])) == (5, 5)

    def test_takes_hubs_that_nobody_agreed_to_out_of_a_near_slot(self, world: World, near: Booking) -> None:
        consent = question(near)
        assert (consent.is_explicit, consent.answer_by) == (True, world.slots[0].start_at)
        world.clock.moment = consent.answer_by

        assert [consents.settle(clock=world.clock) for _ in range(2)] == [1, 0]

        consent.refresh_from_db()
        assert (consent.state, consent.answered_by) == ("unanswered", None)
        assert [open_in(slot) for slot in world.slots] == [[], [], ["provisional"] * 3]
        assert not question(near).is_explicit
        assert told(Notice.Kind.BOOKING_MOVED) == [world.person.email]
        assert_books_balance()

    def test_hands_them_back_where_no_slot_is_far_enough(self, world: World, near: Booking) -> None:
        Slot.objects.filter(pk=world.slots[2].pk).update(capacity=1)
        world.clock.moment = question(near).answer_by

        consents.settle(clock=world.clock)

        assert [len(open_in(slot)) for slot in world.slots] == [0, 0, 1]
        assert Deployment.objects.filter(ending=Ending.NO_CONSENT, state=State.CANCELLED).count() == 2
        notice = Notice.objects.get(kind=Notice.Kind.BOOKING_MOVED)
        assert (notice.context["hubs"], notice.context["handed_back"]) == (1, 2)
        assert_books_balance()

    def test_asks_no_longer_about_hubs_that_are_gone(self, world: World, far: Booking) -> None:
        bookings.cancel(booking=far, by=world.person, reason="No", now=world.clock())

        assert [consents.settle(clock=world.clock) for _ in range(2)] == [1, 0]

        assert question(far).state == Consent.State.WITHDRAWN

    def test_asks_no_longer_about_a_slot_that_the_lead_has_left(self, world: World, far: Booking) -> None:
        world.clock.move(seconds=1)
        changes.move(
            booking=far,
            part=Part(),
            to=Destination(Booking.Plan.ONE_SLOT, world.slots[1].start_at),
            only_if_all=True,
            by=world.person,
            reason="Better then",
            clock=world.clock,
        )

        consents.settle(clock=world.clock)

        assert list(Consent.objects.order_by("id").values_list("state", flat=True)) == ["withdrawn", "asked"]

    def test_decides_during_a_halt_as_ever(self, world: World, far: Booking) -> None:
        halt(world)
        world.clock.moment = question(far).answer_by

        consents.settle(clock=world.clock)

        assert question(far).state == Consent.State.LAPSED
        assert states() == ["held"] * 3

    def test_leaves_a_withdrawn_release_alone(self, world: World, far: Booking) -> None:
        FirmwareRelease.objects.update(state=ReleaseState.WITHDRAWN, ended_at=world.clock())
        world.clock.moment = question(far).answer_by

        assert consents.settle(clock=world.clock) == 0
        work(world)
        assert consents.settle(clock=world.clock) == 1
        assert question(far).state == Consent.State.WITHDRAWN


class TestOweConsentAsked:
    def test_tells_each_side_by_role_and_participant_id_alone(
        self, world: World, far: Booking, other: User
    ) -> None:
        Notice.objects.all().delete()
        notices.owe_consent_asked(booking=far, now=question(far).asked_at)
        notices.owe_consent_asked(booking=far, now=question(far).asked_at)

        [notice] = Notice.objects.all()
        assert (notice.kind, notice.address) == (Notice.Kind.CONSENT_ASKED, other.email)
        words = notices.render(notice=notice)
        for said in (words.text, words.html):
            assert f"electricity Supplier {world.northern.import_participant_id}" in said
            assert "Northern" not in said
            assert "/consents/" in said
            assert "Silence is consent" in said
        assert "may 3 of your hubs get Spring release?" in words.subject


class TestEmails:
    """What the e-mails say: counts, links, roles and participant IDs; no name of the other side, and no hub."""

    def words(self, kind: Notice.Kind, address: str) -> notices.Words:
        [notice] = Notice.objects.filter(kind=kind, address=address).order_by("-id")[:1]
        words = notices.render(notice=notice)
        for said in (words.text, words.html):
            assert "http://127.0.0.1:8000/" in said
            assert "releases@dcc.example.com" in said
            assert "00-DB-" not in said
            assert "{{" not in said
            assert "{%" not in said
        assert "\n\n\n" not in words.text
        return words

    def test_of_an_objection_say_what_became_of_the_hubs_and_not_why(
        self, world: World, far: Booking, other: User
    ) -> None:
        Slot.objects.filter(pk=world.slots[1].pk).update(capacity=2)
        Slot.objects.filter(pk=world.slots[2].pk).update(capacity=0)
        object_to(world, question(far), other, window=window(world.slots[0]))

        objected = self.words(Notice.Kind.OBJECTED, world.person.email)
        moved = self.words(Notice.Kind.BOOKING_MOVED, world.person.email)

        assert f"Objection to 3 hubs of {far.reference}" in objected.subject
        assert f"gas Supplier {world.southern.gas_participant_id} objects to 3 hubs" in objected.text
        assert "2 hubs moved to another slot" in objected.text
        assert "1 hub handed back to you" in objected.text
        assert f"2 hubs of {far.reference} moved to other slots" in moved.subject
        assert "The portal has moved 2 hubs" in moved.text
        assert "the other Supplier objected" in moved.text
        assert "1 hub found no slot clear for both Suppliers" in moved.text
        for words in (objected, moved):
            assert "Southern" not in words.text + words.html
            assert "Price change" not in words.text + words.html

    def test_of_hubs_that_nobody_agreed_to_tell_even_when_all_come_back(
        self, world: World, near: Booking
    ) -> None:
        Slot.objects.filter(pk=world.slots[2].pk).update(capacity=0)
        world.clock.moment = question(near).answer_by
        consents.settle(clock=world.clock)

        words = self.words(Notice.Kind.BOOKING_MOVED, world.person.email)

        assert f"3 hubs of {near.reference} handed back" in words.subject
        assert "The portal has handed back 3 hubs" in words.text
        assert "did not agree in time" in words.text

    def test_of_silence_speak_to_either_side(self, world: World, far: Booking, other: User) -> None:
        world.clock.moment = question(far).answer_by
        consents.settle(clock=world.clock)

        asker = self.words(Notice.Kind.CONSENT_LAPSED, world.person.email)
        asked = self.words(Notice.Kind.CONSENT_LAPSED, other.email)

        assert f"The gas Supplier {world.southern.gas_participant_id} had not answered" in asker.text
        assert f"3 hubs of {far.reference}" in asker.text
        assert "Southern" not in asker.text + asker.html
        assert f"answered the electricity Supplier {world.northern.import_participant_id}" in asked.text
        assert "3 of your hubs" in asked.text
        assert "Northern" not in asked.text + asked.html

    @pytest.mark.parametrize(
        ("starts", "sentence"),
        [
            ((FAR,), "Silence is consent."),
            ((5 * HOUR,), "silence is not consent"),
            ((5 * HOUR, FAR), "Silence is consent, but for the slots that are near"),
        ],
    )
    def test_of_a_question_say_what_silence_means(
        self, world: World, other: User, starts: Sequence[timedelta], sentence: str
    ) -> None:
        world.shared(len(starts))
        for start in starts:
            world.slot(start=start, room=1)
        booking = world.book()
        notices.owe_consent_asked(booking=booking, now=question(booking).asked_at)

        assert sentence in self.words(Notice.Kind.CONSENT_ASKED, other.email).text


class TestNames:
    def test_follow_the_role_for_the_hubs_in_question(self, world: World, other: User) -> None:
        world.shared(1, electricity_commissioned=False)
        world.slot(start=FAR, room=3)
        # the gas Supplier leads where no electricity meter is commissioned
        selection = world.choose_ids(f"{CommunicationsHub.objects.get().pk:016X}", supplier=world.southern)
        booking = world.book(selection)

        [asked] = questions.to_answer(supplier=world.northern, limit=9)
        [waits] = questions.waiting(supplier=world.southern, limit=9)

        assert asked.booking == waits.booking == booking
        assert asked.party == f"gas Supplier {world.southern.gas_participant_id}"
        assert waits.party == f"electricity Supplier {world.northern.import_participant_id}"

    def test_fall_back_on_the_role_that_there_is(self) -> None:
        only_gas = Supplier(gas_participant_id="GASX")
        only_power = Supplier(import_participant_id="POWR")

        assert questions.name_of(party=only_gas, is_gas=False) == "gas Supplier GASX"
        assert questions.name_of(party=only_power, is_gas=True) == "electricity Supplier POWR"


class TestHubs:
    def test_are_those_asked_about_as_long_as_they_are_the_suppliers(
        self, world: World, far: Booking
    ) -> None:
        first, second, third = CommunicationsHub.objects.order_by("pk")
        consent = question(far)
        assert [one.hub for one in questions.hubs(consent=consent, start=0, limit=9)] == [
            first.pk,
            second.pk,
            third.pk,
        ]

        CommunicationsHub.objects.filter(pk=second.pk).update(gas_supplier=world.northern)

        page = questions.hubs(consent=consent, start=0, limit=1)
        assert [one.hub for one in page] == [first.pk]
        rest = questions.hubs(consent=consent, start=page[0].deployment, limit=9)
        assert [one.hub for one in rest] == [third.pk]


def work(world: World) -> None:
    """Let the timetable see what was decided about the release, and the workers act on it."""
    deployments.wake_stopped(now=world.clock())
    world.work()


def halt(world: World) -> None:
    decisions.halt(release=world.release, by=world.staff, reason="Hubs go quiet", now=world.clock())
    work(world)


def resume(world: World) -> None:
    world.resume(reason="Mended")
    work(world)
