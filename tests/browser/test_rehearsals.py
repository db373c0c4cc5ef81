"""Whoever publishes a release rehearses it first, and watches what a defect would come to."""

from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from hubs.operations import count_fleet
from portal import tasks
from portal.ground import clock
from tests.browser.conftest import Passes, SignIn
from tests.scheduling.world import World

PATIENCE = 240_000
"""Milliseconds; a process begins in some seconds, and the machine may be busy with others."""


class TestARehearsal:
    def test_is_asked_for_watched_and_drawn(
        self, page: Page, live_server: LiveServer, world: World, sign_in: SignIn, passes: Passes
    ) -> None:
        world.hubs(20)
        count_fleet(now=clock.now())
        sign_in(world.staff)
        page.goto(f"{live_server.url}/admin/firmware/firmwarerelease/{world.release.pk}/change/")
        page.get_by_role("link", name="Rehears").first.click()
        expect(page.get_by_role("heading", name="Rehearse Spring release")).to_be_visible()
        passes()
        page.get_by_role("spinbutton", name="Hubs", exact=True).fill("3000")
        page.get_by_role("spinbutton", name="Defect").fill("20")
        page.get_by_role("button", name="Rehearse").click()

        expect(page.get_by_text("Waiting for its turn")).to_be_visible()
        passes()
        tasks.start_rehearsals()
        expect(page.get_by_role("heading", name="Hubs commanded, stage by stage")).to_be_visible(
            timeout=PATIENCE
        )
        passes()
        page.emulate_media(color_scheme="dark")
        passes()
        page.set_viewport_size({"width": 390, "height": 844})
        passes()

        page.get_by_role("link", name="All rehearsals of Spring release").click()
        expect(page.get_by_role("table")).to_contain_text("Done")
        passes()
