"""Bring in changes of supplier from a CSV file."""

from collections.abc import Callable
from typing import TextIO

from hubs import operations
from hubs.management.imports import ImportCommand
from portal.ground import clock


class Command(ImportCommand):
    """Note the changes of supplier that are ahead; write the rows that cannot be taken to a file of the same format."""

    help = (
        "Bring in changes of supplier that are ahead: CSV, UTF-8, with the columns"
        f" {', '.join(operations.REGISTRATION_COLUMNS)}; one of mpan, mprn and chf_id is filled in each row"
    )

    def bring_in(
        self, *, lines: TextIO, refused: TextIO, tell: Callable[[str], None]
    ) -> tuple[list[str], int]:
        """Import, and say what became of the rows."""
        result = operations.import_registrations(
            lines=lines, refused=refused, actor=None, now=clock.now(), tell=tell
        )
        return [
            f"{result.rows:,} rows: {result.added:,} changes added, {result.replaced:,} replaced,"
            f" {result.unchanged:,} as they were, {result.refused:,} refused."
        ], result.refused
