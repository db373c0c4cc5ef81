"""Fill the demo."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal import demo
from portal.ground import clock


class Command(BaseCommand):
    """Make the demo's fleet, people and releases, unless they are there."""

    help = "Fill an empty portal with the demo; harmless when it is filled"

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the size of the fleet, and whether the release breaks some of it."""
        parser.add_argument("--hubs", type=int, default=60_000, metavar="N", help="how many hubs (60000)")
        parser.add_argument(
            "--defect", action="store_true", help="the first release breaks hubs of one of its two models"
        )

    def handle(self, *args: Any, hubs: int, defect: bool, **options: Any) -> None:
        """Fill it, telling each step."""
        try:
            demo.fill(hubs=hubs, now=clock.now(), tell=self.stdout.write, has_defect=defect)
        except demo.UnableToFill as refusal:
            raise CommandError(str(refusal)) from refusal
