"""Tests of the settings: production starts with all that it needs, or not at all."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import amqp
import pytest
from django.conf import settings
from django.core.management import call_command
from pytest_django import Settings

COMPLETE = {
    "SECRET_KEY": "k3-" + "x7Q" * 20,
    "ALLOWED_HOSTS": "portal.example.org",
    "PORTAL_ADDRESS": "https://portal.example.org",
    "DATABASE_URL": "postgres://portal@database.invalid/portal?sslmode=verify-full",
    "REDIS_URL": "redis://redis.invalid:6379/0",
    "HUB_GATEWAY": "hubs.modelled_fleet.gateway.ModelledFleet",
    "EVIDENCE_KEY": "5e" * 32,
    "EMAIL_URL": "smtp+tls://portal@mail.example.org:587",
    "SEALING_KEY": "7c" * 32,
}

OVER_HTTP = {
    "HUB_GATEWAY": "hubs.http_carrier.HttpCarrier",
    "CARRIER_URL": "https://carrier.example.org",
    "CARRIER_SECRET": "c4-" + "y8R" * 15,
}


def start(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Start a command that reads the settings, told nothing but this."""
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


class TestProduction:
    def test_starts_when_told_everything(self) -> None:
        started = start(COMPLETE)

        assert started.returncode == 0, started.stderr

    @pytest.mark.parametrize("name", COMPLETE)
    def test_names_what_it_was_not_told(self, name: str) -> None:
        started = start({key: value for key, value in COMPLETE.items() if key != name})

        assert started.returncode == 1
        assert started.stderr.startswith(f"{name} is not set: set it to ")
        assert len(started.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("SECRET_KEY", settings.LOCAL_SECRET),
            ("SECRET_KEY", "short"),
            ("PORTAL_ADDRESS", "http://portal.example.org"),
            ("LOG_FORMAT", "xml"),
            ("METRICS_TOKEN", "guessed"),
            ("EVIDENCE_KEY", settings.LOCAL_EVIDENCE_KEY),
            ("EVIDENCE_KEY", "5e" * 31),
            ("EVIDENCE_KEY", "no" * 32),
            ("ALLOWED_HOSTS", "*"),
            ("ALLOWED_HOSTS", "portal.example.org,*"),
            ("ALLOWED_HOSTS", ".example.org"),
            ("DATABASE_URL", "postgres://portal@database.invalid/portal"),
            ("DATABASE_URL", "postgres://portal@database.invalid/portal?sslmode=prefer"),
            ("DATABASE_URL", "postgres://portal@/portal?host=/run/postgresql,database.invalid"),
            ("EMAIL_URL", "smtp://mail.example.org:25"),
            ("EMAIL_URL", "dummymail://"),
            ("EMAIL_URL", "consolemail://"),
            ("SEALING_KEY", settings.LOCAL_SEALING_KEY),
            ("SEALING_KEY", "7c" * 31),
            ("SECOND_FACTOR", "optional"),
            ("SECOND_FACTOR", "off"),
        ],
    )
    def test_refuses_what_would_not_be_safe(self, name: str, value: str) -> None:
        started = start(COMPLETE | {name: value})

        assert started.returncode == 1
        assert started.stderr.startswith(f"{name} ")
        assert len(started.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        "url", ["https://carrier.example.org", "http://127.0.0.1:8100", "unix:///run/fleet.sock"]
    )
    def test_starts_with_a_carrier_over_http(self, url: str) -> None:
        started = start(COMPLETE | OVER_HTTP | {"CARRIER_URL": url})

        assert started.returncode == 0, started.stderr

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DATABASE_URL", "postgres://portal@/portal?host=/run/postgresql"),
            ("DATABASE_URL", "postgres://portal@127.0.0.1/portal"),
            ("DATABASE_URL", "postgres://portal@database.invalid/portal?sslmode=require"),
            ("EMAIL_URL", "smtp://localhost:25"),
            ("EMAIL_URL", "smtp+ssl://mail.example.org:465"),
        ],
    )
    def test_starts_with_what_stays_here_or_travels_hidden(self, name: str, value: str) -> None:
        started = start(COMPLETE | {name: value})

        assert started.returncode == 0, started.stderr

    @pytest.mark.parametrize("name", ["CARRIER_URL", "CARRIER_SECRET"])
    def test_names_what_it_was_not_told_of_the_carrier(self, name: str) -> None:
        started = start(COMPLETE | {key: value for key, value in OVER_HTTP.items() if key != name})

        assert started.returncode == 1
        assert started.stderr.startswith(f"{name} is not set: set it to ")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("CARRIER_URL", "http://carrier.example.org"),
            ("CARRIER_URL", "http://127.0.0.1.example.org"),
            ("CARRIER_URL", "carrier.example.org"),
            ("CARRIER_SECRET", "31 letters and one letter short"),
            ("CARRIER_SECRET", settings.LOCAL_CARRIER_SECRET),
            ("CARRIER_SECRET", COMPLETE["SECRET_KEY"]),
            ("CARRIER_SECRET_FALLBACKS", "brief"),
        ],
    )
    def test_refuses_a_carrier_that_anybody_could_be(self, name: str, value: str) -> None:
        started = start(COMPLETE | OVER_HTTP | {name: value})

        assert started.returncode == 1
        assert name in started.stderr
        assert value not in started.stderr
        assert len(started.stderr.splitlines()) == 1

    def test_serves_the_modelled_fleet_with_a_secret_only(self) -> None:
        started = start(COMPLETE | {"FLEET_SERVER": "true"})

        assert started.returncode == 1
        assert started.stderr.startswith("CARRIER_SECRET is not set: set it to ")

    def test_gives_each_cookie_to_this_host_alone(self) -> None:
        program = (
            "from portal import settings as s; print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, "
            "s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_HTTPONLY, s.CSRF_COOKIE_HTTPONLY, "
            "s.SESSION_COOKIE_SAMESITE)"
        )

        printed = subprocess.run(
            [sys.executable, "-c", program],
            cwd=settings.BASE_DIR,
            env={"PATH": os.environ["PATH"]} | COMPLETE,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

        assert printed.split() == ["__Host-session", "__Host-csrf", *["True"] * 4, "Lax"]

    def test_gives_every_static_file_a_name_for_ever(self, settings: Settings, tmp_path: Path) -> None:
        """What collectstatic refuses, such as a style sheet that names a missing file, breaks the image."""
        settings.STATIC_ROOT = tmp_path
        settings.STORAGES = settings.STORAGES | {
            "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
        }

        call_command("collectstatic", interactive=False, verbosity=0)

        assert (tmp_path / "staticfiles.json").exists()


class TestRedisAddresses:
    @pytest.mark.parametrize(
        ("address", "asked", "broker"),
        [
            ("redis://:pass@redis:6379/5", "redis://:pass@redis:6379/0", "redis://:pass@redis:6379/0"),
            ("rediss://redis", "rediss://redis/0", "rediss://redis/0"),
            (
                "unix:///run/redis.sock?db=7",
                "unix:///run/redis.sock?db=0",
                "redis+socket:///run/redis.sock?virtual_host=0",
            ),
        ],
    )
    def test_are_spelt_as_each_client_reads_them(self, address: str, asked: str, broker: str) -> None:
        program = "from portal import settings as s; print(s.REDIS_ADDRESS, s.CELERY_BROKER_URL)"

        printed = subprocess.run(
            [sys.executable, "-c", program],
            cwd=settings.BASE_DIR,
            env={"PATH": os.environ["PATH"]} | COMPLETE | {"REDIS_URL": address},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

        assert printed.split() == [asked, broker]


class TestBroker:
    """Redis, or whatever BROKER_URL names: each is told only what it understands."""

    def told(self, **environment: str) -> dict[str, Any]:
        """Return what a production process gives Celery."""
        names = ["CELERY_BROKER_URL", "CELERY_BROKER_TRANSPORT_OPTIONS"]
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import json; from portal import settings; "
                f"print(json.dumps([getattr(settings, name) for name in {names}]))",
            ],
            cwd=settings.BASE_DIR,
            env={"PATH": os.environ["PATH"]} | COMPLETE | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(zip(("url", "options"), json.loads(done.stdout), strict=True))

    def test_is_redis_by_itself(self) -> None:
        told = self.told(REDIS_PREFIX="portal-")

        assert told["url"] == "redis://redis.invalid:6379/0"
        assert told["options"]["visibility_timeout"] > 0
        assert told["options"]["global_keyprefix"] == "portal-"

    @pytest.mark.parametrize(
        "url",
        ["amqp://portal:secret@rabbit.invalid:5672/portal", "amqps://portal:secret@rabbit.invalid/portal"],
    )
    def test_is_another_by_its_url_alone_and_told_nothing_of_redis(self, url: str) -> None:
        told = self.told(BROKER_URL=url)

        assert told["url"] == url
        understood = inspect.signature(amqp.Connection).parameters
        assert told["options"]
        assert set(told["options"]) <= set(understood)
        assert told["options"]["confirm_publish"] is True
