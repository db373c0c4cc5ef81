"""Booking hubs as early as possible under all rules, against a bare COPY and INSERT … SELECT of the same rows."""

import io
import itertools
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection, connections, transaction
from django.db.models import Sum

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, FleetCount, HubStatus, Supplier
from portal.ground import clock
from scheduling.models import Booking, Consent, Lot, Slot
from scheduling.operations import bookings, selections
from scheduling.queries.plans import Timing
from tests import factories
from tests.benchmarks import database, meter
from tests.benchmarks import world as worlds
from tests.benchmarks.world import Tell, World

DEPLOYMENTS = "scheduling_deployment"
SMALLEST_FLEET = 100_000
LOCKING = ("FOR UPDATE", "FOR NO KEY UPDATE")
FLEET_PER_HUB = 6
"""
The largest Supplier leads about a quarter of the fleet; not all of that can be booked. The same share at every size, so
that as many hubs are looked through for each that is booked.
"""


class LockWatch:
    """How long the slots were locked, from asking for the locks to the commit that ends them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Look at a statement on its way to the database."""
        if "scheduling_slot" in sql and sql.endswith(LOCKING) and not self._since:
            self._since = time.perf_counter()
            transaction.on_commit(self._let_go)
        return execute(sql, params, many, context)

    def _let_go(self) -> None:
        self.seconds += time.perf_counter() - self._since
        self._since = 0.0


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """Measure `bookings.book` for so many hubs of one Supplier, in a fleet of the size `fleet`."""
    fleet = fleet or max(SMALLEST_FLEET, FLEET_PER_HUB * hubs)
    world = worlds.make(hubs=fleet, room=4 * hubs, tell=tell)
    worlds.protect(world=world, tell=tell)
    worlds.leave(world=world, hubs=hubs, tell=tell)
    costs: list[meter.Cost] = []
    copies: list[meter.Cost] = []
    inserts: list[meter.Cost] = []
    locks: list[float] = []
    parts: dict[str, int] = {}
    for number in range(repeat):
        tell(f"run {number + 1}: booking")
        watch = LockWatch()
        cost, parts = _book(world, watch, hubs)
        costs.append(cost)
        locks.append(watch.seconds)
        tell(f"run {number + 1}: bare COPY and INSERT … SELECT")
        copies.append(_bare_copy())
        inserts.append(_bare_insert())
        _forget_bookings()
    tell("one more, beside another Supplier that books ten hubs again and again")
    beside = _beside(world, hubs)
    _forget_bookings()
    return {
        "figure": "booking",
        "hubs": hubs,
        "fleet": fleet,
        "repeat": repeat,
        **parts,
        "measured": {
            **meter.median(costs).as_measured(hubs=hubs),
            "slots_locked_s": round(statistics.median(locks), 3),
        },
        "beside": beside,
        "limit": {
            "statement": "COPY of the same deployments, same indexes and constraints",
            **meter.median(copies).as_measured(hubs=hubs),
        },
        **meter.ratio(costs=costs, limits=copies),
        "insert_select": {
            "limit": {
                "statement": "INSERT … SELECT of the same deployments, same indexes and constraints",
                **meter.median(inserts).as_measured(hubs=hubs),
            },
            **meter.ratio(costs=costs, limits=inserts),
        },
    }


def _book(world: World, watch: LockWatch, hubs: int) -> tuple[meter.Cost, dict[str, int]]:
    selection = world.choose()
    with connection.execute_wrapper(watch), meter.measured() as cost:
        booking = bookings.book(
            selection=selection,
            timing=Timing(Booking.Plan.EARLIEST),
            by=world.person,
            clock=clock.now,
            despite="The soft window can be shortened.",
        )
    if booking.hubs != hubs or booking.unplaced:
        raise database.UnableToMeasure(f"{booking.hubs:,} hubs were booked instead of {hubs:,}.")
    lots = booking.lots.all()
    return cost, {
        "slots": lots.values("slot").distinct().count(),
        "lots": lots.count(),
        "provisional": lots.aggregate(hubs=Sum("provisional"))["hubs"],
        "consents": booking.consents.count(),
    }


