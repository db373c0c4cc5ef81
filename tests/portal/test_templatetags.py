"""Tests of how identifiers, moments and states are written."""

from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template

from portal.templatetags import portal


class TestEui64:
    def test_writes_a_negative_number_as_the_field_does(self) -> None:
        assert portal.eui64(-1) == "FF-FF-FF-FF-FF-FF-FF-FF"

    def test_writes_nothing_for_none(self) -> None:
        assert portal.eui64(None) == ""


class TestLocal:
    @pytest.mark.parametrize(
        ("moment", "words"),
        [
            (datetime(2026, 7, 1, 12, 0, tzinfo=UTC), "Wed 1 Jul 2026, 13:00"),
            (datetime(2026, 11, 22, 14, 2, tzinfo=UTC), "Sun 22 Nov 2026, 14:02"),
            (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "Sun 25 Oct 2026, 01:30 BST"),
            (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "Sun 25 Oct 2026, 01:30 GMT"),
            (datetime(2026, 10, 25, 2, 0, tzinfo=UTC), "Sun 25 Oct 2026, 02:00"),
            (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), "Sun 29 Mar 2026, 02:00"),
        ],
    )
    def test_is_uk_time_and_names_the_offset_only_where_it_is_needed(
        self, moment: datetime, words: str
    ) -> None:
        assert portal.local(moment) == words


class TestClock:
    def test_is_the_time_of_day(self) -> None:
        assert portal.clock(datetime(2026, 7, 1, 12, 5, tzinfo=UTC)) == "13:05"


class TestMoment:
    def test_is_marked_up_for_machines(self) -> None:
        page = portal.moment(datetime(2026, 7, 1, 12, 5, tzinfo=UTC))

        assert (
            page == '<time class="moment" datetime="2026-07-01T13:05:00+01:00">Wed 1 Jul 2026, 13:05</time>'
        )


class TestAsOf:
    def test_leaves_out_the_day_of_today(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = datetime(2026, 7, 1, 12, 5, tzinfo=UTC)
        monkeypatch.setattr("django.utils.timezone.now", lambda: now)

        assert portal.as_of(now) == "as of 13:05"
        assert portal.as_of(now - timedelta(days=1)) == "as of Tue 30 Jun 2026, 13:05"

    def test_admits_that_nothing_was_counted(self) -> None:
        assert portal.as_of(None) == "not counted yet"


class TestStackedBar:
    def test_shows_the_same_numbers_as_a_table(self) -> None:
        page = Template("{% load portal %}{% stacked_bar counts 'My hubs' %}").render(
            Context({"counts": {"succeeded": 12_400, "failed": 0, "missed": 31}})
        )

        assert page.count("<rect") == 2
        assert "12,400" in page
        assert "My hubs: 12,431 hubs by state" in page

    def test_says_when_there_is_nothing(self) -> None:
        page = Template("{% load portal %}{% stacked_bar counts 'My hubs' %}").render(Context({"counts": {}}))

        assert "No hubs yet" in page


class TestState:
    def test_is_a_word_and_a_shape(self) -> None:
        page = Template("{% load portal %}{% state 'missed' %}").render(Context())

        assert 'class="state state-missed"' in page
        assert "#missed" in page
        assert "Missed" in page

    def test_takes_another_word(self) -> None:
        page = Template("{% load portal %}{% state 'success' 'lives' %}").render(Context())

        assert "shapes.svg#success" in page
        assert "</svg>lives</span>" in page


class TestAlert:
    @pytest.mark.parametrize(("kind", "role"), [("error", "alert"), ("halted", "status")])
    def test_is_what_stands_in_it_under_its_title(self, kind: str, role: str) -> None:
        page = Template(
            "{% load portal %}{% alert kind 'Halted: ' part %}<p>{{ why }}</p>{% endalert %}"
        ).render(Context({"kind": kind, "part": "<Central>", "why": "1 < 2"}))

        assert f'role="{role}"' in page
        assert f"#{kind}" in page
        assert "<strong>Halted: &lt;Central&gt;</strong> <p>1 &lt; 2</p>" in page


class TestRefusal:
    def test_is_a_line_of_a_list(self) -> None:
        page = Template("{% load portal %}{% refusal %}<p>{{ why }}</p>{% endrefusal %}").render(
            Context({"why": "1 < 2"})
        )

        assert page.count("<li>") == 1
        assert "<div><p>1 &lt; 2</p></div>" in page
