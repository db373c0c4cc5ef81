"""Bring in an inventory of hubs from a CSV file."""

from collections.abc import Callable
from typing import TextIO

from hubs import operations
from hubs.management.imports import ImportCommand
from portal.ground import clock


class Command(ImportCommand):
    """Add and change hubs by CHF ID; write the rows that cannot be taken to a file of the same format."""

    help = f"Bring in an inventory: CSV, UTF-8, with the columns {', '.join(operations.INVENTORY_COLUMNS)}"

    def bring_in(
        self, *, lines: TextIO, refused: TextIO, tell: Callable[[str], None]
    ) -> tuple[list[str], int]:
        """Import, and say what became of the rows."""
        result = operations.import_inventory(
            lines=lines, refused=refused, actor=None, now=clock.now(), tell=tell
        )
        said = [
            f"{result.rows:,} rows: {result.added:,} hubs added, {result.changed:,} changed,"
            f" {result.unchanged:,} as they were, {result.refused:,} refused."
        ]
        if result.mpan_warnings or result.mprn_warnings:
            said.append(
                f"Check digits fail in {result.mpan_warnings:,} MPANs and {result.mprn_warnings:,} MPRNs;"
                " these hubs were taken all the same."
            )
        return said, result.refused
