"""
Hand admitted commands to the carrier: stamped and committed first, asked again before each handful.

What the Gate admits and stamps leaves at once; what an earlier holder left behind is stamped here.

The stamp says that a command may have left. What was stamped and, for once, surely did not leave is unstamped.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction

from firmware.models import ReleaseState
from hubs import gateway as door
from hubs.gateway import CommandRefused, GatewayUnavailable, HubGateway, Phase, Receipt, Verdict
from portal.ground import logs, sql
from portal.ground.clock import Clock, now_and_rows
from scheduling.operations.deployments import aside
from scheduling.operations.deployments.claims import OURS, Claim, LeaseLost, enter, hold_on, ours
from scheduling.operations.deployments.gate import Admission
from scheduling.operations.deployments.halted import IN_HALTED_PART, PARTS, Parts
from scheduling.operations.deployments.keys import keys
from scheduling.operations.deployments.leaving import Leaving, instructions
from scheduling.operations.deployments.protection import NOT_NOW, protection
from scheduling.operations.deployments.receipts import HANDED_OVER, NOT_RECEIVED

logger = logging.getLogger(__name__)
SEND = 50
"""Commands handed over at a time; between two times the halt, the slot and the token are asked again."""
STAMPED = 1_000
"""Commands stamped at a time: a worker that dies leaves at most so many of which nobody knows whether they left."""
FRESH = timedelta(seconds=2)
"""So long after the stamp, all the rules are asked again."""
UNAVAILABLE = (GatewayUnavailable, OSError)
"""Nothing was learned, and no hub is at fault; OSError for adapters that let the line's own error through."""

# A command that was sent without a receipt is sent again under the same key: the fleet answers the same.
STAMP = f"""
WITH leaving AS (
    SELECT command.deployment_id, command.phase, command.attempt, deployment.hub_id
    FROM scheduling_command command JOIN scheduling_deployment deployment
        ON deployment.id = command.deployment_id AND deployment.phase = command.phase
       AND deployment.attempt = command.attempt AND deployment.awaiting
    WHERE {OURS} AND command.deployment_id BETWEEN %(first)s AND %(last)s AND {NOT_RECEIVED}
      AND command.answered_at IS NULL AND command.valid_until > %(now)s
      AND (command.phase = %(verify)s OR (%(published)s AND NOT {IN_HALTED_PART}))
      AND (command.phase <> %(activate)s OR NOT {NOT_NOW})
    ORDER BY command.deployment_id LIMIT %(limit)s)
UPDATE scheduling_command command SET sent_at = coalesce(command.sent_at, %(now)s)
FROM leaving
WHERE command.deployment_id = leaving.deployment_id AND command.phase = leaving.phase
  AND command.attempt = leaving.attempt
RETURNING command.deployment_id, command.phase, command.attempt, leaving.hub_id, command.valid_until
"""  # noqa: S608 - our own constants
# the Gate takes these back when it next looks, or, when the stop is over by then, lets them leave
KEPT_BACK = f"""
UPDATE scheduling_deployment deployment SET next_at = %(now)s
FROM scheduling_command command
WHERE {OURS} AND deployment.awaiting AND deployment.next_at > %(now)s
  AND command.deployment_id = deployment.id AND command.phase = deployment.phase
  AND command.attempt = deployment.attempt AND command.sent_at IS NULL
  AND (%(halted)s OR (NOT %(published)s AND command.phase <> %(verify)s)
       OR (command.phase <> %(verify)s AND {IN_HALTED_PART})
       OR (command.phase = %(activate)s AND {NOT_NOW}))
"""  # noqa: S608 - our own constant
# only what this holder stamped: a command that an earlier one had stamped may have left with that one
UNSTAMP = """
UPDATE scheduling_command command SET sent_at = NULL
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[])
    AS kept (deployment_id, phase, attempt)
WHERE command.deployment_id = kept.deployment_id AND command.phase = kept.phase
  AND command.attempt = kept.attempt AND command.sent_at = %(stamped_at)s AND command.verdict IS NULL
"""
# an answer that was faster than its receipt has said as much
RECEIPTS = """
UPDATE scheduling_command SET verdict = %(verdict)s
WHERE deployment_id = ANY (%(deployments)s::bigint[]) AND phase = %(phase)s AND attempt = %(attempt)s
  AND verdict IS DISTINCT FROM %(verdict)s
"""
# what the carrier refused as too late was surely not done: the Gate takes it back when it next looks
LOOK_NOW = """
UPDATE scheduling_deployment deployment SET next_at = %(now)s
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[])
    AS late (id, phase, attempt)
WHERE deployment.id = late.id AND deployment.phase = late.phase AND deployment.attempt = late.attempt
  AND deployment.awaiting
"""
STATE = sql.Often("""
SELECT release.state, ARRAY(SELECT halt.id FROM firmware_halt halt
                            WHERE halt.release_id = release.id AND halt.lifted_at IS NULL ORDER BY halt.id)
FROM scheduling_lot lot JOIN firmware_firmwarerelease release ON release.id = lot.release_id
WHERE lot.id = %(lot)s AND lot.token = %(token)s
""")
STOPS = sql.Often(
    f"SELECT release.state, {PARTS} FROM firmware_firmwarerelease release WHERE release.id = %(release)s"  # noqa: S608
)


