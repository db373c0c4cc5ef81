from datetime import UTC, datetime, timedelta

import pytest

from portal.ground import clock
from portal.ground.clock import VirtualClock, now_and_rows, several_then_now

MOMENT = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


@pytest.mark.django_db
class TestNowAndRows:
    @pytest.mark.parametrize("rows", [[], [(1, "one")], [(1, "one"), (2, "two")]])
    def test_answers_what_the_statement_does_and_the_moment(self, rows: list[tuple[int, str]]) -> None:
        statement = (
            "SELECT number, word FROM (VALUES (1, 'one'), (2, 'two')) AS given (number, word) "
            "WHERE number <= %(most)s"
        )
        before = clock.now()
        moment, found = now_and_rows(clock=clock.now, statement=statement, parameters={"most": len(rows)})
        assert found == rows
        assert before <= moment <= clock.now()
        assert moment.utcoffset() == timedelta(0)

        moment, found = now_and_rows(
            clock=lambda: MOMENT, statement=statement, parameters={"most": len(rows)}
        )
        assert (moment, found) == (MOMENT, rows)

    def test_asks_the_database_once(self, django_assert_num_queries: pytest.FixtureRequest) -> None:
        with django_assert_num_queries(1):  # type: ignore[operator]
            now_and_rows(clock=clock.now, statement="SELECT 1", parameters={})


@pytest.mark.django_db
class TestSeveralThenNow:
    def test_answers_what_each_statement_does_and_the_moment_after_them(self) -> None:
        statements = [
            "SELECT 1 WHERE %(wanted)s",
            "SELECT clock_timestamp()",
            "CREATE TEMPORARY TABLE nothing ()",
        ]
        found, moment = several_then_now(clock=clock.now, statements=statements, parameters={"wanted": False})
        empty, [(during,)], made = found
        assert (empty, made) == ([], [])
        assert during <= moment <= clock.now()
        assert moment.utcoffset() == timedelta(0)

        found, moment = several_then_now(
            clock=lambda: MOMENT, statements=["SELECT 1", "SELECT %(two)s"], parameters={"two": 2}
        )
        assert (found, moment) == ([[(1,)], [(2,)]], MOMENT)

    def test_asks_the_database_once(self, django_assert_num_queries: pytest.FixtureRequest) -> None:
        with django_assert_num_queries(1):  # type: ignore[operator]
            several_then_now(clock=clock.now, statements=["SELECT 1", "SELECT 2"], parameters={})


class TestVirtualClock:
    def test_never_says_the_same_twice(self) -> None:
        virtual = VirtualClock(moment=MOMENT)
        assert MOMENT < virtual() < virtual() < MOMENT + timedelta(seconds=1)

    def test_moves_on_when_told_and_never_back(self) -> None:
        virtual = VirtualClock(moment=MOMENT)
        virtual.move_on(to=MOMENT + timedelta(days=1))
        assert virtual() > MOMENT + timedelta(days=1)
        with pytest.raises(ValueError, match="time does not go back"):
            virtual.move_on(to=MOMENT)
