"""Tests of how long a session lives, and of what ends it at once."""

from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.db.models import F
from django.test import Client

from portal import operations, sessions
from portal.ground import clock
from portal.ground.roles import SupplierRole
from portal.models import Session, User
from tests.factories import PASSWORD, UserFactory

LOGIN = "/accounts/login/"
NEW = "wide green lamp over water"


def sign_in(person: User, **headers: str) -> Client:
    """Return a browser in which somebody has signed in by the page for it."""
    client = Client(headers=headers)
    response = client.post(LOGIN, {"login": person.email, "password": PASSWORD})
    assert response.status_code == HTTPStatus.FOUND, response.content
    return client


def page_of(person: User) -> str:
    """Return a page that somebody can see."""
    return "/admin/" if person.is_staff else "/"


def is_alive(client: Client, person: User) -> bool:
    """Tell whether a browser is still signed in, by a page."""
    return client.get(page_of(person)).status_code == HTTPStatus.OK


def age(**columns: timedelta) -> None:
    """Let all sessions be older."""
    Session.objects.update(**{name: F(name) - by for name, by in columns.items()})


def raw(statement: str, *parameters: object) -> None:
    """Change something past Python."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def by_hand(person: User) -> None:
    """Give somebody another password, as the page for it does."""
    person.set_password(NEW)
    person.save()


@pytest.fixture(params=["staff", "northern"])
def person(request: pytest.FixtureRequest) -> User:
    """Return DCC staff, then somebody of a Supplier."""
    found: User = request.getfixturevalue(request.param)
    return found


ENDS: dict[str, Callable[[User], object]] = {
    "another password": by_hand,
    "another password in the database": lambda person: raw(
        "UPDATE portal_user SET password = 'x' WHERE id = %s", person.pk
    ),
    "deactivated": lambda person: operations.deactivate(
        user=person, by=UserFactory.create(is_superuser=True), now=clock.now()
    ),
    "deactivated and taken back": lambda person: [
        User.objects.filter(pk=person.pk).update(is_active=is_active) for is_active in (False, True)
    ],
    "another permission": lambda person: person.user_permissions.add(Permission.objects.all()[0]),
    "another address": lambda person: User.objects.filter(pk=person.pk).update(email="new@northern.example"),
}
ENDS_OF_DCC: dict[str, Callable[[User], object]] = {
    "another group": lambda person: person.groups.add(Group.objects.create(name="Others")),
    "another group in the database": lambda person: raw(
        "WITH made AS (INSERT INTO auth_group (name) VALUES ('Raw') RETURNING id) "
        "INSERT INTO portal_user_groups (user_id, group_id) SELECT %s, id FROM made",
        person.pk,
    ),
}
"""What only DCC's people have."""


class TestTheNextRequest:
    @pytest.mark.parametrize("how", ENDS)
    def test_of_an_old_session_is_a_strangers(self, person: User, how: str) -> None:
        client = sign_in(person)
        assert is_alive(client, person)

        ENDS[how](User.objects.get(pk=person.pk))

        response = client.get(page_of(person))
        assert response.status_code == HTTPStatus.FOUND
        assert response.headers["Location"].startswith(LOGIN)

    @pytest.mark.parametrize("how", ENDS_OF_DCC)
    def test_of_somebody_with_other_groups_is_a_strangers(self, staff: User, how: str) -> None:
        client = sign_in(staff)
        assert is_alive(client, staff)

        ENDS_OF_DCC[how](User.objects.get(pk=staff.pk))

        assert client.get(page_of(staff)).headers["Location"].startswith(LOGIN)

    @pytest.mark.parametrize("column", ["is_superuser", "is_staff"])
    def test_of_somebody_who_was_dcc_staff_is_a_strangers(
        self, staff: User, northern: User, column: str
    ) -> None:
        client = sign_in(staff)
        changes = {"is_superuser": False} | (
            {"is_staff": False, "supplier": northern.supplier, "role": SupplierRole.OPERATIONS}
            if column == "is_staff"
            else {}
        )

        User.objects.filter(pk=staff.pk).update(**changes)

        assert client.get("/admin/").headers["Location"].startswith(LOGIN)

    @pytest.mark.parametrize("change", ["supplier", "role"])
    def test_of_somebody_of_a_supplier_with_another_role_is_a_strangers(
        self, northern: User, southern: User, change: str
    ) -> None:
        client = sign_in(northern)
        value = southern.supplier if change == "supplier" else SupplierRole.ADMINISTRATOR

        User.objects.filter(pk=northern.pk).update(**{change: value})

        assert not is_alive(client, northern)

    def test_after_signing_out_is_a_strangers_for_whoever_kept_the_cookie(self, person: User) -> None:
        client = sign_in(person)
        thief = Client()
        thief.cookies[settings.SESSION_COOKIE_NAME] = client.cookies[settings.SESSION_COOKIE_NAME].value
        assert is_alive(thief, person)

        client.post("/accounts/logout/")

        assert not is_alive(thief, person)

    @pytest.mark.parametrize("change", [{"first_name": "Ada"}, {"last_login": clock.now}])
    def test_of_a_session_whose_person_merely_has_another_name_is_theirs(
        self, person: User, change: dict[str, object]
    ) -> None:
        client = sign_in(person)
        name, value = next(iter(change.items()))

        User.objects.filter(pk=person.pk).update(**{name: value() if callable(value) else value})

        assert is_alive(client, person)

    def test_keeps_the_person_who_was_just_invited(self, staff: User, northern: User) -> None:
        group = Group.objects.create(name="Approvers")
        link = operations.invite(
            email="noor@dcc.example", supplier=None, groups=[group], by=staff, now=clock.now()
        )
        client = Client()

        client.post(
            "/" + link.split("/", 3)[3],
            {"first_name": "Noor", "last_name": "Haddad", "password1": NEW, "password2": NEW},
        )

        assert client.get("/admin/").status_code == HTTPStatus.OK


