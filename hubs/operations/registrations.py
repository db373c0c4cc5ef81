"""Bring in changes of supplier, and let those that are due take effect on their hubs."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db import connection, transaction

from hubs import identifiers
from hubs.models import GONE, ChangeOfSupplier, Supplier
from hubs.operations import files
from hubs.operations.files import RefusedRow, Writable
from portal.ground import audit, sql, uk_time

if TYPE_CHECKING:
    from portal.models import User

REGISTRATION_COLUMNS = ("mpan", "mprn", "chf_id", "role", "participant_id", "effective_on")
"""The columns of a file of registrations, by their names in its first line; see `import_registrations`."""
_NEEDED = ("participant_id", "effective_on")
_IDENTIFIERS = ("mpan", "mprn", "chf_id")
FURTHEST = timedelta(days=366)
"""Further ahead nobody registers: a later date is a mistyped one."""
_REGISTERING = 0x72656773  # "regs": the advisory lock of whoever writes changes of supplier
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

Role = ChangeOfSupplier.Role
_ROLE_OF = {"mpan": Role.IMPORT, "mprn": Role.GAS}
_ROLES = {"import": Role.IMPORT, "electricity import": Role.IMPORT, "gas": Role.GAS}
_METERS = {Role.IMPORT: "electricity", Role.GAS: "gas"}

# Raw SQL below: a file of a million rows is judged and put in its place by a handful of statements.
_INCOMING = """
CREATE TEMPORARY TABLE incoming (
    line bigint, kind text, number bigint, role smallint, gaining_id smallint, effective_on date, written text
)
"""
_FOUND = """
CREATE TEMPORARY TABLE found AS
SELECT line, min(chf_id) AS hub, count(*) AS hubs FROM (
    SELECT line, chf_id FROM incoming JOIN hubs_communicationshub ON chf_id = number
    WHERE kind = 'chf_id' AND status <> ALL (%(gone)s)
    UNION ALL
    SELECT line, chf_id FROM incoming JOIN hubs_communicationshub ON mpan = number
    WHERE kind = 'mpan' AND status <> ALL (%(gone)s)
    UNION ALL
    SELECT line, chf_id FROM incoming JOIN hubs_communicationshub ON mprn = number
    WHERE kind = 'mprn' AND status <> ALL (%(gone)s)) named
GROUP BY line
"""
_JUDGED = """
CREATE TEMPORARY TABLE judged AS
SELECT line, kind, found.hub, role, gaining_id, effective_on, NULL::bigint AS first_line,
       CASE WHEN found.hub IS NULL THEN 'unknown'
            WHEN found.hubs > 1 THEN 'several'
            WHEN role = 1 AND hub.import_supplier_id = gaining_id THEN 'has it'
            WHEN role = 2 AND hub.gas_supplier_id = gaining_id THEN 'has it'
            WHEN role = 1 AND coalesce(hub.mpan, hub.import_supplier_id) IS NULL THEN 'no meter'
            WHEN role = 2 AND coalesce(hub.mprn, hub.gas_supplier_id) IS NULL THEN 'no meter'
       END AS refusal
FROM incoming LEFT JOIN found USING (line) LEFT JOIN hubs_communicationshub hub ON hub.chf_id = found.hub
"""
_REPEATED = """
UPDATE judged SET refusal = 'repeated', first_line = seen.first_line
FROM (SELECT line, first_value(line) OVER (PARTITION BY hub, role ORDER BY line) AS first_line
      FROM judged WHERE refusal IS NULL) seen
