"""
Allocate for DCC what nobody booked.

A row says that a Supplier's hubs are allocated, on this day or by this decision, and which hubs they are; it is there
before anything is booked. Whoever finds it unfinished goes on: the booking is made once for its selection, and
what found no slot is raised, told and stamped in one transaction. So two at once, or one that dies, do no harm.

One process at a time does it, however often the timetable wakes it: a Supplier's remaining millions take minutes, and
must not take all the workers.
"""

import logging
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from psycopg.errors import UniqueViolation

from firmware import queries as releases
from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Supplier
from portal.ground import logs, sql
from portal.ground.clock import Clock
from portal.ground.stopping import KeepGoing, always
from portal.ground.uk_time import LONDON
from scheduling.models import Allocation, Booking, Decision, HubSelection
from scheduling.operations import bookings, exceptions, notices, overrides
from scheduling.planning import Hours
from scheduling.queries import allocations, eligibility
from scheduling.queries.plans import Timing

logger = logging.getLogger(__name__)
LEASE = timedelta(seconds=settings.LEASE_SECONDS)
"""After which one that was begun and not finished is taken up again."""
_ALONE = 0x616C6C6F  # "allo": the advisory lock of whoever allocates
EVERY_DAY = tuple(range(7))
MIDNIGHT = datetime.min.time()


def allocate(*, clock: Clock, keep_going: KeepGoing = always) -> int:
    """
    Begin the allocations that are due today, and carry out those that are not finished.

    None is begun any more after a third of a lease: the next one goes on. Returns how many were finished; none where
    another process is at it.
    """
    [(is_alone,)] = sql.rows("SELECT pg_try_advisory_lock(%(key)s)", {"key": _ALONE})
    if not is_alone:
        return 0
    try:
        return _allocate(clock, keep_going)
    finally:
        sql.run("SELECT pg_advisory_unlock(%(key)s)", {"key": _ALONE})


def _allocate(clock: Clock, keep_going: KeepGoing) -> int:
    enough = clock() + LEASE / 3

    def has_time() -> bool:
        return keep_going() and clock() < enough

    for release in _published():
        _begin(release, clock, has_time)
    finished = 0
    while has_time() and (allocation := _claim(clock())):
        try:
            with logs.bound(
                release=allocation.release.cpl_entry_id,
                supplier=allocation.supplier_id,
                selection=str(allocation.selection_id),
            ):
                finished += _carry_out(allocation, clock)
        except SystemExit:  # broken off: whoever comes next need not wait for the lease
            Allocation.objects.filter(pk=allocation.pk).update(lease_until=None)
            raise
    return finished


def _published() -> list[FirmwareRelease]:
    return list(
        FirmwareRelease.objects.filter(state=ReleaseState.PUBLISHED)
        .select_related("policy")
        .prefetch_related("periods")
        .order_by("pk")
    )


def _begin(release: FirmwareRelease, clock: Clock, has_time: KeepGoing) -> None:
    """Begin today's allocation of a release for every Supplier that leads hubs on the networks that are due."""
    now = clock()
    if not (networks := allocations.due_networks(release=release, now=now)):
        return
    today = now.astimezone(LONDON).date()
    begun = Allocation.objects.filter(release=release, decision=None)
    leads = (
        releases.eligible_counts(release=release)
        .filter(network__in=networks, lead__isnull=False)
        .exclude(lead__in=begun.filter(day=today).values("supplier"))
        # what was begun another day and is not finished is for the same hubs
        .exclude(lead__in=begun.filter(finished_at=None).values("supplier"))
        .order_by("lead")
        .values_list("lead", flat=True)
        .distinct()
    )
    for supplier in Supplier.objects.in_bulk(list(leads)).values():
        if not has_time():
            return
        _begin_one(release, supplier, networks, today, clock())


def _begin_one(
    release: FirmwareRelease, supplier: Supplier, networks: list[int], day: date, now: datetime
) -> None:
    """Keep what is left of a Supplier's hubs as a selection, with the row that says so; once a day."""
    selection = HubSelection(
        supplier=supplier,
        release=release,
        created_at=now,
        method=HubSelection.Method.ALL,
        criteria={"network": networks},
    )
    selection.eligible = dict(eligibility.judge(selection=selection, now=now).eligible)
    hubs = sum(selection.eligible.values())
    try:
        with transaction.atomic():
            if hubs:
                selection.save(force_insert=True)
            exceptions.raise_failed(selection=selection, now=now)
            Allocation.objects.create(
                release=release,
                supplier=supplier,
                day=day,
                networks=networks,
                selection=selection if hubs else None,
                begun_at=now,
                finished_at=None if hubs else now,
                hubs=hubs,
            )
    except IntegrityError as error:
        if not isinstance(error.__cause__, UniqueViolation):
            raise  # else another one began it


