"""
Ask for rehearsals of a release, and hand them to whoever carries them out.

They cost a processor for seconds or for minutes, so one of each way runs at a time in the whole portal: one in numbers
alone, and one through the real code. The database says so; whoever finds it taken comes again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Q

from firmware import queries as releases
from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import HubModel, Network
from portal.ground import audit, sql
from scheduling import packs
from scheduling.models import Rehearsal
from scheduling.queries.asked_rehearsals import OPEN

if TYPE_CHECKING:
    from portal.models import User

MAY_ASK: Final = "scheduling.add_rehearsal"
LEASE: Final = timedelta(minutes=1)
ATTEMPTS: Final = 2
"""So often a rehearsal is begun whose process ended without a word; then it is what ends the process."""

# Raw SQL: found and taken by one statement, and never one that somebody else is taking. What ran before comes first, so
# that nothing waits behind a process that died.
TAKE: Final = """
UPDATE scheduling_rehearsal rehearsal SET
    state = 'running', token = rehearsal.token + 1, attempts = rehearsal.attempts + 1, step = '', progress = NULL,
    lease_until = %(now)s + %(lease)s, began_at = coalesce(rehearsal.began_at, %(now)s)
WHERE rehearsal.id = (
    SELECT id FROM scheduling_rehearsal
    WHERE is_whole = %(is_whole)s AND attempts < %(attempts)s
      AND (state = 'waiting' OR (state = 'running' AND lease_until <= %(now)s))
      AND NOT EXISTS (
          SELECT FROM scheduling_rehearsal under_way
          WHERE under_way.is_whole = %(is_whole)s AND under_way.state = 'running' AND under_way.lease_until > %(now)s)
    ORDER BY state, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING rehearsal.id
"""


class UnableToAsk(Exception):
    """There will be no such rehearsal; the message says why and what to do."""


class UnableToStop(Exception):
    """The rehearsal goes on, or is over; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be rehearsed: to how many hubs, and with which defect; 0 % is none, and has neither kind nor place."""

    is_whole: bool
    hubs: int
    percent: Decimal
    kind: str
    network: Network | None
    model: HubModel | None
    seed: int


@transaction.atomic
def ask(
    *, release: FirmwareRelease, wish: Wish, plan: Mapping[str, Any], by: "User", now: datetime
) -> Rehearsal:
    """
    Put a rehearsal of a release in line, and on record who asked for it.

    `plan` is all that it is made from: what the release says now.

    :raises UnableToAsk: if the release is over, or another rehearsal of it is not
    """
    if release.state in (ReleaseState.CLOSED, ReleaseState.WITHDRAWN):
        raise UnableToAsk(
            f"The release is {release.get_state_display().lower()}: nothing of it will be rolled out any more."
        )
    try:
        with transaction.atomic():
            rehearsal = Rehearsal.objects.create(
                release=release,
                revision=release.revision,
                is_whole=wish.is_whole,
                hubs=wish.hubs,
                percent=wish.percent,
                kind=wish.kind,
                network=wish.network,
                model=wish.model,
                seed=wish.seed,
                plan=dict(plan),
                asked_by=by,
                asked_at=now,
            )
    except IntegrityError as error:
        if "rehearsal_one_open_per_release" not in str(error):
            raise
        raise UnableToAsk(
            "Another rehearsal of this release is waiting or running. Wait until it is over, or stop it."
        ) from error
    audit.record(
        actor=by,
        verb="release.rehearsal_asked",
        subject=releases.subject(release_id=release.pk),
        now=now,
        facts={
            "rehearsal": rehearsal.pk,
            "revision": release.revision,
            "is_whole": wish.is_whole,
            "hubs": wish.hubs,
            "percent": str(wish.percent),
            "kind": wish.kind,
            "network": wish.network and wish.network.code,
            "model": wish.model and wish.model.name,
            "seed": wish.seed,
        },
    )
    return rehearsal


def take(*, is_whole: bool, now: datetime) -> Rehearsal | None:
    """
    Take the next rehearsal of a way, or one whose process was not heard of any more; None where there is none to take.

    Whoever takes it renews its lease with the token that it has now.
    """
    _give_up(is_whole, now)
    terms = {"is_whole": is_whole, "now": now, "lease": LEASE, "attempts": ATTEMPTS}
    try:
        with transaction.atomic():
            taken = sql.rows(TAKE, terms)
    except IntegrityError as error:  # somebody took another one of this way at the same moment
        if "rehearsal_one_of_each_way_at_a_time" not in str(error):
            raise
        return None
    return Rehearsal.objects.get(pk=taken[0][0]) if taken else None


def _give_up(is_whole: bool, now: datetime) -> None:
    """End rehearsals that have ended their processes too often."""
    Rehearsal.objects.filter(
        is_whole=is_whole, state=Rehearsal.State.RUNNING, lease_until__lte=now, attempts__gte=ATTEMPTS
    ).update(
        state=Rehearsal.State.FAILED,
        lease_until=None,
        ended_at=now,
        error=(
            "Its process ended without a word, more than once: the machine may have too little memory for so many "
            "hubs, or was switched off. Ask again, for fewer hubs."
        ),
    )


def renew(*, rehearsal: int, token: int, step: str, progress: float | None, now: datetime) -> bool:
    """Say how far a rehearsal is, and hold it for longer; False where it was stopped, or is somebody else's by now."""
    return bool(
        _held(rehearsal, token).update(step=step[:300], progress=progress, lease_until=now + LEASE),
    )


@transaction.atomic
def finish(*, rehearsal: int, token: int, result: Mapping[str, Any], now: datetime) -> bool:
    """Keep what a rehearsal came to, with its hash on record; False where nobody wants it any more."""
    digest = digest_of(result=result)
    kept = _held(rehearsal, token).update(
        state=Rehearsal.State.DONE,
        result=dict(result),
        digest=digest,
        step="",
        progress=1.0,
        lease_until=None,
        ended_at=now,
    )
    if kept:
        release = Rehearsal.objects.values_list("release_id", flat=True).get(pk=rehearsal)
        audit.record(
            actor=None,
            verb="release.rehearsed",
            subject=releases.subject(release_id=release),
            now=now,
            facts={"rehearsal": rehearsal, "result_sha256": digest},
        )
    return bool(kept)


def fail(*, rehearsal: int, token: int, error: str, now: datetime) -> bool:
    """End a rehearsal that cannot be, with the sentence on why; False where nobody wants to know any more."""
    return bool(
        _held(rehearsal, token).update(
            state=Rehearsal.State.FAILED, error=error, step="", lease_until=None, ended_at=now
        )
    )


def hand_back(*, rehearsal: int, token: int) -> bool:
    """Let somebody else begin a rehearsal anew, because this process was asked to end."""
    with transaction.atomic():
        held = _held(rehearsal, token).select_for_update().first()
        if held is None:
            return False
        Rehearsal.objects.filter(pk=rehearsal).update(
            state=Rehearsal.State.WAITING,
            attempts=held.attempts - 1,
            step="",
            progress=None,
            lease_until=None,
        )
    return True


@transaction.atomic
def stop(*, rehearsal: Rehearsal, by: "User", now: datetime) -> None:
    """
    End a rehearsal that waits or runs; whoever is at it finds out within seconds.

    :raises UnableToStop: if it is over
    """
    stopped = Rehearsal.objects.filter(pk=rehearsal.pk, state__in=OPEN).update(
        state=Rehearsal.State.CANCELLED, step="", lease_until=None, ended_at=now
    )
    if not stopped:
        raise UnableToStop("The rehearsal was over before it could be stopped.")
    audit.record(
        actor=by,
        verb="release.rehearsal_stopped",
        subject=releases.subject(release_id=rehearsal.release_id),
        now=now,
        facts={"rehearsal": rehearsal.pk},
    )


def digest_of(*, result: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a result, written as JSON with sorted keys and without spaces, in UTF-8."""
    return hashlib.sha256(packs.as_line(entry=result)).hexdigest()


def _held(rehearsal: int, token: int) -> Any:
    return Rehearsal.objects.filter(Q(pk=rehearsal), state=Rehearsal.State.RUNNING, token=token)
