"""
How commands, receipts, reports and logs are written on the way between the portal and a carrier, and read again.

Every body is JSON, one object a line in UTF-8: what cannot be read costs its own line and no other. Hubs are
written as people write them, since many readers of JSON round numbers beyond 53 bits. Moments carry their offset.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import TypeVar

from hubs.gateway import (
    Command,
    Outcome,
    Phase,
    Receipt,
    ReceivedCommand,
    Report,
    Sighting,
    UnreadableReport,
    Verdict,
)
from hubs.identifiers import InvalidIdentifier, format_eui64, parse_eui64

TEXT_LIMIT = 500
"""Characters that are kept of what could not be read."""
BIGINT = 2**63 - 1
SMALLINT = 2**15 - 1
FILE_VERSION = 2**32 - 1
_DIGEST = re.compile(r"[0-9a-f]{64}|")

Fields = Mapping[str, object]
Read = TypeVar("Read")
Name = TypeVar("Name", bound=IntEnum)


class Unreadable(ValueError):
    """The bytes are not what they should be; the message says where and why, and quotes nothing."""


# -- commands, on their way out ------------------------------------------------------------------------------


def write_commands(commands: Sequence[Command]) -> bytes:
    """Write a body of commands."""
    return _write(
        {
            "deployment": command.deployment,
            "phase": command.phase.name.lower(),
            "attempt": command.attempt,
            "hub": format_eui64(command.hub),
            "lot": command.lot,
            "token": command.token,
            "valid_until": command.valid_until.isoformat(),
            "digest": command.digest,
            "version": command.version,
        }
        for command in commands
    )


def read_commands(body: bytes) -> list[Command]:
    """
    Read a body of commands.

    :raises Unreadable: if a single one makes no sense: none is to be carried out then
    """
    return _read_all(body, _command)


def _command(fields: Fields) -> Command:
    return Command(
        deployment=_number(fields, "deployment", most=BIGINT),
        phase=_named(fields, "phase", Phase),
        attempt=_number(fields, "attempt", most=SMALLINT),
        hub=_hub(fields),
        lot=_number(fields, "lot", most=BIGINT),
        token=_number(fields, "token", most=BIGINT),
        valid_until=_moment(fields, "valid_until"),
        digest=_digest(fields),
        version=_number(fields, "version", most=FILE_VERSION),
    )


# -- receipts ------------------------------------------------------------------------------------------------


def write_receipts(receipts: Sequence[Receipt]) -> bytes:
    """Write a body of receipts."""
    return _write(
        {
            "deployment": receipt.deployment,
            "phase": receipt.phase.name.lower(),
            "attempt": receipt.attempt,
            "verdict": receipt.verdict.name.lower(),
        }
        for receipt in receipts
    )


def read_receipts(body: bytes) -> list[Receipt]:
    """
    Read a body of receipts.

    :raises Unreadable: if a single one makes no sense
    """
    return _read_all(body, _receipt)


def _receipt(fields: Fields) -> Receipt:
    return Receipt(
        deployment=_number(fields, "deployment", most=BIGINT),
        phase=_named(fields, "phase", Phase),
        attempt=_number(fields, "attempt", most=SMALLINT),
        verdict=_named(fields, "verdict", Verdict),
    )


# -- reports, on their way back ------------------------------------------------------------------------------


def write_reports(reports: Sequence[Report]) -> bytes:
    """Write a body of reports."""
    return _write(
        {
            "id": report.id,
            "deployment": report.deployment,
            "phase": report.phase.name.lower(),
            "attempt": report.attempt,
            "hub": format_eui64(report.hub),
            "outcome": report.outcome.name.lower(),
            "version": report.version,
            "observed_at": report.observed_at.isoformat(),
        }
        for report in reports
    )


def read_reports(body: bytes) -> list[Report | UnreadableReport]:
    """Read a body of reports; whatever a line holds, it is one of the two, and never an exception."""
    return [_report_or_not(line) for line in _lines(body)]


def _report_or_not(line: bytes) -> Report | UnreadableReport:
    number = None
    try:
        fields = _fields(line)
        number = _number(fields, "id", most=BIGINT)
        return Report(
            id=number,
            deployment=_number(fields, "deployment", most=BIGINT),
            phase=_named(fields, "phase", Phase),
            attempt=_number(fields, "attempt", most=SMALLINT),
            hub=_hub(fields),
            outcome=_named(fields, "outcome", Outcome),
            version=None
            if _field(fields, "version") is None
            else _number(fields, "version", most=FILE_VERSION),
            observed_at=_moment(fields, "observed_at"),
        )
    except Unreadable as refusal:
        # backslashes for all that is not plain ASCII: no database and no log chokes on it
        text = line[:TEXT_LIMIT].decode("ascii", "backslashreplace")
        printable = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
        return UnreadableReport(number, str(refusal), printable[:TEXT_LIMIT])


# -- ids of reports that are recorded ------------------------------------------------------------------------


def write_acknowledgement(reports: Sequence[int]) -> bytes:
    """Write a body of report ids."""
    return _write({"id": report} for report in reports)


def read_acknowledgement(body: bytes) -> list[int]:
    """
    Read a body of report ids.

    :raises Unreadable: if one is none
    """
    return _read_all(body, lambda fields: _number(fields, "id", most=BIGINT))


# -- the carrier's log ---------------------------------------------------------------------------------------


def write_log(entries: Sequence[ReceivedCommand]) -> bytes:
    """Write a body of a log's entries."""
    return _write(
        {
            "position": entry.position,
            "deployment": entry.deployment,
            "phase": Phase(entry.phase).name.lower(),
            "attempt": entry.attempt,
            "hub": format_eui64(entry.hub),
            "digest": entry.digest,
            "version": entry.version,
            "received_at": entry.received_at.isoformat(),
            "valid_until": entry.valid_until.isoformat(),
            "is_accepted": entry.is_accepted,
        }
        for entry in entries
    )


