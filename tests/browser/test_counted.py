"""How many clicks and fields the two journeys take that everybody takes, counted in the page."""

from datetime import datetime, time, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.contrib.auth.models import Group
from django.test import Client
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from firmware import images
from firmware.models import FirmwareRelease, ReleaseState, RolloutPolicy
from hubs.models import CommunicationsHub, HubStatus, Network
from hubs.operations import count_fleet
from portal.ground import sql
from portal.ground.roles import DccRole
from portal.ground.uk_time import LONDON
from portal.models import User
from scheduling.models import Booking, Slot
from tests.benchmarks.database import plain_columns
from tests.browser.counting import count, counted, forget
from tests.factories import PASSWORD
from tests.scheduling.world import NEW, World
from tests.signing_in import known_recently

HUBS = 100_000
CLICKS = 10
FIELDS_AND_CLICKS = 15
NEWER = NEW + 1


@pytest.fixture(autouse=True)
def counting(page: Page) -> None:
    """Count from the first page on."""
    count(page.context)


def sign_in_as(person: User, page: Page, live_server: LiveServer) -> None:
    """Fill the form in, begin to count, and press the button."""
    page.goto(f"{live_server.url}/accounts/login/")
    page.get_by_label("E-mail address").fill(person.email)
    page.get_by_label("Password").fill(PASSWORD)
    forget(page)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Sign in")


ELSEWHERE = 0x00DB12F000000000
"""A CHF ID far from those of other hubs."""
# one hub, so many times over
COPIES = """
INSERT INTO hubs_communicationshub ({columns})
SELECT {values} FROM hubs_communicationshub, generate_series(1, %(hubs)s) AS number WHERE chf_id = %(like)s
"""


def a_hundred_thousand(world: World) -> None:
    """Give the northern Supplier 100,000 hubs to book, and slots for them on each of the next nights."""
    [first] = world.hubs(1, chf_id=ELSEWHERE)
    columns = plain_columns("hubs_communicationshub")
    values = columns.replace("chf_id", "chf_id + 16 * number").replace("gpf_id", "gpf_id + 16 * number")
    has = CommunicationsHub.objects.filter(lead_id=world.northern.pk, status=HubStatus.COMMISSIONED).count()
    sql.run(COPIES.format(columns=columns, values=values), {"hubs": HUBS - has, "like": first.chf_id})
    count_fleet(now=world.clock())
    RolloutPolicy.objects.update(fair_share_until="90 days")
    today = world.clock().astimezone(LONDON).date()
    for day in range(2, 9):
        for hour in (2, 3, 4):
            at = datetime.combine(today + timedelta(days=day), time(hour), LONDON)
            Slot.objects.create(
                network=world.network, start_at=at, end_at=at + timedelta(hours=1), capacity=20_000
            )


class TestASuppliersFirstBooking:
    def test_of_100_000_hubs_over_three_nights_takes_at_most_ten_clicks(
        self, world: World, page: Page, live_server: LiveServer
    ) -> None:
        a_hundred_thousand(world)

        sign_in_as(world.person, page, live_server)
        page.get_by_role("link", name="Book 100,000 hubs").first.click()
        page.get_by_role("button", name="Go on: when").click()
        page.get_by_role("link", name="Three nights").click()
        page.get_by_role("button", name="Book 100,000 hubs").click()
        expect(page.get_by_role("heading", name="0 of 100,000 hubs have ended")).to_be_visible()

        done = counted(page)
        done = done[done.index("click: Sign in") :]
        assert len(done) <= CLICKS, "\n".join(done)
        booking = Booking.objects.get()
        assert (booking.hubs, booking.unplaced) == (HUBS, 0)
        nights = {
            start.astimezone(LONDON).date()
            for start in Slot.objects.filter(taken__gt=0).values_list("start_at", flat=True)
        }
        assert len(nights) == 3


