"""Which updated hubs are to be looked at again, and when."""

from datetime import datetime, timedelta

from firmware.models import FirmwareRelease
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
