"""What the timetable wakes at the top: what needs more than the scheduling app knows."""

import logging

from celery import shared_task

from portal import rehearsal_processes
from portal.ground import clock
from scheduling.operations import asked_rehearsals

logger = logging.getLogger(__name__)


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
