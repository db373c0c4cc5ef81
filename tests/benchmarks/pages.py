"""
Every page of the portal, as a Supplier's person, DCC's staff and a stranger ask for it, against what people may expect.

Three ways to look: through Django's test client, which tells queries and processor time, and what the walls between
Suppliers cost; over HTTP, which tells the first byte; and in a browser, which tells what it receives and what moves
under the reader's eyes. Static files are compressed and named as production serves them.
"""

import contextlib
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.test import Client

from portal.ground import sql
from portal.models import User
from tests.benchmarks import database, everything, serving
from tests.benchmarks.world import Tell
from tests.signing_in import known_recently

WARM_UP = 2
REQUESTS = 10
"""For each page, times --repeat; and as many without walls."""
ROUNDS = 2
"""Both ways take turns so often, so that what the machine does meanwhile falls on both."""
FIRST_BYTE_MS = 100
PAGE_KB = {"plain": 300, "charts": 700}
"""What a browser may receive for a page, of 1,000 bytes, without charts and with."""
LAYOUT_SHIFT = 0.1
"""The most that Google's Core Web Vitals call good."""


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


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell, only: str = "") -> dict[str, Any]:
    """
    Measure every page in a fleet of so many hubs, some of them booked; or those with `only` in their name.

    :raises UnableToMeasure: if there is no such page
    """
    found = everything.make(hubs=hubs, tell=tell)
    asked = {
        who: {name: address for name, address in addresses.items() if only in name}
        for who, addresses in found.pages.items()
    }
    if not any(asked.values()):
        raise database.UnableToMeasure(f"No page has {only} in its name.")
    pages: dict[str, dict[str, Any]] = {}
    with serving.as_in_production(tell=tell):
        clients = {who: _signed_in(person) for who, person in found.people.items()}
        for who, addresses in asked.items():
            for name, address in addresses.items():
                tell(f"asking for {name}")
                pages[name] = _measured(clients[who], address, requests=REQUESTS * repeat)
        cookies = {who: serving.cookies(client) for who, client in clients.items()}
        seen = serving.looked_at(pages=asked, cookies=cookies, requests=REQUESTS * repeat, tell=tell)
    for name, page in pages.items():
        page |= seen[name]
    slowest = max(pages, key=lambda name: float(pages[name]["slowest_query_ms"]))
    return {
        "figure": "pages",
        "hubs": hubs,
        "booked": found.booked,
        "repeat": repeat,
        "measured": {
            "pages": len(pages),
            "p50_ms": max(page["p50_ms"] for page in pages.values()),
            "first_byte_ms": max(
                page["first_byte_ms"] for name, page in pages.items() if name not in everything.PARTS
            ),
            "slowest_query_ms": max(page["slowest_query_ms"] for page in pages.values()),
            "queries": max(page["queries"] for page in pages.values()),
            "received_kb": max(page["received_kb"] for page in pages.values()),
            "layout_shift": max(page["layout_shift"] for page in pages.values()),
            "ratio_to_no_walls": round(
                statistics.median(page["p50_ms"] / page["p50_without_walls_ms"] for page in pages.values()), 2
            ),
        },
        "limit": {"first_byte_ms": FIRST_BYTE_MS, "received_kb": PAGE_KB, "layout_shift": LAYOUT_SHIFT},
        "beyond": beyond(pages),
        "slowest": {"page": slowest, "statement": pages[slowest]["statement"]},
        "pages": {
            name: {key: value for key, value in page.items() if key != "statement"}
            for name, page in pages.items()
        },
    }


def beyond(pages: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Say which pages are beyond each limit, "none" where all of them hold."""
    too_much: dict[str, list[str]] = {"first byte": [], "received": [], "layout shift": []}
    for name, page in pages.items():
        if page["first_byte_ms"] > FIRST_BYTE_MS and name not in everything.PARTS:
            too_much["first byte"].append(f"{name} ({page['first_byte_ms']} ms)")
        if page["received_kb"] > PAGE_KB["charts" if page["charts"] else "plain"]:
            too_much["received"].append(f"{name} ({page['received_kb']} kB)")
        if page["layout_shift"] > LAYOUT_SHIFT:
            too_much["layout shift"].append(f"{name} ({page['layout_shift']})")
    return {word: ", ".join(names) or "none" for word, names in too_much.items()}


def _signed_in(person: User | None) -> Client:
    client = Client()
    if person is not None:
        known_recently(client=client, person=person)
    return client


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
