"""Whoever can write to the broker can wake a worker, and nothing else."""

import base64
import json
import pickle
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from kombu import Connection

from hubs.modelled_fleet.models import CommandLog
from portal.celery import TIMETABLE, app
from portal.ground import clock
from scheduling.models import Command, Deployment
from scheduling.operations import stages
from tests.conftest import StartCelery, eventually
from tests.scheduling import world as worlds
from tests.scheduling.world import World

pytestmark = pytest.mark.django_db(transaction=True)


class Opens:
    """What leaves a file behind wherever somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


@pytest.fixture
def world() -> World:
    """Hubs booked for a slot hours ahead: nothing may be told to them yet."""
    world = worlds.make(now=clock.now())
    world.hubs(3)
    world.slot(start=timedelta(days=9), room=5)
    world.book()
    stages.advance(now=world.clock())
    return world


def publish(*, body: bytes | str, kind: str, encoding: str, task: str) -> None:
    """Put a message on the workers' queue as somebody would who knows nothing but the broker."""
    name = str(uuid.uuid4())
    with Connection(app.connection_for_write().as_uri(include_password=True)) as broker:
        broker.transport_options = app.conf.broker_transport_options
        broker.Producer(serializer="json").publish(
            body,
            routing_key="celery",
            content_type=kind,
            content_encoding=encoding,
            headers={
                "id": name,
                "task": task,
                "root_id": name,
                "lang": "py",
                "argsrepr": "",
                "kwargsrepr": "",
            },
            correlation_id=name,
        )


def call(task: str, *words: object, **named: object) -> None:
    """Ask for a task with whatever words."""
    body = json.dumps([words, named, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    publish(body=body, kind="application/json", encoding="utf-8", task=task)


class TestForgedMessage:
    def test_moves_no_hub_before_its_time(
        self, world: World, start_celery: StartCelery, tmp_path: Path
    ) -> None:
        worker = start_celery("worker", "--concurrency", "1")
        before = list(Deployment.objects.order_by("pk").values())
        deployments = [row["id"] for row in before]
        left_behind = tmp_path / "unpickled"
        body = pickle.dumps([[], {}, {"callbacks": Opens(left_behind)}])

        publish(
            body=body,
            kind="application/x-python-serialize",
            encoding="binary",
            task="scheduling.tasks.carry_out",
        )
        publish(
            body=base64.b64encode(body).decode(),
            kind="application/data",
            encoding="utf-8",
            task="portal.tasks.no",
        )
        call("os.system", "true")
        for entry in TIMETABLE.values():
            call(entry["task"], *deployments)
            call(
                entry["task"],
                deployments=deployments,
                now="2099-01-01T00:00:00Z",
                phase="activate",
                force=True,
            )
        call("celery.starmap", {"task": "scheduling.tasks.carry_out"}, [deployments])

        # what it was honestly asked last, it does: it lives, and has come to the end of the queue
        call("portal.tasks.chain_decisions")
        assert eventually(lambda: not waiting(), within=120)
        assert worker.poll() is None
        assert app.control.ping(timeout=10)
        assert not left_behind.exists()
        assert list(Deployment.objects.order_by("pk").values()) == before
        assert not Command.objects.exists()
        assert not CommandLog.objects.exists()
        connection.close()


def waiting() -> int:
    """Count the messages that no worker has taken, or has not finished with."""
    with app.connection_or_acquire() as broker:
        channel = broker.default_channel
        unfinished = channel.client.hlen("unacked")
        return int(channel.client.llen("celery")) + int(unfinished)
