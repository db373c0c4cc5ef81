"""
Look at updated hubs again, a day and two days later: whoever answered well may fall silent, or fall back.

The carrier says whether a hub is in contact and what it runs; nothing is commanded. One that has been taken out of
service since, or runs something newer, says nothing about the release, and is looked at no more. A stage that the
policy names is not followed by the next one before its hubs have been looked at once.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Min

from firmware.models import OPEN_TO_SUPPLIERS, FirmwareRelease
from hubs.gateway import LOOK_LIMIT, GatewayUnavailable, HubGateway, Sighting, UnableToLook, Watchful
from hubs.models import BOOKABLE
from portal.ground import sql, turns
from portal.ground.clock import Clock
from scheduling.models import LateLook
from scheduling.queries import late_looks, windows
from scheduling.queries.late_looks import IN_HALTED_PART

logger = logging.getLogger(__name__)
LOOKS = 2
TURN = timedelta(minutes=1)
PORTIONS = 10
"""Times that the carrier is asked by one call."""

IS_DUE = f"""
    late.release_id = %(release)s
    AND ((late.looks = 0 AND late.succeeded_at <= %(now)s - %(later)s)
         OR (late.looks = 1 AND late.succeeded_at <= %(now)s - 2 * %(later)s))
    AND (late.looked_at IS NULL OR late.misses = 0 OR late.looked_at <= %(now)s - %(again)s)
    AND late.network_id <> ALL (%(closed)s) AND NOT {IN_HALTED_PART}"""
# What was silent before a network was closed or halted may have been for the same reason.
BEGIN_ANEW = """
UPDATE scheduling_latelook late SET misses = 0, missed_at = NULL
WHERE late.release_id = %(release)s AND late.misses > 0 AND (
    late.network_id = ANY (%(closed)s)
    OR EXISTS (SELECT FROM firmware_halt halt WHERE halt.release_id = late.release_id
                 AND halt.network_id = late.network_id AND halt.lifted_at IS NULL))
"""
# Of a hub that was taken out of service, or moved to another network, nobody knows what to expect; one that another
# release has reached since is that release's. OFFSET 0: each is looked up by itself, where the planner would rather
# read the whole fleet once for some thousands.
LEAVE = f"""
DELETE FROM scheduling_latelook late
WHERE {IS_DUE} AND (
    NOT EXISTS (
        SELECT FROM hubs_communicationshub hub
        WHERE hub.chf_id = late.hub AND hub.network_id = late.network_id AND hub.model_id = late.model_id
          AND hub.status = ANY (%(bookable)s) OFFSET 0)
    OR EXISTS (
        SELECT FROM scheduling_deployment newer JOIN scheduling_lot lot ON lot.id = newer.id >> 11
        WHERE newer.hub_id = late.hub AND (newer.ended_at IS NULL OR newer.ended_at > late.succeeded_at)
          AND newer.stage > 0 AND lot.release_id <> late.release_id OFFSET 0))
"""  # noqa: S608 - our own constants
DUE = f"""
SELECT late.deployment_id, late.hub, late.looks, late.misses, late.looked_at, version.number
FROM scheduling_latelook late
JOIN firmware_firmwarerelease release ON release.id = late.release_id
JOIN hubs_firmwareversion version ON version.id = release.version_id
WHERE {IS_DUE}
ORDER BY late.deployment_id LIMIT %(limit)s
"""  # noqa: S608 - our own constant
GOES_ON = "(seen.found = 'missed' OR (seen.found = 'well' AND seen.looks + 1 < %(enough)s))"
# A look counts only if nobody else has taken one up since the hubs were asked for: one that comes twice counts once. A
# hub is well from its first look on, in each epoch in which one finds it so, until another one finds it bad.
FOUND = f"""
WITH epoch AS (
    SELECT count(*)::int AS number FROM firmware_halt halt
    WHERE halt.release_id = %(release)s AND halt.lifted_at IS NOT NULL),
