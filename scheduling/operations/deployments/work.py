"""Claim and advance what is due, lot by lot."""

import logging
from collections.abc import Callable
from datetime import datetime

from django.db import InterfaceError, OperationalError

from firmware.models import FirmwareRelease, ReleaseState
from firmware.operations import decisions, stored_images
from hubs.gateway import HubGateway
from portal.ground import logs, sql
from portal.ground.clock import Clock
from scheduling.models import Lot
from scheduling.operations.deployments import gate, sender
from scheduling.operations.deployments.claims import (
    LEASE,
    LOOK_AGAIN,
    Claim,
    LeaseLost,
    claim,
    fail,
    hand_back,
)
from scheduling.operations.deployments.known import Known
from scheduling.operations.deployments.reports import collect_all

logger = logging.getLogger(__name__)
AT_A_TIME = 4
"""Lots that are carried out before we look for answers."""
LOOKS = 10
PAUSE_SECONDS = 0.05
"""Whoever has just worked looks so often again, so soon: carriers answer within moments, and others wake lots."""


def keep_at_it(
    *, gateway: HubGateway, clock: Clock, keep_going: Callable[[], bool], pause: Callable[[float], None]
) -> bool:
    """
    Carry out and collect in turn, while there is anything of either, for a sixth of a lease.

    So no lot waits for the timetable to wake somebody who collects, and no answer for somebody who carries out. A
    carrier that gives no answers is told all the same. Says whether it ended for want of time alone: then there is
    work for whoever comes next.
    """
    began = clock()
    known = Known()
    looks_left = 0
    while keep_going():
        if clock() - began >= LEASE / 6:
            return True
        lots = carry_out(gateway=gateway, clock=clock, lots=AT_A_TIME, keep_going=keep_going, known=known)
        try:
            came = collect_all(gateway=gateway, clock=clock, keep_going=keep_going, known=known)
        except sender.UNAVAILABLE:
            logger.warning("answers cannot be fetched: they wait with the carrier", exc_info=True)
            came = 0
        if lots or came:
            looks_left = LOOKS
        elif looks_left:
            looks_left -= 1
            pause(PAUSE_SECONDS)
        else:
            break
    return False


def carry_out(
    *,
    gateway: HubGateway,
    clock: Clock,
    lots: int,
    keep_going: Callable[[], bool] = lambda: True,
    known: Known | None = None,
) -> int:
    """
    Claim and advance due lots, at most `lots` of them, for a third of a lease, and as long as we are to `keep_going`.

    Returns how many there were. What one lot fails on holds up no other; a carrier that cannot be reached ends it.
    """
    began = clock()

    def may_go_on(now: datetime) -> bool:
        return keep_going() and now - began < LEASE / 3

    known = known or Known()
    for done in range(lots):
        now = clock()
        if not may_go_on(now) or not (claimed := claim(now=now, known=known)):
            return done
        lot = claimed.lot
        with logs.bound(lot=lot.pk, release=lot.release.cpl_entry_id, booking=lot.booking.reference):
            try:
                advance(claimed=claimed, gateway=gateway, clock=clock, keep_going=may_go_on)
            except LeaseLost:
                logger.warning("the lot was taken over by another worker")
            except sender.UNAVAILABLE:
                logger.warning("the carrier cannot be reached: the lot waits", exc_info=True)
                now = clock()
                hand_back(claimed=claimed, now=now, again_at=now + LOOK_AGAIN)
                return done
            except stored_images.ImageUnavailable as unavailable:
                logger.error("nothing is staged here: %s", unavailable)
                hand_back(claimed=claimed, now=clock())  # due at once: another host may stage them
                return done
            except (OperationalError, InterfaceError):
                raise  # the database's trouble, not the lot's
            except Exception as error:
                logger.exception("the lot could not be carried out")
                fail(claimed=claimed, error=error, now=clock())
    return lots


def advance(
    *,
    claimed: Claim,
    gateway: HubGateway,
    clock: Clock,
    keep_going: Callable[[datetime], bool] = lambda _: True,
) -> None:
    """
    Take every due deployment of the lot one step further, and hand the lot back.

    :raises LeaseLost: if the lot was taken over meanwhile; nothing is half done then
    :raises ImageUnavailable: if this host cannot read images; the lot is not handed back then
    :raises GatewayUnavailable: if the carrier cannot be reached (or an OSError); the lot is not handed back then
    """
    image_whole = _image_is_whole(claimed.lot, clock)
    admission = gate.admit(claimed=claimed, image_whole=image_whole, clock=clock, stamps=True)
    sent = sender.send_all(
        claimed=claimed, gateway=gateway, clock=clock, admission=admission, keep_going=keep_going
    )
    if admission.commands:
        logger.info("%s commands admitted", admission.commands)
    hand_back(
        claimed=claimed,
        now=admission.at,
        waits=admission.waits,
        again_at=None if sent.is_all else clock(),
        taken_at=sent.taken_at,
    )


def _image_is_whole(lot: Lot, clock: Clock) -> bool:
    """Hash the stored image again before anything is staged; a changed one halts its release."""
    if not (lot.booked or lot.staging):
        return True
    try:
        stored_images.verify_stored_image(release=lot.release)
    except stored_images.ImageChanged as changed:
        logger.error("release %s: %s", lot.release_id, changed)
        # asked anew: what a worker has read of a release says nothing of its state
        if FirmwareRelease.objects.filter(pk=lot.release_id, state=ReleaseState.PUBLISHED).exists():
            decisions.halt(
                release=lot.release, by=None, reason=f"Halted by the portal: {changed}", now=clock()
            )
        return False
    return True


# How often that changed is counted once for each release: it may have tens of thousands of lots.
WAKE_STOPPED = """
WITH changed AS MATERIALIZED (
    SELECT release_id, count(*) + count(lifted_at) AS times FROM firmware_halt GROUP BY release_id)
UPDATE scheduling_lot SET due_at = %(now)s
WHERE id IN (
    SELECT lot.id FROM scheduling_lot lot JOIN firmware_firmwarerelease release ON release.id = lot.release_id
    LEFT JOIN changed ON changed.release_id = lot.release_id
    WHERE lot.due_at > %(now)s AND CASE
        WHEN release.state = 'published' THEN lot.provisional + lot.booked + lot.staging + lot.staged + lot.held > 0
             AND lot.halts_seen <> coalesce(changed.times, 0)
        WHEN release.state = 'halted' THEN lot.provisional + lot.booked + lot.staged > 0
        ELSE lot.provisional + lot.booked + lot.staging + lot.staged + lot.held > 0 END
    ORDER BY lot.id FOR UPDATE OF lot SKIP LOCKED)
"""


def wake_stopped(*, now: datetime) -> int:
    """
    Make the lots due whose release, or a part of it, was halted, resumed, withdrawn or closed: the Gate sees to them.

    The decision itself touches the release alone and needs nobody to be awake. Returns how many lots woke.
    """
    return sql.run(WAKE_STOPPED, {"now": now})
