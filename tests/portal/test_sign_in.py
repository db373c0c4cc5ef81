"""Tests of what somebody with bad intentions tries at the door."""

from collections import Counter
from http import HTTPStatus
from urllib.parse import quote

import pytest
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from portal import operations
from portal.ground import clock
from portal.ground.roles import SupplierRole
from portal.models import User
from scheduling.models import Notice
from tests.factories import PASSWORD, UserFactory
from tests.portal.letters import delivered
from tests.portal.test_sessions import is_alive, sign_in
from tests.signing_in import known_recently

LOGIN = "/accounts/login/"
RESET = "/accounts/password/reset/"
ELSEWHERE = (
    "https://elsewhere.example/",
    "//elsewhere.example/",
    "/\\elsewhere.example/",
    "javascript:alert(1)",
    "http://testserver.elsewhere.example/",
    "http:elsewhere.example",
)
hashed: Counter[str] = Counter()


class CountingHasher(Argon2PasswordHasher):
    """Production's hasher, which counts."""

    def encode(self, password: str, salt: str) -> str:
        """Hash a new password."""
        hashed["made"] += 1
        return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Hash a password to compare it."""
        hashed["compared"] += 1
        return super().verify(password, encoded)


class TestStolenCookie:
    @pytest.mark.parametrize(
        ("whose", "address"),
        [
            ("northern", "/admin/"),
            ("northern", "/admin/portal/user/"),
            ("northern", "/admin/firmware/firmwarerelease/"),
            ("northern", "/admin/control-room/"),
            ("auditor", "/admin/portal/user/"),
            ("auditor", "/admin/portal/invitation/add/"),
        ],
    )
    def test_opens_no_page_of_another_role(
        self, whose: str, address: str, northern: User, staff: User
    ) -> None:
        victim = northern if whose == "northern" else UserFactory.create()
        client = sign_in(victim)
        thief = Client(headers={"user-agent": "another browser"}, REMOTE_ADDR="192.0.2.66")
        thief.cookies[settings.SESSION_COOKIE_NAME] = client.cookies[settings.SESSION_COOKIE_NAME].value

        refused = thief.get(address)
        sent = thief.post(address, {"email": "thief@elsewhere.example"})

        assert refused.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN)
        assert sent.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN)

    def test_is_worth_nothing_once_its_owner_has_ended_it(self, northern: User) -> None:
        client = sign_in(northern)
        thief = sign_in(northern)

        client.post("/accounts/sessions/end-others/")

        assert not is_alive(thief, northern)
        assert is_alive(client, northern)


class TestOpenRedirect:
    @pytest.mark.parametrize("wanted", ELSEWHERE)
    def test_leads_nowhere_else_after_signing_in(self, client: Client, northern: User, wanted: str) -> None:
        response = client.post(LOGIN, {"login": northern.email, "password": PASSWORD, "next": wanted})

        assert response.headers["Location"] == "/"

    @pytest.mark.parametrize("wanted", ELSEWHERE)
    def test_leads_nowhere_else_from_other_doors(self, client: Client, staff: User, wanted: str) -> None:
        client.force_login(staff)

        for response in (
            client.get(f"/admin/login/?next={quote(wanted)}"),
            client.get(f"{LOGIN}?next={quote(wanted)}"),
            client.post(f"/accounts/reauthenticate/?next={quote(wanted)}", {"password": PASSWORD}),
            client.post("/accounts/logout/", {"next": wanted}),
        ):
            assert response.status_code == HTTPStatus.FOUND
            assert "elsewhere" not in response.headers["Location"]
            assert not response.headers["Location"].startswith("javascript")

    def test_takes_a_page_of_ours(self, client: Client, northern: User) -> None:
        response = client.post(
            LOGIN, {"login": northern.email, "password": PASSWORD, "next": "/bookings/?page=2"}
        )

        assert response.headers["Location"] == "/bookings/?page=2"


@pytest.mark.django_db(transaction=True)
class TestHostHeader:
    def test_of_another_site_is_refused(self, client: Client, northern: User) -> None:
        response = client.post(RESET, {"email": northern.email}, headers={"host": "elsewhere.example"})

        assert response.status_code == HTTPStatus.BAD_REQUEST
        assert delivered() == []

    @pytest.mark.parametrize("header", ["host", "x-forwarded-host"])
    def test_is_never_what_a_link_names(
        self, client: Client, northern: User, settings: Settings, header: str
    ) -> None:
        settings.ALLOWED_HOSTS = ["*"]

        client.post(RESET, {"email": northern.email}, headers={header: "elsewhere.example"})

        [message] = delivered()
        assert "elsewhere" not in message.message().as_string()
        assert f"{settings.PORTAL_ADDRESS}/accounts/password/reset/key/" in message.body


@pytest.mark.django_db(transaction=True)
class TestHeaderInjection:
    BREAK = "\r\nBcc: thief@elsewhere.example"

    @pytest.mark.parametrize("field", ["email", "login"])
    def test_is_no_address(self, client: Client, northern: User, field: str) -> None:
        client.post(
            RESET if field == "email" else LOGIN, {field: northern.email + self.BREAK, "password": "x"}
        )

        assert not Notice.objects.exists()

    def test_is_no_address_to_invite(self, client: Client, staff: User, northern: User) -> None:
        known_recently(client=client, person=staff)

        client.post(
            "/admin/portal/invitation/add/",
            {"email": f"noor@northern.example{self.BREAK}", "supplier": northern.supplier_id},
        )

        assert not Notice.objects.exists()

    def test_stays_within_the_subject_when_it_comes_by_a_name(self, staff: User, northern: User) -> None:
        User.objects.filter(pk=staff.pk).update(first_name=f"Ada{self.BREAK}")
        staff.refresh_from_db()

        operations.invite(
            email="noor@northern.example",
            supplier=northern.supplier,
            role=SupplierRole.OPERATIONS,
            by=staff,
            now=clock.now(),
        )

        [message] = delivered()
        assert message.recipients() == ["noor@northern.example"]
        assert "\nBcc" not in message.message().as_string().partition("\n\n")[0]
        assert message.subject.startswith("Ada Bcc: thief@elsewhere.example")


class TestEnumeration:
    @pytest.fixture(autouse=True)
    def counted(self, settings: Settings) -> None:
        """Hash as production does, and count."""
        settings.PASSWORD_HASHERS = [f"{__name__}.CountingHasher"]

    @pytest.fixture
    def known(self, northern: User) -> User:
        """Return somebody with a password that was hashed so."""
        northern.set_password(PASSWORD)
        northern.save()
        return northern

    @pytest.fixture
    def gone(self, known: User) -> User:
        """Return somebody whose access has ended."""
        person = UserFactory.create(email="gone@northern.example", supplier=known.supplier, is_active=False)
        person.set_password(PASSWORD)
        person.save()
        return person

    def test_is_not_possible_by_signing_in(self, known: User, gone: User) -> None:
        answers = set()
        for address in (known.email, gone.email, "nobody@northern.example"):
            hashed.clear()
            page = Client().post(LOGIN, {"login": address, "password": "a wrong one"})
            text = page.content.decode().replace(address, "ADDRESS")
            answers.add((page.status_code, without_tokens(text), hashed.total()))

        assert len(answers) == 1
        assert next(iter(answers))[2] == 1

    def test_is_not_possible_by_asking_for_a_new_password(self, known: User, gone: User) -> None:
        answers, work = set(), []
        for address in (known.email, gone.email, "nobody@northern.example"):
            hashed.clear()
            with CaptureQueriesContext(
                connection,
            ) as asked:
                page = Client().post(RESET, {"email": address}, follow=True)
            text = page.content.decode().replace(address, "ADDRESS")
            answers.add((page.status_code, without_tokens(text), hashed.total()))
            work.append([query["sql"].split(" ", 1)[0] for query in asked])

        assert len(answers) == 1
        assert Notice.objects.count() == 1
        assert [verbs.count("INSERT") for verbs in work] == [work[0].count("INSERT")] * 3

    def test_is_not_possible_by_a_link_of_an_invitation(
        self, client: Client, staff: User, known: User
    ) -> None:
        """What an address has is no secret from whoever invites; a link that nobody was sent says nothing."""
        answers = {
            without_tokens(client.get(f"/invitation/{token}/").content.decode())
            for token in ("unknown", "x" * 43, known.email)
        }

        assert len(answers) == 1


NEW_ON_EVERY_PAGE = ("csrf", "CSRF", "request_key", "As of")


def without_tokens(page: str) -> str:
    """Leave out what is new on every page."""
    return "\n".join(
        line for line in page.splitlines() if not any(word in line for word in NEW_ON_EVERY_PAGE)
    )