seen AS (
    SELECT late.deployment_id, late.release_id, late.model_id, late.network_id, late.looks,
           epoch.number AS epoch, late.well_epoch IS NOT DISTINCT FROM epoch.number AS counts_as_well,
           CASE WHEN said.is_beyond THEN 'gone'
                WHEN said.is_well THEN 'well'
                WHEN said.is_heard THEN 'bad'
                WHEN late.misses + 1 >= %(misses)s AND late.missed_at <= %(now)s - %(controls_know)s THEN 'bad'
                ELSE 'missed' END AS found
    FROM unnest(%(deployments)s::bigint[], %(looks)s::int[], %(missed)s::int[], %(looked_at)s::timestamptz[],
                %(heard)s::boolean[], %(well)s::boolean[], %(beyond)s::boolean[])
        AS said (deployment_id, looks, misses, looked_at, is_heard, is_well, is_beyond)
    CROSS JOIN epoch
    JOIN scheduling_latelook late ON late.deployment_id = said.deployment_id AND late.looks = said.looks
        AND late.misses = said.misses AND late.looked_at IS NOT DISTINCT FROM said.looked_at
    ORDER BY late.deployment_id FOR UPDATE OF late),
moved AS (
    UPDATE scheduling_latelook late SET
        looked_at = %(now)s,
        looks = late.looks + (seen.found = 'well')::int,
        misses = CASE seen.found WHEN 'missed' THEN late.misses + 1 ELSE 0 END,
        missed_at = CASE seen.found WHEN 'missed' THEN coalesce(late.missed_at, %(now)s) END,
        well_epoch = CASE seen.found WHEN 'well' THEN seen.epoch ELSE late.well_epoch END
    FROM seen WHERE seen.deployment_id = late.deployment_id AND {GOES_ON}),
over AS (
    DELETE FROM scheduling_latelook late USING seen
    WHERE seen.deployment_id = late.deployment_id AND NOT {GOES_ON}),
counted AS (
    INSERT INTO scheduling_latetally AS tally (release_id, model_id, network_id, epoch, well, bad)
    SELECT release_id, model_id, network_id, epoch,
           count(*) FILTER (WHERE found = 'well' AND NOT counts_as_well)
           - count(*) FILTER (WHERE found = 'bad' AND counts_as_well),
           count(*) FILTER (WHERE found = 'bad')
    FROM seen WHERE (found = 'well' AND NOT counts_as_well) OR found = 'bad'
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (release_id, model_id, network_id, epoch) DO UPDATE SET
        well = tally.well + excluded.well, bad = tally.bad + excluded.bad)
SELECT deployment_id FROM seen WHERE found = 'bad' ORDER BY deployment_id
"""  # noqa: S608 - our own constant
# They join those that are bad at once: what they have in common is looked for among all of them.
KEEP = """
INSERT INTO scheduling_badhub (deployment_id, hub_id, release_id, network_id, model_id, stage, supplier_id,
                               hardware_version, version_before, commanded_at)
SELECT deployment.id, deployment.hub_id, lot.release_id, lot.network_id, deployment.model_id, deployment.stage,
       lot.supplier_id, hub.hardware_version,
       coalesce((SELECT command.version FROM scheduling_command command
                 WHERE command.deployment_id = deployment.id AND command.phase = 1 AND command.version IS NOT NULL
                 ORDER BY command.attempt DESC LIMIT 1), version.number),
       (SELECT coalesce(max(command.admitted_at), deployment.moved_at) FROM scheduling_command command
        WHERE command.deployment_id = deployment.id AND command.phase = 3)
