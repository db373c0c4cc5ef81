"""
Questions about the fleet, each asked for one Supplier: what it sees, page by page, and how many.

No question here counts or looks through millions of rows: numbers come from `FleetCount`, and a page
under filters that no index carries looks at a bounded stretch and says how far it came. Where a new
model, network or version turns up, the lists that are filtered by it follow at the next count.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from django.db import connection
from django.db.models import F, Max, Model, Q, QuerySet, Sum

from hubs import identifiers
from hubs.identifiers import Kind
from hubs.models import (
    SHOWN,
    ChangeOfSupplier,
    CommunicationsHub,
    FirmwareVersion,
    FleetCount,
    HubModel,
    Network,
    Supplier,
)

WINDOW = 20_000
"""Hubs that one page looks at before it offers to continue: some 20 ms."""
SHORTEST_STRETCH = 500

POINTED_TO = ("network", "model", "installed_version", "import_supplier", "gas_supplier")

Facet = Literal["network", "model", "installed_version", "hardware_version", "status", "payment_mode"]


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of hubs is narrowed to: primary keys of rows, values of choices, and one identifier."""

    network: int | None = None
    model: int | None = None
    installed_version: int | None = None
    status: int | None = None
    payment_mode: int | None = None
    search: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """
    Some hubs in the order of their CHF IDs, upwards or downwards.

    `next_after` and `previous_before` are what to ask for the neighbouring pages with, None where there
    is none. With `is_unfinished`, the page is short because the search stopped at the end of its
    stretch: continuing in the same direction may find more.
    """

    hubs: Sequence[CommunicationsHub]
    next_after: int | None
    previous_before: int | None
    is_unfinished: bool = False


def hubs_of(*, supplier: Supplier) -> QuerySet[CommunicationsHub]:
    """Return the hubs that a Supplier sees: those in a shown status whose lead or other Supplier it is."""
    return CommunicationsHub.objects.filter(
        Q(lead_id=supplier.pk) | Q(other_id=supplier.pk), status__in=SHOWN
    )


def by_ids(*, supplier: Supplier, chf_ids: Collection[int]) -> QuerySet[CommunicationsHub]:
    """Return those of the hubs that the Supplier sees; a foreign hub is missing just as an unknown one is."""
    return hubs_of(supplier=supplier).filter(chf_id__in=chf_ids)


def matching(*, supplier: Supplier, filters: Filters) -> QuerySet[CommunicationsHub]:
    """
    Return all hubs that the Supplier sees and that a list under these filters shows.

    :raises InvalidIdentifier: if `filters.search` is no identifier
    """
    hubs = hubs_of(supplier=supplier).filter(**_wanted(filters))
    if filters.search.strip():
        kind, number = identifiers.recognise(filters.search)
        hubs = hubs.filter(**{kind: number})
    return hubs


KINDS: dict[Kind, int] = {"chf_id": 1, "mpan": 2, "mprn": 3}
# Raw SQL, since many identifiers of three kinds are looked up at once, each by its own index. An MPAN is its import
# Supplier's and an MPRN its gas Supplier's; a CHF ID is both its Suppliers'.
IDENTIFIED = f"""
SELECT found.hub, found.hubs
FROM unnest(%(kinds)s::smallint[], %(numbers)s::bigint[]) WITH ORDINALITY AS named (kind, number, place)
CROSS JOIN LATERAL (
    SELECT min(chf_id) AS hub, count(*) AS hubs FROM (
        SELECT chf_id FROM hubs_communicationshub
        WHERE named.kind = {KINDS["chf_id"]} AND chf_id = named.number AND status = ANY (%(shown)s)
          AND (lead_id = %(supplier)s OR other_id = %(supplier)s)
        UNION ALL SELECT chf_id FROM hubs_communicationshub
        WHERE named.kind = {KINDS["mpan"]} AND mpan = named.number AND status = ANY (%(shown)s)
          AND import_supplier_id = %(supplier)s
        UNION ALL SELECT chf_id FROM hubs_communicationshub
        WHERE named.kind = {KINDS["mprn"]} AND mprn = named.number AND status = ANY (%(shown)s)
          AND gas_supplier_id = %(supplier)s) same) found
ORDER BY named.place
"""  # noqa: S608 - our own constants


