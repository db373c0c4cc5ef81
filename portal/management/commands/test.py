"""Everything that must hold, in one command: the gate of this project."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import BaseCommand

ONLY_TESTS = "--only-tests"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Check(NamedTuple):
    """A check by name, and the words after `python`."""

    name: str
    words: tuple[str, ...]


CHECKS = (
    Check("style: ruff check", ("-m", "ruff", "check", ".")),
    Check("style: ruff format", ("-m", "ruff", "format", "--check", ".")),
    Check("types: mypy", ("-m", "mypy")),
    Check(
        "layers: import-linter", ("-c", "from importlinter.cli import *; lint_imports_command(['--no-logo'])")
    ),
    Check("templates: djlint", ("-m", "djlint", "templates", "--check", "--lint", "--quiet")),
    Check("migrations: makemigrations", ("manage.py", "makemigrations", "--check", "--dry-run")),
    Check("production: check --deploy", ("manage.py", "check", "--deploy", "--fail-level", "WARNING")),
    Check("secrets: detect-secrets", ("-m", "tests.supply.secrets")),
    Check("dependencies: pip-audit", ("-m", "tests.supply.dependencies")),
)
# What a production start is told, for the last of them; PostgreSQL and Redis are those of the tests.
PRODUCTION = {
    "DEBUG": "false",
    "DEMO": "false",
    "DJANGO_SETTINGS_MODULE": "portal.settings",
    "ALLOWED_HOSTS": "portal.example.org",
    "PORTAL_ADDRESS": "https://portal.example.org",
    "HUB_GATEWAY": "hubs.modelled_fleet.gateway.ModelledFleet",
    "EMAIL_URL": "smtp+tls://mail.example.org:587",
}


def made_up() -> dict[str, str]:
    """Return the secrets without which production does not start."""
    return {
        "SECRET_KEY": secrets.token_urlsafe(64),
        "EVIDENCE_KEY": secrets.token_hex(32),
        "SEALING_KEY": secrets.token_hex(32),
    }


class Command(BaseCommand):
    """Run the checks in order, then the tests; stop at the first that fails."""

    help = f"Every check, then the tests; further words go to pytest, {ONLY_TESTS} leaves the checks out"
    requires_system_checks = []

    def run_from_argv(self, argv: list[str]) -> None:
        """Take the words as they are: they are pytest's, not ours."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        words = argv[2:]
        if ONLY_TESTS not in words:
            self.check_everything()
        self.run_tests(*(word for word in words if word != ONLY_TESTS))

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the same when called from Python."""
        self.run_from_argv(["manage.py", "test", *args])

    def check_everything(self) -> None:
        """Run every check but the tests."""
        for check in CHECKS:
            told = PRODUCTION | made_up() if "--deploy" in check.words else {}
            self.run(check.name, *check.words, environment=told)

    def run_tests(self, *words: str) -> None:
        """Run pytest; its summary is the last thing printed."""
        if not any(map(shutil.which, BROWSERS)):
            self.stop(
                "browser: there is none, and the browser tests need one: apt install chromium", status=1
            )
        self.run("tests: pytest", "-m", "pytest", *words, says_why=False)

    def run(
        self, name: str, *words: str, environment: dict[str, str] | None = None, says_why: bool = True
    ) -> None:
        """Run one step in a Python of its own, and end this one if it fails."""
        self.stdout.write(self.style.MIGRATE_HEADING(f"== {name}"))
        self.stdout.flush()
        done = subprocess.run(
            [sys.executable, *words],
            cwd=settings.BASE_DIR,
            env=os.environ | (environment or {}),
            check=False,
        )
        if done.returncode:
            self.stop(f"failed: {name}" if says_why else "", status=done.returncode)

    def stop(self, why: str, *, status: int) -> None:
        """End with a heading that says what failed."""
        if why:
            self.stderr.write(self.style.ERROR(f"== {why}"))
        sys.exit(status if status > 0 else 128 - status)
