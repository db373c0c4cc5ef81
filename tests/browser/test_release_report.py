"""After a halt: what the bad hubs have in common, which they are, and a pack that proves it."""

from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from firmware.models import RolloutPolicy
from hubs.identifiers import format_eui64
from hubs.operations import count_fleet
from portal.ground import clock
from scheduling import packs
from scheduling.lifecycle import Ending, State
from scheduling.models import BadHub
from scheduling.operations import halts
from tests.browser.conftest import Passes, SignIn
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.world import World

STANDS_OUT = "Of the 7 bad hubs 6 with hardware version 0003."


class TestAfterAHalt:
    def test_leads_from_the_control_room_to_the_hubs_and_to_the_proof(
        self, page: Page, live_server: LiveServer, world: World, sign_in: SignIn, passes: Passes
    ) -> None:
        RolloutPolicy.objects.update(tolerated_bad_percent="0.75")
        stage(world, 40)
        stage(world, 10, hardware_version=3)
        count_fleet(now=clock.now())
        activate(50)
        end(6, world=world, state=State.FAILED, ending=Ending.ACTIVATION_FAILED, hub__hardware_version=3)
        end(1, world=world, state=State.FAILED, ending=Ending.WRONG_VERSION)
        assert halts.watch(now=clock.now()) == 1
        sign_in(world.staff)
        page.get_by_role("link", name="Control room").first.click()
        card = page.get_by_role("article", name="Spring release")
        expect(card.get_by_text(STANDS_OUT)).to_be_visible()
        expect(card.get_by_role("row", name="with hardware version 0003")).to_contain_text("look into it")
        passes()

        card.get_by_role("link", name="The hubs concerned").click()
        expect(page.get_by_role("heading", name="Bad hubs: Spring release")).to_be_visible()
        for bad in BadHub.objects.all():
            expect(page.get_by_role("row", name=format_eui64(bad.hub_id))).to_be_visible()
        passes()
        with page.expect_download() as list_of_hubs:
            page.get_by_role("link", name="Take all of them (CSV)").click()
        assert len(list_of_hubs.value.path().read_text().splitlines()) == 8

        page.get_by_role("link", name="Report: Spring release").click()
        expect(page.get_by_role("heading", name="Report: Spring release")).to_be_visible()
        expect(page.get_by_text("50 hubs had been commanded to activate.")).to_be_visible()
        expect(page.get_by_text(STANDS_OUT).first).to_be_visible()
        passes()
        page.emulate_media(color_scheme="dark")
        passes()
        page.set_viewport_size({"width": 390, "height": 844})
        passes()
        with page.expect_download() as taken:
            page.get_by_role("button", name="Take the evidence pack").click()
        published = page.request.get(f"{live_server.url}/evidence-key.pem").text()
        with taken.value.path().open("rb") as file:
            assert packs.verify(file=file, key=packs.public_key(text=published)).holds
        expect(page.get_by_role("heading", name="Report: Spring release")).to_be_visible()

        sign_in(world.person)
        page.goto(f"{live_server.url}/releases/{world.release.pk}/")
        with page.expect_download() as own:
            page.get_by_role("link", name="Your own bad hubs").click()
        assert len(own.value.path().read_text().splitlines()) == 8
