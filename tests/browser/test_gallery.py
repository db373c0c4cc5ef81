"""The design language in a browser: no e-mail and no component is cut, too pale, or wider than a phone."""

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from portal import previews
from tests.browser.accessibility import accessible
from tests.factories import UserFactory
from tests.signing_in import known_recently

WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


class TestEmails:
    @pytest.mark.parametrize("name", previews.EMAILS)
    def test_can_be_read_in_a_narrow_and_in_a_dark_mail_program(self, name: str, page: Page) -> None:
        page.set_content(previews.EMAILS[name]().html)

        grounds = set()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for width in (700, 360, 320):
                page.set_viewport_size({"width": width, "height": 800})
                assert not page.evaluate(WIDER), f"{name} is wider than {width}"
            accessible(page)
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2


class TestComponents:
    @pytest.mark.parametrize("frame", ["admin", "suppliers"])
    def test_fit_a_phone_and_pass_axe_in_the_light_and_in_the_dark(
        self, frame: str, transactional_db: None, page: Page, live_server: LiveServer
    ) -> None:
        staff = UserFactory.create(is_superuser=True)
        client = Client()
        known_recently(client=client, person=staff)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        page.context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
        )

        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for width in (360, 1366, 1920):
                page.set_viewport_size({"width": width, "height": 900})
                page.goto(f"{live_server.url}/admin/gallery/?frame={frame}")
                assert not page.evaluate(WIDER), f"the gallery is wider than {width}"
            accessible(page)
