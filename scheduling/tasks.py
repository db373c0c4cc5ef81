"""
What the timetable wakes.

Each task looks for what is due and does a bounded part of it. It does no harm when it runs twice, late, or not
at all: the database is the schedule, and the next one finds the same rows. A worker that is asked to stop finds its
tasks at their next clean point (`stopping`).
"""

import logging
import time
from typing import Any

from celery import Task, shared_task
from kombu.exceptions import OperationalError

from hubs import gateway
from portal.ground import clock, stopping
from scheduling.operations import (
    allocations,
    bookings,
    consents,
    controls,
    deployments,
    exceptions,
    forgeries,
    halts,
    late_looks,
    notices,
    quarantine,
    reconciliation,
    registrations,
    seals,
    selections,
    slots,
    stages,
    tallies,
    turns,
)

logger = logging.getLogger(__name__)
NOTICES = 100
FOLD = 10_000
"""Changes of the counters that are taken up at a time."""
SOON = 10
"""Seconds for which somebody who was woken for what is left is wanted; by then the timetable has woken others."""
PORTIONS = 20
"""Portions that one task reconciles; each takes a second or so of a large fleet."""
ALLOCATION = 1_800
"""Seconds that the allocation of one Supplier's remaining hubs may take; only one process is ever at it."""


def carrier() -> gateway.HubGateway:
    """Return the carrier, with every answer counted that it did not sign."""
    return forgeries.counted(gateway=gateway.connect(), clock=clock.now)


def wake_soon(*, task: Task[Any, Any]) -> None:
    """
    Have somebody at a task again, as soon as everything else that waits by now has had its turn.

    The timetable wakes it otherwise, within seconds: a broker that cannot be reached changes no more than that.
    """
    try:
        task.apply_async(expires=SOON, retry=False)
    except OperationalError:
        logger.warning("nobody was woken: the timetable does it", exc_info=True)


@shared_task
def carry_out(**_: object) -> None:
    """Stage, activate and read back what is due, lot by lot, and record what hubs answer meanwhile."""
    more = deployments.keep_at_it(
        gateway=carrier(), clock=clock.now, keep_going=stopping.keep_going, pause=time.sleep
    )
    if more:
        wake_soon(task=carry_out)


@shared_task
def collect_reports(**_: object) -> None:
    """Record what hubs have answered."""
    deployments.collect_all(gateway=carrier(), clock=clock.now, keep_going=stopping.keep_going)


@shared_task
def read_files(**_: object) -> None:
    """Read a portion of a large file of hubs."""
    selections.read_next(clock=clock.now, keep_going=stopping.keep_going)


@shared_task
def sweep_files(**_: object) -> None:
    """Delete files of hubs that were left behind."""
    selections.sweep(now=clock.now())


@shared_task
def keep_bookings(**_: object) -> None:
    """Finish bookings whose last hub has ended, and give back the places of bookings that died half-made."""
    now = clock.now()
    deployments.wake_stopped(now=now)
    bookings.finish(now=now)
    bookings.give_back_abandoned(now=now)


@shared_task
def settle_consents(**_: object) -> None:
    """Let the time decide what the other Supplier of shared hubs was asked and has not answered."""
    consents.settle(clock=clock.now, keep_going=stopping.keep_going)


@shared_task
def owe_notices(**_: object) -> None:
    """Tell of releases published, halted, resumed and withdrawn, and of hubs missed; remind of slots."""
    now = clock.now()
    notices.owe_published(now=now)
    notices.owe_stops(now=now)
    notices.owe_missed(now=now)
    notices.owe_reminders(now=now)


@shared_task
def owe_deadlines(**_: object) -> None:
    """Remind of the last moment to book."""
    notices.owe_deadlines(now=clock.now())


@shared_task
def send_notices(**_: object) -> None:
    """Send the e-mails that are owed."""
    notices.send(clock=clock.now, limit=NOTICES, keep_going=stopping.keep_going)


@shared_task
def open_slots(**_: object) -> None:
    """Make slots from DCC's patterns for as long as any release is available."""
    slots.open_slots(now=clock.now())


@shared_task
def change_suppliers(**_: object) -> None:
    """Let the changes of supplier take effect that are due, and carry the deployments of their hubs over."""
    registrations.take_effect(now=clock.now(), keep_going=stopping.keep_going)


@shared_task(soft_time_limit=ALLOCATION, time_limit=ALLOCATION + 60)
def allocate(**_: object) -> None:
    """Allocate for DCC what nobody booked, where its day has come or DCC decided so."""
    allocations.allocate(clock=clock.now, keep_going=stopping.keep_going)


@shared_task
def keep_exceptions(**_: object) -> None:
    """Put hubs that were missed twice before DCC, and take out of its lists what is booked, done or over."""
    now = clock.now()
    quarantine.sweep(clock=clock.now, keep_going=stopping.keep_going)
    exceptions.raise_missed_twice(now=now, keep_going=stopping.keep_going)
    exceptions.settle(now=now, keep_going=stopping.keep_going)


@shared_task
def look_at_controls(**_: object) -> None:
    """Look at hubs that are not being updated, and pause a network on which these fall silent."""
    controls.watch(gateway=carrier(), clock=clock.now)


@shared_task
def look_again(**_: object) -> None:
    """Look at updated hubs again, a day and two days later."""
    late_looks.look(gateway=carrier(), clock=clock.now)


@shared_task
def advance_stages(**_: object) -> None:
    """
    Hold what came back against its limits, and open the next stage where every hub of the last one has an outcome.

    In this order: a stage whose last hubs speak against the release is not followed by another. Takes up what the
    counters gained.
    """
    now = clock.now()
    halts.watch(now=now)
    stages.advance(now=now)
    while tallies.fold(limit=FOLD) == FOLD and stopping.keep_going():
        pass


@shared_task
def keep_turns(**_: object) -> None:
    """Choose the hubs of first stages, and move hubs that have no turn in their slots."""
    turns.keep(clock=clock.now, keep_going=stopping.keep_going)


@shared_task
def reconcile(**_: object) -> None:
    """Hold the carrier's log, the commands, the deployments and the counters against each other, for a while."""
    reconciliation.reconcile(
        gateway=carrier(), clock=clock.now, portions=PORTIONS, keep_going=stopping.keep_going
    )


@shared_task
def seal_outcomes(**_: object) -> None:
    """Put on record what became of the hubs of lots that are over."""
    while stopping.keep_going() and seals.seal(now=clock.now()):
        pass


@shared_task
def count_fleet(**_: object) -> None:
    """Count the fleet anew, for every page that shows numbers of hubs."""
    tallies.count_fleet(now=clock.now())
