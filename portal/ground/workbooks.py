"""
Write XLSX workbooks of any size in bounded memory, row by row.

Written here, since what is there for it needs the whole file before the first byte can be sent, and half a minute for a
million rows. A text is a text, which no spreadsheet takes for a formula, and a whole number is one.
"""

import re
import zipfile
from collections.abc import Iterable, Sequence
from typing import IO, Any, Final
from xml.sax.saxutils import escape

KIND: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_ROWS: Final = 1_048_576
"""Rows that a sheet can have; what is beyond goes on in the next one."""
LONGEST: Final = 32_767
"""Characters that a cell can have."""
_OFFICE = "http://schemas.openxmlformats.org"
_MAIN = f"{_OFFICE}/spreadsheetml/2006/main"
_RELATION = f"{_OFFICE}/officeDocument/2006/relationships"
_PART = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_RELATIONS = (
    f'{_XML}<Relationships xmlns="{_OFFICE}/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{_RELATION}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
)
_STYLES = (
    f'{_XML}<styleSheet xmlns="{_MAIN}"><fonts count="1"><font/></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="1"><xf/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)
_FROZEN = (
    '<sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" '
    'state="frozen"/></sheetView></sheetViews>'
)
_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\uD7FF\\uE000-\\uFFFD\\U00010000-\\U0010FFFF]")


class Workbook:
    """A workbook that is being written to a file, which need not be one that can be read; close it to finish it."""

    def __init__(self, *, file: IO[bytes], header: Sequence[str] = (), name: str = "Hubs") -> None:
        """Begin the first sheet; each begins with the header, unless it is empty."""
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3)
        self._header = header
        self._name = name
        self._sheets = 0
        self._begin()

    def write(self, rows: Iterable[Sequence[str | int]]) -> None:
        """Write rows behind those that are there."""
        for row in rows:
            if self._rows == MOST_ROWS:
                self._end()
                self._begin()
            self._write(row)

    def close(self) -> None:
        """Write what says which sheets there are."""
        self._end()
        for name, part in self._parts():
            self._archive.writestr(name, part)
        self._archive.close()

    def _begin(self) -> None:
        self._sheets += 1
        self._rows = 0
        self._sheet: IO[bytes] = self._archive.open(
            f"xl/worksheets/sheet{self._sheets}.xml", "w", force_zip64=True
        )
        views = _FROZEN if self._header else ""
        self._sheet.write(f'{_XML}<worksheet xmlns="{_MAIN}">{views}<sheetData>'.encode())
        if self._header:
            self._write(self._header)

    def _write(self, row: Sequence[str | int]) -> None:
        self._sheet.write(f"<row>{''.join(map(_cell, row))}</row>".encode())
        self._rows += 1

    def _end(self) -> None:
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()

    def _parts(self) -> list[tuple[str, str]]:
        numbers = range(1, self._sheets + 1)
        types = "".join(
            f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{_PART}.worksheet+xml"/>'
            for number in numbers
        )
        names = "".join(
            f'<sheet name="{escape(self._name)}{f" {number}" if number > 1 else ""}" sheetId="{number}" '
            f'r:id="rId{number}"/>'
            for number in numbers
        )
        relations = "".join(
            f'<Relationship Id="rId{number}" Type="{_RELATION}/worksheet" Target="worksheets/sheet{number}.xml"/>'
            for number in numbers
        )
        return [
            (
                "[Content_Types].xml",
                f'{_XML}<Types xmlns="{_OFFICE}/package/2006/content-types">'
                '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
                '<Default Extension="xml" ContentType="application/xml"/>'
                f'<Override PartName="/xl/workbook.xml" ContentType="{_PART}.sheet.main+xml"/>'
                f'<Override PartName="/xl/styles.xml" ContentType="{_PART}.styles+xml"/>{types}</Types>',
            ),
            ("_rels/.rels", _RELATIONS),
            (
                "xl/workbook.xml",
                f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_RELATION}"><sheets>{names}</sheets></workbook>',
            ),
            (
                "xl/_rels/workbook.xml.rels",
                f'{_XML}<Relationships xmlns="{_OFFICE}/package/2006/relationships">{relations}'
                f'<Relationship Id="rId{self._sheets + 1}" Type="{_RELATION}/styles" Target="styles.xml"/>'
                "</Relationships>",
            ),
            ("xl/styles.xml", _STYLES),
        ]


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"<c><v>{value}</v></c>"
    text = value if value.isascii() and value.isprintable() else _NOT_XML.sub("", value)
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(text[:LONGEST])}</t></is></c>'
