"""What takes a second person, as the pages have it: every way in, the colleague's page, and the rule's."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub
from hubs.operations import count_fleet
from portal.ground.models import AuditEntry
from portal.ground.roles import SupplierRole
from portal.models import Invitation, User
from scheduling.models import Booking, Deployment, Proposal, SecondPersonRule
from scheduling.operations import proposals
from tests.factories import PASSWORD, UserFactory
from tests.scheduling.test_second_person import WHY, limit, picture
from tests.scheduling.world import World
from tests.signing_in import known_recently


@pytest.fixture
def world(todays_world: World, client: Client) -> World:
    """A world with six hubs, room for them twice, a colleague, and the northern person signed in."""
    world = todays_world
    world.hubs(6)
    world.slot(start=timedelta(days=5), room=6)
    world.slot(start=timedelta(days=6), room=6)
    count_fleet(now=world.clock())
    UserFactory.create(email="colleague@northern.example.com", supplier=world.northern)
    client.force_login(world.person)
    return world


@pytest.fixture
def colleague(world: World) -> Client:
    """The colleague's browser."""
    theirs = Client()
    theirs.force_login(User.objects.get(email="colleague@northern.example.com"))
    return theirs


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


Sent = tuple[str, dict[str, object]]


def book(world: World, client: Client) -> Sent:
    address = reverse("scheduling:check", args=[world.choose().pk])
    return address, {"plan": "earliest", "why": WHY}


def cancel(world: World, client: Client) -> Sent:
    return reverse("scheduling:cancel", args=[world.book().reference]), {"reason": WHY}


def change(world: World, client: Client, **how: object) -> Sent:
    address = reverse("scheduling:change", args=[world.book().reference])
    typed = {"reason": WHY, **how}
    seen = client.post(address, {**typed, "look": "1"}).context["seen"]
    return address, {**typed, "seen": seen}


def cancel_all(world: World, client: Client) -> Sent:
    return change(world, client, act="cancel")


def cancel_listed(world: World, client: Client) -> Sent:
    hubs = CommunicationsHub.objects.filter(lead_id=world.northern.pk).values_list("chf_id", flat=True)
    return change(world, client, act="cancel", hubs="\n".join(format_eui64(hub) for hub in hubs))


def move(world: World, client: Client) -> Sent:
    to = world.slots[1].start_at.strftime("%Y-%m-%dT%H:%M")
    return change(world, client, act="earliest", moment=to)


WAYS = pytest.mark.parametrize("way", [book, cancel, cancel_all, cancel_listed, move])
Way = Callable[[World, Client], Sent]


class TestEveryWay:
    @WAYS
    def test_leads_to_a_proposal(self, way: Way, world: World, client: Client) -> None:
        address, typed = way(world, client)
        limit(world, 2)
        before = picture()

        response = client.post(address, typed)

        proposal = Proposal.objects.get()
        assert response.headers["Location"] == reverse("scheduling:proposal", args=[proposal.pk])
        assert picture() == before
        assert (proposal.hubs, proposal.reason) == (6, WHY)
        page = words(client.get(response.headers["Location"]))
        assert "Nothing was done yet: a colleague has to agree." in page
        assert "Take it back" in page
        assert "Agree, and have it done now" not in page

    @WAYS
    def test_does_it_once_a_colleague_agrees(
        self, way: Way, world: World, client: Client, colleague: Client
    ) -> None:
        address, typed = way(world, client)
        limit(world, 2)
        client.post(address, typed)
        proposal = Proposal.objects.get()
        where = reverse("scheduling:proposal", args=[proposal.pk])
        known_recently(client=colleague, person=User.objects.get(email="colleague@northern.example.com"))

        assert "Agree, and have it done now" in words(colleague.get(where))
        response = colleague.post(where, {"agree": "1"}, follow=True)

        assert "Agreed. 6 hubs are" in words(response)
        assert reverse("scheduling:booking", args=[Booking.objects.get().reference]) in words(response)
        proposal.refresh_from_db()
        assert proposal.state == "agreed"

    @WAYS
    def test_does_it_at_once_within_the_rule(self, way: Way, world: World, client: Client) -> None:
        address, typed = way(world, client)
        limit(world, 12)

        response = client.post(address, typed)

        assert response.status_code == 302
        assert not Proposal.objects.exists()
        assert AuditEntry.objects.filter(verb__startswith="booking.").exists()

    @WAYS
    def test_ends_where_nobody_may_agree(self, way: Way, world: World, client: Client) -> None:
        address, typed = way(world, client)
        limit(world, 2)
        User.objects.filter(email="colleague@northern.example.com").update(role=SupplierRole.READ_ONLY)
        before = picture()

        response = client.post(address, typed)

        assert response.status_code == 409
        assert "Let an administrator invite a colleague" in words(response)
        assert picture() == before
        assert not Proposal.objects.exists()


