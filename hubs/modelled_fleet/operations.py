"""
Make a whole fleet: Suppliers, models, versions, hubs as the inventory has them, and as they really are.

Everything is made up, in valid form, and follows from the seed. The hubs are made by the database
itself, in the order of their keys: each number is cut from a hash of the hub's number and the seed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Max

from hubs.modelled_fleet.models import (
    CommandLog,
    Defect,
    FleetHub,
    FleetLotToken,
    FleetReport,
    NetworkProfile,
)
from hubs.models import (
    CommunicationsHub,
    FirmwareVersion,
    HubModel,
    HubStatus,
    Network,
    PaymentMode,
    Region,
    Supplier,
)
from hubs.operations import count_fleet

DRAW = 0x10000
"""Draws are 16-bit: shares are rounded to 1/65536."""
CHUNK = 250_000
STRIDE = 16
"""Serial numbers per hub: the draw picks one of the even ones, the GPF has the next."""


class UnableToLoad(Exception):
    """The fleet cannot be made here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Company:
    """A made-up Supplier, with its weight among electricity and among gas supplies, in per mille."""

    name: str
    import_id: str | None
    gas_id: str | None
    electricity: int
    gas: int


SUPPLIERS = (
    _Company("Northern Lights Energy", "NLEE", "NLEG", 240, 235),
    _Company("Southern Power & Gas", "SPGE", "SPGG", 190, 190),
    _Company("Harbour Energy Supply", "HESE", "HESG", 145, 140),
    _Company("Meadow Gas", None, "MDWG", 0, 80),
    _Company("Pennine Home Energy", "PHEE", "PHEG", 115, 115),
    _Company("Castle & Moor Utilities", "CMUE", "CMUG", 95, 95),
    _Company("Brightwater Energy", "BWEE", "BWEG", 72, 72),
    _Company("Severnside Supply", "SVSE", "SVSG", 50, 50),
    _Company("Thistle Electric", "THSE", None, 28, 0),
    _Company("Oakfield Power", "OKPE", "OKPG", 28, 30),
    _Company("Lantern Energy", "LANE", "LANG", 20, 20),
    _Company("Copper Kettle Energy", "CKEE", "CKEG", 7, 8),
)


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    image_type: int
    hardware: tuple[int, ...]
    weight: int


@dataclass(frozen=True, slots=True)
class _Family:
    """The hubs of one manufacturer: its address block, its models, where they stand, what they run."""

    manufacturer_name: str
    manufacturer: int
    block: int
    models: tuple[_Model, ...]
    networks: tuple[tuple[str, int], ...]
    versions: tuple[int, ...]


