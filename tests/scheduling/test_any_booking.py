"""
Any booking, in generated calendars: never over capacity, share or reserve, never outside period, cut-off or plan, never
in a protected window, and nobody left over for whom there is a place.

What each slot may take is worked out here once more, from the words of the rule, and the placing is held against the
largest flow.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubs.models import CommunicationsHub
from hubs.operations import count_fleet
from scheduling.models import Booking, Deployment, Lot, ProtectedWindow, Slot
from scheduling.operations.bookings import UnableToBook
from scheduling.planning import Hours
from tests.scheduling.test_planning import flow
from tests.scheduling.world import World

HOUR = timedelta(hours=1)
DAYS = 12
Scope = ProtectedWindow.Scope


@dataclass(frozen=True)
class Calendar:
    """What a booking meets: hours count from now."""

    slots: dict[int, int]
    """Capacity by the hour in which the slot begins."""
    period: tuple[int, int]
    reserve: int
    cut_off: int
    shared_days: int
    own: int
    shared: int
    others: int
    windows: list[tuple[int, int, str]]
    plan: str
    bounds: tuple[int, int]


AN_HOUR = st.integers(0, 24 * DAYS)
CALENDARS = st.builds(
    Calendar,
    slots=st.dictionaries(AN_HOUR, st.integers(0, 12), min_size=1, max_size=8),
    period=st.tuples(st.integers(0, 30), st.integers(24 * 4, 24 * DAYS)),
    reserve=st.sampled_from([0, 30, 55]),
    cut_off=st.integers(0, 60),
    shared_days=st.integers(0, 8),
    own=st.integers(1, 10),
    shared=st.integers(0, 6),
    others=st.integers(0, 8),
    windows=st.lists(
        st.tuples(AN_HOUR, st.integers(1, 40), st.sampled_from(["all", "list", "theirs"])), max_size=3
    ),
    plan=st.sampled_from(["earliest", "range", "spread", "one_slot"]),
    bounds=st.tuples(AN_HOUR, AN_HOUR),
)


class TestAnyBooking:
    @given(calendar=CALENDARS)
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_keeps_every_rule_and_leaves_nobody_over_for_whom_there_is_a_place(
        self, world: World, calendar: Calendar
    ) -> None:
        point = transaction.savepoint()
        self.run(world, calendar)
        transaction.savepoint_rollback(point)
        world.slots.clear()

    def run(self, world: World, calendar: Calendar) -> None:
        now = world.clock()
        own = world.hubs(calendar.own)
        shared = world.hubs(calendar.shared, gas_supplier=world.southern)
        world.hubs(calendar.others, supplier=world.southern)
        count_fleet(now=now)
        policy = world.release.policy
        policy.reserve_percent = calendar.reserve
        policy.cut_off, policy.fair_share_until = f"{calendar.cut_off} hours", f"{calendar.shared_days} days"
        policy.save()
        first, last = (now + hour * HOUR for hour in calendar.period)
        world.release.periods.update(start_at=first, end_at=last)
        world.release = type(world.release).objects.get(pk=world.release.pk)
        for hour, capacity in sorted(calendar.slots.items()):
            world.slot(start=hour * HOUR, room=capacity)
        listed = [*own[:2], *shared[:1]]
        closed: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
        for hour, length, whose in calendar.windows:
            window = world.protect(
                start=(hour + 0.5) * HOUR,
                length=length * HOUR,
                supplier=world.southern if whose == "theirs" else world.northern,
                hubs=listed if whose == "list" else (),
            )
            assert window.start_at
            assert window.end_at
            closed[whose].append((window.start_at, window.end_at))

        hours = Hours(
            tuple(range(7)), now.time().replace(hour=0, minute=0), now.time().replace(hour=0, minute=0),
            *sorted((now + bound * HOUR).date() for bound in calendar.bounds),
        )  # fmt: skip
        start, end = sorted(now + bound * HOUR for bound in calendar.bounds)
        one = world.slots[calendar.bounds[0] % len(world.slots)]
        asked = {
            "earliest": {},
            "range": {"start_at": start, "last_start_at": end},
            "spread": {"hours": hours},
            "one_slot": {"start_at": one.start_at},
        }[calendar.plan]
        planned = {
            "earliest": lambda slot: True,
            "range": lambda slot: start <= slot.start_at <= end,
            "spread": lambda slot: hours.hold(start_at=slot.start_at, end_at=slot.end_at),
            "one_slot": lambda slot: slot.pk == one.pk,
        }[calendar.plan]

        def room(slot: Slot) -> int:
            """Say what the northern Supplier may take, by the words of the rule."""
            if not (
                now + calendar.cut_off * HOUR <= slot.start_at
                and first <= slot.start_at
                and slot.end_at <= last
            ):
                return 0
            if not planned(slot) or touches(slot, closed["all"]):
                return 0
            free = slot.capacity - math.floor(slot.capacity * calendar.reserve / 100)
            if slot.start_at > policy.fair_share_until.after(now):
                total = calendar.own + calendar.shared + calendar.others
                return math.ceil(free * (calendar.own + calendar.shared) / total)
            return free

        kinds = {
            number: [hub for hub in (*own, *shared) if (hub in listed, hub in shared) == kind]
            for number, kind in enumerate([(False, False), (False, True), (True, False), (True, True)])
        }
        rooms = {slot.pk: room(slot) for slot in world.slots}
        clear = {
            number: {
                slot.pk
                for slot in world.slots
                if not (number & 2 and touches(slot, closed["list"]))
                and not (number & 1 and touches(slot, closed["theirs"]))
            }
            for number in kinds
        }
        most = flow(rooms, {number: len(hubs) for number, hubs in kinds.items() if hubs}, clear)

        try:
            booking = world.book(**asked)
        except UnableToBook:
            # one slot is all or nothing; any other plan refuses only what has no place at all
            assert most < len(own) + len(shared) if calendar.plan == "one_slot" else most == 0
            assert not Deployment.objects.exists()
            assert not Slot.objects.filter(taken__gt=0).exists()
            return
        assert booking.hubs == most
        assert booking.unplaced == len(own) + len(shared) - most
        self.assert_rules(rooms, clear, kinds)

    def assert_rules(
        self,
        rooms: dict[int, int],
        clear: dict[int, set[int]],
        kinds: dict[int, list[CommunicationsHub]],
    ) -> None:
        slot_of = dict(Lot.objects.values_list("id", "slot"))
        went = {one.hub_id: slot_of[one.lot_id] for one in Deployment.objects.all()}
        taken = Counter(went.values())
        assert taken == {slot.pk: slot.taken for slot in Slot.objects.filter(taken__gt=0)}
        assert all(number <= rooms[slot] for slot, number in taken.items())
        for number, hubs in kinds.items():
            assert {went[hub.pk] for hub in hubs if hub.pk in went} <= clear[number]
        assert Booking.objects.count() == 1


def touches(slot: Slot, spans: Sequence[tuple[datetime, datetime]]) -> bool:
    return any(start < slot.end_at and end > slot.start_at for start, end in spans)
