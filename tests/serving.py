"""How a server of the tests serves, and the browser that asks it."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.db.backends.postgresql.base import DatabaseWrapper

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def launch_terms() -> dict[str, Any]:
    """Return how to launch the machine's own browser; nothing where there is none. Root may not have its sandbox."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        return {}
    return {"executable_path": found, "args": ["--no-sandbox"] if os.geteuid() == 0 else []}


@contextmanager
def as_in_production() -> Iterator[None]:
    """
    Have the server's threads log in to PostgreSQL as the web server does: by itself it may see nothing.

    Every thread but the main one is the server's.
    """
    usual = DatabaseWrapper.get_connection_params

    def get_connection_params(self: DatabaseWrapper) -> dict[str, Any]:
        terms: dict[str, Any] = usual(self)
        is_ours = threading.current_thread() is threading.main_thread()
        return terms if is_ours else terms | {"user": "portal_web"}

    with mock.patch.object(DatabaseWrapper, "get_connection_params", get_connection_params):
        yield
