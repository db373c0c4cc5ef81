"""
Protected windows from a file: what its columns mean, and which window each row asks for.

A row is put to the same form as a person's window, so that both are judged by the same rules.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from hubs.models import Network, PaymentMode, Supplier
from scheduling.forms import CLOCK_CHANGE, WindowForm
from scheduling.models import HubGroup, ProtectedWindow, Weekday
from scheduling.operations.windows import Wish
from scheduling.queries import groups as saved
from scheduling.queries.uploads import RefusedRow, Upload
from scheduling.sheets import DELIMITERS, Format

FILE_LIMIT = 8 * 1024 * 1024
"""Bytes of a file."""
MOST_ROWS = 10_000
COLUMNS = {
    "kind": "kind",
    "reason": "reason",
    "strength": "strength",
    "scope": "scope",
    "network": "network",
    "payment mode": "payment_mode",
    "group": "group",
    "CHF IDs": "hubs",
    "repeats": "how_often",
    "from": "start",
    "to": "end",
    "weekdays": "weekdays",
    "opens": "starts",
    "closes": "ends",
    "first day": "valid_from",
    "last day": "valid_until",
}
"""The columns of a file, and the field of the form that each one is for."""
EXPLAINED = (
    ("kind", "tariff, change_of_supplier, meter_firmware, history, prepayment or other; needed"),
    ("reason", "For your colleagues and DCC; needed"),
    ("strength", "hard or soft; empty means hard"),
    ("scope", "all, network, payment mode, group or hubs; needed"),
    ("network", "Its name, where the scope is network"),
    ("payment mode", "Credit or Prepayment, where the scope is payment mode"),
    ("group", "The name of a saved group of yours, where the scope is group"),
    ("CHF IDs", "With spaces between, where the scope is hubs"),
    ("repeats", "once or weekly; empty means weekly where there are weekdays, otherwise once"),
    (
        "from, to",
        "Of one that comes once: 2027-04-01 02:00 or 01/04/2027 02:00, in UK time. With an offset, such as "
        "2027-10-31 01:30+01:00, where the clocks change",
    ),
    ("weekdays", "Of a weekly one: the days on which it begins, such as Mon Tue Fri, or daily"),
    (
        "opens, closes",
        "Of a weekly one: 20:00 and 06:00, in UK time; at or before the opening means the next day",
    ),
    ("first day, last day", "Of a weekly one: 2027-01-04; empty means no limit"),
)
"""What the columns hold, for people."""
COLUMN_OF = {name: column for column, name in COLUMNS.items()} | {
    "start_clock": "from",
    "end_clock": "to",
}
NEEDED = ("kind", "scope")
EXAMPLES = (
    (
        *("tariff", "April prices", "hard", "all", "", "", "", ""),
        *("once", "2027-04-01 00:00", "2027-04-02 00:00", "", "", "", "", ""),
    ),
    (
        *("prepayment", "No disconnection overnight", "hard", "payment mode", "", "Prepayment", "", ""),
        *("weekly", "", "", "Mon Tue Wed Thu Fri", "20:00", "06:00", "2027-01-04", ""),
    ),
    (
        *("other", "First hour of the clock change", "soft", "all", "", "", "", ""),
        *("once", "2027-10-31 01:00+01:00", "2027-10-31 01:00+00:00", "", "", "", "", ""),
    ),
)
"""Rows that show how windows are written."""

_BRITISH_DAY = re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{4})\b")
_SEPARATORS = re.compile(r"[\s,;]+")


class UnreadableFile(Exception):
    """The file is none of windows; the message says why and what to do."""


class UnknownWord(Exception):
    """A cell says what is none of its column's words; the message is for the row's author."""


@dataclass(slots=True)
class Row:
    """A row as it was written, and the window that it asks for, or why it asks for none."""

    cells: Sequence[str]
    wish: Wish | None = None
    reason: str = ""
    forward: str = ""


@dataclass(frozen=True, slots=True)
class WindowFile:
    """A file that could be read."""

    header: Sequence[str]
    delimiter: str
    rows: Sequence[Row]

    @property
    def wishes(self) -> list[tuple[Row, Wish]]:
        """Return the rows that ask for a window."""
        return [(row, row.wish) for row in self.rows if row.wish]

    def upload(self, *, file_name: str, at: datetime, by: str) -> Upload:
        """Return what became of the rows, once each one that was not kept has its reason."""
        refused = [RefusedRow(row.cells, row.reason, row.forward) for row in self.rows if row.reason]
        return Upload(
            of="windows",
            file_name=file_name,
            at=at,
            by=by,
            rows=len(self.rows),
            taken=len(self.rows) - len(refused),
            unchanged=0,
            format=Format.CSV,
            delimiter=self.delimiter,
            header=self.header,
            refused=refused,
        )


def read(*, file: IO[bytes], supplier: Supplier) -> WindowFile:
    """
    Read a file of windows, and judge its rows as the form does.

    :raises UnreadableFile: if it is none, or too long
    """
    header, delimiter, rows = _table(file)
    words = Words(
        networks=list(Network.objects.order_by("name")), groups=list(saved.of_supplier(supplier=supplier))
    )
    # one form for all rows: making one takes longer than asking it
    form = WindowForm({}, networks=words.networks, groups=words.groups)
    return WindowFile(header, delimiter, [_judged(cells, header, words, form) for cells in rows])


def _table(file: IO[bytes]) -> tuple[list[str], str, list[list[str]]]:
    content = file.read(FILE_LIMIT + 1)
    if len(content) > FILE_LIMIT:
        raise UnreadableFile(
            f"The file has more than {FILE_LIMIT // 1024 // 1024} MB. Split it, or keep long lists of hubs as groups."
        )
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableFile("The file is a workbook. Save it as “CSV UTF-8” and upload it again.")
    try:
        text = content.decode("utf-8-sig").replace("\0", "\N{REPLACEMENT CHARACTER}")
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            "The file is not text in UTF-8. Save it as “CSV UTF-8” and upload it again."
        ) from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        table = [cells for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise UnreadableFile(
            f"Line {reader.line_num} cannot be read as CSV: {error}. Mend it, or keep a long list of hubs as a group."
        ) from error
    header, rows = (table[0], table[1:]) if table else ([], [])
    missing = [column for column in NEEDED if _bare(column) not in map(_bare, header)]
    if missing:
        raise UnreadableFile(
            f"The first row names no column “{missing[0]}”. Begin the file with the header shown on this page."
        )
    if not rows:
        raise UnreadableFile("The file holds no rows below its header.")
    if len(rows) > MOST_ROWS:
        raise UnreadableFile(
            f"The file has {len(rows):,} rows; the most is {MOST_ROWS:,}. Split it, or use weekly windows instead of "
            "one for each day."
        )
    return header, delimiter, rows


def _bare(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())


BY_COLUMN = {_bare(column): name for column, name in COLUMNS.items()}


def _judged(cells: Sequence[str], header: Sequence[str], words: "Words", form: WindowForm) -> Row:
    said: dict[str, str] = {}
    for head, cell in zip(header, cells, strict=False):
        if name := BY_COLUMN.get(_bare(head)):
            # the first column of a name counts: a refused row comes back with a second “Reason”
            said.setdefault(name, cell.strip().removeprefix("'").strip())
    row = Row(cells)
    try:
        form.data = words.translated(said)
    except UnknownWord as refusal:
        row.reason = str(refusal)
        return row
    form.full_clean()
    if form.is_valid():
        row.wish = Wish(form.window, form.cleaned_data["hubs"])
    else:
        row.reason = " ".join(
            f"{COLUMN_OF.get(name, name)}: {error}" if name != "__all__" else str(error)
            for name, errors in form.errors.items()
            for error in errors
        )
        if form.has_error("start", CLOCK_CHANGE) or form.has_error("end", CLOCK_CHANGE):
            row.forward = "Write the offset behind the time: +01:00 for BST, +00:00 for GMT."
    return row


@dataclass(slots=True)
class Words:
    """The words of a Supplier's file, and the values of the form that they mean."""

    networks: Sequence[Network]
    groups: Sequence[HubGroup]
    _kinds: Mapping[str, str] = field(init=False)
    _modes: Mapping[str, str] = field(init=False)
    _networks: Mapping[str, str] = field(init=False)
    _groups: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        kind, mode = ProtectedWindow.Kind, PaymentMode
        self._kinds = {_bare(word): one.value for one in kind for word in (one.value, str(one.label))}
        self._modes = {_bare(str(one.label)): str(one.value) for one in mode}
        self._networks = {_bare(word): str(one.pk) for one in self.networks for word in (one.code, one.name)}
        self._groups = {one.name.casefold(): str(one.pk) for one in self.groups}

    def translated(self, said: Mapping[str, str]) -> dict[str, Any]:
        """
        Return what the form is told by a row's cells, by the form's names.

        :raises UnknownWord: naming the words that the column knows
        """
        data: dict[str, Any] = dict(said)
        data["strength"] = said.get("strength", "").casefold() or "hard"
        data["how_often"] = said.get("how_often", "").casefold() or (
            "weekly" if said.get("weekdays") else "once"
        )
        for name, known in (("strength", ("hard", "soft")), ("how_often", ("once", "weekly"))):
            if data[name] not in known:
                raise _unknown(name, said[name], known)
        data["kind"] = self._meaning("kind", said, self._kinds, list(ProtectedWindow.Kind.values))
        data["scope"] = self._meaning(
            "scope", said, SCOPES, ("all", "network", "payment mode", "group", "hubs")
        )
        data["payment_mode"] = self._meaning("payment_mode", said, self._modes, PaymentMode.labels)
        data["network"] = self._meaning(
            "network", said, self._networks, [network.name for network in self.networks]
        )
        if group := " ".join(said.get("group", "").split()):
            if group.casefold() not in self._groups:
                raise UnknownWord(
                    f"group: “{group[:80]}” is not one of your groups. Make it first, or mend its name."
                )
            data["group"] = self._groups[group.casefold()]
        data["hubs"] = "\n".join(_SEPARATORS.split(said.get("hubs", "").strip()))
        data["weekdays"] = _weekdays(said.get("weekdays", ""))
        for name in ("start", "end", "valid_from", "valid_until"):
            data[name] = _BRITISH_DAY.sub(_iso_day, said.get(name, ""))
        return data

    def _meaning(
        self, name: str, said: Mapping[str, str], known: Mapping[str, str], shown: Sequence[Any]
    ) -> str:
        word = said.get(name, "")
        if not word:
            return ""
        if _bare(word) not in known:
            raise _unknown(name, word, shown)
        return known[_bare(word)]


SCOPES = {
    _bare(word): scope.value for scope in ProtectedWindow.Scope for word in (scope.value, str(scope.label))
}
WEEKDAYS = {
    word: str(day.value) for day in Weekday for word in (str(day.label).lower(), str(day.label)[:3].lower())
}


def _unknown(name: str, word: str, known: Sequence[Any]) -> UnknownWord:
    *others, last = map(str, known)
    return UnknownWord(f"{COLUMN_OF[name]}: “{word[:40]}” is not known. Write {', '.join(others)} or {last}.")


def _weekdays(cell: str) -> list[str]:
    if _bare(cell) in ("everyday", "daily"):
        return [str(day.value) for day in Weekday]
    words = [word for word in _SEPARATORS.split(cell.strip()) if word]
    if wrong := [word for word in words if word.lower() not in WEEKDAYS]:
        raise UnknownWord(
            f"weekdays: “{wrong[0][:40]}” is not a weekday. Write them with spaces between, such as Mon Tue Wed, or "
            "daily."
        )
    return [WEEKDAYS[word.lower()] for word in words]


def _iso_day(day: re.Match[str]) -> str:
    return f"{day[3]}-{int(day[2]):02d}-{int(day[1]):02d}"
