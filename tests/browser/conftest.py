"""A real browser before a real server: journeys are told by roles and labels, and every page passes axe."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import Page, Playwright, expect
from pytest_django.live_server_helper import LiveServer

from hubs.modelled_fleet.models import FleetHub, FleetImage
from hubs.operations import count_fleet
from portal.ground import clock
from portal.models import User
from tests.browser.accessibility import accessible
from tests.factories import PASSWORD
from tests.scheduling import world as worlds
from tests.scheduling.world import World
from tests.serving import as_in_production, launch_terms


@pytest.fixture(scope="session", autouse=True)
def database_beside_a_loop(playwright: Playwright) -> Iterator[None]:
    """
    Let the test use the database while Playwright's event loop runs in its thread.

    As long as it does, Django keeps another connection for the thread, which nobody would find to close it afterwards.
    """
    assert playwright
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield
        connection.close()


@pytest.fixture(autouse=True)
def served_as_in_production() -> Iterator[None]:
    """
    Have the server's threads log in to PostgreSQL as the web server does.

    For as long as the test lasts: threads of other tests are workers and people of their own.
    """
    with as_in_production():
        yield


@pytest.fixture(scope="session")
def base_url() -> None:
    """Say that there is none: each test has a server of its own. (The plugin's fixture warns of deprecation.)"""


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Use the machine's own browser; root may not have its sandbox."""
    terms = launch_terms()
    assert terms, "The browser tests need a browser, and there is none: apt install chromium"
    return {**browser_type_launch_args, **terms}


@pytest.fixture
def world(transactional_db: None) -> World:
    """
    Make a published release and three hubs of the northern Supplier that end in three ways.

    The first succeeds, the second cannot be reached, the third's hardware does not take the image.
    """
    world = worlds.make(now=clock.now())
    good, unreachable, wrong = world.hubs(3)
    FleetHub.objects.filter(chf_id=unreachable.chf_id).delete()
    FleetHub.objects.filter(chf_id=wrong.chf_id).update(hardware_version=99)
    image = FleetImage.objects.create(
        digest=world.release.digest,
        version=world.release.version.number,
        maximum_hardware=good.hardware_version,
    )
    image.models_covered.add(world.model)
    world.hubs(1, status=6)
    world.hubs(1, supplier=world.southern)
    count_fleet(now=world.clock())
    for person in User.objects.all():
        person.set_password(PASSWORD)
        person.save()
    return world


SignIn = Callable[[User], None]
Passes = Callable[[], None]


@pytest.fixture
def sign_in(page: Page, live_server: LiveServer) -> SignIn:
    """Sign somebody in, in place of whoever was."""

    def sign_in(person: User) -> None:
        page.context.clear_cookies()
        page.goto(f"{live_server.url}/accounts/login/")
        page.get_by_label("E-mail address").fill(person.email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Sign in")

    return sign_in


@pytest.fixture
def passes(page: Page) -> Iterator[Passes]:
    """Hold the page shown now against axe; and at the end, that no page complained to the console."""
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def passes() -> None:
        accessible(page, preload=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{page.url} is too wide"

    yield passes
    assert complaints == []
