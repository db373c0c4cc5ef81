"""Making a fleet, against a bare COPY of the same rows into tables with a primary key and nothing else."""

from typing import Any

from django.core.management import call_command
from django.db import connection

from tests.benchmarks import database, meter
from tests.benchmarks.world import SEED, Tell

HUBS = "hubs_communicationshub"
FLEET = "modelled_fleet_fleethub"


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """Measure `load_fleet`, its indexes, counts and tidying included."""
    costs: list[meter.Cost] = []
    limits: list[meter.Cost] = []
    for number in range(repeat):
        tell(f"run {number + 1}: load_fleet")
        with meter.measured() as cost:
            call_command("load_fleet", hubs=hubs, seed=SEED, quiet=True, replace=number > 0)
        costs.append(cost)
        tell(f"run {number + 1}: bare COPY")
        limits.append(_bare_copy())
    return {
        "figure": "fleet",
        "hubs": hubs,
        "repeat": repeat,
        "measured": meter.median(costs).as_measured(hubs=hubs),
        "limit": {
            "statement": "COPY of the same rows, primary keys alone",
            **meter.median(limits).as_measured(hubs=hubs),
        },
        **meter.ratio(costs=costs, limits=limits),
    }


def _bare_copy() -> meter.Cost:
    columns = _stored_columns(HUBS)
    with (
        database.copied(source=HUBS, columns=columns) as hubs,
        database.copied(source=FLEET) as fleet,
        database.twin(table=HUBS, indexes=False) as bare_hubs,
        database.twin(table=FLEET, indexes=False) as bare_fleet,
    ):
        with meter.measured() as limit:
            database.copy_in(target=bare_hubs, file=hubs, columns=columns)
            database.copy_in(target=bare_fleet, file=fleet)
        return limit


def _stored_columns(table: str) -> list[str]:
    """Return the columns that the database does not work out itself."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
            [table],
        )
        return [name for (name,) in cursor.fetchall()]
