"""A Supplier's administrators and their people, as the pages have it."""

from datetime import timedelta

import pytest
from django.test import Client

from portal import queries
from portal.ground import audit, clock
from portal.ground.models import AuditEntry
from portal.ground.roles import SupplierRole
from portal.models import Invitation, User
from tests.factories import PASSWORD, UserFactory
from tests.signing_in import known_recently


@pytest.fixture
def administrator(northern: User, client: Client) -> User:
    """An administrator of the northern Supplier, signed in."""
    person = UserFactory.create(
        email="admin@northern.example", supplier=northern.supplier, role=SupplierRole.ADMINISTRATOR
    )
    known_recently(client=client, person=person)
    return person


def words(client: Client, address: str) -> str:
    return " ".join(client.get(address).content.decode().split())


class TestPeople:
    def test_are_ones_own_with_the_invited(
        self, administrator: User, northern: User, southern: User, client: Client
    ) -> None:
        client.post("/people/invite/", {"email": "noor@northern.example", "role": "read-only"})

        page = words(client, "/people/")

        assert northern.email in page
        assert "noor@northern.example" in page
        assert southern.email not in page

    def test_are_in_the_menu_of_administrators_alone(
        self, administrator: User, northern: User, client: Client
    ) -> None:
        assert 'href="/people/"' in words(client, "/")
        known_recently(client=client, person=northern)
        assert 'href="/people/"' not in words(client, "/")


class TestInviting:
    def test_keeps_a_place_with_its_role(self, administrator: User, client: Client) -> None:
        response = client.post("/people/invite/", {"email": "noor@northern.example", "role": "read-only"})

        assert response.headers["Location"] == "/people/"
        invitation = Invitation.objects.get()
        assert (invitation.supplier, invitation.role) == (administrator.supplier, "read-only")

    def test_goes_on_once_the_password_was_given_again(self, administrator: User, client: Client) -> None:
        known_recently(client=client, person=administrator, ago=600)

        asked = client.post("/people/invite/", {"email": "noor@northern.example", "role": "read-only"})
        response = client.post(asked.headers["Location"], {"password": PASSWORD})

        assert response.headers["Location"] == "/people/"
        assert Invitation.objects.get().email == "noor@northern.example"

    def test_says_why_not(self, administrator: User, northern: User, client: Client) -> None:
        response = client.post("/people/invite/", {"email": northern.email, "role": "read-only"})

        assert response.status_code == 409
        assert "has an account already" in response.content.decode()

    def test_can_be_repeated_and_taken_back(self, administrator: User, client: Client) -> None:
        client.post("/people/invite/", {"email": "noor@northern.example", "role": "read-only"})
        first = Invitation.objects.get()

        client.post(f"/people/invitations/{first.pk}/", {"again": "1"})
        second = Invitation.objects.get()
        assert second.token_digest != first.token_digest
        assert second.role == "read-only"

        client.post(f"/people/invitations/{second.pk}/", {"withdraw": "1"})
        assert not Invitation.objects.exists()


class TestColleague:
    def test_gets_another_role(self, administrator: User, northern: User, client: Client) -> None:
        client.post(f"/people/{northern.pk}/", {"role": "read-only", "reason": "Billing", "role-change": "1"})

        northern.refresh_from_db()
        assert northern.role == SupplierRole.READ_ONLY
        assert AuditEntry.objects.get().reason == "Billing"

    def test_is_out_at_once_and_in_again(self, administrator: User, northern: User, client: Client) -> None:
        theirs = Client()
        theirs.force_login(northern)
        address = f"/people/{northern.pk}/"

        client.post(address, {"role": northern.role, "reason": "Left", "end": "1"})
        assert theirs.get("/").headers["Location"].startswith("/accounts/login/")
        assert "access ended" in words(client, address)

        client.post(address, {"role": northern.role, "give-back": "1"})
        northern.refresh_from_db()
        assert northern.is_active

    def test_stays_the_last_administrator(self, administrator: User, client: Client) -> None:
        response = client.post(f"/people/{administrator.pk}/", {"role": "operations", "role-change": "1"})

        assert response.status_code == 409
        assert "the last administrator of your Supplier" in response.content.decode()

    def test_ends_nobodys_own_access(self, administrator: User, client: Client) -> None:
        assert "End their access" not in words(client, f"/people/{administrator.pk}/")

        response = client.post(f"/people/{administrator.pk}/", {"role": "administrator", "end": "1"})

        assert response.status_code == 409
        assert User.objects.get(pk=administrator.pk).is_active


