"""A Supplier keeps a group and its windows, and sees them in the week, in a real browser."""

from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub
from portal.ground.uk_time import LONDON
from scheduling.models import HubGroup, ProtectedWindow
from tests.browser.conftest import Passes, SignIn
from tests.scheduling.world import World


class TestASupplier:
    def test_keeps_a_group_protects_it_by_a_file_and_sees_the_week(
        self,
        world: World,
        page: Page,
        live_server: LiveServer,
        sign_in: SignIn,
        passes: Passes,
        tmp_path: Path,
    ) -> None:
        hub = CommunicationsHub.objects.filter(import_supplier=world.northern).order_by("chf_id")[0]
        tomorrow = (world.clock() + timedelta(days=1)).astimezone(LONDON).date()
        file = tmp_path / "windows.csv"
        file.write_text(
            "kind,reason,scope,group,from,to\n"
            f"history,Half-hourly reads,group,flats,{tomorrow} 02:00,{tomorrow} 06:00\n"
            f"history,Half-hourly reads,group,towers,{tomorrow} 02:00,{tomorrow} 06:00\n"
        )

        sign_in(world.person)
        page.get_by_role("link", name="Groups").click()
        passes()
        page.get_by_role("link", name="New group").click()
        passes()
        page.get_by_label("Name").fill("Flats")
        page.get_by_label("CHF IDs, MPANs or MPRNs").fill(f"{format_eui64(hub.chf_id)}, nonsense")
        page.get_by_role("button", name="Keep this group").click()
        expect(page.get_by_text("“Flats” is kept, with 1 hub.")).to_be_visible()
        expect(page.get_by_role("cell", name="Not a CHF ID, MPAN or MPRN")).to_be_visible()
        passes()
        page.get_by_role("link", name="Back to Flats").click()
        expect(page.get_by_role("link", name=format_eui64(hub.chf_id))).to_be_visible()
        passes()

        page.get_by_role("link", name="Windows", exact=True).click()
        page.get_by_role("link", name="From a file").click()
        passes()
        page.get_by_label("CSV file").set_input_files(file)
        page.get_by_role("button", name="Keep these windows").click()
        expect(page.get_by_text("“towers” is not one of your groups.")).to_be_visible()
        passes()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download the refused rows").click()
        assert "towers" in download.value.path().read_text()

        page.get_by_role("link", name="Protected windows").first.click()
        page.get_by_role("link", name="Week").click()
        if tomorrow.weekday() == 0:
            page.get_by_role("link", name="Week after").click()
        expect(page.get_by_role("cell", name="1 hub of the group “Flats”")).to_be_visible()
        passes()
        page.get_by_role("link", name="Change History retrieval").click()
        passes()
        page.get_by_label("Soft: warn when booking").check()
        page.get_by_role("button", name="Save the change").click()
        expect(page.get_by_text("The window is changed.")).to_be_visible()
        passes()

        assert not ProtectedWindow.objects.get().is_hard
        assert HubGroup.objects.get().hubs == 1
