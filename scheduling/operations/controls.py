"""
Look at hubs that are not being updated, and pause a network on which these fall silent too.

What hubs of such a network say is not held against the release (`queries.evidence`): its halt is of the network, and
two people end it like any other. Without a carrier that can look at hubs there are no controls, and a release is
judged by itself.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef

from firmware.models import FirmwareRelease, Halt, Part, ReleaseState
from firmware.operations import decisions
from hubs.gateway import LOOK_LIMIT, GatewayUnavailable, HubGateway, Sighting, UnableToLook, Watchful
from hubs.models import BOOKABLE, Network
from portal.ground import sql, turns
from portal.ground.clock import Clock
from scheduling.models import Control, ControlLook
from scheduling.queries import controls, windows
from scheduling.queries.controls import Standing

logger = logging.getLogger(__name__)
SIZE = 500
"""Controls of a network: 5 % of them falling silent are seen at once, and one look is half of what a carrier takes."""
assert SIZE <= LOOK_LIMIT  # noqa: S101 - one look at a time
TURN = timedelta(minutes=1)
KEPT = timedelta(days=90)
"""Looks are kept so long."""

TRIED = controls.MEASURED_OVER
"""
A hub is no control for so long after its update: what it does then may be the release's doing.

It is looked at for two days (`late_looks`), and more where its network was paused meanwhile; and it must not be among
what is measured as usual.
"""
# A hub that is booked and was commanded nothing yet is one like any other: else a network whose hubs are all booked
# would have no controls. The OFFSET has it asked of one hub after the other, not of all deployments.
TOUCHED = """EXISTS (
    SELECT FROM scheduling_deployment touched WHERE touched.hub_id = {hub}
      AND ((touched.ended_at IS NULL AND (touched.attempt > 0 OR touched.stage > 0))
           OR (touched.ended_at > %(now)s - %(tried)s AND touched.stage > 0)) OFFSET 0)"""
# Whoever is being updated, or was lately, is none, nor one that has been silent for a day, or was never heard: it says
# nothing new. Those with which a network was paused stay until it is resumed, and a day longer: they are the ones that
# can tell whether it carries again.
LEAVE = f"""
DELETE FROM scheduling_control control
WHERE network_id = %(network)s AND (
    (heard_at IS NULL AND misses >= %(misses)s)
    OR (heard_at < %(now)s - interval '1 day' AND NOT EXISTS (
        SELECT FROM firmware_halt halt
        WHERE halt.network_id = control.network_id AND halt.halted_by_id IS NULL
          AND halt.halted_at > control.heard_at
          AND (halt.lifted_at IS NULL OR halt.lifted_at > %(now)s - interval '1 day')))
    OR NOT EXISTS (SELECT FROM hubs_communicationshub hub
                   WHERE hub.chf_id = control.hub AND hub.network_id = control.network_id
                     AND hub.status = ANY (%(bookable)s))
    OR {TOUCHED.format(hub="control.hub")})
"""  # noqa: S608 - our own constant
# A sample of pages: to look at every hub for a few hundred would take seconds on a whole fleet. Of a small one all
# pages are looked at. What was done to the hubs is asked of as many of the sample as it takes.
COME = f"""
WITH sample AS MATERIALIZED (
    SELECT chf_id, network_id FROM hubs_communicationshub TABLESAMPLE SYSTEM (%(percent)s)
    WHERE network_id = %(network)s AND status = ANY (%(bookable)s)
    ORDER BY hashint8(chf_id))
INSERT INTO scheduling_control (hub, network_id, chosen_at, misses)
SELECT hub.chf_id, hub.network_id, %(now)s, 0
FROM sample hub
WHERE NOT EXISTS (SELECT FROM scheduling_control known WHERE known.hub = hub.chf_id OFFSET 0)
  AND NOT {TOUCHED.format(hub="hub.chf_id")}
LIMIT greatest(%(size)s - (
    SELECT count(*) FROM scheduling_control known WHERE known.network_id = %(network)s), 0)
ON CONFLICT DO NOTHING
"""  # noqa: S608 - our own constant
# What the planner believes of a table that was never analysed is no measure; the file is as long as it is.
FLEET = "SELECT pg_relation_size('hubs_communicationshub') / current_setting('block_size')::int"
PAGES = 1_000
"""Pages in the sample, of some 75 hubs: many for each control, since most are of other networks, or were updated."""
# Of those alone that are as they were when the carrier was asked: somebody else may have looked at them meanwhile.
SEEN = """
WITH still AS (
    SELECT control.hub, seen.is_heard
    FROM unnest(%(hubs)s::bigint[], %(heard)s::boolean[], %(heard_at)s::timestamptz[], %(misses)s::int[])
        AS seen (hub, is_heard, heard_at, misses)
    JOIN scheduling_control control ON control.hub = seen.hub AND control.misses = seen.misses
        AND control.heard_at IS NOT DISTINCT FROM seen.heard_at
    ORDER BY control.hub FOR UPDATE OF control)
