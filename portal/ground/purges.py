"""
Purge the oldest decisions, so that nothing about people at work is kept for ever, and what is left can be checked.

What goes is a beginning of the chain, never a choice from it: a record from which single decisions can go is worth
nothing, and a link whose decision is gone says no more than the last of them does, which stays as the base. A purge is
first decided, on record, with how far it goes and the link there. Then it goes in portions, each with the base in one
transaction: whenever it is cut off, the chain holds from its base on, and another `proceed` goes on.

The owner of the tables alone may. Triggers refuse to delete what does not lie before the base, and to move the base
further than a decision says.
"""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.db import transaction

from portal.ground import audit, chain, sql
from portal.ground.chain import NO_HEAD, PURGED, SUBJECT, Head

if TYPE_CHECKING:
    from portal.models import User

AT_A_TIME: Final = 5_000
"""Decisions in a transaction."""

HAS_BASE = f"""
INSERT INTO ground_auditbase (id, number, link) VALUES (1, 0, decode('{NO_HEAD.link.hex()}', 'hex'))
ON CONFLICT DO NOTHING
"""  # noqa: S608 - our own constant
BASE = "SELECT number FROM ground_auditbase FOR UPDATE"
AT = "SELECT link FROM ground_auditlink WHERE number = %(number)s"
MOVE = """
UPDATE ground_auditbase base SET number = link.number, link = link.link
FROM ground_auditlink link WHERE link.number = %(upto)s
"""
# Word for word, and of now: what they say is about what is kept for longer than decisions are.
CARRY = """
INSERT INTO ground_auditentry (actor_id, role, verb, subject, reason, facts, recorded_at)
SELECT entry.actor_id, entry.role, entry.verb, entry.subject, entry.reason,
       jsonb_build_object('first_recorded_at', entry.recorded_at) || entry.facts, %(now)s
FROM ground_auditentry entry JOIN ground_auditlink link ON link.entry_id = entry.id
WHERE link.number <= %(upto)s AND entry.verb = ANY (%(carried)s) ORDER BY link.number
"""
TAKE_DECISIONS = """
DELETE FROM ground_auditentry entry USING ground_auditlink link
WHERE link.entry_id = entry.id AND link.number <= %(upto)s
"""
TAKE_LINKS = "DELETE FROM ground_auditlink WHERE number <= %(upto)s"


class UnableToPurge(Exception):
    """Nothing goes; the message says why, and what to do."""


def decide(*, number: int, until: datetime, by: "User", reason: str, now: datetime) -> Head:
    """
    Put on record that all decisions up to a link of the chain go; return it.

    All of them were recorded before `until`.

    :raises UnableToPurge: if there is no such link, or a purge is still to be finished
    """
    with transaction.atomic(durable=True):
        sql.run(HAS_BASE, {})
        [(begins,)] = sql.rows(BASE, {})
        if (before := chain.last_purge()) and begins < before.upto.number:
            raise UnableToPurge(
                "A purge that was decided earlier has not come to its end: finish that one first."
            )
        found = sql.rows(AT, {"number": number})
        if number <= begins or not found:
            raise UnableToPurge(f"The chain has no link {number}, or has it no more.")
        upto = Head(number, bytes(found[0][0]))
        audit.record(
            actor=by,
            verb=PURGED,
            subject=SUBJECT,
            reason=reason,
            now=now,
            facts={
                "decisions": number - begins,
                "number": number,
                "link": upto.link.hex(),
                "until": until.isoformat(),
            },
        )
    return upto


def is_unfinished() -> bool:
    """Say whether a purge was decided, and not all of it is gone."""
    decided = chain.last_purge()
    return decided is not None and chain.base().number < decided.upto.number


@transaction.atomic(durable=True)
def _portion(*, carried: Collection[str], now: datetime) -> tuple[int, int]:
    """Let one portion go; return how many decisions, and how many are still to go."""
    [(begins,)] = sql.rows(BASE, {})
    decided = chain.last_purge()
    if decided is None or decided.upto.number <= begins:
        return 0, 0
    upto = min(begins + AT_A_TIME, decided.upto.number)
    terms = {"upto": upto, "carried": list(carried), "now": now}
    if not sql.run(MOVE, terms):
        raise UnableToPurge(f"Link {upto} of the chain is missing: run audit verify.")
    sql.run(CARRY, terms)
    gone = sql.run(TAKE_DECISIONS, terms)
    sql.run(TAKE_LINKS, terms)
    return gone, decided.upto.number - upto


def proceed(
    *,
    carried: Collection[str],
    clock: Callable[[], datetime],
    tell: Callable[[int, int], None] = lambda _, __: None,
) -> int:
    """
    Let go what was decided to, some thousands at a time; return how many decisions went.

    Decisions with one of the `carried` verbs are recorded anew before they go. `tell` is given how many went, of how
    many.
    """
    gone = 0
    while (portion := _portion(carried=carried, now=clock()))[0]:
        gone += portion[0]
        tell(gone, gone + portion[1])
    return gone
