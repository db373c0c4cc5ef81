"""
Keep what a person chose: all remaining hubs, a filter, or a file of CHF IDs, MPANs and MPRNs.

A small file is read while its sender waits. A large one is kept, and read in portions by whoever the timetable
wakes: rows and how far they reach are committed together, so a reader that dies is followed by another that
doubles nothing and leaves nothing out.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import datetime, timedelta
from socket import gethostname
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connection, transaction

from firmware.models import FirmwareRelease
from hubs.identifiers import Kind
from hubs.models import SHOWN, Supplier
from portal.ground import logs, sql
from portal.ground.clock import Clock
from portal.ground.stopping import KeepGoing, always
from scheduling import sheets
from scheduling.eligibility import Refusal
from scheduling.models import HubSelection, SelectionFile, SelectionRow
from scheduling.queries import eligibility
from scheduling.sheets import Layout, SheetRow, UnreadableFile

if TYPE_CHECKING:
    from portal.models import User

logger = logging.getLogger(__name__)
LEASE = timedelta(seconds=settings.LEASE_SECONDS)
BATCH = 25_000
BATCH_CHARACTERS = 4_000_000
"""A batch of very long rows ends earlier, so that what is held does not depend on the file."""
SMALL = {sheets.Format.CSV: 500_000, sheets.Format.XLSX: 3_000_000}
"""Bytes of some 20,000 rows, a workbook's unpacked: up to there a file is read while its sender waits."""
DEATHS = 3
"""Readers of one file that may die, without one more row read, before it is given up."""
KINDS: Mapping[Kind, int] = {"chf_id": 1, "mpan": 2, "mprn": 3}
NO_ROWS = "The file holds no rows. Give one CHF ID, MPAN or MPRN per row, in one column."


class UnableToChoose(Exception):
    """The choice cannot be kept; the message says why and what to do."""


class LeaseLost(Exception):
    """Another reader has the file by now."""


class NotHere(Exception):
    """This host cannot see the folder that all hosts share, which says nothing about the file."""


@transaction.atomic
def choose(
    *,
    supplier: Supplier,
    release: FirmwareRelease,
    criteria: Mapping[str, Sequence[int | str]],
    by: "User",
    now: datetime,
) -> HubSelection:
    """Keep a choice of all remaining hubs, or of those that `criteria` name, facet by facet, and judge them."""
    criteria = {facet: list(values) for facet, values in criteria.items() if values}
    selection = HubSelection(
        supplier=supplier,
        release=release,
        chosen_by=by,
        created_at=now,
        method=HubSelection.Method.FILTER if criteria else HubSelection.Method.ALL,
        criteria=criteria,
    )
    return _judged(selection, Counter(), now)


@transaction.atomic
def choose_from_file(
    *, supplier: Supplier, release: FirmwareRelease, file: BinaryIO, name: str, by: "User", now: datetime
) -> HubSelection:
    """
    Keep a choice of the hubs whose CHF IDs, MPANs or MPRNs a CSV or XLSX file names, each row with its verdict.

    The file is read as a stream, at once. A hub, MPAN or MPRN that is another Supplier's and one that does not
    exist get the same refusal, so that nobody learns of foreign hubs.

    :raises UnableToChoose: if the file is no table of rows
    """
    try:
        layout = sheets.look(file=file)
        selection = _from_file(supplier, release, name, by, now)
        kept = _kept_file(selection, layout)
        kept.save(force_insert=True)
        for batch in _batches(sheets.rows(file=file, layout=layout), kept.column):
            _count(kept, batch)
            _stage(selection, batch)
    except UnreadableFile as fault:
        raise UnableToChoose(str(fault)) from fault
    if not kept.rows:
        raise UnableToChoose(NO_ROWS)
    kept.read_at = now
    return _settle(kept, now)