class Sent(NamedTuple):
    """Whether that was all, and what whoever hands the lot back has to write with it."""

    is_all: bool
    taken_at: datetime | None = None
    """The stamp of commands all of which the carrier took."""


def send_all(
    *,
    claimed: Claim,
    gateway: HubGateway,
    clock: Clock,
    admission: Admission,
    keep_going: Callable[[datetime], bool] = lambda _: True,
) -> Sent:
    """
    Hand over what the Gate has stamped, then whatever else of the lot may be sent now.

    :raises LeaseLost: as `send` does
    :raises GatewayUnavailable: as `send` does
    """
    leaving, is_last = admission.leaving, not admission.may_be_more
    while True:
        left, took_all = _hand_over(claimed, gateway, clock, keep_going, leaving)
        if left == len(leaving.commands) and is_last:
            return Sent(True, leaving.at if took_all else None)
        if took_all:
            sql.run(HANDED_OVER, {"lot": claimed.lot.pk, "token": claimed.token, "taken_at": leaving.at})
        if not keep_going(clock()):
            return Sent(False)
        leaving = _stamp(claimed, clock)
        is_last = len(leaving.commands) < STAMPED


def send(
    *,
    claimed: Claim,
    gateway: HubGateway,
    clock: Clock,
    keep_going: Callable[[datetime], bool] = lambda _: True,
) -> int:
    """
    Hand at most 1,000 admitted commands to the carrier, 50 at a time, asking again before each time.

    Returns how many were dealt with; nought means that nothing is left that may be sent now. A command that fails by
    itself strikes its hub (see `aside`) and holds up no other. `keep_going` is asked with the moment, between two
    times.

    :raises LeaseLost: if the lot or the carrier says that another worker has it
    :raises GatewayUnavailable: if the carrier cannot be reached (or an OSError); what did not leave is unstamped
    """
    left, _ = _hand_over(claimed, gateway, clock, keep_going, _stamp(claimed, clock))
    return left


def _hand_over(
    claimed: Claim,
    gateway: HubGateway,
    clock: Clock,
    keep_going: Callable[[datetime], bool],
    leaving: Leaving,
) -> tuple[int, bool]:
    """Do what `send` says with stamped commands; return how many may have left, and as `settle` does."""
    if not leaving.commands:
        return 0, False
    sending = _Sending(claimed, gateway, clock, keep_going, leaving)
    try:
        for start in range(0, len(leaving.commands), SEND):
            if not sending.may_go_on():
                break
            sending.hand_over(leaving.commands[start : start + SEND])
    finally:
        took_all = sending.settle()
    return len(sending.left), took_all


