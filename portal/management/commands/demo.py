"""The whole portal on one machine, from nothing."""

import contextlib
import fcntl
import io
import os
import secrets
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError, connection

from portal import embedded
from portal.bootstrap import NO_SPACE, UnableToPrepare
from portal.supervisor import Supervisor, python

MARK = (
    "PORTAL_DEMO"  # in the environment of all that a demo starts, so that it can be told from anything else
)


class Command(BaseCommand):
    """Start the servers, migrate, fill, then run web server, worker and timetable until told to stop."""

    help = "The whole portal on this machine: try it. Ctrl-C stops everything; the data stays."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Say what can be chosen."""
        parser.add_argument("--port", type=_port, default=8000, help="where the web server listens (8000)")
        parser.add_argument(
            "--hubs", type=_count, default=60_000, help="how many hubs a new demo has (60000)"
        )
        parser.add_argument("--seconds", type=_count, help="stop by itself so long after all is ready")
        parser.add_argument("--fresh", action="store_true", help="forget the data of earlier runs")
        parser.add_argument(
            "--defect",
            action="store_true",
            help="a new demo's first release breaks 30 %% of one of its two hub models, and is booked: the control "
            "room shows how it halts by itself, in the first slot",
        )
        parser.add_argument(
            "--carrier",
            choices=("model", "http"),
            default="model",
            help="http: the modelled fleet is a process of its own, and every command goes there over HTTP",
        )

    def handle(
        self,
        *,
        port: int,
        hubs: int,
        seconds: int | None,
        fresh: bool,
        defect: bool,
        carrier: str,
        **options: Any,
    ) -> None:
        """Run until told to stop."""
        for number in (signal.SIGTERM, signal.SIGHUP):  # until the supervisor takes them
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))
        services = embedded.current()
        if fresh and set(settings.EMBEDDED) != {"DATABASE_URL", "REDIS_URL"}:
            raise UnableToPrepare(
                "--fresh forgets only data of the demo's own: unset DATABASE_URL and REDIS_URL, or "
                "leave --fresh out."
            )
        with self.alone(services.state):
            end_orphans(mark=str(services.sockets))
            refuse_taken_port(port)
            if fresh:
                services.start_over()
                shutil.rmtree(settings.MEDIA_ROOT, ignore_errors=True)
            status = self.serve(
                services,
                port=port,
                hubs=hubs,
                seconds=seconds,
                has_defect=defect,
                is_over_http=carrier == "http",
            )
            connection.close()
            services.release()
        self.stdout.write("Everything is stopped; the next start finds the same data.")
        raise SystemExit(status)

    @contextlib.contextmanager
    def alone(self, state: Path) -> Iterator[None]:
        """Hold the checkout's only demo; the kernel gives it up for us, however we end."""
        with (state / "demo.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UnableToPrepare(
                    "A demo of this checkout is running already: stop it first, or use another checkout."
                ) from None
            yield

    def serve(
        self,
        services: embedded.Services,
        *,
        port: int,
        hubs: int,
        seconds: int | None,
        has_defect: bool,
        is_over_http: bool,
    ) -> int:
        """Prepare the data, then supervise; return the exit status."""
        address = f"http://127.0.0.1:{port}"
        os.environ.setdefault("PORTAL_ADDRESS", address)
        # This process fills the demo, whose first e-mails link to this port as well.
        settings.PORTAL_ADDRESS = os.environ["PORTAL_ADDRESS"]
        if settings.EMBEDDED:
            self.stdout.write("Starting PostgreSQL and Redis.")
            services.ensure(wanted=settings.EMBEDDED)
        try:
            self.stdout.write("Bringing the database up to date.")
            call_command("migrate", verbosity=0)
            call_command("fill_demo", hubs=hubs, defect=has_defect)
        except OperationalError:
            if services.ran_out_of_space():
                raise UnableToPrepare(NO_SPACE) from None
            raise
        accounts = io.StringIO()
        call_command("show_accounts", stdout=accounts)
        environment = os.environ | {
            "PYTHONUNBUFFERED": "1",
            # Whether root tries the portal is root's own affair.
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
            MARK: str(services.sockets),
        }
        started = programs(port=port)
        if is_over_http:
            socket_path = services.sockets / "fleet.sock"
            started = {"fleet": fleet_server(socket_path)} | started
            environment |= {
                "HUB_GATEWAY": "hubs.http_carrier.HttpCarrier",
                "CARRIER_URL": f"unix://{socket_path}",
                "CARRIER_SECRET": secrets.token_urlsafe(32),
            }
        supervisor = Supervisor(output=sys.stdout)
        with supervisor.signals():
            for name, words in started.items():
                supervisor.start(
                    name, words, cwd=settings.BASE_DIR, environment=environment | logs_in(services, name)
                )
            return supervisor.run(
                is_ready=lambda: answers(f"{address}/health/ready"),
                when_ready="\n".join(
                    [
                        "",
                        f"The portal is open: {address}/",
                        "",
                        accounts.getvalue(),
                        "Ctrl-C stops it all.",
                        "",
                    ]
                ),
                seconds=seconds,
            )


def logs_in(services: embedded.Services, program: str) -> dict[str, str]:
    """Return as whom a program logs in to a PostgreSQL of our own; to another, all do as DATABASE_URL says."""
    user = {"web": "portal_web", "worker": "portal_work", "beat": "portal_work"}.get(program)
    if user is None or "DATABASE_URL" not in settings.EMBEDDED:
        return {}
    return {"DATABASE_URL": services.database_url(user=user)}


def programs(*, port: int) -> dict[str, list[str]]:
    """Return what runs, by name."""
    return {
        "web": python(
            *("gunicorn", "portal.wsgi", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4"),
            *("--graceful-timeout", "5", "--no-control-socket", "--log-level", "warning"),
        ),
        "worker": python(
            *(
                "celery",
                "--quiet",
                "-A",
                "portal.celery",
                "worker",
                "--concurrency",
                "2",
                "--loglevel",
                "info",
            ),
            *("--without-gossip", "--without-mingle"),
        ),
        "beat": python(
            *("celery", "--quiet", "-A", "portal.celery", "beat", "--loglevel", "info", "--pidfile=")
        ),
    }


def fleet_server(socket_path: Path) -> list[str]:
    """Return what serves the modelled fleet on a socket of its own, which no other demo can take."""
    return [sys.executable, "manage.py", "fleet_server", "--unix-socket", str(socket_path)]


def answers(address: str) -> bool:
    """Tell whether a page answers 200."""
    try:
        with urllib.request.urlopen(address, timeout=2) as response:  # noqa: S310  (our own address)
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def refuse_taken_port(port: int) -> None:
    """
    Try the port before the long work.

    :raises UnableToPrepare: if nothing can listen there
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            why = "is not yours to use" if isinstance(error, PermissionError) else "is taken"
            raise UnableToPrepare(
                f"Port {port} {why}: choose another, such as --port {port + 1 if port < 65000 else 8000}."
            ) from None


def end_orphans(*, mark: str) -> None:
    """End what an earlier demo of this checkout left running when it was killed."""
    orphans = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.pid != os.getpid():
                process.terminate()
                orphans.append(process)
    _, alive = psutil.wait_procs(orphans, timeout=10)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=10)


def _port(text: str) -> int:
    number = _count(text)
    if number > 65535:
        raise ArgumentTypeError("a port is a number from 1 to 65535")
    return number


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ArgumentTypeError("give a whole number, 1 or more")
    return int(text)
