"""What the files that DCC brings in share: CSV with a header, taken row by row, or refused row by row."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from django.db.backends.utils import CursorWrapper

TELL_EVERY = 20_000
"""Rows between two words of progress."""


class UnableToImport(Exception):
    """The file as a whole cannot be read; the message says why. Nothing was changed."""


class RefusedRow(ValueError):
    """One row cannot be taken; the message is the reason, a sentence."""


class Writable(Protocol):
    """Whatever text can be written to."""

    def write(self, text: str, /) -> object:
        """Write some text."""


def rows(*, lines: Iterable[str]) -> Iterator[list[str]]:
    """
    Yield the rows of a CSV file that are not empty, header included.

    :raises UnableToImport: at the line that is no CSV
    """
    reader = csv.reader(lines)
    try:
        yield from (row for row in reader if row)
    except csv.Error as error:
        raise UnableToImport(f"Line {reader.line_num:,} is not CSV ({error}).") from error


def header(
    *, rows: Iterator[list[str]], wanted: Sequence[str], known: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """
    Take the header off the rows; return it as it is written, and its names as they are compared.

    Each column in `wanted` has to be there; none of them, nor of those in `known`, twice.

    :raises UnableToImport: if it is not so, or there is no header
    """
    written = next(rows, None)
    if written is None:
        raise UnableToImport("The file is empty: it needs a header line with the names of the columns.")
    names = [name.strip().lower() for name in written]
    if missing := [name for name in wanted if name not in names]:
        raise UnableToImport(f"The header lacks {_listed(missing)}.")
    if repeated := sorted({name for name in (*wanted, *known) if names.count(name) > 1}):
        raise UnableToImport(f"The header names {_listed(repeated)} more than once.")
    return written, names


_TAKE_IN = "COPY incoming FROM STDIN"


def take_in(
    *,
    cursor: CursorWrapper,
    rows: Iterable[list[str]],
    read: Callable[[list[str]], Iterable[object]],
    refuse: Callable[[list[str]], object],
    tell: Callable[[str], None],
) -> tuple[int, int]:
    """
    Copy rows into the temporary table `incoming`: their number, what `read` makes of them, and the row as JSON.

    A row that `read` refuses goes to `refuse` instead, with the reason as one more column. Returns how many rows
    there were, and how many were refused.
    """
    total = refused = 0
    with cursor.copy(_TAKE_IN) as copy:
        for total, row in enumerate(rows, 1):
            try:
                copy.write_row((total, *read(row), json.dumps(row)))
            except RefusedRow as refusal:
                refused += 1
                refuse([*row, str(refusal)])
            if total % TELL_EVERY == 0:
                tell(f"{total:,} rows read, {refused:,} refused")
    return total, refused


def _listed(names: Sequence[str]) -> str:
    return f"the column {names[0]}" if len(names) == 1 else f"the columns {', '.join(names)}"
