"""Tests of the health routes."""

import pytest
from django.test import Client


@pytest.mark.django_db
class TestReady:
    def test_answers_ready_while_postgresql_and_redis_answer(self, client: Client) -> None:
        response = client.get("/health/ready")

        assert response.status_code == 200
        assert response.json() == {"postgresql": True, "redis": True}
