"""Files that people take away, beside CSV: XLSX as a stream, and calendar entries."""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from icalendar import Calendar, Event

from hubs.identifiers import format_eui64
from portal.ground.downloads import streamed
from portal.ground.uk_time import LONDON
from scheduling.queries.cohorts import Concerned

REASONS = ("Reason", "Way forward")
"""What every refused row of a list has behind its own columns."""


def widened(cells: Sequence[str], width: int) -> Sequence[str]:
    """Fill a short row up, so that the reasons stand below each other."""
    return [*cells, *[""] * (width - len(cells))]


XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_OFFICE = "http://schemas.openxmlformats.org"
_MAIN = f"{_OFFICE}/spreadsheetml/2006/main"
_RELATION = f"{_OFFICE}/officeDocument/2006/relationships"
_PART = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
WORKBOOK = {
    "[Content_Types].xml": (
        f'{_XML}<Types xmlns="{_OFFICE}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_PART}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_PART}.styles+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_PART}.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'{_XML}<Relationships xmlns="{_OFFICE}/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{_RELATION}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_RELATION}">'
        '<sheets><sheet name="Hubs" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'{_XML}<Relationships xmlns="{_OFFICE}/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{_RELATION}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="rId2" Type="{_RELATION}/styles" Target="styles.xml"/></Relationships>'
    ),
    "xl/styles.xml": (
        f'{_XML}<styleSheet xmlns="{_MAIN}"><fonts count="1"><font/></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders>'
        '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="1"><xf/></cellXfs>'
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
    ),
}
"""The parts of a workbook with one sheet, but for the sheet."""
_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\uD7FF\\uE000-\\uFFFD\\U00010000-\\U0010FFFF]")
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
    """
    Yield a workbook of one sheet, block by block.

    Written here, since what is there for it needs the whole file before the first byte can be sent, half a
    minute for a million rows. Every cell is a text, which no spreadsheet takes for a formula or a number.
    """
    outgoing = _Outgoing()
    with zipfile.ZipFile(outgoing, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for name, part in WORKBOOK.items():
            archive.writestr(name, part)
        with archive.open("xl/worksheets/sheet1.xml", "w") as sheet:
            sheet.write(f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
            for row in rows:
                cells = "".join(
                    f'<c t="inlineStr"><is><t xml:space="preserve">{escape(_NOT_XML.sub("", cell))}</t></is></c>'
                    for cell in row
                )
                sheet.write(f"<row>{cells}</row>".encode())
                if len(outgoing.written) > BLOCK:
                    yield outgoing.take()
            sheet.write(b"</sheetData></worksheet>")
    yield outgoing.take()


def xlsx_response(
    *, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> StreamingHttpResponse:
    """Answer with a workbook, written while it is sent; without a header where it is empty."""
    content = xlsx_blocks(rows=chain([header] if header else [], rows))
    return streamed(name=name, content=content, kind=XLSX)


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