def receive(
    *, supplier: Supplier, release: FirmwareRelease, file: BinaryIO, name: str, by: "User", now: datetime
) -> HubSelection:
    """
    Keep a choice by a file, as `choose_from_file` does; a large file is left for `read_next`, its choice READING.

    :raises UnableToChoose: if the file is no table of rows
    """
    try:
        layout = sheets.look(file=file)
        size = sheets.size_of_text(file=file, format_=layout.format)
    except UnreadableFile as fault:
        raise UnableToChoose(str(fault)) from fault
    if size <= SMALL[layout.format]:
        return choose_from_file(supplier=supplier, release=release, file=file, name=name, by=by, now=now)
    file.seek(0)
    # The name is ours, and nothing that lies there is ever served.
    stored = default_storage.save(f"{FOLDER}/{uuid.uuid4()}", File(file))
    try:
        with transaction.atomic():
            selection = _from_file(supplier, release, name, by, now, state=HubSelection.State.READING)
            _kept_file(selection, layout, stored=stored).save(force_insert=True)
    except BaseException:
        default_storage.delete(stored)
        raise
    return selection


def _from_file(
    supplier: Supplier,
    release: FirmwareRelease,
    name: str,
    by: "User",
    now: datetime,
    state: HubSelection.State = HubSelection.State.JUDGED,
) -> HubSelection:
    selection = HubSelection(
        supplier=supplier,
        release=release,
        chosen_by=by,
        created_at=now,
        method=HubSelection.Method.FILE,
        state=state,
        file_name=name[:255],
    )
    selection.save(force_insert=True)
    return selection


def _kept_file(selection: HubSelection, layout: Layout, stored: str = "") -> SelectionFile:
    return SelectionFile(
        selection=selection,
        format=layout.format,
        delimiter=layout.delimiter,
        header=None if layout.header is None else sheets.as_line(cells=layout.header),
        column=layout.column,
        width=len(layout.header or ("",)),
        stored=stored,
        last_line=layout.after,
    )


def _judged(selection: HubSelection, refused: Counter[Refusal], now: datetime) -> HubSelection:
    verdicts = eligibility.judge(selection=selection, now=now)
    refused.update(verdicts.refused)
    selection.eligible = {str(network): hubs for network, hubs in sorted(verdicts.eligible.items())}
    selection.refused = {str(int(refusal)): hubs for refusal, hubs in sorted(refused.items())}
    selection.state = HubSelection.State.JUDGED
    selection.save()
    return selection


# -- reading what was kept -----------------------------------------------------------------------------------


CLAIM = """
UPDATE scheduling_selectionfile
SET lease_until = %(now)s + %(lease)s, token = token + 1, deaths = deaths + (lease_until IS NOT NULL)::int
WHERE selection_id = (
    SELECT selection_id FROM scheduling_selectionfile
    WHERE stored <> '' AND (lease_until IS NULL OR lease_until <= %(now)s)
    ORDER BY token, selection_id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING selection_id
"""
"""The file of which least was done, so that a large one does not keep the others waiting."""


def read_next(*, clock: Clock, keep_going: KeepGoing = always) -> bool:
    """
    Read a portion, half a lease long, of a kept file that no living reader has; judge it once it is read.

    Returns whether there was one. A file that is read, or cannot be, is deleted. Who is asked to stop hands the file
    back after the batch that it is at.
    """
    if not keep_going():
        return False
    began = clock()
    claimed = sql.rows(CLAIM, {"now": began, "lease": LEASE})
    if not claimed:
        return False
    kept = SelectionFile.objects.select_related("selection__release", "selection__supplier").get(
        pk=claimed[0][0]
    )
    selection = kept.selection
    with logs.bound(
        selection=str(kept.pk), release=selection.release.cpl_entry_id, supplier=selection.supplier_id
    ):
        try:
            _read_on(kept, clock, began, keep_going)
        except UnreadableFile as fault:
            _give_up(kept, str(fault), clock())
        except LeaseLost:
            logger.warning("the file of selection %s was taken over by another reader", kept.pk)
        except NotHere as error:
            logger.error(
                "%s cannot read files: give it every host's MEDIA_ROOT", gethostname(), exc_info=error
            )
            SelectionFile.objects.filter(pk=kept.pk, token=kept.token).update(lease_until=None)
            return False
        except SystemExit:  # broken off, which is no death: the next one goes on at once
            SelectionFile.objects.filter(pk=kept.pk, token=kept.token).update(lease_until=None)
            raise
    return True


