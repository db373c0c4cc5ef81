"""Deployments laid out as a test wants them, along moves that exist, with the commands that they await."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from hubs.gateway import Phase, Verdict
from scheduling.lifecycle import FINAL, State
from scheduling.models import LOT_SPAN, Command, Deployment, Handover
from tests.scheduling.world import World, in_no_stage

WAYS = {
    State.BOOKED: (),
    State.STAGING: (State.STAGING,),
    State.STAGED: (State.STAGING, State.STAGED),
    State.ACTIVATING: (State.STAGING, State.STAGED, State.ACTIVATING),
    State.HELD: (State.HELD,),
    State.PROVISIONAL: (State.HELD, State.PROVISIONAL),
}
"""How a booked deployment comes to every open state."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The latest command of a deployment: how far it came, and whether it is still valid."""

    is_sent: bool = True
    verdict: Verdict | None = Verdict.ACCEPTED
    is_valid: bool = True
    is_answered: bool = False
    with_others: bool = False
    """Its receipt is the one for all that left together with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A deployment: where it is, what it is asked next or was asked last, and what it awaits."""

    state: State
    phase: Phase
    is_due: bool = True
    awaits: Sent | None = None
    tries: int = 1
    missed_for: timedelta | None = None
    """How long ago it was first not reached."""
    holds: Sent | None = None
    """A command of it that nobody awaits."""


ALONE, TOGETHER = timedelta(minutes=29), timedelta(minutes=28)
"""How long ago what was sent left: each with a receipt of its own, or all with one."""
SLOT_AT = timedelta(hours=5)
"""How long after the world's beginning the slot of the `lay` fixture begins."""


class Lay(Protocol):
    """Book as many hubs as there are rows, let the moment come, and lay the rows out; return them by id."""

    def __call__(self, rows: Sequence[Row], *, moment: timedelta = SLOT_AT) -> dict[int, Row]: ...


def lay_out(world: World, rows: Sequence[Row]) -> dict[int, Row]:
    """Put the deployments of the one lot, all booked, into these rows as of now; return them by id."""
    now = world.clock()
    laid = dict(zip(Deployment.objects.order_by("id").values_list("id", flat=True), rows, strict=True))
    for state, way in WAYS.items():
        assert state not in FINAL
        keys = [key for key, row in laid.items() if row.state == state]
        for step in way:
            with in_no_stage():
                assert Deployment.objects.filter(pk__in=keys).update(state=step) == len(keys)
    commands = []
    for key, row in laid.items():
        command = row.awaits or row.holds
        Deployment.objects.filter(pk=key).update(
            phase=row.phase,
            attempt=1 if command else 0,
            tries=row.tries,
            awaiting=row.awaits is not None,
            next_at=now if row.is_due else now + timedelta(minutes=5),
            first_miss_at=None if row.missed_for is None else now - row.missed_for,
        )
        if command:
            commands.append(
                Command(
                    deployment_id=key,
                    phase=row.phase,
                    attempt=1,
                    token=1,
                    admitted_at=now - timedelta(minutes=30),
                    valid_until=now + timedelta(minutes=10) if command.is_valid else now,
                    sent_at=now - (TOGETHER if command.with_others else ALONE) if command.is_sent else None,
                    verdict=command.verdict if command.is_sent and not command.with_others else None,
                    answered_at=now - timedelta(minutes=1) if command.is_answered else None,
                    outcome=1 if command.is_answered else None,
                )
            )
    Command.objects.bulk_create(commands)
    if any(command.sent_at == now - TOGETHER for command in commands):
        Handover.objects.create(lot_id=min(laid) // LOT_SPAN, token=1, stamped_at=now - TOGETHER)
    return laid


def add_command(world: World, deployment: int, phase: Phase, attempt: int, **facts: Any) -> None:
    """Add one more command of a deployment: still to be sent, and valid for a while; `facts` may say otherwise."""
    now = world.clock()
    made = {"token": 1, "admitted_at": now, "valid_until": now + timedelta(minutes=9)}
    Command.objects.create(deployment_id=deployment, phase=phase, attempt=attempt, **{**made, **facts})
