"""The pictures of the guides, and every page as it looks at every width, in the light and in the dark."""

import contextlib
import importlib
import logging
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

ROOMS = ("camera", "taking", "world")
PURPOSE = "screenshots"
HUBS = 3_000


class Command(BaseCommand):
    """Make a portal that has something of everything, in a database of its own, and take pictures of it."""

    help = "Take the pictures of the guides, or with --all every page at three widths in light and dark"
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Take which pictures, and where they go."""
        parser.add_argument("--all", action="store_true", help="every page, instead of the guides' pictures")
        parser.add_argument("--into", type=Path, metavar="DIR", help="where to (docs/images for the guides)")
        parser.add_argument(
            "--page",
            action="append",
            default=[],
            metavar="NAME",
            help="only this one, or such as it*; may repeat",
        )
        parser.add_argument(
            "--hubs", type=int, default=HUBS, metavar="N", help=f"size of the fleet that is shown ({HUBS:,})"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Take them, telling each step on stderr; status 1 where a page of all has something wrong with it."""
        try:
            camera, taking, world = (importlib.import_module(f"tests.screenshots.{room}") for room in ROOMS)
            database = importlib.import_module("tests.benchmarks.database")
        except ModuleNotFoundError as missing:
            raise CommandError(
                f"Pictures need {missing.name}, which is not installed here: it belongs to the development group of "
                "requirements.lock. Run this command in a checkout, with the .venv that manage.py makes."
            ) from missing
        if options["all"] and options["into"] is None:
            raise CommandError("Say where the pictures of every page go: --all --into DIR.")
        into = options["into"] or settings.BASE_DIR / "docs" / "images"
        take = taking.every_page if options["all"] else taking.for_guides
        try:
            camera.find_browser()
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is begun is cleared away
            logging.getLogger("scheduling").setLevel(logging.CRITICAL + 1)  # a whole spring goes by
            with contextlib.ExitStack() as ending:
                tell("making a database")
                settings.MEDIA_ROOT = Path(ending.enter_context(tempfile.TemporaryDirectory()))
                ending.enter_context(database.scratch(purpose=PURPOSE))
                scene = world.Scene(hubs=options["hubs"], tell=tell)
                scene.make()
                eye = ending.enter_context(camera.camera(scene=scene))
                take(scene=scene, camera=eye, into=into, wanted=options["page"], tell=tell)
        except (camera.UnableToPicture, database.UnableToMeasure) as refusal:
            raise CommandError(str(refusal)) from refusal
        for fault in eye.faults:
            self.stdout.write(fault)
        if options["all"]:
            self.stdout.write(
                f"{len(eye.faults)} faults. Look at the pages one by one: {into / 'index.html'}"
            )
        if eye.faults:
            sys.exit(1)


def tell(step: str) -> None:
    """Say on stderr what is being done."""
    print(f"screenshots: {step}", file=sys.stderr, flush=True)
