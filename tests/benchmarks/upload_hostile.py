"""
The file that means harm: every mistake that people and spreadsheets make, and each row accounted for.

Of every row is known, before the file is read, on which line it begins and what has to become of it.
"""

import csv
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from hubs.identifiers import format_eui64, format_mpan, mpan_check_digit_holds, mprn_check_digits_hold
from portal.ground import clock
from scheduling.eligibility import Refusal
from scheduling.models import HubSelection
from scheduling.queries import refusals
from scheduling.views.downloads import xlsx_blocks
from tests.benchmarks import database, meter

HEADER = ("Site, street", "chf-id / MPAN / MPRN", "Note")
LONG_LINE = 100_000_000
LONG_CELL = 10_000_000
BLOCK = 1_000_000
ENDINGS = ("\r\n", "\n", "\r")
BLANK = ("  ", " , ,\t", '"",')


class Hub(NamedTuple):
    """A hub of the Supplier's own, with the numbers under which it knows it."""

    chf_id: int
    mpan: int | None
    mprn: int | None


class Row(NamedTuple):
    """What is written, and what has to become of it."""

    kind: str
    cell: str
    refusal: Refusal | None
    is_doubtful: bool = False


Verdict = tuple[int, int | None, bool]
"""Line, refusal, whether the check digits are doubted."""
Measure = Callable[[IO[bytes], str], tuple[meter.Cost, HubSelection]]


def run(
    *, own: Callable[[], Iterator[Hub]], foreign: list[int], received: Measure, forget: Callable[..., None]
) -> dict[str, dict[str, float]]:
    """
    Upload the file as CSV and as XLSX; return what became of its rows, and what it cost, by format.

    :raises UnableToMeasure: if one row is lost, doubled, or judged otherwise than it has to be
    """
    found: dict[str, dict[str, float]] = {}
    for name, write in (("csv", _write_csv), ("xlsx", _write_xlsx)):
        with tempfile.TemporaryFile() as file:
            written = write(file, _rows(own(), foreign))
            size = file.tell()
            cost, selection = received(file, f"hostile.{name}")
        for word, number in {
            **_accounted(selection, written),
            "bytes": size,
            "wall_s": round(cost.wall_s, 3),
            "peak_mb": round(cost.peak_mb, 1),
        }.items():
            found.setdefault(word, {"csv": 0, "xlsx": 0})[name] = number
        forget(selection)
    return found


