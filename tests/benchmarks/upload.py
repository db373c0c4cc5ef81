"""Choosing hubs by a file of identifiers, received to previewed, against a bare COPY of the rows that are kept."""

import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any

from django.db import connection

from hubs.identifiers import format_eui64, format_mpan
from hubs.models import SHOWN
from portal.ground import clock
from scheduling.eligibility import Refusal
from scheduling.models import Booking, HubSelection
from scheduling.operations import selections
from scheduling.queries import previews
from scheduling.queries.plans import Timing
from scheduling.views.downloads import xlsx_blocks
from tests.benchmarks import database, meter, upload_hostile
from tests.benchmarks import world as worlds
from tests.benchmarks.upload_hostile import Hub
from tests.benchmarks.world import Tell, World

ROWS = "scheduling_selectionrow"
SMALLEST_FLEET = 100_000
HOSTILE = 50_000
"""Rows, at most, of the file with every mistake in it."""
FLEET_PER_ROW = 4
"""The largest Supplier sees more than a quarter of the fleet; nine rows in ten are hubs of its own."""
OWN = """
SELECT chf_id, CASE WHEN import_supplier_id = %(supplier)s THEN mpan END,
       CASE WHEN gas_supplier_id = %(supplier)s THEN mprn END
FROM hubs_communicationshub
WHERE (lead_id = %(supplier)s OR other_id = %(supplier)s) AND status = ANY (%(shown)s)
ORDER BY hashint8(chf_id), chf_id LIMIT %(limit)s
"""
FOREIGN = """
SELECT chf_id FROM hubs_communicationshub
WHERE lead_id <> %(supplier)s AND other_id IS DISTINCT FROM %(supplier)s LIMIT %(limit)s
"""
Row = tuple[str, str]
HEADER: Row = ("CHF ID, MPAN or MPRN", "Note")


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """Measure files of `hubs` rows, nine in ten of them hubs of the largest Supplier of the fleet."""
    fleet = fleet or max(SMALLEST_FLEET, FLEET_PER_ROW * hubs)
    world = worlds.make(hubs=fleet, room=2 * hubs, tell=tell)
    expected: Counter[str] = Counter()
    costs: dict[str, list[meter.Cost]] = {"csv": [], "xlsx": []}
    copies: list[meter.Cost] = []
    verdicts: dict[str, int] = {}
    with tempfile.TemporaryFile() as csv_file, tempfile.TemporaryFile() as xlsx_file:
        tell(f"writing files of {hubs:,} rows")
        _write_csv(csv_file, _rows(world, hubs, expected))
        _write_xlsx(xlsx_file, _rows(world, hubs, Counter()))
        sizes = {"csv": csv_file.tell(), "xlsx": xlsx_file.tell()}
        for number in range(repeat):
            for name, file in (("csv", csv_file), ("xlsx", xlsx_file)):
                tell(f"run {number + 1}: {name}, {sizes[name] / 1e6:.0f} MB")
                cost, selection = _received_to_previewed(world, file, f"hubs.{name}")
                costs[name].append(cost)
                verdicts = _verdicts(selection)
                _compare(verdicts, expected)
                if name == "csv":
                    tell(f"run {number + 1}: bare COPY")
                    copies.append(_bare_copy())
                _forget(selection)
    tell("the hostile files")
    hostile = upload_hostile.run(
        own=lambda: _own(world, min(hubs, HOSTILE) // 2),
        foreign=_foreign(world, max(hubs // 30, 1)),
        received=lambda file, name: _received_to_previewed(world, file, name),
        forget=_forget,
    )
    return {
        "figure": "upload",
        "hubs": hubs,
        "fleet": fleet,
        "repeat": repeat,
        "bytes": sizes["csv"],
        "verdicts": verdicts,
        "measured": meter.median(costs["csv"]).as_measured(hubs=hubs),
        "xlsx": {"bytes": sizes["xlsx"], **meter.median(costs["xlsx"]).as_measured(hubs=hubs)},
        "limit": {
            "statement": "COPY of the same rows, same indexes and constraints",
            **meter.median(copies).as_measured(hubs=hubs),
        },
        **meter.ratio(costs=costs["csv"], limits=copies),
        "hostile": hostile,
    }


def _received_to_previewed(world: World, file: IO[bytes], name: str) -> tuple[meter.Cost, HubSelection]:
    with meter.measured() as cost:
        selection = selections.receive(
            supplier=world.supplier,
            release=world.release,
            file=file,
            name=name,
            by=world.person,
            now=clock.now(),
        )
        while selections.read_next(clock=clock.now):
            pass
        selection.refresh_from_db()
        previews.preview(selection=selection, timing=Timing(Booking.Plan.EARLIEST), now=clock.now())
    return cost, selection


def _rows(world: World, number: int, expected: Counter[str]) -> Iterator[Row]:
    """Yield rows of every kind, and count what has to become of them."""
    foreign = _foreign(world, max(number // 30, 1))
    own, wanted = 0, number - number // 10
    for chf_id, mpan, mprn in _own(world, wanted):
        own += 1
        expected["own"] += 1
        text = format_eui64(chf_id)
        if own % 8 == 1 and mpan:
            yield format_mpan(mpan), "an MPAN"
        elif own % 8 == 2 and mprn:
            yield f"{mprn}", "an MPRN"
        else:
            yield (
                (text, text.lower(), text.replace("-", ":"), f" '{text.replace('-', '')}")[own % 4],
                "its note",
            )
        if own % 9 == 0:  # one in ten is none of its hubs
            kind = ("foreign", "unknown", "unreadable", "repeated")[own // 9 % 4]
            expected[kind] += 1
            yield (
                {
                    "foreign": format_eui64(foreign[own % len(foreign)]),
                    "unknown": f"FF{own:014X}",
                    "unreadable": f"nonsense {own}",
                    "repeated": text,
                }[kind],
                kind,
            )
    if own < wanted:
        raise database.UnableToMeasure(
            f"The largest Supplier of this fleet sees {own:,} hubs, fewer than {wanted:,}: ask for a "
            "larger one with --fleet."
        )


def _own(world: World, limit: int) -> Iterator[Hub]:
    """Yield hubs that the Supplier sees, from all over the fleet."""
    parameters = {
        "supplier": world.supplier.pk,
        "shown": [int(status) for status in SHOWN],
        "limit": limit,
    }
    for chf_id, mpan, mprn in _streamed(OWN, parameters):
        yield Hub(chf_id, mpan, mprn)


def _foreign(world: World, limit: int) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(FOREIGN, {"supplier": world.supplier.pk, "limit": limit})
        return [chf_id for (chf_id,) in cursor.fetchall()]


def _streamed(statement: str, parameters: dict[str, Any]) -> Iterator[Sequence[Any]]:
    """Yield what a statement answers without ever holding it, so that no memory is left behind."""
    with tempfile.TemporaryFile("w+b") as file:
        with connection.cursor() as cursor, cursor.copy(f"COPY ({statement}) TO STDOUT", parameters) as copy:
            for block in copy:
                file.write(block)
        file.seek(0)
        for line in io.TextIOWrapper(file):
            yield [None if cell == "\\N" else int(cell) for cell in line.rstrip("\n").split("\t")]


def _write_csv(file: IO[bytes], rows: Iterator[Row]) -> None:
    file.write(f'"{HEADER[0]}",{HEADER[1]}\r\n'.encode())
    for cells in rows:
        file.write(f"{cells[0]},{cells[1]}\r\n".encode())


def _write_xlsx(file: IO[bytes], rows: Iterator[Row]) -> None:
    def with_header() -> Iterator[Row]:
        yield HEADER
        yield from rows

    for block in xlsx_blocks(rows=with_header()):
        file.write(block)


def _verdicts(selection: HubSelection) -> dict[str, int]:
    return {"eligible": sum(selection.eligible.values())} | {
        Refusal(int(refusal)).name.lower(): rows for refusal, rows in selection.refused.items()
    }


def _compare(verdicts: dict[str, int], expected: Counter[str]) -> None:
    """Account for every row."""
    wanted = {
        "not_found": expected["foreign"] + expected["unknown"],
        "unreadable": expected["unreadable"],
        "repeated": expected["repeated"],
    }
    found = {name: verdicts.get(name, 0) for name in wanted}
    if found != wanted or sum(verdicts.values()) != expected.total():
        raise database.UnableToMeasure(
            f"The verdicts {verdicts} do not account for the rows {dict(expected)}."
        )


def _bare_copy() -> meter.Cost:
    with database.copied(source=ROWS) as rows, database.twin(table=ROWS) as bare:
        with meter.measured() as limit:
            database.copy_in(target=bare, file=rows)
        return limit


def _forget(selection: HubSelection) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {ROWS}")
    selection.delete()
