"""What people print is black on white, whatever their screen, and neither cut at the side nor full of menus."""

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from portal.ground import clock
from tests.portal.matrix import Cast
from tests.portal.test_matrix import staff_address
from tests.scheduling import world as worlds
from tests.scheduling.addresses import address_of
from tests.signing_in import known_recently

PAPER = 702
"""Pixels across A4 between its margins."""
PRINTED = {
    "northern administrator": (
        *(
            "scheduling:home",
            "scheduling:release",
            "scheduling:check",
            "scheduling:booking",
            "scheduling:booked-hubs",
        ),
        *("scheduling:consents", "scheduling:consent", "scheduling:hub", "scheduling:week", "record"),
        "scheduling:results",
    ),
    "superuser": ("capacity", "control-room", "release-report", "rehearsal", "health", "roles"),
}
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
CUT = """[...document.querySelectorAll("table, svg, pre")]
    .filter(one => one.offsetParent !== null && one.parentElement.scrollWidth > one.parentElement.clientWidth + 1)
    .map(one => one.parentElement.outerHTML.slice(0, 120))"""


@pytest.fixture
def cast(transactional_db: None) -> Cast:
    """Make one of everything."""
    made = Cast(worlds.make(now=clock.now()))
    made.rows  # noqa: B018 - made before anybody asks
    return made


@pytest.mark.parametrize("who", PRINTED)
def test_pages_that_people_print_fit_the_paper(
    who: str, cast: Cast, page: Page, live_server: LiveServer
) -> None:
    person = next(one for column in cast.people.values() for name, one in column.items() if name == who)
    assert person is not None
    client = Client()
    known_recently(client=client, person=person)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
    )
    page.set_viewport_size({"width": PAPER, "height": 1000})
    page.emulate_media(color_scheme="dark", media="print")

    for route in PRINTED[who]:
        room, _, name = route.rpartition(":")
        address = (
            address_of(name, cast)
            if room
            else reverse(route)
            if route == "record"
            else staff_address(route, cast)
        )
        page.goto(f"{live_server.url}/{address.lstrip('/')}")
        assert not page.evaluate(WIDER), f"{route} is wider than the paper"
        assert page.evaluate(CUT) == [], f"{route} is cut"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", route
        for menu in (".masthead .nav-row", "#nav-sidebar", "#user-tools", ".btn", ".skip-link"):
            for one in page.locator(menu).all():
                expect(one).to_be_hidden()