def identified(*, supplier: Supplier, named: Sequence[tuple[Kind, int]]) -> list[tuple[int | None, int]]:
    """
    Return for each identifier, in its order, a hub of the Supplier's that it names, and how many it names.

    A foreign one names no hub (None, 0), just as an unknown one does.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            IDENTIFIED,
            {
                "kinds": [KINDS[kind] for kind, _ in named],
                "numbers": [number for _, number in named],
                "supplier": supplier.pk,
                "shown": [status.value for status in SHOWN],
            },
        )
        found: list[tuple[int | None, int]] = cursor.fetchall()
    return found


@dataclass(frozen=True, slots=True)
class SupplierChange:
    """A change of supplier of a hub, as one of its Suppliers may know it."""

    role: ChangeOfSupplier.Role
    effective_on: date
    imported_at: datetime | None
    """None where the Supplier did not have the hub by then."""
    applied_at: datetime | None
    is_gain: bool
    """The meter becomes the Supplier's by it."""


def changes_of_supplier(*, hub: CommunicationsHub, supplier: Supplier, limit: int) -> list[SupplierChange]:
    """
    Return the latest changes of a hub that one of its Suppliers may know of, the newest first: those since it has it.

    Whoever gained the hub learns nothing of the time before, and nobody who else gains a meter.
    """
    holders = {
        ChangeOfSupplier.Role.IMPORT: hub.import_supplier_id,
        ChangeOfSupplier.Role.GAS: hub.gas_supplier_id,
    }
    has = {role for role, holder in holders.items() if holder == supplier.pk}
    since: datetime | None = None
    known: list[ChangeOfSupplier] = []
    # back in time, to the change before which none of today's meters was the Supplier's
    for change in ChangeOfSupplier.objects.filter(hub=hub.pk).order_by(
        F("applied_at").desc(nulls_first=True), "-effective_on", "-pk"
    )[:limit]:
        known.append(change)
        if change.applied_at and change.gaining_id == supplier.pk:
            has.discard(ChangeOfSupplier.Role(change.role))
            if not has:
                since = change.applied_at
                break
    return [
        SupplierChange(
            role=ChangeOfSupplier.Role(change.role),
            effective_on=change.effective_on,
            imported_at=change.imported_at if since is None or change.imported_at >= since else None,
            applied_at=change.applied_at,
            is_gain=change.gaining_id == supplier.pk,
        )
        for change in known
    ]


def counts(
    *, supplier: Supplier | None, by: Sequence[Facet], filters: Filters | None = None
) -> list[dict[str, Any]]:
    """
    Return how many shown hubs share each combination of facets, largest first.

    Each row has the facets' values and `hubs`, as at the last count; `supplier` is the Lead Supplier,
    or None for everyone's.
    """
    rows = _counted(supplier=supplier, filters=filters or Filters())
    return list(
        rows.values(*by).annotate(total=Sum("hubs")).order_by("-total", *by).values(*by, hubs=Sum("hubs"))
    )


def number_of_hubs(*, supplier: Supplier | None, filters: Filters | None = None) -> int:
    """
    Return how many shown hubs there were at the last count; `filters.search` is not for counting.

    `supplier` is the Lead Supplier, or None for everyone's.
    """
    total: int | None = _counted(supplier=supplier, filters=filters or Filters()).aggregate(
        total=Sum("hubs")
    )["total"]
    return total or 0


def counted_at() -> datetime | None:
    """Return when the fleet was last counted, None if never."""
    moment: datetime | None = FleetCount.objects.aggregate(latest=Max("counted_at"))["latest"]
    return moment


