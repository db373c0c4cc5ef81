"""Pictures: drawn from the table beside them and nothing else, in the theme's colours, and live where the page is."""

import csv
import io
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from pytest_django.live_server_helper import LiveServer

from firmware.models import RolloutPolicy
from scheduling.lifecycle import Ending, State
from tests.browser.conftest import Passes, SignIn
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.world import World

GENEROUS = 60_000
"""Milliseconds: a machine that is busy with other tests still shows it."""
DRAWN = """canvas => {
    const {data} = Chart.getChart(canvas);
    return {labels: data.labels, series: data.datasets.map(({label, data}) => [label, data])};
}"""
PIXELS = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.reduce((sum, each, place) => (sum * 31 + each * (place % 251)) % 1000003, 7);
}"""
INK = "canvas => Chart.getChart(canvas).options.plugins.legend.labels.color"

MOVED = """() => new Promise(done => {
    let moved = 0;
    new PerformanceObserver(list => list.getEntries().forEach(({value}) => { moved += value; }))
        .observe({type: "layout-shift", buffered: true});
    setTimeout(() => done(moved), 300);
})"""


@pytest.fixture
def world(world: World) -> World:
    """Of sixty hubs fifty were commanded: twenty-five succeeded, three failed."""
    RolloutPolicy.objects.update(tolerated_bad_percent="33")
    stage(world, 60)
    activate(50)
    end(25, world=world, state=State.SUCCEEDED)
    end(3, world=world, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
    return world


def picture(page: Page, name: str) -> Locator:
    """Return the figure whose caption begins so."""
    return page.get_by_role("figure").filter(has_text=name)


def told(figure: Locator) -> dict[str, Any]:
    """Return what the table of a picture says, as the script should have read it."""
    heads = figure.locator("thead th").all_text_contents()
    rows = figure.locator("tbody tr").all()
    values = [[cell.get_attribute("data-value") for cell in row.locator("td").all()] for row in rows]
    columns = [
        [None if value == "" else float(value or 0) for value in column]
        for column in zip(*values, strict=True)
    ]
    return {
        "labels": [row.locator("th").text_content() for row in rows],
        "series": [[head, column] for head, column in zip(heads[1:], columns, strict=True)],
    }


@pytest.fixture
def figure(page: Page, live_server: LiveServer, world: World, sign_in: SignIn) -> Locator:
    """The rollout's picture on a Supplier's page of the release."""
    sign_in(world.person)
    page.goto(f"{live_server.url}/releases/{world.release.pk}/")
    found = picture(page, "Hubs commanded, succeeded and bad")
    expect(found.get_by_role("img", name="Picture: Hubs commanded")).to_be_visible()
    return found


class TestPicture:
    def test_draws_what_the_table_says(self, figure: Locator, passes: Passes) -> None:
        figure.get_by_text("The same as numbers").click()
        expect(figure.get_by_role("table")).to_be_visible()

        drawn = figure.locator("canvas").evaluate(DRAWN)

        assert drawn == told(figure)
        assert drawn["series"] == [
            ["Commanded", [50]],
            ["Succeeded", [25]],
            ["Bad", [3]],
            ["No outcome yet", [22]],
        ]
        passes()

    def test_reads_the_table_and_nothing_else(self, page: Page, figure: Locator) -> None:
        figure.locator("td").nth(1).evaluate("cell => { cell.dataset.value = 7; }")
        page.evaluate("document.dispatchEvent(new Event('htmx:afterSwap'))")

        assert figure.locator("canvas").evaluate(DRAWN)["series"][1] == ["Succeeded", [7]]

    def test_follows_the_scheme_at_once(self, page: Page, figure: Locator, passes: Passes) -> None:
        canvas = figure.locator("canvas")
        page.emulate_media(color_scheme="light")
        light = canvas.evaluate(INK), canvas.evaluate(PIXELS)

        page.emulate_media(color_scheme="dark")
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        page.wait_for_timeout(100)
        dark = canvas.evaluate(INK), canvas.evaluate(PIXELS)

        assert (light[0], dark[0]) == ("rgb(23, 36, 43)", "rgb(227, 234, 236)")
        assert light[1] != dark[1]
        passes()

    def test_can_be_taken_away(self, page: Page, figure: Locator) -> None:
        with page.expect_download() as taking:
            figure.get_by_role("link", name="Download these numbers").click()

        rows = list(csv.reader(io.StringIO(taking.value.path().read_text(encoding="utf-8-sig"))))

        assert rows[0] == ["Day of the slot", "Commanded", "Succeeded", "Bad", "No outcome yet"]
        assert rows[1][1:] == ["50", "25", "3", "22"]

    @pytest.mark.parametrize("width", [360, 1366, 1920])
    def test_fits_and_moves_nothing(self, page: Page, figure: Locator, passes: Passes, width: int) -> None:
        page.set_viewport_size({"width": width, "height": 900})
        page.reload()
        canvas = figure.locator("canvas")
        expect(canvas).to_be_visible()
        canvas.scroll_into_view_if_needed()
        assert canvas.evaluate("canvas => canvas.getBoundingClientRect().width") <= width
        assert page.evaluate(MOVED) == 0
        passes()


class TestWithoutTheScript:
    def test_shows_the_table_and_no_empty_picture(
        self, browser: Browser, page: Page, figure: Locator, world: World
    ) -> None:
        cookies = page.context.cookies()
        context = browser.new_context(java_script_enabled=False)
        context.add_cookies(cookies)  # type: ignore[arg-type]
        plain = context.new_page()
        plain.goto(page.url)
        found = picture(plain, "Hubs commanded, succeeded and bad")

        expect(found.locator("canvas")).to_be_hidden()
        expect(found.get_by_role("rowheader")).to_be_visible()
        context.close()


class TestLivePage:
    def test_takes_the_new_numbers_into_the_same_picture(
        self, page: Page, live_server: LiveServer, world: World, sign_in: SignIn, passes: Passes
    ) -> None:
        sign_in(world.staff)
        page.goto(f"{live_server.url}/admin/control-room/")
        found = picture(page, "Hubs commanded, succeeded and bad")
        found.get_by_text("The same as numbers").click()
        canvas = found.locator("canvas")
        canvas.evaluate("canvas => { canvas.isTheSame = true; window.drawing = Chart.getChart(canvas); }")

        end(10, world=world, state=State.SUCCEEDED)

        expect(found.get_by_role("cell", name="35")).to_be_visible(timeout=GENEROUS)
        assert canvas.evaluate("canvas => canvas.isTheSame && Chart.getChart(canvas) === window.drawing")
        assert canvas.evaluate(DRAWN)["series"][1] == ["Succeeded", [35]]
        assert page.evaluate("Object.keys(Chart.instances).length") == 2
        passes()
        page.emulate_media(color_scheme="dark")
        passes()
