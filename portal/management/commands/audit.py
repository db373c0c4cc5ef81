"""Check that decisions and outcomes are as they were recorded, or name the end of the chain of decisions."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.ground import chain
from scheduling.queries import seals


class Command(BaseCommand):
    """Say what differs, each on a line; end with 1 if anything does."""

    help = (
        "Check that no decision was changed, deleted or put in since it was recorded (`audit verify`), and no outcome "
        "of a hub (`audit verify --outcomes`), or name the end of the chain, to be kept elsewhere and given to a later "
        "check (`audit head`)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what is to be done, and a head of earlier."""
        acts = parser.add_subparsers(dest="act", required=True)
        verifying = acts.add_parser("verify", help="check the whole record")
        verifying.add_argument(
            "--head",
            help="A head that was kept, from the log, an evidence pack or `audit head`: the chain must still have it.",
        )
        verifying.add_argument(
            "--outcomes",
            action="store_true",
            help="Also hold what became of each hub against its seal in the record. Reads every deployment.",
        )
        acts.add_parser("head", help="name the end of the chain")

    def handle(self, **options: Any) -> None:
        """Do it."""
        if options["act"] == "head":
            self.stdout.write(str(chain.head()))
            return
        try:
            kept = chain.parse(text=options["head"]) if options["head"] else None
        except ValueError as error:
            raise CommandError(str(error)) from None
        found = 0
        for finding in self._findings(kept=kept, with_outcomes=options["outcomes"]):
            found += 1
            self.stdout.write(f"DIFFERS: {finding}")
        if found:
            raise CommandError(
                f"The record is not what was recorded: {found:,} of its decisions, links or lots differ. Do not rely "
                "on it; compare with a backup from before."
            )
        also = ", and so do the outcomes" if options["outcomes"] else ""
        self.stdout.write(f"The record of decisions holds{also}: {chain.head()}")

    def _findings(self, *, kept: chain.Head | None, with_outcomes: bool) -> Iterator[str]:
        yield from chain.verify(kept=kept, tell=lambda done, of: self._tell(done, of, "links"))
        if with_outcomes:
            yield from seals.verify(tell=lambda done, of: self._tell(done, of, "lots"))

    def _tell(self, done: int, of: int, things: str) -> None:
        self.stderr.write(f"{done:,} of {of:,} {things} looked at")
