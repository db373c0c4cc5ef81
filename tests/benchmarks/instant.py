"""
A carrier whose hubs answer at once and never fail, for measuring the portal and nothing else.

What hubs answered waits in a file, to which every worker appends and from which any worker can collect.
"""

import fcntl
import os
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hubs.gateway import Command, Outcome, Phase, Receipt, Report, Verdict

ANSWERS = "INSTANT_FLEET_ANSWERS"
"""The environment's name for the file that answers wait in; as many are collected as the one beside it has bytes."""
VERSIONS = "INSTANT_FLEET_VERSIONS"
"""The environment's name for the file versions that every hub runs before and after, as "1:2"."""
PHASES = {phase.value: phase for phase in Phase}
_ANSWER = "qhhqqd"
_SIZE = struct.calcsize("<" + _ANSWER)
_NO_VERSION = -1


class InstantFleet:
    """A `HubGateway` that hands each answer out once: nothing here dies, so nobody has to hear it again."""

    def __init__(self) -> None:
        path = Path(os.environ[ANSWERS])
        self._answers = path.open("a+b", buffering=0)
        self._collected = path.with_suffix(".collected").open("a+b", buffering=0)
        before, after = map(int, os.environ[VERSIONS].split(":"))
        self._version = {
            Phase.READ: before,
            Phase.STAGE: _NO_VERSION,
            Phase.ACTIVATE: _NO_VERSION,
            Phase.VERIFY: after,
        }

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        """Let the hubs do what they are told; return one receipt each, in order."""
        version, moment = self._version, now.timestamp()
        facts: list[float] = []
        for command in commands:
            facts += (
                command.deployment,
                command.phase,
                command.attempt,
                command.hub,
                version[command.phase],
                moment,
            )
        self._answers.write(struct.pack("<" + _ANSWER * len(commands), *facts))
        return [
            Receipt._make((command.deployment, command.phase, command.attempt, Verdict.ACCEPTED))
            for command in commands
        ]

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report]:
        """Return at most `limit` answers, oldest first."""
        fcntl.flock(self._collected, fcntl.LOCK_EX)
        try:
            first = os.fstat(self._collected.fileno()).st_size
            answers = os.pread(self._answers.fileno(), limit * _SIZE, first * _SIZE)
            whole = len(answers) // _SIZE  # the last one may be on its way
            os.truncate(self._collected.fileno(), first + whole)
        finally:
            fcntl.flock(self._collected, fcntl.LOCK_UN)
        told: dict[float, datetime] = {}
        return [
            Report._make(
                (
                    number,
                    deployment,
                    PHASES[phase],
                    attempt,
                    hub,
                    Outcome.DONE,
                    None if version == _NO_VERSION else version,
                    told.get(moment) or told.setdefault(moment, datetime.fromtimestamp(moment, UTC)),
                )
            )
            for number, (deployment, phase, attempt, hub, version, moment) in enumerate(
                struct.iter_unpack("<" + _ANSWER, answers[: whole * _SIZE]), first + 1
            )
        ]

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        """Do nothing: they are gone."""
