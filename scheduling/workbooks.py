"""
The rows of an Excel workbook (ECMA-376, SpreadsheetML) as a stream of texts.

Read with the XML parser itself: with openpyxl a row cost seventy microseconds more, so that whoever goes on near the
end of a million rows would spend longer on coming there than a task may last, and faster readers hold the whole sheet.
Only what is written in the cells is looked at; a workbook is somebody else's, and may have been written to do harm.
"""

import re
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import IO
from xml.parsers import expat

ROWS = 1_048_576
COLUMNS = 256
CELL_LIMIT = 4_096
"""Characters of a cell that are read; what is longer is longer than a row may be."""
UNPACKED_LIMIT = 512 * 1024 * 1024
"""Bytes of a workbook once unpacked: a million rows of some columns, not a bomb."""
STRINGS_LIMIT = 160 * 1024 * 1024
"""Bytes of its table of texts, which has to be held."""
PART_LIMIT = 16 * 1024 * 1024
BLOCK = 64 * 1024
EXACT = 10**15
"""From here on a spreadsheet keeps only the first 15 digits of a number."""

_BUILT_IN_DATES = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
_NO_PART_OF_A_DATE = re.compile(r'"[^"]*"|\[[^]]*\]|\\.|_.|\*.')
_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, expat.ExpatError, EOFError, NotImplementedError),
    *(ArithmeticError, LookupError, RuntimeError, ValueError),
)

Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]


class UnreadableWorkbook(Exception):
    """The file is no workbook that can be read; the message says why and what to do."""


def unpacked_size(*, file: IO[bytes]) -> int:
    """
    Return how many bytes a workbook has once it is unpacked.

    :raises UnreadableWorkbook: if it is none, or too large
    """
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except _FAULTS as error:
        raise _damaged() from error
    if not any(part.filename == "[Content_Types].xml" for part in parts):
        raise UnreadableWorkbook(
            "The file is an archive, but no Excel workbook. Upload the CSV or XLSX file itself, unpacked."
        )
    size = sum(part.file_size for part in parts)
    if size > UNPACKED_LIMIT:
        raise _too_large()
    return size


def rows(*, file: IO[bytes], after: int = 0) -> Iterator[tuple[int, list[str]]]:
    """
    Yield number and texts of the rows of a workbook's first sheet that come after the row `after`.

    Row numbers only grow. Cells at the end that hold nothing are left out.

    :raises UnreadableWorkbook: if the workbook turns out to be damaged
    """
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            name, epoch = _first_sheet(archive)
            sheet = _Sheet(_strings(archive), _date_styles(archive), epoch, after)
            with archive.open(name) as part:
                parser = _parser(sheet.start, sheet.end, sheet.text)
                if after:
                    _pass_over(parser, sheet)
                while block := part.read(BLOCK):
                    parser.Parse(block)
                    yield from sheet.take()
                parser.Parse(b"", True)
            yield from sheet.take()
    except _FAULTS as error:
        raise _damaged() from error


def _parser(start: Start, end: End, text: Callable[[str], None]) -> expat.XMLParserType:
    """Return a parser that tells local names alone, and that refuses what can be made to grow."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    local: dict[str, str] = {}

    def name_of(name: str) -> str:
        return local.get(name) or local.setdefault(name, name.rpartition(" ")[2])

    def refuse(*_: object) -> None:
        raise ValueError("a workbook has no document type")

    parser.StartElementHandler = lambda name, attributes: start(name_of(name), attributes)
    parser.EndElementHandler = lambda name: end(name_of(name))
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    return parser


def _pass_over(parser: expat.XMLParserType, sheet: "_Sheet") -> None:
    """Look at nothing but where rows begin, until the last one that is to be left out: half the work."""
    start, end, text = parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler

    def begin(name: str, attributes: dict[str, str]) -> None:
        if name.endswith("row") and name.rpartition(" ")[2] == "row":
            sheet.start("row", attributes)
            if sheet.number >= sheet.after:
                parser.StartElementHandler, parser.EndElementHandler = start, end
                parser.CharacterDataHandler = text

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = begin, None, None


class _Strings:
    """The texts of a workbook, packed: millions of them, with eight bytes each beside their own."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._ends = array("Q", [0])

    def append(self, text: str) -> None:
        self._packed += text.encode("utf-8", "replace")
        self._ends.append(len(self._packed))

    def __getitem__(self, number: int) -> str:
        if number < 0:
            raise IndexError(number)
        return self._packed[self._ends[number] : self._ends[number + 1]].decode()


