"""One worker's hold on one lot: a lease that runs out with its holder, and a token that outlives nobody."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from firmware import locks
from hubs.gateway import Phase
from portal.ground import sql
from portal.ground.clock import Clock, several_then_now
from scheduling.models import LOT_SIZE, LOT_SPAN, Lot, Reclaim
from scheduling.operations.deployments import aside
from scheduling.operations.deployments.known import Known
from scheduling.operations.deployments.receipts import HANDED_OVER
from scheduling.queries import quarantine

LEASE = timedelta(seconds=settings.LEASE_SECONDS)
LOOK_AGAIN = timedelta(seconds=30)
"""When somebody looks again at what could not go on: not admitted, no carrier, set aside."""
WAITS_AT_MOST = timedelta(hours=1)
"""
When somebody looks again at what waits for room in flight or in a stage, whom nobody has woken.

Whoever makes room wakes some of those that wait, and the timetable does where room is left all the same. Thousands of
lots can wait at a time, a whole night long for a stage that soaks: if each were looked at every few minutes, nothing
else would be carried out.
"""
DEATHS = 2
"""Holders that may die with a lot before it is taken in halves, until the hub is found on which they die."""
WHOLE = 1 << (LOT_SIZE - 1).bit_length()
"""Places that a claim reaches as a rule: all of a lot, and a power of two, so that it can be halved."""
REACH = ("deaths", "reach_from", "reach")
"""What only the holder of a lot changes: as long as the token is the claim's, it is as the claim has it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """
    One worker's hold on one lot, or on the part of it that the claim reaches: only this token may write for it.

    `aside` are the deployments in it that nobody touches; only this holder adds to them while it has the lot.
    """

    lot: Lot
    token: int
    aside: list[int] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The lowest id of the deployments that are reached."""
        return self.lot.pk * LOT_SPAN + self.lot.reach_from

    @property
    def last(self) -> int:
        """The highest id that the deployments can have that are reached."""
        return self.first + self.lot.reach - 1


OURS = "deployment.id BETWEEN %(first)s AND %(last)s AND deployment.id <> ALL (%(aside)s::bigint[])"
"""The deployments that a claim may touch: those that it reaches but for those that are set aside."""


def ours(*, claimed: Claim) -> dict[str, Any]:
    """Return the parameters of `OURS`."""
    return {"first": claimed.first, "last": claimed.last, "aside": claimed.aside}


class LeaseLost(Exception):
    """Another worker has the lot by now; whatever was under way here is its business."""


# materialised: looked for once, whichever way the join goes, since each further look would lock another lot
CLAIM = sql.Often(f"""
WITH due AS MATERIALIZED (
    SELECT id, lease_until FROM scheduling_lot
    WHERE due_at <= %(now)s AND (lease_until IS NULL OR lease_until <= %(now)s)
    ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED),
lot AS (
    UPDATE scheduling_lot lot SET lease_until = %(now)s + %(lease)s::interval, token = lot.token + 1
    FROM due WHERE lot.id = due.id
    RETURNING {sql.columns(Lot, "lot")}, due.lease_until AS run_out)
SELECT lot.*, {aside.LEFT_ALONE} FROM lot
""")  # noqa: S608 - our own constants
MINE = sql.Often(
    "SELECT lease_until FROM scheduling_lot WHERE id = %(lot)s AND token = %(token)s FOR NO KEY UPDATE"
)
RENEW = "UPDATE scheduling_lot SET lease_until = %(now)s + %(lease)s WHERE id = %(lot)s"


@transaction.atomic(durable=True)
def claim(*, now: datetime, known: Known | None = None) -> Claim | None:
    """
    Take the lot that has been due longest and that no living worker holds; None where nothing is due.

    A lease that ran out is kept as a `Reclaim`. When holder after holder dies, the claim reaches half of what the
    last one did, and at last a single hub: the one that is set aside. `known` is what earlier claims have read.
    """
    claimed = sql.rows(CLAIM, {"now": now, "lease": LEASE, "pause": aside.PAUSE})
    if not claimed:
        return None
    [(*values, run_out, left_alone)] = claimed
    lot = sql.instance(Lot, values)
    (known or Known()).tell(lot=lot)
    if run_out:
        Reclaim.objects.create(lot_id=lot.pk, token=lot.token - 1, lease_until=run_out, reclaimed_at=now)
        left_alone += _reach_less(lot, why=quarantine.DEATHS, now=now)
    return Claim(lot, lot.token, left_alone)


def enter(*, claimed: Claim, clock: Clock) -> datetime:
    """
    Lock the lot's row, then take the release's lock shared; renew an old lease and return the moment of all this.

    In this order: whoever waits for the lot, which the recording of reports can hold for long, must not make a
    halt wait as well.

    :raises LeaseLost: if the token is no longer the lot's
    :raises RuntimeError: outside of a transaction, whose locks these are
    """
    if not connection.in_atomic_block:
        raise RuntimeError("The locks of the Gate last as long as a transaction, and there is none.")
    terms = {"lot": claimed.lot.pk, "token": claimed.token, "release": claimed.lot.release_id}
    (mine, _), now = several_then_now(clock=clock, statements=[MINE, locks.ADMIT_SHARED], parameters=terms)
    if not mine:
        raise LeaseLost
    [(lease_until,)] = mine
    # without one all hubs of the lot have ended meanwhile: nothing is left that a lease would be for
    if lease_until is not None and lease_until < now + LEASE * 3 / 4:
        sql.run(RENEW, terms | {"now": now, "lease": LEASE})
    return now


