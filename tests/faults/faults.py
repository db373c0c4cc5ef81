"""
What goes wrong in a storm: each fault begins, and when it is taken up again it ends.

A fault draws its particulars from the storm's luck, so that a seed always tells the same story.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

import psutil
import psycopg
from kombu.exceptions import OperationalError

from portal.celery import TIMETABLE, app
from tests.faults import carrier
from tests.faults.carrier import Mood
from tests.faults.lane import HARNESS, MAY_BE_FULL, READ_AND_WRITE, Lane
from tests.faults.nursery import tell
from tests.smtp import Trouble

Fault = Callable[[Lane, Random], Iterator[None]]
HOUR = 3_600.0
_OF_THE_PORTAL = f"FROM pg_stat_activity WHERE usename = 'portal' AND application_name <> '{HARNESS}'"
BACKENDS = f"SELECT pid {_OF_THE_PORTAL} ORDER BY pid"
OTHERS = f"SELECT pg_terminate_backend(pid) {_OF_THE_PORTAL} AND random() < {{share}}"


# -- those who work ------------------------------------------------------------------------------------------


def _one_of(processes: list[psutil.Process], luck: Random) -> list[psutil.Process]:
    return [luck.choice(processes)] if processes else []


def killed_worker(lane: Lane, luck: Random) -> Iterator[None]:
    """kill -9 of a whole worker; another comes later."""
    for worker in _one_of(lane.living(), luck):
        lane.kill(worker)
    yield
    lane.start_worker(processes=luck.randint(1, 2))


def killed_process(lane: Lane, luck: Random) -> Iterator[None]:
    """kill -9 of one process of a worker, which the worker replaces."""
    for worker in _one_of(lane.living(), luck):
        for process in _one_of(_children(worker), luck):
            lane.may_double_mail = True
            process.kill()
    yield


def frozen_worker(lane: Lane, luck: Random) -> Iterator[None]:
    """A worker that stands still, longer than a lease if it comes so, and then goes on as if nothing had been."""
    frozen = _one_of(lane.living(), luck)
    for worker in frozen:
        lane.may_double_mail = True
        tell(worker, signal.SIGSTOP)
    lane.start_worker()
    yield
    for worker in frozen:
        tell(worker, signal.SIGCONT)


def frozen_process(lane: Lane, luck: Random) -> Iterator[None]:
    """One process of a worker that stands still."""
    frozen = [
        process for worker in _one_of(lane.living(), luck) for process in _one_of(_children(worker), luck)
    ]
    for process in frozen:
        lane.may_double_mail = True
        process.suspend()
    yield
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _children(worker: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return worker.children()
    return []


def stopped_worker(lane: Lane, luck: Random) -> Iterator[None]:
    """SIGTERM: a worker finishes what it is at and leaves; another comes later."""
    for worker in _one_of(lane.living(), luck):
        tell(worker, signal.SIGTERM)
    yield
    lane.start_worker(processes=luck.randint(1, 2))


def wrong_clock(lane: Lane, luck: Random) -> Iterator[None]:
    """A worker whose clock is an hour ahead, or behind."""
    worker = lane.start_worker(processes=2, skew=luck.choice([-HOUR, HOUR]))
    yield
    if luck.random() < 0.5:
        lane.kill(worker)


# -- timetables and tasks ------------------------------------------------------------------------------------


def two_beats(lane: Lane, luck: Random) -> Iterator[None]:
    """A second timetable, as careless as they come."""
    beat = lane.start_beat(doubles=luck.random() * 0.5, drops=luck.random() * 0.5)
    yield
    lane.kill(beat)


def no_beat(lane: Lane, luck: Random) -> Iterator[None]:
    """No timetable at all."""
    for beat in lane.living("beat"):
        lane.kill(beat)
    yield
    lane.start_beat(doubles=luck.random() * 0.2)


def tripled_tasks(lane: Lane, luck: Random) -> Iterator[None]:
    """Every task three times, in any order, when nobody asked for any."""
    names = [entry["task"] for entry in TIMETABLE.values()] * 3
    luck.shuffle(names)
    if lane.ask_redis("PING").startswith(b"+PONG"):
        with suppress(OSError, OperationalError), app.connection_for_write() as line:
            for name in names:
                app.send_task(name, connection=line, retry=False)
    yield


def dropped_tasks(lane: Lane, luck: Random) -> Iterator[None]:
    """What waits, and what was handed out, is dropped; twice."""
    lane.ask_redis("DEL", "celery", "unacked", "unacked_index", "unacked_mutex")
    yield
    lane.ask_redis("DEL", "celery", "unacked", "unacked_index", "unacked_mutex")


# -- Redis ---------------------------------------------------------------------------------------------------


def flushed_redis(lane: Lane, luck: Random) -> Iterator[None]:
    """FLUSHALL."""
    lane.ask_redis("FLUSHALL")
    yield


def stopped_redis(lane: Lane, luck: Random) -> Iterator[None]:
    """Redis dies, and comes back empty."""
    lane.kill_redis()
    yield
    lane.start_redis()


def hung_redis(lane: Lane, luck: Random) -> Iterator[None]:
    """Redis takes connections and answers nothing."""
    redis = lane.redis()
    redis.suspend()
    yield
    redis.resume()


# -- PostgreSQL ----------------------------------------------------------------------------------------------


def crashed_postgresql(lane: Lane, luck: Random) -> Iterator[None]:
    """PostgreSQL stops immediately, in the middle of everything, and recovers."""
    lane.crash_postgresql()
    yield
    lane.start_postgresql()


def cut_connections(lane: Lane, luck: Random) -> Iterator[None]:
    """Connections break, now and again."""
    lane.may_double_mail = True
    with suppress(psycopg.Error):
        lane.as_superuser(OTHERS.format(share=luck.random()))
    yield
    with suppress(psycopg.Error):
        lane.as_superuser(OTHERS.format(share=luck.random()))


def no_connections_left(lane: Lane, luck: Random) -> Iterator[None]:
    """Somebody else holds every connection that is free, and those of others that break."""
    lane.may_double_mail = True
    held: list[psycopg.Connection] = []

    def take() -> None:
        with suppress(psycopg.Error):
            while True:
                held.append(lane.connect())

    take()
    with suppress(psycopg.Error):
        lane.as_superuser(OTHERS.format(share=0.5))
    take()
    yield
    for connection in held:
        connection.close()


def read_only_postgresql(lane: Lane, luck: Random) -> Iterator[None]:
    """Whoever connects from now on can only read."""
    lane.may_double_mail = True
    with suppress(psycopg.Error):
        lane.as_superuser(
            "ALTER ROLE portal SET default_transaction_read_only = on", OTHERS.format(share=0.7)
        )
    yield
    with suppress(psycopg.Error):
        lane.as_superuser(READ_AND_WRITE, OTHERS.format(share=1))


def frozen_backend(lane: Lane, luck: Random) -> Iterator[None]:
    """A process of PostgreSQL stands still, and holds what it holds."""
    lane.may_double_mail = True
    frozen: list[psutil.Process] = []
    with suppress(psycopg.Error, psutil.Error):
        frozen = _one_of([psutil.Process(pid) for (pid,) in lane.asked_as_superuser(BACKENDS)], luck)
        for backend in frozen:
            backend.suspend()
    yield
    for backend in frozen:
        with suppress(psutil.Error):
            backend.resume()


def full_disk(lane: Lane, luck: Random) -> Iterator[None]:
    """No space left on the device of a table: the outbox, or what the Gate writes."""
    table = luck.choice(["scheduling_notice", *MAY_BE_FULL])
    lane.may_double_mail = True
    with suppress(psycopg.Error):
        lane.as_superuser(f"INSERT INTO storm.full_disk VALUES ('{table}')")
    yield
    with suppress(psycopg.Error):
        lane.as_superuser("TRUNCATE storm.full_disk")


# -- what is outside -----------------------------------------------------------------------------------------


def mail_trouble(lane: Lane, luck: Random) -> Iterator[None]:
    """The mail server is down, full, silent, or takes e-mails without saying so."""
    trouble = luck.choice(
        [Trouble.DOWN, Trouble.DOWN, Trouble.FULL, Trouble.SILENT, Trouble.DROPS_AFTER_DATA]
    )
    lane.mail_server.have(trouble)
    yield
    lane.mail_server.have(Trouble.NONE)


def carrier_down(lane: Lane, luck: Random) -> Iterator[None]:
    """The carrier cannot be reached, mostly."""
    carrier.set_mood(Mood(is_down=luck.choice([0.5, 1.0])))
    yield
    carrier.set_mood(Mood())


def lost_answers(lane: Lane, luck: Random) -> Iterator[None]:
    """The carrier does what it is asked, and its receipts, reports and the portal's thanks are lost."""
    carrier.set_mood(Mood(loses_answers=luck.uniform(0.2, 0.8), shuffles=0.5))
    yield
    carrier.set_mood(Mood())