class _Text:
    """What stands in the text elements of a cell or a shared text, up to the limit."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.is_open = False
        self.is_phonetic = False

    def clear(self) -> None:
        self.parts = []
        self.length = 0
        self.is_open = False

    def add(self, data: str) -> None:
        if self.is_open and not self.is_phonetic and self.length <= CELL_LIMIT:
            self.parts.append(data)
            self.length += len(data)

    def __str__(self) -> str:
        return "".join(self.parts)[: CELL_LIMIT + 1]


class _Sheet:
    """Collects the rows of a sheet from what the parser tells."""

    def __init__(self, strings: _Strings, dates: frozenset[int], epoch: datetime, after: int) -> None:
        self.strings = strings
        self.dates = dates
        self.epoch = epoch
        self.after = after
        self.number = 0
        self.column = 0
        self.kind = "n"
        self.style = 0
        self.cells: list[str] = []
        self.done: list[tuple[int, list[str]]] = []
        self._text = _Text()
        self.text = self._text.add
        self._columns: dict[str, int] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "c":
            self._text.clear()
            self.kind = attributes.get("t", "n")
            self.style = int(attributes.get("s", 0))
            if place := attributes.get("r"):
                self.column = self._column_of(place)
        elif tag in ("v", "t"):
            self._text.is_open = True
        elif tag == "row":
            said = int(attributes.get("r", 0))
            # each row has a number of its own, whatever it says of itself
            self.number = said if self.number < said <= ROWS else self.number + 1
            self.column = 0
            self.cells = []
        elif tag == "rPh":
            self._text.is_phonetic = True

    def end(self, tag: str) -> None:
        if tag in ("v", "t"):
            self._text.is_open = False
        elif tag == "c":
            if self.number > self.after and self.column < COLUMNS and self._text.parts:
                self.cells += [""] * (self.column + 1 - len(self.cells))
                self.cells[self.column] = self._shown(str(self._text))
            self.column += 1
        elif tag == "row":
            if self.cells and self.number > self.after:
                self.done.append((self.number, self.cells))
        elif tag == "rPh":
            self._text.is_phonetic = False

    def take(self) -> list[tuple[int, list[str]]]:
        """Return the rows that are complete, and forget them."""
        done, self.done = self.done, []
        return done

    def _column_of(self, place: str) -> int:
        letters = place.rstrip("0123456789")
        if (column := self._columns.get(letters)) is None:
            if not re.fullmatch("[A-Z]{1,3}", letters):
                raise ValueError("no place of a cell")
            column = 0
            for letter in letters:
                column = column * 26 + ord(letter) - 64
            self._columns[letters] = column = column - 1
        return column

    def _shown(self, text: str) -> str:
        if self.kind == "s":
            return self.strings[int(text)]
        if self.kind == "b":
            return "TRUE" if text.strip() == "1" else "FALSE"
        if self.kind == "n":
            return self._number(text.strip())
        return text

    def _number(self, text: str) -> str:
        """Write a number as it would be typed; one that lost digits, with its exponent."""
        if self.style in self.dates:
            return (self.epoch + timedelta(days=float(text))).isoformat(sep=" ", timespec="seconds")
        if text.isascii() and text.isdigit() and len(text) <= 15:
            return text
        value = float(text)
        if abs(value) >= EXACT or value != value:
            return f"{value:.14E}"
        return str(int(value)) if value == int(value) else repr(value)


# -- the other parts -----------------------------------------------------------------------------------------


def _read(archive: zipfile.ZipFile, name: str, start: Start) -> None:
    """Read one of the small parts."""
    if archive.getinfo(name).file_size > PART_LIMIT:
        raise _too_large()
    _parser(start, lambda _: None, lambda _: None).Parse(archive.read(name), True)


def _first_sheet(archive: zipfile.ZipFile) -> tuple[str, datetime]:
    """Return the part that holds the first sheet, and the day from which the workbook counts."""
    books: list[str] = []
    sheets: list[str] = []
    epoch = [datetime(1899, 12, 30)]  # noqa: DTZ001 - a workbook knows no time zones
    targets: dict[str, str] = {}

    def root(tag: str, attributes: dict[str, str]) -> None:
        if tag == "Relationship" and attributes.get("Type", "").endswith("/officeDocument"):
            books.append(attributes["Target"].lstrip("/"))

    def book(tag: str, attributes: dict[str, str]) -> None:
        if tag == "sheet":
            sheets.extend(value for name, value in attributes.items() if name.endswith("relationships id"))
        elif tag == "workbookPr" and attributes.get("date1904") in ("1", "true"):
            epoch[0] = datetime(1904, 1, 1)  # noqa: DTZ001

    def relation(tag: str, attributes: dict[str, str]) -> None:
        if tag == "Relationship" and attributes.get("Type", "").endswith("/worksheet"):
            targets[attributes["Id"]] = attributes["Target"]

    _read(archive, "_rels/.rels", root)
    _read(archive, books[0], book)
    folder, _, name = books[0].rpartition("/")
    _read(archive, f"{folder}/_rels/{name}.rels".lstrip("/"), relation)
    target = next((targets[sheet] for sheet in sheets if sheet in targets), None)
    if target is None:
        raise LookupError("no sheet")
    return (target.lstrip("/") if target.startswith("/") else f"{folder}/{target}".lstrip("/")), epoch[0]


def _strings(archive: zipfile.ZipFile) -> _Strings:
    strings = _Strings()
    name = next((name for name in archive.namelist() if name.lower().endswith("/sharedstrings.xml")), None)
    if name is None:
        return strings
    if archive.getinfo(name).file_size > STRINGS_LIMIT:
        raise _too_large()
    text = _Text()

    def start(tag: str, _: dict[str, str]) -> None:
        if tag == "si":
            text.clear()
        elif tag == "t":
            text.is_open = True
        elif tag == "rPh":
            text.is_phonetic = True

    def end(tag: str) -> None:
        if tag == "si":
            strings.append(str(text))
        elif tag == "t":
            text.is_open = False
        elif tag == "rPh":
            text.is_phonetic = False

    parser = _parser(start, end, text.add)
    with archive.open(name) as part:
        while block := part.read(BLOCK):
            parser.Parse(block)
        parser.Parse(b"", True)
    return strings


def _date_styles(archive: zipfile.ZipFile) -> frozenset[int]:
    """Return which styles of cells show a number as a date."""
    name = next((name for name in archive.namelist() if name.lower().endswith("/styles.xml")), None)
    if name is None:
        return frozenset()
    own: set[int] = set()
    used: list[int] = []
    inside = [""]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag in ("cellXfs", "cellStyleXfs", "dxfs"):
            inside[0] = tag
        elif tag == "numFmt" and inside[0] != "dxfs":
            code = _NO_PART_OF_A_DATE.sub("", attributes.get("formatCode", ""))
            if any(letter in code.lower() for letter in "dmyhs") and code.lower() != "general":
                own.add(int(attributes["numFmtId"]))
        elif tag == "xf" and inside[0] == "cellXfs":
            used.append(int(attributes.get("numFmtId", 0)))

    _read(archive, name, start)
    return frozenset(place for place, number in enumerate(used) if number in _BUILT_IN_DATES | own)


def _damaged() -> UnreadableWorkbook:
    return UnreadableWorkbook(
        "The workbook is damaged, encrypted, or not written by a spreadsheet. Open it, save it again as “Excel "
        "workbook (.xlsx)” or as “CSV UTF-8”, and upload that."
    )


def _too_large() -> UnreadableWorkbook:
    return UnreadableWorkbook(
        f"The workbook unpacks to more than {UNPACKED_LIMIT // 1024 // 1024} MB, or holds very long texts. Save the "
        "column of identifiers as “CSV UTF-8” and upload that."
    )