def read_log(body: bytes) -> list[ReceivedCommand]:
    """
    Read a body of a log's entries.

    :raises Unreadable: if a single one makes no sense: a log with gaps proves nothing
    """
    return _read_all(body, _entry)


def _entry(fields: Fields) -> ReceivedCommand:
    is_accepted = _field(fields, "is_accepted")
    if not isinstance(is_accepted, bool):
        raise Unreadable("is_accepted is neither true nor false")
    return ReceivedCommand(
        position=_number(fields, "position", most=BIGINT),
        deployment=_number(fields, "deployment", most=BIGINT),
        phase=_named(fields, "phase", Phase).value,
        attempt=_number(fields, "attempt", most=SMALLINT),
        hub=_hub(fields),
        digest=_digest(fields),
        version=_number(fields, "version", most=FILE_VERSION),
        received_at=_moment(fields, "received_at"),
        valid_until=_moment(fields, "valid_until"),
        is_accepted=is_accepted,
    )


# -- looks at hubs -------------------------------------------------------------------------------------------


def write_hubs(hubs: Sequence[int]) -> bytes:
    """Write a body of CHF IDs."""
    return _write({"hub": format_eui64(hub)} for hub in hubs)


def read_hubs(body: bytes) -> list[int]:
    """
    Read a body of CHF IDs.

    :raises Unreadable: if one is none
    """
    return _read_all(body, _hub)


def write_sightings(sightings: Sequence[Sighting]) -> bytes:
    """Write a body of sightings."""
    return _write(
        {"hub": format_eui64(seen.hub), "is_heard": seen.is_heard, "version": seen.version}
        for seen in sightings
    )


def read_sightings(body: bytes) -> list[Sighting]:
    """
    Read a body of sightings.

    :raises Unreadable: if a single one makes no sense
    """
    return _read_all(body, _sighting)


def _sighting(fields: Fields) -> Sighting:
    is_heard = _field(fields, "is_heard")
    if not isinstance(is_heard, bool):
        raise Unreadable("is_heard is neither true nor false")
    return Sighting(
        hub=_hub(fields),
        is_heard=is_heard,
        version=None if _field(fields, "version") is None else _number(fields, "version", most=FILE_VERSION),
    )


# -- why a body was refused ----------------------------------------------------------------------------------


def write_refusal(reason: str) -> bytes:
    """Write a body that says why the other one was refused."""
    return _write([{"error": reason}])


def read_refusal(body: bytes) -> str:
    """Read why a body was refused, as printable ASCII and cut when long; what is no reason is quoted."""
    try:
        reason = json.loads(body)["error"]
    except (ValueError, TypeError, LookupError, RecursionError):
        reason = body[:TEXT_LIMIT].decode("ascii", "backslashreplace")
    return ascii(reason)[1:-1][:TEXT_LIMIT]


# -- one line and its fields ---------------------------------------------------------------------------------


def _write(lines: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode("ascii")


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line.strip()]


def _read_all(body: bytes, read: Callable[[Fields], Read]) -> list[Read]:
    found = []
    for number, line in enumerate(_lines(body), 1):
        try:
            found.append(read(_fields(line)))
        except Unreadable as refusal:
            raise Unreadable(f"line {number}: {refusal}") from None
    return found


def _fields(line: bytes) -> Fields:
    try:
        fields = json.loads(line.decode())
    except (ValueError, RecursionError):
        raise Unreadable("this is not JSON") from None
    if not isinstance(fields, dict):
        raise Unreadable("this is not a JSON object")
    return fields


def _field(fields: Fields, name: str) -> object:
    if name not in fields:
        raise Unreadable(f"{name} is missing")
    return fields[name]


def _number(fields: Fields, name: str, *, most: int) -> int:
    value = _field(fields, name)
    if type(value) is not int or not 0 <= value <= most:  # the type itself: a truth is an int, too
        raise Unreadable(f"{name} is not a whole number from 0 to {most}")
    return value


def _text(fields: Fields, name: str) -> str:
    value = _field(fields, name)
    if not isinstance(value, str):
        raise Unreadable(f"{name} is not a text")
    return value


def _named(fields: Fields, name: str, names: type[Name]) -> Name:
    given = _text(fields, name)
    for known in names:
        if known.name.lower() == given:
            return known
    raise Unreadable(f"{name} is none of {', '.join(known.name.lower() for known in names)}")


def _hub(fields: Fields) -> int:
    try:
        return parse_eui64(_text(fields, "hub"))
    except InvalidIdentifier:
        raise Unreadable("hub is not a CHF ID of 16 hexadecimal digits") from None


def _moment(fields: Fields, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(fields, name))
        if moment.tzinfo is None:
            raise Unreadable(f"{name} has no offset from UTC")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as refusal:
        if isinstance(refusal, Unreadable):
            raise
        raise Unreadable(f"{name} is not a moment such as 2026-03-29T00:30:00+00:00") from None


def _digest(fields: Fields) -> str:
    digest = _text(fields, "digest")
    if not _DIGEST.fullmatch(digest):
        raise Unreadable("digest is not a SHA-256 of 64 small hexadecimal digits")
    return digest