FROM scheduling_deployment deployment
JOIN scheduling_lot lot ON lot.id = deployment.id >> 11
JOIN hubs_communicationshub hub ON hub.chf_id = deployment.hub_id
JOIN hubs_firmwareversion version ON version.id = hub.installed_version_id
WHERE deployment.id = ANY (%(bad)s::bigint[]) ORDER BY deployment.id
ON CONFLICT DO NOTHING
"""
FORGET = "DELETE FROM scheduling_latelook WHERE release_id = %(release)s"
FORGET_ENDED = """
DELETE FROM scheduling_latelook late USING firmware_firmwarerelease release
WHERE release.id = late.release_id AND release.state <> ALL (%(open)s)
"""


class _Due(NamedTuple):
    """A hub for which it is time, as it is known before it is looked at; `version` is what it should run."""

    deployment: int
    hub: int
    looks: int
    misses: int
    looked_at: datetime | None
    version: int


def look(*, gateway: HubGateway, clock: Clock) -> int:
    """
    Look at the updated hubs for which it is time; return how many were found bad.

    One process at a time. A carrier that cannot be asked is asked later; of one that cannot look at hubs nothing is
    awaited. Where a network is closed or halted nobody asks: what is silent there says nothing.
    """
    bad = 0
    closed = sorted(windows.closed_networks(now=clock()))
    with turns.turn(name="late looks", lease=TURN, clock=clock) as is_ours:
        if is_ours:
            sql.run(FORGET_ENDED, {"open": list(OPEN_TO_SUPPLIERS)})
        for release in _rolling_out() if is_ours else ():
            if not isinstance(gateway, Watchful):
                sql.run(FORGET, {"release": release.pk})
                continue
            terms = {
                "release": release.pk,
                "now": clock(),
                "later": late_looks.later(release=release, now=clock()),
                "again": late_looks.again(release=release, now=clock()),
                "closed": closed,
                "bookable": [int(status) for status in BOOKABLE],
                "limit": LOOK_LIMIT,
            }
            sql.run(BEGIN_ANEW, terms)
            sql.run(LEAVE, terms)
            for _ in range(PORTIONS):
                if not (due := [_Due(*row) for row in sql.rows(DUE, terms)]):
                    break
                try:
                    sightings = gateway.look(hubs=[one.hub for one in due], now=clock())
                except UnableToLook:
                    sql.run(FORGET, {"release": release.pk})
                    break
                except (GatewayUnavailable, OSError):
                    logger.warning("updated hubs cannot be looked at again", exc_info=True)
                    return bad
                bad += _take_up(release, due, sightings, clock())
    return bad


def next_at(*, release: FirmwareRelease, now: datetime) -> datetime | None:
    """Return when the next hub of a release is to be looked at again; None where none is left."""
    later = late_looks.later(release=release, now=now)
    mine = LateLook.objects.filter(release=release)
    moments = [
        succeeded_at + (looks + 1) * later
        for looks in range(LOOKS)
        for succeeded_at in mine.filter(looks=looks, misses=0)
        .order_by("succeeded_at")
        .values_list("succeeded_at", flat=True)[:1]
    ]
    if missed := mine.filter(misses__gt=0).aggregate(first=Min("looked_at"))["first"]:
        moments.append(missed + late_looks.again(release=release, now=now))
    return min(moments, default=None)


def _rolling_out() -> Sequence[FirmwareRelease]:
    return list(
        FirmwareRelease.objects.filter(state__in=OPEN_TO_SUPPLIERS).select_related("policy").order_by("pk")
    )


@transaction.atomic
def _take_up(
    release: FirmwareRelease, due: Sequence[_Due], sightings: Sequence[Sighting], now: datetime
) -> int:
    """Write down what was seen of some hubs; return how many of them are bad."""
    seen = list(zip(due, sightings, strict=True))
    terms = {
        "release": release.pk,
        "now": now,
        "enough": LOOKS,
        "misses": late_looks.MISSES,
        "controls_know": late_looks.controls_know(release=release, now=now),
        "deployments": sql.numbers(one.deployment for one in due),
        "looks": sql.numbers(one.looks for one in due),
        "missed": sql.numbers(one.misses for one in due),
        "looked_at": sql.array(one.looked_at for one in due),
        "heard": sql.array(sighting.is_heard for sighting in sightings),
        # one that answers and does not say what it runs has not fallen silent
        "well": sql.array(
            sighting.is_heard and sighting.version in (None, one.version) for one, sighting in seen
        ),
        "beyond": sql.array(
            sighting.is_heard and (sighting.version or 0) > one.version for one, sighting in seen
        ),
    }
    bad = [deployment for (deployment,) in sql.rows(FOUND, terms)]
    if bad:
        sql.run(KEEP, {"bad": sql.numbers(bad)})
    return len(bad)
