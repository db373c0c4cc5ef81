"""Tests of what is watched: each limit on both of its sides, in words, and in the documentation."""

import pytest
from django.conf import settings

from portal import checks
from portal.checks import Check, Standing, Unit


class TestStanding:
    @pytest.mark.parametrize(
        ("check", "reading", "standing"),
        [
            (Check("x", "X", most=0), 0, Standing.WELL),
            (Check("x", "X", most=0), 1, Standing.WORRY),
            (Check("x", "X", Unit.SECONDS, most=60), 60, Standing.WELL),
            (Check("x", "X", Unit.SECONDS, most=60), 60.1, Standing.WORRY),
            (Check("x", "X", least=1), 1, Standing.WELL),
            (Check("x", "X", least=1), 0, Standing.WORRY),
            (Check("x", "X"), 1_000_000, Standing.PLAIN),
            (Check("x", "X", most=0), None, Standing.WELL),
            (Check("x", "X", most=0, is_awaited=True), None, Standing.NOTHING),
        ],
    )
    def test_worries_beyond_the_limit_and_nowhere_else(
        self, check: Check, reading: float | None, standing: Standing
    ) -> None:
        assert check.standing(reading) is standing


class TestWritten:
    @pytest.mark.parametrize(
        ("check", "reading", "words"),
        [
            (Check("x", "X"), 9_999, "9,999"),
            (Check("x", "X"), checks.MOST + 1, "10,000+"),
            (Check("x", "X", Unit.SECONDS), 125, "2 min 5 s"),
            (Check("x", "X", Unit.ANSWER), 1.0, "yes"),
            (Check("x", "X", Unit.ANSWER), 0.0, "no"),
            (Check("x", "X"), None, "none"),
            (Check("x", "X", Unit.ANSWER, is_awaited=True), None, "never"),
            (Check("x", "X", is_awaited=True), None, "never"),
        ],
    )
    def test_is_what_people_read(self, check: Check, reading: float | None, words: str) -> None:
        assert check.written(reading) == words


class TestDuration:
    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (0, "0 s"),
            (0.4, "0 s"),
            (59.6, "1 min"),
            (60, "1 min"),
            (3_599, "59 min 59 s"),
            (3_605, "1 h"),
            (90_000, "1 d 1 h"),
            (-3, "0 s"),
        ],
    )
    def test_has_at_most_two_units(self, seconds: float, words: str) -> None:
        assert checks.duration(seconds) == words


class TestEvery:
    def test_has_a_name_of_its_own(self) -> None:
        names = [check.name for check in checks.every()]

        assert len(names) == len(set(names)) > 10

    def test_says_what_to_do_wherever_it_worries(self) -> None:
        for check in checks.every():
            assert bool(check.worry_when) == bool(check.then), check.name


class TestAsMarkdown:
    def test_is_what_the_documentation_says(self) -> None:
        """After a change of the table, this prints what belongs under "What to watch"."""
        written = (settings.BASE_DIR / "docs" / "operator.md").read_text()

        assert checks.as_markdown() in written, checks.as_markdown()