class TestEpoch:
    def test_is_not_taken_back_by_whoever_saves_an_old_row(self, northern: User) -> None:
        old = User.objects.get(pk=northern.pk)
        User.objects.filter(pk=northern.pk).update(role=SupplierRole.ADMINISTRATOR)
        raised = User.objects.get(pk=northern.pk).session_epoch

        old.first_name = "Ada"
        old.role = SupplierRole.ADMINISTRATOR
        old.save()

        assert User.objects.get(pk=northern.pk).session_epoch == raised

    def test_is_raised_by_hand_as_well(self, northern: User) -> None:
        client = sign_in(northern)

        User.objects.filter(pk=northern.pk).update(session_epoch=F("session_epoch") + 1)

        assert not is_alive(client, northern)


class TestIdle:
    @pytest.mark.parametrize(("who", "minutes"), [("staff", 15), ("northern", 60)])
    def test_ends_a_session_in_which_nothing_is_done(
        self, who: str, minutes: int, request: pytest.FixtureRequest
    ) -> None:
        person = request.getfixturevalue(who)
        client = sign_in(person)
        age(active_at=timedelta(minutes=minutes - 1))
        assert is_alive(client, person)

        age(active_at=timedelta(minutes=minutes))
        response = client.get(page_of(person) + "?page=2")

        assert response.headers["Location"].startswith(f"{LOGIN}?")
        assert "ended=idle" in response.headers["Location"]
        page = client.get(response.headers["Location"]).content.decode()
        assert "nothing was done for a while" in page

    def test_takes_back_to_where_the_person_was(self, northern: User) -> None:
        client = sign_in(northern)
        age(active_at=timedelta(hours=1))
        asked = client.get("/bookings/?state=open").headers["Location"]

        back = client.post(
            asked, {"login": northern.email, "password": PASSWORD, "next": "/bookings/?state=open"}
        )

        assert "next=%2Fbookings%2F%3Fstate%3Dopen" in asked
        assert back.headers["Location"] == "/bookings/?state=open"

    def test_takes_whoever_sent_a_form_back_to_its_page_and_nowhere_else(self, northern: User) -> None:
        for referer, path in (
            ("http://testserver/windows/new/", "%2Fwindows%2Fnew%2F"),
            ("https://elsewhere.example/trap/", "%2F"),
            ("", "%2F"),
        ):
            client = sign_in(northern)
            age(active_at=timedelta(hours=1))

            response = client.post("/windows/new/", headers={"referer": referer})

            assert f"next={path}&" in response.headers["Location"]

    def test_is_kept_off_by_doing_something(self, staff: User) -> None:
        client = sign_in(staff)
        for _ in range(3):
            age(active_at=timedelta(minutes=14))
            assert is_alive(client, staff)

    @pytest.mark.parametrize("address", ["/admin/control-room/", "/admin/health/"])
    def test_is_not_kept_off_by_a_page_that_follows_by_itself(self, staff: User, address: str) -> None:
        client = sign_in(staff)
        age(active_at=timedelta(minutes=14))
        assert client.get(address, headers={"HX-Request": "true"}).status_code == HTTPStatus.OK

        age(active_at=timedelta(minutes=2))
        response = client.get(
            address,
            headers={"HX-Request": "true", "HX-Current-URL": f"http://testserver{address}?x=1"},
        )

        assert response.status_code == HTTPStatus.NO_CONTENT
        assert response.headers["HX-Redirect"].startswith(LOGIN)
        assert "ended=idle" in response.headers["HX-Redirect"]
        assert "%3Fx%3D1" in response.headers["HX-Redirect"]

    def test_is_what_every_page_that_asks_by_itself_uses(self) -> None:
        """Such a page asks by htmx with GET, which is how one is known."""
        asking = [
            path
            for path in Path(settings.BASE_DIR / "templates").rglob("*.html")
            if 'hx-trigger="every' in path.read_text()
        ]

        assert len(asking) >= 6
        assert all("hx-get=" in path.read_text() and "hx-post=" not in path.read_text() for path in asking)


