"""Tests of what counts attempts: a limit holds for many at once, and for whoever empties Redis."""

import threading
from collections.abc import Callable

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connections
from django.test import Client
from redis import Redis

from portal.ground import sql
from portal.models import Attempt, User
from tests.factories import PASSWORD

LOGIN = "/accounts/login/"
AT_ONCE = 20
AGE = "UPDATE portal_attempt SET expires_at = clock_timestamp() - interval '1 second'"


@pytest.mark.django_db
class TestAttemptCache:
    def test_gives_back_what_it_was_given(self) -> None:
        cache.set("key", [1.5, 2])

        assert cache.get("key") == [1.5, 2]
        assert cache.get("another") is None
        assert cache.get("another", "none") == "none"

    def test_keeps_a_value_that_is_there(self) -> None:
        assert cache.add("key", 1)
        assert not cache.add("key", 2)
        assert cache.get("key") == 1

    def test_forgets_in_time(self) -> None:
        cache.set("key", 1)
        sql.run(AGE, {})

        assert cache.get("key") is None
        assert not cache.touch("key")
        assert cache.add("key", 2)
        assert cache.get("key") == 2

    def test_forgets_when_told(self) -> None:
        cache.set("key", 1)

        assert cache.delete("key")
        assert not cache.delete("key")
        assert cache.get("key") is None

    def test_keeps_longer_what_is_touched(self) -> None:
        cache.set("key", 1, timeout=1)
        before = Attempt.objects.get().expires_at

        assert cache.touch("key", timeout=60)
        assert Attempt.objects.get().expires_at > before

    def test_keeps_no_address_in_the_clear(self, client: Client) -> None:
        client.post(LOGIN, {"login": "ada@northern.example", "password": "wrong"}, REMOTE_ADDR="192.0.2.7")

        kept = str(list(Attempt.objects.values_list("key", "value")))
        assert Attempt.objects.exists()
        assert "192.0.2.7" not in kept
        assert "ada" not in kept


def at_once(*acts: Callable[[], object]) -> None:
    """Do each of several things on a thread of its own; they begin together."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        barrier.wait()
        try:
            act()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.django_db(transaction=True)
class TestLimits:
    def test_lets_one_of_many_have_a_key(self) -> None:
        won: list[bool] = []

        at_once(*[lambda: won.append(cache.add("key", 1))] * AT_ONCE)

        assert won.count(True) == 1

    def test_lets_one_of_many_have_a_key_that_is_over(self) -> None:
        cache.set("key", 0)
        sql.run(AGE, {})
        won: list[bool] = []

        at_once(*[lambda: won.append(cache.add("key", 1))] * AT_ONCE)

        assert won.count(True) == 1

    def test_is_not_passed_by_many_attempts_at_once(
        self, northern: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever is refused by the limit is never compared with the password."""
        compared: list[str] = []
        check = User.check_password

        def counted(self: User, raw_password: str) -> bool:
            compared.append(raw_password)
            return check(self, raw_password)

        monkeypatch.setattr(User, "check_password", counted)

        at_once(*[lambda: Client().post(LOGIN, {"login": northern.email, "password": "wrong"})] * AT_ONCE)

        assert 1 <= len(compared) <= 5

    def test_outlives_a_redis_that_is_emptied(self, client: Client, northern: User) -> None:
        for _ in range(5):
            client.post(LOGIN, {"login": northern.email, "password": "wrong"})
        Redis.from_url(settings.REDIS_ADDRESS).flushall()

        response = client.post(LOGIN, {"login": northern.email, "password": PASSWORD})

        assert "Too many wrong attempts" in response.content.decode()
        assert "_auth_user_id" not in client.session

    def test_needs_no_redis_to_sign_in(self, client: Client, northern: User) -> None:
        settings_of_nobody = "redis://127.0.0.1:9/0"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(settings, "REDIS_ADDRESS", settings_of_nobody)
            patch.setattr(settings, "CELERY_BROKER_URL", settings_of_nobody)
            response = client.post(LOGIN, {"login": northern.email, "password": PASSWORD})

        assert response.headers["Location"] == "/"

    @pytest.mark.parametrize(
        ("address", "sent", "times"),
        [
            ("/accounts/password/reset/", {"email": "ada@northern.example"}, 5),
            ("/invitation/no-such-link/", {}, 30),
        ],
    )
    def test_holds_where_nobody_is_signed_in(
        self, client: Client, address: str, sent: dict[str, str], times: int
    ) -> None:
        first = [client.post(address, sent).status_code for _ in range(times)]

        assert 429 not in first
        assert client.post(address, sent).status_code == 429

    def test_holds_for_whoever_shows_again_who_they_are(self, client: Client, northern: User) -> None:
        client.force_login(northern)
        for _ in range(10):
            client.post("/accounts/reauthenticate/", {"password": "wrong"})

        assert client.post("/accounts/reauthenticate/", {"password": PASSWORD}).status_code == 429
