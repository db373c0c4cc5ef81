"""Files that people take away and open in a spreadsheet, written while they are sent."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final

from django.http import StreamingHttpResponse

from portal.ground.workbooks import Workbook

MARK: Final = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Spreadsheets know UTF-8 by it, and our own upload skips it."""
Write = Callable[[Iterable[Sequence[str | int]]], None]
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


class _Echo:
    def write(self, text: str) -> str:
        return text


def safe(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, for a file that people take away."""
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell


@contextmanager
def csv_file(*, file: IO[bytes], header: Sequence[str]) -> Iterator[Write]:
    """Write a CSV file with a header; the block is given what writes lines to it."""
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    try:
        text.write(MARK)
        writer = csv.writer(text)
        writer.writerow([safe(head) for head in header])

        def write(lines: Iterable[Sequence[str | int]]) -> None:
            writer.writerows(
                [cell if isinstance(cell, int) else safe(cell) for cell in line] for line in lines
            )

        yield write
    finally:
        text.detach()


@contextmanager
def workbook_file(*, file: IO[bytes], header: Sequence[str], name: str) -> Iterator[Write]:
    """Write a workbook with a header on each sheet; the block is given what writes lines to it."""
    workbook = Workbook(file=file, header=header, name=name)
    yield workbook.write
    workbook.close()


def csv_lines(*, header: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str = ",") -> Iterator[str]:
    """Yield the lines of a CSV file, without a header where it is empty; each cell is safe in a spreadsheet."""
    writer = csv.writer(_Echo(), delimiter=delimiter)
    yield MARK
    if header:
        yield writer.writerow([safe(cell) for cell in header])
    for row in rows:
        yield writer.writerow([safe(cell) for cell in row])


def csv_response(
    *, name: str, header: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str = ","
) -> StreamingHttpResponse:
    """Answer with a CSV file."""
    lines = csv_lines(header=header, rows=rows, delimiter=delimiter)
    return streamed(name=name, content=lines, kind="text/csv; charset=utf-8")


def streamed(*, name: str, content: Iterator[str] | Iterator[bytes], kind: str) -> StreamingHttpResponse:
    """Answer with a file of a kind, under a name that is ours."""
    response = StreamingHttpResponse(content, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
