"""
Move the hubs that the stages of a release keep waiting, before anything is sent to them.

An hour before hubs are staged it is forecast whether they have a turn in their slot. Those that have none go to the
first clear slots after the moment at which the stage opens that will take them, in the order in which they stood; so
do those that waited for a turn in vain, before their slot is over. Whoever finds no place stays, and is missed in the
end if no turn comes all the same.

Locks are taken as a change of a booking takes them (see `changes`), a few thousand hubs of one booking at a time. What
is found is asked again under them: two at once, or one that dies, do no harm.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import Q

from firmware.models import FirmwareRelease, ReleaseState
from portal.ground import audit, logs
from portal.ground.clock import Clock
from portal.ground.stopping import KeepGoing, always
from portal.ground.uk_time import LONDON
from scheduling.models import LOT_SPAN, Booking, Lot, Slot
from scheduling.operations import changes, first_hubs, notices, placing
from scheduling.queries import turns
from scheduling.queries.parts import Destination, Part
from scheduling.queries.turns import Line, Turnless
from scheduling.turns import Aim, aims_in_order

logger = logging.getLogger(__name__)
AT_ONCE = 5_000
"""Hubs moved in one transaction."""
MOVED = 50_000
"""Hubs moved at a time."""
TIME = timedelta(seconds=settings.LEASE_SECONDS) / 3
WHY = (
    "the stages of DCC's national rollout have no turn for them in those slots. They keep their order. More hubs of "
    "the booking may follow on the same day: its page says how many"
)


def keep(*, clock: Clock, keep_going: KeepGoing = always) -> int:
    """
    Choose the hubs of first stages, and move hubs that have no turn in their slots; return how many were moved.

    For the timetable: a bounded part of it each time, for a third of a lease.
    """
    first_hubs.choose(now=clock())
    enough = clock() + TIME
    moved = 0
    releases = FirmwareRelease.objects.filter(
        Q(stages__closed_at=None) & Q(stages__size__isnull=False), state=ReleaseState.PUBLISHED
    )
    for release in releases.order_by("pk").distinct():
        with logs.bound(release=release.cpl_entry_id):
            for chunk in _chunks(release.pk, clock()):
                if moved >= MOVED or not keep_going() or clock() >= enough:
                    return moved
                moved += _tried(chunk, clock)
    return moved


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Deployments of one booking that leave one slot for those from `at` on."""

    slot: Slot
    booking: int
    is_shared: bool
    is_override: bool
    at: datetime
    stage: int | None
    """The number of the stage that is expected to take them."""
    deployments: Sequence[int]


def _chunks(release: int, now: datetime) -> Iterator[_Chunk]:
    """Yield what has to leave its slot, slot by slot in the order of time."""
    concerned = turns.concerned(release=release, now=now)
    if not concerned.ahead | concerned.in_vain:
        return
    lines = turns.lines(release=release, now=now)
    places = Slot.objects.in_bulk(list(concerned.ahead | concerned.in_vain))
    for slot in sorted(places.values(), key=lambda one: (one.start_at, one.pk)):
        for line in lines:
            if slot.pk not in line.forecast.turns:
                continue
            found: Sequence[Turnless] = ()
            aims = line.forecast.turns[slot.pk].aims
            if slot.pk in concerned.in_vain:
                found = turns.in_vain(line=line, slot=slot.pk, now=now, limit=MOVED)
            elif slot.pk in concerned.ahead and aims:
                found = turns.without_turn(line=line, slot=slot.pk, now=now, limit=MOVED)
            yield from _cut(line, slot, found, aims)


def _cut(line: Line, slot: Slot, found: Sequence[Turnless], aims: Sequence[Aim]) -> Iterator[_Chunk]:
    """Cut hubs that stand in line into those of one booking that have one aim."""
    in_line = iter(found)
    for aim in aims_in_order(aims=aims, hubs=len(found), otherwise=slot.end_at):
        of_aim = list(islice(in_line, aim.hubs))
        if aim.at is None:  # no slot is left that is late enough
            continue
        opened = [one.number for one in line.forecast.openings if one.at <= aim.at]
        kinds = groupby(of_aim, key=lambda one: (one.booking, one.is_shared, one.is_override))
        for kind, members in kinds:
            while some := [one.deployment for one in islice(members, AT_ONCE)]:
                yield _Chunk(slot, *kind, aim.at, opened[-1] if opened else None, some)


def _tried(chunk: _Chunk, clock: Clock) -> int:
    try:
        return _move(chunk, clock())
    except placing.RoomTaken:
        pass
    except OperationalError as error:
        if not placing.is_deadlock(error=error):
            raise
    logger.info("hubs of booking %s are moved the next time: others were faster", chunk.booking)
    return 0


@transaction.atomic(durable=True)
def _move(chunk: _Chunk, now: datetime) -> int:
    """Move what is still to be moved of a booking that nobody is changing; return how many hubs went."""
    booking = (
        Booking.objects.filter(pk=chunk.booking, placed_at__isnull=False)
        .select_related("release__policy", "supplier")
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .first()
    )
    if booking is None:
        return 0
    lots = Lot.objects.filter(pk__in={deployment // LOT_SPAN for deployment in chunk.deployments})
    keys = list(lots.order_by("id").select_for_update(no_key=True).values_list("pk", flat=True))
    # asked anew: under the booking's lock it may have been halted since
    if not FirmwareRelease.objects.filter(pk=booking.release_id, state=ReleaseState.PUBLISHED).exists():
        return 0
    Lot.objects.filter(pk__in=keys).update(turns_asked_at=now)
    leaving = changes.Leaving(
        booking=booking,
        part=Part(turnless=chunk.deployments),
        now=now,
        cut_off_holds=False,
        is_override=chunk.is_override,
    )
    if not leaving.outlook.would_go:
        return 0
    # who shares a hub is asked anew, and its silence counts only so far away
    near = booking.release.policy.explicit_consent_within.after(now)
    at = max(chunk.at, near) if chunk.is_shared else chunk.at
    leaving.find(to=Destination(Booking.Plan.EARLIEST, at), avoiding=[chunk.slot.pk])
    if not leaving.placements:
        return 0
    put = leaving.go(ending=None)
    Lot.objects.filter(booking=booking, pk__gte=put.change).update(moved_from=chunk.slot.start_at)
    _tell(booking, chunk, put, min(one.start_at for one in leaving.placements), now)
    return sum(put.taken.values())


def _tell(booking: Booking, chunk: _Chunk, put: changes.Put, first: datetime, now: datetime) -> None:
    """Record a move, and owe the e-mail about it, once a day for a booking."""
    hubs = sum(put.taken.values())
    stage = f"stage {chunk.stage}" if chunk.stage else "the next stage"
    audit.record(
        actor=None,
        verb="booking.moved_by_stages",
        subject=f"booking:{booking.reference}",
        reason=(
            f"From the slot of {_written(chunk.slot.start_at)} to {_written(first)}"
            f"{' and later' if len(put.taken) > 1 else ''}: the national rollout has no turn for them before {stage}."
        ),
        facts={
            "hubs": hubs,
            "slot": chunk.slot.pk,
            "from": chunk.slot.start_at.isoformat(),
            "to": first.isoformat(),
        },
        now=now,
    )
    notices.owe_booking_moved(
        booking=booking,
        change=f"stages:{now.astimezone(LONDON).date()}",
        left=put.left,
        taken=put.taken,
        by=None,
        why=WHY,
        now=now,
    )
    notices.owe_consent_asked(booking=booking, now=now)


def _written(at: datetime) -> str:
    return f"{at.astimezone(LONDON):%-d %b, %H:%M %Z}"
