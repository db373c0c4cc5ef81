"""A halt: what is under way when it comes, and what it needs."""

import itertools
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.core.mail import send_mail
from django.test import Client
from django.urls import reverse
from kombu.exceptions import OperationalError as BrokerGone
from pytest_django import Settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisGone
from redis.retry import Retry

from firmware.models import FirmwareRelease, Halt, ReleaseState
from firmware.operations import decisions
from hubs.gateway import Phase
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog
from portal.celery import app
from portal.ground import clock
from scheduling.models import Command, Deployment, Notice
from scheduling.operations import deployments, notices
from tests.conftest import eventually
from tests.scheduling import world as worlds
from tests.scheduling.test_races import Aside, at_once
from tests.scheduling.world import World

LOTS, HUBS, WORKERS = 60, 40, 8
NOBODY_LISTENS = "127.0.0.1:1"


def halt(world: World) -> Halt:
    """Halt the release as a person does."""
    return decisions.halt(release=world.release, by=world.staff, reason="Hubs go quiet", now=clock.now())


@pytest.mark.django_db(transaction=True)
class TestBusyWorkers:
    @pytest.fixture
    def world(self, transactional_db: None) -> World:
        """Many lots that are due to be read and staged, by the database's own clock."""
        world = worlds.make(now=clock.now() - timedelta(hours=6))
        world.hubs(LOTS * HUBS)
        for minute in range(LOTS):
            world.slot(start=timedelta(hours=8, minutes=minute), room=HUBS, length=timedelta(minutes=1))
        world.book()
        return world

    def test_admit_and_send_nothing_once_it_has_committed(self, world: World) -> None:
        working = [
            Aside(lambda: deployments.carry_out(gateway=ModelledFleet(), clock=clock.now, lots=LOTS))
            for _ in range(WORKERS)
        ]
        assert eventually(lambda: Command.objects.count() > 5 * HUBS, within=120)
        halt(world)
        committed_at = clock.now()
        admitted = Command.objects.count()
        received = CommandLog.objects.count()
        for worker in working:
            assert worker.is_done(within=120)
            assert worker.error is None

        assert 0 < admitted < LOTS * HUBS  # it came while they were busy
        assert Command.objects.count() == admitted
        assert not Command.objects.filter(admitted_at__gt=committed_at).exists()
        assert not Command.objects.filter(sent_at__gt=committed_at).exists()
        # what a worker was handing over at that moment arrives; nothing is handed over after it
        assert CommandLog.objects.count() <= received + WORKERS * deployments.SEND

    def test_would_admit_by_reading_first_and_writing_then(self, world: World) -> None:
        """Prove that the race above is one: who only looks whether there is a halt writes after it."""
        looked, committed = threading.Barrier(WORKERS + 1), threading.Event()
        numbers = itertools.count(1)

        def naive() -> None:
            state = FirmwareRelease.objects.values_list("state", flat=True).get(pk=world.release.pk)
            looked.wait(30)
            committed.wait(30)
            if state == ReleaseState.PUBLISHED:
                now = clock.now()
                Command.objects.create(
                    deployment_id=next(numbers),
                    phase=Phase.READ,
                    attempt=1,
                    token=1,
                    admitted_at=now,
                    valid_until=now,
                )

        def stop() -> int:
            looked.wait(30)
            halt(world)
            admitted = Command.objects.count()
            committed.set()
            return admitted

        results = at_once(stop, *[naive] * WORKERS)
        assert results[0] == 0
        assert Command.objects.count() == WORKERS