class TestRecord:
    @pytest.fixture
    def recorded(self, administrator: User, northern: User, southern: User, staff: User) -> None:
        now = clock.now()
        for number, (actor, verb) in enumerate(
            (
                (northern, "booking.made"),
                (southern, "booking.made"),
                (staff, "release.published"),
                (None, "booking.done"),
                (administrator, "user.role_changed"),
            )
        ):
            audit.record(
                actor=actor,
                verb=verb,
                subject=f"thing:{number}",
                reason="=HYPERLINK(1)" if actor == northern else "",
                facts={"secret": "of another"},
                now=now - timedelta(days=number),
            )

    def test_is_ones_own(self, recorded: None, client: Client) -> None:
        page = words(client, "/record/")

        assert "thing:0" in page
        assert "thing:4" in page
        assert not [number for number in (1, 2, 3) if f"thing:{number}" in page]
        assert "of another" not in page
        assert "Acting as" in page

    def test_is_narrowed_by_person_act_and_day(
        self, recorded: None, administrator: User, northern: User, southern: User, client: Client
    ) -> None:
        def shown(query: str) -> list[str]:
            page = words(client, f"/record/?{query}")
            return [f"thing:{number}" for number in range(5) if f"thing:{number}" in page]

        day = (clock.now() - timedelta(days=3)).date()
        assert shown(f"person={northern.pk}") == ["thing:0"]
        assert shown("act=Booking+made") == ["thing:0"]
        assert shown("act=user.role") == ["thing:4"]
        assert shown("act=%25") == []
        assert shown(f"last_day={day}") == ["thing:4"]
        assert shown(f"first_day={day}") == ["thing:0"]
        # somebody else's person is not among those to choose from
        assert shown(f"person={southern.pk}") == ["thing:0", "thing:4"]
        assert shown("first_day=9999-12-31&last_day=0001-01-01&before=x") == ["thing:0", "thing:4"]

    def test_is_paged_by_key(self, recorded: None, northern: User) -> None:
        assert northern.supplier is not None
        newest = queries.deeds(supplier=northern.supplier, start=None, limit=1)
        older = queries.deeds(supplier=northern.supplier, start=newest[0].pk, limit=5)

        assert [deed.subject for deed in newest + older] == ["thing:4", "thing:0"]

    @pytest.mark.parametrize("at_a_time", [1, 3, 10, 2_000])
    def test_is_exported_whole(
        self,
        at_a_time: int,
        northern: User,
        administrator: User,
        southern: User,
        client: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """However it falls into pages, and whoever of the Supplier's acted in between."""
        monkeypatch.setattr(queries, "DEEDS_AT_A_TIME", at_a_time)
        for number in range(10):
            actor = (northern, administrator, southern)[number % 3]
            audit.record(actor=actor, verb="thing.done", subject=f"thing:{number}", now=clock.now())

        lines = client.get("/record.csv?act=thing").getvalue().decode().splitlines()  # type: ignore[attr-defined]

        assert [line.split(",")[5] for line in lines[1:]] == [
            f"thing:{number}" for number in (9, 7, 6, 4, 3, 1, 0)
        ]

    def test_is_exported_as_text(self, recorded: None, client: Client) -> None:
        lines = client.get("/record.csv").getvalue().decode().splitlines()  # type: ignore[attr-defined]

        assert lines[0].split(",")[2:4] == ["E-mail address", "Acting as"]
        assert [line.split(",")[3] for line in lines[1:]] == ["Administrator", "Operations"]
        assert len(lines) == 3
        assert "'=HYPERLINK(1)" in lines[2]
        assert lines[1].endswith(",User role changed,thing:4,")
