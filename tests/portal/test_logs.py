"""Tests of the log: each line says what it is about, and none of them says anything about a household."""

import io
import json
import logging
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from pytest_django import Settings

from hubs.models import CommunicationsHub
from portal.celery import app
from portal.ground import logs, sql
from portal.models import User
from tests.factories import CommunicationsHubFactory

logger = logging.getLogger("portal.example")


def read(written: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines, each of which is an object of its own."""
    return [json.loads(line) for line in written.getvalue().splitlines()]


class TestBound:
    def test_marks_every_line_inside_and_none_outside(self, written: io.StringIO) -> None:
        with logs.bound(lot=7, release="CPL-2026-410"):
            with logs.bound(command="14337/ACTIVATE/2", release="CPL-2026-411"):
                logger.info("inner")
            logger.info("outer")
        logger.info("after")

        inner, outer, after = read(written)
        assert (inner["lot"], inner["release"], inner["command"]) == (7, "CPL-2026-411", "14337/ACTIVATE/2")
        assert (outer["lot"], outer["release"], "command" in outer) == (7, "CPL-2026-410", False)
        assert not {"lot", "release"} & set(after)

    def test_says_nothing_of_what_is_not_known(self) -> None:
        with logs.bound(lot=7, supplier=None):
            assert dict(logs.current()) == {"lot": 7}

    def test_forgets_also_when_the_work_fails(self) -> None:
        with pytest.raises(ZeroDivisionError), logs.bound(lot=7):
            raise ZeroDivisionError

        assert not logs.current()


class TestAdd:
    def test_lasts_until_the_block_around_it_ends(self) -> None:
        with logs.bound(request="1"):
            logs.add(supplier=4)
            assert dict(logs.current()) == {"request": "1", "supplier": 4}

        assert not logs.current()


class TestRedacted:
    @pytest.mark.parametrize(
        ("text", "left"),
        [
            ("to bob.o'neil+x@northern.example.org now", "to bob.o'[e-mail address] now"),
            ("?email=bob%40northern.example&x=1", "?email=[e-mail address]&x=1"),
            ("MPAN 1234567890126.", "MPAN [meter point]."),
            ("Failing row contains (1, 3938424403, null)", "Failing row contains (1, [meter point], null)"),
            ("in SW1A 1AA, and at m11ae", "in [postcode], and at [postcode]"),
            ("?q=EC1A+1BB&p=W1A%200AX", "?q=[postcode]&p=[postcode]"),
            ("postgres://portal:hunter2@db/portal", "postgres://[login]@db/portal"),
            ("{'password': 'four words and more', 'a': 1}", "{'password': [secret], 'a': 1}"),
            ("METRICS_SECRET=abc123 next", "METRICS_SECRET=[secret] next"),
            ("Authorization: Bearer abc.def-123", "Authorization: [secret]"),
            ("sent bearer abc.def-123", "sent bearer [secret]"),
            ("Not Found: /invitation/3Xk-aa/", "Not Found: /invitation/[link]/"),
            ("/accounts/password/reset/key/4-abc/", "/accounts/password/reset/key/[link]/"),
        ],
    )
    def test_hides(self, text: str, left: str) -> None:
        assert logs.redacted(text) == left

    @pytest.mark.parametrize(
        "text",
        [
            "lot 123456789 was taken over by another worker",
            "booking BK-7F3K-92QD of CPL-2026-410",
            "hub 00-DB-12-34-56-78-90-A0",
            f"selection {uuid4()}",
            "stored as " + "ab12" * 16,
            "took 0.1234567890 s at 2026-11-22T20:18:53.162+00:00",
            "nobody may choose a password for somebody else",
            "the lot's token is 5",
        ],
    )
    def test_leaves_what_an_operator_needs(self, text: str) -> None:
        assert logs.redacted(text) == text


class TestJsonLines:
    def test_keeps_a_message_of_several_lines_in_one(self, written: io.StringIO) -> None:
        logger.warning("one\ntwo %s", "three")

        [line] = read(written)
        assert line["message"] == "one\ntwo three"
        assert line["level"] == "WARNING"
        assert line["logger"] == "portal.example"

    @pytest.mark.django_db
    def test_has_no_household_to_hide_where_the_database_keeps_it_back(self) -> None:
        hub = CommunicationsHubFactory.create(mpan=1234567890126, mprn=3938424403, postcode="SW1A 1AA")
        with pytest.raises(IntegrityError, match="hub_payment_mode_known") as refused, transaction.atomic():
            CommunicationsHub.objects.filter(pk=hub.pk).update(payment_mode=99)

        assert "1234567890126" not in str(refused.value)

    @pytest.mark.django_db
    def test_hides_the_household_in_what_the_database_says_of_a_row(self, written: io.StringIO) -> None:
        # of a table that has policies it says nothing, and of others, such as a temporary one, everything
        sql.run("CREATE TEMPORARY TABLE incoming (mpan bigint, mprn bigint, postcode text CHECK (false))", {})
        with pytest.raises(IntegrityError, match="1234567890126") as refused, transaction.atomic():
            sql.run("INSERT INTO incoming VALUES (1234567890126, 3938424403, 'SW1A 1AA')", {})
        logger.error("not changed", exc_info=refused.value)

        [line] = [line for line in read(written) if line["message"] == "not changed"]
        assert "[meter point]" in line["exception"]
        for secret in ("1234567890126", "3938424403", "SW1A 1AA"):
            assert secret not in written.getvalue()


class TestLines:
    def test_puts_the_keys_at_the_end_of_the_line_above_the_traceback(self) -> None:
        record = logger.makeRecord("x", logging.ERROR, "f", 1, "not sent to %s", ("a@b.example",), None)
        with logs.bound(lot=7, booking="BK-7F3K-92QD"):
            line = logs.Lines("%(name)s: %(message)s").format(record)

        assert line == "x: not sent to [e-mail address] [lot=7 booking=BK-7F3K-92QD]"

    def test_hides_what_a_traceback_repeats(self) -> None:
        try:
            raise ValueError("no such person: a@b.example")
        except ValueError as error:
            info = (ValueError, error, error.__traceback__)
        record = logger.makeRecord("x", logging.ERROR, "f", 1, "failed", (), info)

        line = logs.Lines("%(message)s").format(record)

        assert "ValueError: no such person: [e-mail address]" in line
        assert "a@b.example" not in line.partition("ValueError: ")[2]


@pytest.mark.django_db
class TestLogged:
    def test_names_each_request_and_says_so(self, client: Client, written: io.StringIO) -> None:
        first, second = client.get("/nowhere"), client.get("/nowhere")

        lines = [line for line in read(written) if line["logger"] == "django.request"]
        assert [line["request"] for line in lines] == [first["X-Request-ID"], second["X-Request-ID"]]
        assert first["X-Request-ID"] != second["X-Request-ID"]

    def test_takes_the_name_from_a_proxy_that_is_trusted_alone(
        self, client: Client, settings: Settings
    ) -> None:
        name = "0f8fad5b-d9cb-469f"

        assert client.get("/nowhere", headers={"x-request-id": name})["X-Request-ID"] != name
        settings.TRUSTED_PROXIES = 1
        assert client.get("/nowhere", headers={"x-request-id": name})["X-Request-ID"] == name
        assert client.get("/nowhere", headers={"x-request-id": "a b\tc"})["X-Request-ID"] != "a b\tc"

    def test_says_who_asks_and_for_which_booking(
        self, client: Client, northern: User, written: io.StringIO
    ) -> None:
        client.force_login(northern)

        client.get("/bookings/BK-7F3K-92QD/")

        [line] = [line for line in read(written) if line["logger"] == "django.request"]
        assert line["user"] == northern.pk
        assert line["supplier"] == northern.supplier_id
        assert line["booking"] == "BK-7F3K-92QD"


class TestLoggedTask:
    def test_says_which_task_wrote_a_line(self, written: io.StringIO) -> None:
        @app.task(name="portal.example.speak")
        def speak() -> None:
            logger.info("spoken")

        try:
            done = speak.apply()
        finally:
            app.tasks.pop("portal.example.speak")

        [line] = [line for line in read(written) if line["message"] == "spoken"]
        assert (line["task"], line["job"]) == (done.id, "speak")

    def test_says_which_task_failed(self, written: io.StringIO) -> None:
        @app.task(name="portal.example.fail")
        def fail() -> None:
            raise ValueError("a@b.example")

        try:
            done = fail.apply()
        finally:
            app.tasks.pop("portal.example.fail")

        [line] = [line for line in read(written) if line["level"] == "ERROR"]
        assert line["task"] == done.id
        assert "a@b.example" not in line["message"]