# In the order of their address blocks, so that hubs are made in the order of their keys.
FAMILIES = (
    _Family(
        "Aldgate Devices",
        0x1A05,
        0x00DB12,
        (
            _Model("Aldgate R1 Single Band", 0x0101, (0x0100, 0x0101), 70),
            _Model("Aldgate R2 Dual Band", 0x0102, (0x0200, 0x0201), 30),
        ),
        (("north", 1),),
        (0x02040100, 0x02030400, 0x02030200, 0x02020000, 0x02010300, 0x01090000),
    ),
    _Family(
        "Brunel Metering",
        0x1B2C,
        0x3C4E47,
        (
            _Model("Brunel C4 Single Band", 0x0201, (0x0100, 0x0102, 0x0103), 62),
            _Model("Brunel C5 Dual Band", 0x0202, (0x0200, 0x0210), 38),
        ),
        (("central", 497), ("south", 503)),
        (0x10020500, 0x10020300, 0x10020100, 0x10010800, 0x10010600, 0x10010200),
    ),
    _Family(
        "Calder Electronics",
        0x1C61,
        0x70E8B4,
        (_Model("Calder 4G", 0x0301, (0x0100, 0x0110), 1),),
        (("4g", 1),),
        (0x04000300, 0x04000200, 0x04000100, 0x03000900, 0x03000700, 0x03000400),
    ),
)
FAMILY_SHARES = (280, 685, 35)
VERSION_WEIGHTS = (62, 18, 9, 6, 3, 2)
STATUS_WEIGHTS = (
    (HubStatus.COMMISSIONED, 930),
    (HubStatus.SUSPENDED, 16),
    (HubStatus.INSTALLED_NOT_COMMISSIONED, 14),
    (HubStatus.RECOVERY, 4),
    (HubStatus.PENDING, 8),
    (HubStatus.WHITELISTED, 8),
    (HubStatus.DECOMMISSIONED, 14),
    (HubStatus.WITHDRAWN, 6),
)
REGION_WEIGHTS = ((Region.NORTH, 28), (Region.CENTRAL, 34), (Region.SOUTH, 38))
DISTRIBUTORS = {
    Region.NORTH: (15, 16, 17, 18, 23),
    Region.CENTRAL: (11, 13, 14),
    Region.SOUTH: (10, 12, 19, 20, 21, 22),
}
POSTCODE_AREAS = {
    Region.NORTH: ("AB", "DD", "EH", "FK", "G", "KY", "LA", "LS", "M", "NE", "PA", "YO"),
    Region.CENTRAL: ("B", "CV", "DE", "DY", "L", "LE", "NG", "NN", "ST", "TF", "WR", "WV"),
    Region.SOUTH: ("BN", "BS", "CF", "E", "EX", "GU", "IP", "NR", "OX", "PL", "SE", "SO"),
}
INWARD_LETTERS = "ABDEFGHJLNPQRSTUWXYZ"

PREPAYMENT = 0.15
WITHOUT_GAS = 0.17
WITHOUT_ELECTRICITY = 0.02
ELECTRICITY_NOT_COMMISSIONED = 0.03
SAME_SUPPLIER = 0.54
"""Of the homes with both fuels from a Supplier of both: those that took both from it on purpose."""
OFF_REGION = 0.004
WRONG_CHECK_DIGIT = 0.02


