"""What a release would do: its whole rollout, on virtual time, with a stated defect."""

import json
import sys
from argparse import SUPPRESS
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from firmware.models import FirmwareRelease
from portal import databases, fast_rehearsals, rehearsal_processes, rehearsal_runs, rehearsals

HUBS = 100_000


class Command(BaseCommand):
    """Rehearse the rollout of a release, or of one that is nobody's, in a database of its own."""

    help = "Rehearse a rollout on virtual time, with a stated defect, in a database of its own"
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what is rolled out, to how many hubs, and what is wrong with it."""
        parser.add_argument(
            "--hubs", type=int, metavar="N", help=f"to so many hubs ({HUBS:,}, or those of the release)"
        )
        parser.add_argument(
            "--release", metavar="CPL-ENTRY-ID", help="with policy, models, networks and capacity of this one"
        )
        parser.add_argument(
            "--defect", metavar="PERCENT", help="which share of the hubs it breaks, such as 2%%; else none"
        )
        parser.add_argument("--kind", choices=rehearsals.KINDS, default="visible", help="how that shows")
        parser.add_argument(
            "--where", default="all", metavar="WHERE", help="all, network:NAME or model:NAME (all)"
        )
        parser.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed, the same hubs")
        parser.add_argument(
            "--json", action="store_true", help="end with one line of JSON instead of a table"
        )
        parser.add_argument(
            "--fast", action="store_true", help="in numbers alone, for any number of hubs, without a calendar"
        )
        parser.add_argument("--inside", action="store_true", help=SUPPRESS)
        parser.add_argument("--asked", type=int, nargs=3, help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Rehearse, telling each step on stderr, and print how it went."""
        if options["inside"]:
            rehearsal_processes.inside()
            return
        if options["asked"]:
            rehearsal, token, parent = options["asked"]
            rehearsal_runs.run(rehearsal=rehearsal, token=token, parent=parent)
            return
        try:
            plan = self.plan(options)
            if options["fast"]:
                found = fast_rehearsals.simulate(plan=plan, tell=tell)
                self.stdout.write(json.dumps(found) if options["json"] else "\n".join(fast_table(found)))
                return
            with rehearsal_processes.ending_by_signals():
                result = rehearsal_processes.outside(plan=plan, tell=tell)
        except (rehearsals.UnableToRehearse, databases.UnableToMake) as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(json.dumps(result) if options["json"] else "\n".join(table(result)))

    def plan(self, options: Mapping[str, Any]) -> rehearsals.Plan:
        """Return the plan that the words of the command ask for."""
        defect = rehearsals.defect_from(share=options["defect"], kind=options["kind"], where=options["where"])
        hubs, seed = options["hubs"], options["seed"]
        if hubs is not None and hubs < 1:
            raise rehearsals.UnableToRehearse("--hubs has to be at least 1.")
        if not options["release"]:
            return rehearsals.nobodys(hubs=hubs or HUBS, defect=defect, seed=seed)
        release = FirmwareRelease.objects.filter(cpl_entry_id=options["release"]).first()
        if release is None:
            known = ", ".join(FirmwareRelease.objects.order_by("pk").values_list("cpl_entry_id", flat=True))
            raise rehearsals.UnableToRehearse(
                f"There is no release {options['release']}. There are: {known or 'none yet'}."
            )
        return rehearsals.of_release(release=release, hubs=hubs, defect=defect, seed=seed)


def tell(step: str, share: float | None = None) -> None:
    """Say on stderr what is being done, so that stdout holds nothing but the result."""
    print(f"rehearse: {step}", file=sys.stderr, flush=True)


def fast_table(result: Mapping[str, Any]) -> list[str]:
    """Lay out for people what many rollouts in numbers came to."""
    lines = [
        f"{result['release']}, to {result['hubs']:,} hubs, seed {result['seed']}",
        f"rollouts in numbers alone: {result['runs']}",
    ]
    for name in ("commanded", "bad", "days"):
        lines.append(
            f"{name:<12}{result[name]['mean']:>14,} on average{result[name]['p95']:>14,} at the 95th percentile"
        )
    return [*lines, f"{'halted':<12}{result['halted']:>14.1%}", f"{'took':<12}{result['wall_s']:>14,} s"]


def table(result: Mapping[str, Any]) -> list[str]:
    """Lay a result out for people."""
    defect, halt, days = result["defect"], result["halt"], result["days"]
    lines = [f"{result['release']}, to {result['hubs']:,} hubs, seed {result['seed']}"]
    if defect:
        place = defect["network"] or defect["model"] or "everywhere"
        lines.append(f"breaks {defect['share']:.3%} more of them ({defect['kind']}, {place})")
    else:
        lines.append("breaks nothing")
    lines += [
        "",
        f"hubs commanded          {result['commanded']:,}",
        f"of them bad             {result['bad']:,}",
    ]
    if halt:
        lines += [
            f"halted after            {halt['hours']} h of activations",
            f"commands after that     {halt['admitted_after']:,}",
            f"why                     {halt['reason']}",
        ]
    else:
        fit = "yes" if result["fits"] else f"no: {result['untried']:,} hubs were not tried"
        lines += [
            f"done after              {days} days of {result['period_days']}",
            f"fits into the period    {fit}",
        ]
    lines += ["", "outcomes"]
    lines += [f"  {one['state']:<14}{one['hubs']:>12,}  {one['reason']}" for one in result["outcomes"]]
    lines += ["", "capacity"]
    lines += [
        f"  {one['network']:<14}{one['taken']:>12,} of {one['places']:,} places; the fullest slot {one['fullest']:.0%}"
        for one in result["capacity"]
    ]
    lines += ["", "stages (days after the opening)"]
    lines += [
        f"  {one['model']}, {one['number']:>3}{one['commanded']:>12,} hubs, opened {one['opened']}, "
        f"closed {'-' if one['closed'] is None else one['closed']}"
        for one in result["stages"]
    ]
    return [*lines, "", *(f"{name:<24}{seconds:,} s" for name, seconds in result["wall_s"].items())]
