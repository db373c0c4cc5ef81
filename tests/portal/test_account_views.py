"""Tests of the pages of somebody's own account."""

import re
from http import HTTPStatus

import pytest
from django.test import Client
from django.urls import reverse

from portal.models import Session, User
from tests.portal.test_access import assert_obeys_policy
from tests.portal.test_second_factors import with_app
from tests.portal.test_sessions import is_alive, sign_in
from tests.signing_in import known_recently

ACCOUNT = "/accounts/"
END = "/accounts/sessions/end/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class TestAccount:
    def test_says_where_one_is_signed_in_and_which_is_this_one(self, northern: User, southern: User) -> None:
        sign_in(northern, user_agent=FIREFOX)
        client = sign_in(northern)
        sign_in(southern)

        page = client.get(ACCOUNT).content.decode()

        assert page.count("This one") == 1
        assert "Firefox on Linux" in page
        assert page.count("127.0.0.1") == 2
        assert "after 60 minutes" in page

    def test_says_what_one_can_give_beside_the_password(self, staff: User) -> None:
        client = sign_in(staff)
        assert "You have none" in client.get(ACCOUNT).content.decode()
        with_app(staff)

        page = client.get(ACCOUNT).content.decode()

        assert "10 left" in page
        assert "Remove the app" in page
        assert "after 15 minutes" in page

    @pytest.mark.parametrize("name", ["mfa_activate_totp", "mfa_add_webauthn"])
    def test_sets_up_within_the_policy(self, northern: User, name: str) -> None:
        client = Client()
        known_recently(client=client, person=northern)

        response = client.get(reverse(name))

        assert response.status_code == HTTPStatus.OK
        assert_obeys_policy(response.content.decode())

    def test_is_in_the_menu(self, northern: User) -> None:
        assert f'href="{ACCOUNT}"' in sign_in(northern).get("/").content.decode()


class TestEndSession:
    def test_ends_one_of_ones_own(self, northern: User) -> None:
        other, client = sign_in(northern), sign_in(northern)
        [handle] = re.findall(r'name="session"\s+value="([^"]+)"', client.get(ACCOUNT).content.decode())

        client.post(END, {"session": handle})

        assert not is_alive(other, northern)
        assert is_alive(client, northern)

    def test_ends_nobody_elses(self, northern: User, southern: User) -> None:
        theirs, client = sign_in(southern), sign_in(northern)
        [row] = Session.objects.filter(user=southern)

        assert client.post(END, {"session": str(row.handle)}).status_code == HTTPStatus.NOT_FOUND
        assert is_alive(theirs, southern)

    @pytest.mark.parametrize("named", ["", "no-uuid", "00000000-0000-4000-8000-000000000000", "this one"])
    def test_knows_no_other(self, northern: User, named: str) -> None:
        client = sign_in(northern)
        [row] = Session.objects.filter(user=northern)
        handle = str(row.handle) if named == "this one" else named

        assert client.post(END, {"session": handle}).status_code == HTTPStatus.NOT_FOUND
        assert is_alive(client, northern)


class TestEndOtherSessions:
    def test_ends_all_of_ones_own_but_this_one(self, northern: User, southern: User) -> None:
        theirs = sign_in(southern)
        others = [sign_in(northern), sign_in(northern)]
        client = sign_in(northern)

        page = client.post("/accounts/sessions/end-others/", follow=True).content.decode()

        assert "Ended: 2 other sessions." in page
        assert not any(is_alive(other, northern) for other in others)
        assert is_alive(client, northern)
        assert is_alive(theirs, southern)