def load_fleet(
    *,
    hubs: int,
    seed: int,
    now: datetime,
    time_scale: float = 1.0,
    is_replacing: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """
    Make a fleet of so many hubs, the same for the same seed, and count it.

    Suppliers, models, versions and network profiles that are there already are kept; hubs are not
    added to others. `tell` is called with each step's progress.

    :raises UnableToLoad: if there are hubs already and they are not to be replaced, or cannot be
    """
    if hubs < 0:
        raise UnableToLoad("A fleet cannot have fewer than no hubs.")
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
        _make_way(cursor, is_replacing=is_replacing)
        suppliers = _suppliers()
        indexes = _drop_indexes(cursor)
        _make_hubs(cursor, hubs=hubs, seed=seed, suppliers=suppliers, tell=tell)
        for name, definition in indexes:
            tell(f"indexing {name}")
            cursor.execute(definition)
        tell("what the hubs really run")
        _make_profiles(seed=seed, time_scale=time_scale)
        _make_fleet_hubs(cursor, seed=seed)
    tell("statistics")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE hubs_communicationshub, modelled_fleet_fleethub")
    tell("counting")
    count_fleet(now=now)


def add_faulty_twin(*, model: HubModel, version: int, share: float, now: datetime) -> HubModel:
    """
    Turn the hubs of a model's newest hardware into a model of their own, `share` of which fail to activate a version.

    The twin takes the same images: a release can be for both. Counts the fleet anew.
    """
    with transaction.atomic(durable=True):
        newest = FleetHub.objects.filter(model=model).aggregate(newest=Max("hardware_version"))["newest"]
        twin = HubModel.objects.create(
            name=f"{model.name} Mark 2",
            manufacturer_name=model.manufacturer_name,
            manufacturer=model.manufacturer,
            image_type=model.image_type,
        )
        CommunicationsHub.objects.filter(model=model, hardware_version=newest).update(model=twin)
        FleetHub.objects.filter(model=model, hardware_version=newest).update(model=twin)
        Defect.objects.create(version=version, share=share, kind=Defect.Kind.VISIBLE, model=twin)
    count_fleet(now=now)
    return twin


def _make_way(cursor: CursorWrapper, *, is_replacing: bool) -> None:
    if not (CommunicationsHub.objects.exists() or FleetHub.objects.exists()):
        return
    if not is_replacing:
        raise UnableToLoad("There are hubs already. Add --replace to make a new fleet in their place.")
    # This app knows nothing of those above it; whoever refers to a hub says so in its foreign key.
    for relation in CommunicationsHub._meta.get_fields(include_hidden=True):
        if relation.auto_created and relation.one_to_many and relation.related_model is not None:
            referring = relation.related_model
            assert not isinstance(referring, str)  # noqa: S101 - resolved once the apps are loaded
            if referring._default_manager.exists():
                raise UnableToLoad(
                    f"There are {referring._meta.verbose_name_plural} of the present hubs, so they stay."
                    " Start over with an empty database instead."
                )
    tables = ", ".join(
        model._meta.db_table
        for model in (CommunicationsHub, FleetHub, CommandLog, FleetReport, FleetLotToken)
    )
    cursor.execute(f"TRUNCATE {tables}")


def _suppliers() -> list[Supplier]:
    """Return the made-up Suppliers in their order, adding those that are missing."""
    return [
        Supplier.objects.get_or_create(
            name=company.name,
            defaults={"import_participant_id": company.import_id, "gas_participant_id": company.gas_id},
        )[0]
        for company in SUPPLIERS
    ]


def _drop_indexes(cursor: CursorWrapper) -> list[tuple[str, str]]:
    """Drop the table's indexes but the primary key, cheap to fill in order; return what makes them again."""
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = current_schema() AND tablename = %s AND indexdef NOT LIKE %s ORDER BY indexname",
        [CommunicationsHub._meta.db_table, "CREATE UNIQUE %"],
    )
    indexes: list[tuple[str, str]] = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f'DROP INDEX "{name}"')
    return indexes


