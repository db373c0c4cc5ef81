"""The doors of the site: what is shut, what is said there, and what holds for every page."""

import re

import pytest
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from portal.models import User

LOGIN = "/accounts/login/"
AGAIN = "/accounts/reauthenticate/"


def answer(client: Client, address: str) -> int | str:
    """GET an address; return its status, or the path that it redirects to."""
    response = client.get(address)
    if response.status_code in (301, 302):
        return str(response.headers["Location"]).partition("?")[0]
    return int(response.status_code)


def assert_keeps_to_itself(response: HttpResponse) -> None:
    """Refuse an answer that may be kept, framed, embedded, guessed at, or that tells another site whence one came."""
    assert response.headers["Cache-Control"] == "no-store, private"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in response.headers["Permissions-Policy"]


def assert_obeys_policy(page: str) -> None:
    """Refuse a page with inline style, inline script, a handler in an attribute, or another's file."""
    assert not re.search(r"<[^>]+\sstyle\s*=", page)
    assert not re.search(r"<style\b", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)[^>]*>", page)
    assert not re.search(r"<[^>]+\son[a-z]+\s*=", page)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


class TestClosedDoors:
    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "address",
        [
            "/accounts/signup/",
            "/accounts/second-factor/codes/download/",
            "/accounts/second-factor/trust/",
            "/accounts/email/",
            "/accounts/inactive/",
            "/accounts/confirm-email/",
            "/accounts/password/set/",
            "/accounts/login/code/confirm/",
            "/accounts/3rdparty/",
        ],
    )
    def test_are_not_there(self, client: Client, address: str, northern: User) -> None:
        client.force_login(northern)

        assert client.get(address).status_code == 404


class TestAdmin:
    @pytest.mark.django_db
    @pytest.mark.parametrize("address", ["/admin/", "/admin/portal/user/", "/admin/login/"])
    def test_sends_a_stranger_to_the_portals_login(self, client: Client, address: str) -> None:
        response = client.get(address, follow=True)

        assert response.redirect_chain[-1][0].startswith(LOGIN)
        assert b"Sign in" in response.content

    @pytest.mark.parametrize(
        "address",
        [
            "/admin/",
            "/admin/login/",
            "/admin/portal/user/",
            "/admin/portal/invitation/add/",
            "/admin/jsi18n/",
            "/admin/x/",
        ],
    )
    def test_does_not_exist_for_a_supplier(self, client: Client, address: str, northern: User) -> None:
        client.force_login(northern)

        assert client.get(address).status_code == 404
        assert client.post(address).status_code == 404

    @pytest.mark.parametrize("address", ["/admin/logout/", "/admin/password_change/"])
    def test_has_no_doors_of_its_own(self, client: Client, address: str, staff: User) -> None:
        client.force_login(staff)

        assert client.get(address, follow=True).status_code == 404

    def test_takes_staff_where_they_were_going(self, client: Client, staff: User) -> None:
        client.force_login(staff)

        response = client.get("/admin/login/?next=/admin/portal/user/")

        assert response.headers["Location"] == "/admin/portal/user/"

    def test_takes_nobody_to_another_site(self, client: Client, staff: User) -> None:
        client.force_login(staff)

        response = client.get("/admin/login/?next=https://elsewhere.example/")

        assert response.headers["Location"] == "/admin/"

    @pytest.mark.parametrize(
        "address",
        ["/admin/", "/admin/portal/user/", "/admin/portal/invitation/", "/admin/portal/invitation/add/"],
    )
    def test_shows_itself_to_staff_within_the_policy(self, client: Client, address: str, staff: User) -> None:
        client.force_login(staff)

        response = client.get(address)

        assert response.status_code == 200
        assert "DCC · Communications Hub firmware" in response.content.decode()
        assert "unsafe" not in response.headers["Content-Security-Policy"]


class TestDeactivated:
    def test_loses_an_open_session_at_once(self, client: Client, northern: User) -> None:
        client.force_login(northern)
        User.objects.filter(pk=northern.pk).update(is_active=False)

        assert answer(client, "/") == LOGIN


class TestLondonTime:
    def test_dates_the_page_in_uk_time(self, client: Client, northern: User) -> None:
        client.force_login(northern)

        page = client.get("/").content.decode()

        assert settings.TIME_ZONE == "UTC"
        assert re.search(r"As of \w{3} \d+ \w{3} \d{4}, \d\d:\d\d (GMT|BST), UK time", page)


class TestErrorPages:
    @pytest.mark.django_db
    def test_say_where_to_go_when_there_is_no_page(self, client: Client) -> None:
        response = client.get("/no/such/page")

        assert response.status_code == 404
        assert "There is no such page" in response.content.decode()
        assert_obeys_policy(response.content.decode())

    def test_explain_an_outdated_form(self, northern: User) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(northern)

        response = client.post("/accounts/logout/")

        assert response.status_code == 403
        assert "The form had grown too old" in response.content.decode()

    def test_stand_alone_when_all_else_fails(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        # no database fixture: a query on the way to this page would fail the test
        monkeypatch.setattr("portal.health.HttpResponse", None)
        client.raise_request_exception = False

        response = client.get("/health/live")

        assert response.status_code == 500
        assert "Something went wrong on our side" in response.content.decode()
        assert_obeys_policy(response.content.decode())


class TestSorry:
    @pytest.mark.parametrize(
        ("code", "status"), [("53100", 503), ("53300", 503), ("25006", 503), ("22012", 500)]
    )
    def test_says_that_nothing_was_done_where_the_database_surely_did_nothing(
        self, client: Client, northern: User, monkeypatch: pytest.MonkeyPatch, code: str, status: int
    ) -> None:
        def refused(*_: object, **__: object) -> HttpResponse:
            with connection.cursor() as cursor:
                cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")
            return HttpResponse()

        monkeypatch.setattr("portal.health.HttpResponse", refused)
        client.raise_request_exception = False

        response = client.get("/health/live")

        assert response.status_code == status
        page = response.content.decode()
        assert ("Nothing can be kept for the moment" in page) is (status == 503)
        assert_obeys_policy(page)
