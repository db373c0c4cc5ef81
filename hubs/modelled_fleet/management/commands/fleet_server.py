"""Serve the modelled fleet over HTTP, as a carrier would be."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from gunicorn.app.base import BaseApplication

from hubs.modelled_fleet.server import FleetApplication
from portal.ground import clock


class Command(BaseCommand):
    """Run until told to stop; what is being answered is answered first."""

    help = "Serve the modelled fleet over HTTP for the adapter hubs.http_carrier.HttpCarrier. It reaches no real hub."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Say where it listens."""
        place = parser.add_mutually_exclusive_group()
        place.add_argument("--port", type=int, default=8100, help="where it listens (8100)")
        place.add_argument(
            "--unix-socket", metavar="PATH", help="listen on a socket in the file system instead"
        )
        parser.add_argument("--host", default="127.0.0.1", help="whose address it listens on (127.0.0.1)")
        parser.add_argument("--threads", type=int, default=8, help="how many it answers at a time (8)")

    def handle(self, *, port: int, unix_socket: str | None, host: str, threads: int, **options: Any) -> None:
        """Serve, where it is allowed to."""
        if settings.PRODUCTION and not settings.FLEET_SERVER:
            raise CommandError(
                "This is production, and the modelled fleet reaches no real hub: "
                "set FLEET_SERVER=true if it is to stand in for the carriers here."
            )
        _Gunicorn(place=f"unix:{unix_socket}" if unix_socket else f"{host}:{port}", threads=threads).run()


class _Gunicorn(BaseApplication):  # type: ignore[misc]  # it has no types
    """One process, since it remembers nonces, with threads."""

    def __init__(self, *, place: str, threads: int) -> None:
        self._settings = {
            "bind": place,
            "workers": 1,
            "worker_class": "gthread",
            "threads": threads,
            "graceful_timeout": 10,
            "loglevel": "warning",
            "proc_name": "fleet_server",
            "control_socket_disable": True,
            "post_worker_init": lambda worker: worker.log.warning(
                "The modelled fleet listens at %s", ", ".join(map(str, worker.sockets))
            ),
        }
        super().__init__()

    def load_config(self) -> None:
        """Take the settings above and nobody else's."""
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> FleetApplication:
        """Make the application, in the process that serves."""
        return FleetApplication(secrets=settings.CARRIER_SECRETS, clock=clock.now)
