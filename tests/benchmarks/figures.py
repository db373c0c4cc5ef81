"""Every figure by its name."""

from typing import Any, NamedTuple, Protocol

from tests.benchmarks import (
    booking,
    carrying_out,
    early_warning,
    exports,
    fleet,
    halt,
    pages,
    record,
    registrations,
    rehearsal,
    upload,
)
from tests.benchmarks.world import Tell


class Run(Protocol):
    """Measure, and return the result as it is printed."""

    def __call__(self, *, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]: ...


class Figure(NamedTuple):
    """What is measured, at how many hubs and how often where nobody says, and whether in a database."""

    run: Run
    hubs: int
    about: str
    repeat: int = 1
    is_in_database: bool = True


FIGURES = {
    "fleet": Figure(fleet.run, 1_000_000, "load_fleet against a bare COPY of the same rows"),
    "booking": Figure(
        booking.run,
        100_000,
        "booking as early as possible against a bare COPY and a bare INSERT … SELECT of the same deployments",
    ),
    "upload": Figure(
        upload.run,
        1_000_000,
        "a file of so many rows, received to previewed, as CSV and as XLSX, against a bare COPY of its rows",
    ),
    "exports": Figure(
        exports.run,
        1_000_000,
        "the list of so many hubs as a file, as CSV and as XLSX, against a bare COPY of the same columns",
    ),
    "registrations": Figure(
        registrations.run,
        1_000_000,
        "a file of so many changes of supplier, brought in and taking effect, against a bare COPY of its rows",
    ),
    "carrying-out": Figure(
        carrying_out.run,
        1_000_000,
        "so many hubs from due to final through Celery, with a fleet that answers at once, against a bare loop",
    ),
    "halt": Figure(
        halt.run, 200_000, "a halt while 50 senders are busy: until it is committed, and admitted after it"
    ),
    "early-warning": Figure(
        early_warning.run,
        1_000_000,
        "hubs that a bad release reaches before it is stopped, and false alarms, beside a fixed percentage",
        repeat=300,
        is_in_database=False,
    ),
    "rehearsal": Figure(
        rehearsal.run,
        100_000,
        "hubs that a silent defect reaches through the real code, with so many seeds, beside numbers alone",
        repeat=3,
    ),
    "pages": Figure(
        pages.run,
        1_000_000,
        "every page: first byte, queries, the slowest of them, what a browser receives, what moves",
    ),
    "record": Figure(
        record.run, 1_000_000, "checking so many decisions on record, as they are and after they were forged"
    ),
}
