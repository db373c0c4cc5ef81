"""Reconcile the carrier's log, the commands, the deployments and the counters now, from beginning to end."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hubs import gateway
from portal.ground import clock
from scheduling.models import Finding, Reconciliation
from scheduling.operations import forgeries, reconciliation


class Command(BaseCommand):
    """Say what does not agree; end with 1 if anything does not."""

    help = (
        "Hold the carrier's log, the commands, the deployments and the counters against each other, and say what does"
        " not agree. An excess halts every published release."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Offer the two ways to say it, the whole log, and mending."""
        parser.add_argument("--json", action="store_true", help="One line of JSON instead of sentences.")
        parser.add_argument(
            "--whole-log",
            action="store_true",
            help="Read the carrier's log from its beginning, not from where the last pass ended.",
        )
        parser.add_argument(
            "--repair",
            action="store_true",
            help="Set counters that do not agree to what is there; it is put on record. Reads every deployment.",
        )

    def handle(self, **options: Any) -> None:
        """Reconcile, and mend if asked to."""
        mended = None
        if options["repair"]:
            mended = reconciliation.mend(by=None, now=clock.now())
        reconciliation.start_over(now=clock.now(), from_log=0 if options["whole_log"] else None)
        door = forgeries.counted(gateway=gateway.connect(), clock=clock.now)
        done = None
        while done is None:
            done = reconciliation.reconcile(gateway=door, clock=clock.now, portions=1)
        found = list(done.findings.order_by("-is_excess", "id"))
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(done, found)))
        else:
            self._say(done, found)
        if mended:
            raise CommandError(f"{len(mended):,} counters could not be mended; the log says why.")
        if found:
            raise CommandError(
                f"{len(found):,} things do not agree. An excess is for DCC to look into before anything is resumed;"
                " counters are mended with --repair."
            )

    def _say(self, done: Reconciliation, found: list[Finding]) -> None:
        for one in found:
            self.stdout.write(f"{one.get_kind_display()}: {one.subject}. {one.words}")
        log = (
            "the carrier's log could not be read"
            if done.log_silent
            else f"{done.commands:,} commands received since the last time"
        )
        self.stdout.write(f"Compared: {log}; {done.lots:,} lots; all counters. {len(found):,} found.")


def _as_json(done: Reconciliation, found: list[Finding]) -> dict[str, Any]:
    return {
        "started_at": done.started_at.isoformat(),
        "finished_at": done.finished_at and done.finished_at.isoformat(),
        "commands": None if done.log_silent else done.commands,
        "lots": done.lots,
        "excess": sum(one.is_excess for one in found),
        "found": [
            {"kind": one.kind, "excess": one.is_excess, "subject": one.subject, "words": one.words}
            for one in found
        ],
    }
