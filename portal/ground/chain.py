"""
Chain the record of decisions, so that nobody changes it unseen, not even who may do everything in the database.

Each link is the SHA-256 of the link before it, 32 bytes, nought at first, and of the decision's line. Links are made a
few seconds after the decisions, by one process at a time, in the order in which they were found: were they made with
the decisions, each would wait until all before it are committed, and a halt could wait for a long booking.

Once the oldest decisions are purged (`portal.ground.purges`), the chain begins with its base: the last link of theirs.

Who can write to the database at will can also make a whole new chain. That is found by whoever has kept a head of the
old one: each is in the log, and in every evidence pack.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction

from portal.ground import sql
from portal.ground.models import AuditBase, AuditEntry, AuditHead

BEGINNING: Final = bytes(32)
"""The link before the first."""
AT_A_TIME: Final = 5_000
"""Links in a transaction: made, and checked."""

# What is in the line is all that a decision says. PostgreSQL writes it: its numbers and keys have one form alone. What
# has no role is written as it was before there were any, so that the links of earlier years hold.
LINE = """
(jsonb_build_array(entry.id, entry.actor_id, entry.verb, entry.subject, entry.reason, entry.facts,
                   (extract(epoch FROM entry.recorded_at) * 1000000)::bigint)
 || CASE WHEN entry.role = '' THEN '[]' ELSE jsonb_build_array(entry.role) END)::text"""
BEGIN = f"""
INSERT INTO ground_audithead (id, number, link) VALUES (1, 0, decode('{BEGINNING.hex()}', 'hex')) ON CONFLICT DO NOTHING
"""  # noqa: S608 - our own constant
HEAD = "SELECT number, link FROM ground_audithead FOR UPDATE"
TAKE = f"""
WITH taken AS (
    DELETE FROM ground_auditpending
    WHERE entry_id IN (SELECT entry_id FROM ground_auditpending ORDER BY entry_id LIMIT %(limit)s)
    RETURNING entry_id)
SELECT entry.id, {LINE} FROM taken JOIN ground_auditentry entry ON entry.id = taken.entry_id ORDER BY entry.id
"""  # noqa: S608 - our own constant
LINK = """
WITH made AS (
    INSERT INTO ground_auditlink (number, entry_id, link, made_at)
    SELECT %(number)s + place, entry_id, decode(link, 'hex'), %(now)s
    FROM unnest(%(entries)s::bigint[], %(links)s::text[]) WITH ORDINALITY AS chained (entry_id, link, place))
UPDATE ground_audithead SET number = %(number)s + cardinality(%(entries)s::bigint[]), link = decode(%(head)s, 'hex')
"""


@dataclass(frozen=True, slots=True)
class Head:
    """The last link of the chain, 32 bytes, and how many there are."""

    number: int
    link: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.link.hex()}"


NO_HEAD: Final = Head(0, BEGINNING)


def parse(*, text: str) -> Head:
    """
    Read a head as it is written in the log.

    :raises ValueError: if it is none, with a sentence that says what one looks like
    """
    number, _, link = text.strip().partition(":")
    try:
        head = Head(int(number), bytes.fromhex(link))
    except ValueError:
        head = Head(-1, b"")
    if head.number < 0 or len(head.link) != len(BEGINNING):
        raise ValueError("A head is a number, a colon and 64 hexadecimal digits, as the log names it.")
    return head


def head() -> Head:
    """Return the last link of the chain, or `NO_HEAD`."""
    for number, link in AuditHead.objects.values_list("number", "link"):
        return Head(number, bytes(link))
    return NO_HEAD


SUBJECT: Final = "audit:decisions"
PURGED: Final = "audit.purged"


@dataclass(frozen=True, slots=True)
class Purge:
    """A decision on record that all decisions up to a link of the chain go."""

    decision: int
    recorded_at: datetime
    who: str
    upto: Head
    until: datetime
    """All of them had been recorded before then."""


def base() -> Head:
    """Return the link before the first that is left: `NO_HEAD` where nothing was ever purged."""
    for number, link in AuditBase.objects.values_list("number", "link"):
        return Head(number, bytes(link))
    return NO_HEAD


def last_purge() -> Purge | None:
    """Return the newest decision to purge."""
    entry = (
        AuditEntry.objects.select_related("actor")
        .filter(subject=SUBJECT, verb=PURGED)
        .order_by("-pk")
        .first()
    )
    if entry is None:
        return None
    facts = entry.facts
    return Purge(
        entry.pk,
        entry.recorded_at,
        str(entry.actor or "the portal"),
        Head(facts["number"], bytes.fromhex(facts["link"])),
        datetime.fromisoformat(facts["until"]),
    )


@transaction.atomic(durable=True)
def extend(*, now: datetime) -> Head | None:
    """Chain the decisions that are in no chain yet, some thousands at a time; return the new head, or None."""
    sql.run(BEGIN, {})
    [(number, link)] = sql.rows(HEAD, {})
    entries: list[int] = []
    links: list[str] = []
    for entry, line in sql.rows(TAKE, {"limit": AT_A_TIME}):
        link = _link(link, line)
        entries.append(entry)
        links.append(link.hex())
    if not entries:
        return None
    sql.run(LINK, {"number": number, "entries": entries, "links": links, "head": links[-1], "now": now})
    return Head(number + len(entries), link)


def _link(before: bytes, line: str) -> bytes:
    return hashlib.sha256(before + line.encode()).digest()


# -- whether it still holds ----------------------------------------------------------------------------------

COUNT = "SELECT count(*) FROM ground_auditlink WHERE number > %(after)s"
BEFORE = "SELECT number FROM ground_auditlink WHERE number <= %(base)s ORDER BY number LIMIT 1"
PORTION = f"""
SELECT link.number, link.entry_id, link.link, CASE WHEN entry.id IS NOT NULL THEN {LINE} END
FROM ground_auditlink link LEFT JOIN ground_auditentry entry ON entry.id = link.entry_id
WHERE link.number > %(after)s ORDER BY link.number LIMIT %(limit)s
"""  # noqa: S608 - our own constant
# in no chain, nor about to be: put in behind the trigger's back
UNCHAINED = """
SELECT entry.id FROM ground_auditentry entry
WHERE NOT EXISTS (SELECT FROM ground_auditlink link WHERE link.entry_id = entry.id)
  AND NOT EXISTS (SELECT FROM ground_auditpending pending WHERE pending.entry_id = entry.id)
