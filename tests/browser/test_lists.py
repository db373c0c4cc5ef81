"""A list seen as one likes it, and taken away as a workbook, in a real browser."""

import io

from openpyxl import load_workbook
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub
from portal import tasks
from tests.browser.conftest import Passes, SignIn
from tests.scheduling.world import World


class TestASupplier:
    def test_chooses_columns_turns_the_order_and_takes_the_list_away(
        self, world: World, page: Page, live_server: LiveServer, sign_in: SignIn, passes: Passes
    ) -> None:
        ids = [
            format_eui64(hub.chf_id)
            for hub in CommunicationsHub.objects.filter(lead_id=world.northern.pk).order_by("-chf_id")
        ]
        sign_in(world.person)
        page.get_by_role("link", name="Hubs").first.click()

        page.get_by_text("Columns", exact=True).click()
        passes()
        page.get_by_label("GPF ID").check()
        page.get_by_label("Booked for").uncheck()
        page.get_by_role("button", name="Show these").click()
        expect(page.get_by_role("columnheader", name="GPF ID")).to_be_visible()
        expect(page.get_by_role("columnheader", name="Booked for")).to_have_count(0)

        page.get_by_role("link", name="CHF ID").click()
        expect(page.get_by_role("columnheader", name="CHF ID")).to_have_attribute("aria-sort", "descending")
        expect(page.get_by_role("row").nth(1)).to_contain_text(ids[0])
        passes()

        page.get_by_text("Save", exact=True).click()
        page.get_by_label("Keep this filter, order and columns as").fill("Downwards")
        passes()
        page.get_by_role("button", name="Keep", exact=True).click()
        expect(page.get_by_role("link", name="Downwards")).to_have_attribute("aria-current", "true")
        page.get_by_role("link", name="Hubs").first.click()
        page.get_by_role("link", name="Downwards").click()
        expect(page.get_by_role("row").nth(1)).to_contain_text(ids[0])
        passes()

        page.get_by_text("Export", exact=True).click()
        passes()
        page.get_by_role("button", name="XLSX").click()
        expect(page.get_by_role("heading", name="Waiting")).to_be_visible()
        passes()
        tasks.make_exports()
        expect(page.get_by_text("The file is ready.")).to_be_visible()
        passes()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download XLSX").click()

        sheet = load_workbook(io.BytesIO(download.value.path().read_bytes())).active
        assert sheet is not None
        heads, *rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
        assert heads[:3] == ["CHF ID", "GPF ID", "Network"]
        assert "Booked for" not in heads
        assert [row[0] for row in rows] == ids

        page.get_by_role("link", name="Your exports").click()
        expect(page.get_by_role("row", name="Hubs").get_by_role("link", name="Download")).to_be_visible()
        passes()

        page.goto(f"{live_server.url}/filters/")
        passes()
        page.get_by_role("link", name="Rename or delete Downwards").click()
        passes()
        page.get_by_label("Name").fill("From the top")
        page.get_by_role("button", name="Rename").click()
        expect(page.get_by_role("link", name="From the top", exact=True)).to_be_visible()
