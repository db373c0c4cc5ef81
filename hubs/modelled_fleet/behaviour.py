"""What a modelled hub does with a command: pure, so that a run can be repeated and reasoned about."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hubs.gateway import Command, Outcome, Phase
from hubs.modelled_fleet.draws import Draws

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
_DIGEST = re.compile(r"[0-9a-f]{64}")

_MEDIANS = {phase: f"{phase.name.lower()}_delay" for phase in Phase}
# Salts of the draws; a fault's salt is made of its version, far above these.
_NEVER, _CONTACT, _DELAY, _TRANSFER, _MISMATCH, _VERIFICATION, _ACTIVATION, _SILENCE = range(1, 9)
_DROPPED, _DOUBLED, _DELAYED, _LATENESS, _SECOND_LATENESS = range(9, 14)
_OUTAGE = 14
_LOOK = 99
"""In the place of a phase."""
_FAULT = 1 << 40


@dataclass(frozen=True, slots=True)
class Profile:
    """How one network and its hubs behave: shares from 0 to 1, median seconds; see `NetworkProfile`."""

    seed: int = 1
    time_scale: float = 1.0
    reachability: float = 0.985
    never_reached: float = 0.007
    read_delay: float = 25.0
    stage_delay: float = 1200.0
    activate_delay: float = 240.0
    verify_delay: float = 25.0
    delay_spread: float = 0.4
    transfer_failed: float = 0.004
    hash_mismatch: float = 0.0
    verification_failed: float = 0.0005
    activation_failed: float = 0.001
    silent_activation: float = 0.001
    report_dropped: float = 0.001
    report_doubled: float = 0.002
    report_delayed: float = 0.01
    report_delay: float = 600.0


@dataclass(frozen=True, slots=True)
class HubState:
    """A hub as it really is."""

    chf_id: int
    network: int
    model: int
    hardware_version: int
    running_version: int
    staged_version: int | None = None
    staged_digest: str = ""
    activations: int = 0
    quiet_until: datetime | None = None
    quiet_from: datetime | None = None
    """From then on it is not heard of any more, whatever it said before."""

    def is_quiet(self, *, at: datetime) -> bool:
        """Say whether the hub is silent at a moment, for what it runs."""
        return (self.quiet_until is not None and at < self.quiet_until) or (
            self.quiet_from is not None and at >= self.quiet_from
        )


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is really for."""

    version: int
    models: frozenset[int]
    minimum_hardware: int
    maximum_hardware: int


