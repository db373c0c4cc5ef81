"""What the commands share that bring in a file: read it, write the refused rows beside it, explain what is wrong."""

import sys
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hubs import operations


class ImportCommand(BaseCommand):
    """Bring in a file; write the rows that cannot be taken to a file of the same format."""

    @abstractmethod
    def bring_in(
        self, *, lines: TextIO, refused: TextIO, tell: Callable[[str], None]
    ) -> tuple[list[str], int]:
        """Import; return the sentences that say what became of the rows, and how many were refused."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the file, and where to write what is refused."""
        parser.add_argument("file", type=Path, metavar="FILE.csv")
        parser.add_argument(
            "--refused",
            type=Path,
            metavar="FILE",
            help="where to write refused rows; default FILE-refused.csv",
        )
        parser.add_argument("--quiet", action="store_true", help="no progress")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, and say what became of the rows."""
        source: Path = options["file"]
        target: Path = options["refused"] or source.with_name(f"{source.stem}-refused.csv")
        if target.resolve() == source.resolve():
            raise CommandError("Refused rows cannot be written over the file that is read.")

        part = target.with_name(f"{target.name}.part")  # opened first: better no import than no list
        name = type(self).__module__.rpartition(".")[2]

        def tell(step: str) -> None:
            if not options["quiet"]:
                sys.stderr.write(f"\r\033[K{name}: {step}")
                sys.stderr.flush()

        try:
            # utf-8-sig: spreadsheets put a mark at the beginning
            with (
                source.open(encoding="utf-8-sig", newline="") as lines,
                part.open("w", encoding="utf-8", newline="") as refused,
            ):
                said, refusals = self.bring_in(lines=lines, refused=refused, tell=tell)
            if refusals:
                part.replace(target)
        except UnicodeDecodeError as error:
            raise CommandError(
                f"{source} is not UTF-8 text (byte {error.start:,} of a block). Nothing was changed: save it as"
                " CSV in UTF-8 and try again."
            ) from error
        except OSError as error:
            raise CommandError(
                f"{error.filename or source}: {error.strerror}. Nothing was changed."
            ) from error
        except operations.UnableToImport as reason:
            raise CommandError(f"{source}: {reason} Nothing was changed.") from reason
        finally:
            part.unlink(missing_ok=True)
        tell("done\n")
        first, *others = said
        self.stdout.write(first)
        if refusals:
            self.stdout.write(f"The refused rows are in {target}, each with its reason.")
        for sentence in others:
            self.stdout.write(sentence)
