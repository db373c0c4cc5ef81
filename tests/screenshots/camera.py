"""A server that shows the scene at its moment, and a browser that looks at it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from unittest import mock

from django.conf import settings
from django.db import connection
from django.template import defaulttags
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Error, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from portal.models import User
from tests.browser.accessibility import AT_REST
from tests.screenshots.world import MOMENT, Scene
from tests.serving import as_in_production, launch_terms
from tests.signing_in import known_recently

SCHEMES = ("light", "dark")
HEIGHTS = {360: 780, 1366: 768, 1920: 1080}
"""How high a screen of each width is."""
MOST_SHIFT = 0.1
"""More is called poor: what one was about to press has moved away."""
NO_BROWSER = (
    "Pictures are taken by a browser, and there is none on this machine: install one (on Debian and Ubuntu: "
    "apt install chromium), then run the same command again."
)
FROZEN = f"""
CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
AS $$ SELECT timestamptz '{MOMENT.isoformat()}' $$
"""
WATCH_SHIFTS = """
window.shifted = 0;
window.movers = new Set();
new PerformanceObserver(list => {
    for (const entry of list.getEntries()) {
        if (entry.hadRecentInput) continue;
        window.shifted += entry.value;
        for (const {node} of entry.sources) window.movers.add(node?.id || node?.className || node?.nodeName);
    }
}).observe({type: "layout-shift", buffered: true});
"""


class UnableToPicture(Exception):
    """No picture was taken; the message says why and what to do."""


class _Moment(datetime):
    """The moment of the scene, to what asks the machine's clock and not the database's."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_Moment":
        """Return it."""
        return cls.fromtimestamp(MOMENT.timestamp(), tz)


@contextmanager
def frozen() -> Iterator[None]:
    """Let the database's clock, and ours, stand still at the moment of the scene."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(FROZEN)
        cursor.execute(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    connection.close()
    with (
        mock.patch.object(timezone, "now", return_value=MOMENT),
        mock.patch.object(defaulttags, "datetime", _Moment),
    ):
        yield


@contextmanager
def served() -> Iterator[str]:
    """Serve the portal as production does; yield its address."""
    # a connection that a thread kept for its next request would keep the database from being dropped
    with as_in_production(), mock.patch.dict(connection.settings_dict, {"CONN_MAX_AGE": 0}):
        server = LiveServer("127.0.0.1")
        try:
            yield server.url
        finally:
            server.stop()


def sessions(*, scene: Scene) -> dict[str, str]:
    """Sign everybody in; return what the browser of each bears, and nothing for a stranger."""
    found = {}
    for column in scene.people.values():
        for who, person in column.items():
            found[who] = _session(person)
    return found


def _session(person: User | None) -> str:
    if person is None:
        return ""
    client = Client()
    known_recently(client=client, person=person)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@dataclass(slots=True)
class Camera:
    """Takes pictures, and keeps what is wrong with the pages that it saw."""

    browser: Browser
    address: str
    bears: Mapping[str, str]
    faults: list[str] = field(default_factory=list)
    _pages: dict[str, Page] = field(default_factory=dict)
    _what: str = ""

    def show(
        self, *, who: str, address: str, width: int, height: int | None = None, what: str, status: int = 200
    ) -> Page:
        """
        Open a page as somebody, in a window of a width, and note what is wrong with it.

        `what` is what the page is called, `status` what it is to answer.
        """
        page = self._page(who)
        self._what = f"{what}, {width}"
        page.set_viewport_size({"width": width, "height": height or HEIGHTS[width]})
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        answer = page.goto(f"{self.address}{address}")
        self._settle(page)
        if answer is not None and answer.status != status:
            self._fault(f"answered {answer.status}")
        shifted = page.evaluate("window.shifted")
        if shifted > MOST_SHIFT:
            movers = page.evaluate("[...window.movers].join(', ')")
            self._fault(f"its layout shifts by {shifted:.2f} ({movers})")
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            self._fault(f"scrolls sideways by {wide} px")
        return page

    def turn(self, *, page: Page, scheme: str) -> None:
        """Look at the page that is shown in another scheme."""
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.evaluate(AT_REST)

    @staticmethod
    def _settle(page: Page) -> None:
        page.wait_for_load_state()
        page.evaluate(AT_REST)

    def _fault(self, words: str) -> None:
        fault = f"{self._what}: {words}"
        if fault not in self.faults:
            self.faults.append(fault)

    def _said(self, kind: str, text: str) -> None:
        # a resource that is missing is told by its answer, which says which it is
        if kind == "error" and not text.startswith("Failed to load resource"):
            self._fault(text)

    def _page(self, who: str) -> Page:
        if who not in self._pages:
            context = self.browser.new_context(
                device_scale_factor=1, locale="en-GB", timezone_id="Europe/London"
            )
            if self.bears[who]:
                context.add_cookies(
                    [{"name": settings.SESSION_COOKIE_NAME, "value": self.bears[who], "url": self.address}]
                )
            context.add_init_script(WATCH_SHIFTS)
            page = context.new_page()
            page.clock.set_fixed_time(MOMENT)
            page.on("console", lambda said: self._said(said.type, said.text))
            page.on("pageerror", lambda error: self._fault(str(error)))
            page.on(
                "response",
                lambda answer: (
                    self._fault(f"{answer.url} answered {answer.status}")
                    if answer.status >= 400 and not answer.request.is_navigation_request()
                    else None
                ),
            )
            self._pages[who] = page
        return self._pages[who]


@contextmanager
def camera(*, scene: Scene) -> Iterator[Camera]:
    """
    Serve the scene at its moment and open a browser.

    :raises UnableToPicture: if there is no browser
    """
    terms = find_browser()
    with ExitStack() as ending:
        ending.enter_context(frozen())
        bears = sessions(scene=scene)
        ending.enter_context(mock.patch.dict(os.environ, {"DJANGO_ALLOW_ASYNC_UNSAFE": "true"}))
        address = ending.enter_context(served())
        player = ending.enter_context(sync_playwright())
        try:
            browser = player.chromium.launch(**terms)
        except Error as error:
            raise UnableToPicture(f"The browser does not start: {error.message.splitlines()[0]}") from error
        # beside the player's loop Django keeps another connection, which nobody would find to close it afterwards
        ending.callback(connection.close)
        ending.callback(browser.close)
        yield Camera(browser, address, bears)


def find_browser() -> dict[str, object]:
    """
    Return how to launch the browser of this machine.

    :raises UnableToPicture: if there is none
    """
    terms = launch_terms()
    if not terms:
        raise UnableToPicture(NO_BROWSER)
    return terms
