"""Bring in an inventory of hubs from a CSV file."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hubs import operations
from portal.ground import clock


class Command(BaseCommand):
    """Add and change hubs by CHF ID; write the rows that cannot be taken to a file of the same format."""

    help = f"Bring in an inventory: CSV, UTF-8, with the columns {', '.join(operations.INVENTORY_COLUMNS)}"

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

        def tell(step: str) -> None:
            if not options["quiet"]:
                print(f"\r\033[Kimport_inventory: {step}", end="", file=sys.stderr, flush=True)

        try:
            # utf-8-sig: spreadsheets put a mark at the beginning
            with (
                source.open(encoding="utf-8-sig", newline="") as lines,
                part.open("w", encoding="utf-8", newline="") as refused,
            ):
                result = operations.import_inventory(
                    lines=lines, refused=refused, actor=None, now=clock.now(), tell=tell
                )
            if result.refused:
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
        self.stdout.write(
            f"{result.rows:,} rows: {result.added:,} hubs added, {result.changed:,} changed,"
            f" {result.unchanged:,} as they were, {result.refused:,} refused."
        )
        if result.refused:
            self.stdout.write(f"The refused rows are in {target}, each with its reason.")
        if result.mpan_warnings or result.mprn_warnings:
            self.stdout.write(
                f"Check digits fail in {result.mpan_warnings:,} MPANs and {result.mprn_warnings:,} MPRNs;"
                " these hubs were taken all the same."
            )