def _make_hubs(
    cursor: CursorWrapper, *, hubs: int, seed: int, suppliers: Sequence[Supplier], tell: Callable[[str], None]
) -> None:
    done = 0
    ends = [hubs * share // 1000 for share in accumulate(FAMILY_SHARES)]
    for family, start, end in zip(FAMILIES, [0, *ends], ends, strict=False):
        statement = _hub_statement(family=family, seed=seed, suppliers=suppliers)
        for low in range(start, end, CHUNK):
            high = min(low + CHUNK, end)
            cursor.execute(statement, [low, high - 1])
            done += high - low
            tell(f"{done:,} of {hubs:,} hubs")


def _make_profiles(*, seed: int, time_scale: float) -> None:
    for network in Network.objects.order_by("pk"):
        NetworkProfile.objects.update_or_create(
            network=network, defaults={"seed": seed, "time_scale": time_scale}
        )


def _make_fleet_hubs(cursor: CursorWrapper, *, seed: int) -> None:
    """Make each hub as it is, running what the inventory says but for the stale share."""
    newer: dict[int, int] = {}
    for family in FAMILIES:
        newest, *older = family.versions
        newer |= dict(zip(older, family.versions, strict=False)) | {newest: older[0]}
    cases = " ".join(f"WHEN {version} THEN {other}" for version, other in newer.items())
    cursor.execute(
        f"""
        INSERT INTO modelled_fleet_fleethub (chf_id, network_id, model_id, hardware_version, running_version)
        SELECT hub.chf_id, hub.network_id, hub.model_id, hub.hardware_version,
               CASE WHEN (hashint8extended(hub.chf_id, %s) & 65535) < profile.stale_inventory * 65536
                    THEN CASE version.number {cases} ELSE version.number END
                    ELSE version.number END
        FROM hubs_communicationshub AS hub
        JOIN hubs_firmwareversion AS version ON version.id = hub.installed_version_id
        JOIN modelled_fleet_networkprofile AS profile ON profile.network_id = hub.network_id
        ORDER BY hub.chf_id
        """,  # noqa: S608 - numbers of our own
        [seed],
    )


def _hub_statement(*, family: _Family, seed: int, suppliers: Sequence[Supplier]) -> str:
    """
    Write the statement that makes the hubs of a family from number %s to number %s.

    Raw, since a million rows are made where they stay. Each level of it is kept apart by OFFSET 0, or
    the planner would work the same draw out for every place that uses it.
    """
    models = [
        HubModel.objects.get_or_create(
            name=model.name,
            defaults={
                "manufacturer_name": family.manufacturer_name,
                "manufacturer": family.manufacturer,
                "image_type": model.image_type,
            },
        )[0]
        for model in family.models
    ]
    versions = [FirmwareVersion.objects.get_or_create(number=number)[0] for number in family.versions]
    networks = [Network.objects.get(code=code) for code, _ in family.networks]
    home = {"north": Region.NORTH, "central": Region.CENTRAL, "south": Region.SOUTH}
    regions = [home.get(network.code) for network in networks]
    electric = [(supplier.pk, company.electricity) for supplier, company in _both(suppliers)]
    gas = [(supplier.pk, company.gas) for supplier, company in _both(suppliers)]
    dual = [supplier.pk for supplier, company in _both(suppliers) if company.import_id and company.gas_id]

    def draw(number: int) -> str:
        """Cut the 16 bits with this number from the five hashes."""
        return f"((h{number // 4} >> {16 * (number % 4)}) & 65535)::int"

    def position(number: int, weights: Sequence[int]) -> str:
        return f"width_bucket({draw(number)}, {_sql_array(_lows(weights))})"

    def pick(number: int, weighted: Sequence[tuple[int, int]]) -> str:
        values, weights = zip(*((value, weight) for value, weight in weighted if weight), strict=True)
        return f"({_sql_array(values)})[{position(number, weights)}]"

    def below(number: int, share: float) -> str:
        return f"({draw(number)} < {round(share * DRAW)})"

    def one_of(values: Sequence[Any], number: int) -> str:
        return f"({_sql_array(values)})[1 + {draw(number)} %% {len(values)}]"

    def case(column: str, results: Iterable[tuple[int, str]]) -> str:
        return f"CASE {column} " + " ".join(f"WHEN {value:d} THEN {then}" for value, then in results) + " END"

    region_here = case(
        "network",
        ((place, str(region.value) if region else "drawn_region") for place, region in enumerate(regions, 1)),
    )
    distributor = case("region", ((region, one_of(codes, 12)) for region, codes in DISTRIBUTORS.items()))
    area = case("region", ((region, one_of(areas, 13)) for region, areas in POSTCODE_AREAS.items()))
    hardware = case(
        "model", ((place, one_of(model.hardware, 3)) for place, model in enumerate(family.models, 1))
    )
    mpan_sum = " + ".join(
        f"(mpan_body / {10 ** (11 - place)} %% 10) * {weight}"
        for place, weight in enumerate((3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43))
    )
    mprn_sum = " + ".join(f"(mprn_body / {10**place} %% 10) * {place + 1}" for place in range(8))
    letter = [
        f"substr('{INWARD_LETTERS}', 1 + ({draw(14)} / {divisor}) %% {len(INWARD_LETTERS)}, 1)"
        for divisor in (1, len(INWARD_LETTERS))
    ]
    running = [(version.pk, weight) for version, weight in zip(versions, VERSION_WEIGHTS, strict=True)]
    hashes = ", ".join(
        f"hashint8extended(i, {(seed * 5 + number) % 2**62}) AS h{number}" for number in range(5)
    )
    offset = (seed * 7919) % 10**9
    return f"""
        INSERT INTO hubs_communicationshub (
            chf_id, gpf_id, mpan, mprn, network_id, model_id, installed_version_id, import_supplier_id,
            gas_supplier_id, hardware_version, region, status, payment_mode, electricity_commissioned,
            postcode)
        SELECT chf_id, chf_id + 1,
            CASE WHEN import_supplier IS NOT NULL THEN
                mpan_body * 10 + (({mpan_sum}) %% 11 + is_wrong) %% 11 %% 10 END,
            CASE WHEN gas_supplier IS NOT NULL THEN
                mprn_body * 100 + (({mprn_sum}) %% 11 + is_wrong) %% 11 END,
            ({_sql_array([network.pk for network in networks])})[network],
            ({_sql_array([model.pk for model in models])})[model],
            version, import_supplier, gas_supplier, hardware, region, status, payment_mode,
            import_supplier IS NOT NULL AND is_electricity_commissioned, postcode
        FROM (
            SELECT *,
                ({distributor})::bigint * 10000000000 + (i * 6364136223 + {offset}) %% 10000000000
                    AS mpan_body,
                10000000 + (i * 48271127 + {offset}) %% 90000000 AS mprn_body,
                {area} || 1 + {draw(15)} %% 28
                    || ' ' || ({draw(15)} / 28) %% 10 || {letter[0]} || {letter[1]} AS postcode
            FROM (
                SELECT *,
                    {hardware} AS hardware,
                    CASE WHEN {below(4, OFF_REGION)} THEN 1 + {region_here} %% 3 ELSE {region_here} END
                        AS region,
                    CASE WHEN import_supplier IS NOT NULL AND {below(5, WITHOUT_GAS)} THEN NULL
                         WHEN {below(6, SAME_SUPPLIER)} AND import_supplier = ANY({_sql_array(dual)})
                         THEN import_supplier
                         ELSE other_gas_supplier END AS gas_supplier
                FROM (
                    SELECT i, h0, h1, h2, h3, h4,
                        ({family.block}::bigint << 40) + (i + 1) * {STRIDE} + ({draw(19)} & 7) * 2
                            AS chf_id,
                        {position(0, [weight for _, weight in family.networks])} AS network,
                        {position(1, [model.weight for model in family.models])} AS model,
                        {pick(2, running)} AS version,
                        {pick(7, REGION_WEIGHTS)} AS drawn_region,
                        CASE WHEN {below(8, WITHOUT_ELECTRICITY)} THEN NULL ELSE {pick(9, electric)} END
                            AS import_supplier,
                        {pick(10, gas)} AS other_gas_supplier,
                        {pick(11, STATUS_WEIGHTS)} AS status,
                        CASE WHEN {below(16, PREPAYMENT)}
                             THEN {PaymentMode.PREPAYMENT.value} ELSE {PaymentMode.CREDIT.value} END
                            AS payment_mode,
                        NOT {below(17, ELECTRICITY_NOT_COMMISSIONED)}
                            AS is_electricity_commissioned,
                        {below(18, WRONG_CHECK_DIGIT)}::int AS is_wrong
                    FROM (
                        SELECT i, {hashes}
                        FROM generate_series(%s::bigint, %s::bigint) AS i OFFSET 0
                    ) AS hashed OFFSET 0
                ) AS drawn OFFSET 0
            ) AS placed OFFSET 0
        ) AS numbered
        ORDER BY i
    """  # noqa: S608 - numbers of our own


def _both(suppliers: Sequence[Supplier]) -> list[tuple[Supplier, _Company]]:
    return list(zip(suppliers, SUPPLIERS, strict=True))


def _lows(weights: Sequence[int]) -> list[int]:
    """Return the draw at which each weight's stretch begins."""
    total = sum(weights)
    return [DRAW * before // total for before in accumulate([0, *weights[:-1]])]


def _sql_array(values: Sequence[Any]) -> str:
    if isinstance(values[0], str):
        return "ARRAY[" + ",".join(f"'{value}'" for value in values) + "]"
    return "ARRAY[" + ",".join(str(int(value)) for value in values) + "]"
