"""Bring in an inventory of hubs, and keep its versions true."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from hubs import identifiers
from hubs.models import GONE, FirmwareVersion, HubModel, HubStatus, Network, PaymentMode, Region, Supplier
from hubs.operations import files
from hubs.operations.counts import count_fleet
from hubs.operations.files import RefusedRow, UnableToImport, Writable
from portal.ground import audit, sql

if TYPE_CHECKING:
    from portal.models import User

KNOWN = "SELECT number FROM hubs_firmwareversion WHERE number = ANY (%(numbers)s::bigint[])"
# Raw SQL: one statement for all hubs of a lot of reports. The version is in no index, so these are HOT updates.
RECORD = """
UPDATE hubs_communicationshub hub SET installed_version_id = version.id
FROM unnest(%(hubs)s::bigint[], %(numbers)s::bigint[]) AS reported (chf_id, number)
JOIN hubs_firmwareversion version USING (number)
WHERE hub.chf_id = reported.chf_id AND hub.installed_version_id <> version.id
"""


def record_versions(*, versions: Mapping[int, int]) -> int:
    """
    Set the installed version of hubs, by CHF ID, to the file versions that they reported.

    Hubs whose inventory says so already are left alone, and so are those whose report is of no 32-bit version:
    one of them must not hold up the others. Returns how many were corrected.
    """
    versions = {hub: number for hub, number in versions.items() if 0 <= number <= 0xFFFFFFFF}
    if not versions:
        return 0
    different = sorted(set(versions.values()))
    known = {number for (number,) in sql.rows(KNOWN, {"numbers": different})}
    # only what is missing: each attempt to insert uses up one of the few small ids, also one that conflicts
    if missing := [number for number in different if number not in known]:
        FirmwareVersion.objects.bulk_create(
            [FirmwareVersion(number=number) for number in missing], ignore_conflicts=True
        )
    # in key order, as everything that locks hubs does
    hubs = sorted(versions)
    terms = {"hubs": sql.numbers(hubs), "numbers": sql.numbers([versions[hub] for hub in hubs])}
    return sql.run(RECORD, terms)


INVENTORY_COLUMNS = (
    "chf_id",
    "gpf_id",
    "network",
    "model",
    "installed_version",
    "hardware_version",
    "region",
    "status",
    "payment_mode",
    "mpan",
    "mprn",
    "import_supplier",
    "gas_supplier",
    "electricity_commissioned",
    "postcode",
)
"""The columns of an inventory file, in any order, by their names in its first line; others are ignored."""
NEW_VERSIONS_LIMIT = 1_000
"""Versions never seen before in one file; more mean that something else stands in that column."""
_VERSION = re.compile(r"[0-9A-Fa-f]{8}")
_HARDWARE = re.compile(r"[0-9]{1,5}")
_LARGEST_HARDWARE = 0x7FFF
_TRUTHS = {
    "true": True,
    "yes": True,
    "y": True,
    "1": True,
    "false": False,
    "no": False,
    "n": False,
    "0": False,
}

# Raw SQL below: a file of millions is put in its place by five statements.
_INCOMING = """
    CREATE TEMPORARY TABLE incoming (
        line bigint, chf_id bigint, gpf_id bigint, network_id smallint, model_id smallint,
        version_number bigint, hardware_version smallint, region smallint, status smallint,
        payment_mode smallint, mpan bigint, mprn bigint, import_supplier_id smallint,
        gas_supplier_id smallint, electricity_commissioned boolean, postcode text, written text
    );
    CREATE TEMPORARY TABLE repeated (line bigint, first_line bigint, written text)
"""
_REPEATED = """
    WITH seen AS (
        SELECT line, first_value(line) OVER (PARTITION BY chf_id ORDER BY line) AS first_line FROM incoming
    ), taken_out AS (
        DELETE FROM incoming USING seen WHERE incoming.line = seen.line AND seen.line > seen.first_line
        RETURNING incoming.line, seen.first_line, incoming.written
    )
    INSERT INTO repeated SELECT * FROM taken_out
"""
_SHOW_REPEATED = "SELECT line, first_line, written FROM repeated WHERE line > %s ORDER BY line LIMIT 10000"
_NEW_VERSIONS = """
    SELECT DISTINCT version_number FROM incoming
    WHERE NOT EXISTS (SELECT FROM hubs_firmwareversion WHERE number = version_number)
    ORDER BY version_number LIMIT %s
"""
_ADD_VERSIONS = """
    INSERT INTO hubs_firmwareversion (number) SELECT * FROM unnest(%s::bigint[]) ON CONFLICT DO NOTHING
