"""Tests of finding and reading the identifiers in what people upload."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubs.identifiers import format_eui64
from scheduling import sheets
from scheduling.eligibility import Refusal
from scheduling.sheets import UnreadableFile

CHF = "00-DB-12-34-56-78-90-A0"
MPAN = "1234567890126"
MPRN = "3938424403"


def cells(content: bytes) -> list[str]:
    """Return what stands in the column of identifiers."""
    file = io.BytesIO(content)
    layout = sheets.look(file=file)
    return [
        row.cells[layout.column] if layout.column < len(row.cells) else ""
        for row in sheets.rows(file=file, layout=layout)
    ]


class TestLook:
    @pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("header", ["", "Site{0}CHF ID{0}Note", "a{0}b{0}c"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_finds_the_column_with_or_without_a_header(
        self, ending: str, delimiter: str, header: str, mark: str
    ) -> None:
        rows = [header.format(delimiter)] if header else []
        rows += [delimiter.join(("Leeds, 4", CHF, "x")), delimiter.join(('"a ""b"""', MPAN, ""))]
        if delimiter == ",":
            rows[-2] = f'"Leeds, 4",{CHF},x'

        assert cells((mark + ending.join(rows)).encode()) == [CHF, MPAN]

    def test_keeps_the_header_as_it_came(self) -> None:
        layout = sheets.look(file=io.BytesIO(f"\n\nNote;MPxN\n;{MPAN}\n".encode()))

        assert (layout.header, layout.column, layout.after) == (("Note", "MPxN"), 1, 3)

    def test_believes_a_known_header_before_the_look_of_what_is_below(self) -> None:
        assert cells(f"Account,MPAN\n{MPRN},1.23457E+12\n{MPRN},x\n".encode()) == ["1.23457E+12", "x"]

    def test_takes_no_row_with_an_identifier_for_a_header(self) -> None:
        assert cells(f"{CHF},hub\n{MPAN},hub\n".encode()) == [CHF, MPAN]

    def test_leaves_an_odd_first_row_of_one_cell_among_the_rows(self) -> None:
        assert cells(f"nonsense\n{CHF}\n".encode()) == ["nonsense", CHF]

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (f"CHF ID\n{CHF}\n".encode("utf-16"), "UTF-16"),
            (f"CHF ID\n{CHF}\n".encode("utf-16-le"), "UTF-16"),
            (b"\xff\xfe\x00", "is not text in UTF-8"),
            ((f"{CHF},x\n" * 90_000 + f"{CHF},Café\n").encode("latin-1"), "Latin-1"),
            ("cut off é".encode()[:-1], "is not text in UTF-8"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old or encrypted Excel workbook"),
            (b"PK\x03\x04 and nothing else", "damaged"),
        ],
    )
    def test_says_what_a_file_is_that_cannot_be_read(self, content: bytes, sentence: str) -> None:
        with pytest.raises(UnreadableFile, match=sentence):
            sheets.look(file=io.BytesIO(content))

    @given(st.binary(max_size=300))
    def test_reads_or_refuses_whatever_comes(self, content: bytes) -> None:
        file = io.BytesIO(content)
        try:
            layout = sheets.look(file=file)
        except UnreadableFile:
            return
        lines = [row.line for row in sheets.rows(file=file, layout=layout)]
        assert lines == sorted(set(lines))


