"""What every test stands on: servers of our own, and a folder of its own for uploads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db.backends.postgresql.operations import DatabaseOperations
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


@pytest.fixture(autouse=True, scope="session")
def audit_emptied_between_tests() -> Iterator[None]:
    """
    Let Django empty the database after a test with transactions of its own.

    The audit refuses that, as it should; only the owner of the table can silence its trigger.
    """
    usual = DatabaseOperations.sql_flush

    def sql_flush(self: DatabaseOperations, *args: Any, **kwargs: Any) -> list[str]:
        table = "ALTER TABLE ground_auditentry {} TRIGGER audit_only_grows"
        flush = usual(self, *args, **kwargs)
        return [table.format("DISABLE"), *flush, table.format("ENABLE")] if flush else flush

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", sql_flush)
        yield
