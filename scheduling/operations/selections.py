"""Keep what a person chose: all remaining hubs, a filter, or a file of CHF IDs."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from django.db import transaction

from firmware.models import FirmwareRelease
from hubs.identifiers import InvalidIdentifier, parse_eui64
from hubs.models import SHOWN, Supplier
from portal.ground import sql
from scheduling.eligibility import Refusal
from scheduling.models import HubSelection, SelectionRow
from scheduling.queries import eligibility

if TYPE_CHECKING:
    from portal.models import User

BATCH = 5_000
LINE_LIMIT = 4_096
"""A line longer than this is no row of identifiers."""
HEADERS = {"chf id", "chf_id", "chfid", "chf", "hub", "eui-64", "eui64", "communications hub"}


class UnableToChoose(Exception):
    """The choice cannot be kept; the message says why and what to do."""


@transaction.atomic
def choose(
    *,
    supplier: Supplier,
    release: FirmwareRelease,
    criteria: Mapping[str, Sequence[int]],
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
    Keep a choice of the hubs whose CHF IDs a CSV file names in its first column, each row with its verdict.

    The file is read as a stream. A hub that is another Supplier's and one that does not exist get the same
    refusal, so that nobody learns of foreign hubs.

    :raises UnableToChoose: if the file is not text, or holds no row
    """
    selection = HubSelection(
        supplier=supplier,
        release=release,
        chosen_by=by,
        created_at=now,
        method=HubSelection.Method.FILE,
        file_name=name[:255],
    )
    selection.save(force_insert=True)
    rows = _rows(selection, _lines(file))
    while batch := list(islice(rows, BATCH)):
        SelectionRow.objects.bulk_create(batch)
    refused = _settle_rows(selection)
    if not refused and not selection.rows.exists():
        raise UnableToChoose("The file holds no rows. Give one CHF ID per line, in the first column.")
    return _judged(selection, refused, now)


def _judged(selection: HubSelection, refused: Counter[Refusal], now: datetime) -> HubSelection:
    verdicts = eligibility.judge(selection=selection, now=now)
    refused.update(verdicts.refused)
    selection.eligible = {str(network): hubs for network, hubs in sorted(verdicts.eligible.items())}
    selection.refused = {str(int(refusal)): hubs for refusal, hubs in sorted(refused.items())}
    selection.save()
    return selection


def _lines(file: BinaryIO) -> Iterator[str]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline=None)
    try:
        while line := text.readline(LINE_LIMIT):
            if len(line) == LINE_LIMIT and not line.endswith("\n"):
                while (rest := text.readline(LINE_LIMIT)) and not rest.endswith("\n"):
                    pass
            yield line.replace("\0", "\N{REPLACEMENT CHARACTER}")
    except UnicodeDecodeError as error:
        raise UnableToChoose(
            "The file is not text in UTF-8. Save it as “CSV UTF-8” and upload it again."
        ) from error
    finally:
        text.detach()


def _rows(selection: HubSelection, lines: Iterable[str]) -> Iterator[SelectionRow]:
    for number, line in enumerate(lines, start=1):
        cells = next(csv.reader([line]), [])
        cell = cells[0].strip() if cells else ""
        if not cell or (number == 1 and cell.lower() in HEADERS):
            continue
        row = SelectionRow(selection=selection, line=number, text=line.strip()[:200])
        try:
            row.hub = parse_eui64(cell)
        except InvalidIdentifier:
            row.refusal = Refusal.UNREADABLE
        yield row


def _settle_rows(selection: HubSelection) -> Counter[Refusal]:
    """Refuse repeated rows and hubs that the Supplier may not see; forget the latter's ids."""
    statements = (
        (
            """UPDATE scheduling_selectionrow later SET refusal = %(refusal)s
               FROM (SELECT hub, min(line) AS line FROM scheduling_selectionrow
                     WHERE selection_id = %(selection)s AND hub IS NOT NULL GROUP BY hub) first
               WHERE later.selection_id = %(selection)s AND later.hub = first.hub AND later.line > first.line""",
            Refusal.REPEATED,
        ),
        (
            """UPDATE scheduling_selectionrow row SET refusal = %(refusal)s, hub = NULL
               WHERE row.selection_id = %(selection)s AND row.hub IS NOT NULL AND row.refusal IS NULL
                 AND NOT EXISTS (
                     SELECT FROM hubs_communicationshub hub
                     WHERE hub.chf_id = row.hub AND hub.status = ANY (%(shown)s)
                       AND (hub.lead_id = %(supplier)s OR hub.other_id = %(supplier)s))""",
            Refusal.NOT_FOUND,
        ),
    )
    for statement, refusal in statements:
        sql.run(
            statement,
            {
                "selection": selection.pk,
                "supplier": selection.supplier_id,
                "shown": [int(status) for status in SHOWN],
                "refusal": refusal,
            },
        )
    counts = sql.rows(
        """SELECT refusal, count(*) FROM scheduling_selectionrow
           WHERE selection_id = %(selection)s AND refusal IS NOT NULL GROUP BY refusal""",
        {"selection": selection.pk},
    )
    return Counter({Refusal(refusal): count for refusal, count in counts})
