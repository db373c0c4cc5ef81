"""Files that people take away, beside CSV: XLSX as a stream, and calendar entries."""

import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from icalendar import Calendar, Event

from hubs.identifiers import format_eui64
from portal.ground import workbooks
from portal.ground.downloads import streamed
from portal.ground.uk_time import LONDON
from portal.ground.workbooks import Workbook
from scheduling.queries.cohorts import Concerned

REASONS = ("Reason", "Way forward")
"""What every refused row of a list has behind its own columns."""


def widened(cells: Sequence[str], width: int) -> Sequence[str]:
    """Fill a short row up, so that the reasons stand below each other."""
    return [*cells, *[""] * (width - len(cells))]


BLOCK = 64 * 1024


class _Outgoing(io.RawIOBase):
    """A file that is sent while it is written: what was written since it was last asked."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self.written += block
        return len(block)

    def take(self) -> bytes:
        """Return what was written, and forget it."""
        taken = bytes(self.written)
        self.written.clear()
        return taken


def xlsx_blocks(*, rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """Yield a workbook of one sheet or more, block by block."""
    outgoing = _Outgoing()
    workbook = Workbook(file=outgoing)  # type: ignore[arg-type]  # it is written and nothing else
    for row in rows:
        workbook.write([row])
        if len(outgoing.written) > BLOCK:
            yield outgoing.take()
    workbook.close()
    yield outgoing.take()


def xlsx_response(
    *, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> StreamingHttpResponse:
    """Answer with a workbook, written while it is sent; without a header where it is empty."""
    content = xlsx_blocks(rows=chain([header] if header else [], rows))
    return streamed(name=name, content=content, kind=workbooks.KIND)


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


BAD_HUBS = (
    *("CHF ID", "Hub model", "Network", "Hardware version", "Version before", "Commanded to activate"),
    *("State", "Why"),
)
"""What a list of bad hubs says of each; whose they are is for DCC alone."""


def bad_hub_cells(*, one: Concerned) -> tuple[str, ...]:
    """Write a bad hub as a row below `BAD_HUBS`."""
    bad = one.bad
    return (
        format_eui64(bad.hub_id),
        str(bad.model),
        str(bad.network),
        f"{bad.hardware_version & 0xFFFF:04X}",
        f"{bad.version_before:08X}",
        f"{bad.commanded_at.astimezone(LONDON):%Y-%m-%d %H:%M %Z}",
        one.state.label,
        one.why,
    )
