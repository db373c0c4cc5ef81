"""One worker's hold on one lot: a lease that runs out with its holder, and a token that outlives nobody."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from firmware import locks
from portal.ground import sql
from portal.ground.clock import Clock
from scheduling.models import LOT_SPAN, Lot

LEASE = timedelta(seconds=settings.LEASE_SECONDS)


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's hold on one lot: only this token may write for it."""

    lot: Lot
    token: int

    @property
    def first(self) -> int:
        """The lowest id of the lot's deployments."""
        return self.lot.pk * LOT_SPAN

    @property
    def last(self) -> int:
        """The highest id that the lot's deployments can have."""
        return self.first + LOT_SPAN - 1


class LeaseLost(Exception):
    """Another worker has the lot by now; whatever was under way here is its business."""


CLAIM = """
UPDATE scheduling_lot SET lease_until = %(now)s + %(lease)s, token = token + 1
WHERE id = (
    SELECT id FROM scheduling_lot
    WHERE due_at <= %(now)s AND (lease_until IS NULL OR lease_until <= %(now)s)
    ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, token
"""


def claim(*, now: datetime) -> Claim | None:
    """Take the lot that has been due longest and that no living worker holds; None where nothing is due."""
    claimed = sql.rows(CLAIM, {"now": now, "lease": LEASE})
    if not claimed:
        return None
    [(lot_id, token)] = claimed
    lot = Lot.objects.select_related("slot", "release__policy", "release__version", "consent").get(pk=lot_id)
    return Claim(lot, token)


def enter(*, claimed: Claim, clock: Clock) -> datetime:
    """
    Lock the lot's row, then take the release's lock shared; renew the lease and return the moment of all this.

    In this order: whoever waits for the lot, which the recording of reports can hold for long, must not make a
    halt wait as well.

    :raises LeaseLost: if the token is no longer the lot's
    """
    mine = Lot.objects.filter(pk=claimed.lot.pk, token=claimed.token)
    if not list(mine.select_for_update(no_key=True).values_list("pk")):
        raise LeaseLost
    locks.admit_shared(release_id=claimed.lot.release_id)
    now = clock()
    mine.update(lease_until=now + LEASE)
    return now


HAND_BACK = """
UPDATE scheduling_lot SET lease_until = NULL, due_at = (
    SELECT min(next_at) FROM scheduling_deployment
    WHERE id BETWEEN %(first)s AND %(last)s AND ended_at IS NULL)
WHERE id = %(lot)s AND token = %(token)s
"""


@transaction.atomic
def hand_back(*, claimed: Claim) -> None:
    """Give the lot back, due when the first of its deployments is; nothing happens if it was taken over."""
    # the row lock first: reports recorded meanwhile are then in what the next statement sees
    Lot.objects.select_for_update().filter(pk=claimed.lot.pk, token=claimed.token).first()
    sql.run(
        HAND_BACK,
        {"first": claimed.first, "last": claimed.last, "lot": claimed.lot.pk, "token": claimed.token},
    )