@dataclass(frozen=True, slots=True)
class Named:
    """What hubs point to, read once: for who goes through so many that joining it to each would be most of the work."""

    by_field: Mapping[str, Mapping[int, Model]]

    def tell(self, hubs: Iterable[CommunicationsHub]) -> None:
        """Let hubs know what they point to; what came later they fetch themselves."""
        for hub in hubs:
            known = hub._state.fields_cache
            for field, rows in self.by_field.items():
                if (row := rows.get(getattr(hub, f"{field}_id"))) is not None:
                    known[field] = row


def named() -> Named:
    """Read all that hubs point to: some hundreds of rows."""
    suppliers = Supplier.objects.in_bulk()
    return Named(
        {
            "network": Network.objects.in_bulk(),
            "model": HubModel.objects.in_bulk(),
            "installed_version": FirmwareVersion.objects.in_bulk(),
            "import_supplier": suppliers,
            "gas_supplier": suppliers,
        }
    )


def page_of_hubs(
    *,
    supplier: Supplier,
    filters: Filters | None = None,
    after: int | None = None,
    before: int | None = None,
    is_descending: bool = False,
    limit: int = 50,
    knowing: Named | None = None,
) -> Page:
    """
    Return the `limit` hubs that follow the CHF ID `after`, or that come before `before`, or the first ones.

    Where it `is_descending`, the list begins with the highest CHF ID. `knowing` what they point to, nothing is joined.

    :raises InvalidIdentifier: if `filters.search` is no identifier
    """
    filters = filters or Filters()
    if filters.search.strip():
        return _search(supplier=supplier, filters=filters, limit=limit)
    is_return = before is not None
    start = before if is_return else after
    is_backwards = is_return != is_descending
    branches = _branches(supplier=supplier, filters=filters, start=start, is_backwards=is_backwards)
    found = _look(branches, limit=limit + 1)
    ends = _ends(branches, found, limit=limit + 1)
    nearest = (max if is_backwards else min)((end for end in ends if end is not None), default=None)

    keys = sorted((key for keys in found for key in keys), reverse=is_backwards)
    if nearest is not None:  # what lies beyond the nearest end is not known from every branch
        keys = [key for key in keys if (key >= nearest if is_backwards else key <= nearest)]
    shown = keys[:limit]
    onward = shown[-1] if len(keys) > limit else nearest
    found_hubs = CommunicationsHub.objects.filter(chf_id__in=shown)
    if knowing is None:
        found_hubs = found_hubs.select_related(*POINTED_TO)
    hubs = list(found_hubs.order_by("-chf_id" if is_descending else "chf_id"))
    if knowing is not None:
        knowing.tell(hubs)
    # where we came from there was something, or nobody would have asked to start here
    origin = None if start is None else (shown[0] if shown else start)
    return Page(
        hubs=hubs,
        next_after=origin if is_return else onward,
        previous_before=onward if is_return else origin,
        is_unfinished=onward is not None and len(shown) < limit,
    )


def _search(*, supplier: Supplier, filters: Filters, limit: int) -> Page:
    kind, number = identifiers.recognise(filters.search)
    hubs = (
        hubs_of(supplier=supplier)
        .filter(**{kind: number}, **_wanted(filters))
        .select_related(*POINTED_TO)
        .order_by("chf_id")
    )
    return Page(hubs=list(hubs[:limit]), next_after=None, previous_before=None)


def _wanted(filters: Filters) -> dict[str, int]:
    named = {
        "network_id": filters.network,
        "model_id": filters.model,
        "installed_version_id": filters.installed_version,
        "status": filters.status,
        "payment_mode": filters.payment_mode,
    }
    return {column: value for column, value in named.items() if value is not None}


def _counted(*, supplier: Supplier | None, filters: Filters) -> QuerySet[FleetCount]:
    rows = FleetCount.objects.filter(**_wanted(filters))
    return rows if supplier is None else rows.filter(lead=supplier)