def _read_on(kept: SelectionFile, clock: Clock, began: datetime, keep_going: KeepGoing) -> None:
    if kept.selection.state != HubSelection.State.READING:  # its reader died before it could tidy up
        _delete_file(kept)
        return
    if kept.deaths >= DEATHS:
        raise UnreadableFile(
            f"Reading the file failed {DEATHS} times at the same place, after {kept.rows:,} rows. Split it there and "
            "upload it in parts, or ask the release desk."
        )
    if kept.read_at is None and not _stage_portion(kept, clock, began, keep_going):
        return
    now = clock()
    if now - began > LEASE / 3 or not keep_going():
        _mine(kept, lease_until=None)  # judging gets a portion of its own
        return
    if not kept.rows:
        raise UnreadableFile(NO_ROWS)
    with transaction.atomic():
        _mine(kept, lease_until=now + LEASE)
        sql.run(
            "SELECT scheduling_selectionrow_looked_at()", {}
        )  # or the planner knows nothing of a million new rows
        _settle(kept, now)
    _delete_file(kept)


def _stage_portion(kept: SelectionFile, clock: Clock, began: datetime, keep_going: KeepGoing) -> bool:
    """Stage rows until the file or the portion ends; say whether it was the file."""
    with (
        _opened(kept) as file,
        closing(_read_ahead(_batches(_rows_left(kept, file), kept.column))) as batches,
    ):
        for batch in batches:
            now = clock()
            is_over = now - began > LEASE / 2 or not keep_going()
            _count(kept, batch)
            with transaction.atomic():
                _mine(
                    kept,
                    lease_until=None if is_over else now + LEASE,
                    rows=kept.rows,
                    last_line=kept.last_line,
                    width=kept.width,
                    deaths=0,
                )
                _stage(kept.selection, batch)
            if is_over:
                return False
    kept.read_at = clock()
    _mine(kept, read_at=kept.read_at)
    return True


def _rows_left(kept: SelectionFile, file: IO[bytes]) -> Iterator[SheetRow]:
    return sheets.rows(file=file, layout=_layout_of(kept), after=kept.last_line)


def _count(kept: SelectionFile, batch: "_Batch") -> None:
    kept.rows += batch.rows
    kept.last_line = batch.last_line
    kept.width = max(kept.width, batch.width)


def _mine(kept: SelectionFile, **changes: object) -> None:
    """
    Change the row of a file that this reader holds.

    :raises LeaseLost: if it does not hold it any more
    """
    if not SelectionFile.objects.filter(pk=kept.pk, token=kept.token).update(**changes):
        raise LeaseLost


def _opened(kept: SelectionFile) -> IO[bytes]:
    try:
        stored: IO[bytes] = default_storage.open(kept.stored).open()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and default_storage.exists(FOLDER):
            raise UnreadableFile("The file is no longer there. Upload it again.") from error
        raise NotHere from error  # an unmounted folder is an empty one
    return stored


def _layout_of(kept: SelectionFile) -> Layout:
    header = None if kept.header is None else tuple(sheets.cells_of(line=kept.header))
    return Layout(sheets.Format(kept.format), kept.delimiter, kept.column, header, 0)


def _give_up(kept: SelectionFile, reason: str, now: datetime) -> None:
    with suppress(LeaseLost):
        with transaction.atomic():
            _mine(kept, failure=reason, read_at=now)
            HubSelection.objects.filter(pk=kept.pk).update(state=HubSelection.State.UNREADABLE)
            SelectionRow.objects.filter(selection=kept.pk).delete()
        _delete_file(kept)


def _delete_file(kept: SelectionFile) -> None:
    default_storage.delete(kept.stored)
    SelectionFile.objects.filter(pk=kept.pk).update(stored="", lease_until=None)


# -- sweeping ------------------------------------------------------------------------------------------------

