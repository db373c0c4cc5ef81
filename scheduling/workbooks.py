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
TAG_LIMIT = 1024 * 1024
DEEPEST = 64
"""Elements within each other, of which a sheet has nine."""
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
Text = Callable[[str], None]


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
            cells = _Cells(_strings(archive), _date_styles(archive), epoch)
            with archive.open(name) as part:
                yield from _rows(part, cells, after)
    except _FAULTS as error:
        raise _damaged() from error


def _rows(part: IO[bytes], shown: "_Cells", after: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a sheet; closures, because they are called sixteen times for a row of two cells."""
    number = column = length = depth = 0
    kind, style = "n", "0"
    is_passed = after > 0
    is_open = is_phonetic = False
    cells: list[str] = []
    parts: list[str] = []
    done: list[tuple[int, list[str]]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal number, column, style, length, depth, kind, is_passed, is_open, is_phonetic, cells
        depth += 1
        if tag == "c":
            if is_passed:
                return
            if parts:
                parts.clear()
            length = 0
            is_open = False
            kind = attributes.get("t", "n")
            style = attributes.get("s", "0")
            if place := attributes.get("r"):
                column = shown.column_of(place)
        elif tag == "v" or tag == "t":  # half the time of asking a tuple
            is_open = not (is_passed or is_phonetic)
        elif tag == "row":
            said = int(attributes.get("r", 0))
            # each row has a number of its own, whatever it says of itself
            number = said if number < said <= ROWS else number + 1
            is_passed = number <= after
            column = 0
            cells = []
        elif tag == "rPh":
            is_phonetic = True
            is_open = False

    def end(tag: str) -> None:
        nonlocal column, depth, is_open, is_phonetic
        depth -= 1
        if tag == "c":
            if parts and column < COLUMNS:
                text = parts[0] if len(parts) == 1 else "".join(parts)
                if column > len(cells):
                    cells.extend([""] * (column - len(cells)))
                cells[column : column + 1] = [shown.text(kind, style, text[: CELL_LIMIT + 1])]
            column += 1
        elif tag == "v" or tag == "t":
            is_open = False
        elif tag == "row":
            if cells:
                done.append((number, cells))
        elif tag == "rPh":
            is_phonetic = False

    def text(data: str) -> None:
        nonlocal length
        if is_open and length <= CELL_LIMIT:
            parts.append(data)
            length += len(data)

    for _ in _parsed(part, _fast_parser(start, end, text)):
        _check_depth(depth)
        yield from done
        done.clear()


def _parsed(part: IO[bytes], parser: expat.XMLParserType) -> Iterator[None]:
    """
    Parse a part of any size, pausing after each block.

    :raises ValueError: if it holds a tag without end, which the parser would keep in memory
    """
    fed = 0
    while block := part.read(BLOCK):
        parser.Parse(block)
        fed += len(block)
        if fed - parser.CurrentByteIndex > TAG_LIMIT:
            raise ValueError("no tag is so long")
        yield
    parser.Parse(b"", True)
    yield


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError("no part is nested so deeply")


def _parser(*, separator: str | None = None) -> expat.XMLParserType:
    """Return a parser that refuses what can be made to grow."""
    parser = expat.ParserCreate(namespace_separator=separator)
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise ValueError("a workbook has no document type")

    parser.StartDoctypeDeclHandler = refuse
    return parser


def _fast_parser(start: Start, end: End, text: Text) -> expat.XMLParserType:
    """Return a parser for many elements: it tells local names, which hardly anybody writes with a prefix."""
    parser = _parser()
    local: dict[str, str] = {}

    def name_of(name: str) -> str:
        return local.get(name) or local.setdefault(name, name.rpartition(":")[2])

    def begin(name: str, attributes: dict[str, str]) -> None:
        if ":" in name:
            parser.StartElementHandler = lambda name, attributes: start(name_of(name), attributes)
            parser.EndElementHandler = lambda name: end(name_of(name))
        else:
            parser.StartElementHandler, parser.EndElementHandler = start, end
        start(name_of(name), attributes)

    parser.StartElementHandler = begin
    parser.CharacterDataHandler = text
    return parser


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


class _Cells:
    """What a person sees in a cell."""

    def __init__(self, strings: _Strings, dates: frozenset[int], epoch: datetime) -> None:
        self._strings = strings
        self._dates = dates
        self._epoch = epoch
        self._columns: dict[str, int] = {}

    def column_of(self, place: str) -> int:
        """Return the column, from 0, of a place such as A1."""
        letters = place.rstrip("0123456789")
        if (column := self._columns.get(letters)) is None:
            if not re.fullmatch("[A-Z]{1,3}", letters):
                raise ValueError("no place of a cell")
            column = 0
            for letter in letters:
                column = column * 26 + ord(letter) - 64
            self._columns[letters] = column = column - 1
        return column

    def text(self, kind: str, style: str, value: str) -> str:
        """Write what a cell of this kind and style holds."""
        if kind == "s":
            return self._strings[int(value)]
        if kind == "n":
            return self._number(style, value.strip())
        if kind == "b":
            return "TRUE" if value.strip() == "1" else "FALSE"
        return value

    def _number(self, style: str, text: str) -> str:
        """Write a number as it would be typed; one that lost digits, with its exponent."""
        if int(style) in self._dates:
            return (self._epoch + timedelta(days=float(text))).isoformat(sep=" ", timespec="seconds")
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
    depth = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        start(name.rpartition(" ")[2], attributes)

    def finish(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = _parser(separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = begin, finish
    with archive.open(name) as part:
        for _ in _parsed(part, parser):
            _check_depth(depth)


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
    length = depth = 0
    is_open = is_phonetic = False
    parts: list[str] = []

    def start(tag: str, _: dict[str, str]) -> None:
        nonlocal length, depth, is_open, is_phonetic
        depth += 1
        if tag == "t":
            is_open = not is_phonetic
        elif tag == "si":
            parts.clear()
            length = 0
            is_open = False
        elif tag == "rPh":
            is_phonetic = True
            is_open = False

    def end(tag: str) -> None:
        nonlocal depth, is_open, is_phonetic
        depth -= 1
        if tag == "t":
            is_open = False
        elif tag == "si":
            strings.append("".join(parts)[: CELL_LIMIT + 1])
        elif tag == "rPh":
            is_phonetic = False

    def text(data: str) -> None:
        nonlocal length
        if is_open and length <= CELL_LIMIT:
            parts.append(data)
            length += len(data)

    with archive.open(name) as part:
        for _ in _parsed(part, _fast_parser(start, end, text)):
            _check_depth(depth)
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
