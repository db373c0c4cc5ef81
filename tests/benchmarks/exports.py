"""The whole list of a Supplier's hubs as a file, CSV and XLSX, against a bare COPY of the same columns."""

import tempfile
from typing import Any

from django.core.files.storage import default_storage
from django.db import connection
from django.test import override_settings

from portal import lists
from portal.ground import clock, sql
from scheduling.models import Export
from scheduling.operations import exports
from tests.benchmarks import database, meter
from tests.benchmarks import world as worlds
from tests.benchmarks.world import Tell, World

TO_ONE = """
UPDATE hubs_communicationshub SET import_supplier_id = %(supplier)s, gas_supplier_id = %(supplier)s
WHERE import_supplier_id IS DISTINCT FROM %(supplier)s OR gas_supplier_id IS DISTINCT FROM %(supplier)s
"""
BARE = """
COPY (SELECT chf_id, network_id, model_id, installed_version_id, status, payment_mode, lead_id
      FROM hubs_communicationshub ORDER BY chf_id) TO STDOUT (FORMAT csv)
"""


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """Measure files of a fleet of `hubs` that is one Supplier's."""
    world = worlds.make(hubs=fleet or hubs, room=hubs, tell=tell)
    tell("handing all hubs to one Supplier")
    sql.run(TO_ONE, {"supplier": world.supplier.pk})
    database.tidy("hubs_communicationshub", anew=False)
    costs: dict[str, list[meter.Cost]] = {"csv": [], "xlsx": []}
    sizes: dict[str, int] = {}
    limits: list[meter.Cost] = []
    rows = 0
    with tempfile.TemporaryDirectory() as folder, override_settings(MEDIA_ROOT=folder):
        for number in range(repeat):
            for kind, measured in costs.items():
                tell(f"run {number + 1}: {kind}")
                cost, made = _written(world, Export.Format(kind))
                measured.append(cost)
                sizes[kind], rows = made.size or 0, made.rows
            tell(f"run {number + 1}: bare COPY")
            limits.append(_bare())
    return {
        "figure": "exports",
        "hubs": rows,
        "repeat": repeat,
        "bytes": sizes["csv"],
        "measured": meter.median(costs["csv"]).as_measured(hubs=rows),
        "xlsx": {"bytes": sizes["xlsx"], **meter.median(costs["xlsx"]).as_measured(hubs=rows)},
        "limit": {"statement": "COPY of the same columns", **meter.median(limits).as_measured(hubs=rows)},
        **meter.ratio(costs=costs["csv"], limits=limits),
    }


def _written(world: World, kind: Export.Format) -> tuple[meter.Cost, Export]:
    export = exports.ask(
        supplier=world.supplier,
        name="hubs",
        subject="",
        query="",
        title="Hubs",
        kind=kind,
        expected=None,
        by=world.person,
        now=clock.now(),
    )
    with meter.measured() as cost:
        exports.make_next(source_of=lambda one: lists.source_of(one, clock.now()), clock=clock.now)
    export.refresh_from_db()
    if export.state != Export.State.DONE:
        raise database.UnableToMeasure(f"The export is {export.get_state_display()}: {export.error}")
    default_storage.delete(export.stored)
    return cost, export


def _bare() -> meter.Cost:
    with (
        meter.measured() as limit,
        tempfile.TemporaryFile() as file,
        connection.cursor() as cursor,
        cursor.copy(BARE) as copy,
    ):
        for block in copy:
            file.write(block)
    return limit
