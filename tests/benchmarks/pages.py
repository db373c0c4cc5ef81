"""
A Supplier's pages, through Django's test client: how long, how many queries, the slowest of them, how large.

Each is also asked for where the database lets everybody see everything, in turn with how it is: the ratio is what the
walls between Suppliers cost.
"""

import contextlib
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Count, Sum
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, FleetCount
from portal.ground import clock, sql
from scheduling.lifecycle import State
from scheduling.models import Booking, Deployment, HubSelection
from scheduling.operations import bookings
from scheduling.queries.plans import Timing
from tests.benchmarks import database
from tests.benchmarks import world as worlds
from tests.benchmarks.world import Tell, World

WARM_UP = 2
REQUESTS = 20
"""For each page, times --repeat; and as many without walls."""
ROUNDS = 2
"""Both ways take turns so often, so that what the machine does meanwhile falls on both."""


class Stopwatch:
    """How many statements a page asks, and the longest of them."""

    def __init__(self) -> None:
        self.queries = 0
        self.slowest = 0.0
        self.statement = ""

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Time a statement."""
        begun = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            took = time.perf_counter() - begun
            self.queries += 1
            if took > self.slowest:
                self.slowest, self.statement = took, _in_short(sql)


def _in_short(statement: str) -> str:
    """Leave out what a statement selects, so that one sees what it asks."""
    return re.sub(r"SELECT (?!\().{60,}? FROM", "SELECT … FROM", " ".join(statement.split()))[:400]


@dataclass(frozen=True, slots=True)
class Visit:
    """One request."""

    seconds: float
    cpu: float
    queries: int
    slowest: float
    statement: str
    size: int


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """Measure each page of the largest Supplier in a fleet of so many hubs, some of them booked."""
    world = worlds.make(hubs=hubs, room=hubs, tell=tell)
    tell("booking a part")
    booking, selection = _book_a_part(world)
    client = Client()
    client.force_login(world.person)
    pages = {}
    for name, address in _addresses(world, booking, selection).items():
        tell(f"asking for {name}")
        pages[name] = _measured(client, address, requests=REQUESTS * repeat)
    slowest = max(pages, key=lambda name: float(pages[name]["slowest_query_ms"]))
    return {
        "figure": "pages",
        "hubs": hubs,
        "booked": booking.hubs,
        "repeat": repeat,
        "measured": {
            "p50_ms": max(page["p50_ms"] for page in pages.values()),
            "slowest_query_ms": max(page["slowest_query_ms"] for page in pages.values()),
            "queries": max(page["queries"] for page in pages.values()),
            "ratio_to_no_walls": round(
                statistics.median(page["p50_ms"] / page["p50_without_walls_ms"] for page in pages.values()), 2
            ),
        },
        "slowest": {"page": slowest, "statement": pages[slowest]["statement"]},
        "pages": {
            name: {key: value for key, value in page.items() if key != "statement"}
            for name, page in pages.items()
        },
    }


def _book_a_part(world: World) -> tuple[Booking, HubSelection]:
    """Book what the Supplier has on one network, then choose all the rest, to be looked at before it is booked."""
    network = (
        FleetCount.objects.filter(lead=world.supplier).values_list("network", flat=True).order_by("network")
    )
    booking = bookings.book(
        selection=world.choose(network=[network[0]]),
        timing=Timing(Booking.Plan.EARLIEST),
        by=world.person,
        clock=clock.now,
    )
    database.tidy(
        "scheduling_deployment", "scheduling_lot", "scheduling_slot", "scheduling_booking", "hubs_fleetcount"
    )
    return booking, world.choose()


def _addresses(world: World, booking: Booking, selection: HubSelection) -> dict[str, str]:
    """Name every page that a Supplier's person can ask for, lists also in their middle and under filters."""
    hubs = reverse("scheduling:hubs")
    counts = FleetCount.objects.filter(lead=world.supplier)
    often = _combination(counts.values("network", "model"), "-")
    rare = _combination(counts.values("installed_version", "status", "payment_mode"), "")
    version = _combination(counts.values("installed_version"), "")
    led = CommunicationsHub.objects.filter(lead_id=world.supplier.pk)
    middle = led.order_by("chf_id")[led.count() // 2]
    booked = Deployment.objects.order_by("id")
    halfway = booked[booked.count() // 2]
    with_mpan = led.exclude(mpan=None).first()
    assert with_mpan
    of_booking = [booking.reference]
    booked_hubs = reverse("scheduling:booked-hubs", args=of_booking)
    return {
        "home": reverse("scheduling:home"),
        "release": reverse("scheduling:release", args=[world.release.pk]),
        "book": reverse("scheduling:book", args=[world.release.pk]),
        "when": reverse("scheduling:when", args=[selection.pk]),
        "check": reverse("scheduling:check", args=[selection.pk]) + "?plan=earliest",
        "bookings": reverse("scheduling:bookings"),
        "booking": reverse("scheduling:booking", args=of_booking),
        "progress": reverse("scheduling:progress", args=of_booking),
        "cancel": reverse("scheduling:cancel", args=of_booking),
        "booked hubs": booked_hubs,
        "booked hubs, middle": f"{booked_hubs}?after={halfway.pk}",
        "booked hubs, failed": f"{booked_hubs}?state={State.FAILED}",
        "hubs": hubs,
        "hubs, middle": f"{hubs}?after={middle.pk}",
        "hubs, often": f"{hubs}?{often}",
        "hubs, one version": f"{hubs}?{version}",
        "hubs, rare": f"{hubs}?{rare}",
        "hubs, rare, middle": f"{hubs}?{rare}&after={middle.pk}",
        "hubs, one CHF ID": f"{hubs}?search={format_eui64(middle.pk)}",
        "hubs, one MPAN": f"{hubs}?search={with_mpan.mpan:013d}",
        "hub": reverse("scheduling:hub", args=[middle.pk]),
        "hub, booked": reverse("scheduling:hub", args=[halfway.hub_id]),
    }


def _combination(rows: Any, order: str) -> str:
    """Return the most or least frequent combination of facts, as a page is asked for it."""
    row = rows.annotate(total=Sum("hubs"), rows=Count("pk")).order_by(f"{order}total").first()
    return "&".join(f"{name}={value}" for name, value in row.items() if name not in ("total", "rows"))


WALLED = """
SELECT quote_ident(relname) FROM pg_class WHERE relrowsecurity AND relnamespace = 'public'::regnamespace ORDER BY 1
"""


@contextlib.contextmanager
def _without_walls() -> Iterator[None]:
    """Let the policies of all tables rest for as long as the block lasts."""
    walled = [table for (table,) in sql.rows(WALLED, {})]
    if not walled:
        raise database.UnableToMeasure("No table has row-level security: there is nothing to compare with.")
    sql.several([f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY" for table in walled], {})
    try:
        yield
    finally:
        sql.several([f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in walled], {})


def _visited(client: Client, address: str, *, requests: int) -> list[Visit]:
    for _ in range(WARM_UP):
        _visit(client, address)
    return [_visit(client, address) for _ in range(requests)]


def _measured(client: Client, address: str, *, requests: int) -> dict[str, Any]:
    visits: list[Visit] = []
    open_visits: list[Visit] = []
    for _ in range(ROUNDS):
        visits += _visited(client, address, requests=requests // ROUNDS)
        with _without_walls():
            open_visits += _visited(client, address, requests=requests // ROUNDS)
    seconds = [visit.seconds for visit in visits]
    return {
        "p50_without_walls_ms": _ms(statistics.median(visit.seconds for visit in open_visits)),
        "p50_ms": _ms(statistics.median(seconds)),
        "p95_ms": _ms(_percentile(seconds, 95)),
        "cpu_ms": _ms(statistics.median(visit.cpu for visit in visits)),  # of the portal alone
        "queries": max(visit.queries for visit in visits),
        # a neighbour on the machine lengthens any one; what a statement itself needs is the same each time
        "slowest_query_ms": _ms(statistics.median(visit.slowest for visit in visits)),
        "bytes": max(visit.size for visit in visits),
        "statement": max(visits, key=lambda visit: visit.slowest).statement,
    }


def _visit(client: Client, address: str) -> Visit:
    watch = Stopwatch()
    with connection.execute_wrapper(watch):
        used, begun = time.process_time(), time.perf_counter()
        response = client.get(address)
        took, used = time.perf_counter() - begun, time.process_time() - used
    if response.status_code != 200:
        raise database.UnableToMeasure(f"{address} answered {response.status_code} instead of 200.")
    return Visit(took, used, watch.queries, watch.slowest, watch.statement, len(response.content))


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)
