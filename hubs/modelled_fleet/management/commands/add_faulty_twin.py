"""Give a hub model a twin that a version breaks."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hubs.modelled_fleet import operations
from hubs.models import HubModel
from portal.ground import clock


class Command(BaseCommand):
    """Turn the newest hubs of a model into a model of their own, which a version breaks."""

    help = "Turn a hub model's newest hardware into a model of its own, some hubs of which fail to activate a version"

    def add_arguments(self, parser: CommandParser) -> None:
        """Take which model, which version, and how many of the twin's hubs fail."""
        parser.add_argument("--model", required=True, metavar="NAME", help="the hub model")
        parser.add_argument(
            "--breaks",
            type=int,
            required=True,
            metavar="VERSION",
            help="the version that breaks the twin's hubs",
        )
        parser.add_argument(
            "--share", type=float, default=0.3, metavar="S", help="of the twin's hubs fail (0.3)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the twin."""
        model = HubModel.objects.filter(name=options["model"]).first()
        if model is None:
            raise CommandError(f"There is no hub model {options['model']}.")
        if not 0 <= options["share"] <= 1:
            raise CommandError("--share must be from 0 to 1.")
        operations.add_faulty_twin(
            model=model, version=options["breaks"], share=options["share"], now=clock.now()
        )
