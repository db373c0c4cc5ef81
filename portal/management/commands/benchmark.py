"""How fast it is, measured beside the bare statement that nothing can beat."""

import contextlib
import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

BENCHMARKS = ("tests.benchmarks.figures", "tests.benchmarks.database")


class Command(BaseCommand):
    """Run one benchmark, in a database of its own where it needs one, which is dropped afterwards."""

    help = (
        "Measure one figure in a database of its own: fleet, booking, upload, exports, registrations, early-warning, "
        "rehearsal, pages, record"
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Take which figure, and how large."""
        parser.add_argument("name", help="which figure")
        parser.add_argument("--hubs", "--rows", type=int, metavar="N", help="of how many hubs")
        parser.add_argument(
            "--fleet", type=int, metavar="N", help="size of the fleet, where it is not --hubs"
        )
        parser.add_argument(
            "--repeat", "--runs", type=int, metavar="N", help="measure so often; the median counts"
        )
        parser.add_argument(
            "--only", default="", metavar="TEXT", help="of pages: those with this in their name"
        )
        parser.add_argument(
            "--json", action="store_true", help="end with one line of JSON instead of a table"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure, telling each step on stderr, and print the result."""
        try:
            figures, database = map(importlib.import_module, BENCHMARKS)
        except ModuleNotFoundError as missing:
            raise CommandError(
                f"The benchmarks need {missing.name}, which is not installed here: they belong to the development "
                "group of requirements.lock. Run this command in a checkout, with the .venv that manage.py makes."
            ) from missing
        figure = figures.FIGURES.get(options["name"])
        if figure is None:
            known = "\n".join(f"  {name:13} {figure.about}" for name, figure in figures.FIGURES.items())
            raise CommandError(f"There is no figure {options['name']}. There are:\n{known}")
        hubs = figure.hubs if options["hubs"] is None else options["hubs"]
        repeat = figure.repeat if options["repeat"] is None else options["repeat"]
        if hubs < 1 or repeat < 1:
            raise CommandError("--hubs and --repeat must be at least 1.")
        if options["only"] and options["name"] != "pages":
            raise CommandError("--only is for the figure pages.")
        further = {"only": options["only"]} if options["only"] else {}
        try:
            with database_for(figure, database):
                result = figure.run(hubs=hubs, fleet=options["fleet"], repeat=repeat, tell=tell, **further)
        except database.UnableToMeasure as refusal:
            raise CommandError(str(refusal)) from refusal
        if options["json"]:
            self.stdout.write(json.dumps(result))
        else:
            self.stdout.write("\n".join(table(result)))


def database_for(figure: Any, database: Any) -> contextlib.AbstractContextManager[None]:
    """Make a database where the figure needs one."""
    if not figure.is_in_database:
        return contextlib.nullcontext()
    tell("making a database")
    scratch: contextlib.AbstractContextManager[None] = database.scratch()
    return scratch


def tell(step: str) -> None:
    """Say on stderr what is being done, so that stdout holds nothing but the result."""
    print(f"benchmark: {step}", file=sys.stderr, flush=True)


def table(result: Mapping[str, Any], *, indent: str = "") -> list[str]:
    """Lay a result out for people: a line for each number, what belongs together below its name."""
    lines = []
    for name, value in result.items():
        word = name.replace("_", " ")
        if isinstance(value, Mapping) and value and all(isinstance(row, Mapping) for row in value.values()):
            lines += grid(word, value)
        elif isinstance(value, Mapping):
            lines += [f"{indent}{word}", *table(value, indent=indent + "  ")]
        else:
            shown = (
                "not known" if value is None else f"{value:,}" if isinstance(value, int | float) else value
            )
            lines.append(f"{indent}{word:<{24 - len(indent)}}{shown}")
    return lines


def grid(name: str, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lay out rows of the same numbers as columns."""
    heads = list(next(iter(rows.values())))
    lines = [f"{name:<24}" + "".join(f"{head.replace('_', ' '):>17}" for head in heads)]
    for row, values in rows.items():
        lines.append(f"  {row:<22}" + "".join(f"{values[head]:>17,}" for head in heads))
    return lines
