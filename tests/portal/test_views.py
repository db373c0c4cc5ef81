"""Tests of the front door and of the way in for the invited."""

from datetime import timedelta

import pytest
from django.test import Client

from portal import operations
from portal.ground import clock
from portal.models import Invitation, User
from tests.factories import PASSWORD

ANSWER = {
    "first_name": "Noor",
    "last_name": "Haddad",
    "password1": "wide green lamp over water",
    "password2": "wide green lamp over water",
}


@pytest.fixture
def link(staff: User, northern: User) -> str:
    """Return the path of an open invitation to the northern Supplier."""
    address = operations.invite(
        email="noor@northern.example",
        supplier=northern.supplier,
        role="read-only",
        by=staff,
        now=clock.now(),
    )
    return "/" + address.split("/", 3)[3]


class TestInvitationView:
    def test_says_who_invites_and_for_whom(self, client: Client, link: str, staff: User) -> None:
        page = client.get(link).content.decode()

        assert str(staff) in page
        assert "Northern Light Energy" in page
        assert "noor@northern.example" in page

    def test_makes_the_account_and_signs_it_in(self, client: Client, link: str) -> None:
        response = client.post(link, ANSWER, follow=True)

        assert response.redirect_chain == [("/", 302)]
        assert response.context["user"].email == "noor@northern.example"
        assert "Northern Light Energy" in response.content.decode()

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"password1": "wide green", "password2": "wide green"}, "at least 15 characters"),
            ({"password1": "noor@northern.example", "password2": "noor@northern.example"}, "too similar"),
            ({"password2": "wide green lamp under water"}, "not the same"),
            ({"first_name": ""}, "This field is required"),
        ],
    )
    def test_names_what_is_wrong(
        self, client: Client, link: str, change: dict[str, str], complaint: str
    ) -> None:
        response = client.post(link, ANSWER | change)

        assert response.status_code == 200
        assert complaint in response.content.decode()
        assert not User.objects.filter(email="noor@northern.example").exists()

    def test_cannot_be_given_another_address(self, client: Client, link: str) -> None:
        client.post(link, ANSWER | {"email": "other@northern.example"})

        assert User.objects.filter(email="noor@northern.example").exists()
        assert not User.objects.filter(email="other@northern.example").exists()

    def test_says_what_to_do_when_used(self, client: Client, link: str) -> None:
        client.post(link, ANSWER)
        client.logout()

        for response in (client.get(link), client.post(link, ANSWER)):
            assert response.status_code == 410
            assert "has been used" in response.content.decode()

    def test_says_what_to_do_when_expired(self, client: Client, link: str, staff: User) -> None:
        Invitation.objects.update(expires_at=clock.now() - timedelta(seconds=1))

        response = client.get(link)

        assert response.status_code == 410
        assert f"Ask {staff} to invite you again" in response.content.decode()

    @pytest.mark.django_db
    def test_says_what_to_do_when_unknown(self, client: Client) -> None:
        response = client.get("/invitation/unknown/")

        assert response.status_code == 404
        assert "does not exist" in response.content.decode()

    def test_asks_whoever_is_signed_in_to_sign_out_first(
        self, client: Client, link: str, southern: User
    ) -> None:
        client.force_login(southern)

        assert client.get(link).status_code == 409
        assert client.post(link, ANSWER).status_code == 409
        assert Invitation.objects.get().accepted_at is None

        back = client.post("/accounts/logout/", {"next": link})
        assert back.headers["Location"] == link

    def test_is_not_kept_by_a_browser(self, client: Client, link: str) -> None:
        assert "no-store" in client.get(link).headers["Cache-Control"]


class TestLogin:
    def test_takes_the_address_in_any_case(self, client: Client, northern: User) -> None:
        response = client.post("/accounts/login/", {"login": "OPS@Northern.example", "password": PASSWORD})

        assert response.headers["Location"] == "/"

    def test_refuses_an_unknown_person_and_a_wrong_password_alike(
        self, client: Client, northern: User
    ) -> None:
        said = [
            client.post("/accounts/login/", {"login": login, "password": "wrong but long enough"})
            .context["form"]
            .errors.as_text()
            for login in (northern.email, "nobody@northern.example")
        ]

        assert said[0] == said[1]

    def test_refuses_even_the_right_password_after_too_many_wrong_ones(
        self, client: Client, northern: User
    ) -> None:
        for _ in range(5):
            client.post("/accounts/login/", {"login": northern.email, "password": "wrong but long enough"})

        response = client.post("/accounts/login/", {"login": northern.email, "password": PASSWORD})

        assert response.status_code == 200
        assert "Too many wrong attempts" in response.content.decode()

    def test_tells_only_the_deactivated_person_that_access_has_ended(
        self, client: Client, northern: User
    ) -> None:
        User.objects.filter(pk=northern.pk).update(is_active=False)

        wrong = client.post(
            "/accounts/login/", {"login": northern.email, "password": "wrong but long enough"}
        )
        right = client.post("/accounts/login/", {"login": northern.email, "password": PASSWORD}, follow=True)

        assert "_auth_user_id" not in client.session
        assert "access has ended" not in wrong.content.decode()
        assert "access has ended" in right.content.decode()

    def test_goes_nowhere_else(self, client: Client, northern: User) -> None:
        response = client.post(
            "/accounts/login/?next=https://elsewhere.example/",
            {"login": northern.email, "password": PASSWORD, "next": "https://elsewhere.example/"},
        )

        assert response.headers["Location"] == "/"
