"""Make the fleet of a rehearsal, as the plan on stdin or in `plan` says."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hubs.modelled_fleet import rehearsals
from portal.ground import clock


class Command(BaseCommand):
    """Fill an empty database with hubs that may all take one release. `rehearse` calls this."""

    help = "Make the fleet of a rehearsal in an empty database; part of rehearse"

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the plan."""
        parser.add_argument(
            "--plan",
            required=True,
            metavar="JSON",
            help="hubs, kinds, suppliers, baseline, fault and seed, as rehearsals.make has them",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it, saying how far it is on stderr."""
        plan = json.loads(options["plan"])
        try:
            rehearsals.make(
                hubs=plan["hubs"],
                kinds=[rehearsals.Kind(**kind) for kind in plan["kinds"]],
                suppliers=[(supplier, weight) for supplier, weight in plan["suppliers"]],
                baseline=plan["baseline"],
                fault=rehearsals.Fault(**plan["fault"]) if plan["fault"] else None,
                seed=plan["seed"],
                now=clock.now(),
                tell=lambda step: print(f"rehearse: {step}", file=sys.stderr, flush=True),
            )
        except rehearsals.UnableToRehearse as refusal:
            raise CommandError(str(refusal)) from refusal
