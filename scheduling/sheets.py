"""
Lists of hubs as people upload them: the rows of a CSV or XLSX file, and the identifier in each.

Read as a stream, so that memory does not depend on the file, and the same way each time, so that a reader can go
on where another stopped. What is unreadable about one row is that row's refusal; only a file that is no table at
all is refused whole.
"""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import IO, NamedTuple

from hubs.identifiers import (
    InvalidIdentifier,
    Kind,
    mpan_check_digit_holds,
    mprn_check_digits_hold,
    recognise,
)
from scheduling import workbooks
from scheduling.eligibility import Refusal

ROW_LIMIT = 4_096
"""Characters of a row; a longer one is no row of identifiers, and its beginning stands for it."""
CONTINUED = 20
"""Further lines over which a quoted cell may reach; a quote that is never closed spoils no more than its own line."""
SAMPLE = 200
"""Rows that are looked at to find the column of identifiers."""
BLOCK = 1 << 20
DELIMITERS = ",;\t|"
"""A spreadsheet runs a cell that begins so."""

HEADERS = {
    *("chfid", "chf", "chfeui64", "hub", "hubid", "communicationshub", "communicationshubid", "commshub"),
    *("commshubid", "eui64", "eui", "deviceid", "identifier", "id"),
    *("mpan", "mpancore", "mprn", "mpr", "mpxn", "meterpoint", "meterpointnumber", "meterpointreference"),
    *("meterpointreferencenumber", "supplynumber"),
}
"""What stands over a column of identifiers, without case, spaces and punctuation."""

_SHORTENED = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE]\+?[0-9]{1,3}")
_WITH_DECIMALS = re.compile(r"([0-9]+)[.,]0+")
_QUOTED = re.compile(r'"[^"]*"')
_INVISIBLE = " \t\r\n\v\f\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}"
_HYPHENS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))


class UnreadableFile(Exception):
    """The file is no table that can be read; the message says why and what to do."""


class Format(StrEnum):
    """What kinds of file are read."""

    CSV = "csv"
    XLSX = "xlsx"


@dataclass(frozen=True, slots=True)
class Layout:
    """
    How a file is laid out: its format, what parts its cells, and the column of the identifiers, from 0.

    `header` is its first row where that names the columns, and `after` that row's line, otherwise 0.
    """

    format: Format
    delimiter: str
    column: int
    header: tuple[str, ...] | None
    after: int


class SheetRow(NamedTuple):
    """A row that is not blank, by the line on which it begins; one that was too long is cut."""

    line: int
    cells: Sequence[str]
    is_cut: bool


class Identified(NamedTuple):
    """What a cell names, or why it names nothing; `is_doubtful` where the check digits do not hold."""

    kind: Kind | None
    number: int | None
    refusal: Refusal | None
    is_doubtful: bool


def look(*, file: IO[bytes]) -> Layout:
    """
    Find out how a file is laid out, by what it holds and not by what it is called.

    The column of identifiers is the one whose header says so, or else the one with most identifiers in it.

    :raises UnreadableFile: if it is neither an XLSX workbook nor text in UTF-8
    """
    file.seek(0)
    start = file.read(8)
    if start.startswith(b"PK\x03\x04"):
        size_of_text(file=file, format_=Format.XLSX)
        return _layout_of(Format.XLSX, ",", list(islice(_sheet_rows(file, 0), SAMPLE)))[1]
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise UnreadableFile(
            "The file is an old or encrypted Excel workbook. Save it without a password as “Excel workbook (.xlsx)” or "
            "as “CSV UTF-8” and upload it again."
        )
    _check_text(file)
    file.seek(0)
    lines = list(islice(_lines(file), SAMPLE))
    candidates = []
    for delimiter in DELIMITERS:
        score, layout = _layout_of(Format.CSV, delimiter, list(_text_rows(iter(lines), delimiter)))
        separators = _QUOTED.sub("", lines[0][1]).count(delimiter) if lines else 0
        candidates.append((score, separators, layout))
    return max(candidates, key=lambda candidate: candidate[:2])[2]


def rows(*, file: IO[bytes], layout: Layout, after: int = 0) -> Iterator[SheetRow]:
    """
    Yield the rows below the header, and below the line `after`, leaving blank ones out.

    :raises UnreadableFile: if the file turns out to be damaged
    """
    file.seek(0)
    after = max(after, layout.after)
    if layout.format == Format.XLSX:
        yield from _sheet_rows(file, after)
    else:
        yield from _text_rows(_lines(file), layout.delimiter, after)