def _rows(own: Iterator[Hub], foreign: list[int]) -> Iterator[Row]:
    """Yield a row of a hub of its own in one of many spellings, then one that is none, in turn."""
    for number, hub in enumerate(own):
        text = format_eui64(hub.chf_id)
        spellings = (
            *(text, text.lower(), text.replace("-", ":"), text.replace("-", ""), text.replace("-", " ")),
            *(f"'{text}", f' ="{text}" ', f"\N{NO-BREAK SPACE}{text}\N{ZERO WIDTH SPACE}"),
            *(text.replace("-", "\N{NON-BREAKING HYPHEN}"), text[:11] + text[11:].lower().replace("-", ":")),
        )
        if number % 7 == 3 and hub.mpan:
            digits = format_mpan(hub.mpan)
            spelled = (digits, f"{digits[:2]} {digits[2:6]} {digits[6:]}", f"{digits}.0")[number % 3]
            yield Row("own MPAN", spelled, None, not mpan_check_digit_holds(hub.mpan))
        elif number % 7 == 5 and hub.mprn:
            spelled = (f"{hub.mprn}", f"'{hub.mprn:010d}")[number % 2]
            yield Row("own MPRN", spelled, None, not mprn_check_digits_hold(hub.mprn))
        else:
            yield Row("own CHF ID", spellings[number % len(spellings)], None)
        yield _none(number, spellings[number // 3 % len(spellings)], foreign)


def _none(number: int, again: str, foreign: list[int]) -> Row:
    wrong = 99 * 10**11 + number * 10
    while mpan_check_digit_holds(wrong):
        wrong += 1
    return (
        Row("named again", again, Refusal.REPEATED),
        Row("foreign", format_eui64(foreign[number % len(foreign)]), Refusal.NOT_FOUND),
        Row("unknown", f"ff:{number:014x}", Refusal.NOT_FOUND),
        Row("check digit", format_mpan(wrong), Refusal.NOT_FOUND, True),
        Row("shortened", f"1.{number % 100_000:05d}E+12", Refusal.SHORTENED),
        Row("empty", ("", " ", "'", '=""')[number // 11 % 4], Refusal.NO_IDENTIFIER),
        Row("formula", f"=HYPERLINK(A{number})", Refusal.UNREADABLE),
        Row(
            "a digit short",
            again.strip("\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}' =\"")[:-1],
            Refusal.UNREADABLE,
        ),
        Row("two lines", f"nonsense\n{number}", Refusal.UNREADABLE),
        Row("other script", "\N{FULLWIDTH DIGIT ONE}" * 13, Refusal.UNREADABLE),
        Row("back slashes", "\\N\t\\.", Refusal.UNREADABLE),
    )[number % 11]


def _write_csv(file: IO[bytes], rows: Iterator[Row]) -> list[tuple[Row, int]]:
    """Write in UTF-8 with a mark, mixed line ends, blank lines, an endless line; return each row's line."""
    written: list[tuple[Row, int]] = []
    line = 1
    file.write(b"\xef\xbb\xbf" + _as_csv(HEADER).encode() + b"\r\n")
    for number, row in enumerate(rows):
        end = ENDINGS[number % 3]
        if number % 50 == 49:
            file.write((BLANK[number // 50 % 3] + end).encode())
            line += 1
        written.append((row, line + 1))
        cells = _as_csv(("12, High Street", row.cell, f'“{row.kind}" é'))
        file.write((cells + end).encode())
        line += 1 + cells.count("\n")
        if number == 100:
            for _ in range(LONG_LINE // BLOCK):
                file.write(b"x" * BLOCK)
            file.write(end.encode())
            line += 1
            written.append((Row("endless line", "", Refusal.TOO_LONG), line))
    file.write(b'x,"never closed')
    written.append((Row("open quote", "", Refusal.UNREADABLE), line + 1))
    return written


def _as_csv(cells: tuple[str, ...]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().removesuffix("\r\n")


def _write_xlsx(file: IO[bytes], rows: Iterator[Row]) -> list[tuple[Row, int]]:
    """Write a workbook with blank rows and an endless cell; return each row's number."""
    written: list[tuple[Row, int]] = []

    def cells() -> Iterator[tuple[str, ...]]:
        yield HEADER
        line = 1
        for number, row in enumerate(rows):
            if number % 50 == 49:
                yield ("", " ", "")
                line += 1
            yield "12, High Street", row.cell, row.kind
            line += 1
            written.append((row, line))
            if number == 100:
                yield "", "x" * LONG_CELL, ""
                line += 1
                written.append((Row("endless line", "", Refusal.TOO_LONG), line))

    for block in xlsx_blocks(rows=cells()):
        file.write(block)
    return written


def _accounted(selection: HubSelection, written: list[tuple[Row, int]]) -> dict[str, int]:
    """
    Count the rows by what was written and by what became of them.

    :raises UnableToMeasure: unless each row that was written was kept once, with the verdict that it has to have
    """
    wanted: list[Verdict] = [
        (line, None if row.refusal is None else int(row.refusal), row.is_doubtful) for row, line in written
    ]
    kept: list[Verdict] = list(
        selection.rows.order_by("line").values_list("line", "refusal", "is_doubtful").iterator()
    )
    wrong = [
        f"wanted {want}, found {have}, {row.kind}: {row.cell[:60]!r}"
        for want, have, (row, _) in zip(wanted, kept, written, strict=False)
        if want != have
    ]
    eligible, refused = sum(selection.eligible.values()), sum(selection.refused.values())
    returned = sum(1 for _ in refusals.refused(selection=selection, now=clock.now()))
    if wrong or len(kept) != len(wanted) or eligible + refused != len(wanted) or returned != refused:
        raise database.UnableToMeasure(
            f"Of {len(wanted):,} rows of {selection.file_name} {len(kept):,} were kept, {eligible:,} taken, "
            f"{refused:,} refused and {returned:,} returned. {'; '.join(wrong[:5])}"
        )
    kinds = Counter(row.kind for row, _ in written)
    return {
        **{f"written: {kind}": rows for kind, rows in sorted(kinds.items())},
        "rows written": len(wanted),
        "eligible": eligible,
        **{
            f"refused: {Refusal(int(refusal)).name.lower().replace('_', ' ')}": rows
            for refusal, rows in sorted(selection.refused.items())
        },
        "rows returned": returned,
        "rows lost": len(wanted) - eligible - returned,
    }