FOLDER = "selections"
FORGOTTEN = timedelta(hours=1)
"""A file is stored before its row: one that is younger may be waiting for it."""
# Found by leaping from selection to selection, since the key's check would cost each row that is inserted.
ORPHANS = """
WITH RECURSIVE kept (selection) AS (
    (SELECT selection_id FROM scheduling_selectionrow ORDER BY 1 LIMIT 1)
    UNION ALL
    SELECT following.selection_id FROM kept CROSS JOIN LATERAL (
        SELECT selection_id FROM scheduling_selectionrow WHERE selection_id > kept.selection ORDER BY 1 LIMIT 1
    ) following)
DELETE FROM scheduling_selectionrow WHERE selection_id IN (
    SELECT selection FROM kept
    WHERE NOT EXISTS (SELECT FROM scheduling_hubselection WHERE id = kept.selection))
"""


def sweep(*, now: datetime) -> int:
    """Delete files that no reader will ask for, and rows whose selection is gone; return how many files."""
    if rows := sql.run(ORPHANS, {}):
        logger.warning("deleted %s rows of files whose selections are gone", rows)
    try:
        names = default_storage.listdir(FOLDER)[1]
    except FileNotFoundError:  # nobody has uploaded a large file yet
        return 0
    files = {f"{FOLDER}/{name}" for name in names}
    left = files.difference(
        SelectionFile.objects.exclude(stored="").values_list("stored", flat=True).iterator()
    )
    swept = 0
    for name in sorted(left):
        with suppress(FileNotFoundError):  # a reader was quicker
            if default_storage.get_modified_time(name) < now - FORGOTTEN:
                default_storage.delete(name)
                swept += 1
    return swept


# -- rows ----------------------------------------------------------------------------------------------------


class _Batch(NamedTuple):
    """Rows to be staged together, as lines of COPY; `width` is the number of cells of the longest."""

    copy: str
    rows: int
    last_line: int
    width: int


def _batches(rows: Iterator[SheetRow], column: int) -> Iterator[_Batch]:
    """Write rows as text at once: a hundred thousand small objects would keep the garbage collector busy."""
    lines: list[str] = []
    characters = width = last_line = 0
    for row in rows:
        lines.append(line := _as_copied(row, column))
        characters += len(line)
        last_line = row.line
        if len(row.cells) > width:
            width = len(row.cells)
        if len(lines) >= BATCH or characters >= BATCH_CHARACTERS:
            yield _Batch("".join(lines), len(lines), last_line, width)
            lines.clear()
            characters = width = 0
    if lines:
        yield _Batch("".join(lines), len(lines), last_line, width)


def _read_ahead(batches: Iterator[_Batch]) -> Generator[_Batch, None, None]:
    """Yield batches, and read the next while PostgreSQL works on this one; two processors share the time."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = reader.submit(next, batches, None)
        while (batch := ahead.result()) is not None:
            ahead = reader.submit(next, batches, None)
            yield batch


_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _as_copied(row: SheetRow, column: int) -> str:
    """Write a row as COPY reads it: line, text, kind, number, refusal, is_doubtful."""
    cells = row.cells
    text = sheets.as_line(cells=cells)
    if "\\" in text or not text.isprintable():
        text = text.translate(_ESCAPED)
    if row.is_cut:
        return f"{row.line}\t{text}\t\\N\t\\N\t{Refusal.TOO_LONG:d}\tf\n"
    kind, number, refusal, is_doubtful = sheets.identify(cell=cells[column] if column < len(cells) else "")
    if kind is None:
        return f"{row.line}\t{text}\t\\N\t\\N\t{refusal:d}\tf\n"
    return f"{row.line}\t{text}\t{KINDS[kind]}\t{number}\t\\N\t{'t' if is_doubtful else 'f'}\n"


STAGING = (
    """CREATE TEMPORARY TABLE IF NOT EXISTS staged_row (
           line int, text text, kind smallint, number bigint, refusal smallint, is_doubtful boolean
       ) ON COMMIT DROP""",
    "TRUNCATE staged_row",
)
COPY_ROWS = "COPY staged_row (line, text, kind, number, refusal, is_doubtful) FROM STDIN"
# An MPAN is its import Supplier's and an MPRN its gas Supplier's; a CHF ID is both its Suppliers'. What is not
# found is not kept as a number, so that nothing here depends on whether a foreign one exists. Each kind is looked
# up at once, in the index's order.
INSERT_ROWS = f"""
WITH found AS MATERIALIZED (
    SELECT {KINDS["chf_id"]} AS kind, chf_id AS number, chf_id AS hub, 1 AS hubs FROM hubs_communicationshub
    WHERE chf_id = ANY (ARRAY(SELECT number FROM staged_row WHERE kind = {KINDS["chf_id"]}))
      AND status = ANY (%(shown)s) AND (lead_id = %(supplier)s OR other_id = %(supplier)s)
    UNION ALL SELECT {KINDS["mpan"]}, mpan, min(chf_id), count(*) FROM hubs_communicationshub
    WHERE mpan = ANY (ARRAY(SELECT number FROM staged_row WHERE kind = {KINDS["mpan"]}))
      AND status = ANY (%(shown)s) AND import_supplier_id = %(supplier)s GROUP BY mpan
    UNION ALL SELECT {KINDS["mprn"]}, mprn, min(chf_id), count(*) FROM hubs_communicationshub
    WHERE mprn = ANY (ARRAY(SELECT number FROM staged_row WHERE kind = {KINDS["mprn"]}))
      AND status = ANY (%(shown)s) AND gas_supplier_id = %(supplier)s GROUP BY mprn)
