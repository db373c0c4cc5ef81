"""
From due to final, through Celery, with a fleet that answers at once, against a bare claim-and-update loop.

Both begin with tables that have the room on their pages that a load leaves, and with the server's settings of a demo.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connection, connections
from redis import Redis

from hubs.models import CommunicationsHub, FirmwareVersion, Network
from hubs.operations import count_fleet
from portal.ground import clock, sql
from portal.models import Heartbeat
from scheduling.models import Booking, CapacityPattern, Slot
from scheduling.operations import bookings
from scheduling.queries.plans import Timing
from tests.benchmarks import database, instant, meter
from tests.benchmarks import world as worlds
from tests.benchmarks.world import Tell, World

WORKERS = 2
DEPLOYMENTS = "scheduling_deployment"
LOTS = "scheduling_lot"
COMMANDS = "scheduling_command"
HUBS = "hubs_communicationshub"
IMAGE_SIZE = 200_000
POLICY = {"in_flight_floor": 10_000, "in_flight_ceiling": 10_000, "stage_sizes": []}
"""No stages, and the most that a policy has in flight as a rule: what is measured is not the waiting."""
SPARE = 1.4
"""Hubs in the fleet for each that is booked: some may not be booked, whoever leads them."""
SAID = 4_000
UP_WITHIN = 60
"""Seconds."""
STALLED = 120
"""Seconds without a hub that moves, after which something is wrong."""
# Every hub is led by one Supplier, shared with none, and runs the same version: what is measured is the carrying
# out, and the answer of every hub is the same number.
ONE_SUPPLIER = """
UPDATE hubs_communicationshub SET import_supplier_id = %(supplier)s, gas_supplier_id = NULL, mprn = NULL,
    electricity_commissioned = true, installed_version_id = %(version)s