class TestTheLastStep:
    def test_says_what_it_takes_before_it_is_pressed(self, world: World, client: Client) -> None:
        limit(world, 2)
        address = reverse("scheduling:check", args=[world.choose().pk])

        page = words(client.get(address, {"plan": "earliest"}))

        assert "at most 2 hubs in 24 hours alone; this is about 6. It is proposed to 1 colleague" in page
        assert "Propose to book 6 hubs" in page
        assert "no place is kept" in page

    def test_wants_to_know_why(self, world: World, client: Client) -> None:
        limit(world, 2)
        address, typed = book(world, client)

        response = client.post(address, {**typed, "why": " "})

        assert response.status_code == 409
        assert "Say why: your colleague reads it before agreeing." in words(response)
        assert not Proposal.objects.exists()

    def test_offers_nothing_where_nobody_may_agree(self, world: World, client: Client) -> None:
        limit(world, 2)
        User.objects.filter(email="colleague@northern.example.com").update(is_active=False)

        page = words(client.get(reverse("scheduling:check", args=[world.choose().pk]), {"plan": "earliest"}))

        assert "Nobody can agree to this." in page
        assert "Propose to book" not in page
        assert ">Book 6 hubs<" not in page

    def test_leads_to_the_proposal_that_waits(self, world: World, client: Client) -> None:
        limit(world, 2)
        address, typed = book(world, client)
        client.post(address, typed)
        where = reverse("scheduling:proposal", args=[Proposal.objects.get().pk])

        for again in (f"{address}?plan=earliest", address.removesuffix("check/")):
            assert client.get(again).headers["Location"] == where


@pytest.fixture
def proposal(world: World, client: Client) -> Proposal:
    limit(world, 2)
    address, typed = book(world, client)
    client.post(address, typed)
    return Proposal.objects.get()


def address_of(proposal: Proposal) -> str:
    return reverse("scheduling:proposal", args=[proposal.pk])