@pytest.mark.django_db(transaction=True)
class TestWaiting:
    """Whoever is inside the Gate is waited for; whoever waits for the halt finds it."""

    @pytest.fixture
    def world(self, transactional_db: None) -> World:
        """Three hubs that are due to be read."""
        world = worlds.make(now=clock.now() - timedelta(hours=6))
        world.hubs(3)
        world.slot(start=timedelta(hours=8), room=3)
        world.book()
        return world

    @pytest.mark.parametrize("step", ["admit", "send"])
    def test_is_for_whoever_is_inside_already(self, world: World, step: str) -> None:
        inside, go_on = threading.Event(), threading.Event()

        def slow_clock() -> datetime:
            inside.set()
            assert go_on.wait(60)
            return clock.now()

        claimed = deployments.claim(now=clock.now())
        assert claimed
        if step == "send":
            assert deployments.admit(claimed=claimed, image_whole=True, clock=clock.now).commands == 3
        steps: dict[str, Callable[[], object]] = {
            "admit": lambda: deployments.admit(claimed=claimed, image_whole=True, clock=slow_clock),
            "send": lambda: deployments.send(claimed=claimed, gateway=ModelledFleet(), clock=slow_clock),
        }
        gate = Aside(steps[step])
        assert inside.wait(60)  # the moment is asked under the lock
        stop = Aside(lambda: halt(world))
        waited = not stop.is_done(within=2)
        go_on.set()
        assert gate.is_done(within=60)
        assert stop.is_done(within=60)
        assert waited
        assert (gate.error, stop.error) == (None, None)
        assert Command.objects.count() == 3  # it was inside before the halt, and the halt came after it

    @pytest.mark.parametrize("step", ["admit", "send"])
    def test_of_whoever_comes_meanwhile_ends_with_nothing_admitted_or_sent(
        self, world: World, step: str
    ) -> None:
        claimed = deployments.claim(now=clock.now())
        assert claimed
        if step == "send":
            assert deployments.admit(claimed=claimed, image_whole=True, clock=clock.now).commands == 3
        admitted = Command.objects.count()
        steps: dict[str, Callable[[], object]] = {
            "admit": lambda: deployments.admit(claimed=claimed, image_whole=True, clock=clock.now),
            "send": lambda: deployments.send(claimed=claimed, gateway=ModelledFleet(), clock=clock.now),
        }
        holding, go_on = threading.Event(), threading.Event()
        reach = decisions.queries.standing_halt

        def slow(**given: FirmwareRelease) -> Halt | None:  # asked by the halt once it has the lock
            holding.set()
            assert go_on.wait(60)
            return reach(**given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decisions.queries, "standing_halt", slow)
            stop = Aside(lambda: halt(world))
            assert holding.wait(60)
            gate = Aside(steps[step])
            waited = not gate.is_done(within=2)
            go_on.set()
            assert stop.is_done(within=60)
            assert gate.is_done(within=60)
        assert waited
        assert (gate.error, stop.error) == (None, None)
        assert Command.objects.count() == admitted
        assert not CommandLog.objects.exists()


@pytest.mark.django_db(transaction=True)
class TestWithoutRedisAndMail:
    """The settings point to a port where nobody listens."""

    @pytest.fixture(autouse=True)
    def gone(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        settings.REDIS_ADDRESS = f"redis://{NOBODY_LISTENS}/0"
        host, _, port = NOBODY_LISTENS.partition(":")
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = host, int(port), 5
        monkeypatch.setattr(app.conf, "broker_url", f"redis://{NOBODY_LISTENS}/0")
        with pytest.raises(RedisGone):
            Redis.from_url(settings.REDIS_ADDRESS, retry=Retry(NoBackoff(), 0)).ping()
        with pytest.raises(OSError, match="refused"):
            send_mail("Hello", "Hello", None, ["person@northern.example.com"])
        with pytest.raises((BrokerGone, OSError)), app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, timeout=2)

    @pytest.fixture
    def world(self, transactional_db: None) -> World:
        """Three hubs that are due to be read."""
        world = worlds.make(now=clock.now() - timedelta(hours=6))
        world.hubs(3)
        world.slot(start=timedelta(hours=8), room=3)
        world.book()
        return world

    def test_halts_from_the_release_desk_and_no_command_leaves(self, world: World) -> None:
        client = Client(raise_request_exception=False)
        client.force_login(world.staff)
        session = client.session
        session["account_authentication_methods"] = [
            {"method": "password", "at": time.time(), "email": world.staff.email, "reauthenticated": True}
        ]
        session["account_authentication_methods_user"] = str(world.staff.pk)
        session.save()
        asked = {
            "revision": world.release.revision,
            "digest": world.release.digest,
            "reason": "Hubs go quiet",
        }
        response = client.post(
            reverse("admin:firmware_firmwarerelease_decide", args=[world.release.pk, "halt"]), asked
        )

        assert response.status_code == 302
        world.release.refresh_from_db()
        assert world.release.state == ReleaseState.HALTED
        deployments.carry_out(gateway=ModelledFleet(), clock=clock.now, lots=10)
        assert not Command.objects.exists()
        assert set(Deployment.objects.values_list("state", flat=True)) == {"held"}

    def test_halts_at_the_portals_own_hand(self, world: World) -> None:
        decisions.halt(release=world.release, by=None, reason="Too many silent hubs", now=clock.now())
        world.release.refresh_from_db()
        assert world.release.state == ReleaseState.HALTED

    def test_owes_the_e_mails_until_there_is_a_server(self, world: World) -> None:
        halt(world)
        notices.owe_stops(now=clock.now())
        owed = Notice.objects.filter(kind=Notice.Kind.HALTED)
        assert owed.exists()
        notices.send(clock=clock.now, limit=10)
        assert not owed.exclude(sent_at=None).exists()
        assert not owed.filter(last_error="").exists()