"""
OPEN = "SELECT sum(provisional + held), sum(booked), sum(staging), sum(staged), sum(activating) FROM scheduling_lot"
BARE_CLAIM = """
UPDATE bare_scheduling_lot SET lease_until = clock_timestamp() + interval '1 minute', token = token + 1
WHERE id = (SELECT id FROM bare_scheduling_lot WHERE due_at <= clock_timestamp()
              AND (lease_until IS NULL OR lease_until <= clock_timestamp())
            ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, token
"""
# What is known of a hub after a step: its deployment's state, and the command with its outcome; in the end its
# version too.
BARE_STEP = """
WITH moved AS (
    UPDATE bare_scheduling_deployment SET state = %(state)s, phase = %(phase)s, attempt = attempt + 1,
        moved_at = clock_timestamp(), next_at = CASE WHEN NOT %(is_last)s THEN clock_timestamp() END,
        ended_at = CASE WHEN %(is_last)s THEN clock_timestamp() END
    WHERE id BETWEEN %(lot)s * 2048 AND %(lot)s * 2048 + 2047 RETURNING id, hub_id, attempt),
told AS (
    INSERT INTO bare_scheduling_command (deployment_id, phase, attempt, token, admitted_at, valid_until, sent_at,
                                         verdict, answered_at, outcome)
    SELECT id, %(phase)s, attempt, 1, clock_timestamp(), clock_timestamp(), clock_timestamp(), 1, clock_timestamp(), 1
    FROM moved),
versions AS (
    UPDATE bare_hubs_communicationshub hub SET installed_version_id = %(version)s FROM moved
    WHERE %(is_last)s AND hub.chf_id = moved.hub_id)
UPDATE bare_scheduling_lot SET due_at = CASE WHEN NOT %(is_last)s THEN clock_timestamp() END, lease_until = NULL
WHERE id = %(lot)s
"""
STEPS = ("staging", "staged", "activating", "succeeded")
"""Where a hub is after it was read, staged, activated and read back."""


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """
    Measure `hubs` hubs from due to final: read, staged, activated, read back, each told and answered.

    Two Celery workers and a timetable, on this machine; measured once, since the hubs are done afterwards.
    """
    world = booked(hubs=hubs, fleet=fleet, tell=tell)
    try:
        return _measure(world, hubs, tell)
    finally:
        world.release.image.delete(save=False)


def _measure(world: World, hubs: int, tell: Tell) -> dict[str, Any]:
    tell("bare claim and update of the same rows")
    once = _bare(hubs, STEPS[-1:], world.release.version_id)
    bare = _bare(hubs, STEPS, world.release.version_id)
    with _crew(world) as crew:
        tell("waiting for the workers to be up")
        crew.be_up()
        make_due()
        tell("carrying out")
        crew.look()
        spent = crew.cpu_s
        with meter.measured() as cost:
            began = time.perf_counter()
            _wait(hubs, crew, tell)
            took = time.perf_counter() - began
    states = _states()
    if states != {"succeeded": hubs}:
        raise database.UnableToMeasure(f"Not every hub succeeded: {states}.")
    cpu = None if cost.cpu_s is None else cost.cpu_s + crew.cpu_s - spent
    policy = world.release.policy
    return {
        "figure": "carrying-out",
        "hubs": hubs,
        "lots": sql.rows("SELECT count(*) FROM scheduling_lot", {})[0][0],
        "in_flight": {
            "floor": policy.in_flight_floor,
            "percent": policy.in_flight_percent,
            "ceiling": policy.in_flight_ceiling,
        },
        "measured": {
            "wall_s": round(took, 2),
            "cpu_s": None if cpu is None else round(cpu, 1),
            "cpu_us_per_hub": None if cpu is None else round(cpu / hubs * 1e6, 1),
            "peak_mb": round(crew.peak_mb, 1),
            "first_peak_mb": round(crew.first_peak_mb, 1),
            "hubs_per_s": round(hubs / took),
        },
        "limit": {
            "statement": "for each of the four steps: claim a lot, update its deployments, insert their commands with "
            "outcomes; in the end their hubs' version; two connections, no trigger",
            **bare.as_measured(hubs=hubs),
        },
        **_ratio(took, cpu, bare),
        "once": {
            "statement": "the same in one step, from booked to succeeded",
            **once.as_measured(hubs=hubs),
            **_ratio(took, cpu, once),
        },
    }


def _ratio(took: float, cpu: float | None, bare: meter.Cost) -> dict[str, float | None]:
    """Return hubs a second ÷ those of the bare loop: by the clock, and by processor time."""
    return {
        "ratio": round(bare.wall_s / took, 3),
        "ratio_cpu": None if cpu is None or bare.cpu_s is None else round(bare.cpu_s / cpu, 3),
    }


def booked(*, hubs: int, fleet: int | None, tell: Tell) -> World:
    """Make a world in which one Supplier has booked `hubs` hubs, in one large slot of each network."""
    fleet = fleet or int(hubs * SPARE) + 1_000
    # an image of an ordinary size: it is hashed again before every lot is staged
    content = random.Random(1).randbytes(IMAGE_SIZE)
    world = worlds.make(hubs=fleet, room=hubs, tell=tell, content=content, policy=POLICY)
    tell("giving every hub to one Supplier")
    version = FirmwareVersion.objects.exclude(pk=world.release.version_id).order_by("pk")[0]
    sql.run(ONE_SUPPLIER, {"supplier": world.supplier.pk, "version": version.pk})
    count_fleet(now=clock.now())
    worlds.leave(world=world, hubs=hubs, tell=tell)
    database.tidy(HUBS, "hubs_fleetcount", anew=True)
    CapacityPattern.objects.all().delete()
    Slot.objects.all().delete()
    start = clock.now() + timedelta(hours=3)
    Slot.objects.bulk_create(
        Slot(network=network, start_at=start, end_at=start + timedelta(hours=12), capacity=2 * hubs + 2_000)
        for network in Network.objects.order_by("pk")
    )
    tell(f"booking {hubs:,} hubs")
    booking = bookings.book(
        selection=world.choose(), timing=Timing(Booking.Plan.EARLIEST), by=world.person, clock=clock.now
    )
    if booking.hubs != hubs or booking.unplaced:
        raise database.UnableToMeasure(f"{booking.hubs:,} hubs were booked instead of {hubs:,}.")
    database.tidy(DEPLOYMENTS, LOTS, "scheduling_slot")
    return world


def make_due() -> None:
    """Let the slots have begun, and everything be due now."""
    now = clock.now()
    Slot.objects.update(start_at=now - timedelta(minutes=1))
    sql.run("UPDATE scheduling_lot SET due_at = %(now)s, staging_from = %(now)s", {"now": now})
    sql.run("UPDATE scheduling_deployment SET next_at = %(now)s", {"now": now})
    database.tidy(DEPLOYMENTS, LOTS)


def _bare(hubs: int, steps: Sequence[str], version: int) -> meter.Cost:
    """
    Claim lots and update their rows in tables of their own, with as many connections as there are workers.

    Each lot is claimed once for each of the `steps`.
    """
    with (
        database.twin(table=DEPLOYMENTS) as deployments,
        database.twin(table=LOTS) as lots,
        database.twin(table=COMMANDS),
        database.twin(table=HUBS) as fleet,
    ):
        sql.run(f"INSERT INTO {deployments} SELECT * FROM {DEPLOYMENTS} ORDER BY id", {})
        sql.run(f"INSERT INTO {lots} SELECT * FROM {LOTS} ORDER BY id", {})
        sql.run(
            f"INSERT INTO {fleet} ({database.plain_columns(HUBS)}) SELECT {database.plain_columns(HUBS)} FROM {HUBS} "
            f"WHERE chf_id IN (SELECT hub_id FROM {DEPLOYMENTS}) ORDER BY chf_id",
            {},
        )
        # the first step of each lot counts in `token`, which the claim moves on
        sql.run(f"UPDATE {lots} SET due_at = clock_timestamp(), token = 0", {})
        database.tidy(deployments, lots, fleet)
        threads = [threading.Thread(target=_bare_loop, args=(steps, version)) for _ in range(WORKERS)]
        with meter.measured() as cost:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        [(done,)] = sql.rows(
            f"SELECT count(*) FROM {deployments} WHERE state = %(last)s", {"last": steps[-1]}
        )
    if done != hubs:
        raise database.UnableToMeasure(f"The bare loop ended {done:,} of {hubs:,} hubs.")
    return cost


def _bare_loop(steps: Sequence[str], version: int) -> None:
    try:
        while claimed := sql.rows(BARE_CLAIM, {}):
            [(lot, turn)] = claimed
            terms = {"lot": lot, "state": steps[turn - 1], "phase": turn, "version": version}
            sql.run(BARE_STEP, {**terms, "is_last": turn == len(steps)})
    finally:
        connections.close_all()


def _states() -> dict[str, int]:
    return dict(sql.rows("SELECT state, count(*) FROM scheduling_deployment GROUP BY 1", {}))


class Crew:
    """Workers and a timetable, as programs of their own: what they cost, and that they are alive."""

    def __init__(self, programs: "list[subprocess.Popen[bytes]]", log: Path) -> None:
        self.programs = programs
        self.cpu_s = 0.0
        self.peak_mb = 0.0
        self.first_peak_mb = 0.0
        self._log = log
        self._cpu_of: dict[int, float] = {}

    def be_up(self) -> None:
        """
        Wait until every worker and the timetable have said that they live.

        :raises UnableToMeasure: if one of them has ended, or does not say so for long
        """
        for _ in range(UP_WITHIN * 10):
            self.look()
            if Heartbeat.objects.count() == len(self.programs):
                return
            time.sleep(0.1)
        raise database.UnableToMeasure(f"The workers are not up after {UP_WITHIN} s:\n{self.said()}")

    def said(self) -> str:
        """Return the last that they said."""
        return self._log.read_text()[-SAID:]

    def look(self) -> None:
        """
        Add up what they cost so far.

        :raises UnableToMeasure: if one of them has ended
        """
        for program in self.programs:
            if program.poll() is not None:
                raise database.UnableToMeasure(f"A worker ended:\n{self.said()}")
            leader = psutil.Process(program.pid)
            for process in (leader, *leader.children(recursive=True)):
                try:
                    self._cpu_of[process.pid] = sum(process.cpu_times()[:2])
                    self.peak_mb = max(self.peak_mb, process.memory_info().rss / 1024**2)
                except psutil.NoSuchProcess:
                    continue
        self.cpu_s = sum(self._cpu_of.values())


@contextmanager
def _crew(world: World) -> Iterator[Crew]:
    """Run the workers and the timetable until the block is left."""
    Redis.from_url(settings.REDIS_URL).flushall()  # nothing of earlier runs is still to be carried out
    before = FirmwareVersion.objects.get(
        pk=CommunicationsHub.objects.exclude(installed_version=world.release.version_id)
        .values_list("installed_version", flat=True)[:1]
        .get()
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "DATABASE_URL": _database_url(),
            "HUB_GATEWAY": f"{instant.__name__}.{instant.InstantFleet.__name__}",
            instant.ANSWERS: f"{folder}/answers",
            instant.VERSIONS: f"{before.number}:{world.release.version.number}",
            "MEDIA_ROOT": str(settings.MEDIA_ROOT),
            "LOG_LEVEL": "WARNING",
        }
        log = Path(folder) / "crew.log"
        programs: list[subprocess.Popen[bytes]] = []
        try:
            with log.open("wb") as said:
                worker = ("worker", "--concurrency", "1", "--without-gossip", "--without-mingle")
                for number in range(WORKERS):
                    programs.append(_start(environment, said, *worker, "--hostname", f"crew{number}@%h"))
                programs.append(_start(environment, said, "beat", "--pidfile="))
            yield Crew(programs, log)
        finally:
            for program in programs:
                if program.poll() is None:
                    os.killpg(program.pid, signal.SIGKILL)
                program.wait()


def _start(environment: dict[str, str], said: Any, *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "portal.celery", *words],
        cwd=settings.BASE_DIR,
        env=environment,
        stdout=said,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _database_url() -> str:
    account, _, place = settings.DATABASE_URL.rpartition("@")
    path, question, query = place.partition("?")
    return f"{account}@{path.rpartition('/')[0]}/{connection.settings_dict['NAME']}{question}{query}"


def _wait(hubs: int, crew: Crew, tell: Tell) -> None:
    """Wait until every hub has ended, telling how far it is."""
    known, since, told = None, time.monotonic(), time.monotonic()
    while left := sum(found := sql.rows(OPEN, {})[0]):
        if found != known:
            known, since = found, time.monotonic()
            if not crew.first_peak_mb and left < hubs * 0.9:
                crew.first_peak_mb = crew.peak_mb
        if time.monotonic() - since > STALLED:
            raise database.UnableToMeasure(
                f"No hub moved for {STALLED} s, {left:,} hubs are left: {_states()}.\n{crew.said()}"
            )
        if time.monotonic() - told > 10:
            told = time.monotonic()
            tell(f"{hubs - left:,} of {hubs:,} hubs have ended")
        crew.look()
        time.sleep(0.5)
    crew.look()
