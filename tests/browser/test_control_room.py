"""A release goes bad while one watches: the control room says why it was halted, and its Supplier reads the same."""

import re

from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from firmware.models import RolloutPolicy
from portal.ground import clock
from scheduling.lifecycle import Ending, State
from scheduling.operations import halts
from tests.browser.conftest import Passes, SignIn
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.world import World

GENEROUS = 60_000
"""Milliseconds: a machine that is busy with other tests still shows it."""
WHY = re.compile(
    r"Early warning: of 50 hubs .* that were activated, 20 are bad \(40\.0%\), where 0\.75% are tolerated"
)


class TestControlRoom:
    def test_tells_the_same_story_as_the_suppliers_page(
        self, page: Page, live_server: LiveServer, world: World, sign_in: SignIn, passes: Passes
    ) -> None:
        RolloutPolicy.objects.update(tolerated_bad_percent="0.75")
        stage(world, 60)
        sign_in(world.staff)
        page.get_by_role("link", name="Control room").first.click()
        card = page.get_by_role("article", name="Spring release")
        expect(page.get_by_text("1 release: 1 healthy")).to_be_visible()
        expect(card.get_by_text("From the first activated hub on")).to_be_visible()
        passes()

        activate(50)
        end(25, world=world, state=State.SUCCEEDED)
        assert halts.watch(now=clock.now()) == 0
        expect(card.get_by_role("row", name="Model").get_by_text("0 % of the limit")).to_be_visible(
            timeout=GENEROUS
        )
        card.get_by_text("The same as numbers").first.click()
        numbers = card.get_by_role("table", name="Highest share of its limit")
        expect(numbers).to_be_visible()
        passes()

        end(20, world=world, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        assert halts.watch(now=clock.now()) == 1
        expect(page.get_by_text("1 release: 1 halted")).to_be_visible(timeout=GENEROUS)
        expect(card.get_by_text(WHY)).to_be_visible()
        expect(card.get_by_text("by the portal itself")).to_be_visible()
        expect(card.get_by_text("50 hubs had been commanded to activate")).to_be_visible()
        expect(card.get_by_text("5 have yet to answer").first).to_be_visible()
        expect(card.get_by_text("10 staged hubs")).to_be_visible()
        expect(card.get_by_text("beyond the limit").first).to_be_visible()
        expect(numbers).to_be_visible()  # what was opened stays open
        passes()
        page.emulate_media(color_scheme="dark")
        passes()
        page.set_viewport_size({"width": 390, "height": 844})
        passes()
        page.emulate_media(color_scheme="light")
        passes()

        page.goto("about:blank")
        sign_in(world.person)
        expect(page.get_by_text("Halted", exact=True).first).to_be_visible()
        page.goto(f"{live_server.url}/releases/{world.release.pk}/")
        expect(page.get_by_text(WHY)).to_be_visible()
        national = page.get_by_role("region", name="In Great Britain")
        expect(national.get_by_text("Halted", exact=True)).to_be_visible()
        expect(national.get_by_text("50 hubs, of which 5 have yet to answer")).to_be_visible()
        expect(national.get_by_text("20 hubs: 20 failed")).to_be_visible()
        expect(national.get_by_text("beyond the limit")).to_be_visible()
        passes()
        page.emulate_media(color_scheme="dark")
        passes()
        page.set_viewport_size({"width": 1366, "height": 900})
        passes()