WHERE judged.line = seen.line AND seen.line > seen.first_line
"""
_REFUSED = """
SELECT line, judged.kind, judged.role, refusal, first_line, written FROM judged JOIN incoming USING (line)
WHERE refusal IS NOT NULL AND line > %(after)s ORDER BY line LIMIT 10000
"""
# in the order of the unique index, as everything that writes changes does
_UPSERT = """
WITH written AS (
    INSERT INTO hubs_changeofsupplier AS ahead (hub, role, gaining_id, effective_on, imported_at)
    SELECT hub, role, gaining_id, effective_on, %(now)s FROM judged WHERE refusal IS NULL ORDER BY hub, role
    ON CONFLICT (hub, role) WHERE applied_at IS NULL DO UPDATE SET
        gaining_id = excluded.gaining_id, effective_on = excluded.effective_on, imported_at = excluded.imported_at
    WHERE (ahead.gaining_id, ahead.effective_on) IS DISTINCT FROM (excluded.gaining_id, excluded.effective_on)
    RETURNING ahead.xmax = 0 AS is_new)
SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written
"""

# the timetable's; every hub with all its changes that are due, so that both its meters change at once
_GATHER_DUE = """
CREATE TEMPORARY TABLE due_change ON COMMIT DROP AS
SELECT hub, max(gaining_id) FILTER (WHERE role = 1) AS importer, max(gaining_id) FILTER (WHERE role = 2) AS gas
FROM hubs_changeofsupplier
WHERE applied_at IS NULL AND effective_on <= %(today)s AND hub > %(after)s GROUP BY hub ORDER BY hub LIMIT %(limit)s
"""
# in key order, as everything that locks hubs does
_TAKE_EFFECT = """
WITH before AS MATERIALIZED (
    SELECT chf_id, lead_id, other_id, importer, gas
    FROM hubs_communicationshub hub JOIN due_change ON due_change.hub = hub.chf_id
    ORDER BY chf_id FOR NO KEY UPDATE OF hub),
after AS (
    UPDATE hubs_communicationshub hub SET
        import_supplier_id = coalesce(before.importer, hub.import_supplier_id),
        gas_supplier_id = coalesce(before.gas, hub.gas_supplier_id)
    FROM before WHERE hub.chf_id = before.chf_id
    RETURNING hub.chf_id, hub.lead_id, hub.other_id)