def size_of_text(*, file: IO[bytes], format_: Format) -> int:
    """
    Return how many bytes have to be read, unpacked ones of a workbook.

    :raises UnreadableFile: if it is no workbook, or too large once unpacked
    """
    if format_ == Format.CSV:
        return file.seek(0, io.SEEK_END)
    try:
        return workbooks.unpacked_size(file=file)
    except workbooks.UnreadableWorkbook as fault:
        raise UnreadableFile(str(fault)) from fault


def identify(*, cell: str) -> Identified:
    """
    Read the identifier in a cell, whatever a spreadsheet has put around it.

    Check digits are only doubted: real inventories hold some that fail.
    """
    text = _bare(cell)
    try:
        kind, number = recognise(text)
    except InvalidIdentifier:
        if not text:
            return Identified(None, None, Refusal.NO_IDENTIFIER, False)
        if _SHORTENED.fullmatch(text):
            return Identified(None, None, Refusal.SHORTENED, False)
        if decimals := _WITH_DECIMALS.fullmatch(text):
            return identify(cell=decimals[1])
        return Identified(None, None, Refusal.UNREADABLE, False)
    is_doubtful = (kind == "mpan" and not mpan_check_digit_holds(number)) or (
        kind == "mprn" and not mprn_check_digits_hold(number)
    )
    return Identified(kind, number, None, is_doubtful)


def as_line(*, cells: Sequence[str]) -> str:
    """Write cells as one line of CSV, from which `cells_of` reads them again."""
    line = ",".join(cells)
    if not ('"' in line or "\n" in line or "\r" in line) and line.count(",") == len(cells) - 1:
        return line
    written = io.StringIO()
    # all in quotes: without a line terminator the writer leaves line breaks bare
    csv.writer(written, lineterminator="", quoting=csv.QUOTE_ALL).writerow(cells)
    return written.getvalue()


def cells_of(*, line: str) -> list[str]:
    """Read the cells of one line that `as_line` wrote."""
    return _split(line, ",") if line else []


def _bare(cell: str) -> str:
    """Take away what spreadsheets put around a text: an apostrophe, ="…", spaces that nobody sees."""
    text = cell.strip(_INVISIBLE)
    if text.startswith('="') and text.endswith('"'):
        text = text[2:-1]
    text = text.lstrip("'\N{RIGHT SINGLE QUOTATION MARK}").strip(_INVISIBLE)
    return text if text.isascii() else text.translate(_HYPHENS)


# -- finding the column --------------------------------------------------------------------------------------


def _layout_of(format_: Format, delimiter: str, sample: Sequence[SheetRow]) -> tuple[int, Layout]:
    """Return the layout that a sample suggests, and how well it explains the sample."""
    if not sample:
        return 0, Layout(format_, delimiter, 0, None, 0)
    first, *others = sample
    below = _scores(others)
    own = _scores([first])
    named = [column for column, cell in enumerate(first.cells[: workbooks.COLUMNS]) if _word(cell) in HEADERS]
    if named and not any(own):
        column = max(named, key=lambda column: (_at(below, column), -column))
        return _at(below, column) + 1, Layout(format_, delimiter, column, tuple(first.cells), first.line)
    names_something = len(first.cells) > 1 and not any(map(_has_digit, first.cells))
    if names_something and any(below):
        column = below.index(max(below))
        return below[column], Layout(format_, delimiter, column, tuple(first.cells), first.line)
    scores = _scores(sample)
    column = scores.index(max(scores)) if any(scores) else 0
    return _at(scores, column), Layout(format_, delimiter, column, None, 0)


def _scores(sample: Iterable[SheetRow]) -> list[int]:
    """Return for each column how much in it looks like an identifier."""
    scores = [0] * workbooks.COLUMNS
    for row in sample:
        for column, cell in enumerate(row.cells[: workbooks.COLUMNS]):
            found = identify(cell=cell)
            if found.kind:
                # six to ten digits may be anything; thirteen or sixteen hardly are
                scores[column] += 1 if found.kind == "mprn" and found.is_doubtful else 4
            elif found.refusal == Refusal.SHORTENED:
                scores[column] += 1
    return scores


def _at(scores: Sequence[int], column: int) -> int:
    return scores[column] if column < len(scores) else 0


def _word(cell: str) -> str:
    return "".join(letter for letter in cell.lower() if letter.isalnum())


