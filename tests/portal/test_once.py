"""A form that arrives twice acts once: double clicks, repeated requests, and twenty copies at the same time."""

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError
from django.http import HttpResponse
from django.template import engines
from django.test import Client, RequestFactory
from django.urls import reverse

from portal.ground import clock, once
from portal.ground.models import RequestKey
from portal.models import User
from scheduling.models import ProtectedWindow
from tests.factories import SupplierFactory, UserFactory
from tests.scheduling.test_races import at_once

NEW = "/windows/new/"
WINDOW = {
    "kind": "tariff",
    "reason": "April prices",
    "strength": "soft",
    "scope": "all",
    "how_often": "once",
    "start": "2030-04-01T00:00",
    "end": "2030-04-02T00:00",
}


@pytest.fixture
def person(db: None) -> User:
    return UserFactory(supplier=SupplierFactory())


@pytest.fixture
def visitor(person: User, client: Client) -> Client:
    client.force_login(person)
    return client


def with_key(**more: Any) -> dict[str, Any]:
    return WINDOW | {once.FIELD: str(uuid.uuid4())} | more


class TestAForm:
    def test_carries_a_new_key_on_every_page(self, visitor: Client) -> None:
        keys = [
            re.findall(rf'name="{once.FIELD}" value="([0-9a-f-]+)"', visitor.get(NEW).content.decode())
            for _ in range(2)
        ]

        assert all(keys)
        assert len({uuid.UUID(key) for found in keys for key in found}) == sum(map(len, keys))

    def test_carries_one_in_the_admin(self, client: Client, db: None) -> None:
        client.force_login(UserFactory(is_superuser=True))

        page = client.get(reverse("admin:portal_invitation_add")).content.decode()

        assert page.count("csrfmiddlewaretoken") == page.count(f'name="{once.FIELD}"') > 0

    def test_carries_none_where_a_page_is_for_nobody(self) -> None:
        template = engines["django"].from_string("<form>{% csrf_token %}</form>")

        assert template.render() == "<form></form>"


