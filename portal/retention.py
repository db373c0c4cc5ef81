"""
How long each kind of record is kept that can say something about a person or a household, and its end.

The one place for it: the task that forgets and docs/operator.md both come from this table. What it does not name is
kept: deployments and their commands, which name hubs and acts; and the record of decisions, from which nothing goes but
by somebody's decision (`portal.ground.purges`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from portal.ground import sql
from portal.ground.stopping import KeepGoing, always

AT_A_TIME: Final = 5_000


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One kind of record, and for how many days it is kept.

    `statement` forgets up to `limit` of those that are older than `before`, and touches as many rows as it forgot.
    """

    title: str
    days: int
    since: str
    stays: str
    statement: str
    limit: int = AT_A_TIME


KINDS: Final[Mapping[str, Kind]] = {
    "uploaded_rows": Kind(
        "Rows of uploaded lists of hubs, as they were written: CHF IDs, MPANs, MPRNs and whatever stood beside them",
        days=90,
        since="the upload, and the end of its booking",
        stays="The booking and its hubs, the name of the file, and how many rows were refused, by reason",
        statement="""
            WITH old AS MATERIALIZED (
                SELECT file.selection_id AS id FROM scheduling_selectionfile file
                JOIN scheduling_hubselection selection ON selection.id = file.selection_id
                WHERE file.forgotten_at IS NULL AND file.stored = '' AND selection.created_at < %(before)s
                  AND NOT EXISTS (SELECT FROM scheduling_booking booking
                                  WHERE booking.selection_id = file.selection_id AND booking.done_at IS NULL
                                    AND booking.abandoned_at IS NULL)
                ORDER BY 1 LIMIT %(limit)s FOR UPDATE OF file SKIP LOCKED),
            gone AS (DELETE FROM scheduling_selectionrow line USING old WHERE line.selection_id = old.id)
            UPDATE scheduling_selectionfile file SET forgotten_at = %(now)s FROM old
            WHERE file.selection_id = old.id""",
        limit=1,  # each may have a million rows
    ),
    "emails": Kind(
        "Words of e-mails that were sent",
        days=730,
        since="they were sent",
        stays="That the e-mail was sent, of which kind, about what, when and to whom",
        statement="""
            UPDATE scheduling_notice SET text = '', html = '', calendar = '', context = '{}'
            WHERE id IN (SELECT id FROM scheduling_notice
                         WHERE sent_at < %(before)s AND (text, html, calendar) <> ('', '', '')
                         ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)""",
    ),
    "unreadable_reports": Kind(
        "What carriers sent and nobody could read",
        days=365,
        since="it last came",
        stays="How many there were on each day",
        statement="""
            DELETE FROM scheduling_oddreport
            WHERE id IN (SELECT id FROM scheduling_oddreport WHERE last_at < %(before)s
                         ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)""",
    ),
    "unused_invitations": Kind(
        "Invitations that nobody accepted",
        days=90,
        since="their links ran out",
        stays="The decision to invite, on record",
        statement="""
            WITH old AS MATERIALIZED (
                SELECT id FROM portal_invitation WHERE accepted_at IS NULL AND expires_at < %(before)s
                ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED),
            grouped AS (DELETE FROM portal_invitation_groups USING old WHERE invitation_id = old.id)
            DELETE FROM portal_invitation USING old WHERE portal_invitation.id = old.id""",
    ),
    "proposals": Kind(
        "What a Supplier's people proposed to colleagues, with the CHF IDs that they listed",
        days=365,
        since="it was answered, or could be",
        stays="The decisions of both people, on record",
        statement="""
            DELETE FROM scheduling_proposal
            WHERE id IN (SELECT id FROM scheduling_proposal WHERE coalesce(decided_at, until) < %(before)s
                         ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)""",
    ),
    "exports": Kind(
        "What was exported from lists: which list, with which filter (each file goes 7 days after it was ready)",
        days=90,
        since="the export was over",
        stays="Who asked for it and when, on record",
        statement="""
            DELETE FROM scheduling_export
            WHERE id IN (SELECT id FROM scheduling_export WHERE ended_at < %(before)s AND stored = ''
                         ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)""",
    ),
    "sessions": Kind(
        "Sessions of people who signed in",
        days=0,
        since="they ran out",
        stays="When each person signed in last",
        statement="""
            DELETE FROM portal_session
            WHERE session_key IN (SELECT session_key FROM portal_session WHERE expire_date < %(before)s
                                  ORDER BY session_key LIMIT %(limit)s FOR UPDATE SKIP LOCKED)""",
    ),
    "attempts": Kind(
        "Attempts to sign in that were counted, under digests of addresses",
        days=0,
        since="they counted no more",
        stays="Nothing",
        statement="""
            DELETE FROM portal_attempt
            WHERE key IN (SELECT key FROM portal_attempt WHERE expires_at < %(before)s
                          ORDER BY key LIMIT %(limit)s FOR UPDATE SKIP LOCKED)""",
    ),
}


def forget(*, clock: Callable[[], datetime], keep_going: KeepGoing = always) -> dict[str, int]:
    """Forget what has been kept for long enough, some at a time; return how many of each kind."""
    forgotten = dict.fromkeys(KINDS, 0)
    for name, kind in KINDS.items():
        while keep_going():
            now = clock()
            terms = {"before": now - timedelta(days=kind.days), "now": now, "limit": kind.limit}
            if not (touched := sql.run(kind.statement, terms)):
                break
            forgotten[name] += touched
    return forgotten


def as_markdown() -> str:
    """Write the table for docs/operator.md."""
    lines = ["| what | kept for | after that there is still |", "|---|---|---|"]
    lines += [
        f"| {kind.title} | {f'{kind.days} days since' if kind.days else 'until'} {kind.since} | {kind.stays} |"
        for kind in KINDS.values()
    ]
    return "\n".join(lines) + "\n"