HOLD_ON = sql.Often("SELECT FROM scheduling_lot WHERE id = %(lot)s FOR NO KEY UPDATE")


def hold_on(*, claimed: Claim) -> None:
    """
    Lock the lot's row, whoever has the lot by now.

    Whoever changes commands of a lot holds it: two who change many of them in different orders wait for each other
    without end.
    """
    sql.rows(HOLD_ON, {"lot": claimed.lot.pk})


WAIT = sql.Often("UPDATE scheduling_lot SET waits = true WHERE id = %(lot)s")


def wait_for_room(*, claimed: Claim) -> None:
    """
    Say that hubs of a lot, whose row is locked, wait for room in flight or in a stage.

    In the transaction that saw that there is none: whoever makes room afterwards sees that the lot waits for it.
    """
    sql.run(WAIT, {"lot": claimed.lot.pk})


# What waits for room in flight stays due, so that whoever makes room can wake the lot; until then, and for what is set
# aside, somebody looks again after a while. Whoever made room since the Gate looked has woken the lot: it is due at
# once, and does not wait.
HAND_BACK = sql.Often("""
UPDATE scheduling_lot lot SET lease_until = NULL, waits = lot.waits AND %(waits)s,
    deaths = %(deaths)s, reach_from = %(reach_from)s, reach = %(reach)s,
    due_at = (
        SELECT least(
            min(deployment.next_at) FILTER (WHERE deployment.id <> ALL (%(aside)s::bigint[]) AND NOT (
                lot.waits AND %(waits)s AND deployment.state = 'staged' AND deployment.phase = %(activate)s
                AND deployment.next_at <= %(now)s)),
            CASE WHEN count(*) = 0 THEN NULL
                 WHEN %(again_at)s::timestamptz IS NOT NULL THEN %(again_at)s::timestamptz
                 WHEN cardinality(%(aside)s::bigint[]) > 0 THEN %(later)s
                 WHEN lot.waits AND %(waits)s THEN %(at_last)s END)
        FROM scheduling_deployment deployment
        WHERE deployment.id BETWEEN %(first)s AND %(last)s AND deployment.ended_at IS NULL)
WHERE lot.id = %(lot)s AND lot.token = %(token)s
""")


def hand_back(
    *,
    claimed: Claim,
    now: datetime,
    waits: bool = False,
    again_at: datetime | None = None,
    taken_at: datetime | None = None,
) -> None:
    """
    Give the lot back, due when the first of its deployments is; that does nothing if it was taken over.

    `waits` says that some were not admitted for want of room in flight, `again_at` that something was left undone:
    then it is due at that moment, at the latest. `taken_at` is the stamp of commands all of which the carrier took.
    """
    lot = claimed.lot
    if again_at is None:
        again_at = _reach_on(lot, now)
    terms = {
        "first": lot.pk * LOT_SPAN,
        "last": (lot.pk + 1) * LOT_SPAN - 1,
        "aside": claimed.aside,
        "lot": lot.pk,
        "token": claimed.token,
        "now": now,
        "waits": waits,
        "activate": int(Phase.ACTIVATE),
        "again_at": again_at,
        "later": now + LOOK_AGAIN,
        "at_last": min(now + WAITS_AT_MOST, max(now + LOOK_AGAIN, lot.slot.end_at)),
        "taken_at": taken_at,
        **{name: getattr(lot, name) for name in REACH},
    }
    # the row lock first: reports recorded meanwhile are then in what the next statement sees
    sql.several([*([HANDED_OVER] if taken_at else []), MINE, HAND_BACK], terms)


@transaction.atomic(durable=True)
def fail(*, claimed: Claim, error: Exception, now: datetime) -> None:
    """Hand a lot back whose carrying out raised `error`, as if its holder had died with it."""
    if not sql.rows(MINE, {"lot": claimed.lot.pk, "token": claimed.token}):
        return
    _reach_less(claimed.lot, why=f"{type(error).__name__}: {error}", now=now)
    Lot.objects.filter(pk=claimed.lot.pk).update(lease_until=None, due_at=now + LOOK_AGAIN)


def _reach_less(lot: Lot, *, why: str, now: datetime) -> list[int]:
    """
    Count a death; after some, halve what the next claim reaches, or set the one hub aside that is left.

    Returns the deployment that was set aside, if one was.
    """
    lot.deaths += 1
    found: list[int] = []
    if lot.deaths >= DEATHS:
        # of as many places as hold all its hubs: to halve what is empty would find nothing out
        reach = min(lot.reach, 1 << (lot.size - 1).bit_length())
        if reach == 1:
            found = [lot.pk * LOT_SPAN + lot.reach_from]
            aside.set_aside(deployment=found[0], error=why, now=now)
            _reach_whole(lot)
        else:
            lot.reach = reach // 2
    lot.save(update_fields=REACH)
    return found


def _reach_on(lot: Lot, now: datetime) -> datetime | None:
    """Reach for what comes after a part that went well, at once; after the last part, for all of the lot again."""
    lot.reach_from += lot.reach
    if lot.reach_from < lot.size:
        return now
    _reach_whole(lot)
    return None


def _reach_whole(lot: Lot) -> None:
    lot.deaths, lot.reach_from, lot.reach = 0, 0, WHOLE
