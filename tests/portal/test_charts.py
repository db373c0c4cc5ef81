"""A picture's table, as the component writes it, and the file with the same numbers."""

import re

import pytest
from django.template.loader import render_to_string

from portal.ground.charts import Chart, Row, Series

CHART = Chart(
    key="week",
    title="Hubs by day",
    first="Day",
    unit="hubs",
    series=(Series("Succeeded", "good"), Series("Bad", "bad", "stripes", "line")),
    rows=[Row("1 May", (1_234_567, 0)), Row("2 May", (None, 2.5), ("", "2.5 of a hundred"))],
    address="/numbers.csv",
    stacked=True,
)


@pytest.fixture
def page() -> str:
    """Return the component's text."""
    return " ".join(render_to_string("components/chart.html", {"chart": CHART}).split())


class TestTheComponent:
    def test_says_each_number_for_people_and_for_the_script(self, page: str) -> None:
        assert '<td data-value="1234567">1,234,567</td>' in page
        assert '<td data-value="0">0</td>' in page
        assert '<td data-value="">–</td>' in page
        assert '<td data-value="2.5">2.5 of a hundred</td>' in page

    def test_says_how_each_column_is_drawn(self, page: str) -> None:
        assert 'data-kind="bar" data-colour="good" data-look="solid">Succeeded' in page
        assert 'data-kind="line" data-colour="bad" data-look="stripes">Bad' in page

    def test_is_labelled_and_can_be_taken_away(self, page: str) -> None:
        assert 'aria-label="Picture: Hubs by day. The table below it has the numbers."' in page
        assert 'href="/numbers.csv"' in page
        assert "data-stacked" in page
        assert "data-lies" not in page

    def test_has_no_style_or_script_of_its_own(self, page: str) -> None:
        assert not re.search(r"<script|<style| style=| on[a-z]+=", page)


class TestTheFile:
    def test_has_the_same_numbers(self) -> None:
        assert CHART.header == ["Day", "Succeeded", "Bad"]
        assert CHART.lines == [["1 May", "1234567", "0"], ["2 May", "", "2.5"]]
