"""Identifiers as people write them, and back."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs.identifiers import (
    InvalidIdentifier,
    format_eui64,
    format_mpan,
    mpan_check_digit_holds,
    mprn_check_digits_hold,
    parse_eui64,
    parse_mpan,
    parse_mprn,
)

numbers = st.integers(-(2**63), 2**63 - 1)


class TestParseEui64:
    @pytest.mark.parametrize(
        "text",
        ["00-DB-12-34-56-78-90-A0", "00:db:12:34:56:78:90:a0", " 00DB1234567890a0\n", "00db 1234 5678 90A0"],
    )
    def test_reads_every_way_of_writing_one(self, text):
        assert parse_eui64(text) == 0x00DB1234567890A0

    def test_keeps_the_upper_half_as_negative_numbers(self):
        assert parse_eui64("FF-FF-FF-FF-FF-FF-FF-FF") == -1
        assert parse_eui64("80-00-00-00-00-00-00-00") == -(2**63)

    @given(numbers, st.sampled_from(["-", ":", " ", ""]), st.booleans())
    def test_reads_back_what_is_written(self, number, separator, lower):
        text = format_eui64(number).replace("-", separator)

        assert parse_eui64(text.lower() if lower else text) == number

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "00-DB-12-34-56-78-90",
            "00-DB-12-34-56-78-90-A0-11",
            "00DB1234567890G0",
            "\uff100DB1234567890A0",
            "0x" * 8,
        ],
    )
    def test_refuses_anything_else_with_a_sentence(self, text):
        with pytest.raises(InvalidIdentifier, match="16 hexadecimal digits") as refusal:
            parse_eui64(text)
        assert str(refusal.value).endswith(".")

    def test_shortens_what_it_quotes(self):
        with pytest.raises(InvalidIdentifier) as refusal:
            parse_eui64("A" * 10_000)
        assert len(str(refusal.value)) < 200

    @given(st.text())
    def test_never_fails_in_another_way(self, text):
        with suppress(InvalidIdentifier):
            assert -(2**63) <= parse_eui64(text) < 2**63


class TestFormatEui64:
    def test_writes_upper_case_octets_with_hyphens(self):
        assert format_eui64(0x00DB1234567890A0) == "00-DB-12-34-56-78-90-A0"

    @given(numbers)
    def test_writes_signed_and_unsigned_alike(self, number):
        assert format_eui64(number) == format_eui64(number & (2**64 - 1))


class TestParseMpan:
    @pytest.mark.parametrize("text", ["1234567890126", "12 3456 7890 126", "12-3456-7890-126"])
    def test_reads_thirteen_digits(self, text):
        assert parse_mpan(text) == 1234567890126

    @pytest.mark.parametrize(
        "text", ["", "123456789012", "12345678901267", "123456789012x", "\uff11234567890126"]
    )
    def test_refuses_anything_else(self, text):
        with pytest.raises(InvalidIdentifier, match="13 digits"):
            parse_mpan(text)

    @given(st.integers(0, 10**13 - 1))
    def test_reads_back_what_is_written(self, mpan):
        assert parse_mpan(format_mpan(mpan)) == mpan


class TestMpanCheckDigitHolds:
    def test_agrees_with_the_published_example(self):
        assert mpan_check_digit_holds(1234567890126)

    @given(st.integers(10**11, 10**12 - 1))
    def test_holds_for_exactly_one_last_digit(self, body):
        assert sum(mpan_check_digit_holds(body * 10 + last) for last in range(10)) == 1


class TestParseMprn:
    @pytest.mark.parametrize(
        ("text", "mprn"), [("3938424403", 3938424403), ("393 842 4403", 3938424403), ("123456", 123456)]
    )
    def test_reads_six_to_ten_digits(self, text, mprn):
        assert parse_mprn(text) == mprn

    def test_takes_leading_zeros_for_filling(self):
        assert parse_mprn("0000123456") == parse_mprn("123456")

    @pytest.mark.parametrize("text", ["", "12345", "12345678901", "1234x6"])
    def test_refuses_anything_else(self, text):
        with pytest.raises(InvalidIdentifier, match="6 to 10 digits"):
            parse_mprn(text)


class TestMprnCheckDigitsHold:
    def test_agrees_with_the_published_example(self):
        assert mprn_check_digits_hold(3938424403)

    @given(st.integers(10**3, 10**8 - 1))
    def test_holds_for_exactly_one_ending(self, body):
        assert sum(mprn_check_digits_hold(body * 100 + check) for check in range(100)) == 1