"""
# Nothing is known of a household whose hub has gone: nobody is to find the one by the other.
_FORGET_HOUSEHOLDS = (
    "UPDATE incoming SET mpan = NULL, mprn = NULL, postcode = '' WHERE status = ANY (%s::int[])"
)
_UPSERT = """
    WITH written AS (
        INSERT INTO hubs_communicationshub AS hub (
            chf_id, gpf_id, network_id, model_id, installed_version_id, hardware_version, region, status,
            payment_mode, mpan, mprn, import_supplier_id, gas_supplier_id, electricity_commissioned, postcode)
        SELECT chf_id, gpf_id, network_id, model_id, version.id, hardware_version, region, status,
               payment_mode, mpan, mprn, import_supplier_id, gas_supplier_id, electricity_commissioned,
               postcode
        FROM incoming JOIN hubs_firmwareversion AS version ON version.number = version_number
        ORDER BY chf_id
        ON CONFLICT (chf_id) DO UPDATE SET
            gpf_id = excluded.gpf_id, network_id = excluded.network_id, model_id = excluded.model_id,
            installed_version_id = excluded.installed_version_id,
            hardware_version = excluded.hardware_version, region = excluded.region,
            status = excluded.status, payment_mode = excluded.payment_mode, mpan = excluded.mpan,
            mprn = excluded.mprn, import_supplier_id = excluded.import_supplier_id,
            gas_supplier_id = excluded.gas_supplier_id,
            electricity_commissioned = excluded.electricity_commissioned, postcode = excluded.postcode
        WHERE (hub.gpf_id, hub.network_id, hub.model_id, hub.installed_version_id, hub.hardware_version,
               hub.region, hub.status, hub.payment_mode, hub.mpan, hub.mprn, hub.import_supplier_id,
               hub.gas_supplier_id, hub.electricity_commissioned, hub.postcode)
            IS DISTINCT FROM
              (excluded.gpf_id, excluded.network_id, excluded.model_id, excluded.installed_version_id,
               excluded.hardware_version, excluded.region, excluded.status, excluded.payment_mode,
               excluded.mpan, excluded.mprn, excluded.import_supplier_id, excluded.gas_supplier_id,
               excluded.electricity_commissioned, excluded.postcode)
        RETURNING hub.xmax = 0 AS is_new
    )
    SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the rows of an inventory, in numbers."""

    rows: int
    added: int
    changed: int
    refused: int
    mpan_warnings: int
    mprn_warnings: int

    @property
    def unchanged(self) -> int:
        """Rows that say what was known already."""
        return self.rows - self.added - self.changed - self.refused


def import_inventory(
    *,
    lines: Iterable[str],
    refused: Writable,
    actor: "User | None",
    now: datetime,
    tell: Callable[[str], None] = lambda _: None,
) -> Imported:
    """
    Bring in an inventory of hubs: add those that are new, change those that differ, by CHF ID.

    `lines` are those of a CSV file with a header (see `INVENTORY_COLUMNS`). Rows that cannot be taken
    are written to `refused` with a column `reason` added. Check digits that fail are counted, and the
    rows taken. All is done in one transaction, in constant memory, and the fleet is counted afterwards.

    :raises UnableToImport: if the header lacks a column, or the text is no CSV
    """
    rows = files.rows(lines=lines)
    header, names = files.header(rows=rows, wanted=INVENTORY_COLUMNS)
    rejects = csv.writer(refused)
    rejects.writerow([*header, "reason"])
    reader = _Reader(names)
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(_INCOMING)
        total, refusals = files.take_in(
            cursor=cursor, rows=rows, read=reader.read, refuse=rejects.writerow, tell=tell
        )
        tell(f"{total:,} rows read, looking for repeated CHF IDs")
        for line, first_line, written in _repeated(cursor):
            refusals += 1
            reason = f"Row {line:,} names the same CHF ID as row {first_line:,}, which was taken."
            rejects.writerow([*json.loads(written), reason])
        _add_versions(cursor)
        tell(f"putting {total - refusals:,} hubs in their place")
        cursor.execute(_FORGET_HOUSEHOLDS, [[int(status) for status in GONE]])
        cursor.execute(_UPSERT)
        added, changed = cursor.fetchone()
        cursor.execute("DROP TABLE incoming, repeated")
        result = Imported(total, added, changed, refusals, reader.mpan_warnings, reader.mprn_warnings)
        audit.record(
            actor=actor, verb="inventory.imported", subject="inventory", now=now, facts=asdict(result)
        )
    tell("counting the fleet")
    count_fleet(now=now)
    return result


def _repeated(cursor: CursorWrapper) -> Iterator[tuple[int, int, str]]:
    """Take the rows out that repeat a CHF ID; yield their number, that of the first, and what they say."""
    cursor.execute("ANALYZE incoming")  # nobody else does it for a temporary table
    cursor.execute(_REPEATED)
    line = 0
    while True:
        cursor.execute(_SHOW_REPEATED, [line])
        found = cursor.fetchall()
        if not found:
            return
        yield from found
        line = found[-1][0]


def _add_versions(cursor: CursorWrapper) -> None:
    cursor.execute(_NEW_VERSIONS, [NEW_VERSIONS_LIMIT + 1])
    numbers = [number for (number,) in cursor.fetchall()]
    if len(numbers) > NEW_VERSIONS_LIMIT:
        raise UnableToImport(
            f"The column installed_version has more than {NEW_VERSIONS_LIMIT:,} versions that were never"
            " seen before: it seems to hold something else."
        )
    cursor.execute(_ADD_VERSIONS, [numbers])


def _plain(text: str) -> str:
    """Return what is compared of a name: letters and digits, in lower case."""
    return "".join(filter(str.isalnum, text)).lower()


class _Reader:
    """Reads rows of an inventory into the columns of `incoming`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.mpan_warnings = 0
        self.mprn_warnings = 0
        self._width = len(names)
        self._places = [names.index(name) for name in INVENTORY_COLUMNS]
        self._networks = {
            _plain(word): network.pk
            for network in Network.objects.order_by("pk")
            for word in (network.name, network.code)
        }
        self._network_names = [network.code for network in Network.objects.order_by("pk")]
        self._models = {model.name: model.pk for model in HubModel.objects.order_by("pk")}
        suppliers = list(Supplier.objects.order_by("pk"))
        self._importers = {s.import_participant_id: s.pk for s in suppliers if s.import_participant_id}
        self._gas = {s.gas_participant_id: s.pk for s in suppliers if s.gas_participant_id}
        self._regions = _choices(Region)
        self._statuses = _choices(HubStatus)
        self._payment_modes = _choices(PaymentMode)

    def read(self, row: Sequence[str]) -> tuple[Any, ...]:
        """
        Return the row's values in the order of the columns of `incoming`, without the line and text.

        :raises RefusedRow: with the first reason found
        """
        if len(row) != self._width:
            raise RefusedRow(f"The row has {len(row)} values where the header has {self._width}.")
        chf, gpf, network, model, version, hardware, region, status, payment, mpan, mprn, *rest = (
            row[place].strip() for place in self._places
        )
        importer, gas, commissioned, postcode = rest
        try:
            chf_id, gpf_id = identifiers.parse_eui64(chf), identifiers.parse_eui64(gpf)
            mpan_number = identifiers.parse_mpan(mpan) if mpan else None
            mprn_number = identifiers.parse_mprn(mprn) if mprn else None
        except identifiers.InvalidIdentifier as reason:
            raise RefusedRow(str(reason)) from reason
        if not _VERSION.fullmatch(version):
            raise RefusedRow(f"“{version[:40]}” is not a firmware version: it needs 8 hexadecimal digits.")
        if not _HARDWARE.fullmatch(hardware) or int(hardware) > _LARGEST_HARDWARE:
            raise RefusedRow(f"“{hardware[:40]}” is not a hardware version from 0 to {_LARGEST_HARDWARE}.")
        is_commissioned = _TRUTHS.get(commissioned.lower())
        if is_commissioned is None:
            raise RefusedRow(f"electricity_commissioned is “{commissioned[:40]}”: give yes or no.")
        import_supplier = _known(self._importers, importer.upper(), "an electricity import participant ID")
        gas_supplier = _known(self._gas, gas.upper(), "a gas participant ID")
        if import_supplier is None and gas_supplier is None:
            raise RefusedRow("The hub has no Supplier: give import_supplier, gas_supplier or both.")
        if is_commissioned and import_supplier is None:
            raise RefusedRow("electricity_commissioned is yes, but import_supplier is empty.")
        if len(postcode) > 8 or not postcode.isprintable():
            raise RefusedRow(f"“{postcode[:40]}” is not a postcode.")
        values = (
            chf_id,
            gpf_id,
            _one_of(self._networks, network, "a network", self._network_names),
            _one_of(self._models, model, "a hub model that the portal knows", None),
            int(version, 16),
            int(hardware),
            _one_of(self._regions, region, "a region", Region.labels),
            _one_of(self._statuses, status, "a status", HubStatus.labels),
            _one_of(self._payment_modes, payment, "a payment mode", PaymentMode.labels),
            mpan_number,
            mprn_number,
            import_supplier,
            gas_supplier,
            is_commissioned,
            postcode.upper(),
        )
        self.mpan_warnings += mpan_number is not None and not identifiers.mpan_check_digit_holds(mpan_number)
        self.mprn_warnings += mprn_number is not None and not identifiers.mprn_check_digits_hold(mprn_number)
        return values


def _choices(choices: type[IntEnum]) -> dict[str, int]:
    words = ((choice.name, getattr(choice, "label", ""), choice.value) for choice in choices)
    return {_plain(word): value for name, label, value in words for word in (name, label)}


def _one_of(known: Mapping[str, int], text: str, what: str, names: Sequence[str] | None) -> int:
    number = known.get(text) or known.get(_plain(text))
    if number is None:
        choice = f": give one of {', '.join(names)}" if names else ""
        raise RefusedRow(f"“{text[:60]}” is not {what}{choice}.")
    return number


def _known(known: Mapping[str, int], text: str, what: str) -> int | None:
    if not text:
        return None
    if text not in known:
        raise RefusedRow(f"“{text[:40]}” is not {what} that the portal knows.")
    return known[text]
