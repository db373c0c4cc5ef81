"""Tests of reading workbooks, against the opinion of openpyxl and against those who mean harm."""

import io
import zipfile
from datetime import date, datetime
from typing import Any

import pytest
from openpyxl import Workbook

from scheduling import workbooks
from scheduling.views.downloads import xlsx_blocks


def written(rows: list[list[Any]], **more: Any) -> io.BytesIO:
    """Return a workbook that openpyxl wrote."""
    book = Workbook()
    assert book.active is not None
    for row in rows:
        book.active.append(row)
    if more.get("second"):
        book.create_sheet("Second").append(["second"])
    file = io.BytesIO()
    book.save(file)
    return file


def with_sheet(xml: str, **parts: str) -> io.BytesIO:
    """Return a workbook of our own with this XML in its sheet, and these parts beside it or in place of its own."""
    with zipfile.ZipFile(io.BytesIO(b"".join(xlsx_blocks(rows=[])))) as archive:
        ours = {name: archive.read(name) for name in archive.namelist()}
    assert "xl/worksheets/sheet1.xml" in ours
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in {**ours, **parts, "xl/worksheets/sheet1.xml": xml}.items():
            archive.writestr(name, part)
    return file


def sheet(rows: str) -> str:
    return (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f"<sheetData>{rows}</sheetData></worksheet>"
    )


class TestRows:
    def test_are_what_a_person_sees_in_the_first_sheet(self) -> None:
        file = written(
            [
                ["CHF ID", None, "when", "sum"],
                [],
                ["00-DB é ☂", 1234567890126, date(2026, 3, 29), 1.5],
                [None, True, datetime(2026, 3, 29, 1, 30), None],  # noqa: DTZ001
            ],
            second=True,
        )

        assert list(workbooks.rows(file=file)) == [
            (1, ["CHF ID", "", "when", "sum"]),
            (3, ["00-DB é ☂", "1234567890126", "2026-03-29 00:00:00", "1.5"]),
            (4, ["", "TRUE", "2026-03-29 01:30:00"]),
        ]

    def test_begin_after_the_row_that_is_named(self) -> None:
        file = written([["a"], ["b"], ["c"]])

        assert list(workbooks.rows(file=file, after=2)) == [(3, ["c"])]

    @pytest.mark.parametrize("numbers", [(1, 2, 3, 4), (2, 5, 9, 12), (5, 5, 3, 9), (0, 0, 0, 0)])
    def test_are_the_same_wherever_one_begins(self, numbers: tuple[int, ...]) -> None:
        file = with_sheet(
            sheet(
                "".join(
                    f'<row r="{number}"><c t="inlineStr"><is><t>{place}</t></is></c><c><v>{place}</v></c></row>'
                    for place, number in enumerate(numbers)
                )
            )
        )
        whole = list(workbooks.rows(file=file))
        assert len(whole) == 4

        for after in range(14):
            assert list(workbooks.rows(file=file, after=after)) == [row for row in whole if row[0] > after]

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ("1.234567890126E12", "1234567890126"),
            ("1234567890126", "1234567890126"),
            ("3938424403.0", "3938424403"),
            ("1234567890123450", "1.23456789012345E+15"),
            ("1.234567890123E+57", "1.23456789012300E+57"),
            ("-0.5", "-0.5"),
        ],
    )
    def test_write_a_number_as_it_was_typed_unless_digits_were_lost(self, value: str, shown: str) -> None:
        file = with_sheet(sheet(f'<row r="1"><c r="A1"><v>{value}</v></c></row>'))

        assert list(workbooks.rows(file=file)) == [(1, [shown])]

    def test_are_numbered_upwards_whatever_they_say_of_themselves(self) -> None:
        cell = '<c t="inlineStr"><is><t>x</t></is></c>'
        numbers = ("5", "5", "3", "9999999999", "7", "-1")
        file = with_sheet(sheet("".join(f'<row r="{number}">{cell}</row>' for number in numbers)))

        assert [number for number, _ in workbooks.rows(file=file)] == [5, 6, 7, 8, 9, 10]

    def test_leave_phonetic_hints_formulas_and_far_columns_out(self) -> None:
        file = with_sheet(
            sheet(
                '<row r="1"><c r="A1" t="inlineStr"><is><t>a</t><rPh><t>hint</t></rPh><r><t>b</t></r></is></c>'
                '<c r="B1" t="str"><f>1+1</f><v>2</v></c><c r="XFD1"><v>1</v></c></row>'
            )
        )

        assert list(workbooks.rows(file=file)) == [(1, ["ab", "2"])]

    def test_cut_a_cell_that_is_far_too_long(self) -> None:
        file = with_sheet(sheet(f'<row><c t="inlineStr"><is><t>{"x" * 1_000_000}</t></is></c></row>'))

        [(_, [cell])] = workbooks.rows(file=file)

        assert cell == "x" * (workbooks.CELL_LIMIT + 1)

    @pytest.mark.parametrize(
        "xml",
        [
            "",
            "<worksheet",
            sheet('<row r="x"/>'),
            sheet('<row><c r="1A"><v>1</v></c></row>'),
            sheet('<row><c t="s"><v>7</v></c></row>'),
            sheet('<row><c t="s"><v>-1</v></c></row>'),
            sheet("<row><c><v>much</v></c></row>"),
            sheet("<row><c><v>1\0</v></c></row>"),
            sheet("<a>" * 1_000_000),
            sheet(f'<row r="1" {"a" * 2_000_000}="1"/>'),
            '<!DOCTYPE a [<!ENTITY b "bbbbbbbb">]>' + sheet("<row><c><v>&b;</v></c></row>"),
        ],
    )
    def test_are_refused_in_a_sheet_that_no_spreadsheet_wrote(self, xml: str) -> None:
        with pytest.raises(workbooks.UnreadableWorkbook, match="damaged"):
            list(workbooks.rows(file=with_sheet(xml)))

    def test_are_read_whatever_prefix_the_elements_have(self) -> None:
        file = with_sheet(
            '<x:worksheet xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><x:sheetData>'
            '<x:row r="3"><x:c t="inlineStr"><x:is><x:t>a</x:t></x:is></x:c></x:row></x:sheetData></x:worksheet>'
        )

        assert list(workbooks.rows(file=file)) == [(3, ["a"])]

    @pytest.mark.parametrize("part", ["xl/styles.xml", "xl/sharedStrings.xml", "xl/workbook.xml"])
    def test_are_refused_where_any_part_is_nested_without_end(self, part: str) -> None:
        with pytest.raises(workbooks.UnreadableWorkbook, match="damaged"):
            list(workbooks.rows(file=with_sheet(sheet(""), **{part: "<a>" * 100_000})))

    def test_are_refused_where_the_file_is_cut_off(self) -> None:
        whole = written([[f"{number:016X}"] for number in range(500)]).getvalue()

        with pytest.raises(workbooks.UnreadableWorkbook, match="damaged"):
            list(workbooks.rows(file=io.BytesIO(whole[:-40])))

    def test_are_refused_where_the_workbook_names_no_sheet(self) -> None:
        file = with_sheet(sheet(""), **{"xl/_rels/workbook.xml.rels": "<Relationships/>"})

        with pytest.raises(workbooks.UnreadableWorkbook, match="damaged"):
            list(workbooks.rows(file=file))

    def test_take_texts_from_the_shared_table(self) -> None:
        strings = (
            "<sst><si><t>first</t></si><si><r><t>é</t></r><rPh><t>hint</t></rPh><r><t>☂</t></r></si></sst>"
        )
        cells = "".join(f'<c t="s"><v>{number}</v></c>' for number in (1, 0, 1))

        file = with_sheet(sheet(f"<row>{cells}</row>"), **{"xl/sharedStrings.xml": strings})

        assert list(workbooks.rows(file=file)) == [(1, ["é☂", "first", "é☂"])]