INSERT INTO changed_supplier (hub, was_lead, was_other, lead, other)
SELECT chf_id, before.lead_id, before.other_id, after.lead_id, after.other_id
FROM before JOIN after USING (chf_id)
"""
_STAMP = """
UPDATE hubs_changeofsupplier change SET applied_at = %(now)s FROM due_change
WHERE change.hub = due_change.hub AND change.applied_at IS NULL AND change.effective_on <= %(today)s
"""
_CHANGED = """
CREATE TEMPORARY TABLE changed_supplier (
    hub bigint, was_lead smallint, was_other smallint, lead smallint, other smallint) ON COMMIT DROP
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the rows of a file of registrations, in numbers."""

    rows: int
    added: int
    replaced: int
    refused: int

    @property
    def unchanged(self) -> int:
        """Rows that say what is ahead already."""
        return self.rows - self.added - self.replaced - self.refused


def import_registrations(
    *,
    lines: Iterable[str],
    refused: Writable,
    actor: "User | None",
    now: datetime,
    tell: Callable[[str], None] = lambda _: None,
) -> Imported:
    """
    Bring in changes of supplier that are ahead: each replaces the one ahead for the same meter of a hub.

    `lines` are those of a CSV file with a header. A row names one hub, by `mpan`, `mprn` or `chf_id`; the meter, by
    `role` (import or gas), which a meter's number says by itself; the gaining Supplier's `participant_id` in that
    role; and the day, `effective_on`, from whose 00:00 UK time it has the meter. Rows that cannot be taken are
    written to `refused` with a column `reason` added. A row that says what is ahead already changes nothing, so a
    file can be brought in again. All is done in one transaction, in constant memory.

    :raises UnableToImport: if the header lacks a column, or the text is no CSV
    """
    rows = files.rows(lines=lines)
    header, names = files.header(rows=rows, wanted=_NEEDED, known=REGISTRATION_COLUMNS)
    if not any(name in names for name in _IDENTIFIERS):
        raise files.UnableToImport("The header lacks a column that names hubs: mpan, mprn or chf_id.")
    rejects = csv.writer(refused)
    rejects.writerow([*header, "reason"])
    reader = _Reader(names, today=_day(now))
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(_INCOMING)
        total, refusals = files.take_in(
            cursor=cursor, rows=rows, read=reader.read, refuse=rejects.writerow, tell=tell
        )
        tell(f"{total:,} rows read, looking for their hubs")
        cursor.execute("ANALYZE incoming")  # nobody else does it for a temporary table
        # from here on nothing takes effect, and no other import writes: what is judged stays so
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_REGISTERING])
        cursor.execute(_FOUND, {"gone": [int(status) for status in GONE]})
        cursor.execute("ANALYZE found")
        cursor.execute(_JUDGED)
        cursor.execute(_REPEATED)
        for written, reason in _refused():
            refusals += 1
            rejects.writerow([*json.loads(written), reason])
        tell(f"putting {total - refusals:,} changes in their place")
        cursor.execute(_UPSERT, {"now": now})
        added, replaced = cursor.fetchone()
        cursor.execute("DROP TABLE incoming, found, judged")
        # a file can be most of the table, and can be due before anybody else would look at it
        cursor.execute("ANALYZE hubs_changeofsupplier")
        result = Imported(total, added, replaced, refusals)
        audit.record(
            actor=actor, verb="registrations.imported", subject="registrations", now=now, facts=asdict(result)
        )
    return result


def has_due(*, now: datetime) -> bool:
    """Say whether a change of supplier should be in effect that is not."""
    return ChangeOfSupplier.objects.filter(applied_at=None, effective_on__lte=_day(now)).exists()


def lock() -> bool:
    """Keep every other writer of changes out until the caller's transaction ends; False where there is one."""
    [(mine,)] = sql.rows("SELECT pg_try_advisory_xact_lock(%(key)s)", {"key": _REGISTERING})
    return bool(mine)


def gather_due(*, after: int, limit: int, now: datetime) -> list[int]:
    """
    Put the next hubs above the CHF ID `after` with changes that are due into the temporary table `due_change`.

    Returns at most `limit` CHF IDs in order. The caller holds `lock`, and all this lives in its transaction.
    """
    sql.run("DROP TABLE IF EXISTS due_change", {})
    sql.run(_GATHER_DUE, {"today": _day(now), "after": after, "limit": limit})
    sql.run("ANALYZE due_change", {})
    return [hub for (hub,) in sql.rows("SELECT hub FROM due_change ORDER BY hub", {})]


def take_effect(*, now: datetime) -> None:
    """
    Give the gathered hubs to their gaining Suppliers, in the caller's transaction.

    Who was Lead and other before and who is now stands in the temporary table `changed_supplier` afterwards.
    """
    make_changed()
    sql.run(_TAKE_EFFECT, {})
    sql.run(_STAMP, {"now": now, "today": _day(now)})
    sql.run("ANALYZE changed_supplier", {})


def make_changed() -> None:
    """Make `changed_supplier` anew for the caller's transaction: hubs, and their Suppliers before and after."""
    sql.run("DROP TABLE IF EXISTS changed_supplier", {})
    sql.run(_CHANGED, {})


def _day(now: datetime) -> date:
    """Return the UK day: a change of today took effect at its first moment."""
    return now.astimezone(uk_time.LONDON).date()


def _refused() -> Iterator[tuple[str, str]]:
    """Yield what the rows say that were read and are refused all the same, each with its reason, in pages."""
    after = 0
    while found := sql.rows(_REFUSED, {"after": after}):
        for line, kind, role, refusal, first_line, written in found:
            yield written, _reason(kind, Role(role), refusal, line, first_line)
        after = found[-1][0]


