"""Commands that are stamped as sent and about to leave, as the carrier is told them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from hubs.gateway import Command, Phase
from scheduling.operations.deployments.claims import Claim

PHASES = {phase.value: phase for phase in Phase}
WITH_IMAGE = (Phase.STAGE, Phase.ACTIVATE)


@dataclass(frozen=True, slots=True)
class Leaving:
    """Commands that may leave, as things stood `at` the moment of their stamp, in the order of their deployments."""

    commands: Sequence[Command]
    at: datetime
    stops: tuple[str, Sequence[int]]
    """The state of the release, and the ids of the halts that stand on it or on parts of it."""
    is_whole: bool
    """They are all that this holder has stamped at that moment; what others had stamped keeps its own."""


def instructions(*, claimed: Claim, rows: Iterable[tuple[int, int, int, int, datetime]]) -> Sequence[Command]:
    """Return commands by (deployment id, phase, attempt, CHF ID, last valid moment) as the carrier is told them."""
    lot, token, release = claimed.lot.pk, claimed.token, claimed.lot.release
    image = (release.digest, release.version.number)
    images = {phase: image if phase in WITH_IMAGE else ("", 0) for phase in Phase}
    return [
        Command._make((deployment, phase, attempt, hub, lot, token, valid_until, *images[phase]))
        for deployment, number, attempt, hub, valid_until in rows
        for phase in (PHASES[number],)
    ]
