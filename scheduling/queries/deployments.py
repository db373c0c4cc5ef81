"""What happened to one hub."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hubs.gateway import Outcome, Phase
from hubs.models import CommunicationsHub, Supplier
from scheduling.lifecycle import FINAL, Ending, State
from scheduling.models import Booking, Command, Deployment, Lot
from scheduling.queries import quarantine


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a hub's story."""

    at: datetime
    words: str
    detail: str


@dataclass(frozen=True, slots=True)
class Story:
    """One deployment of a hub: where it stands, since when it is set aside, and what happened, in order of time."""

    deployment: Deployment
    lot: Lot
    aside_since: datetime | None
    happenings: Sequence[Happening]


ASKED = {
    Phase.READ: "Asked which version it runs",
    Phase.STAGE: "Image sent to the hub",
    Phase.ACTIVATE: "Told to activate",
    Phase.VERIFY: "Asked to confirm its version",
}
DONE = {
    Phase.READ: "The hub answered",
    Phase.STAGE: "The image is on the hub, whole and verified",
    Phase.ACTIVATE: "The hub says that it has activated the image",
    Phase.VERIFY: "The hub answered",
}
NOT_DONE = {
    Outcome.UNREACHABLE: "The hub could not be reached",
    Outcome.NO_IMAGE_HELD: "The hub held no image to activate",
    Outcome.HASH_MISMATCH: "The image's hash did not match",
    Outcome.VERIFICATION_FAILED: "The hub could not verify the image",
    Outcome.ACTIVATION_FAILED: "The hub could not activate the image",
    Outcome.WRONG_HARDWARE: "The hub's hardware does not take the image",
    Outcome.TRANSFER_FAILED: "The image did not arrive whole",
    Outcome.EXPIRED: "Not carried out in time, so nothing was done",
}

SET_ASIDE = (
    "Set aside: DCC looks into it",
    "Updating this hub kept failing, so nothing more is asked of it until DCC has decided. Your other hubs go on, and "
    "you need not do anything.",
)


def stories(*, hub: CommunicationsHub, supplier: Supplier, limit: int) -> list[Story]:
    """
    Return the latest deployments of a hub that the Supplier booked, newest first, with what happened in each.

    A deployment that another Supplier booked is that Supplier's business.
    """
    deployments = list(Deployment.objects.filter(hub=hub).order_by("-id")[:limit])
    booked = Lot.objects.filter(supplier=supplier).select_related("slot", "release", "booking", "network")
    lots = booked.in_bulk({deployment.lot_id for deployment in deployments})
    own = [deployment for deployment in deployments if deployment.lot_id in lots]
    commands: dict[int, list[Command]] = {deployment.pk: [] for deployment in own}
    for command in Command.objects.filter(deployment_id__in=list(commands)).order_by(
        "admitted_at", "attempt"
    ):
        commands[command.deployment_id].append(command)
    aside = quarantine.since(deployments=[deployment.pk for deployment in own if deployment.ended_at is None])
    return [
        Story(
            deployment,
            lots[deployment.lot_id],
            aside.get(deployment.pk),
            _happenings(
                deployment, lots[deployment.lot_id], commands[deployment.pk], aside.get(deployment.pk)
            ),
        )
        for deployment in own
    ]


def _happenings(
    deployment: Deployment, lot: Lot, commands: Sequence[Command], aside_since: datetime | None
) -> list[Happening]:
    came = lot.booking.origin == Booking.Origin.CARRIED_OVER
    booked = "Came with the hub, booked in" if came else "Booked in"
    told = [Happening(lot.booking.created_at, f"{booked} {lot.booking.reference}", str(lot.release))]
    tries: Counter[int] = Counter()
    for command in commands:
        phase = Phase(command.phase)
        tries[phase] += 1
        again = "" if tries[phase] == 1 else f"Try {tries[phase]}."
        told.append(Happening(command.sent_at or command.admitted_at, ASKED[phase], again))
        if command.answered_at and command.outcome:
            outcome = Outcome(command.outcome)
            words = DONE[phase] if outcome is Outcome.DONE else NOT_DONE[outcome]
            version = "" if command.version is None else f"It runs {command.version:08X}."
            told.append(Happening(command.answered_at, words, version))
    if aside_since:
        told.append(Happening(aside_since, *SET_ASIDE))
    if deployment.state in FINAL and deployment.ended_at:
        ending = Ending(deployment.ending).label if deployment.ending else ""
        told.append(Happening(deployment.ended_at, State(deployment.state).label, ending))
    return sorted(told, key=lambda happening: happening.at)
