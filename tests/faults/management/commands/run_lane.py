"""Run storms by the seeds that come in, and tell of each when it is over."""

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from tests.faults import storm
from tests.faults.lane import Lane


class Command(BaseCommand):
    """A line with a seed comes in, a line of JSON goes out; the end of the input ends it."""

    help = "Run storms: seeds in, outcomes out"
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until nobody asks any more."""
        results = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # whatever else is printed is no outcome
        lane = Lane()
        lane.prepare()
        try:
            for line in sys.stdin:
                outcome = storm.run(lane=lane, seed=int(line))
                results.write(json.dumps(asdict(outcome)) + "\n")
                results.flush()
        finally:
            lane.end()
            lane.mail.close()
