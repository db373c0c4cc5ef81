"""The exceptions queue and the exemptions, as DCC's people use them and nobody else can."""

import csv
import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from firmware.operations import groups as staff_groups
from hubs.identifiers import format_eui64
from portal.ground.models import AuditEntry
from portal.ground.uk_time import LONDON
from portal.models import User
from scheduling.models import CapacityPattern, Decision, Exemption, HubException
from scheduling.operations import allocations, exceptions
from scheduling.queries.exceptions import Portion
from tests.factories import PASSWORD
from tests.scheduling.test_exceptions import DAY, member, queue
from tests.scheduling.world import World

QUEUE = reverse("admin:scheduling_hubexception_changelist")


@pytest.fixture
def world(todays_world: World) -> World:
    """A world with five hubs of one Supplier, and one of another, in the queue."""
    world = todays_world
    queue(world, world.hubs(5))
    queue(world, world.hubs(1, supplier=world.southern), supplier_id=world.southern.pk)
    return world


@pytest.fixture
def manager(world: World) -> User:
    return member("manager@dcc.example.com", staff_groups.OPERATIONS, staff_groups.RELEASE_MANAGERS)


@pytest.fixture
def second(world: World) -> User:
    return member("second@dcc.example.com", staff_groups.APPROVERS)


def sign_in(client: Client, person: User) -> None:
    """Sign in as after typing the password a moment ago."""
    person.set_password(PASSWORD)
    person.save()
    client.force_login(person)
    session = client.session
    session["account_authentication_methods"] = [
        {"method": "password", "at": time.time(), "email": person.email, "reauthenticated": True}
    ]
    session["account_authentication_methods_user"] = str(person.pk)
    session.save()


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def of(world: World, page: str, *, name: str = "", **query: Any) -> str:
    address = reverse(f"admin:scheduling_hubexception_{page}", args=[name] if name else [])
    named = "".join(f"&{key}={value}" for key, value in query.items())
    return f"{address}?release={world.release.pk}{named}"


def uk(moment: Any) -> str:
    return f"{moment.astimezone(LONDON):%Y-%m-%dT%H:%M}"


class TestEveryPage:
    @pytest.fixture
    def addresses(self, world: World, manager: User) -> list[str]:
        decision = exceptions.ask_override(
            portion=Portion(world.release, supplier=world.southern),
            reason="Safety",
            by=manager,
            now=world.clock(),
        )
        exemption = Exemption.objects.create(
            release=world.release,
            supplier=world.northern,
            reason="Hospital",
            expires_at=world.clock() + DAY,
            made_by=manager,
            made_at=world.clock(),
        )
        return [
            QUEUE,
            of(world, "group"),
            of(world, "csv"),
            *(
                of(world, "decide", name=name, network=world.network.pk)
                for name in ("extend", "override", "exempt")
            ),
            reverse("admin:scheduling_hubexception_override", args=[decision.pk]),
            reverse("admin:scheduling_hubexception_change", args=[HubException.objects.all()[0].pk]),
            reverse("admin:scheduling_exemption_changelist"),
            reverse("admin:scheduling_exemption_add"),
            reverse("admin:scheduling_exemption_change", args=[exemption.pk]),
            reverse("admin:scheduling_exemption_end", args=[exemption.pk]),
        ]

    def test_answers_a_release_manager(self, addresses: list[str], manager: User, client: Client) -> None:
        client.force_login(manager)

        assert {address: client.get(address).status_code for address in addresses} == dict.fromkeys(
            addresses, 200
        )

    def test_lets_an_approver_read_but_not_decide(
        self, addresses: list[str], second: User, client: Client
    ) -> None:
        client.force_login(second)

        answers = [client.get(address).status_code for address in addresses]

        assert answers == [200, 200, 200, 403, 403, 403, 200, 200, 200, 403, 200, 403]

    def test_does_not_exist_for_a_supplier(self, addresses: list[str], world: World, client: Client) -> None:
        client.force_login(world.person)

        assert {client.get(address).status_code for address in addresses} == {404}
        assert {client.post(address).status_code for address in addresses} == {404}

    def test_is_closed_to_staff_without_a_group(self, addresses: list[str], client: Client) -> None:
        client.force_login(User.objects.create_user(email="new@dcc.example.com", is_staff=True))

        assert {client.get(address).status_code for address in addresses} == {403}

    @pytest.mark.parametrize("query", ["", "?release=0", "?release=x", "?release=1&why=none"])
    def test_is_not_found_where_the_address_names_no_group(
        self, query: str, manager: User, client: Client
    ) -> None:
        client.force_login(manager)

        for page in ("group", "csv"):
            address = reverse(f"admin:scheduling_hubexception_{page}")
            assert client.get(address + query).status_code == 404