@dataclass(frozen=True, slots=True)
class Fault:
    """An injected defect of one version; `network` and `model` narrow it."""

    version: int
    share: float
    kind: str
    late_by: float
    network: int | None = None
    model: int | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """A span in which nothing is heard of a share of a network's hubs, whatever they do; it may have no end yet."""

    network: int
    share: float
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a hub did: its new state, what it says of it, and when each copy of its report arrives."""

    hub: HubState | None
    outcome: Outcome
    version: int | None = None
    is_applied: bool = False
    reports_at: tuple[datetime, ...] = ()


class Hazards:
    """
    What can come between a command of one phase and its hub: luck, and nothing that is wrong with the hub or the image.

    Where nothing of it strikes, `react` does as it is told, and says so at once.
    """

    __slots__ = ("_nature", "_phase", "_seed", "_shares")

    def __init__(self, *, phase: Phase, profile: Profile) -> None:
        shares = {
            _CONTACT: 1.0 - profile.reachability,
            _DROPPED: profile.report_dropped,
            _DELAYED: profile.report_delayed,
            _DOUBLED: profile.report_doubled,
        }
        if phase is Phase.STAGE:
            shares |= {
                _TRANSFER: profile.transfer_failed,
                _MISMATCH: profile.hash_mismatch,
                _VERIFICATION: profile.verification_failed,
            }
        elif phase is Phase.ACTIVATE:
            shares |= {_ACTIVATION: profile.activation_failed, _SILENCE: profile.silent_activation}
        self._seed, self._phase = profile.seed, phase.value
        self._nature = [(profile.never_reached, _NEVER)] if profile.never_reached > 0.0 else []
        self._shares = [(share, salt) for salt, share in shares.items() if share > 0.0]

    def strike(self, *, chf_id: int, attempt: int) -> bool:
        """Say whether anything of it happens at an attempt to command a hub."""
        if self._nature and Draws(seed=self._seed, chf_id=chf_id).any_happens(shares=self._nature):
            return True
        draws = Draws(seed=self._seed, chf_id=chf_id, phase=self._phase, attempt=attempt)
        return draws.any_happens(shares=self._shares)


def delay(*, phase: Phase, profile: Profile, draws: Draws) -> timedelta:
    """Draw how long a hub takes until it acts on a command."""
    median: float = getattr(profile, _MEDIANS[phase])
    drawn = draws.around(median=median, spread=profile.delay_spread, salt=_DELAY)
    return timedelta(seconds=drawn / profile.time_scale)


def react(
    *,
    hub: HubState | None,
    command: Command,
    at: datetime,
    profile: Profile,
    faults: Sequence[Fault] = (),
    image: Image | None = None,
) -> Reaction:
    """
    Let a hub carry out a command at the moment `at`.

    A hub of None is not of this fleet, and cannot be reached. Without an `image` the hub believes what
    the command says of it.
    """
    if hub is None:
        return Reaction(None, Outcome.UNREACHABLE, reports_at=(at,))
    nature = Draws(seed=profile.seed, chf_id=hub.chf_id)
    draws = Draws(seed=profile.seed, chf_id=hub.chf_id, phase=command.phase.value, attempt=command.attempt)
    if (
        hub.is_quiet(at=at)
        or nature.happens(share=profile.never_reached, salt=_NEVER)
        or draws.happens(share=1.0 - profile.reachability, salt=_CONTACT)
    ):
        reaction = Reaction(hub, Outcome.UNREACHABLE)
    elif command.phase is Phase.STAGE:
        reaction = _stage(hub=hub, command=command, profile=profile, draws=draws, image=image)
    elif command.phase is Phase.ACTIVATE:
        fault = next(
            (fault for fault in faults if _strikes(fault=fault, hub=hub, command=command, nature=nature)),
            None,
        )
        reaction = _activate(hub=hub, command=command, at=at, profile=profile, draws=draws, fault=fault)
        if reaction.is_applied and draws.happens(share=profile.silent_activation, salt=_SILENCE):
            return reaction
    else:
        reaction = Reaction(hub, Outcome.DONE, version=hub.running_version)
    heard_at = at
    if reaction.is_applied and reaction.hub is not None and reaction.hub.quiet_until is not None:
        heard_at = max(at, reaction.hub.quiet_until)
    if heard_at == FOREVER:
        return reaction
    return replace(reaction, reports_at=_arrivals(heard_at=heard_at, profile=profile, draws=draws))


def is_out(*, hub: HubState, at: datetime, profile: Profile, outages: Sequence[Outage]) -> bool:
    """Say whether nothing is heard of a hub at a moment: always the same hubs of an outage."""
    nature = Draws(seed=profile.seed, chf_id=hub.chf_id)
    return any(
        outage.network == hub.network
        and outage.since <= at
        and (outage.until is None or at < outage.until)
        and nature.happens(share=outage.share, salt=_OUTAGE)
        for outage in outages
    )


def is_heard(*, hub: HubState, look: int, at: datetime, profile: Profile, outages: Sequence[Outage]) -> bool:
    """Say whether a hub answers when it is looked at; `look` tells looks apart, and the same look finds the same."""
    nature = Draws(seed=profile.seed, chf_id=hub.chf_id)
    draws = Draws(seed=profile.seed, chf_id=hub.chf_id, phase=_LOOK, attempt=look)
    return not (
        hub.is_quiet(at=at)
        or nature.happens(share=profile.never_reached, salt=_NEVER)
        or draws.happens(share=1.0 - profile.reachability, salt=_CONTACT)
        or is_out(hub=hub, at=at, profile=profile, outages=outages)
    )


def _stage(
    *, hub: HubState, command: Command, profile: Profile, draws: Draws, image: Image | None
) -> Reaction:
    if image is not None and not (
        hub.model in image.models and image.minimum_hardware <= hub.hardware_version <= image.maximum_hardware
    ):
        return Reaction(hub, Outcome.WRONG_HARDWARE)
    if draws.happens(share=profile.transfer_failed, salt=_TRANSFER):
        return Reaction(hub, Outcome.TRANSFER_FAILED)
    if (
        not _DIGEST.fullmatch(command.digest)
        or (image is not None and image.version != command.version)
        or draws.happens(share=profile.hash_mismatch, salt=_MISMATCH)
    ):
        return Reaction(hub, Outcome.HASH_MISMATCH)
    if draws.happens(share=profile.verification_failed, salt=_VERIFICATION):
        return Reaction(hub, Outcome.VERIFICATION_FAILED)
    staged = replace(hub, staged_version=command.version, staged_digest=command.digest)
    return Reaction(staged, Outcome.DONE, is_applied=True)


def _activate(
    *, hub: HubState, command: Command, at: datetime, profile: Profile, draws: Draws, fault: Fault | None
) -> Reaction:
    if hub.staged_version is None or hub.staged_digest != command.digest:
        return Reaction(hub, Outcome.NO_IMAGE_HELD)
    if hub.staged_version != command.version:
        return Reaction(hub, Outcome.HASH_MISMATCH)
    if (fault is not None and fault.kind == "visible") or draws.happens(
        share=profile.activation_failed, salt=_ACTIVATION
    ):
        return Reaction(hub, Outcome.ACTIVATION_FAILED)
    quiet_until = quiet_from = None
    if fault is not None and fault.kind == "silent":
        quiet_until = FOREVER
    elif fault is not None:
        quiet_from = at + timedelta(seconds=fault.late_by / profile.time_scale)
    running = replace(
        hub,
        running_version=hub.staged_version,
        staged_version=None,
        staged_digest="",
        activations=hub.activations + 1,
        quiet_until=quiet_until,
        quiet_from=quiet_from,
    )
    return Reaction(running, Outcome.DONE, is_applied=True)


def _strikes(*, fault: Fault, hub: HubState, command: Command, nature: Draws) -> bool:
    """Say whether a fault is in this hub: always the same hubs, however often they try."""
    return (
        fault.version == command.version
        and fault.network in (None, hub.network)
        and fault.model in (None, hub.model)
        and nature.happens(share=fault.share, salt=_FAULT + fault.version)
    )


def _arrivals(*, heard_at: datetime, profile: Profile, draws: Draws) -> tuple[datetime, ...]:
    """Draw when each copy of a report arrives; a lost one has none."""
    if draws.happens(share=profile.report_dropped, salt=_DROPPED):
        return ()

    def late(salt: int) -> datetime:
        drawn = draws.around(median=profile.report_delay, spread=profile.delay_spread, salt=salt)
        return heard_at + timedelta(seconds=drawn / profile.time_scale)

    first = late(_LATENESS) if draws.happens(share=profile.report_delayed, salt=_DELAYED) else heard_at
    if draws.happens(share=profile.report_doubled, salt=_DOUBLED):
        return first, late(_SECOND_LATENESS)
    return (first,)
