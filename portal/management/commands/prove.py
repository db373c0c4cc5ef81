"""That every promise is kept: its enforcement taken out, its test must fail."""

import importlib
import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

ROOMS = ("tests.mutations.enforcements", "tests.mutations.proving")


class Command(BaseCommand):
    """Take out one enforcement after the other, in a copy of this checkout, and see its tests fail."""

    help = "Take each enforcement of a promise out of a copy of this checkout, and see its tests fail"
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Take which enforcements."""
        parser.add_argument(
            "--promise",
            type=int,
            action="append",
            metavar="N",
            help="only those of this promise; may be repeated",
        )
        parser.add_argument("--only", action="append", metavar="NAME", help="only this one; may be repeated")
        parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prove what was asked for; status 1 where an enforcement is not missed by its tests."""
        try:
            enforcements, proving = map(importlib.import_module, ROOMS)
        except ModuleNotFoundError as missing:
            raise CommandError(
                f"This needs {missing.name}, which is not installed here: it belongs to the development group of "
                "requirements.lock. Run this command in a checkout, with the .venv that manage.py makes."
            ) from missing
        chosen = [
            one
            for one in enforcements.ENFORCEMENTS
            if (not options["promise"] or one.promise in options["promise"])
            and (not options["only"] or one.name in options["only"])
        ]
        unknown = set(options["only"] or ()) - {one.name for one in chosen}
        if unknown or not chosen:
            raise CommandError(
                f"There is no enforcement {', '.join(sorted(unknown)) or 'of that promise'}. See them with --list."
            )
        width = max(len(one.name) for one in chosen)
        if options["list"]:
            for one in chosen:
                self.stdout.write(f"{one.promise:>3}  {one.name:<{width}}  {one.change.place}")
            return
        self.prove(proving, chosen, width)

    def prove(self, proving: Any, chosen: list[Any], width: int) -> None:
        """Print a line for each enforcement as soon as it is decided, and the sum of them at the end."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        decided = 0

        def done(result: Any) -> None:
            nonlocal decided
            decided += 1
            one = result.enforcement
            told = result.test.rpartition("/")[2] if result.ending is proving.Ending.PROVED else result.why
            self.stdout.write(
                f"{decided:>3}/{len(chosen)}  {one.promise:>3}  {one.name:<{width}}  {result.ending.value:<8}"
                f" {result.seconds:>5.0f} s  {told}"
            )

        try:
            results = proving.prove(enforcements=chosen, tell=self.tell, done=done)
        except proving.UnableToProve as refusal:
            raise CommandError(str(refusal)) from refusal
        missed = [result for result in results if result.ending is not proving.Ending.PROVED]
        promises = {one.promise for one in chosen}
        self.stdout.write(
            f"{len(results) - len(missed)} of {len(results)} enforcements of {len(promises)} promises are proved: "
            "without each of them a test fails."
        )
        if missed:
            self.stderr.write("Not proved: " + ", ".join(result.enforcement.name for result in missed))
            sys.exit(1)

    def tell(self, step: str) -> None:
        """Say on stderr what is being done."""
        self.stderr.write(f"prove: {step}")
