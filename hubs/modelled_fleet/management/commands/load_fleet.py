"""Make a fleet to try the portal with."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from hubs.modelled_fleet import operations
from portal.ground import clock


class Command(BaseCommand):
    """Fill the inventory and the modelled fleet with made-up hubs."""

    help = "Make a fleet of made-up hubs, Suppliers, models and versions; the same seed makes the same fleet"

    def add_arguments(self, parser: CommandParser) -> None:
        """Take how many, from which seed, at which speed."""
        parser.add_argument("--hubs", type=int, required=True, metavar="N", help="how many hubs")
        parser.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed, the same fleet")
        parser.add_argument(
            "--time-scale",
            type=float,
            default=1.0,
            metavar="X",
            help="seconds of fleet time in one; default 1",
        )
        parser.add_argument("--replace", action="store_true", help="empty the fleet first")
        parser.add_argument("--quiet", action="store_true", help="no progress")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it, and say so."""

        def tell(step: str) -> None:
            if not options["quiet"]:
                print(f"\r\033[Kload_fleet: {step}", end="", file=sys.stderr, flush=True)

        if options["time_scale"] <= 0:
            raise CommandError("--time-scale must be above 0.")
        try:
            operations.load_fleet(
                hubs=options["hubs"],
                seed=options["seed"],
                now=clock.now(),
                time_scale=options["time_scale"],
                is_replacing=options["replace"],
                tell=tell,
            )
        except operations.UnableToLoad as refusal:
            raise CommandError(str(refusal)) from refusal
        if connection.get_autocommit():  # a test's transaction cannot
            tell("tidying")
            with connection.cursor() as cursor:
                cursor.execute("VACUUM (ANALYZE) hubs_communicationshub, modelled_fleet_fleethub")
        tell(f"{options['hubs']:,} hubs made\n")
