"""The pages of consents: what either side sees, how it answers, and what it never learns of the other."""

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub
from hubs.operations import count_fleet
from portal.ground.uk_time import LONDON
from portal.models import User
from scheduling.models import Booking, Consent, Deployment, Objection, ProtectedWindow
from scheduling.operations import consents as acts
from scheduling.operations.consents import Offer
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.world import World

LIST = "/consents/"
FAR = timedelta(days=20)


@pytest.fixture
def world(todays_world: World) -> World:
    """A world in which the northern Supplier has booked one hub of its own and two that it shares."""
    todays_world.hubs(1)
    todays_world.shared(2)
    for hour in range(3):
        todays_world.slot(start=FAR + timedelta(hours=hour), room=3)
    count_fleet(now=todays_world.clock())
    return todays_world


@pytest.fixture
def booking(world: World) -> Booking:
    return world.book(start_at=world.slots[0].start_at)


@pytest.fixture
def consent(booking: Booking) -> Consent:
    return Consent.objects.get(booking=booking)


@pytest.fixture
def other(world: World, booking: Booking, client: Client) -> User:
    """A person of the southern Supplier, which is asked: signed in."""
    person = User.objects.create_user(
        email="person@southern.example.com", first_name="Sue", last_name="Stern", supplier=world.southern
    )
    client.force_login(person)
    return person


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def said(response: Any) -> str:
    """Return what a page says, without its markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def rows_of(response: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(response.getvalue().decode("utf-8-sig"))))


class TestConsents:
    def test_asks_the_other_supplier_by_booking_with_its_hubs_alone(
        self, world: World, booking: Booking, consent: Consent, other: User, client: Client
    ) -> None:
        page = said(client.get(LIST))

        assert f"{world.release.name}: 2 hubs in 1 slot" in page
        assert (
            f"{booking.reference}, asked by the electricity Supplier {world.northern.import_participant_id}"
            in page
        )
        assert "Agree to all 2" in page
        assert "Silence is consent" in page
        assert "3 hubs" not in page

    def test_names_neither_the_asker_nor_its_people(
        self, world: World, booking: Booking, consent: Consent, other: User, client: Client
    ) -> None:
        acts.object_to(
            consent=consent,
            offer=Offer(hubs=None, alternative=world.slots[1]),
            reason="Price change",
            by=other,
            clock=world.clock,
        )
        pages = [
            client.get(LIST),
            client.get("/"),
            client.get(f"/consents/{consent.pk}/"),
            client.get("/consents.csv"),
        ]

        for page in pages:
            text = page.getvalue().decode()
            assert "Northern" not in text
            assert world.person.email not in text

    def test_shows_the_asker_whom_it_waits_for(self, world: World, booking: Booking, client: Client) -> None:
        client.force_login(world.person)

        page = said(client.get(LIST))

        assert "Nobody waits for your answer" in page
        assert f"gas Supplier {world.southern.gas_participant_id} 2 1" in page
        assert "Southern" not in page

    def test_says_what_would_be_here(self, world: World, client: Client) -> None:
        client.force_login(world.person)

        page = said(client.get(LIST))

        assert "they are listed here until you have agreed or objected" in page
        assert "None of your bookings waits" in page

    def test_counts_for_the_menu_and_the_first_page(
        self, world: World, consent: Consent, other: User, client: Client
    ) -> None:
        home = said(client.get("/"))

        assert "Consents 1 to answer" in home
        assert "2 shared hubs to answer for in 1 slot" in home
        acts.agree(consents=[consent], by=other, now=world.clock())
        home = said(client.get("/"))
        assert "to answer" not in home

    def test_asks_the_same_questions_however_much_there_is(
        self, world: World, booking: Booking, other: User, client: Client
    ) -> None:
        few = queries_of(client, LIST)
        for slot in world.slots[1:]:
            world.shared(2)
            world.book(start_at=slot.start_at)

        assert len(queries_of(client, LIST)) == len(few)

    def test_pages_what_was_answered(
        self, world: World, consent: Consent, other: User, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.views.consents.PAGE", 1)
        world.shared(1)
        later = world.book(start_at=world.slots[1].start_at)
        acts.agree(consents=list(Consent.objects.all()), by=other, now=world.clock())

        first = client.get(LIST)
        second = client.get(LIST, {"after": Consent.objects.order_by("-id")[0].pk})
        last = client.get(LIST, {"after": consent.pk})

        assert later.reference in words(first)
        assert consent.booking.reference not in words(first)
        assert consent.booking.reference in words(second)
        assert "There are no more answers" in words(last)


class TestAgree:
    def test_to_one_question_books_its_hubs(self, consent: Consent, other: User, client: Client) -> None:
        page = said(client.post(LIST, {"consent": consent.pk}, follow=True))

        assert "Agreed: 2 hubs in 1 slot" in page
        consent.refresh_from_db()
        assert (consent.state, consent.answered_by) == ("given", other)

    def test_to_all_of_a_booking_leaves_what_came_later(
        self, world: World, booking: Booking, consent: Consent, other: User, client: Client
    ) -> None:
        acts.object_to(
            consent=consent,
            offer=Offer(
                hubs=[Deployment.objects.filter(state="provisional").order_by("id")[0].hub_id],
                window=ProtectedWindow(
                    kind="tariff",
                    reason="Price change",
                    scope="hubs",
                    start_at=world.slots[0].start_at,
                    end_at=world.slots[0].end_at,
                ),
            ),
            reason="Price change",
            by=other,
            clock=world.clock,
        )

        client.post(LIST, {"booking": booking.reference, "latest": consent.pk})

        assert list(Consent.objects.order_by("id").values_list("state", flat=True)) == ["given", "asked"]

    @pytest.mark.parametrize(
        "asked",
        [{}, {"consent": "no number"}, {"consent": 2**62}, {"booking": "BK-2222-2222", "latest": "9"}],
    )
    def test_to_nothing_says_so(
        self, consent: Consent, other: User, client: Client, asked: dict[str, Any]
    ) -> None:
        page = said(client.post(LIST, asked, follow=True))

        assert "Nothing was answered. Nothing was chosen." in page

    def test_too_late_says_what_was_decided(self, consent: Consent, other: User, client: Client) -> None:
        Consent.objects.update(answer_by=consent.asked_at)

        page = said(client.post(LIST, {"consent": consent.pk}, follow=True))

        assert "Nothing was answered." in page
        assert "Nobody did, and silence is consent." in page

    def test_is_not_open_to_the_asker(self, world: World, consent: Consent, client: Client) -> None:
        client.force_login(world.person)

        page = said(client.post(LIST, {"consent": consent.pk}, follow=True))

        assert "Nothing was chosen" in page
        consent.refresh_from_db()
        assert consent.state == Consent.State.ASKED


class TestConsent:
    def test_lists_the_shared_hubs_and_no_other(
        self, world: World, consent: Consent, other: User, client: Client
    ) -> None:
        own = CommunicationsHub.objects.get(gas_supplier=None)

        page = words(client.get(f"/consents/{consent.pk}/"))

        for hub in CommunicationsHub.objects.filter(gas_supplier=world.southern):
            assert format_eui64(hub.pk) in page
        assert format_eui64(own.pk) not in page
        assert "Agree to 2 hubs" in page

    def test_pages_them_by_key(
        self, consent: Consent, other: User, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.views.consents.HUBS", 1)

        first = words(client.get(f"/consents/{consent.pk}/"))
        onwards = re.search(r"after=(\d+)", first)
        assert onwards
        second = words(client.get(f"/consents/{consent.pk}/", {"after": onwards[1]}))

        ids = [set(re.findall(r"/hubs/([0-9A-F-]{23})/", page)) for page in (first, second)]
        assert [len(one) for one in ids] == [1, 1]
        assert ids[0] != ids[1]

    def test_offers_no_answer_once_there_is_one(
        self, world: World, consent: Consent, other: User, client: Client
    ) -> None:
        acts.agree(consents=[consent], by=other, now=world.clock())

        page = said(client.get(f"/consents/{consent.pk}/"))

        assert "Agree to" not in page
        assert "Agreed, " in page

    def test_gives_its_hubs_as_a_file(
        self, world: World, consent: Consent, other: User, client: Client
    ) -> None:
        rows = rows_of(client.get(f"/consents/{consent.pk}/hubs.csv"))

        shared = CommunicationsHub.objects.filter(gas_supplier=world.southern).order_by("pk")
        assert rows == [["CHF ID", "State"], *([format_eui64(hub.pk), "Provisional"] for hub in shared)]


class TestExport:
    def test_has_both_directions(
        self, world: World, booking: Booking, consent: Consent, other: User, client: Client
    ) -> None:
        [header, asked] = rows_of(client.get("/consents.csv"))
        client.force_login(world.person)
        [_, asks] = rows_of(client.get("/consents.csv"))

        assert header[:4] == ["Direction", "Booking", "Release", "Other side"]
        assert asked[:2] == ["Asked of us", booking.reference]
        assert asked[3] == f"electricity Supplier {world.northern.import_participant_id}"
        assert asked[6:8] == ["2", "To be answered"]
        assert asks[0] == "Asked by us"
        assert asks[3] == f"gas Supplier {world.southern.gas_participant_id}"


def local(moment: Any) -> str:
    return f"{moment.astimezone(LONDON):%Y-%m-%dT%H:%M}"


@pytest.fixture
def told(world: World) -> dict[str, Any]:
    """What the form is told to object to all hubs with a window over the slot."""
    slot = world.slots[0]
    return {
        "which": "all",
        "reason": "Price change that night",
        "instead": "window",
        "kind": "tariff",
        "scope": "hubs",
        "start": local(slot.start_at - timedelta(hours=1)),
        "end": local(slot.end_at + timedelta(minutes=1)),
    }


def post(client: Client, consent: Consent, told: dict[str, Any], **more: Any) -> Any:
    return client.post(f"/consents/{consent.pk}/object/", told | more)


def look_and_do(client: Client, consent: Consent, told: dict[str, Any]) -> Any:
    """Look at what would happen, then do exactly that; return the page that follows."""
    seen = post(client, consent, told, look="1").context["seen"]
    return client.post(f"/consents/{consent.pk}/object/", told | {"seen": seen}, follow=True)


class TestObject:
    def test_begins_with_the_slots_own_span_and_what_else_is_open(
        self, world: World, consent: Consent, other: User, client: Client
    ) -> None:
        form = client.get(f"/consents/{consent.pk}/object/").context["form"]

        assert form["start"].value() == local(world.slots[0].start_at)
        assert [value for value, _ in form.fields["alternative"].choices] == [
            "",
            world.slots[1].pk,
            world.slots[2].pk,
        ]

    def test_offers_no_slot_that_is_closed_to_the_asker_and_says_no_reason(
        self, world: World, consent: Consent, other: User, client: Client
    ) -> None:
        world.protect(start=FAR + timedelta(hours=1))

        response = client.get(f"/consents/{consent.pk}/object/")

        values = [value for value, _ in response.context["form"].fields["alternative"].choices]
        assert values == ["", world.slots[2].pk]
        assert "Spring tariff" not in words(response)

    def test_shows_the_numbers_before_anything_happens(
        self, consent: Consent, other: User, client: Client, told: dict[str, Any]
    ) -> None:
        page = said(post(client, consent, told, look="1"))

        assert "2 hubs will leave the slot" in page
        assert "2 will move to the first slots clear for both" in page
        assert "Object to 2 hubs" in page
        assert not Objection.objects.exists()

    def test_does_what_was_shown(
        self, world: World, consent: Consent, other: User, client: Client, told: dict[str, Any]
    ) -> None:
        page = said(look_and_do(client, consent, told))

        assert "You have objected to 2 hubs: 2 moved to another slot, 0 handed back" in page
        assert Objection.objects.get().reason == "Price change that night"
        assert ProtectedWindow.objects.get().supplier == world.southern

    def test_looks_again_where_the_choice_has_changed(
        self, consent: Consent, other: User, client: Client, told: dict[str, Any]
    ) -> None:
        seen = post(client, consent, told, look="1").context["seen"]

        page = said(post(client, consent, told | {"scope": "all"}, seen=seen))

        assert "Your choice has changed." in page
        assert not Objection.objects.exists()

    def test_to_a_list_with_another_slot(
        self, world: World, consent: Consent, other: User, client: Client, told: dict[str, Any]
    ) -> None:
        hub = CommunicationsHub.objects.filter(gas_supplier=world.southern)[0]
        slot = {
            "which": "list",
            "hubs": format_eui64(hub.pk),
            "instead": "slot",
            "alternative": world.slots[2].pk,
        }

        page = said(look_and_do(client, consent, told | slot))

        assert "You have objected to 1 hub: 1 moved" in page
        assert Objection.objects.get().alternative == world.slots[2]
        consent.refresh_from_db()
        assert consent.state == Consent.State.ASKED

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            ({"reason": ""}, "This field is required"),
            ({"which": "list"}, "List the hubs that you object to"),
            ({"which": "list", "hubs": "lamp post"}, "Not a CHF ID: lamp post"),
            ({"instead": "slot"}, "Choose the slot that you offer"),
            ({"instead": "slot", "alternative": "123456"}, "That slot is no longer free"),
            ({"kind": ""}, "Choose what the protected window is for"),
            ({"start": ""}, "Give the beginning of the protected window"),
            ({"end": "2020-01-01T00:00"}, "The end is not after the start"),
            ({"start": "2020-01-01T00:00", "end": "2020-01-01T01:00"}, "does not touch this slot"),
        ],
    )
    def test_says_what_is_missing(
        self,
        consent: Consent,
        other: User,
        client: Client,
        told: dict[str, Any],
        changed: dict[str, Any],
        sentence: str,
    ) -> None:
        page = said(post(client, consent, told | changed, look="1"))

        assert "Nothing was done." in page
        assert sentence in page
        assert not Objection.objects.exists()

    def test_tells_nothing_of_a_hub_that_is_not_in_question(
        self, consent: Consent, other: User, client: Client, told: dict[str, Any]
    ) -> None:
        own = CommunicationsHub.objects.get(gas_supplier=None)
        answers = [
            said(post(client, consent, told | {"which": "list", "hubs": text}, look="1"))
            for text in (format_eui64(own.pk), "00-00-00-00-00-00-00-01")
        ]

        for page in answers:
            assert "1 of the 1 listed hubs is not waiting for your answer in this slot" in page

    def test_too_late_says_what_was_decided(
        self, consent: Consent, other: User, client: Client, told: dict[str, Any]
    ) -> None:
        Consent.objects.update(answer_by=consent.asked_at)

        response = post(client, consent, told, look="1")

        assert response.status_code == 409
        assert "silence is consent" in said(response)


class TestTheAskersBooking:
    def test_says_which_parts_wait_for_whom_until_when(
        self, world: World, booking: Booking, client: Client
    ) -> None:
        client.force_login(world.person)

        page = said(client.get(reverse("scheduling:booking", args=[booking.reference])))

        assert "Waits for the other Supplier" in page
        assert f"gas Supplier {world.southern.gas_participant_id}" in page
        assert "Southern" not in page

    def test_says_who_objected_and_why_but_names_no_person(
        self, world: World, booking: Booking, consent: Consent, other: User, client: Client
    ) -> None:
        acts.object_to(
            consent=consent,
            offer=Offer(hubs=None, alternative=world.slots[1]),
            reason="Price change that night",
            by=other,
            clock=world.clock,
        )
        client.force_login(world.person)

        page = said(client.get(reverse("scheduling:booking", args=[booking.reference])))

        assert "2 hubs in the slot of" in page
        assert "Price change that night" in page
        assert "2 moved; it offered the slot of" in page
        assert "Objected to by the other Supplier: 2 hubs" in page
        for name in ("Sue", "Stern", "Southern", other.email):
            assert name not in page
