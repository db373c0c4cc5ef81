"""Every address of the site, asked by a stranger, a Supplier's user and DCC staff."""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from pytest_django import Settings

from portal.models import User

LOGIN = "/accounts/login/"


@dataclass(frozen=True)
class Case:
    """What a GET of one route answers: a status, or the address redirected to."""

    stranger: int | str
    supplier: int | str
    staff: int | str
    kwargs: tuple[tuple[str, Any], ...] = ()


def behind_login(*, supplier: int | str, staff: int | str, **kwargs: Any) -> Case:
    """Return the case of a page that a stranger is sent to sign in for."""
    return Case(stranger=LOGIN, supplier=supplier, staff=staff, kwargs=tuple(kwargs.items()))


def public(status: int, **kwargs: Any) -> Case:
    """Return the case of a page that is the same for everybody."""
    return Case(stranger=status, supplier=status, staff=status, kwargs=tuple(kwargs.items()))


# A new route needs its line here: what each of the three may see of it. For an object, the
# address is one that the Supplier does not have; its own tests show that it does see its own.
CASES = {
    "scheduling:home": behind_login(supplier=200, staff="/admin/"),
    "scheduling:bookings": behind_login(supplier=200, staff="/admin/"),
    "scheduling:hubs": behind_login(supplier=200, staff="/admin/"),
    "scheduling:consents": behind_login(supplier=200, staff="/admin/"),
    "scheduling:export-consents": behind_login(supplier=200, staff="/admin/"),
    "scheduling:windows": behind_login(supplier=200, staff="/admin/"),
    **{
        f"scheduling:{name}": behind_login(supplier=200, staff="/admin/")
        for name in ("new-window", "week", "upload-windows", "example-windows", "groups", "new-group")
    },
    **{
        f"scheduling:{name}": behind_login(supplier=404, staff=404, **kwargs)
        for names, kwargs in (
            (("release", "bad-hubs", "book", "delete-window", "edit-window"), {"pk": 1}),
            (("group", "group-hubs", "rename-group", "pilot-group", "delete-group"), {"pk": 1}),
            (("consent", "consent-hubs", "object"), {"pk": 1}),
            (("when", "reading", "check", "refused", "upload", "upload-refused"), {"pk": UUID(int=1)}),
            (
                ("booking", "progress", "cancel", "change", "booked-hubs", "export", "calendar"),
                {"reference": "BK-2222-2222"},
            ),
            (("hub",), {"chf_id": 1}),
        )
        for name in names
    },
    "health-live": public(200),
    "health-ready": public(200),
    "control-room": behind_login(supplier=404, staff=200),
    "health": behind_login(supplier=404, staff=200),
    "release-report": behind_login(supplier=404, staff=404, release_id=1),
    "bad-hubs": behind_login(supplier=404, staff=404, release_id=1),
    "bad-hubs-file": behind_login(supplier=404, staff=404, release_id=1),
    "rehearsals": behind_login(supplier=404, staff=404, release_id=1),
    "rehearsal": behind_login(supplier=404, staff=404, release_id=1, rehearsal_id=1),
    "stop-rehearsal": behind_login(supplier=404, staff=405, release_id=1, rehearsal_id=1),  # by POST
    "evidence-pack": behind_login(supplier=404, staff=405, release_id=1),  # it is made by POST
    "evidence-key": public(200),
    "metrics": public(404),  # its own tests have a token
    "invitation": public(404, token="unknown"),
    "account_login": Case(stranger=200, supplier="/", staff="/"),
    "account_logout": Case(stranger=LOGIN, supplier=200, staff=200),
    "account_reauthenticate": behind_login(supplier=200, staff=200),
    "account_change_password": behind_login(supplier=200, staff=200),
    "account_reset_password": public(200),
    "account_reset_password_done": public(200),
    "account_reset_password_from_key": public(200, uidb36="1", key="no-such-key"),
    "account_reset_password_from_key_done": public(200),
}


def routes(resolver: URLResolver, namespaces: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every route's full name; one without a name by its pattern, which no case can match."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            inner = (*namespaces, entry.namespace) if entry.namespace else namespaces
            if inner[:1] != ("admin",):
                yield from routes(entry, inner)
        elif isinstance(entry, URLPattern):
            yield ":".join((*namespaces, entry.name or str(entry.pattern)))


def answer(client: Client, address: str) -> int | str:
    """GET an address; return its status, or the path that it redirects to."""
    response = client.get(address)
    if response.status_code in (301, 302):
        return str(response.headers["Location"]).partition("?")[0]
    return int(response.status_code)


class TestEveryRoute:
    def test_has_a_case(self) -> None:
        assert set(routes(get_resolver())) == set(CASES)

    @pytest.mark.django_db
    @pytest.mark.parametrize("name", sorted(CASES))
    def test_answers_a_stranger(self, client: Client, name: str) -> None:
        case = CASES[name]

        assert answer(client, reverse(name, kwargs=dict(case.kwargs))) == case.stranger

    @pytest.mark.parametrize("name", sorted(CASES))
    def test_answers_a_supplier(self, client: Client, name: str, northern: User) -> None:
        case = CASES[name]
        client.force_login(northern)

        assert answer(client, reverse(name, kwargs=dict(case.kwargs))) == case.supplier

    @pytest.mark.parametrize("name", sorted(CASES))
    def test_answers_staff(self, client: Client, name: str, staff: User) -> None:
        case = CASES[name]
        client.force_login(staff)

        assert answer(client, reverse(name, kwargs=dict(case.kwargs))) == case.staff

    @pytest.mark.parametrize("name", sorted(CASES))
    @pytest.mark.parametrize("who", ["stranger", "northern"])
    def test_carries_a_strict_policy_and_nothing_that_breaks_it(
        self, client: Client, name: str, who: str, northern: User
    ) -> None:
        if who == "northern":
            client.force_login(northern)

        response = client.get(reverse(name, kwargs=dict(CASES[name].kwargs)))

        assert_keeps_to_itself(response)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert_obeys_policy(response.getvalue().decode())


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
            "/accounts/",
            "/accounts/signup/",
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
    @pytest.fixture
    def hung(self, tmp_path: Path) -> Iterator[Path]:
        """Return the socket of a server that takes connections and never answers."""
        path = tmp_path / "hung.sock"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen(64)
            yield path

    @pytest.mark.parametrize("state", ["gone", "hung"])
    @pytest.mark.parametrize("address", [LOGIN, "/accounts/password/reset/"])
    def test_says_that_nobody_can_sign_in_while_redis_does_not_answer(
        self,
        client: Client,
        northern: User,
        settings: Settings,
        hung: Path,
        tmp_path: Path,
        address: str,
        state: str,
    ) -> None:
        default = settings.CACHES["default"]
        path = hung if state == "hung" else tmp_path / "gone.sock"
        settings.CACHES = {"default": default | {"LOCATION": f"unix://{path}?db=1"}}

        response = client.post(
            address, {"login": northern.email, "password": "a wrong one", "email": northern.email}
        )

        assert response.status_code == 503
        assert response["Retry-After"] == "60"
        assert "Sign-in is not possible for the moment" in response.content.decode()
        assert_obeys_policy(response.content.decode())

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