class TestOnce:
    def test_acts_once_upon_two_clicks_and_answers_both_the_same(self, visitor: Client) -> None:
        form = with_key()

        first, second = visitor.post(NEW, form), visitor.post(NEW, form)

        assert ProtectedWindow.objects.count() == 1
        assert (first.status_code, second.status_code) == (302, 302)
        assert first["Location"] == second["Location"]

    @pytest.mark.django_db(transaction=True)
    def test_acts_once_upon_twenty_copies_at_the_same_time(self, visitor: Client) -> None:
        form = with_key()

        def send() -> HttpResponse:
            copy = Client()
            copy.cookies = visitor.cookies
            return copy.post(NEW, form)

        answers = at_once(*[send] * 20)

        assert ProtectedWindow.objects.count() == 1
        assert {(answer.status_code, answer["Location"]) for answer in answers} == {  # type: ignore[attr-defined,index]
            (302, reverse("scheduling:windows"))
        }

    def test_acts_again_under_another_key(self, visitor: Client) -> None:
        visitor.post(NEW, with_key())
        visitor.post(NEW, with_key(reason="May prices"))

        assert ProtectedWindow.objects.count() == 2

    def test_acts_for_each_person_apart(self, visitor: Client) -> None:
        form = with_key()
        visitor.post(NEW, form)
        somebody_else = Client()
        somebody_else.force_login(UserFactory(supplier=SupplierFactory()))
        somebody_else.post(NEW, form)

        assert ProtectedWindow.objects.count() == 2

    def test_takes_the_key_from_the_header_as_well(self, visitor: Client) -> None:
        key = {once.HEADER: str(uuid.uuid4())}
        for _ in range(2):
            assert visitor.post(NEW, WINDOW, headers=key).status_code == 302

        assert ProtectedWindow.objects.count() == 1

    @pytest.mark.parametrize("more", [{"reason": "May prices"}, {"added": "x"}])
    def test_refuses_other_content_under_the_same_key(self, visitor: Client, more: dict[str, str]) -> None:
        form = with_key()
        visitor.post(NEW, form)

        refused = visitor.post(NEW, form | more)

        assert refused.status_code == 422
        assert "This form was sent before" in refused.content.decode()
        assert ProtectedWindow.objects.count() == 1

    def test_refuses_the_same_key_at_another_address(self, visitor: Client) -> None:
        form = with_key()
        visitor.post(NEW, form)

        assert visitor.post(f"{NEW}?copy=1", form).status_code == 422

    def test_refuses_what_is_no_key(self, visitor: Client) -> None:
        assert visitor.post(NEW, with_key(**{once.FIELD: "1' OR '1'='1"})).status_code == 422
        assert not ProtectedWindow.objects.exists()

    def test_lets_a_form_with_errors_be_mended_under_the_same_key(self, visitor: Client) -> None:
        form = with_key()
        assert visitor.post(NEW, form | {"reason": ""}).status_code == 200

        assert visitor.post(NEW, form).status_code == 302
        assert ProtectedWindow.objects.count() == 1

    def test_tells_a_copy_that_nobody_knows_what_became_of_the_first(
        self, visitor: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The process died between the act and its answer, or is still at it."""
        form = with_key()
        visitor.post(NEW, form)
        RequestKey.objects.update(status=None, location="")
        monkeypatch.setattr(once, "PATIENCE_SECONDS", 0.1)

        answer = visitor.post(NEW, form)

        assert answer.status_code == 409
        assert "Look first whether it was done" in answer.content.decode()
        assert ProtectedWindow.objects.count() == 1

    def test_does_not_know_either_after_an_error(
        self, visitor: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise LookupError

        form = with_key()
        visitor.raise_request_exception = False
        with monkeypatch.context() as patch:
            patch.setattr("scheduling.operations.windows.keep", fail)
            assert visitor.post(NEW, form).status_code == 500
        monkeypatch.setattr(once, "PATIENCE_SECONDS", 0.1)

        assert visitor.post(NEW, form).status_code == 409

    def test_leaves_it_to_the_page_where_no_key_can_be_kept(
        self, visitor: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise DatabaseError

        monkeypatch.setattr(once.sql, "run", refuse)

        assert visitor.post(NEW, with_key()).status_code == 302

    def test_asks_nothing_of_who_only_reads_or_is_nobody(
        self, visitor: Client, django_assert_num_queries: Callable[..., Any]
    ) -> None:
        request = RequestFactory().get(NEW, {once.FIELD: str(uuid.uuid4())})
        with django_assert_num_queries(0):
            assert once.claim(request=request) is None
        assert Client().post(NEW, with_key()).status_code == 302
        assert not RequestKey.objects.exists()


class TestClaim:
    def test_tells_files_apart_by_their_content(self, person: User) -> None:
        key = str(uuid.uuid4())

        def send(content: bytes) -> HttpResponse | None:
            request = RequestFactory().post(
                "/x/", {once.FIELD: key, "file": SimpleUploadedFile("hubs.csv", content)}
            )
            request.user = person
            answer = once.claim(request=request)
            [file] = request.FILES.values()
            assert file.read() == content, "who reads it next begins at its beginning"
            return answer

        assert send(b"one") is None
        RequestKey.objects.update(status=302, location="/there/")
        copy, other = send(b"one"), send(b"two")
        assert copy is not None
        assert other is not None
        assert (copy.status_code, copy["Location"], other.status_code) == (302, "/there/", 422)


class TestForget:
    def test_forgets_after_a_day(self, visitor: Client) -> None:
        visitor.post(NEW, with_key())
        visitor.post(NEW, with_key(reason="May prices"))
        RequestKey.objects.filter(key=RequestKey.objects.values("key")[:1]).update(
            begun_at=clock.now() - timedelta(days=1, minutes=1)
        )

        assert once.forget(now=clock.now()) == 1
        assert RequestKey.objects.count() == 1