class TestAProposal:
    def test_is_on_the_first_page_of_both(
        self, proposal: Proposal, client: Client, colleague: Client
    ) -> None:
        mine, theirs = words(client.get("/")), words(colleague.get("/"))

        assert "Your proposal waits for a colleague" in mine
        assert "Book 6 hubs for Spring release?" in theirs
        assert "asks a second person to agree, by" in theirs
        for page in (mine, theirs):
            assert address_of(proposal) in page

    def test_leaves_the_first_page_once_nobody_can_answer_it(
        self, proposal: Proposal, colleague: Client
    ) -> None:
        User.objects.filter(pk=proposal.asked_by_id).update(is_active=False)
        assert address_of(proposal) not in words(colleague.get("/"))

        User.objects.filter(pk=proposal.asked_by_id).update(is_active=True)
        Proposal.objects.update(until=proposal.asked_at)
        assert address_of(proposal) not in words(colleague.get("/"))

    def test_is_shown_in_numbers(self, proposal: Proposal, colleague: Client) -> None:
        page = words(colleague.get(address_of(proposal)))

        assert "Book 6 hubs for Spring release" in page
        for said in (WHY, "As early as possible", "person@northern.example.com", "waits for a colleague"):
            assert said in page, said

    def test_asks_who_agrees_for_their_password_and_takes_it_up_again(
        self, proposal: Proposal, colleague: Client
    ) -> None:
        asked = colleague.post(address_of(proposal), {"agree": "1"})
        assert asked.headers["Location"].startswith("/accounts/reauthenticate/")
        assert not Booking.objects.exists()

        wrong = colleague.post(asked.headers["Location"], {"password": "not it"})
        assert wrong.status_code == 200
        assert not Booking.objects.exists()

        done = colleague.post(asked.headers["Location"], {"password": PASSWORD})
        assert done.headers["Location"] == address_of(proposal)
        assert Deployment.objects.count() == 6

    def test_says_what_differs_and_stays(self, proposal: Proposal, world: World, colleague: Client) -> None:
        known_recently(client=colleague, person=User.objects.get(email="colleague@northern.example.com"))
        CommunicationsHub.objects.filter(
            pk=CommunicationsHub.objects.order_by("pk").values_list("pk", flat=True)[0]
        ).update(status=7)

        response = colleague.post(address_of(proposal), {"agree": "1"})

        assert response.status_code == 409
        assert "it would not be what was asked for any more: 6 hubs" in words(response)
        assert "Agree, and have it done now" in words(response)
        assert not Booking.objects.exists()

    def test_is_declined_with_a_reason(self, proposal: Proposal, client: Client, colleague: Client) -> None:
        refused = colleague.post(address_of(proposal), {"decline": "1", "answer": ""})
        assert refused.status_code == 409

        colleague.post(address_of(proposal), {"decline": "1", "answer": "Not <mine>"})

        page = words(client.get(address_of(proposal)))
        assert "Declined" in page
        assert "Not &lt;mine&gt;" in page
        assert "Take it back" not in page

    def test_is_taken_back_by_its_own(self, proposal: Proposal, client: Client, colleague: Client) -> None:
        assert colleague.post(address_of(proposal), {"take-back": "1"}).status_code == 409
        assert client.post(address_of(proposal), {"take-back": "1"}).status_code == 302

        proposal.refresh_from_db()
        assert proposal.state == "taken_back"
        assert "Taken back" in words(colleague.get(reverse("scheduling:proposals")))

    def test_is_no_readers_to_answer(self, proposal: Proposal, world: World) -> None:
        reader = Client()
        reader.force_login(UserFactory.create(supplier=world.northern, role=SupplierRole.READ_ONLY))

        page = words(reader.get(address_of(proposal))).partition("<main")[2]
        assert "<form" not in page
        assert reader.post(address_of(proposal), {"agree": "1"}).status_code == 403

    def test_is_void_with_what_its_asker_signs_in_with(
        self, proposal: Proposal, world: World, colleague: Client
    ) -> None:
        world.person.set_password("another one that nobody knows")
        world.person.save()

        page = words(colleague.get(address_of(proposal)))
        assert "Nobody can agree any more." in page
        assert "Agree, and have it done now" not in page

    def test_is_listed_page_by_page(
        self, proposal: Proposal, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.views.proposals.PAGE", 1)
        address, typed = book(world, client)
        client.post(address, typed)

        first = client.get(reverse("scheduling:proposals"))
        second = client.get(first.context["next"])

        shown = [[row.record[0] for row in one.context["table"].rows] for one in (first, second)]
        assert shown == [[Proposal.objects.latest("pk")], [proposal]]


class TestTheRule:
    ADDRESS = "/people/second-person/"

    @pytest.fixture
    def administrator(self, world: World, client: Client) -> User:
        person = UserFactory.create(
            email="admin@northern.example.com", supplier=world.northern, role=SupplierRole.ADMINISTRATOR
        )
        known_recently(client=client, person=person)
        return person

    def test_is_stricter_at_once(self, administrator: User, world: World, client: Client) -> None:
        assert "100,000 hubs" in words(client.get(self.ADDRESS))

        response = client.post(self.ADDRESS, {"size": "50"}, follow=True)

        assert "Beyond 50 hubs in 24 hours a second person has to agree now." in words(response)
        assert SecondPersonRule.objects.get().size == 50
        assert "Beyond 50 hubs" in words(client.get("/people/"))

    def test_is_looser_once_a_colleague_agrees(
        self, administrator: User, world: World, client: Client, colleague: Client
    ) -> None:
        response = client.post(self.ADDRESS, {"size": "", "reason": ""})
        assert response.status_code == 409
        response = client.post(self.ADDRESS, {"size": "", "reason": WHY})
        [proposal] = Proposal.objects.all()
        assert response.headers["Location"] == address_of(proposal)
        assert not SecondPersonRule.objects.exists()
        known_recently(client=colleague, person=User.objects.get(email="colleague@northern.example.com"))

        page = words(colleague.get(address_of(proposal)))
        assert "100,000 hubs in 24 hours" in page
        assert "Any number of hubs" in page
        colleague.post(address_of(proposal), {"agree": "1"})

        assert SecondPersonRule.objects.get().size is None

    @pytest.mark.parametrize("size", ["0", "-1", "x", "9" * 12])
    def test_is_a_number_of_hubs(self, size: str, administrator: User, client: Client) -> None:
        assert client.post(self.ADDRESS, {"size": size}).context["form"].errors.keys() == {"size"}

    def test_says_what_happens_to_whoever_is_alone(
        self, administrator: User, world: World, client: Client
    ) -> None:
        User.objects.exclude(pk=administrator.pk).filter(supplier=world.northern).update(is_active=False)

        assert "Nobody may agree beside you." in words(client.get(self.ADDRESS))
        client.post(self.ADDRESS, {"size": "1"})
        client.post(self.ADDRESS, {"size": ""})  # and lifts it again, with nobody to ask
        assert SecondPersonRule.objects.get().size is None

    @pytest.mark.parametrize(
        ("address", "typed"),
        [
            ("/people/second-person/", {"size": "50"}),
            ("/people/invite/", {"email": "noor@northern.example.com", "role": "read-only"}),
        ],
    )
    def test_is_set_where_the_password_is_given_once_more(
        self, address: str, typed: dict[str, str], administrator: User, client: Client
    ) -> None:
        known_recently(client=client, person=administrator, ago=3_600)
        asked = client.post(address, typed)

        client.post(asked.headers["Location"], {"password": PASSWORD})

        assert SecondPersonRule.objects.exists() or Invitation.objects.exists()

    def test_is_proposed_by_administrators_alone(self, world: World, client: Client) -> None:
        known_recently(client=client, person=world.person)

        assert client.post(self.ADDRESS, {"size": "5"}).status_code == 403
        with pytest.raises(proposals.UnableToRule):
            proposals.rule(supplier=world.northern, size=5, by=world.person, reason="", now=world.clock())
