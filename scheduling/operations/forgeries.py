"""
Count answers that came in the carrier's place and that it did not sign, whatever had been asked.

To whoever asked, a forged answer is none (`GatewayUnavailable`): it waits, and asks again. That somebody stands between
the portal and the carrier is for people to know.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import cast

from django.db import Error

from hubs.gateway import (
    Accountable,
    AnswerForged,
    Command,
    HubGateway,
    Receipt,
    ReceivedCommand,
    Report,
    Sighting,
    UnreadableReport,
    Watchful,
)
from portal.ground.clock import Clock
from scheduling.models import ReportKind
from scheduling.operations.deployments.reports import count

logger = logging.getLogger(__name__)


def counted(*, gateway: HubGateway, clock: Clock) -> HubGateway:
    """
    Return a gateway that does what this one does, and counts each forged answer before it raises `AnswerForged`.

    It is `Accountable` and `Watchful` where this one is.
    """
    kinds = {
        (True, True): _CountedWithLogAndLooks,
        (True, False): _CountedWithLog,
        (False, True): _CountedWithLooks,
        (False, False): _Counted,
    }
    return kinds[isinstance(gateway, Accountable), isinstance(gateway, Watchful)](gateway, clock)


class _Counted:
    """A gateway beyond which forged answers are counted."""

    def __init__(self, gateway: HubGateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        with self._counting():
            return self._gateway.send(commands=commands, now=now)

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report | UnreadableReport]:
        with self._counting():
            return self._gateway.collect(limit=limit, now=now)

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        with self._counting():
            self._gateway.acknowledge(reports=reports)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        try:
            yield
        except AnswerForged:
            try:
                count(came={ReportKind.FORGED: 1}, now=self._clock())
            except Error:  # any other exception from `send` would strike a hub
                logger.exception("a forged answer could not be counted")
            raise


class _CountedWithLog(_Counted):
    """The same where the carrier keeps a log."""

    def received(self, *, after: int, limit: int) -> Sequence[ReceivedCommand]:
        with self._counting():
            return cast(Accountable, self._gateway).received(after=after, limit=limit)


class _CountedWithLooks(_Counted):
    """The same where the carrier can look at hubs."""

    def look(self, *, hubs: Sequence[int], now: datetime) -> Sequence[Sighting]:
        with self._counting():
            return cast(Watchful, self._gateway).look(hubs=hubs, now=now)


class _CountedWithLogAndLooks(_CountedWithLog, _CountedWithLooks):
    """The same where it does both."""
