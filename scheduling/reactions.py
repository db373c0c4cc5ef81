"""What a report means for a deployment: one answer for every phase and outcome. Pure."""

from dataclasses import dataclass
from enum import Enum

from hubs.gateway import Outcome, Phase
from scheduling.lifecycle import Ending, State

VERIFY_ATTEMPTS = 3
"""Reads after an activation before the deployment is called unconfirmed."""
TRANSFER_ATTEMPTS = 3
"""Transfers of the image before the deployment is called failed."""

MOST_TRIES = max(VERIFY_ATTEMPTS, TRANSFER_ATTEMPTS)
"""More tries than these make no difference any more."""


class Wait(Enum):
    """When somebody looks at the deployment next."""

    NEVER = "it has ended"
    NOW = "at once"
    SLOT = "when its slot begins"
    RETRY = "after the retry interval"


@dataclass(frozen=True, slots=True)
class Reaction:
    """Where the deployment goes. `missed` says that the hub could not be contacted."""

    state: State
    phase: Phase
    wait: Wait
    ending: Ending = Ending.NONE
    missed: bool = False
    restart: bool = False
    """The phase begins anew, so its tries count from nought."""


FAILURES = {
    Outcome.NO_IMAGE_HELD: Ending.NO_IMAGE_HELD,
    Outcome.HASH_MISMATCH: Ending.HASH_MISMATCH,
    Outcome.VERIFICATION_FAILED: Ending.VERIFICATION_FAILED,
    Outcome.ACTIVATION_FAILED: Ending.ACTIVATION_FAILED,
    Outcome.WRONG_HARDWARE: Ending.WRONG_HARDWARE,
    Outcome.TRANSFER_FAILED: Ending.TRANSFER_FAILED,
}
NOT_CONTACTED = (Outcome.UNREACHABLE, Outcome.EXPIRED)
"""Surely nothing was done to the hub."""


def to_report(
    *,
    phase: Phase,
    tries: int,
    outcome: Outcome,
    version: int | None,
    target: int,
    predecessors: frozenset[int] | None,
) -> Reaction:
    """
    Say where a report takes the deployment that awaits it.

    `tries` counts the commands of this phase so far, `version` is the running version reported, `target` the
    release's; `predecessors` of None means that the release may be installed over any older version.
    """
    match phase:
        case Phase.READ:
            return _to_first_read(outcome, version, target, predecessors)
        case Phase.STAGE:
            return _to_staging(outcome, tries)
        case Phase.ACTIVATE:
            return _to_activation(outcome)
        case Phase.VERIFY:
            return _to_verification(outcome, tries, version, target, predecessors)


def _ended(state: State, phase: Phase, ending: Ending = Ending.NONE) -> Reaction:
    return Reaction(state, phase, Wait.NEVER, ending)


def _leads_to(target: int, version: int, predecessors: frozenset[int] | None) -> bool:
    return 0 <= version < target if predecessors is None else version in predecessors


def _to_first_read(
    outcome: Outcome, version: int | None, target: int, predecessors: frozenset[int] | None
) -> Reaction:
    if outcome is not Outcome.DONE or version is None:
        return Reaction(State.STAGING, Phase.READ, Wait.RETRY, missed=True)
    if version == target:
        return _ended(State.CANCELLED, Phase.READ, Ending.ALREADY_INSTALLED)
    if not _leads_to(target, version, predecessors):
        return _ended(State.CANCELLED, Phase.READ, Ending.VERSION_CHANGED)
    return Reaction(State.STAGING, Phase.STAGE, Wait.NOW, restart=True)


def _to_staging(outcome: Outcome, tries: int) -> Reaction:
    if outcome is Outcome.DONE:
        return Reaction(State.STAGED, Phase.ACTIVATE, Wait.SLOT, restart=True)
    if outcome in NOT_CONTACTED:
        return Reaction(State.STAGING, Phase.STAGE, Wait.RETRY, missed=True)
    if outcome is Outcome.TRANSFER_FAILED and tries < TRANSFER_ATTEMPTS:
        return Reaction(State.STAGING, Phase.STAGE, Wait.RETRY)
    return _ended(State.FAILED, Phase.STAGE, FAILURES[outcome])


def _to_activation(outcome: Outcome) -> Reaction:
    if outcome is Outcome.DONE:
        # what the hub says of its own activation is not proof: read the version back
        return Reaction(State.ACTIVATING, Phase.VERIFY, Wait.NOW, restart=True)
    if outcome in NOT_CONTACTED:
        return Reaction(State.STAGED, Phase.ACTIVATE, Wait.RETRY, missed=True)
    return _ended(State.FAILED, Phase.ACTIVATE, FAILURES[outcome])


def _to_verification(
    outcome: Outcome, tries: int, version: int | None, target: int, predecessors: frozenset[int] | None
) -> Reaction:
    if outcome is not Outcome.DONE or version is None:
        if tries < VERIFY_ATTEMPTS:
            return Reaction(State.ACTIVATING, Phase.VERIFY, Wait.RETRY, missed=True)
        return _ended(State.UNCONFIRMED, Phase.VERIFY, Ending.SILENT)
    if version == target:
        return _ended(State.SUCCEEDED, Phase.VERIFY)
    if _leads_to(target, version, predecessors):
        return _ended(State.FAILED, Phase.VERIFY, Ending.NOT_ACTIVATED)
    return _ended(State.FAILED, Phase.VERIFY, Ending.WRONG_VERSION)
