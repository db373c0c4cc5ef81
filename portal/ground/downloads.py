"""Files that people take away and open in a spreadsheet, written while they are sent."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from django.http import StreamingHttpResponse

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


class _Echo:
    def write(self, text: str) -> str:
        return text


def safe(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, for a file that people take away."""
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell


def csv_lines(*, header: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str = ",") -> Iterator[str]:
    """Yield the lines of a CSV file, without a header where it is empty; each cell is safe in a spreadsheet."""
    writer = csv.writer(_Echo(), delimiter=delimiter)
    yield "\N{ZERO WIDTH NO-BREAK SPACE}"  # spreadsheets know UTF-8 by it, and our own upload skips it
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
