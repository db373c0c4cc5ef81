"""Files that people take away: CSV as a stream, and calendar entries."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from icalendar import Calendar, Event

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet runs a cell that begins so."""


def safe(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell


class _Echo:
    def write(self, text: str) -> str:
        return text


def csv_lines(*, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a CSV file; every cell is safe to open in a spreadsheet."""
    writer = csv.writer(_Echo())
    yield "\N{ZERO WIDTH NO-BREAK SPACE}"  # spreadsheets know UTF-8 by it, and our own upload skips it
    yield writer.writerow(header)
    for row in rows:
        yield writer.writerow([safe(cell) for cell in row])


def csv_response(*, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> StreamingHttpResponse:
    """Answer with a CSV file, written while it is sent."""
    response = StreamingHttpResponse(
        csv_lines(header=header, rows=rows), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


def calendar_response(
    *,
    name: str,
    address: str,
    events: Iterable[tuple[str, datetime, datetime, str]],
    written_at: datetime,
) -> HttpResponse:
    """Answer with calendar entries (key, start, end, summary) that lead to `address`; a key stays its event's."""
    calendar = Calendar()
    calendar.add("prodid", "-//Communications Hub firmware portal//EN")
    calendar.add("version", "2.0")
    for key, start, end, summary in events:
        event = Event()
        event.add("uid", f"{key}@{urlsplit(settings.PORTAL_ADDRESS).hostname}")
        event.add("dtstamp", written_at)
        event.add("dtstart", start)
        event.add("dtend", end)
        event.add("summary", summary)
        event.add("url", settings.PORTAL_ADDRESS + address)
        calendar.add_component(event)
    response = HttpResponse(calendar.to_ical(), content_type="text/calendar; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