class TestQueue:
    def test_counts_by_group(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        page = words(client.get(QUEUE))

        assert "6 hubs wait for a decision" in page
        assert (
            "<td>Northern</td> <td>North</td> <td>No clear slot at the default allocation</td> <td>5</td>"
            in page
        )
        assert "<td>Southern</td>" in page

    def test_says_what_would_be_here(self, world: World, manager: User, client: Client) -> None:
        HubException.objects.all().delete()
        client.force_login(manager)

        page = words(client.get(QUEUE))

        assert "Nothing waits for a decision" in page
        assert "Hubs come here when the default allocation finds no clear slot" in page


class TestGroup:
    def test_is_paged_by_key(
        self, world: World, manager: User, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.admin.exceptions.PAGE", 4)
        client.force_login(manager)
        hubs = [format_eui64(hub) for hub in sorted(HubException.objects.values_list("hub", flat=True))]

        first = client.get(of(world, "group"))
        rest = client.get(reverse("admin:scheduling_hubexception_group") + first.context["next_page"])

        assert [chf_id for _, chf_id in first.context["lines"]] == hubs[:4]
        assert [chf_id for _, chf_id in rest.context["lines"]] == hubs[4:]
        assert "First page" in words(rest)
        assert not rest.context["next_page"]

    def test_is_narrowed(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        page = words(client.get(of(world, "group", supplier=world.southern.pk, payment_mode=1)))

        assert "1 hub open: Lead Supplier Southern, credit." in page

    def test_can_be_taken_away(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        response = client.get(of(world, "csv", supplier=world.northern.pk))

        content = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
        rows = list(csv.reader(content.splitlines()))
        assert rows[0][:2] == ["CHF ID", "Lead Supplier"]
        assert len(rows) == 6
        assert {tuple(row[1:4]) for row in rows[1:]} == {
            ("Northern", "North", "No clear slot at the default allocation")
        }

    def test_offers_no_decision_to_who_may_not(self, world: World, second: User, client: Client) -> None:
        client.force_login(second)

        assert "Ask for an override" not in words(client.get(of(world, "group")))


class TestDecide:
    def test_extends_and_says_so(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)
        CapacityPattern.objects.create(
            network=world.network, weekday=0, starts="01:00", ends="02:00", capacity=3
        )
        end = world.release.periods.get().end_at + 7 * DAY

        response = client.post(
            of(world, "decide", name="extend", network=world.network.pk),
            {"until": uk(end), "reason": "Storm"},
            follow=True,
        )

        assert "6 hubs will be allocated again within a minute" in words(response)
        assert world.release.periods.get().end_at == end.replace(second=0, microsecond=0)
        assert allocations.allocate(clock=world.clock) == 2

    def test_exempts_a_part(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        response = client.post(
            of(world, "decide", name="exempt", supplier=world.northern.pk),
            {"until": uk(world.clock() + DAY), "reason": "Hospital"},
            follow=True,
        )

        assert "5 hubs exempted" in words(response)
        assert Exemption.objects.get().hubs == 5
        assert HubException.objects.filter(ended_at=None).count() == 1

    @pytest.mark.parametrize(
        ("act", "typed", "sentence"),
        [
            ("extend", {"until": "2001-01-01T00:00", "reason": "x"}, "Choose a later end"),
            ("extend", {"reason": "x"}, "This field is required"),
            ("exempt", {"until": "2101-01-01T00:00", "reason": "x"}, "at the latest with the release"),
            ("exempt", {"until": "yesterday", "reason": "x"}, "is not a date and a time"),
            ("override", {"reason": " "}, "This field is required"),
        ],
    )
    def test_says_what_is_wrong_and_keeps_what_was_typed(
        self, act: str, typed: dict[str, str], sentence: str, world: World, manager: User, client: Client
    ) -> None:
        client.force_login(manager)

        page = words(client.post(of(world, "decide", name=act, network=world.network.pk), typed))

        assert sentence in page
        assert typed.get("until", "") in page
        assert not Decision.objects.exists()

    def test_says_that_a_period_belongs_to_a_network(
        self, world: World, manager: User, client: Client
    ) -> None:
        client.force_login(manager)

        page = client.post(
            of(world, "decide", name="extend"), {"until": uk(world.clock() + 90 * DAY), "reason": "x"}
        )

        assert "Choose one network" in words(page)

    def test_has_no_other_acts(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)

        assert client.get(of(world, "decide", name="forget")).status_code == 404


class TestOverride:
    @pytest.fixture
    def decision(self, world: World, manager: User, client: Client) -> Decision:
        world.slot(start=timedelta(hours=5), room=10)
        client.force_login(manager)
        client.post(of(world, "decide", name="override"), {"reason": "Safety"})
        return Decision.objects.get()

    def address(self, decision: Decision) -> str:
        return reverse("admin:scheduling_hubexception_override", args=[decision.pk])

    def test_is_shown_to_the_second_person_and_approved(
        self, decision: Decision, world: World, second: User, client: Client
    ) -> None:
        sign_in(client, second)
        assert "Overrides that wait" in words(client.get(QUEUE))
        assert "6 hubs would be booked into the first slots" in words(client.get(self.address(decision)))

        response = client.post(self.address(decision), {"approve": "yes"}, follow=True)

        assert "Approved. Its 6 hubs are booked within a minute." in words(response)
        assert allocations.allocate(clock=world.clock) == 2
        assert "done" in words(client.get(QUEUE))
        assert AuditEntry.objects.get(verb="exception.override_approved").actor == second

    def test_is_not_approved_by_who_asked(self, decision: Decision, manager: User, client: Client) -> None:
        manager.is_superuser = True
        manager.save()
        sign_in(client, manager)

        page = client.get(self.address(decision))
        response = client.post(self.address(decision), {"approve": "yes"}, follow=True)

        assert "somebody else has to approve it" in words(page)
        assert "Approve the override" not in words(page)
        assert "Somebody else has to approve it" in words(response)
        decision.refresh_from_db()
        assert decision.approved_at is None

    def test_asks_the_second_person_who_they_are(
        self, decision: Decision, second: User, client: Client
    ) -> None:
        second.set_password(PASSWORD)
        second.save()
        client.force_login(second)

        response = client.post(self.address(decision), {"approve": "yes"})

        assert "reauthenticate" in response.headers["Location"]
        decision.refresh_from_db()
        assert decision.approved_at is None

    def test_is_dropped_with_a_reason(self, decision: Decision, second: User, client: Client) -> None:
        client.force_login(second)
        assert "This field is required" in words(client.post(self.address(decision), {"reason": ""}))

        response = client.post(self.address(decision), {"reason": "Too early"}, follow=True)

        assert "Dropped. Its hubs are open for another decision." in words(response)
        assert "Dropped" in words(client.get(self.address(decision)))
        assert "dropped by second@dcc.example.com" in words(client.get(QUEUE))


class TestExemption:
    def typed(self, world: World, **changed: Any) -> dict[str, Any]:
        return {
            "release": world.release.pk,
            "supplier": world.northern.pk,
            "network": "",
            "listed": "",
            "reason": "Hospital",
            "expires_at": uk(world.clock() + DAY),
            **changed,
        }

    def test_is_made_for_listed_hubs(self, world: World, manager: User, client: Client) -> None:
        hub = world.hubs(1)[0]
        client.force_login(manager)

        response = client.post(
            reverse("admin:scheduling_exemption_add"),
            self.typed(world, listed=f"\n{format_eui64(hub.chf_id)}\n"),
        )

        assert response.status_code == 302
        exemption = Exemption.objects.get()
        assert (exemption.hubs, exemption.made_by) == (1, manager)
        assert exemption.listed.get().hub == hub.chf_id
        assert "1 listed hub" in words(client.get(reverse("admin:scheduling_exemption_changelist")))

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            ({"reason": ""}, "This field is required"),
            ({"expires_at": ""}, "This field is required"),
            ({"expires_at": "2101-01-01T00:00"}, "at the latest with the release"),
            ({"listed": "nonsense"}, "is not a CHF or GPF ID"),
            (
                {"listed": "00-DB-00-00-00-00-00-01"},
                "1 of the 1 listed hubs are not hubs that Northern leads",
            ),
            ({"listed": "00-DB-00-00-00-00-00-01", "network": "own"}, "not both"),
        ],
    )
    def test_is_refused_beside_its_fields(
        self, changed: dict[str, Any], sentence: str, world: World, manager: User, client: Client
    ) -> None:
        client.force_login(manager)
        if "network" in changed:
            changed = changed | {"network": world.network.pk}

        response = client.post(reverse("admin:scheduling_exemption_add"), self.typed(world, **changed))

        assert sentence in words(response)
        assert not Exemption.objects.exists()

    def test_is_ended_early(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)
        client.post(reverse("admin:scheduling_exemption_add"), self.typed(world))
        exemption = Exemption.objects.get()
        shown = reverse("admin:scheduling_exemption_change", args=[exemption.pk])
        end = reverse("admin:scheduling_exemption_end", args=[exemption.pk])
        assert "End it early" in words(client.get(shown))

        response = client.post(end, {"reason": "Was a mistake"}, follow=True)

        assert "Ended. Its hubs are allocated like any others" in words(response)
        exemption.refresh_from_db()
        assert exemption.ended_by == manager
        assert "End it early" not in words(client.get(shown))
        assert "ended already" in words(client.post(end, {"reason": "Again"}, follow=True))

    def test_is_never_changed_or_deleted(self, world: World, manager: User, client: Client) -> None:
        client.force_login(manager)
        client.post(reverse("admin:scheduling_exemption_add"), self.typed(world))
        address = reverse("admin:scheduling_exemption_change", args=[Exemption.objects.get().pk])

        assert client.post(address, {"reason": "Other"}).status_code == 403
        assert client.post(address.replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