class TestTotal:
    def test_ends_after_eight_hours_whatever_is_done(self, staff: User) -> None:
        client = sign_in(staff)
        age(expire_date=timedelta(hours=7, minutes=59))
        session = client.session
        session["anything"] = "that is kept"
        session.save()
        assert is_alive(client, staff)

        age(expire_date=timedelta(minutes=1))
        response = client.get("/admin/")

        assert "ended=over" in response.headers["Location"]
        assert "more than eight hours ago" in client.get(response.headers["Location"]).content.decode()

    def test_is_begun_anew_by_signing_in_again(self, staff: User) -> None:
        client = sign_in(staff)
        age(expire_date=timedelta(hours=8))

        client.post(LOGIN, {"login": staff.email, "password": PASSWORD})

        assert is_alive(client, staff)
        assert Session.objects.filter(user=staff, expire_date__gt=clock.now() + timedelta(hours=7)).exists()


class TestTheTable:
    def test_holds_nothing_by_which_one_could_be_somebody(self, northern: User) -> None:
        client = sign_in(northern)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        [row] = Session.objects.filter(user=northern)

        assert row.session_key == sessions.kept_as(cookie) != cookie
        thief = Client()
        thief.cookies[settings.SESSION_COOKIE_NAME] = row.session_key
        assert not is_alive(thief, northern)
        assert sessions.SessionStore().decode(row.session_data)["_auth_user_id"] == str(northern.pk)

    def test_says_from_where_somebody_signed_in(self, northern: User) -> None:
        sign_in(northern, user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        sign_in(northern)

        told = [(found.address, found.browser) for found in sessions.of(user=northern, now=clock.now())]

        assert told == [("127.0.0.1", "An unknown program"), ("127.0.0.1", "Firefox on Linux")]

    def test_lists_no_session_that_is_dead(self, northern: User) -> None:
        sign_in(northern)
        User.objects.filter(pk=northern.pk).update(role=SupplierRole.ADMINISTRATOR)
        sign_in(northern)

        assert len(sessions.of(user=User.objects.get(pk=northern.pk), now=clock.now())) == 1

    def test_believes_as_many_proxies_as_there_are(self, northern: User, settings: object) -> None:
        for proxies, address in ((0, "127.0.0.1"), (1, "198.51.100.2"), (2, "192.0.2.7"), (3, "127.0.0.1")):
            settings.TRUSTED_PROXIES = proxies  # type: ignore[attr-defined]
            request = (
                Client()
                .get("/health/live", headers={"X-Forwarded-For": "192.0.2.7, 198.51.100.2"})
                .wsgi_request
            )

            assert sessions.address_of(request) == address


class TestInWords:
    @pytest.mark.parametrize(
        ("browser", "words"),
        [
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
             "Safari/537.36 Edg/141.0.0.0", "Edge on Windows"),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
             "Version/26.0 Safari/605.1.15", "Safari on Mac"),
            ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile "
             "Safari/537.36", "Chrome on Android"),
            ("curl/8.5", "An unknown program"),
            ("", "An unknown program"),
        ],
    )  # fmt: skip
    def test_name_the_browser(self, browser: str, words: str) -> None:
        assert sessions.in_words(browser=browser) == words
