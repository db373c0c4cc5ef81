"""A file of changes of supplier, read and taking effect, against a bare COPY of the rows that are kept."""

import csv
import io
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from typing import IO, Any

from django.db import connection

from hubs.identifiers import format_eui64, format_mpan
from hubs.models import SHOWN, ChangeOfSupplier, Supplier
from hubs.operations import REGISTRATION_COLUMNS, import_registrations
from portal.ground import clock, uk_time
from scheduling.models import Booking, Deployment
from scheduling.operations import bookings, registrations
from scheduling.queries.plans import Timing
from tests.benchmarks import database, meter
from tests.benchmarks import world as worlds
from tests.benchmarks.world import Tell

ROWS = "hubs_changeofsupplier"
ELECTRIC = """
SELECT chf_id, mpan, import_supplier_id FROM hubs_communicationshub
WHERE import_supplier_id IS NOT NULL AND mpan IS NOT NULL AND status = ANY (%(shown)s)
ORDER BY hashint8(chf_id), chf_id LIMIT %(limit)s
"""


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """
    Measure a file of `hubs` rows, in no order, and the night in which all of them take effect.

    The largest Supplier's hubs are booked before, so that their deployments go along. Measured once: the night
    cannot be had twice.
    """
    fleet = fleet or hubs + hubs // 2
    world = worlds.make(hubs=fleet, room=2 * fleet, tell=tell)
    tell("booking the largest Supplier's hubs")
    bookings.book(
        selection=world.choose(), timing=Timing(Booking.Plan.EARLIEST), by=world.person, clock=clock.now
    )
    now = clock.now()
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file:
        tell(f"writing a file of {hubs:,} rows")
        rows = _write(file, hubs, now.astimezone(uk_time.LONDON).date())
        size = file.tell()
        file.seek(0)
        tell("bringing it in")
        with meter.measured() as brought:
            result = import_registrations(lines=file, refused=io.StringIO(), actor=None, now=now)
    if (result.added, result.refused) != (rows, 0):
        raise database.UnableToMeasure(f"Of {rows:,} rows not all were taken: {result}.")
    tell("bare COPY")
    with database.copied(source=ROWS) as kept, database.twin(table=ROWS) as bare, meter.measured() as limit:
        database.copy_in(target=bare, file=kept)
    tell("taking effect")
    changed = 0
    with meter.measured() as night:
        while done := registrations.take_effect(now=now):
            changed += done
    carried = Deployment.objects.filter(ending="carried_over").count()
    if changed != rows or ChangeOfSupplier.objects.filter(applied_at=None).exists():
        raise database.UnableToMeasure(f"{changed:,} of {rows:,} changes took effect.")
    return {
        "figure": "registrations",
        "hubs": rows,
        "fleet": fleet,
        "bytes": size,
        "measured": brought.as_measured(hubs=rows),
        "taking effect": {"deployments": carried, **night.as_measured(hubs=rows)},
        "limit": {
            "statement": "COPY of the same rows, same indexes and constraints",
            **limit.as_measured(hubs=rows),
        },
        **meter.ratio(costs=[brought], limits=[limit]),
    }


def _write(file: IO[str], number: int, day: date) -> int:
    """Write a row for each hub: its import meter goes to the next Supplier; return how many there are."""
    suppliers = list(Supplier.objects.exclude(import_participant_id=None).order_by("pk"))
    follows = {
        supplier.pk: gaining.import_participant_id
        for supplier, gaining in zip(suppliers, suppliers[1:] + suppliers[:1], strict=True)
    }
    writer = csv.DictWriter(file, REGISTRATION_COLUMNS)
    writer.writeheader()
    rows = 0
    for rows, (chf_id, mpan, supplier) in enumerate(_hubs(number), 1):
        named = (
            {"mpan": format_mpan(mpan)} if rows % 2 else {"chf_id": format_eui64(chf_id), "role": "import"}
        )
        writer.writerow({**named, "participant_id": follows[supplier], "effective_on": day.isoformat()})
    return rows


def _hubs(number: int) -> Iterator[Sequence[int]]:
    """Yield hubs with electricity without ever holding them, so that no memory is left behind."""
    terms = {"limit": number, "shown": [int(status) for status in SHOWN]}
    with tempfile.TemporaryFile("w+b") as file:
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY ({ELECTRIC}) TO STDOUT", terms) as copy,
        ):
            for block in copy:
                file.write(block)
        file.seek(0)
        for line in io.TextIOWrapper(file):
            yield [int(cell) for cell in line.split("\t")]
