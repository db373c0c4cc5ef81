"""The site as production serves it, to a clock and to a browser: first byte, what is received, what moves."""

import contextlib
import http.client
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer
from django.core.wsgi import get_wsgi_application
from django.test import Client, override_settings
from django.test.testcases import QuietWSGIRequestHandler
from playwright.sync_api import Browser, Page, sync_playwright

from tests.benchmarks import database
from tests.benchmarks.world import Tell

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (360, 1366)
HEIGHT = 768
HOST = "localhost"  # a browser takes Brotli from nowhere else without TLS
AT_REST_MS = 300
"""How long nothing may have come before a page is called complete, after all that it asks for by itself."""
WATCH = """
window.shifted = 0;
new PerformanceObserver(seen => {
    for (const shift of seen.getEntries()) if (!shift.hadRecentInput) window.shifted += shift.value;
}).observe({type: "layout-shift", buffered: true});
"""


@contextlib.contextmanager
def as_in_production(*, tell: Tell) -> Iterator[None]:
    """Name and compress static files as production does, for as long as the block lasts."""
    tell("compressing static files")
    with (
        tempfile.TemporaryDirectory() as folder,
        override_settings(
            STATIC_ROOT=folder,
            WHITENOISE_USE_FINDERS=False,
            WHITENOISE_AUTOREFRESH=False,
            STORAGES={
                **settings.STORAGES,
                "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
            },
        ),
    ):
        call_command("collectstatic", interactive=False, verbosity=0)
        yield


def cookies(client: Client) -> dict[str, str]:
    """Return what a browser would hold of a client's session."""
    return {name: morsel.value for name, morsel in client.cookies.items()}


def looked_at(
    *,
    pages: Mapping[str, Mapping[str, str]],
    cookies: Mapping[str, Mapping[str, str]],
    requests: int,
    tell: Tell,
) -> dict[str, dict[str, Any]]:
    """
    Return of every page its first byte in ms at the median, and what a browser received and saw move.

    :raises UnableToMeasure: if there is no browser
    """
    seen: dict[str, dict[str, Any]] = {}
    with _server() as port:
        for who, addresses in pages.items():
            tell(f"the first byte of {len(addresses)} pages of {who}")
            for name, address in addresses.items():
                seen[name] = {"first_byte_ms": _first_byte(port, address, cookies[who], requests)}
        with _browser() as browser:
            for who, addresses in pages.items():
                tell(f"looking at {len(addresses)} pages of {who}")
                for name, look in _looks(browser, port, addresses, cookies[who]):
                    seen[name] |= look
    return seen


@contextlib.contextmanager
def _server() -> Iterator[int]:
    server = ThreadedWSGIServer((HOST, 0), QuietWSGIRequestHandler)
    server.set_app(get_wsgi_application())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _first_byte(port: int, address: str, held: Mapping[str, str], requests: int) -> float:
    """Return the median of milliseconds until the first byte, on one connection."""
    way = http.client.HTTPConnection(HOST, port)
    took = []
    for _ in range(requests):
        begun = time.perf_counter()
        way.request(
            "GET", address, headers={"Cookie": "; ".join(f"{name}={value}" for name, value in held.items())}
        )
        answer = way.getresponse()
        took.append(time.perf_counter() - begun)
        answer.read()
    way.close()
    return round(statistics.median(took[1:] or took) * 1_000, 1)  # the first one connects to the database


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        raise database.UnableToMeasure(
            "Pages are looked at in a browser, and there is none: apt install chromium"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def _looks(
    browser: Browser, port: int, addresses: Mapping[str, str], held: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what each page is like; of two widths, the one that moves or weighs more."""
    site = f"http://{HOST}:{port}"
    kept = [{"name": name, "value": value, "url": site} for name, value in held.items()]
    for name, address in addresses.items():
        looks = []
        for width in WIDTHS:
            context = browser.new_context(viewport={"width": width, "height": HEIGHT})
            context.add_cookies(kept)  # type: ignore[arg-type]
            looks.append(_look(context.new_page(), f"{site}{address}"))
            context.close()
        yield name, _worst(looks)


def _look(page: Page, address: str) -> dict[str, Any]:
    """Open a page with nothing kept from before, and wait until nothing more comes."""
    received = 0.0

    def count(event: dict[str, Any]) -> None:
        nonlocal received
        received += event["encodedDataLength"]

    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    wire.on("Network.loadingFinished", count)
    page.add_init_script(WATCH)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(AT_REST_MS)
    return {
        "received_kb": round(received / 1_000, 1),
        "layout_shift": round(float(page.evaluate("window.shifted")), 3),
        "charts": bool(page.locator("canvas").count()),
    }


def _worst(looks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: max(look[key] for look in looks) for key in looks[0]}
