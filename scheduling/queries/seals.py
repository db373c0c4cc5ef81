"""
Whether the outcomes of hubs are still what they were when their lot was sealed.

A seal is the SHA-256 of one line for each hub of a lot, in the order of their ids, with a newline between two: how its
deployment ended, and each command with what it was answered before that. It stands in the record of decisions, and so
in the chain of these: whoever changes an outcome unseen has to change both.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from portal.ground import sql
from portal.ground.models import AuditEntry
from scheduling.models import Lot
from scheduling.models.deployments import LOT_SPAN

SUBJECT: Final = "outcomes:lots"
VERB: Final = "outcomes.sealed"
LOTS_AT_A_TIME: Final = 100

MICROSECONDS = "(extract(epoch FROM {}) * 1000000)::bigint"
# What comes after the end of a deployment is no part of it: a late answer changes a command, and no outcome.
SEALS = f"""
SELECT deployment.id / {LOT_SPAN}, count(*), encode(sha256(convert_to(string_agg(
    jsonb_build_array(
        deployment.id, deployment.hub_id, deployment.model_id, deployment.state, deployment.ending, deployment.stage,
        deployment.silent, {MICROSECONDS.format("deployment.ended_at")},
        (SELECT jsonb_agg(
            jsonb_build_array(
                command.phase, command.attempt, command.token, {MICROSECONDS.format("command.admitted_at")},
                {MICROSECONDS.format("command.sent_at")})
            || CASE WHEN command.answered_at <= deployment.ended_at
                    THEN jsonb_build_array(
                        command.outcome, command.version, {MICROSECONDS.format("command.answered_at")})
                    ELSE '[]' END
            ORDER BY command.phase, command.attempt)
         FROM scheduling_command command WHERE command.deployment_id = deployment.id))::text,
    chr(10) ORDER BY deployment.id), 'UTF8')), 'hex')
FROM unnest(%(lots)s::bigint[]) AS lot
JOIN scheduling_deployment deployment ON deployment.id BETWEEN lot * {LOT_SPAN} AND lot * {LOT_SPAN} + {LOT_SPAN - 1}
GROUP BY 1
"""  # noqa: S608 - our own constants


class Seal(NamedTuple):
    """The hubs of a lot, and the digest of their outcomes in hexadecimal digits."""

    hubs: int
    digest: str


def of_lots(*, lots: Sequence[int]) -> dict[int, Seal]:
    """Return the seals of lots as they would be made now, by the lots' ids."""
    return {lot: Seal(hubs, digest) for lot, hubs, digest in sql.rows(SEALS, {"lots": list(lots)})}


def verify(*, tell: Callable[[int, int], None] = lambda _, __: None) -> Iterator[str]:
    """
    Yield a sentence for each lot whose outcomes are not those that were sealed, all of one moment; none where all are.

    `tell` is given how many lots were looked at, of how many. To be exhausted.
    """
    with sql.snapshot():
        sealed = set(Lot.objects.filter(sealed_at__isnull=False).values_list("pk", flat=True))
        on_record: set[int] = set()
        of = max(len(sealed), 1)
        for entry in (
            AuditEntry.objects.filter(subject=SUBJECT, verb=VERB).order_by("pk").iterator(chunk_size=10)
        ):
            kept = {int(lot): Seal(*seal) for lot, seal in entry.facts["lots"].items()}
            lots = sorted(kept)
            for first in range(0, len(lots), LOTS_AT_A_TIME):
                portion = lots[first : first + LOTS_AT_A_TIME]
                now = of_lots(lots=portion)
                for lot in portion:
                    if finding := _difference(lot, kept[lot], now.get(lot)):
                        yield f"{finding} It was sealed in decision {entry.pk}."
                on_record.update(portion)
                tell(len(on_record), of)
        for lot in sorted(sealed - on_record):
            yield f"Lot {lot} is marked as sealed, and its seal is not in the record of decisions."


def _difference(lot: int, kept: Seal, now: Seal | None) -> str:
    if now is None:
        return f"The outcomes of lot {lot} are gone, {kept.hubs} of them."
    if now.hubs != kept.hubs:
        return f"Lot {lot} had {kept.hubs} outcomes, and has {now.hubs}."
    return f"Outcomes of lot {lot} were changed." if now != kept else ""