@dataclass(frozen=True, slots=True)
class _Branch:
    """A stretch of one index in key order: its leading columns, where to begin, what else must hold."""

    columns: Sequence[tuple[str, int]]
    rest: dict[str, int]
    start: int | None
    is_backwards: bool
    window: int

    def window_sql(self, columns: str) -> tuple[str, list[int]]:
        """Return the statement that reads the stretch, and its parameters."""
        terms = [f"{column} = %s" for column, _ in self.columns]
        values = [value for _, value in self.columns]
        if self.start is not None:
            terms.append(f"chf_id {'<' if self.is_backwards else '>'} %s")
            values.append(self.start)
        order = "DESC" if self.is_backwards else "ASC"
        return (
            f"SELECT {columns} FROM hubs_communicationshub WHERE {' AND '.join(terms)} "  # noqa: S608
            f"ORDER BY chf_id {order}",
            values,
        )


def _branches(
    *, supplier: Supplier, filters: Filters, start: int | None, is_backwards: bool
) -> list[_Branch]:
    """
    Split the question into stretches that an index has in key order.

    With a network, model or version wanted, each side (Lead or other) is one stretch of a facet index
    for each model and network that has such hubs; they are few.
    """
    sides = (("lead_id", supplier.pk), ("other_id", supplier.pk))
    wanted = _wanted(filters)
    rest = {column: value for column, value in wanted.items() if column not in ("network_id", "model_id")}
    if wanted.keys() & {"network_id", "model_id", "installed_version_id"}:
        facets = _facets(filters)
        stretches: list[Sequence[tuple[str, int]]] = [
            (side, ("model_id", model), ("network_id", network))
            for side in sides
            for model, network in facets
        ]
    else:
        stretches = [[side] for side in sides]
    window = max(WINDOW // max(len(stretches), 1), SHORTEST_STRETCH)
    return [_Branch(columns, rest, start, is_backwards, window) for columns in stretches]


def _facets(filters: Filters) -> list[tuple[int, int]]:
    """
    Return the models and networks in whose combination there are such hubs, as at the last count.

    A version belongs to a family of models, so most combinations have none of it. One that was not
    counted yet may be anywhere.
    """
    rows = FleetCount.objects.order_by("model", "network").values_list("model", "network").distinct()
    place = {
        column: value for column, value in _wanted(filters).items() if column in ("network_id", "model_id")
    }
    if filters.installed_version is not None and (
        having_it := list(rows.filter(installed_version=filters.installed_version))
    ):
        return [
            (model, network)
            for model, network in having_it
            if filters.model in (None, model) and filters.network in (None, network)
        ]
    return list(rows.filter(**place))


def _look(branches: Sequence[_Branch], *, limit: int) -> list[list[int]]:
    """Return the first keys of each branch that are wanted and shown, in one statement."""
    # Raw, since the ORM cannot filter a limited subquery in its order: that is what bounds the work.
    parts: list[str] = []
    values: list[Any] = []
    for number, branch in enumerate(branches):
        window, parameters = branch.window_sql("*")
        terms = ["status = ANY(%s)", *(f"{column} = %s" for column in branch.rest)]
        order = "DESC" if branch.is_backwards else "ASC"
        parts.append(
            f"(SELECT {number}, chf_id FROM ({window} LIMIT {branch.window}) AS stretch "  # noqa: S608
            f"WHERE {' AND '.join(terms)} ORDER BY chf_id {order} LIMIT {limit})"
        )
        values += [*parameters, [status.value for status in SHOWN], *branch.rest.values()]
    found: list[list[int]] = [[] for _ in branches]
    if not parts:
        return found
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        for number, key in cursor.fetchall():
            found[number].append(key)
    return found


def _ends(branches: Sequence[_Branch], found: Sequence[Sequence[int]], *, limit: int) -> list[int | None]:
    """Return the key up to which each branch was looked through, None where that was its end."""
    ends: list[int | None] = [keys[-1] if len(keys) == limit else None for keys in found]
    parts: list[str] = []
    values: list[Any] = []
    for number, branch in enumerate(branches):
        if ends[number] is None:
            window, parameters = branch.window_sql("chf_id")
            parts.append(
                f"(SELECT {number}, chf_id FROM ({window} OFFSET {branch.window - 1} LIMIT 1) AS at_end)"  # noqa: S608
            )
            values += parameters
    if parts:
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), values)
            for number, key in cursor.fetchall():
                ends[number] = key
    return ends