def _has_digit(cell: str) -> bool:
    return any(letter.isdigit() for letter in cell)


# -- text ----------------------------------------------------------------------------------------------------


def _check_text(file: IO[bytes]) -> None:
    """Read the file through once, since a row near its end may be what cannot be read."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    block = file.read(BLOCK)
    beginning = block[:1_000]
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (
        beginning.count(0) * 3 > len(beginning) > 3
    ):
        raise UnreadableFile(
            "The file is not text in UTF-8 but in UTF-16, which Excel calls “Unicode text”. Save it as "
            "“CSV UTF-8” and upload it again."
        )
    try:
        while block:
            decoder.decode(block)
            block = file.read(BLOCK)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            "The file is not text in UTF-8; it may be in Latin-1, which Excel writes as plain “CSV”. Save it as "
            "“CSV UTF-8” and upload it again."
        ) from error


def _lines(file: IO[bytes]) -> Iterator[tuple[int, str, bool]]:
    """Yield the number of each line, the line, and whether it was longer than a row may be."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline=None)
    number = 0
    begun = ""
    try:
        while block := text.read(BLOCK):
            if "\0" in block:
                block = block.replace("\0", "\N{REPLACEMENT CHARACTER}")
            *lines, begun = (begun + block).split("\n")
            for line in lines:
                number += 1
                yield (number, line, False) if len(line) <= ROW_LIMIT else (number, line[:ROW_LIMIT], True)
            begun = begun[: ROW_LIMIT + 1]  # of a line without end, enough to know that it is too long
        if begun:
            yield number + 1, begun[:ROW_LIMIT], len(begun) > ROW_LIMIT
    finally:
        text.detach()


def _text_rows(lines: Iterator[tuple[int, str, bool]], delimiter: str, after: int = 0) -> Iterator[SheetRow]:
    for number, line, is_cut in _records(lines, delimiter):
        if number > after:
            cells = _split(line, delimiter)
            if any(map(str.strip, cells)):
                yield SheetRow(number, cells, is_cut)


def _records(lines: Iterator[tuple[int, str, bool]], delimiter: str) -> Iterator[tuple[int, str, bool]]:
    """Join the lines over which a quoted cell reaches."""
    ahead: deque[tuple[int, str, bool]] = deque()
    while True:
        taken = ahead.popleft() if ahead else next(lines, None)
        if taken is None:
            return
        number, record, is_cut = taken
        if '"' in record and not is_cut and _is_open(record, delimiter):
            following: list[tuple[int, str, bool]] = []
            joined = record
            while len(following) < CONTINUED and (more := ahead.popleft() if ahead else next(lines, None)):
                following.append(more)
                joined += "\n" + more[1]
                if more[2] or len(joined) > ROW_LIMIT:
                    break
                if '"' in more[1] and not _is_open(joined, delimiter):
                    record, following = joined, []
                    break
            ahead.extendleft(reversed(following))
        yield number, record, is_cut


def _is_open(record: str, delimiter: str) -> bool:
    """Say whether a quoted cell is not closed by the end of a record."""
    reader = csv.reader(iter([record + "\n", "\n"]), delimiter=delimiter)
    try:
        next(reader)
    except csv.Error:
        return False
    return reader.line_num > 1


def _split(record: str, delimiter: str) -> list[str]:
    if '"' not in record:
        return record.split(delimiter)
    try:
        return next(csv.reader([record], delimiter=delimiter), [])
    except csv.Error:  # a line break outside quotes: no row that a program wrote
        return [record]


# -- workbooks -----------------------------------------------------------------------------------------------


def _sheet_rows(file: IO[bytes], after: int) -> Iterator[SheetRow]:
    """Yield the rows of a workbook's first sheet."""
    try:
        for number, cells in workbooks.rows(file=file, after=after):
            if any(map(str.strip, cells)):
                if sum(map(len, cells)) <= ROW_LIMIT:
                    yield SheetRow(number, cells, False)
                else:
                    yield _cut_to_size(number, cells)
    except workbooks.UnreadableWorkbook as fault:
        raise UnreadableFile(str(fault)) from fault


def _cut_to_size(number: int, cells: list[str]) -> SheetRow:
    left = ROW_LIMIT
    for place, cell in enumerate(cells):
        if len(cell) > left:
            return SheetRow(number, [*cells[:place], cell[:left]], True)
        left -= len(cell)
    return SheetRow(number, cells, False)
