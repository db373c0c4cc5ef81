"""What the timetable wakes at the top: what needs more than the scheduling app knows, or has nothing to do with it."""

import logging

from celery import shared_task

from portal import lists, rehearsal_processes, retention
from portal.ground import chain, clock, once, stopping
from scheduling.operations import asked_rehearsals, exports

logger = logging.getLogger(__name__)
EXPORT = 3_000
"""Seconds that the largest list may take; only one process is ever at it, and it renews its lease."""


@shared_task
def start_rehearsals(**_: object) -> None:
    """Start a process for each rehearsal that somebody asked for and for which there is room."""
    for is_whole in (False, True):
        taken = asked_rehearsals.take(is_whole=is_whole, now=clock.now())
        if taken is None:
            continue
        try:
            rehearsal_processes.start(rehearsal=taken)
        except OSError:
            logger.exception("rehearsal %s cannot be started", taken.pk)
            asked_rehearsals.hand_back(rehearsal=taken.pk, token=taken.token)


@shared_task(soft_time_limit=EXPORT, time_limit=EXPORT + 60)
def make_exports(**_: object) -> None:
    """Write the next list that somebody asked for as a file."""
    exports.make_next(
        source_of=lambda export: lists.source_of(export, clock.now()),
        clock=clock.now,
        keep_going=stopping.keep_going,
    )


@shared_task
def sweep_exports(**_: object) -> None:
    """Delete the files of exports that have lain ready for long enough, or were left behind."""
    exports.sweep(now=clock.now())


@shared_task
def chain_decisions(**_: object) -> None:
    """Chain the decisions that were recorded; the log keeps where the chain ends."""
    head = None
    while stopping.keep_going() and (longer := chain.extend(now=clock.now())):
        head = longer
    if head:
        logger.info("the chain of decisions ends with %s", head)


@shared_task
def forget_requests(**_: object) -> None:
    """Forget the keys of requests that nobody sends again by now."""
    once.forget(now=clock.now())


@shared_task
def forget_records(**_: object) -> None:
    """Forget what has been kept for long enough."""
    forgotten = retention.forget(clock=clock.now, keep_going=stopping.keep_going)
    if any(forgotten.values()):
        logger.info("forgot %s", ", ".join(f"{name}: {count}" for name, count in forgotten.items() if count))
