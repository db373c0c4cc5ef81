"""Tests of the health routes: by faults of the real services, not by stand-ins for them."""

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings


class TestLive:
    def test_answers_without_asking_anything(self, client: Client) -> None:
        response = client.get("/health/live")

        assert response.status_code == 200
        assert response.content == b"alive\n"


@pytest.mark.django_db(transaction=True)
class TestReady:
    def test_answers_ready_while_postgresql_and_redis_answer(self, client: Client) -> None:
        response = client.get("/health/ready")

        assert response.status_code == 200
        assert response.json() == {"postgresql": True, "redis": True}

    def test_names_redis_when_it_is_away(self, client: Client, settings: Settings) -> None:
        cache = settings.CACHES["default"] | {"LOCATION": "unix:///nowhere/redis.sock?db=1"}
        settings.CACHES = {"default": cache}

        response = client.get("/health/ready")

        assert response.status_code == 503
        assert response.json() == {"postgresql": True, "redis": False}

    def test_names_postgresql_when_it_ends_the_connection(self, client: Client) -> None:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
        assert connection.connection
        connection.connection.pgconn.finish()

        response = client.get("/health/ready")
        connection.close()

        assert response.status_code == 503
        assert response.json() == {"postgresql": False, "redis": True}
