"""Slots out of DCC's weekly patterns."""

import itertools
from datetime import UTC, datetime, time, timedelta

import pytest

from firmware.models import AvailabilityPeriod, FirmwareRelease, ReleaseState
from portal.ground.uk_time import LONDON
from scheduling.models import CapacityPattern, Slot, Weekday
from scheduling.operations.slots import open_slots, spans_of
from tests.scheduling.world import World


def pattern(weekday: Weekday, starts: int, ends: int | None, *, minutes: int = 60) -> CapacityPattern:
    """Return a pattern of ten hubs a slot between two hours of a weekday."""
    return CapacityPattern(
        weekday=weekday,
        starts=time(starts),
        ends=None if ends is None else time(ends),
        slot_minutes=minutes,
        capacity=10,
    )


class TestSpansOf:
    @pytest.mark.parametrize(
        ("day", "slots"),
        [
            (datetime(2026, 3, 28, tzinfo=UTC), 24),
            (datetime(2026, 3, 29, tzinfo=UTC), 23),
            (datetime(2026, 10, 25, tzinfo=UTC), 25),
        ],
    )
    def test_follow_the_length_of_the_uk_day(self, day: datetime, slots: int) -> None:
        local = day.date()
        patterns = [pattern(Weekday(local.weekday()), 0, None)]
        begin = datetime.combine(local, time(), LONDON).astimezone(UTC) - timedelta(seconds=1)
        spans = list(spans_of(patterns=patterns, start=begin, end=begin + timedelta(hours=26)))
        assert len(spans) == slots
        assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(spans))

    def test_skip_the_hour_that_a_spring_night_skips(self) -> None:
        night = datetime(2026, 3, 29, tzinfo=UTC)
        spans = list(
            spans_of(
                patterns=[pattern(Weekday.SUNDAY, 0, 4)],
                start=night - timedelta(hours=1),
                end=night + timedelta(days=1),
            )
        )
        assert [start.astimezone(LONDON).hour for start, _, _ in spans] == [0, 2, 3]

    def test_have_the_hour_twice_that_an_autumn_night_repeats(self) -> None:
        night = datetime(2026, 10, 25, tzinfo=UTC)
        spans = list(
            spans_of(
                patterns=[pattern(Weekday.SUNDAY, 0, 3)],
                start=night - timedelta(hours=2),
                end=night + timedelta(days=1),
            )
        )
        assert [start.astimezone(LONDON).hour for start, _, _ in spans] == [0, 1, 1, 2]

    def test_end_before_the_period_does(self) -> None:
        monday = datetime(2026, 11, 2, tzinfo=UTC)
        spans = list(
            spans_of(
                patterns=[pattern(Weekday.MONDAY, 0, 6, minutes=90)],
                start=monday - timedelta(hours=1),
                end=monday + timedelta(hours=4),
            )
        )
        assert [(start.hour, start.minute) for start, _, _ in spans] == [(0, 0), (1, 30)]


class TestOpenSlots:
    @pytest.fixture
    def patterns(self, world: World) -> list[CapacityPattern]:
        """Ten hubs an hour from two to five on every night."""
        made = [pattern(weekday, 2, 5) for weekday in Weekday]
        for each in made:
            each.network = world.network
        return CapacityPattern.objects.bulk_create(made)

    def test_reach_to_the_end_of_the_period_and_no_further(
        self, world: World, patterns: list[CapacityPattern]
    ) -> None:
        assert open_slots(now=world.clock()) > 100
        last = Slot.objects.latest("start_at")
        end = AvailabilityPeriod.objects.get().end_at
        assert end - timedelta(days=1) < last.end_at <= end
        assert open_slots(now=world.clock()) == 0

    def test_follow_a_change_but_never_below_what_is_taken(
        self, world: World, patterns: list[CapacityPattern]
    ) -> None:
        open_slots(now=world.clock())
        busy = Slot.objects.earliest("start_at")
        Slot.objects.filter(pk=busy.pk).update(taken=7)
        CapacityPattern.objects.update(capacity=4)

        open_slots(now=world.clock())

        busy.refresh_from_db()
        assert busy.capacity == 7
        assert set(Slot.objects.exclude(pk=busy.pk).values_list("capacity", flat=True)) == {4}

    def test_close_when_their_pattern_is_gone(self, world: World, patterns: list[CapacityPattern]) -> None:
        open_slots(now=world.clock())
        CapacityPattern.objects.all().delete()
        open_slots(now=world.clock())
        assert set(Slot.objects.values_list("capacity", flat=True)) == {0}

    @pytest.mark.parametrize("state", [ReleaseState.WITHDRAWN, ReleaseState.CLOSED])
    def test_are_not_made_for_a_release_that_ended(
        self, world: World, patterns: list[CapacityPattern], state: ReleaseState
    ) -> None:
        FirmwareRelease.objects.update(state=state, ended_at=world.clock())
        open_slots(now=world.clock())
        assert not Slot.objects.exists()
