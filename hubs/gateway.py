"""
The door to the fleet: what the portal may tell a hub, and what comes back.

A carrier adapter implements `HubGateway`; which one is used is a setting. The contract:

* `send` hands commands over and returns at once; hubs answer later, through `collect`.
* A command's key is (deployment, phase, attempt). The same key is carried out once, however often
  it is sent, and always gets the same answer.
* Every command carries its lot's fencing token. A token older than one seen for that lot is refused.
* A command is not carried out after its `valid_until`.
* Reports can be late, doubled, lost and out of order. `collect` repeats a report until it is
  acknowledged.
* A report that makes no sense is handed over as an `UnreadableReport`, beside those that do: it can be
  recorded and acknowledged, and holds nobody else's up.
* `GatewayUnavailable`, from any method: nothing was learned. The carrier may or may not have done what
  it was told. The whole lot waits and no hub is at fault; doing the same again is safe, since a key is
  carried out once, reports come until they are acknowledged, and acknowledging twice is acknowledging once.
* Any other exception from `send` (`CommandRefused`, from an adapter that knows): at least one of these
  commands is at fault. Whoever sent them halves the batch and sends the halves, until it has found which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

from django.conf import settings
from django.utils.module_loading import import_string


class Phase(IntEnum):
    """What a command asks of a hub."""

    READ = 1
    """Read the running version before staging: the inventory can be stale."""
    STAGE = 2
    """Hold the image, verified, without running it."""
    ACTIVATE = 3
    """Switch to the staged image, with a reboot."""
    VERIFY = 4
    """Read the running version after activation."""


class Outcome(IntEnum):
    """What became of a command, as reported."""

    DONE = 1
    UNREACHABLE = 2
    """The hub could not be contacted: surely nothing was done to it."""
    NO_IMAGE_HELD = 3
    HASH_MISMATCH = 4
    VERIFICATION_FAILED = 5
    ACTIVATION_FAILED = 6
    WRONG_HARDWARE = 7
    TRANSFER_FAILED = 8
    EXPIRED = 9
    """Not contacted before `valid_until`: surely nothing was done to it."""


class Verdict(IntEnum):
    """What the carrier says of a command on receiving it."""

    ACCEPTED = 1
    STALE_TOKEN = 2
    EXPIRED = 3


class Command(NamedTuple):
    """One instruction to one hub. `hub` is the CHF ID as a signed 64-bit number."""

    deployment: int
    phase: Phase
    attempt: int
    hub: int
    lot: int
    token: int
    valid_until: datetime
    digest: str = ""
    """SHA-256 of the image in hex, for STAGE and ACTIVATE."""
    version: int = 0
    """File version of the image, for STAGE and ACTIVATE."""


class Receipt(NamedTuple):
    """The carrier's immediate answer to one command."""

    deployment: int
    phase: Phase
    attempt: int
    verdict: Verdict


class Report(NamedTuple):
    """What came back for one command; `version` is the running file version where it was read."""

    id: int
    deployment: int
    phase: Phase
    attempt: int
    hub: int
    outcome: Outcome
    version: int | None
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class UnreadableReport:
    """
    Something that came back and is no report: a phase that nobody knows, a number out of range, no date.

    `id` is None where not even that could be read: it cannot be acknowledged, and comes again. `text` is what
    came, as printable ASCII, and cut when long.
    """

    id: int | None
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class ReceivedCommand:
    """
    One command as the carrier says that it received it; of several with one key, the first.

    `position` is its place in the carrier's log. `received_at` is by the carrier's clock.
    """

    position: int
    deployment: int
    phase: int
    attempt: int
    hub: int
    digest: str
    version: int
    received_at: datetime
    valid_until: datetime
    is_accepted: bool


class Sighting(NamedTuple):
    """Whether a hub answers just now, and the file version that it then says it runs; nothing was done to it."""

    hub: int
    is_heard: bool
    version: int | None = None


class GatewayUnavailable(Exception):
    """The carrier cannot be reached, or gave no answer that can be believed; nothing was learned."""


class UnableToLook(GatewayUnavailable):
    """The carrier says that it cannot look at hubs: to ask again later changes nothing."""


class AnswerForged(GatewayUnavailable):
    """An answer came that the carrier did not sign, or that it gave to something else; it was not read."""


class CommandRefused(Exception):
    """The carrier takes none of these commands, because at least one of them cannot be carried out as it is."""


class HubGateway(Protocol):
    """What every carrier adapter offers. No method is called inside a transaction."""

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        """
        Hand over at most 50 commands; return one receipt each, in order.

        :raises GatewayUnavailable: if nothing was learned; the carrier may have taken them
        :raises CommandRefused: if at least one is at fault; the carrier took none
        """

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report | UnreadableReport]:
        """
        Return up to `limit` reports that are not acknowledged, oldest first.

        :raises GatewayUnavailable: if none could be fetched
        """

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        """
        Say that the reports with these ids are recorded and need not come again.

        :raises GatewayUnavailable: if the carrier may not have heard it; the reports may come again
        """


@runtime_checkable
class Accountable(Protocol):
    """What an adapter offers besides where the carrier keeps a log that can be read back."""

    def received(self, *, after: int, limit: int) -> Sequence[ReceivedCommand]:
        """
        Return up to `limit` commands from the carrier's log, those beyond position `after`, in its order.

        Whatever is logged later comes later in that order: who has read up to a position has missed nothing before.

        :raises GatewayUnavailable: if none could be fetched
        """


class Activated(NamedTuple):
    """How many hubs the carrier was told to activate; how many of these went wrong, whether anybody knows or not."""

    hubs: int
    bad: int


@runtime_checkable
class Foreseeable(HubGateway, Accountable, Protocol):
    """What the model of a carrier offers besides, so that a rollout can be rehearsed on virtual time."""

    def next_at(self, *, phases: Sequence[Phase] = tuple(Phase)) -> datetime | None:
        """Return when a hub acts, or its report arrives, next in one of some phases; None where none is under way."""

    def act(self, *, now: datetime) -> int:
        """
        Let the hubs act whose time has come; return how many commands they carried out.

        Several may ask at once: they share what there is.
        """

    def last_position(self) -> int:
        """Return the place of the last command in the carrier's log; nought where it received none."""

    def activated(self) -> Activated:
        """Count the hubs that were told to activate, by the carrier's log."""


LOOK_LIMIT = 1_000
"""Hubs that a carrier is asked for at a time."""


@runtime_checkable
class Watchful(Protocol):
    """What an adapter offers besides where the carrier can say of any hub whether it is in contact."""

    def look(self, *, hubs: Sequence[int], now: datetime) -> Sequence[Sighting]:
        """
        Say of at most 1,000 hubs, by CHF ID, whether each answers now; return one sighting each, in order.

        A hub that the carrier does not know is not heard. It changes nothing, so it may be asked as often as wanted.

        :raises GatewayUnavailable: if nothing was learned
        :raises UnableToLook: if the carrier says that it offers no such thing, today or ever
        """


def connect() -> HubGateway:
    """Return the carrier adapter that the setting HUB_GATEWAY names."""
    adapter: HubGateway = import_string(settings.HUB_GATEWAY)()
    return adapter