INSERT INTO scheduling_selectionrow (selection_id, line, text, hub, refusal, is_doubtful)
SELECT %(selection)s, staged.line, staged.text, CASE WHEN found.hubs = 1 THEN found.hub END,
       CASE WHEN staged.refusal IS NOT NULL THEN staged.refusal
            WHEN found.hubs IS NULL THEN {Refusal.NOT_FOUND}
            WHEN found.hubs > 1 THEN {Refusal.SEVERAL_HUBS} END,
       staged.is_doubtful
FROM staged_row staged LEFT JOIN found USING (kind, number)
ORDER BY staged.line
"""  # noqa: S608 - our own constants


def _stage(selection: HubSelection, batch: _Batch) -> None:
    """Keep rows, each with its hub or the reason why there is none."""
    with connection.cursor() as cursor:
        for statement in STAGING:
            cursor.execute(statement)
        with cursor.copy(COPY_ROWS) as copy:
            copy.write(batch.copy)
    sql.run(INSERT_ROWS, _terms(selection))


def _terms(selection: HubSelection) -> dict[str, Any]:
    return {
        "selection": selection.pk,
        "supplier": selection.supplier_id,
        "shown": [int(status) for status in SHOWN],
    }


REPEATED = f"""
UPDATE scheduling_selectionrow later SET refusal = {Refusal.REPEATED}
FROM (SELECT line, row_number() OVER (PARTITION BY hub ORDER BY line) AS mention
      FROM scheduling_selectionrow WHERE selection_id = %(selection)s AND hub IS NOT NULL) named
WHERE named.mention > 1 AND later.selection_id = %(selection)s AND later.line = named.line
"""  # noqa: S608 - our own constants
COUNTS = """
SELECT refusal, count(*), count(*) FILTER (WHERE is_doubtful)
FROM scheduling_selectionrow WHERE selection_id = %(selection)s GROUP BY refusal
"""


def _settle(kept: SelectionFile, now: datetime) -> HubSelection:
    """Refuse rows that name a hub again, whichever of its identifiers they use; then judge the hubs."""
    terms = {"selection": kept.pk}
    sql.run(REPEATED, terms)
    refused: Counter[Refusal] = Counter()
    for refusal, rows, doubtful in sql.rows(COUNTS, terms):
        if refusal is None:
            kept.doubtful = doubtful
        else:
            refused[Refusal(refusal)] = rows
    SelectionFile.objects.filter(pk=kept.pk).update(
        rows=kept.rows,
        last_line=kept.last_line,
        width=kept.width,
        doubtful=kept.doubtful,
        read_at=kept.read_at,
    )
    return _judged(kept.selection, refused, now)