CLAIM = """
UPDATE scheduling_allocation SET lease_until = %(now)s + %(lease)s
WHERE id = (
    SELECT allocation.id FROM scheduling_allocation allocation
    JOIN firmware_firmwarerelease release ON release.id = allocation.release_id
    WHERE allocation.finished_at IS NULL AND (lease_until IS NULL OR lease_until <= %(now)s)
      AND release.state = %(published)s
    ORDER BY allocation.id LIMIT 1 FOR UPDATE OF allocation SKIP LOCKED)
RETURNING id
"""


def _claim(now: datetime) -> Allocation | None:
    """Take an allocation of a published release that is not finished and that nobody has."""
    claimed = sql.rows(CLAIM, {"now": now, "lease": LEASE, "published": str(ReleaseState.PUBLISHED)})
    if not claimed:
        return None
    [(key,)] = claimed
    return Allocation.objects.select_related(
        "selection__supplier", "selection__release__policy", "decision"
    ).get(pk=key)


def _carry_out(allocation: Allocation, clock: Clock) -> bool:
    """Book what an allocation is for; say whether it is finished."""
    assert allocation.selection  # noqa: S101 - allocation_finished_unless_it_has_a_selection holds it
    selection, decision = allocation.selection, allocation.decision
    try:
        if decision and decision.kind == Decision.Kind.OVERRIDE:
            booking = overrides.book(selection=selection, clock=clock)
        else:
            booking = _book(selection, clock)
    except (overrides.UnableToOverride, bookings.Overtaken):
        # that is no reason to put its hubs before DCC: there may be room for every one of them
        logger.warning("the allocation of %s is tried again: others were faster", selection)
        return False
    if booking and not Booking.objects.filter(pk=booking.pk, placed_at__isnull=False).exists():
        return False  # another one is writing it, or died at it: its places are given back then, and we go on
    state = FirmwareRelease.objects.values_list("state", flat=True).get(pk=selection.release_id)
    if booking is None and state != ReleaseState.PUBLISHED:
        return False  # nothing was tried: it goes on when the release is resumed
    return _finish(allocation, selection, booking, clock())


def _book(selection: HubSelection, clock: Clock) -> Booking | None:
    """
    Spread hubs evenly over the slots that begin after the policy's notice; None where not one found a place.

    :raises bookings.Overtaken: if others are always faster; ask again later
    """
    release = selection.release
    earliest = release.policy.default_allocation_notice.after(clock())
    last = max(period.end_at for period in release.periods.all())
    if earliest >= last:
        return None
    hours = Hours(
        EVERY_DAY, MIDNIGHT, MIDNIGHT, earliest.astimezone(LONDON).date(), last.astimezone(LONDON).date()
    )
    try:
        return bookings.book(
            selection=selection,
            timing=Timing(Booking.Plan.SPREAD, hours=hours, in_reserve=True, not_before=earliest),
            by=None,
            clock=clock,
            origin=Booking.Origin.DEFAULT,
        )
    except bookings.Overtaken:
        raise
    except bookings.UnableToBook as refusal:
        logger.info("nothing was allocated for %s of %s: %s", release, selection.supplier, refusal)
        return None


@transaction.atomic(durable=True)
def _finish(allocation: Allocation, selection: HubSelection, booking: Booking | None, now: datetime) -> bool:
    """Raise what found no slot, tell the Supplier, and stamp the allocation; False where another one did."""
    mine = Allocation.objects.filter(pk=allocation.pk, finished_at=None)
    if not list(mine.select_for_update().values_list("pk")):
        return False
    if allocation.decision:
        left_over = exceptions.carried_out(allocation=allocation, decision=allocation.decision, now=now)
    else:
        left_over = exceptions.raise_unplaced(selection=selection, now=now)
    booked = booking.hubs if booking else 0
    mine.update(finished_at=now, lease_until=None, booked=booked, left_over=left_over)
    if booking:
        reason = allocation.decision.reason if allocation.decision else ""
        notices.owe_allocated(booking=booking, reason=reason, now=now)
    if allocation.decision and not allocation.decision.allocations.filter(finished_at=None).exists():
        Decision.objects.filter(pk=allocation.decision.pk).update(done_at=now)
    return True
