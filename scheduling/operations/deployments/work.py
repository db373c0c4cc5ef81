"""Claim and advance what is due, lot by lot."""

import logging
from datetime import datetime

from firmware.models import ReleaseState
from firmware.operations import decisions, stored_images
from hubs.gateway import HubGateway
from portal.ground import sql
from portal.ground.clock import Clock
from scheduling.models import Lot
from scheduling.operations.deployments import gate, sender
from scheduling.operations.deployments.claims import LEASE, Claim, LeaseLost, claim, hand_back

logger = logging.getLogger(__name__)


def carry_out(*, gateway: HubGateway, clock: Clock, lots: int) -> int:
    """
    Claim and advance due lots, at most `lots` of them, and none any more after a third of a lease.

    Returns how many there were.
    """
    began = clock()
    for done in range(lots):
        now = clock()
        if now - began > LEASE / 3 or not (claimed := claim(now=now)):
            return done
        try:
            advance(claimed=claimed, gateway=gateway, clock=clock)
        except LeaseLost:
            logger.warning("lot %s was taken over by another worker", claimed.lot.pk)
    return lots


def advance(*, claimed: Claim, gateway: HubGateway, clock: Clock) -> None:
    """
    Take every due deployment of the lot one step further, and hand the lot back.

    :raises LeaseLost: if the lot was taken over meanwhile; nothing is half done then
    """
    image_whole = _image_is_whole(claimed.lot, clock)
    gate.admit(claimed=claimed, image_whole=image_whole, clock=clock)
    while sender.send(claimed=claimed, gateway=gateway, clock=clock):
        pass
    hand_back(claimed=claimed)


def _image_is_whole(lot: Lot, clock: Clock) -> bool:
    """Hash the stored image again before anything is staged; a changed one halts its release."""
    if not (lot.booked or lot.staging):
        return True
    try:
        stored_images.verify_stored_image(release=lot.release)
    except stored_images.ImageChanged as changed:
        logger.error("release %s: %s", lot.release_id, changed)
        if lot.release.state == ReleaseState.PUBLISHED:
            decisions.halt(
                release=lot.release, by=None, reason=f"Halted by the portal: {changed}", now=clock()
            )
        return False
    return True


WAKE_STOPPED = """
UPDATE scheduling_lot SET due_at = %(now)s
WHERE id IN (
    SELECT lot.id FROM scheduling_lot lot JOIN firmware_firmwarerelease release ON release.id = lot.release_id
    WHERE lot.due_at > %(now)s AND CASE
        WHEN release.state = 'published' THEN lot.held > 0
        WHEN release.state = 'halted' THEN lot.provisional + lot.booked + lot.staged > 0
        ELSE lot.provisional + lot.booked + lot.staging + lot.staged + lot.held > 0 END
    ORDER BY lot.id FOR UPDATE OF lot SKIP LOCKED)
"""


def wake_stopped(*, now: datetime) -> int:
    """
    Make the lots due whose release was halted, resumed, withdrawn or closed, so that the Gate sees to them.

    The decision itself touches the release alone and needs nobody to be awake. Returns how many lots woke.
    """
    return sql.run(WAKE_STOPPED, {"now": now})
