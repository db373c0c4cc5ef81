"""How many clicks and fields the two journeys take that everybody takes, counted in the page."""

from datetime import datetime, time, timedelta

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from firmware.models import RolloutPolicy
from hubs.models import CommunicationsHub, HubStatus
from hubs.operations import count_fleet
from portal.ground import sql
from portal.ground.uk_time import LONDON
from portal.models import User
from scheduling.models import Booking, Slot
from tests.benchmarks.database import plain_columns
from tests.browser.counting import count, counted, forget
from tests.factories import PASSWORD
from tests.scheduling.world import World

HUBS = 100_000
CLICKS = 10


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
