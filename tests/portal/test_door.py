"""What the log says of who comes in, who does not, and who is shown out: ids, and nothing else of anybody."""

import io
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.test import Client
from pytest_django import Settings

from portal import forms, operations
from portal.ground import clock
from portal.models import Session, User
from tests.factories import PASSWORD, UserFactory
from tests.portal.test_logs import read
from tests.portal.test_second_factors import GIVE, GIVE_AGAIN, code_of, give_password, with_app
from tests.portal.test_sessions import NEW, age, sign_in
from tests.signing_in import known_recently

LOGIN = "/accounts/login/"
INFO, WARNING = "INFO", "WARNING"


def said(written: io.StringIO) -> list[tuple[str, str, object]]:
    """Return the level and words of each line about the door, and whom it is about."""
    return [
        (line["level"], line["message"], line.get("user"))
        for line in read(written)
        if line["logger"] == "portal.door"
    ]


@pytest.fixture(autouse=True)
def names_nobody(written: io.StringIO, northern: User) -> Iterator[None]:
    """See that no line, whatever it is about, names anybody by more than their id, nor what they typed."""
    yield
    lines = [line for line in written.getvalue().splitlines() if '"portal.door"' in line]
    for secret in (northern.email, northern.last_name, PASSWORD, "nobody@", "[e-mail address]", "192.0.2.7"):
        assert not [line for line in lines if secret in line]


class TestSigningIn:
    def test_is_said_with_what(self, northern: User, written: io.StringIO) -> None:
        sign_in(northern)

        assert said(written) == [(INFO, "signed in with password", northern.pk)]

    def test_is_said_with_both_factors(self, northern: User, written: io.StringIO) -> None:
        secret = with_app(northern)
        client = give_password(northern)
        assert said(written) == []

        client.post(GIVE, {"code": code_of(secret)})

        assert said(written) == [
            (INFO, "second factor given: totp", northern.pk),
            (INFO, "signed in with password and totp", northern.pk),
        ]

    def test_names_the_request(self, northern: User, written: io.StringIO) -> None:
        response = Client(REMOTE_ADDR="192.0.2.7").post(
            LOGIN, {"login": northern.email, "password": PASSWORD}
        )

        [line] = [line for line in read(written) if line["logger"] == "portal.door"]
        assert line["request"] == response.headers["X-Request-ID"]

    def test_is_said_of_somebody_who_was_just_invited(self, staff: User, written: io.StringIO) -> None:
        link = operations.invite(email="new@dcc.example", supplier=None, by=staff, now=clock.now())

        Client().post(
            urlsplit(link).path, {"first_name": "N", "last_name": "O", "password1": NEW, "password2": NEW}
        )

        person = User.objects.get(email="new@dcc.example")
        assert (INFO, "signed in with an invitation", person.pk) in said(written)


class TestRefusal:
    def test_names_the_account_that_was_to_be_opened(self, northern: User, written: io.StringIO) -> None:
        Client().post(LOGIN, {"login": northern.email, "password": "wrong " + PASSWORD})

        assert said(written) == [(WARNING, "wrong password", northern.pk)]

    def test_names_nobody_where_there_is_none(self, written: io.StringIO) -> None:
        Client().post(LOGIN, {"login": "nobody@northern.example", "password": PASSWORD})

        assert said(written) == [(WARNING, "wrong password", None)]

    def test_is_said_where_there_were_too_many(self, northern: User, written: io.StringIO) -> None:
        cache.clear()
        for _ in range(12):
            Client().post(LOGIN, {"login": northern.email, "password": "wrong " + PASSWORD})

        assert said(written)[0][1] == "wrong password"
        assert said(written)[-1] == (WARNING, "password not looked at: too many attempts", northern.pk)

    def test_is_said_of_somebody_whose_access_has_ended(self, northern: User, written: io.StringIO) -> None:
        User.objects.filter(pk=northern.pk).update(is_active=False)

        Client().post(LOGIN, {"login": northern.email, "password": PASSWORD})

        assert said(written) == [(WARNING, "right password of somebody whose access has ended", northern.pk)]

    def test_is_said_of_a_code(self, northern: User, written: io.StringIO) -> None:
        with_app(northern)
        client = give_password(northern)

        client.post(GIVE, {"code": "000000"})

        assert said(written) == [(WARNING, "second factor refused: a code", northern.pk)]

    def test_is_said_of_a_security_key(
        self, northern: User, written: io.StringIO, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        """Both ways to give one are ours."""

        def refuse(_: object) -> None:
            raise ValidationError("It is not theirs")

        for name in ("authenticate_webauthn", "reauthenticate_webauthn"):
            kind = getattr(forms, settings.MFA_FORMS[name].rpartition(".")[2])
            monkeypatch.setattr(kind.__mro__[2], "clean_credential", refuse)
            form = kind({"credential": '{"id": "a"}'}, user=northern)
            assert not form.is_valid()

        assert said(written) == [(WARNING, "second factor refused: a security key", northern.pk)] * 2

    def test_is_said_of_a_second_factor_that_is_asked_for_again(
        self, northern: User, written: io.StringIO
    ) -> None:
        secret = with_app(northern)
        client = Client()
        known_recently(client=client, person=northern, ago=9_999)

        client.post(GIVE_AGAIN, {"code": "000000"})
        client.post(GIVE_AGAIN, {"code": code_of(secret)})

        assert said(written) == [
            (WARNING, "second factor refused: a code", northern.pk),
            (INFO, "second factor given again: totp", northern.pk),
        ]


class TestTheEndOfASession:
    def test_is_said_of_signing_out_and_nothing_else_then(self, northern: User, written: io.StringIO) -> None:
        client = sign_in(northern)

        client.post("/accounts/logout/")
        client.get("/")

        assert said(written)[1:] == [(INFO, "signed out", northern.pk)]

    @pytest.mark.parametrize(
        ("older", "words"),
        [
            ({"active_at": timedelta(minutes=61)}, "session ended: nothing was done in it"),
            ({"expire_date": timedelta(hours=9)}, "session ended: its time is over"),
        ],
    )
    def test_is_said_of_time(
        self, northern: User, older: dict[str, timedelta], words: str, written: io.StringIO
    ) -> None:
        client = sign_in(northern)
        age(**older)

        client.get("/")
        client.get("/")

        assert said(written)[1:] == [(INFO, words, northern.pk)]

    @pytest.mark.parametrize("change", [{"role": "read-only"}, {"password": "x"}, {"is_active": False}])
    def test_is_said_of_another_role_password_or_access(
        self, northern: User, change: dict[str, object], written: io.StringIO
    ) -> None:
        client = sign_in(northern)
        User.objects.filter(pk=northern.pk).update(**change)

        client.get("/")

        assert said(written)[1:] == [
            (INFO, "session ended: another password or role, or the end of access", northern.pk)
        ]

    def test_is_said_of_those_that_one_ends_oneself(self, northern: User, written: io.StringIO) -> None:
        here = sign_in(northern)
        first = Session.objects.get()
        sign_in(northern)
        other = Session.objects.exclude(pk=first.pk).get()

        here.post("/accounts/sessions/end/", {"session": str(other.handle)})
        sign_in(northern)
        here.post("/accounts/sessions/end-others/")

        ended = [line for line in said(written) if "ended" in line[1]]
        assert ended == [
            (INFO, "session ended: by its person, from another one", northern.pk),
            (INFO, "sessions ended: 1, by their person, from another one", northern.pk),
        ]

    def test_is_not_said_of_a_stranger(self, db: None, written: io.StringIO) -> None:
        Client().get("/")
        UserFactory.create()

        assert said(written) == []
