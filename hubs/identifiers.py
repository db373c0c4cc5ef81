"""
The identifiers of the field: EUI-64 of a hub's functions, MPAN of an electricity supply, MPRN of a gas one.

People paste them with hyphens, colons, spaces or nothing between the digits; the database keeps numbers.
"""

import re
from typing import Literal

Kind = Literal["chf_id", "mpan", "mprn"]

_EUI64 = re.compile(r"[0-9A-Fa-f]{16}")
_MPAN = re.compile(r"[0-9]{13}")
_MPRN = re.compile(r"[0-9]{6,10}")
_MPAN_WEIGHTS = (3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43)
_SHOWN_LENGTH = 40


class InvalidIdentifier(ValueError):
    """The text is not an identifier of the kind asked for; the message is a sentence for its author."""


def parse_eui64(text: str) -> int:
    """
    Read an EUI-64 as the signed 64-bit number that the database keeps.

    :raises InvalidIdentifier: unless there are exactly 16 hexadecimal digits
    """
    digits = _digits_of(text)
    if not _EUI64.fullmatch(digits):
        raise InvalidIdentifier(
            f"{_quoted(text)} is not a CHF or GPF ID: it needs 16 hexadecimal digits,"
            " such as 00-DB-12-34-56-78-90-A0."
        )
    return _signed(digits)


def format_eui64(number: int) -> str:
    """Write an EUI-64, kept as a signed or unsigned 64-bit number, as `00-DB-12-34-56-78-90-A0`."""
    return (number & 0xFFFFFFFFFFFFFFFF).to_bytes(8).hex("-").upper()


def parse_mpan(text: str) -> int:
    """
    Read an MPAN core.

    Its check digit is not looked at: real inventories hold some that fail.

    :raises InvalidIdentifier: unless there are exactly 13 digits
    """
    digits = _digits_of(text)
    if not _MPAN.fullmatch(digits):
        raise InvalidIdentifier(f"{_quoted(text)} is not an MPAN: it needs 13 digits, such as 1234567890126.")
    return int(digits)


def format_mpan(mpan: int) -> str:
    """Write an MPAN core with all its 13 digits."""
    return f"{mpan:013d}"


def masked(digits: str) -> str:
    """Show the last four digits of a meter point alone, to whoever only has to recognise it."""
    return "•" * (len(digits) - 4) + digits[-4:]


def parse_mprn(text: str) -> int:
    """
    Read an MPRN. Leading zeros, with which some systems fill up to ten digits, mean nothing.

    Its check digits are not looked at: real inventories hold some that fail.

    :raises InvalidIdentifier: unless there are 6 to 10 digits
    """
    digits = _digits_of(text)
    if not _MPRN.fullmatch(digits):
        raise InvalidIdentifier(
            f"{_quoted(text)} is not an MPRN: it needs 6 to 10 digits, such as 3938424403."
        )
    return int(digits)


def recognise(text: str) -> tuple[Kind, int]:
    """
    Tell by its digits which identifier a text is: 16 make an EUI-64, 13 an MPAN, 6 to 10 an MPRN.

    :raises InvalidIdentifier: if it is none of them
    """
    digits = _digits_of(text)
    if _EUI64.fullmatch(digits):
        return "chf_id", _signed(digits)
    if _MPAN.fullmatch(digits):
        return "mpan", int(digits)
    if _MPRN.fullmatch(digits):
        return "mprn", int(digits)
    raise InvalidIdentifier(
        f"{_quoted(text)} is neither a CHF ID (16 hexadecimal digits) nor an MPAN (13 digits)"
        " nor an MPRN (6 to 10 digits)."
    )


def mpan_check_digit_holds(mpan: int) -> bool:
    """Say whether the last of the 13 digits is the weighted sum of the others, mod 11 mod 10."""
    *digits, last = map(int, format_mpan(mpan))
    return sum(digit * weight for digit, weight in zip(digits, _MPAN_WEIGHTS, strict=True)) % 11 % 10 == last


def mprn_check_digits_hold(mprn: int) -> bool:
    """
    Say whether the last two digits are the weighted sum of the others, mod 11.

    A digit's weight is its distance from the check digits, so leading zeros do not matter.
    """
    body, check = divmod(mprn, 100)
    total = sum(int(digit) * weight for weight, digit in enumerate(reversed(str(body)), 1))
    return total % 11 == check


def _digits_of(text: str) -> str:
    """Take hyphens, colons and white space out; a third of a regular expression's time, a million times over."""
    return "".join(text.replace("-", "").replace(":", "").split())


def _signed(digits: str) -> int:
    return int.from_bytes(bytes.fromhex(digits), signed=True)


def _quoted(text: str) -> str:
    shown = text.strip()
    return f"“{shown[:_SHOWN_LENGTH]}…”" if len(shown) > _SHOWN_LENGTH else f"“{shown}”"