class TestUnpackedSize:
    def test_counts_all_parts(self) -> None:
        assert workbooks.unpacked_size(file=with_sheet("x" * 5_000)) > 5_000

    def test_refuses_an_archive_of_something_else(self) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("hubs.csv", "CHF ID")

        with pytest.raises(workbooks.UnreadableWorkbook, match="no Excel workbook"):
            workbooks.unpacked_size(file=file)

    def test_refuses_what_unpacks_to_more_than_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workbooks, "UNPACKED_LIMIT", 1_000_000)

        with pytest.raises(workbooks.UnreadableWorkbook, match="unpacks to more than"):
            workbooks.unpacked_size(file=with_sheet("x" * 1_000_000))

    def test_refuses_texts_beyond_their_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workbooks, "STRINGS_LIMIT", 1_000)

        with pytest.raises(workbooks.UnreadableWorkbook, match="very long texts"):
            list(workbooks.rows(file=with_sheet(sheet(""), **{"xl/sharedStrings.xml": "x" * 1_001})))


class TestOurOwnWorkbook:
    def test_is_read_back_as_it_was_written(self) -> None:
        rows = [["=1+1", "<&> \x01 é"], ["", "00123"], ["  two\nlines "]]
        file = io.BytesIO(b"".join(xlsx_blocks(rows=rows)))

        assert [cells for _, cells in workbooks.rows(file=file)] == [
            ["=1+1", "<&>  é"],
            ["", "00123"],
            ["  two\nlines "],
        ]