def _reason(kind: str, role: Role, refusal: str, line: int, first_line: int | None) -> str:
    name = {"mpan": "MPAN", "mprn": "MPRN", "chf_id": "CHF ID"}[kind]
    if refusal == "repeated":
        return f"Row {line:,} names the same meter as row {first_line:,}, which was taken."
    return {
        "unknown": f"No hub with this {name} is known: check it against the inventory.",
        "several": f"More than one hub has this {name}: name the hub by its CHF ID.",
        "no meter": f"The hub has no {_METERS[role]} meter.",
        "has it": f"This Supplier has the {_METERS[role]} meter already.",
    }[refusal]


class _Change(NamedTuple):
    """The columns of `incoming`, without the line and text."""

    kind: str
    number: int
    role: int
    gaining: int
    effective_on: date


class _Reader:
    """Reads rows of a file of registrations."""

    def __init__(self, names: Sequence[str], *, today: date) -> None:
        self._width = len(names)
        self._places = {name: names.index(name) for name in REGISTRATION_COLUMNS if name in names}
        self._today = today
        suppliers = list(Supplier.objects.order_by("pk"))
        self._participants: Mapping[Role, Mapping[str, int]] = {
            Role.IMPORT: {s.import_participant_id: s.pk for s in suppliers if s.import_participant_id},
            Role.GAS: {s.gas_participant_id: s.pk for s in suppliers if s.gas_participant_id},
        }

    def read(self, row: Sequence[str]) -> _Change:
        """
        Return what a row says.

        :raises RefusedRow: with the first reason found
        """
        if len(row) != self._width:
            raise RefusedRow(f"The row has {len(row)} values where the header has {self._width}.")
        values = {name: row[place].strip() for name, place in self._places.items()}
        kind, number = self._identifier(values)
        role = self._role(kind, values.get("role", ""))
        participant = values["participant_id"].upper()
        gaining = self._participants[role].get(participant)
        if gaining is None:
            wanted = "an electricity import" if role == Role.IMPORT else "a gas"
            raise RefusedRow(f"“{participant[:40]}” is not {wanted} participant ID that the portal knows.")
        return _Change(kind, number, int(role), gaining, self._day(values["effective_on"]))

    def _identifier(self, values: Mapping[str, str]) -> tuple[str, int]:
        filled = [name for name in _IDENTIFIERS if values.get(name)]
        if len(filled) != 1:
            what = "names no hub" if not filled else f"fills {' and '.join(filled)}"
            raise RefusedRow(f"The row {what}: give one of mpan, mprn and chf_id.")
        [kind] = filled
        parse = {
            "mpan": identifiers.parse_mpan,
            "mprn": identifiers.parse_mprn,
            "chf_id": identifiers.parse_eui64,
        }[kind]
        try:
            return kind, parse(values[kind])
        except identifiers.InvalidIdentifier as reason:
            raise RefusedRow(str(reason)) from reason

    def _role(self, kind: str, text: str) -> Role:
        implied = _ROLE_OF.get(kind)
        if not text:
            if implied is None:
                raise RefusedRow(
                    "A CHF ID does not say which meter is meant: give import or gas as the role."
                )
            return implied
        role = _ROLES.get(text.lower())
        if role is None:
            raise RefusedRow(f"“{text[:40]}” is not a role: give import or gas.")
        if implied not in (None, role):
            raise RefusedRow(
                f"The role is {text.lower()}, but an {kind.upper()} is a number of {_METERS[_ROLE_OF[kind]]}."
            )
        return role

    def _day(self, text: str) -> date:
        try:
            day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
        except ValueError:
            day = None
        if day is None:
            raise RefusedRow(f"“{text[:40]}” is not a date: give one such as 2026-04-01.")
        if day < self._today:
            raise RefusedRow(f"{text} is past: a change takes effect today or later.")
        if day > self._today + FURTHEST:
            raise RefusedRow(f"{text} is more than a year ahead: check the year.")
        return day
