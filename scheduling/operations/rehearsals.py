"""
Roll a release out on virtual time, through all that workers and the timetable do, and say how it went.

For a database of its own: time passes here that has not passed elsewhere. Nothing is simplified but the waiting. From
one moment at which anything is due it goes on to the next one, but never by less than a step of minutes, in place of
the two seconds of the timetable. At each moment what came back is held against the limits before anybody is admitted,
so that a longer step costs a rollout time, and lets no more hubs through: no more than may be in flight. What nobody
sees in the figures is left out: e-mails, files, the reconciler, and what bad hubs have in common until a halt says it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from django.db import connection

from firmware import queries as releases
from firmware.models import FirmwareRelease, Halt
from hubs.gateway import Foreseeable, Phase
from hubs.models import Supplier
from portal.ground import sql
from portal.ground.clock import VirtualClock
from portal.ground.uk_time import LONDON, is_working_day
from scheduling.models import Stage
from scheduling.operations import (
    allocations,
    bookings,
    consents,
    deployments,
    exceptions,
    halts,
    late_looks,
    selections,
    stages,
    tallies,
    turns,
)
from scheduling.operations.deployments.known import Known
from scheduling.queries import deadlines
from scheduling.queries.allocations import due_networks
from scheduling.queries.plans import Timing
from scheduling.turns import LATEST

if TYPE_CHECKING:
    from portal.models import User

Tell = Callable[[str], None]
IN_FLIGHT_STEP = timedelta(minutes=2)
"""The least time between two looks at hubs that are activated in a stage that the policy names."""
LAST_STAGE_STEP = timedelta(minutes=4)
"""The same in the last of those stages, whose hubs are mostly tens of thousands."""
TRANCHE_STEP = timedelta(minutes=10)
"""The same in the tranches after them: a night is longer than a tranche takes all the same."""
IDLE_STEP = timedelta(minutes=30)
"""The same for what is no evidence: images on their way, hubs that are looked at later, all of it after a halt."""
TURNS = timedelta(minutes=15)
"""
The time between two looks at who has no turn in a slot, where there are looks at all.

They are moved in the hour before they are staged, so many at a time; and those that wait in vain just before its end.
"""
AFTERMATH = timedelta(hours=6)
"""So long workers go on after a halt, to show that nothing more is commanded: longer than any hub stays in flight."""
DAILY = time(9)
"""When, by the UK clock, what the timetable does now and then is done."""
LOTS = 1_000_000
"""More lots than there are: all that are due are carried out."""
FOLD = 10_000
PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Halted:
    """A halt of the rollout: when, why, and how many commands the carrier received after it."""

    at: datetime
    reason: str
    admitted_after: int


@dataclass(slots=True)
class Course:
    """
    How a rollout went, and between which moments.

    `first_at` is when hubs were first seen to be in flight, `looks` how often there was anything to do.
    """

    began_at: datetime
    over_at: datetime
    first_at: datetime | None = None
    looks: int = 0
    halted: Halted | None = None


def book_all(
    *,
    release: FirmwareRelease,
    timing: Timing,
    people: "Mapping[int, User]",
    clock: VirtualClock,
    tell: Tell,
) -> int:
    """
    Let every Supplier that leads hubs for the release book all of them; return how many found no slot.

    `people` has somebody of each Supplier, by its id. The largest Supplier comes first.
    """
    unplaced = 0
    led = releases.eligible_counts(release=release).values_list("lead", "hubs")
    hubs: dict[int, int] = {}
    for lead, number in led:
        hubs[lead] = hubs.get(lead, 0) + number
    for supplier in sorted(Supplier.objects.in_bulk(list(hubs)).values(), key=lambda one: -hubs[one.pk]):
        selection = selections.choose(
            supplier=supplier, release=release, criteria={}, by=people[supplier.pk], now=clock()
        )
        try:
            booking = bookings.book(selection=selection, timing=timing, by=people[supplier.pk], clock=clock)
        except bookings.UnableToBook:
            unplaced += hubs[supplier.pk]
            continue
        unplaced += booking.unplaced
        tell(f"{supplier} booked {booking.hubs:,} hubs")
    return unplaced


def roll_out(
    *,
    release: FirmwareRelease,
    gateway: Foreseeable,
    clock: VirtualClock,
    until: datetime,
    tell: Callable[["Moment"], None],
    has_helper: bool = False,
) -> Course:
    """
    Carry a release out from now until nothing is left to do, it was halted, or its last period is over.

    `tell` is given each moment at which something was due. With a helper, tranches are carried out by two at once,
    whose order is left to chance, as with the portal's workers; it has a connection of its own, so nothing may be in a
    transaction here.
    """
    course = Course(began_at=clock(), over_at=clock())
    with contextlib.ExitStack() as ending:
        helper = ending.enter_context(_helper()) if has_helper else None
        rollout = _Rollout(release, gateway, clock, helper)
        for moment in rollout.moments(until):
            course.looks += 1
            if moment.in_flight and course.first_at is None:
                course.first_at = moment.at
            tell(moment)
    course.over_at = clock()
    course.halted = rollout.halted()
    return course


@contextlib.contextmanager
def _helper() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread to help with, whose connection to the database is closed in the end."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="rehearsal") as helper:
        try:
            yield helper
        finally:
            helper.submit(_close).result()


def _close() -> None:
    connection.close()  # asked for here, since each thread has its own


@dataclass(frozen=True, slots=True)
class Moment:
    """What there is at one moment: hubs in flight, and hubs whose deployment is not over."""

    at: datetime
    in_flight: int
    open: int
    due_at: datetime | None
    """When a lot is due next."""
    activates_at: datetime | None
    """When one is due next in which hubs are activated, or may be."""
    opens_at: datetime | None
    """When the staging begins next of hubs that nothing was sent to."""
    in_vain_at: datetime | None
    """When it is clear of hubs in an open slot that they wait for their turn in vain."""
    step: int | None
    """Which of the sizes of the policy the earliest open stage has; one more than there are is a tranche."""


# What is due although everything was done was woken for room that a full stage has not: it is none of these.
LOOK = """
SELECT coalesce((SELECT activating FROM scheduling_inflight WHERE release_id = %(release)s), 0),
       coalesce(sum(provisional + booked + staging + staged + activating + held), 0)::bigint,
       min(due_at) FILTER (WHERE due_at > %(now)s),
       least(min(due_at) FILTER (WHERE due_at > %(now)s AND (
                 activating > 0 OR (staged > 0 AND start_at <= %(now)s AND NOT waits))),
             min(start_at) FILTER (WHERE staged > 0 AND start_at > %(now)s)),
       min(staging_from) FILTER (WHERE provisional + booked > 0 AND staging_from > %(now)s),
       min(end_at - least(%(latest)s, (end_at - start_at) / 6))
           FILTER (WHERE staged > 0 AND start_at <= %(now)s AND end_at > %(now)s),
       (SELECT min(step) FROM scheduling_stage WHERE release_id = %(release)s AND closed_at IS NULL)
FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id WHERE lot.release_id = %(release)s
"""
ACTIVATION = (Phase.ACTIVATE, Phase.VERIFY)


@dataclass(slots=True)
class _Rollout:
    """One rollout that is going on."""

    release: FirmwareRelease
    gateway: Foreseeable
    clock: VirtualClock
    helper: ThreadPoolExecutor | None = None
    known: Known = field(default_factory=Known)
    _known_to_helper: Known = field(default_factory=Known)
    _is_early: bool = True
    """Whether a stage is open that the policy names: then who is sent what first is left to nobody's chance."""
    turns_at: datetime = field(init=False)
    """When it is looked at next who has no turn in a slot, and who is to be looked at again."""
    _has_begun: bool = False
    """Whether any hub was activated."""
    _halt: Halt | None = None
    _logged: int = 0
    """The end of the carrier's log before the last look at everything: what came after a halt is beyond it."""

    def __post_init__(self) -> None:
        self.turns_at = self.clock()

    def moments(self, until: datetime) -> Iterator[Moment]:
        daily = _next(DAILY, self.clock())
        while True:
            now = self.clock()
            is_allocated = False
            if now >= daily:
                is_allocated = self._do_daily()
                daily = _next(DAILY, now)
            self._work()
            found = self._look()
            yield found
            if self._halt is not None and now >= self._halt.halted_at + AFTERMATH:
                return
            if now >= until or (not found.open and is_allocated):
                return
            self._move_on(found, daily, until)

    def halted(self) -> Halted | None:
        """Return the halt, and what the carrier received after it, by its own log."""
        if self._halt is None:
            return None
        after, position = 0, self._logged
        while received := self.gateway.received(after=position, limit=PAGE):
            after += sum(command.received_at > self._halt.halted_at for command in received)
            position = received[-1].position
        return Halted(self._halt.halted_at, self._halt.reason, after)

    def _work(self) -> None:
        """Do what is due, until nothing is."""
        if self._halt is None:
            self._logged = self.gateway.last_position()
        now = self.clock()
        if now >= self.turns_at:
            turns.keep(clock=self.clock)
            late_looks.look(gateway=self.gateway, clock=self.clock)
            self.turns_at = now + TURNS
        self._carry_out()
        halts.stop_bad(now=self.clock())
        # what is woken for room in a stage that is full all the same is looked at with the next moment
        if stages.advance(now=self.clock()):
            self._carry_out()
        while tallies.fold(limit=FOLD) == FOLD:
            pass
        if self._halt is None:
            whole = Halt.objects.filter(network=None, model=None, installed_version=None, lifted_at=None)
            self._halt = whole.filter(release=self.release).first()
            if self._halt is not None:
                deployments.wake_stopped(now=self.clock())

    def _carry_out(self) -> None:
        """
        Let hubs act, record what they say, and send what is due, in turn, until nothing is.

        Nobody sends while anybody records: what is sent after a halt can be told by its stamp then.
        """
        done = 1
        while done:
            done = self._hear() + self._at_once(self._send, alone=self._is_early)

    def _hear(self) -> int:
        """Let hubs act, and record what they say; return how much that was."""
        if self.helper is None or self._is_early:
            self._at_once(self._let_act)
            return self._collect(self.known)
        helped = self.helper.submit(self._let_act, self._known_to_helper)
        try:
            came = self._collect(self.known)
            while not helped.done():
                came += self._collect(self.known)
        finally:
            helped.exception()  # nobody goes on alone
        helped.result()
        return came + self._collect(self.known)

    def _collect(self, known: Known) -> int:
        return deployments.collect_all(gateway=self.gateway, clock=self.clock, known=known)

    def _let_act(self, _: Known) -> int:
        return self.gateway.act(now=self.clock())

    def _send(self, known: Known) -> int:
        return deployments.carry_out(gateway=self.gateway, clock=self.clock, lots=LOTS, known=known)

    def _at_once(self, act: Callable[[Known], int], *, alone: bool = False) -> int:
        """Do something with the helper's help, where there is one, unless alone; return how much was done."""
        if self.helper is None or alone:
            return act(self.known)
        helped = self.helper.submit(act, self._known_to_helper)
        try:
            done = act(self.known)
        finally:
            helped.exception()  # nobody goes on alone
        return done + helped.result()

    def _do_daily(self) -> bool:
        """Do what the timetable does now and then; say whether the remaining hubs had their allocation."""
        bookings.finish(now=self.clock())
        consents.settle(clock=self.clock)
        # nobody else looks at the counts; until hubs are activated every one is as it was made
        if self._has_begun and due_networks(release=self.release, now=self.clock()):
            tallies.count_fleet(now=self.clock())
        exceptions.raise_missed_twice(now=self.clock())
        allocations.allocate(clock=self.clock)
        now, policy = self.clock(), self.release.policy
        moments = [
            deadlines.allocation_at(period=period, policy=policy) for period in self.release.periods.all()
        ]
        return now > max(moments) and is_working_day(now.astimezone(LONDON).date())

    def _look(self) -> Moment:
        now = self.clock()
        [counts] = sql.rows(LOOK, {"release": self.release.pk, "now": now, "latest": LATEST})
        found = Moment(now, *counts)
        self._is_early = found.step is None or found.step <= len(self.release.policy.stage_sizes)
        self._has_begun |= bool(found.in_flight)
        return found

    def _move_on(self, found: Moment, daily: datetime, until: datetime) -> None:
        """Let time pass until something is due, at whole minutes."""
        step = TRANCHE_STEP
        if self._is_early:
            is_last = found.step == len(self.release.policy.stage_sizes)
            step = LAST_STAGE_STEP if is_last else IN_FLIGHT_STEP
        moved_at = [at for at in self._turnless(found) if at > found.at]
        self.turns_at = min([self.turns_at, *moved_at])
        coming = [daily, until, *self._soaked(), *moved_at]
        activated_at = (found.activates_at, self.gateway.next_at(phases=ACTIVATION))
        coming += [max(at, found.at + (IDLE_STEP if self._halt else step)) for at in activated_at if at]
        idle = [found.due_at, self.gateway.next_at(), late_looks.next_at(release=self.release, now=found.at)]
        coming += [max(at, found.at + IDLE_STEP) for at in idle if at]
        self.clock.move_on(to=_whole_minute(max(min(coming), found.at + IN_FLIGHT_STEP)))

    def _turnless(self, found: Moment) -> Iterator[datetime]:
        """Yield when hubs are moved that have no turn: some times in the hour before they are staged, and at last."""
        if found.opens_at is not None:
            yield from (found.opens_at - times * TURNS for times in (3, 2, 1))
        if found.in_vain_at is not None:
            yield found.in_vain_at

    def _soaked(self) -> Iterator[datetime]:
        """Yield when the open stages that have nothing else to wait for have soaked."""
        policy = self.release.policy
        for stage in Stage.objects.filter(release=self.release, closed_at=None, full_at__isnull=False):
            assert stage.full_at  # noqa: S101 - as asked for
            if stage.resolved == stage.size and stage.step <= len(policy.stage_sizes):
                yield policy.soak.after(stage.full_at)


def _next(hour: time, now: datetime) -> datetime:
    """Return the next moment at which the UK clock shows an hour."""
    local = now.astimezone(LONDON)
    day = local.date() + timedelta(days=local.time() >= hour)
    return datetime.combine(day, hour, LONDON).astimezone(now.tzinfo)


def _whole_minute(moment: datetime) -> datetime:
    """Return the first whole minute that is not before a moment."""
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + timedelta(minutes=1)