class TestRows:
    @given(
        st.lists(
            st.lists(st.text(alphabet="ab\"\n,;' é=1", max_size=8), min_size=2, max_size=3),
            min_size=1,
            max_size=40,
        ),
        st.sampled_from(["\n", "\r\n"]),
    )
    def test_are_those_that_a_program_wrote_in_quotes(self, table: list[list[str]], ending: str) -> None:
        content = io.StringIO()
        writer = csv.writer(content, lineterminator=ending, quoting=csv.QUOTE_ALL)
        writer.writerow(["CHF ID", "Note"])
        writer.writerows(table)
        file = io.BytesIO(content.getvalue().encode())
        layout = sheets.Layout(sheets.Format.CSV, ",", 0, ("CHF ID", "Note"), 1)

        found = [list(row.cells) for row in sheets.rows(file=file, layout=layout)]

        assert found == [row for row in table if any(map(str.strip, row))]

    @given(st.text(alphabet='ab"\n\r,', max_size=200), st.integers(0, 30))
    def test_go_on_after_a_line_as_if_nobody_had_stopped(self, text: str, stop: int) -> None:
        file = io.BytesIO(text.encode())
        layout = sheets.Layout(sheets.Format.CSV, ",", 0, None, 0)
        whole = list(sheets.rows(file=file, layout=layout))

        rest = list(sheets.rows(file=file, layout=layout, after=stop))

        assert rest == [row for row in whole if row.line > stop]

    def test_lose_no_more_than_one_line_to_a_quote_that_is_never_closed(self) -> None:
        rows = cells(f'{CHF}\n"never closed\n{(CHF + chr(10)) * 30}'.encode())

        assert rows == [CHF, "never closed", *[CHF] * 30]

    def test_cut_a_line_of_megabytes_and_go_on(self) -> None:
        file = io.BytesIO(f"{CHF}\n".encode() + b"x" * 5_000_000 + f"\n{MPAN}\n".encode())

        first, second, third = sheets.rows(file=file, layout=sheets.look(file=file))

        assert (first.cells, second.is_cut, third.cells) == ([CHF], True, [MPAN])
        assert second.cells == ["x" * sheets.ROW_LIMIT]


class TestIdentify:
    @given(
        st.integers(0, 2**64 - 1).map(format_eui64),
        st.sampled_from([":", " ", "", "-", "\u2011"]),
        st.booleans(),
        st.sampled_from(["", "'", " ' ", "\u00a0", "\ufeff", "’"]),
    )
    def test_sees_through_what_spreadsheets_do(
        self, text: str, separator: str, is_lower: bool, before: str
    ) -> None:
        written = before + text.replace("-", separator) + " "

        found = sheets.identify(cell=written.lower() if is_lower else written)

        assert (found.kind, found.refusal) == ("chf_id", None)
        assert found == sheets.identify(cell=text)

    @pytest.mark.parametrize(
        ("cell", "kind", "is_doubtful"),
        [
            (MPAN, "mpan", False),
            (f'="{MPAN}"', "mpan", False),
            (f"{MPAN}.0", "mpan", False),
            ("1234567890127", "mpan", True),
            (MPRN, "mprn", False),
            ("3938424404", "mprn", True),
        ],
    )
    def test_doubts_check_digits_and_takes_the_number(self, cell: str, kind: str, is_doubtful: bool) -> None:
        found = sheets.identify(cell=cell)

        assert (found.kind, found.refusal, found.is_doubtful) == (kind, None, is_doubtful)

    @pytest.mark.parametrize("cell", ["1.23457E+12", "1,23457E+12", "1.23457e12", "1.23456789012300E+57"])
    def test_says_that_a_spreadsheet_shortened_a_number(self, cell: str) -> None:
        assert sheets.identify(cell=cell).refusal == Refusal.SHORTENED

    @pytest.mark.parametrize("cell", ["", "  ", "'", '=""'])
    def test_says_that_there_is_nothing(self, cell: str) -> None:
        assert sheets.identify(cell=cell).refusal == Refusal.NO_IDENTIFIER

    @pytest.mark.parametrize(
        "cell", ["nonsense", "12345", "12345678901", "x" * 4_000, "\uff11\uff12\uff13\uff14\uff15\uff16"]
    )
    def test_says_that_it_knows_no_such_identifier(self, cell: str) -> None:
        assert sheets.identify(cell=cell).refusal == Refusal.UNREADABLE


class TestAsLine:
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10),
            min_size=1,
        )
    )
    @example([",", "\n"])
    @example(["\r", '"'])
    def test_is_read_back_as_it_was(self, row: list[str]) -> None:
        read = sheets.cells_of(line=sheets.as_line(cells=row))

        assert read == row or (row == [""] and read == [])
