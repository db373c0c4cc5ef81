"""
A carrier whose hubs answer at once and never fail, for measuring the portal and nothing else.

What hubs answered waits in Redis, so that any worker can collect it.
"""

import os
import struct
from collections.abc import Sequence
from datetime import UTC, datetime

from django.conf import settings
from redis import Redis

from hubs.gateway import Command, Outcome, Phase, Receipt, Report, Verdict

QUEUE = "instant-fleet:reports"
VERSIONS = "INSTANT_FLEET_VERSIONS"
"""The environment's name for the file versions that every hub runs before and after, as "1:2"."""
ANSWERS_PER_SENDING = 50
SENDINGS = 10**9
"""Sendings of one process at most: what tells those of several apart."""
PHASES = {phase.value: phase for phase in Phase}
_HEAD = struct.Struct("<qd")
_ANSWER = "qhhqq"
_NO_VERSION = -1


class InstantFleet:
    """A `HubGateway` that hands each answer out once: nothing here dies, so nobody has to hear it again."""

    _redis: "Redis | None" = None
    _sendings = 0

    def __init__(self) -> None:
        if InstantFleet._redis is None:
            InstantFleet._redis = Redis.from_url(settings.REDIS_URL)
        self._store = InstantFleet._redis
        before, after = map(int, os.environ[VERSIONS].split(":"))
        self._version = {
            Phase.READ: before,
            Phase.STAGE: _NO_VERSION,
            Phase.ACTIVATE: _NO_VERSION,
            Phase.VERIFY: after,
        }

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        """Let the hubs do what they are told; return one receipt each, in order."""
        InstantFleet._sendings += 1
        number = os.getpid() * SENDINGS + InstantFleet._sendings
        version = self._version
        facts: list[int] = []
        for command in commands:
            facts += (
                command.deployment,
                command.phase,
                command.attempt,
                command.hub,
                version[command.phase],
            )
        answers = struct.pack("<qd" + _ANSWER * len(commands), number, now.timestamp(), *facts)
        self._store.rpush(QUEUE, answers)
        return [
            Receipt(command.deployment, command.phase, command.attempt, Verdict.ACCEPTED)
            for command in commands
        ]

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report]:
        """Return about `limit` answers, oldest first."""
        sendings: list[bytes] = self._store.lpop(QUEUE, limit // ANSWERS_PER_SENDING) or []  # type: ignore[assignment]
        return [report for sending in sendings for report in _unpacked(sending)]

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        """Do nothing: they are gone."""


def _unpacked(sending: bytes) -> list[Report]:
    number, moment = _HEAD.unpack_from(sending)
    at = datetime.fromtimestamp(moment, UTC)
    return [
        Report(
            number * ANSWERS_PER_SENDING + place,
            deployment,
            PHASES[phase],
            attempt,
            hub,
            Outcome.DONE,
            None if version == _NO_VERSION else version,
            at,
        )
        for place, (deployment, phase, attempt, hub, version) in enumerate(
            struct.iter_unpack("<" + _ANSWER, memoryview(sending)[_HEAD.size :])
        )
    ]
