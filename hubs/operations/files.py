"""What the files that DCC brings in share: CSV with a header, taken row by row, or refused row by row."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

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


def _listed(names: Sequence[str]) -> str:
    return f"the column {names[0]}" if len(names) == 1 else f"the columns {', '.join(names)}"
