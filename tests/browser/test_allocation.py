"""What happens when nobody books: the Supplier moves a part out of DCC's allocation, and DCC decides about the rest."""

import re
from datetime import timedelta

from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from firmware.models import AvailabilityPeriod
from firmware.operations import groups as staff_groups
from hubs.identifiers import format_eui64
from portal.ground.uk_time import LONDON
from portal.models import User
from scheduling.models import Booking, Deployment, HubException, Slot
from scheduling.operations import allocations
from tests.browser.accessibility import accessible
from tests.browser.conftest import Passes, SignIn
from tests.factories import PASSWORD
from tests.scheduling.test_exceptions import member
from tests.scheduling.world import World

DAY = timedelta(days=1)


def its_day_has_come(world: World) -> None:
    """Let this be the moment of the allocation, whatever day of the week it is."""
    now = world.clock()
    AvailabilityPeriod.objects.update(
        start_at=now - 67 * DAY - timedelta(milliseconds=1), end_at=now + 33 * DAY
    )


def of_dcc(name: str, group: str) -> User:
    person = member(f"{name}@dcc.example.com", group)
    person.set_password(PASSWORD)
    person.save()
    return person


class TestASupplier:
    def test_moves_a_part_out_of_what_dcc_allocated(
        self, world: World, page: Page, sign_in: SignIn, passes: Passes
    ) -> None:
        sign_in(world.person)
        expect(page.get_by_text("DCC allocates to slots: 3 hubs of yours as of now.")).to_be_visible()
        passes()
        page.get_by_role("heading", name="Spring release").get_by_role("link").click()
        expect(page.get_by_role("heading", name="About this release")).to_be_visible()
        expect(page.get_by_text("DCC allocates to slots: 3 hubs of yours as of now.")).to_be_visible()
        passes()

        its_day_has_come(world)
        allocated = world.slot(start=15 * DAY, room=5)
        allocations.allocate(clock=world.clock)
        booking = Booking.objects.get(supplier=world.northern)
        start = (world.clock() + 20 * DAY).replace(second=0, microsecond=0)
        later = world.slot(start=start - world.clock(), room=5)
        hub = Deployment.objects.order_by("hub").values_list("hub_id", flat=True)[0]

        page.get_by_role("link", name="Bookings", exact=True).click()
        expect(page.get_by_role("row", name=re.compile(booking.reference))).to_contain_text("DCC")
        page.get_by_role("link", name=booking.reference).click()
        expect(page.get_by_text("Allocated by DCC on")).to_be_visible()
        expect(page.get_by_text("3 hubs were not booked by then.")).to_be_visible()
        passes()
        page.get_by_role("link", name="Move, or change a part").click()
        page.get_by_label("CHF IDs").fill(format_eui64(hub))
        page.get_by_label("Move them to the slot that begins on").check()
        local = later.start_at.astimezone(LONDON)
        page.get_by_label("Day and time").fill(f"{local:%Y-%m-%dT%H:%M}")
        page.get_by_role("button", name="Show what would happen").click()
        page.get_by_label("Why?").fill("A tariff change is due")
        page.get_by_role("button", name="Move 1 hub").click()

        expect(page.get_by_text("A tariff change is due")).to_be_visible()
        passes()
        assert [Slot.objects.get(pk=slot.pk).taken for slot in (allocated, later)] == [3, 1]


class TestDcc:
    def test_decides_about_what_found_no_slot(
        self, world: World, page: Page, live_server: LiveServer, sign_in: SignIn, passes: Passes
    ) -> None:
        manager = of_dcc("manager", staff_groups.OPERATIONS)
        second = of_dcc("second", staff_groups.APPROVERS)
        its_day_has_come(world)
        for supplier in (world.northern, world.southern):
            world.protect(start=15 * DAY, supplier=supplier)
        slot = world.slot(start=15 * DAY, room=5)
        allocations.allocate(clock=world.clock)
        queue = f"{live_server.url}/admin/scheduling/hubexception/"

        sign_in(manager)
        page.goto(queue)
        row = page.get_by_role("row", name=re.compile("Northern"))
        expect(row).to_contain_text("No clear slot at the default allocation")
        accessible(page)
        row.get_by_role("link", name=re.compile("See and decide")).click()
        expect(page.get_by_text("3 hubs open")).to_be_visible()
        accessible(page)
        page.get_by_role("link", name="Ask for an override").click()
        page.get_by_label("Reason").fill("A fault that could reach the meters")
        accessible(page)
        page.get_by_role("button", name="Ask for an override").click()
        expect(page.get_by_text("Another person has to approve it.")).to_be_visible()
        page.get_by_role("link", name=re.compile("Look at it")).click()
        expect(page.get_by_text("somebody else has to approve it")).to_be_visible()
        expect(page.get_by_role("button", name="Approve the override")).to_have_count(0)
        accessible(page)

        sign_in(second)
        page.goto(queue)
        page.get_by_role("link", name=re.compile("Look at it")).click()
        expect(page.get_by_role("button", name="Approve the override")).to_be_visible()
        accessible(page)
        page.get_by_role("button", name="Approve the override").click()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_text("Its 3 hubs are booked within a minute.")).to_be_visible()
        allocations.allocate(clock=world.clock)
        assert Slot.objects.get(pk=slot.pk).taken == 3
        assert not HubException.objects.filter(ended_at=None, supplier=world.northern).exists()

        sign_in(manager)
        page.goto(queue)
        page.get_by_role("row", name=re.compile("Southern")).get_by_role(
            "link", name=re.compile("See and decide")
        ).click()
        page.get_by_role("link", name="Exempt", exact=True).click()
        page.get_by_label("Expires (UK time)").fill(
            f"{(world.clock() + DAY).astimezone(LONDON):%Y-%m-%dT%H:%M}"
        )
        page.get_by_label("Reason").fill("Hospital")
        accessible(page)
        page.get_by_role("button", name="Exempt").click()
        expect(page.get_by_text("Nothing waits for a decision.")).to_be_visible()
        accessible(page)
        page.get_by_role("link", name="Exemptions").first.click()
        page.get_by_role("link", name="Spring release (CPL-01000002)").click()
        expect(page.get_by_role("link", name="End it early")).to_be_visible()
        accessible(page)
        page.get_by_role("link", name="End it early").click()
        expect(page.get_by_role("heading", name="End an exemption")).to_be_visible()
        accessible(page)

        sign_in(world.person)
        page.get_by_role("link", name=Booking.objects.get(supplier=world.northern).reference).first.click()
        expect(page.get_by_text("Its reason: A fault that could reach the meters")).to_be_visible()
        passes()
