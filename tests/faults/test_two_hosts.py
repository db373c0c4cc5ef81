"""
Two hosts, as far as one machine can play them, on one PostgreSQL and one Redis.

Each has a checkout of its own, a home, a folder for temporary files, and where the machine allows it a network of its
own without any interface. What they share is what operator.md says: the two servers, and MEDIA_ROOT.
"""

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from firmware.models import FirmwareRelease, Halt, ReleaseState
from hubs.modelled_fleet.models import NetworkProfile
from portal.ground import clock
from scheduling.lifecycle import State
from scheduling.models import Booking, Deployment, InFlight, Lot, Stage
from scheduling.operations import stages
from tests.conftest import StartCelery, database_url, eventually
from tests.faults import judge
from tests.scheduling import world as worlds
from tests.scheduling.world import World

LOTS, HUBS_OF_LOT = 6, 30
NOT_TO_A_HOST = shutil.ignore_patterns(".*", "tests", "docs", "docker", "__pycache__", "*.pyc")
StartHost = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def world(transactional_db: None) -> World:
    """Several lots whose slots begin one after another from now, on a network that answers within a second."""
    world = worlds.make(now=clock.now() - timedelta(hours=6))
    NetworkProfile.objects.update(read_delay=0.2, stage_delay=0.2, activate_delay=0.2, verify_delay=0.2)
    world.hubs(LOTS * HUBS_OF_LOT)
    for number in range(LOTS):
        world.slot(
            start=timedelta(hours=6, seconds=2 * number - 1), room=HUBS_OF_LOT, length=timedelta(minutes=10)
        )
    # all at once: no lot waits for room in flight
    stages.open_first(release=world.release.pk, now=clock.now())
    Stage.objects.update(size=None)
    InFlight.objects.update(floor=LOTS * HUBS_OF_LOT, ceiling=LOTS * HUBS_OF_LOT)
    world.book()
    assert Lot.objects.count() == LOTS
    return world


@pytest.fixture
def claims(transactional_db: None) -> Iterator[Callable[[], Counter[str]]]:
    """Let the database write down which host claims lots; return what tells how often each did."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE witness (host text)")
        cursor.execute(
            """CREATE FUNCTION bear_witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               INSERT INTO witness VALUES (current_setting('application_name')); RETURN NULL; END $$"""
        )
        cursor.execute(
            """CREATE TRIGGER bear_witness AFTER UPDATE OF token ON scheduling_lot
               FOR EACH ROW EXECUTE FUNCTION bear_witness()"""
        )

    def claims() -> Counter[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT host, count(*) FROM witness GROUP BY 1")
            return Counter(dict(cursor.fetchall()))

    yield claims
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION bear_witness() CASCADE")
        cursor.execute("DROP TABLE witness")


def own_network() -> list[str]:
    """Return the words that give a program a network of its own; none where that may not be, or it needs ours."""
    # only root may without becoming another user, who would not find the servers' sockets
    words = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    is_by_socket = len(settings.EMBEDDED) == 2
    allowed = is_by_socket and shutil.which("unshare") and not subprocess.call([*words, "true"])
    return words if allowed else []


@pytest.fixture
def start_host(start_celery: StartCelery, tmp_path: Path) -> StartHost:
    """Return what starts a program of Celery on a host by name."""

    def start(host: str, kind: str, *words: str, **environment: str) -> "subprocess.Popen[bytes]":
        folder = tmp_path / host
        if not folder.exists():
            shutil.copytree(settings.BASE_DIR, folder / "portal", ignore=NOT_TO_A_HOST)
            (folder / "home").mkdir()
            (folder / "tmp").mkdir()
        url = database_url()
        return start_celery(
            kind,
            *words,
            folder=folder / "portal",
            wrapped_in=own_network(),
            DATABASE_URL=f"{url}{'&' if '?' in url else '?'}application_name={host}",
            HOME=str(folder / "home"),
            TMPDIR=str(folder / "tmp"),
            DJANGO_SETTINGS_MODULE="portal.settings",
            DEBUG="true",
            **environment,
        )

    return start


WORKER = ("worker", "--concurrency", "1")


class TestTwoHosts:
    def test_carry_one_booking_out_together(
        self, world: World, start_host: StartHost, claims: Callable[[], Counter[str]]
    ) -> None:
        start_host("north-wing", "beat")
        north = start_host("north-wing", *WORKER, "--hostname=north-wing")
        assert eventually(lambda: claims()["north-wing"], within=60)
        os.killpg(north.pid, signal.SIGSTOP)  # until the other has had its turn: luck gives all to one
        start_host("south-wing", *WORKER, "--hostname=south-wing")
        assert eventually(lambda: claims()["south-wing"], within=60)
        os.killpg(north.pid, signal.SIGCONT)

        assert eventually(lambda: Booking.objects.exclude(done_at=None).exists(), within=240), Counter(
            Deployment.objects.values_list("state", flat=True)
        )

        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
        assert eventually(lambda: not judge.breaches(), within=60), judge.breaches()
        assert set(claims()) == {"north-wing", "south-wing"}

    def test_wait_for_each_other_where_one_lacks_the_shared_images(
        self, world: World, start_host: StartHost, claims: Callable[[], Counter[str]], tmp_path: Path
    ) -> None:
        """An unmounted folder is an empty one: that host stages nothing and halts nobody."""
        unmounted = tmp_path / "unmounted"
        unmounted.mkdir()
        start_host("north-wing", "beat")
        start_host("north-wing", *WORKER, "--hostname=north-wing", MEDIA_ROOT=str(unmounted))
        assert eventually(lambda: claims()["north-wing"] >= LOTS, within=120)
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.BOOKED}
        assert any("cannot read firmware images" in log.read_text() for log in tmp_path.glob("celery-*.log"))

        start_host("south-wing", *WORKER, "--hostname=south-wing")
        assert eventually(lambda: Booking.objects.exclude(done_at=None).exists(), within=240), Counter(
            Deployment.objects.values_list("state", flat=True)
        )

        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
        assert FirmwareRelease.objects.get().state == ReleaseState.PUBLISHED
        assert not Halt.objects.exists()
