"""
The modelled fleet as a carrier of its own mind: its own clock, its own book, and its bad days.

A real carrier does not ask the portal what time it is, and does not keep its records in the portal's database.
So commands arrive here when the database's clock says so, whatever the sender believes, and each sending is
written to a file before anything else: no crash of PostgreSQL can take it back.
"""

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from hubs.gateway import Command, Phase, Receipt, Report
from hubs.modelled_fleet.gateway import ModelledFleet
from portal.ground import clock

BOOK = "arrivals.jsonl"
MOOD = "mood.json"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One command as it arrived, however often: who sent it, when that one had decided so, and when it came."""

    deployment: int
    phase: int
    attempt: int
    hub: int
    lot: int
    token: int
    decided_at: datetime
    arrived_at: datetime


@dataclass(frozen=True, slots=True)
class Mood:
    """Shares from 0 to 1 of the carrier's conversations that go wrong."""

    is_down: float = 0.0
    """It cannot be reached."""
    loses_answers: float = 0.0
    """What was asked of it is done, but the answer is lost."""
    shuffles: float = 0.0
    """Reports come in any order, some of them twice, some of them only the next time."""


class CarrierDown(ConnectionError):
    """The carrier was not reached, or its answer was not."""


class Carrier(ModelledFleet):
    """The modelled fleet behind a door that is not always well."""

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        """Write down and log the commands as of their arrival."""
        mood = _mood()
        if random.random() < mood.is_down:
            raise CarrierDown("down")
        arrived = clock.now()
        _write_down(commands, now, arrived)
        receipts = super().send(commands=commands, now=arrived)
        if random.random() < mood.loses_answers:
            raise CarrierDown("the receipts were lost")
        return receipts

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report]:
        """Hand over reports as of the carrier's own clock."""
        mood = _mood()
        if random.random() < mood.is_down:
            raise CarrierDown("down")
        reports = list(super().collect(limit=limit, now=clock.now()))
        if random.random() < mood.loses_answers:
            raise CarrierDown("the reports were lost")
        if random.random() < mood.shuffles:
            random.shuffle(reports)
            some = reports[: len(reports) // 2 + 1]
            return [*some, *some[: len(some) // 2]][:limit]
        return reports

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        """Forget reports, unless the portal's word is lost on its way."""
        if random.random() < _mood().loses_answers:
            raise CarrierDown("the acknowledgement was lost")
        super().acknowledge(reports=reports)


def set_mood(mood: Mood) -> None:
    """Change the carrier's mood, for every process at once."""
    path = _place(MOOD)
    half_written = path.with_suffix(".new")
    half_written.write_text(
        json.dumps({name: getattr(mood, name) for name in Mood.__dataclass_fields__}), encoding="utf-8"
    )
    half_written.rename(path)


def forget() -> None:
    """Begin a new book, in the best of moods."""
    for name in (BOOK, MOOD):
        _place(name).unlink(missing_ok=True)


def arrivals() -> list[Arrival]:
    """Return the book: every command that arrived, in order."""
    if not _place(BOOK).exists():
        return []
    return [
        Arrival(*key, datetime.fromisoformat(sending["decided"]), datetime.fromisoformat(sending["arrived"]))
        for sending in map(json.loads, _place(BOOK).read_text(encoding="utf-8").splitlines())
        for key in sending["commands"]
    ]


def _place(name: str) -> Path:
    return Path(settings.MEDIA_ROOT) / name


def _mood() -> Mood:
    try:
        return Mood(**json.loads(_place(MOOD).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Mood()


def _write_down(commands: Sequence[Command], decided: datetime, arrived: datetime) -> None:
    line = json.dumps(
        {
            "decided": decided.isoformat(),
            "arrived": arrived.isoformat(),
            "commands": [
                [one.deployment, int(Phase(one.phase)), one.attempt, one.hub, one.lot, one.token]
                for one in commands
            ],
        }
    )
    book = os.open(_place(BOOK), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(book, f"{line}\n".encode())  # one call: lines of several processes do not mix
    finally:
        os.close(book)
