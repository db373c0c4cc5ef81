from datetime import UTC, datetime, timedelta

import pytest

from portal.ground import turns
from tests.scheduling.world import Clock

LEASE = timedelta(seconds=60)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 22, 12, tzinfo=UTC))


@pytest.mark.django_db
class TestTurn:
    def test_is_one_s_at_a_time(self, clock: Clock) -> None:
        with turns.turn(name="sweeping", lease=LEASE, clock=clock) as first:
            with turns.turn(name="sweeping", lease=LEASE, clock=clock) as second:
                assert (first, second) == (True, False)
            with turns.turn(name="sweeping", lease=LEASE, clock=clock) as third:
                assert not third, "who had no turn gave one back"
            with turns.turn(name="mopping", lease=LEASE, clock=clock) as other:
                assert other

    def test_is_given_back_also_by_who_fails(self, clock: Clock) -> None:
        with pytest.raises(ZeroDivisionError), turns.turn(name="sweeping", lease=LEASE, clock=clock):
            raise ZeroDivisionError
        with turns.turn(name="sweeping", lease=LEASE, clock=clock) as next_one:
            assert next_one

    def test_is_over_when_its_lease_is(self, clock: Clock) -> None:
        with turns.turn(name="sweeping", lease=LEASE, clock=clock):
            clock.move(seconds=59)
            with turns.turn(name="sweeping", lease=LEASE, clock=clock) as early:
                assert not early
            clock.move(seconds=1)
            with turns.turn(name="sweeping", lease=LEASE, clock=clock) as in_time:
                assert in_time

    def test_of_another_is_not_given_back_by_who_comes_late(self, clock: Clock) -> None:
        frozen = turns.turn(name="sweeping", lease=LEASE, clock=clock)
        frozen.__enter__()
        clock.move(seconds=60)
        with turns.turn(name="sweeping", lease=LEASE, clock=clock):
            frozen.__exit__(None, None, None)
            with turns.turn(name="sweeping", lease=LEASE, clock=clock) as third:
                assert not third