class Neighbour(threading.Thread):
    """Another Supplier, which books ten hubs at a time for as long as it is left to."""

    TEN = 10

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        leads = FleetCount.objects.filter(lead__isnull=False).exclude(lead=world.supplier.pk).values("lead")
        largest = leads.annotate(led=Sum("hubs")).order_by("-led").values_list("lead", flat=True)[0]
        self.supplier = Supplier.objects.get(pk=largest)
        self.person = factories.UserFactory.create(supplier=self.supplier)
        self.release = world.release
        self.seconds: list[float] = []
        self.failure: Exception | None = None
        self.enough = threading.Event()

    def run(self) -> None:
        """Book ten hubs after the other, each time by their CHF IDs, and note how long it took."""
        try:
            ids = CommunicationsHub.objects.filter(
                lead_id=self.supplier.pk, status=HubStatus.COMMISSIONED
            ).values_list("chf_id", flat=True)
            own = iter(list(ids[:10_000]))
            while not self.enough.is_set():
                text = "\n".join(format_eui64(hub) for hub in itertools.islice(own, self.TEN))
                selection = selections.choose_from_file(
                    supplier=self.supplier,
                    release=self.release,
                    file=io.BytesIO(text.encode()),
                    name="ten.csv",
                    by=self.person,
                    now=clock.now(),
                )
                begun = time.perf_counter()
                bookings.book(
                    selection=selection,
                    timing=Timing(Booking.Plan.EARLIEST),
                    by=self.person,
                    clock=clock.now,
                    despite="The soft window can be shortened.",
                )
                self.seconds.append(time.perf_counter() - begun)
        except Exception as failure:
            self.failure = failure
        finally:
            connections.close_all()


def _beside(world: World, hubs: int) -> dict[str, Any]:
    """Book all of it once more while a neighbour books ten hubs at a time; return how long that one waited."""
    neighbour = Neighbour(world)
    neighbour.start()
    while len(neighbour.seconds) < 3 and neighbour.is_alive():  # it is warm
        time.sleep(0.05)
    alone = len(neighbour.seconds)
    try:
        _book(world, LockWatch(), hubs)
    finally:
        neighbour.enough.set()
        neighbour.join()
    during = neighbour.seconds[alone:]  # the one under way at the end among them
    if neighbour.failure:
        raise neighbour.failure
    if not during:
        raise database.UnableToMeasure("The neighbour booked nothing while the large booking went on.")
    return {
        "bookings_of_ten": len(during),
        "median_s": round(statistics.median(during), 3),
        "slowest_s": round(max(during), 3),
    }


def _bare_copy() -> meter.Cost:
    with (
        database.copied(source=DEPLOYMENTS) as rows,
        database.twin(table=DEPLOYMENTS) as bare,
    ):
        with meter.measured() as limit:
            database.copy_in(target=bare, file=rows)
        return limit


def _bare_insert() -> meter.Cost:
    with connection.cursor() as cursor, database.twin(table=DEPLOYMENTS) as bare:
        cursor.execute(f"CREATE TEMPORARY TABLE placed AS TABLE {DEPLOYMENTS}")
        with meter.measured() as limit:
            cursor.execute(f"INSERT INTO {bare} SELECT * FROM placed")
        cursor.execute("DROP TABLE placed")
        return limit


def _forget_bookings() -> None:
    """Empty the slots again for the next run."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {DEPLOYMENTS} DISABLE TRIGGER deployment_is_kept")
        cursor.execute(f"TRUNCATE {DEPLOYMENTS}, scheduling_tally, scheduling_tallychange")
        cursor.execute(f"ALTER TABLE {DEPLOYMENTS} ENABLE TRIGGER deployment_is_kept")
    Lot.objects.all().delete()
    Consent.objects.all().delete()
    Booking.objects.all().delete()
    Slot.objects.update(taken=0)
    database.tidy("scheduling_lot", "scheduling_slot")
