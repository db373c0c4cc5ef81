"""How long a halt takes while many senders are busy, and that nothing is admitted once it has committed."""

import os
import statistics
import tempfile
import threading
import time
from typing import Any

from django.db import connections

from firmware.models import FirmwareRelease, SignedAct
from firmware.operations import decisions
from hubs.models import CommunicationsHub, FirmwareVersion
from portal.ground import clock, sql
from scheduling.operations import deployments
from tests import factories
from tests.benchmarks import carrying_out, database, instant
from tests.benchmarks.world import Tell, World

SENDERS = 50
BUSY_FOR = 3.0
"""Seconds for which the senders are busy before the halt."""
IDLE_FOR = 3.0
"""Seconds for which they go on after it."""
ADMITTED = "SELECT count(*) FROM scheduling_command"


class Senders:
    """Threads with a connection each that claim, admit, send and collect as workers do, without a pause."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(SENDERS)]

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        fleet = instant.InstantFleet()
        try:
            while not self._stop.is_set():
                deployments.carry_out(
                    gateway=fleet, clock=clock.now, lots=1, keep_going=lambda: not self._stop.is_set()
                )
                deployments.collect(gateway=fleet, clock=clock.now)
        except BaseException as error:
            self.errors.append(error)
        finally:
            connections.close_all()


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """
    Measure `decisions.halt` with 50 busy senders, from the call to its commit, and what was admitted after that.

    What was admitted is counted in the database right after the commit and again when the senders have had time.
    """
    world = carrying_out.booked(hubs=hubs, fleet=fleet, tell=tell)
    folder = tempfile.TemporaryDirectory()
    try:
        carrying_out.make_due()
        people = [factories.UserFactory.create(is_staff=True, is_superuser=True) for _ in range(2)]
        before = FirmwareVersion.objects.filter(
            pk__in=CommunicationsHub.objects.exclude(installed_version=world.release.version_id).values(
                "installed_version"
            )
        )[0]
        os.environ[instant.ANSWERS] = f"{folder.name}/answers"
        os.environ[instant.VERSIONS] = f"{before.number}:{world.release.version.number}"
        seconds, after, busy = [], 0, []
        for number in range(repeat):
            tell(f"run {number + 1}: {SENDERS} senders")
            with Senders() as senders:
                time.sleep(BUSY_FOR)
                [(admitted,)] = sql.rows(ADMITTED, {})
                began = time.perf_counter()
                decisions.halt(
                    release=FirmwareRelease.objects.get(pk=world.release.pk),
                    by=people[0],
                    reason="Measured",
                    now=clock.now(),
                )
                seconds.append(time.perf_counter() - began)
                [(at_commit,)] = sql.rows(ADMITTED, {})
                time.sleep(IDLE_FOR)
            if senders.errors:
                raise database.UnableToMeasure(f"A sender failed: {senders.errors[0]!r}")
            [(in_the_end,)] = sql.rows(ADMITTED, {})
            after += in_the_end - at_commit
            busy.append(at_commit)
            if not admitted:
                raise database.UnableToMeasure("The senders were not busy: nothing had been admitted.")
            _resume(world, people)
    finally:
        folder.cleanup()
        world.release.image.delete(save=False)
    return {
        "figure": "halt",
        "hubs": hubs,
        "repeat": repeat,
        "senders": SENDERS,
        "measured": {
            "wall_s": round(statistics.median(seconds), 3),
            "slowest_s": round(max(seconds), 3),
            "admitted_before": busy[-1],
        },
        "admitted_after": after,
    }


def _resume(world: World, people: list[Any]) -> None:
    release = FirmwareRelease.objects.get(pk=world.release.pk)
    terms = {"revision": release.revision, "digest": release.digest}
    decisions.sign_off(
        release=release, act=SignedAct.RESUME, by=people[1], now=clock.now(), reason="Measured", **terms
    )
    decisions.resume(release=release, by=people[0], reason="Measured", now=clock.now())
    deployments.wake_stopped(now=clock.now())
