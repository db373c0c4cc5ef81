"""The health page in a browser: nothing yet, all well, and in trouble; it goes on by itself."""

from datetime import timedelta

from django.db.models import F
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from portal.ground import clock
from portal.heartbeat import Heart
from portal.models import Heartbeat
from scheduling.models import Deployment, Lot, Quarantine
from tests.browser.conftest import Passes, SignIn
from tests.scheduling.world import World

GENEROUS = 60_000
"""Milliseconds: a machine that is busy with other tests still shows it."""


class TestHealth:
    def test_shows_what_comes_and_goes_without_being_asked(
        self, page: Page, live_server: LiveServer, world: World, sign_in: SignIn, passes: Passes
    ) -> None:
        sign_in(world.staff)
        page.get_by_role("link", name="Health").first.click()
        expect(page.get_by_text("No worker and no beat has ever said that it lives.")).to_be_visible()
        expect(page.get_by_text("Start beat. Two do no harm.")).to_be_visible()
        passes()

        for kind in ("worker", "beat"):
            Heart(kind=kind, processes=4, doing=lambda: ("carry_out", 2.0)).beat()
        expect(page.get_by_text("All is well")).to_be_visible(timeout=GENEROUS)
        passes()

        Heartbeat.objects.filter(kind="worker").update(seen_at=F("seen_at") - timedelta(minutes=3))
        world.slot(start=timedelta(hours=3), room=10)
        world.book()
        Lot.objects.update(due_at=clock.now() - timedelta(minutes=7))
        Quarantine.objects.create(
            deployment_id=Deployment.objects.earliest("pk").pk,
            strikes=3,
            error="ValueError: not a report",
            last_at=clock.now(),
            since=clock.now(),
        )
        expect(page.get_by_text("4 things to look into")).to_be_visible(timeout=GENEROUS)
        expect(page.get_by_role("row", name="Worker").get_by_text("silent")).to_be_visible()
        expect(page.get_by_role("row").get_by_text("ValueError: not a report")).to_be_visible()
        expect(page.get_by_text("The oldest due lot has waited: 7 min")).to_be_visible()
        passes()

        page.set_viewport_size({"width": 390, "height": 844})
        page.emulate_media(color_scheme="dark")
        passes()