def of_dcc(role: DccRole) -> User:
    """Return somebody of DCC in a role, who has a password."""
    person = User.objects.create_user(
        email=f"{role.name.lower()}@counted.example.com", is_staff=True, password=PASSWORD
    )
    person.groups.add(Group.objects.get(name=role))
    return person


class TestAnAuthorsRelease:
    """Each network has the period that the policy lets it have; nobody types one."""

    @pytest.fixture
    def image(self, world: World, tmp_path: Path) -> Path:
        """Write an image that is newer than the one released."""
        file = tmp_path / "hub.ota"
        file.write_bytes(
            images.build(
                blueprint=images.Blueprint(
                    manufacturer=world.model.manufacturer,
                    image_type=world.model.image_type,
                    version=NEWER,
                    payload=2_000,
                ),
                seed=1,
                key=ec.generate_private_key(ec.SECP256R1()),
            )
        )
        return file

    def test_takes_at_most_fifteen_fields_and_clicks_to_publish_and_the_approver_four(
        self, world: World, image: Path, page: Page, browser: Browser, live_server: LiveServer
    ) -> None:
        self.sign_in(of_dcc(DccRole.AUTHOR), page, live_server)
        page.goto(f"{live_server.url}/admin/")
        forget(page)
        page.locator("#content-main").get_by_role("row", name="Firmware releases").get_by_role(
            "link", name="Add"
        ).click()
        page.get_by_label("Name:", exact=True).fill("Summer release")
        page.get_by_label("CPL Entry ID:", exact=True).first.fill("CPL-SUMMER")
        page.get_by_label("Version:", exact=True).first.fill(f"{NEWER:08X}")
        page.get_by_label("CPL hash (SHA-256)").fill(images.digest_of([image.read_bytes()]))
        page.get_by_label("Image file").set_input_files(image)
        page.get_by_label(world.model.name).check()
        page.locator("#id_notes").fill("Mends the clock for good.")
        expect(page.locator("#id_contact")).to_have_value(world.release.contact)
        page.locator("#id_has_no_predecessor").check()
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_role("link", name="Submit for sign-off").click()
        page.get_by_role("button", name="Submit for sign-off").click()
        expect(page.get_by_text("Submitted. Somebody other than you")).to_be_visible()
        release = FirmwareRelease.objects.get(name="Summer release")

        of_approver = self.sign_off(release, browser, live_server)

        page.reload()
        page.get_by_role("link", name="Publish").click()
        page.get_by_role("button", name="Publish").click()
        expect(page.get_by_text("Summer release: Published.")).to_be_visible()
        done = counted(page)
        assert len(done) <= FIELDS_AND_CLICKS, "\n".join(done)
        assert len(of_approver) <= 4, "\n".join(of_approver)
        release.refresh_from_db()
        assert release.state == ReleaseState.PUBLISHED
        assert release.periods.count() == Network.objects.count()

    def sign_in(self, person: User, page: Page, live_server: LiveServer) -> None:
        """Be signed in with a password given a moment ago; a second factor is another story."""
        client = Client()
        known_recently(client=client, person=person)
        name = settings.SESSION_COOKIE_NAME
        page.context.add_cookies(
            [{"name": name, "value": client.cookies[name].value, "url": live_server.url}]
        )

    def sign_off(self, release: FirmwareRelease, browser: Browser, live_server: LiveServer) -> list[str]:
        """Have an approver find the release and sign it off; return what that took."""
        context = browser.new_context()
        count(context)
        page = context.new_page()
        self.sign_in(of_dcc(DccRole.APPROVER), page, live_server)
        page.goto(f"{live_server.url}/admin/")
        forget(page)
        page.locator("#content-main").get_by_role("link", name="Firmware releases").click()
        page.get_by_role("link", name=release.name).click()
        page.get_by_role("link", name="Sign off publication").click()
        page.get_by_role("button", name="Sign off publication").click()
        expect(page.get_by_text("Signed off. A release manager can publish it now.")).to_be_visible()
        done = counted(page)
        context.close()
        return done
