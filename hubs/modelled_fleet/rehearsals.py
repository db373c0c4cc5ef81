"""
Make a fleet for a rehearsal: every hub may take the release, and those that it breaks are known from the seed.

Unlike an ordinary fleet (`operations.load_fleet`) it has no hub that nobody could book: each is commissioned, runs a
version over which the release may be installed, and has one Supplier for everything. Nor has it hubs that can never be
reached: they say nothing of a release, and are asked every few minutes for days.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from django.db import transaction

from hubs.modelled_fleet.models import Defect, FleetHub, NetworkProfile
from hubs.models import CommunicationsHub, HubStatus, PaymentMode, Region
from hubs.operations import count_fleet
from portal.ground import sql

DRAW = 1 << 16
"""Draws are 16-bit: shares are rounded to 1/65536."""
CHUNK = 250_000
FIRST = 0x0002_0000_0000_0000
"""An address block of nobody's: every hub has two addresses in it."""
BASELINE_SILENT = 0.1
"""Of the hubs that go wrong whatever is sent to them, how many say nothing; the others report that they failed."""


class UnableToRehearse(Exception):
    """The fleet of a rehearsal cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Hubs that are alike, by the ids of what they are, and how many of them there are beside the others."""

    network: int
    model: int
    version: int
    version_number: int
    hardware: int
    weight: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What a version does to a share of the hubs that activate it; see `Defect`."""

    version: int
    share: float
    kind: str
    network: int | None = None
    model: int | None = None


# Raw SQL: millions of hubs are made where they stay, each from a hash of its number and the seed, in the order of
# their keys. OFFSET 0 keeps the draws apart, or the planner works them out once for every place that uses them.
MAKE = """
WITH drawn AS MATERIALIZED (
    SELECT %(first)s + i * 2 AS chf_id,
           width_bucket((hash & 65535)::int, %(kind_lows)s::int[]) AS kind,
           width_bucket(((hash >> 16) & 65535)::int, %(supplier_lows)s::int[]) AS supplier,
           1 + ((hash >> 32) & 65535) %% %(regions)s AS region
    FROM (SELECT i, hashint8extended(i, %(seed)s) AS hash
          FROM generate_series(%(low)s::bigint, %(high)s::bigint) AS i OFFSET 0) hashed),
known AS (
    INSERT INTO hubs_communicationshub (
        chf_id, gpf_id, network_id, model_id, installed_version_id, import_supplier_id, hardware_version, region,
        status, payment_mode, electricity_commissioned, postcode)
    SELECT chf_id, chf_id + 1, (%(networks)s::int[])[kind], (%(models)s::int[])[kind], (%(versions)s::int[])[kind],
           (%(suppliers)s::int[])[supplier], (%(hardware)s::int[])[kind], region, %(status)s, %(payment)s, true, ''
    FROM drawn ORDER BY chf_id)
INSERT INTO modelled_fleet_fleethub (chf_id, network_id, model_id, hardware_version, running_version)
SELECT chf_id, (%(networks)s::int[])[kind], (%(models)s::int[])[kind], (%(hardware)s::int[])[kind],
       (%(numbers)s::bigint[])[kind]
FROM drawn ORDER BY chf_id
"""


def make(
    *,
    hubs: int,
    kinds: Sequence[Kind],
    suppliers: Sequence[tuple[int, int]],
    baseline: float,
    fault: Fault | None,
    seed: int,
    now: datetime,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """
    Make so many hubs of these kinds, the same for the same seed, and count them.

    `suppliers` are (id, weight). `baseline` is the share of hubs that go wrong whatever is sent to them.

    :raises UnableToRehearse: if there are hubs already: a rehearsal has a database of its own
    """
    if CommunicationsHub.objects.exists() or FleetHub.objects.exists():
        raise UnableToRehearse("There are hubs here already. A rehearsal needs a database of its own.")
    with transaction.atomic(durable=True):
        for network in sorted({kind.network for kind in kinds}):
            NetworkProfile.objects.update_or_create(
                network_id=network,
                defaults={
                    "seed": seed,
                    "never_reached": 0.0,
                    "activation_failed": baseline * (1 - BASELINE_SILENT),
                    "silent_activation": baseline * BASELINE_SILENT,
                },
            )
        if fault is not None:
            Defect.objects.create(
                **{name: value for name, value in asdict(fault).items() if name not in ("network", "model")},
                network_id=fault.network,
                model_id=fault.model,
            )
        terms = _terms(kinds, suppliers, seed)
        for low in range(0, hubs, CHUNK):
            high = min(low + CHUNK, hubs)
            sql.run(MAKE, terms | {"low": low, "high": high - 1})
            tell(f"{high:,} of {hubs:,} hubs made")
    sql.run("ANALYZE hubs_communicationshub, modelled_fleet_fleethub", {})
    count_fleet(now=now)


def _terms(kinds: Sequence[Kind], suppliers: Sequence[tuple[int, int]], seed: int) -> dict[str, Any]:
    return {
        "first": FIRST,
        "seed": seed,
        "regions": len(Region),
        "status": HubStatus.COMMISSIONED.value,
        "payment": PaymentMode.CREDIT.value,
        "kind_lows": _lows([kind.weight for kind in kinds]),
        "networks": [kind.network for kind in kinds],
        "models": [kind.model for kind in kinds],
        "versions": [kind.version for kind in kinds],
        "numbers": [kind.version_number for kind in kinds],
        "hardware": [kind.hardware for kind in kinds],
        "supplier_lows": _lows([weight for _, weight in suppliers]),
        "suppliers": [supplier for supplier, _ in suppliers],
    }


def _lows(weights: Sequence[int]) -> list[int]:
    """Return the draw at which each weight's stretch begins."""
    total = sum(weights)
    return [DRAW * before // total for before in accumulate([0, *weights[:-1]])]