UPDATE scheduling_control control SET
    heard_at = CASE WHEN still.is_heard THEN %(now)s ELSE control.heard_at END,
    misses = CASE WHEN still.is_heard THEN 0 ELSE control.misses + 1 END
FROM still WHERE control.hub = still.hub
"""


def watch(*, gateway: HubGateway, clock: Clock) -> int:
    """
    Look at the controls of each network where that is due; return how many releases were paused on one.

    One process at a time. A carrier that cannot be asked, or cannot say, leaves everything as it is. Networks that DCC
    has closed are not looked at.
    """
    if not isinstance(gateway, Watchful):
        return 0
    paused = 0
    with turns.turn(name="controls", lease=TURN, clock=clock) as is_ours:
        if is_ours:
            _forgive(clock())
        for network in controls.due(now=clock()) if is_ours else ():
            _renew(network, clock())
            panel = controls.panel(network=network)
            try:
                sightings = gateway.look(hubs=[one.hub for one in panel], now=clock()) if panel else ()
            except UnableToLook:  # it has no controls, today or ever, and that is no news
                return paused
            except (GatewayUnavailable, OSError):
                logger.warning("the controls of network %s cannot be looked at", network, exc_info=True)
                continue
            paused += _take_up(network, panel, sightings, clock())
    return paused


def _forgive(now: datetime) -> None:
    """Count no silence from before a network was closed: after that, hubs get as long as ever to answer."""
    if closed := windows.closed_networks(now=now):
        Control.objects.filter(network__in=closed, misses__gt=0).update(misses=0)


@transaction.atomic
def _renew(network: int, now: datetime) -> None:
    """Let the controls go that are none any more, and choose others in their place."""
    [(pages,)] = sql.rows(FLEET, {})
    terms = {
        "network": network,
        "now": now,
        "misses": controls.MISSES,
        "tried": TRIED,
        "bookable": [int(status) for status in BOOKABLE],
        "size": SIZE,
        "percent": min(100.0, 100.0 * PAGES / max(pages, 1)),
    }
    sql.run(LEAVE, terms)
    sql.run(COME, terms)


@transaction.atomic
def _take_up(network: int, panel: Sequence[Control], sightings: Sequence[Sighting], now: datetime) -> int:
    """Write down what was seen of controls as they were read, and pause the network where it says so."""
    terms = {
        "hubs": sql.numbers(one.hub for one in panel),
        "heard": [seen.is_heard for seen in sightings],
        "heard_at": sql.array(one.heard_at for one in panel),
        "misses": sql.numbers(one.misses for one in panel),
        "now": now,
    }
    if not sql.run(SEEN, terms) and panel:  # somebody else has looked at all of them meanwhile
        return 0
    found = controls.standing(network=network, now=now)
    ControlLook.objects.create(
        network_id=network,
        at=now,
        hubs=found.hubs,
        silent=found.silent,
        usual=found.usual,
        evidence=found.evidence,
        threshold=controls.LIMIT,
    )
    ControlLook.objects.filter(network=network, at__lt=now - KEPT).delete()
    return _pause(controls.name_of(network=network), found, now) if found.stops else 0


def _pause(network: Network, found: Standing, now: datetime) -> int:
    """Halt the network in every published release that is for it; return how many that were."""
    reason = (
        f"Controls: of {found.hubs:,} hubs on network {network} that no release touches, {found.silent:,} "
        f"({found.silent / found.hubs:.1%}) have fallen silent, where {found.usual:.2%} are usual. So it is the "
        "network and not the release: it is paused, and what its hubs say is not held against the release. Resume it "
        "when the network carries again."
    )
    facts = {
        "controls": found.hubs,
        "silent": found.silent,
        "usual": round(found.usual, 5),
        "evidence": round(found.evidence, 4),
        "limit": round(controls.LIMIT, 4),
    }
    part = Part(network=network)
    standing = Halt.objects.filter(release=OuterRef("pk"), network=network, lifted_at=None)
    concerned = FirmwareRelease.objects.filter(
        ~Exists(standing), state=ReleaseState.PUBLISHED, periods__network=network
    )
    paused = 0
    for release in concerned.order_by("pk"):
        try:
            decisions.halt(release=release, by=None, reason=reason, now=now, facts=facts, part=part)
        except decisions.UnableToHalt:  # halted as a whole, withdrawn or closed at the same moment
            continue
        logger.critical("release %s was paused on network %s: %s", release.pk, network, reason)
        paused += 1
    return paused