ORDER BY entry.id
"""
# about to be chained, and gone: what has been decided in the last few seconds can be cut off too
GONE = """
SELECT pending.entry_id FROM ground_auditpending pending
WHERE NOT EXISTS (SELECT FROM ground_auditentry entry WHERE entry.id = pending.entry_id) ORDER BY pending.entry_id
"""


def verify(
    *, kept: Head | None = None, tell: Callable[[int, int], None] = lambda _, __: None
) -> Iterator[str]:
    """
    Yield a sentence for each difference between the record and its chain, all of one moment; none where it holds.

    `kept` is a head of earlier, which the chain must still have, unless it lies before the base; `tell` is given how
    many links were looked at, of how many. To be exhausted.
    """
    with sql.snapshot():
        begins, purge = base(), last_purge()
        yield from _of_the_base(begins, purge)
        named = [("that was kept", kept)] if kept else []
        named += [(f"to which decision {purge.decision} purged", purge.upto)] if purge else []
        if kept is not None and kept.number == begins.number and kept != begins:
            yield f"The base, link {begins.number}, is not the link that was kept."
        number, link = begins.number, begins.link
        [(links,)] = sql.rows(COUNT, {"after": number})
        gone: list[tuple[int, int]] = []
        while portion := sql.rows(PORTION, {"after": number, "limit": AT_A_TIME}):
            for here, entry, written, line in portion:
                if here != number + 1:
                    yield _missing(number + 1, here - 1)
                if line is None:
                    gone.append((entry, here))
                elif gone:
                    yield _deleted(gone)
                    gone = []
                if line is not None and here == number + 1 and _link(link, line) != written:
                    yield f"Decision {entry}, number {here} of the chain, is not what was recorded, or its link is not."
                for whose, head_ in named:
                    if here == head_.number and written != head_.link:
                        yield f"Link {here} is not the one {whose}: the chain was made anew up to there, or further."
                number, link = here, written
            tell(min(number - begins.number, links), links)
        if gone:
            yield _deleted(gone)
        last = head()
        if last.number > number:
            yield f"{_missing(number + 1, last.number)} The end of the chain was cut off."
        elif last != Head(number, link):
            yield f"The chain ends with link {number}, and its head says something else."
        if kept is not None and kept.number > number:
            yield f"A head of {kept.number} links was kept, and there are {number}: the end of the chain was cut off."
        for (entry,) in sql.rows(UNCHAINED, {}):
            yield f"Decision {entry} is in no chain: it was put in past the portal."
        for (entry,) in sql.rows(GONE, {}):
            yield f"Decision {entry} was deleted before it was chained."


def _of_the_base(begins: Head, purge: Purge | None) -> Iterator[str]:
    """Yield what is wrong with where the chain begins."""
    if begins == NO_HEAD:
        return
    if purge is None or purge.upto.number < begins.number:
        yield (
            f"The chain begins after link {begins.number}, and no decision on record says that those up to there go: "
            "they were taken away past the portal."
        )
    elif purge.upto.number == begins.number and purge.upto != begins:
        yield (
            f"The chain begins after another link {begins.number} than the one to which decision {purge.decision} "
            "purged."
        )
    for (first,) in sql.rows(BEFORE, {"base": begins.number}):
        yield f"Links from {first} on lie before the base, {begins.number}, and are still there."


def _deleted(gone: Sequence[tuple[int, int]]) -> str:
    (first, number), (last, end) = gone[0], gone[-1]
    if first == last:
        return f"Decision {first}, number {number} of the chain, was deleted."
    return f"Decisions {first} to {last}, numbers {number} to {end} of the chain, were deleted."


def _missing(first: int, last: int) -> str:
    if first == last:
        return f"Link {first} of the chain is missing."
    return f"Links {first} to {last} of the chain are missing."
