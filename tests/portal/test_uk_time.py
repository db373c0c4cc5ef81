"""Working days, calendar days and local times, over the dates on which they go wrong."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.ground.uk_time import (
    LONDON,
    AmbiguousLocalTime,
    Span,
    UnreadableSpan,
    add_working_days,
    day_bounds,
    from_local,
    is_working_day,
)

SPRING = datetime(2026, 3, 29, 1, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 25, 1, tzinfo=UTC)
EASTER = datetime(2026, 4, 3, tzinfo=UTC)
CHRISTMAS = datetime(2026, 12, 25, tzinfo=UTC)


def uk(*parts: int, fold: int = 0) -> datetime:
    """Build an aware UK local time."""
    return datetime(*parts, tzinfo=LONDON, fold=fold)  # type: ignore[arg-type, misc]


moments = st.one_of(
    st.datetimes(
        min_value=datetime(2024, 1, 1),  # noqa: DTZ001 - the time zone is given beside it
        max_value=datetime(2029, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
    # nearly all that can go wrong goes wrong within days of these
    st.builds(
        lambda centre, minutes: centre + timedelta(minutes=minutes),
        st.sampled_from([SPRING, AUTUMN, EASTER, CHRISTMAS]),
        st.integers(-5 * 1440, 5 * 1440),
    ),
)
spans = st.builds(
    Span, st.integers(0, 6), st.sampled_from(["seconds", "minutes", "hours", "days", "working days"])
)


class TestParse:
    @pytest.mark.parametrize(
        ("words", "span"),
        [
            ("2 working days", Span(2, "working days")),
            ("1 working day", Span(1, "working days")),
            ("  72  Hours ", Span(72, "hours")),
            ("0 seconds", Span(0, "seconds")),
        ],
    )
    def test_reads_the_words(self, words, span):
        assert Span.parse(words) == span

    @pytest.mark.parametrize("words", ["", "2", "days", "-1 days", "2.5 hours", "2 weeks", "1000000 days"])
    def test_refuses_other_words_and_names_the_form(self, words):
        with pytest.raises(UnreadableSpan, match="a whole number and a unit"):
            Span.parse(words)

    @given(spans)
    def test_reads_back_what_a_span_writes(self, span):
        assert Span.parse(str(span)) == span


class TestBefore:
    def test_keeps_the_wall_clock_over_both_changes(self):
        assert Span(1, "days").before(uk(2026, 3, 29, 12)) == uk(2026, 3, 28, 12)
        assert Span(1, "days").before(uk(2026, 10, 25, 12)) == uk(2026, 10, 24, 12)

    def test_counts_hours_by_the_stopwatch(self):
        assert Span(24, "hours").before(uk(2026, 3, 29, 12)) == uk(2026, 3, 28, 11)

    def test_lets_the_hour_that_spring_leaves_out_count_as_its_end(self):
        assert Span(1, "days").before(uk(2026, 3, 30, 1, 30)) == uk(2026, 3, 29, 2)

    def test_stands_still_in_the_first_pass_of_the_repeated_hour(self):
        assert Span(1, "days").before(uk(2026, 10, 25, 1, 30)) == uk(2026, 10, 24, 1)
        assert Span(1, "days").before(uk(2026, 10, 25, 1, 30, fold=1)) == uk(2026, 10, 24, 1, 30)

    @given(spans, moments, moments)
    def test_never_answers_a_later_moment_with_an_earlier_one(self, span, one, two):
        assert span.before(min(one, two)) <= span.before(max(one, two))


class TestAfter:
    @settings(max_examples=400)
    @given(spans, moments, moments)
    def test_is_the_other_direction_of_before(self, span, at, slot):
        assert (slot >= span.after(at)) == (span.before(slot) >= at)

    @settings(max_examples=400)
    @given(spans, moments)
    def test_is_the_earliest_moment_whose_before_is_not_before(self, span, at):
        earliest = span.after(at)

        assert span.before(earliest) >= at
        assert span.before(earliest - timedelta(microseconds=1)) < at

    @given(spans, moments)
    def test_answers_in_utc(self, span, at):
        assert span.after(at).utcoffset() == span.before(at).utcoffset() == timedelta()

    def test_keeps_the_wall_clock_over_both_changes(self):
        assert Span(1, "days").after(uk(2026, 3, 28, 12)) == uk(2026, 3, 29, 12)
        assert Span(1, "days").after(uk(2026, 10, 24, 2)) == uk(2026, 10, 25, 2)

    def test_begins_with_the_days_off_that_count_as_the_same_moment(self):
        thursday = uk(2026, 6, 11)

        assert Span(2, "working days").after(thursday) == uk(2026, 6, 13)
        assert Span(2, "working days").after(thursday + timedelta(minutes=1)) == uk(2026, 6, 15, 0, 1)


class TestIsWorkingDay:
    @pytest.mark.parametrize(
        "day", [date(2026, 4, 3), date(2026, 4, 6), date(2026, 12, 25), date(2026, 12, 28), date(2026, 6, 13)]
    )
    def test_leaves_out_weekends_and_bank_holidays_with_their_substitutes(self, day):
        assert not is_working_day(day)

    @pytest.mark.parametrize(
        "day", [date(2026, 4, 2), date(2026, 4, 7), date(2026, 12, 29), date(2026, 11, 30)]
    )
    def test_counts_other_weekdays_and_other_nations_holidays(self, day):
        assert is_working_day(day)


class TestAddWorkingDays:
    @pytest.mark.parametrize(
        ("at", "days", "reached"),
        [
            (uk(2026, 4, 2, 9), 1, uk(2026, 4, 7, 9)),
            (uk(2026, 4, 8, 9), -2, uk(2026, 4, 2, 9)),
            (uk(2026, 12, 24, 16), 2, uk(2026, 12, 30, 16)),
            (uk(2026, 12, 29, 16), -1, uk(2026, 12, 24, 16)),
            (uk(2026, 3, 27, 10), 1, uk(2026, 3, 30, 10)),
            (uk(2026, 10, 23, 10), 1, uk(2026, 10, 26, 10)),
        ],
    )
    def test_steps_over_days_off_at_the_same_wall_clock_time(self, at, days, reached):
        assert add_working_days(at, days) == reached

    def test_counts_every_moment_of_a_weekend_as_the_start_of_monday(self):
        assert add_working_days(uk(2026, 6, 13, 23), 1) == uk(2026, 6, 16)
        assert add_working_days(uk(2026, 6, 14, 1), -1) == uk(2026, 6, 12)

    def test_stays_on_a_working_moment_when_there_is_nothing_to_add(self):
        assert add_working_days(uk(2026, 6, 12, 9), 0) == uk(2026, 6, 12, 9)


class TestDayBounds:
    @pytest.mark.parametrize(
        ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 6, 1), 24), (date(2026, 10, 25), 25)]
    )
    def test_spans_the_hours_that_the_day_has(self, day, hours):
        start, end = day_bounds(day)

        assert end - start == timedelta(hours=hours)
        assert start.astimezone(LONDON).date() == day


class TestFromLocal:
    def test_answers_with_the_instant(self):
        assert from_local(datetime(2026, 6, 1, 12)) == datetime(2026, 6, 1, 11, tzinfo=UTC)  # noqa: DTZ001

    def test_refuses_a_time_that_does_not_exist(self):
        with pytest.raises(AmbiguousLocalTime, match="does not exist"):
            from_local(datetime(2026, 3, 29, 1, 30))  # noqa: DTZ001

    def test_refuses_a_time_that_happens_twice_until_the_offset_is_chosen(self):
        twice = datetime(2026, 10, 25, 1, 30)  # noqa: DTZ001

        with pytest.raises(AmbiguousLocalTime, match="happens twice"):
            from_local(twice)
        assert from_local(twice, offset=timedelta(hours=1)) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        assert from_local(twice, offset=timedelta()) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)

    def test_refuses_an_offset_that_the_time_does_not_have(self):
        with pytest.raises(AmbiguousLocalTime):
            from_local(datetime(2026, 6, 1, 12), offset=timedelta())  # noqa: DTZ001

    @given(moments)
    def test_finds_every_instant_again_by_its_local_time_and_offset(self, at):
        local = at.astimezone(LONDON)

        assert from_local(local.replace(tzinfo=None, fold=0), offset=local.utcoffset()) == at
