"""What a reconciliation found, in a browser: from the pass to its excess, in light and dark, wide and narrow."""

from datetime import timedelta

from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from scheduling.models import Finding, Mismatch, Reconciliation
from tests.browser.accessibility import accessible
from tests.browser.conftest import SignIn
from tests.scheduling.world import World


class TestWhatAReconciliationFound:
    def test_is_read_from_the_pass_to_each_finding(
        self, page: Page, live_server: LiveServer, world: World, sign_in: SignIn
    ) -> None:
        now = world.clock()
        found = Reconciliation.objects.create(
            started_at=now, finished_at=now, log_from=0, log_to=0, log_done=True, lots_done=True
        )
        Finding.objects.create(
            reconciliation=found,
            kind=Mismatch.UNADMITTED,
            subject="ACTIVATE 7/1",
            is_excess=True,
            words=f"Received with image {'5e' * 32}.",
            found_at=now,
            acted_at=now + timedelta(seconds=1),
        )
        Finding.objects.create(
            reconciliation=found,
            kind=Mismatch.SLOT,
            subject="slot 9",
            is_excess=False,
            words="4 places are taken, 5 hubs are in its lots.",
            found_at=now,
        )

        sign_in(world.staff)
        page.goto(live_server.url + reverse("admin:scheduling_reconciliation_changelist"))
        accessible(page)
        page.get_by_role("link", name="1 excess, 1 difference").click()
        expect(page.get_by_text("2 findings")).to_be_visible()
        page.get_by_role("link", name="Excess", exact=True).click()
        expect(page.get_by_text("1 finding", exact=True)).to_be_visible()
        expect(page.get_by_text("ACTIVATE 7/1: Received with image")).to_be_visible()
        accessible(page)
        page.set_viewport_size({"width": 390, "height": 844})
        page.emulate_media(color_scheme="dark")
        accessible(page)
        assert page.locator("#result_list").evaluate("table => table.scrollHeight") < 844
