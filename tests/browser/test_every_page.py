"""Every page of the portal's own is held against axe, in the light and in the dark; a route that is none says why."""

import pytest
from django.conf import settings
from django.test import Client
from django.urls import get_resolver
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from portal.ground import clock
from tests.browser.accessibility import accessible
from tests.portal.every_page import NO_PAGES, PAGES
from tests.portal.matrix import Cast, routes
from tests.scheduling import world as worlds
from tests.signing_in import known_recently

DRAWN_BY_DJANGO = ("#changelist-filter", "#toolbar", "#changelist-form", ".inline-group", ".selector")


@pytest.fixture
def cast(transactional_db: None) -> Cast:
    """Make one of everything."""
    made = Cast(worlds.make(now=clock.now()))
    made.rows  # noqa: B018 - made before anybody asks
    return made


class TestEveryPage:
    @pytest.mark.parametrize("who", PAGES)
    def test_passes_axe_in_the_light_and_in_the_dark(
        self, who: str, cast: Cast, page: Page, live_server: LiveServer
    ) -> None:
        person = next(one for column in cast.people.values() for name, one in column.items() if name == who)
        client = Client()
        if person is not None:
            known_recently(client=client, person=person)
            session = client.cookies[settings.SESSION_COOKIE_NAME].value
            page.context.add_cookies(
                [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
            )
        faults, seen = [], 0
        for make in PAGES[who]:
            for name, address in make(cast).items():
                if name in NO_PAGES:
                    continue
                answer = page.goto(f"{live_server.url}/{address.lstrip('/')}")
                assert answer is not None
                assert answer.status == 200, f"{name} at {address}: {answer.status}"
                assert page.url.partition("?")[0].endswith(address.partition("?")[0]), (
                    f"{name} leads to {page.url}"
                )
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                    try:
                        accessible(page, without=DRAWN_BY_DJANGO if "/admin/" in address else ())
                    except AssertionError as fault:
                        faults.append(f"{name}, {scheme}: {fault}")
                seen += 1
        assert not faults, "\n".join(faults)
        assert seen > 3

    def test_is_on_one_of_these_lists(self, cast: Cast) -> None:
        listed = {name for makers in PAGES.values() for make in makers for name in make(cast)}
        of_tables = {name for name in set(routes(get_resolver())) if name.startswith("admin:")}
        ours = set(routes(get_resolver())) - of_tables

        assert ours <= listed | NO_PAGES
        assert listed & NO_PAGES == NO_PAGES