def shuffled_reports(lane: Lane, luck: Random) -> Iterator[None]:
    """Reports come in any order, twice, or the next time."""
    carrier.set_mood(Mood(shuffles=1.0))
    yield
    carrier.set_mood(Mood())


FAULTS: tuple[Fault, ...] = (
    killed_worker,
    killed_worker,
    killed_process,
    frozen_worker,
    frozen_worker,
    frozen_process,
    stopped_worker,
    wrong_clock,
    two_beats,
    no_beat,
    tripled_tasks,
    dropped_tasks,
    flushed_redis,
    stopped_redis,
    hung_redis,
    crashed_postgresql,
    crashed_postgresql,
    cut_connections,
    no_connections_left,
    read_only_postgresql,
    frozen_backend,
    full_disk,
    mail_trouble,
    carrier_down,
    lost_answers,
    shuffled_reports,
)
"""Drawn from evenly; what is here twice happens twice as often."""
LONGEST: dict[Fault, float] = {
    crashed_postgresql: 1.0,
    read_only_postgresql: 1.5,
    no_connections_left: 1.5,
    carrier_down: 2.0,
    frozen_backend: 2.5,
    full_disk: 2.0,
    mail_trouble: 2.0,
}
"""Real seconds that a fault may last, where it stops everything; the others last up to 4.5."""
