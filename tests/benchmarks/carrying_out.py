"""From due to final, through Celery, with a fleet that answers at once, against a bare claim-and-update loop."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
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
from scheduling.models import Booking, CapacityPattern, Slot
from scheduling.operations import bookings
from scheduling.queries.plans import Timing
from tests.benchmarks import database, instant, meter
from tests.benchmarks import world as worlds
from tests.benchmarks.world import Tell, World

WORKERS = 2
DEPLOYMENTS = "scheduling_deployment"
LOTS = "scheduling_lot"
IMAGE_SIZE = 200_000
SPARE = 1.4
"""Hubs in the fleet for each that is booked: some may not be booked, whoever leads them."""
STALLED = 120
"""Seconds without a hub that ends, after which something is wrong."""
# Every hub is led by one Supplier, shared with none, and runs the same version: what is measured is the carrying
# out, and the answer of every hub is the same number.
ONE_SUPPLIER = """
UPDATE hubs_communicationshub SET import_supplier_id = %(supplier)s, gas_supplier_id = NULL, mprn = NULL,
    electricity_commissioned = true, installed_version_id = %(version)s
"""
LEFT = (
    "SELECT coalesce(sum(provisional + booked + staging + staged + activating + held), 0) FROM scheduling_lot"
)
BARE_CLAIM = """
UPDATE bare_scheduling_lot SET lease_until = clock_timestamp() + interval '1 minute', token = token + 1
WHERE id = (SELECT id FROM bare_scheduling_lot WHERE due_at <= clock_timestamp()
              AND (lease_until IS NULL OR lease_until <= clock_timestamp())
            ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id
"""
BARE_UPDATE = """
WITH ended AS (
    UPDATE bare_scheduling_deployment SET state = 'succeeded', awaiting = false, next_at = NULL, attempt = attempt + 1,
        moved_at = clock_timestamp(), ended_at = clock_timestamp()
    WHERE id BETWEEN %(lot)s * 2048 AND %(lot)s * 2048 + 2047 AND state = 'booked' RETURNING 1)
UPDATE bare_scheduling_lot SET due_at = NULL, lease_until = NULL, booked = 0, succeeded = (SELECT count(*) FROM ended)
WHERE id = %(lot)s
"""


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """
    Measure `hubs` hubs from due to final: read, staged, activated, read back, each told and answered.

    Two Celery workers and a timetable, on this machine; measured once, since the hubs are done afterwards.
    """
    world = _world(hubs, fleet or int(hubs * SPARE) + 1_000, tell)
    try:
        return _measure(world, hubs, tell)
    finally:
        world.release.image.delete(save=False)


def _measure(world: World, hubs: int, tell: Tell) -> dict[str, Any]:
    tell("bare claim and update of the same rows")
    bare = _bare(hubs)
    _make_due(world)
    tell("carrying out")
    with meter.measured() as cost, _crew(world) as crew:
        began = time.perf_counter()
        _wait(hubs, crew, tell)
        took = time.perf_counter() - began
    states = _states()
    if states != {"succeeded": hubs}:
        raise database.UnableToMeasure(f"Not every hub succeeded: {states}.")
    cpu = None if cost.cpu_s is None else cost.cpu_s + crew.cpu_s
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
            "statement": "claim a lot and update its deployments to final, two connections, no trigger",
            **bare.as_measured(hubs=hubs),
        },
        "ratio": round(bare.wall_s / took, 3),
        "ratio_cpu": None if cpu is None or bare.cpu_s is None else round(bare.cpu_s / cpu, 3),
    }


def _world(hubs: int, fleet: int, tell: Tell) -> World:
    # an image of an ordinary size: it is hashed again before every lot is staged
    world = worlds.make(hubs=fleet, room=hubs, tell=tell, content=random.Random(1).randbytes(IMAGE_SIZE))
    tell("giving every hub to one Supplier")
    version = FirmwareVersion.objects.exclude(pk=world.release.version_id).order_by("pk")[0]
    sql.run(ONE_SUPPLIER, {"supplier": world.supplier.pk, "version": version.pk})
    count_fleet(now=clock.now())
    database.tidy("hubs_communicationshub", "hubs_fleetcount")
    worlds.leave(world=world, hubs=hubs, tell=tell)
    CapacityPattern.objects.all().delete()
    Slot.objects.all().delete()
    start = clock.now() + timedelta(hours=3)
    Slot.objects.bulk_create(
        Slot(network=network, start_at=start, end_at=start + timedelta(hours=12), capacity=2 * hubs + 2_000)
        for network in Network.objects.order_by("pk")
    )
    policy = world.release.policy
    policy.in_flight_floor = policy.in_flight_ceiling
    policy.save()
    tell(f"booking {hubs:,} hubs")
    booking = bookings.book(
        selection=world.choose(), timing=Timing(Booking.Plan.EARLIEST), by=world.person, clock=clock.now
    )
    if booking.hubs != hubs or booking.unplaced:
        raise database.UnableToMeasure(f"{booking.hubs:,} hubs were booked instead of {hubs:,}.")
    database.tidy(DEPLOYMENTS, LOTS, "scheduling_slot")
    return world


def _make_due(world: World) -> None:
    """Let the slots have begun, and everything be due now."""
    now = clock.now()
    Slot.objects.update(start_at=now - timedelta(minutes=1))
    sql.run("UPDATE scheduling_lot SET due_at = %(now)s, staging_from = %(now)s", {"now": now})
    sql.run("UPDATE scheduling_deployment SET next_at = %(now)s", {"now": now})
    database.tidy(DEPLOYMENTS, LOTS)


def _bare(hubs: int) -> meter.Cost:
    """Claim and update the same rows in tables of their own, with as many connections as there are workers."""
    with database.twin(table=DEPLOYMENTS) as deployments, database.twin(table=LOTS) as lots:
        sql.run(f"INSERT INTO {deployments} SELECT * FROM {DEPLOYMENTS} ORDER BY id", {})
        sql.run(f"INSERT INTO {lots} SELECT * FROM {LOTS} ORDER BY id", {})
        sql.run(f"UPDATE {lots} SET due_at = clock_timestamp()", {})
        database.tidy(deployments, lots)
        threads = [threading.Thread(target=_bare_loop) for _ in range(WORKERS)]
        with meter.measured() as cost:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        [(done,)] = sql.rows(f"SELECT count(*) FROM {deployments} WHERE state = 'succeeded'", {})
    if done != hubs:
        raise database.UnableToMeasure(f"The bare loop ended {done:,} of {hubs:,} hubs.")
    return cost


def _bare_loop() -> None:
    try:
        while claimed := sql.rows(BARE_CLAIM, {}):
            sql.run(BARE_UPDATE, {"lot": claimed[0][0]})
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

    def look(self) -> None:
        """
        Add up what they cost so far.

        :raises UnableToMeasure: if one of them has ended
        """
        for program in self.programs:
            if program.poll() is not None:
                raise database.UnableToMeasure(f"A worker ended: {self._log.read_text()[-2000:]}")
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
    Redis.from_url(settings.REDIS_URL).flushall()
    before = FirmwareVersion.objects.get(
        pk=CommunicationsHub.objects.exclude(installed_version=world.release.version_id)
        .values_list("installed_version", flat=True)[:1]
        .get()
    )
    environment = os.environ | {
        "DATABASE_URL": _database_url(),
        "HUB_GATEWAY": f"{instant.__name__}.{instant.InstantFleet.__name__}",
        instant.VERSIONS: f"{before.number}:{world.release.version.number}",
        "MEDIA_ROOT": str(settings.MEDIA_ROOT),
        "LOG_LEVEL": "WARNING",
    }
    with tempfile.TemporaryDirectory() as folder:
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
    least, since, told = hubs, time.monotonic(), time.monotonic()
    while left := sql.rows(LEFT, {})[0][0]:
        if left < least:
            least, since = left, time.monotonic()
            if not crew.first_peak_mb and left < hubs * 0.9:
                crew.first_peak_mb = crew.peak_mb
        if time.monotonic() - since > STALLED:
            raise database.UnableToMeasure(
                f"Nothing ended for {STALLED} s, {left:,} hubs are left: {_states()}."
            )
        if time.monotonic() - told > 10:
            told = time.monotonic()
            tell(f"{hubs - left:,} of {hubs:,} hubs have ended")
        crew.look()
        time.sleep(0.5)
    crew.look()