class _Sending:
    """What is known of commands that are on their way."""

    def __init__(
        self,
        claimed: Claim,
        gateway: HubGateway,
        clock: Clock,
        keep_going: Callable[[datetime], bool],
        leaving: Leaving,
    ) -> None:
        self.left: set[int] = set()
        """Deployments whose command may have left."""
        self._claimed = claimed
        self._gateway = gateway
        self._clock = clock
        self._keep_going = keep_going
        self._leaving = leaving
        self._now = leaving.at
        self._receipts: list[Receipt] = []

    def may_go_on(self) -> bool:
        """
        Ask the halt, the moment and the token again; say no also when it is time to ask everything.

        :raises LeaseLost: if the token is no longer the lot's
        """
        terms = {"lot": self._claimed.lot.pk, "token": self._claimed.token}
        self._now, found = now_and_rows(clock=self._clock, statement=STATE, parameters=terms)
        if not found:
            raise LeaseLost
        is_fresh = self._now - self._leaving.at < FRESH
        return found == [self._leaving.stops] and is_fresh and self._keep_going(self._now)

    def hand_over(self, commands: Sequence[door.Command]) -> None:
        """
        Hand over those that are still valid; where one is at fault, halve them until it is found, and strike its hub.

        :raises LeaseLost: if the carrier has seen a newer token
        """
        commands = [command for command in commands if self._now < command.valid_until]
        try:
            receipts = self._gateway.send(commands=commands, now=self._now)
        except UNAVAILABLE:
            self.left.update(command.deployment for command in commands)
            raise
        except Exception as error:
            if not isinstance(error, CommandRefused):
                # who knows how far they came: only a carrier that says so has surely taken none
                self.left.update(command.deployment for command in commands)
            if len(commands) == 1:
                self._strike(commands[0], error)
                return
            middle = len(commands) // 2
            for half in (commands[:middle], commands[middle:]):
                if self.may_go_on():
                    self.hand_over(half)
            return
        self.left.update(command.deployment for command in commands)
        if any(receipt.verdict is Verdict.STALE_TOKEN for receipt in receipts):
            raise LeaseLost
        self._receipts += receipts

    def _strike(self, command: door.Command, error: Exception) -> None:
        # it stays stamped: who knows how far it came
        self.left.add(command.deployment)
        with logs.bound(command=f"{command.deployment}/{command.phase.name}/{command.attempt}"):
            logger.exception("a command fails by itself")
        aside.strike(deployment=command.deployment, error=f"{type(error).__name__}: {error}", now=self._now)
        self._claimed.aside.append(command.deployment)

    def settle(self) -> bool:
        """
        Write the receipts, and take the stamp from what surely did not leave.

        Writes none where the carrier took everything that the Gate stamped, and says so: one row is enough then.
        """
        taken = {receipt[:3] for receipt in self._receipts if receipt.verdict is Verdict.ACCEPTED}
        if self._leaving.is_whole and taken == {command[:3] for command in self._leaving.commands}:
            return True
        self._settle_each()
        return False

    @transaction.atomic(durable=True)
    def _settle_each(self) -> None:
        hold_on(claimed=self._claimed)
        if self._receipts:
            alike: dict[tuple[int, int, int], list[int]] = defaultdict(list)
            for receipt in self._receipts:
                alike[receipt.phase, receipt.attempt, receipt.verdict].append(receipt.deployment)
            for (phase, attempt, verdict), deployments in alike.items():
                terms = {"phase": int(phase), "attempt": attempt, "verdict": int(verdict)}
                sql.run(RECEIPTS, {**terms, "deployments": sql.numbers(deployments)})
            if late := [receipt for receipt in self._receipts if receipt.verdict is Verdict.EXPIRED]:
                sql.run(LOOK_NOW, {**keys(late), "now": self._now})
        if kept := [command for command in self._leaving.commands if command.deployment not in self.left]:
            sql.run(UNSTAMP, {**keys(kept), "stamped_at": self._leaving.at})


@transaction.atomic(durable=True)
def _stamp(claimed: Claim, clock: Clock) -> Leaving:
    """Ask every rule that can have changed, choose the next commands and stamp them, before any of them leaves."""
    lot = claimed.lot
    now = enter(claimed=claimed, clock=clock)
    [(state, *found)] = sql.rows(STOPS, {"release": lot.release_id, "network": lot.network_id})
    parts = Parts(*found)
    stops = (state, parts.halts)
    terms = {
        **ours(claimed=claimed),
        "now": now,
        **protection(lot=lot, now=now),
        "verify": int(Phase.VERIFY),
        "activate": int(Phase.ACTIVATE),
        "published": state == ReleaseState.PUBLISHED,
        "halted": state == ReleaseState.HALTED,
        **parts.parameters,
        "limit": STAMPED,
    }
    if not terms["published"] or parts.any or terms["closed_now"] or terms["own_now"] or terms["some_now"]:
        sql.run(KEPT_BACK, terms)
    if terms["halted"]:
        return Leaving((), now, stops, is_whole=False)
    rows = sorted(sql.rows(STAMP, terms))
    return Leaving(instructions(claimed=claimed, rows=rows), now, stops, is_whole=False)
