"""Changes of supplier: when they take effect, and what they protect."""

from datetime import UTC, date, datetime, timedelta

from hubs import registrations


class TestEffectiveAt:
    def test_is_midnight_in_the_uk(self) -> None:
        assert registrations.effective_at(effective_on=date(2026, 1, 15)) == datetime(2026, 1, 15, tzinfo=UTC)
        assert registrations.effective_at(effective_on=date(2026, 7, 15)) == datetime(
            2026, 7, 14, 23, tzinfo=UTC
        )


class TestProtectedSpan:
    def test_is_from_the_evening_before_to_the_end_of_the_day_after(self) -> None:
        assert registrations.protected_span(effective_on=date(2026, 7, 15)) == (
            datetime(2026, 7, 14, 17, tzinfo=UTC),
            datetime(2026, 7, 16, 23, tzinfo=UTC),
        )

    def test_is_an_hour_longer_when_the_clocks_go_back_in_it(self) -> None:
        start, end = registrations.protected_span(effective_on=date(2026, 10, 25))

        assert end - start == timedelta(hours=6 + 25 + 24)
