"""Which updated hubs are to be looked at again, and when."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from firmware.models import FirmwareRelease
from portal.ground import sql
from scheduling.models import Stage
from scheduling.queries import controls

LATER = timedelta(hours=24)
"""After so long, and after twice that; earlier where the stages of a release soak for less."""
MISSES = 3
"""Looks in a row in which a hub did not answer, until it counts as bad."""
AGAIN = 48
"""A hub that did not answer is looked at again after this part of that time: half an hour, as a rule."""

# What it ran before is what it said before it was staged; the inventory is asked where it said nothing.
RAN_BEFORE = """coalesce(
    (SELECT version.id FROM scheduling_command command
     JOIN hubs_firmwareversion version ON version.number = command.version
     WHERE command.deployment_id = late.deployment_id AND command.phase = 1
     ORDER BY command.attempt DESC LIMIT 1),
    (SELECT hub.installed_version_id FROM hubs_communicationshub hub WHERE hub.chf_id = late.hub))"""
IN_HALTED_PART = f"""EXISTS (
    SELECT FROM firmware_halt halt WHERE halt.release_id = late.release_id AND halt.lifted_at IS NULL
      AND (halt.network_id = late.network_id
           OR (halt.installed_version_id IS NOT NULL AND halt.installed_version_id = {RAN_BEFORE})))"""
"""
A hub is on a network that is halted, or ran a version that is left out: what it does is known, and nobody looks.

Those of a halted model are looked at all the same: they count for nothing, and no stage of theirs goes on.
"""


def later(*, release: FirmwareRelease, now: datetime) -> timedelta:
    """Return after how long the hubs of a release, with its policy, are looked at again: a day, or a shorter soak."""
    soak = release.policy.soak.after(now) - now
    return min(soak, LATER) if soak else LATER


def controls_know(*, release: FirmwareRelease, now: datetime) -> timedelta:
    """Return within how long the controls of a network say that it is in trouble; one look late, for good measure."""
    deadline = release.policy.silence_deadline.after(now) - now
    return (controls.MISSES + 1) * controls.interval(deadline=deadline)


def again(*, release: FirmwareRelease, now: datetime) -> timedelta:
    """
    Return after how long a hub of a release that did not answer is looked at again.

    However short the soak, not before the controls can have said between the first miss and the last that it is the
    network.
    """
    known = controls_know(release=release, now=now)
    return max(later(release=release, now=now) / AGAIN, known / (MISSES - 1))


@dataclass(frozen=True, slots=True)
class Awaited:
    """
    Hubs of a stage that nobody has found well again yet, of all that are to be looked at.

    `due_since` says since when it has been time for the first of them; None where that is no longer than usual.
    """

    left: int
    hubs: int
    due_since: datetime | None


AWAITED = f"""
SELECT count(*) FILTER (WHERE is_left), count(*), min(due_at) FILTER (WHERE is_left)
FROM (
    SELECT late.looks = 0 AND NOT {IN_HALTED_PART} AS is_left,
           CASE WHEN late.misses = 0 THEN late.succeeded_at + %(later)s ELSE late.looked_at + %(again)s END AS due_at
    FROM scheduling_latelook late
    WHERE late.release_id = %(release)s AND late.model_id = %(model)s AND late.stage = %(stage)s) late
"""  # noqa: S608 - our own constant


def awaited(*, stage: Stage, release: FirmwareRelease, now: datetime) -> Awaited | None:
    """
    Return which hubs an open stage of a release, with its policy, waits for to be looked at again.

    None where it waits for something else before, or for none. Asks the database only where the stage has soaked.
    """
    policy = release.policy
    if (
        stage.cut_at is not None
        or stage.full_at is None
        or stage.resolved != stage.size
        or stage.step > len(policy.stage_sizes)
        or not stage.full_at < policy.soak.after(stage.full_at) <= now
    ):
        return None
    terms = {
        "release": release.pk,
        "model": stage.model_id,
        "stage": stage.number,
        "later": later(release=release, now=now),
        "again": again(release=release, now=now),
    }
    [(left, hubs, due_at)] = sql.rows(AWAITED, terms)
    if not left:
        return None
    return Awaited(left, hubs, due_at if due_at + terms["again"] <= now else None)
