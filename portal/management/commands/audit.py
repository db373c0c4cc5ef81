"""Check that the record of decisions is as it was recorded, or name the end of its chain."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.ground import chain


class Command(BaseCommand):
    """Say what differs, each on a line; end with 1 if anything does."""

    help = (
        "Check that no decision was changed, deleted or put in since it was recorded (`audit verify`), or name the end "
        "of the chain, to be kept elsewhere and given to a later check (`audit head`)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what is to be done, and a head of earlier."""
        acts = parser.add_subparsers(dest="act", required=True)
        verifying = acts.add_parser("verify", help="check the whole record")
        verifying.add_argument(
            "--head",
            help="A head that was kept, from the log, an evidence pack or `audit head`: the chain must still have it.",
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
        for finding in chain.verify(kept=kept, tell=self._tell):
            found += 1
            self.stdout.write(f"DIFFERS: {finding}")
        if found:
            raise CommandError(
                f"The record of decisions is not what was recorded: {found:,} of its decisions or links differ. Do not "
                "rely on it; compare with a backup from before."
            )
        self.stdout.write(f"The record of decisions holds: {chain.head()}")

    def _tell(self, looked_at: int, links: int) -> None:
        self.stderr.write(f"{looked_at:,} of {links:,} links looked at")
