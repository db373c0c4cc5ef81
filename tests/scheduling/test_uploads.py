"""Tests of receiving lists of hubs without keeping more than is allowed."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.test import Client, RequestFactory
from django.urls import reverse

from hubs.operations import count_fleet
from scheduling.models import HubSelection
from scheduling.uploads import CappedSpool
from tests.scheduling.world import World


def received(content: bytes, *, limit: int, **more: str) -> TemporaryUploadedFile:
    request = RequestFactory().post("/", {"file": SimpleUploadedFile("hubs.csv", content), **more})
    request.upload_handlers = [CappedSpool(limit=limit)]
    file: Any = request.FILES["file"]
    return file


class TestCappedSpool:
    @pytest.mark.parametrize("size", [1, 99_999, 100_000])
    def test_keeps_a_file_within_the_limit_as_it_came(self, size: int) -> None:
        file = received(b"x" * size, limit=100_000)

        assert (file.size, file.name, file.read()) == (size, "hubs.csv", b"x" * size)

    def test_keeps_no_more_than_the_limit_and_says_how_much_was_sent(self) -> None:
        file = received(b"x" * 300_000, limit=100_000, method="file")

        assert file.size == 300_000
        assert Path(file.temporary_file_path()).stat().st_size == 100_000

    def test_keeps_nothing_of_what_announces_itself_as_larger(self) -> None:
        file = received(b"x" * 3_000_000, limit=100_000)

        assert file.size == 3_000_000
        assert Path(file.temporary_file_path()).stat().st_size == 0


class TestBookView:
    def test_wants_the_form_s_token(self, todays_world: World) -> None:
        """Although it is asked for later than on other pages."""
        todays_world.hubs(1)
        count_fleet(now=todays_world.clock())
        client = Client(enforce_csrf_checks=True)
        client.force_login(todays_world.person)
        address = reverse("scheduling:book", args=[todays_world.release.pk])
        data = {"method": "file", "file": SimpleUploadedFile("hubs.csv", b"nonsense")}

        refused = client.post(address, data)
        client.get(address)
        data = {
            "method": "file",
            "file": SimpleUploadedFile("hubs.csv", b"nonsense"),
            "csrfmiddlewaretoken": client.cookies[settings.CSRF_COOKIE_NAME].value,
        }
        taken = client.post(address, data)

        assert (refused.status_code, taken.status_code) == (403, 302)
        assert HubSelection.objects.count() == 1
