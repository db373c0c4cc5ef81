"""
The life of a deployment: its states, its moves, and nothing else.

    provisional -> booked -> staging -> staged -> activating -> succeeded | failed | unconfirmed

From every state before `activating` a deployment can be missed, cancelled, or held while its release
is halted. `activating` goes back to `staged` only when the carrier is sure that the hub was never
contacted. The database holds the same table of moves and refuses every other (see the migration
`deployment_moves`).
"""

from django.db.models import TextChoices


class State(TextChoices):
    """Where a deployment is."""

    PROVISIONAL = "provisional", "Provisional"
    BOOKED = "booked", "Booked"
    STAGING = "staging", "Staging"
    STAGED = "staged", "Staged"
    ACTIVATING = "activating", "Activating"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    UNCONFIRMED = "unconfirmed", "Unconfirmed"
    MISSED = "missed", "Missed"
    HELD = "held", "Held"
    CANCELLED = "cancelled", "Cancelled"


FINAL = (State.SUCCEEDED, State.FAILED, State.UNCONFIRMED, State.MISSED, State.CANCELLED)
CANCELLABLE = (State.PROVISIONAL, State.BOOKED, State.STAGING, State.STAGED, State.HELD)
"""Where a deployment can still be called back, if its cut-off has not passed."""
OPEN = tuple(state for state in State if state not in FINAL)

MOVES: dict[State, tuple[State, ...]] = {
    State.PROVISIONAL: (State.BOOKED, State.HELD, State.MISSED, State.CANCELLED),
    State.BOOKED: (State.STAGING, State.HELD, State.MISSED, State.CANCELLED),
    State.STAGING: (State.STAGED, State.HELD, State.FAILED, State.MISSED, State.CANCELLED),
    State.STAGED: (State.ACTIVATING, State.HELD, State.MISSED, State.CANCELLED),
    State.ACTIVATING: (State.STAGED, State.SUCCEEDED, State.FAILED, State.UNCONFIRMED),
    State.HELD: (State.PROVISIONAL, State.BOOKED, State.MISSED, State.CANCELLED),
    **dict.fromkeys(FINAL, ()),
}


class Ending(TextChoices):
    """Why a deployment ended as it did, beyond its state; the reason that people read."""

    NONE = "", ""
    NO_IMAGE_HELD = "no_image_held", "The hub held no image to activate"
    HASH_MISMATCH = "hash_mismatch", "The image's hash did not match"
    VERIFICATION_FAILED = "verification_failed", "The hub could not verify the image"
    ACTIVATION_FAILED = "activation_failed", "The hub could not activate the image"
    WRONG_HARDWARE = "wrong_hardware", "The hub's hardware does not take this image"
    TRANSFER_FAILED = "transfer_failed", "The image did not arrive whole"
    WRONG_VERSION = "wrong_version", "After activation the hub runs another version"
    NOT_ACTIVATED = "not_activated", "The hub still runs its old version after an unanswered activation"
    SILENT = "silent", "The hub did not answer after activation"
    UNREACHABLE = "unreachable", "The hub could not be reached in its slot"
    NOT_STAGED = "not_staged", "The image was not on the hub when the slot ended"
    SLOT_PASSED = "slot_passed", "The slot ended before the hub's turn"
    NO_TURN = "no_turn", "The stages of the release had no room for the hub in its slot"
    PROTECTED_WINDOW = "protected_window", "The hub was in a protected window during its slot"
    NETWORK_CLOSED = "network_closed", "DCC had closed the network during the slot"
    HALTED = "halted", "The release was halted during the slot"
    SET_ASIDE = "set_aside", "The hub was taken out, because carrying it out kept failing"
    ALREADY_INSTALLED = "already_installed", "The hub runs this version already"
    VERSION_CHANGED = "version_changed", "The hub runs a version that this release cannot be installed over"
    NO_LONGER_ELIGIBLE = "no_longer_eligible", "The hub may no longer be booked for this release"
    CARRIED_OVER = "carried_over", "Went with the hub to its new Supplier"
    OBJECTED = "objected", "The other Supplier objected"
    NO_CONSENT = "no_consent", "The other Supplier did not agree in time"
    BY_SUPPLIER = "by_supplier", "Cancelled by the Supplier"
    MOVED = "moved", "Moved to another slot"
    WITHDRAWN = "withdrawn", "The release was withdrawn"


class IllegalMove(Exception):
    """A move that the life of a deployment does not have."""


def check_move(source: State, target: State) -> None:
    """
    Pass a move that exists.

    :raises IllegalMove: if `source` never becomes `target`
    """
    if target not in MOVES[source]:
        raise IllegalMove(f"{source} to {target}")
