"""Hand admitted commands to the carrier: stamped and committed first, asked again each time."""

from datetime import datetime

from django.db import transaction

from firmware.models import FirmwareRelease, ReleaseState
from hubs import gateway as door
from hubs.gateway import HubGateway, Phase, Verdict
from portal.ground import sql
from portal.ground.clock import Clock
from scheduling.operations.deployments.claims import Claim, LeaseLost, enter
from scheduling.operations.deployments.keys import keys
from scheduling.operations.deployments.protection import NOT_NOW, protection

SEND = 50
"""Commands handed over at a time; between two times the halt, the slot and the token are asked again."""

# A command that was sent without a receipt is sent again under the same key: the fleet answers the same.
UNSENT = f"""
SELECT command.deployment_id, command.phase, command.attempt, deployment.hub_id, command.valid_until
FROM scheduling_command command JOIN scheduling_deployment deployment
    ON deployment.id = command.deployment_id AND deployment.phase = command.phase
   AND deployment.attempt = command.attempt AND deployment.awaiting
WHERE command.deployment_id BETWEEN %(first)s AND %(last)s AND command.verdict IS NULL
  AND command.answered_at IS NULL AND command.valid_until > %(now)s
  AND (command.phase = %(verify)s OR %(published)s)
  AND (command.phase <> %(activate)s OR NOT {NOT_NOW})
ORDER BY command.deployment_id LIMIT %(limit)s
"""  # noqa: S608 - our own constant
# the Gate takes these back when it next looks, or, when the stop is over by then, lets them leave
KEPT_BACK = f"""
UPDATE scheduling_deployment deployment SET next_at = %(now)s
FROM scheduling_command command
WHERE deployment.id BETWEEN %(first)s AND %(last)s AND deployment.awaiting AND deployment.next_at > %(now)s
  AND command.deployment_id = deployment.id AND command.phase = deployment.phase
  AND command.attempt = deployment.attempt AND command.sent_at IS NULL
  AND (%(halted)s OR (NOT %(published)s AND command.phase <> %(verify)s)
       OR (command.phase = %(activate)s AND {NOT_NOW}))
"""  # noqa: S608 - our own constant
STAMP = """
UPDATE scheduling_command command SET sent_at = coalesce(sent_at, %(now)s)
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[])
    AS sent (deployment_id, phase, attempt)
WHERE command.deployment_id = sent.deployment_id AND command.phase = sent.phase
  AND command.attempt = sent.attempt
"""
RECEIPTS = """
UPDATE scheduling_command command SET verdict = sent.verdict
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[],
            %(verdicts)s::smallint[]) AS sent (deployment_id, phase, attempt, verdict)
WHERE command.deployment_id = sent.deployment_id AND command.phase = sent.phase
  AND command.attempt = sent.attempt
"""
# what the carrier refused as too late was surely not done: the Gate takes it back when it next looks
LOOK_NOW = """
UPDATE scheduling_deployment deployment SET next_at = %(now)s
FROM unnest(%(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[])
    AS late (id, phase, attempt)
WHERE deployment.id = late.id AND deployment.phase = late.phase AND deployment.attempt = late.attempt
  AND deployment.awaiting
"""


def send(*, claimed: Claim, gateway: HubGateway, clock: Clock) -> int:
    """
    Hand at most 50 admitted commands to the carrier, after asking the halt, the slot and the token again.

    Returns how many were handed over; nought means that nothing is left to send.

    :raises LeaseLost: if the lot or the carrier says that another worker has it
    """
    commands, now = _about_to_send(claimed, clock)
    if not commands:
        return 0
    receipts = gateway.send(commands=commands, now=now)
    if any(receipt.verdict is Verdict.STALE_TOKEN for receipt in receipts):
        raise LeaseLost
    sql.run(RECEIPTS, {**keys(receipts), "verdicts": [int(receipt.verdict) for receipt in receipts]})
    if late := [receipt for receipt in receipts if receipt.verdict is Verdict.EXPIRED]:
        sql.run(LOOK_NOW, {**keys(late), "now": now})
    return len(commands)


@transaction.atomic(durable=True)
def _about_to_send(claimed: Claim, clock: Clock) -> tuple[list[door.Command], datetime]:
    """Choose the next commands and stamp them as sent, before any of them leaves."""
    lot = claimed.lot
    now = enter(claimed=claimed, clock=clock)
    state = FirmwareRelease.objects.values_list("state", flat=True).get(pk=lot.release_id)
    terms = {
        "first": claimed.first,
        "last": claimed.last,
        "now": now,
        **protection(lot=lot, now=now),
        "verify": int(Phase.VERIFY),
        "activate": int(Phase.ACTIVATE),
        "published": state == ReleaseState.PUBLISHED,
        "halted": state == ReleaseState.HALTED,
        "limit": SEND,
    }
    if not terms["published"] or terms["closed_now"] or terms["own_now"] or terms["some_now"]:
        sql.run(KEPT_BACK, terms)
    if terms["halted"]:
        return [], now
    unsent = sql.rows(UNSENT, terms)
    commands = [
        door.Command(
            deployment=deployment,
            phase=Phase(phase),
            attempt=attempt,
            hub=hub,
            lot=lot.pk,
            token=claimed.token,
            valid_until=valid_until,
            digest=lot.release.digest if phase in (Phase.STAGE, Phase.ACTIVATE) else "",
            version=lot.release.version.number if phase in (Phase.STAGE, Phase.ACTIVATE) else 0,
        )
        for deployment, phase, attempt, hub, valid_until in unsent
    ]
    if commands:
        sql.run(STAMP, {**keys(commands), "now": now})
    return commands, now
