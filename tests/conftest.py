"""What every test stands on: servers of our own, and a folder of its own for uploads."""

from pathlib import Path

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from portal import embedded


def pytest_configure() -> None:
    """Start the servers that no URL names; the workers of a parallel run inherit the addresses."""
    if django_settings.EMBEDDED:
        embedded.current().ensure(wanted=django_settings.EMBEDDED)


@pytest.fixture(autouse=True)
def media_root(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a test uploads to itself, also from the processes that it starts."""
    folder = tmp_path / "media"
    folder.mkdir()
    settings.MEDIA_ROOT = folder
    monkeypatch.setenv("MEDIA_ROOT", str(folder))
    return folder
