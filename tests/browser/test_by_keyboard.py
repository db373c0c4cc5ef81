"""The journeys without a mouse: each is done with Tab, Enter, Space and arrows, and the focus shows all the way."""

import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from firmware.models import FirmwareRelease, ReleaseState
from portal.models import User
from scheduling.models import Booking, Deployment, ProtectedWindow
from tests.browser.keyboard import Keyboard
from tests.browser.test_journey import three_nights
from tests.factories import PASSWORD
from tests.scheduling.world import World
from tests.signing_in import known_recently


@pytest.fixture
def keys(page: Page) -> Keyboard:
    """Return the keyboard; the mouse stays where it is."""
    return Keyboard(page)


def sign_in(person: User, keys: Keyboard, live_server: LiveServer) -> None:
    """Sign in from the first field on."""
    keys.page.goto(f"{live_server.url}/accounts/login/")
    keys.write("E-mail address", person.email)
    keys.write(re.compile("^Password"), PASSWORD)
    keys.page.keyboard.press("Enter")
    expect(keys.page.get_by_role("heading", level=1)).not_to_have_text("Sign in")


class TestASupplier:
    def test_books_a_slot_of_the_picture_and_cancels_it(
        self, world: World, keys: Keyboard, live_server: LiveServer
    ) -> None:
        page = keys.page
        world.slot(start=timedelta(days=2), room=7)
        sign_in(world.person, keys, live_server)

        keys.press("link", re.compile("^Book 3 hubs$"))
        expect(page.get_by_role("group", name="Which hubs?")).to_be_visible()
        keys.to("radio", re.compile("All that are left"))
        page.keyboard.press("ArrowDown")
        expect(page.get_by_label("Those that I tick")).to_be_checked()
        page.keyboard.press("ArrowUp")
        keys.press("button", "Go on: when")
        keys.press("link", re.compile("all 3 chosen hubs fit"))
        keys.press("button", "Book 3 hubs")
        expect(page.get_by_role("heading", name="0 of 3 hubs have ended")).to_be_visible()
        booking = Booking.objects.get()

        keys.press("link", "Cancel")
        keys.write("Why do you cancel?", "A tariff change is due that day")
        keys.press("button", "Cancel 3 hubs")
        expect(page.get_by_role("heading", name="All 3 hubs have ended")).to_be_visible()
        assert booking.hubs == 3
        assert set(Deployment.objects.values_list("state", flat=True)) == {"cancelled"}

    def test_fills_slots_from_one_to_another(
        self, world: World, keys: Keyboard, live_server: LiveServer
    ) -> None:
        three_nights(world)
        sign_in(world.person, keys, live_server)
        keys.press("link", re.compile("^Book 3 hubs$"))
        keys.press("button", "Go on: when")

        keys.press("link", "From one slot to another")
        keys.press("link", re.compile("Choose it as the first."))
        expect(keys.page.get_by_text("Now choose the last.")).to_be_visible()
        keys.press("link", re.compile("Choose it as the last."))
        keys.press("button", "Book 3 hubs")

        expect(keys.page.get_by_role("heading", name="0 of 3 hubs have ended")).to_be_visible()

    def test_keeps_a_window_and_takes_it_back(
        self, world: World, keys: Keyboard, live_server: LiveServer
    ) -> None:
        page = keys.page
        sign_in(world.person, keys, live_server)
        keys.press("link", "Windows")
        keys.press("link", "New window")
        keys.to("combobox", "What for")
        page.keyboard.type("Tariff")
        keys.write("Reason", "New prices from this night")
        at = world.clock() + timedelta(days=3)
        for name, hour in (("From (UK time)", "0100AM"), ("To (UK time)", "0600AM")):
            field = page.get_by_label(name)
            for _ in range(60):
                page.keyboard.press("Tab")
                if field.evaluate("one => one === document.activeElement"):
                    break
            page.keyboard.type(f"{at:%m%d%Y}")
            page.keyboard.press("ArrowRight")
            page.keyboard.type(hour)
        keys.press("button", "Keep this window")
        expect(page.get_by_role("status")).to_contain_text("kept")
        assert ProtectedWindow.objects.get().reason == "New prices from this night"

        keys.press("link", re.compile("Week"))
        expect(page).to_have_url(re.compile("/windows/week/"))


class TestDcc:
    def test_halts_signs_the_resumption_off_and_resumes(
        self, world: World, keys: Keyboard, live_server: LiveServer
    ) -> None:
        page = keys.page
        self.come(world.staff, keys, live_server)
        page.goto(f"{live_server.url}/admin/firmware/firmwarerelease/{world.release.pk}/change/")
        keys.write("Why?", "Hubs fall silent")
        keys.press("button", "Halt now")
        expect(page.get_by_text("No further command goes out for it.")).to_be_visible()
        assert self.state() == ReleaseState.HALTED

        self.come(world.approver, keys, live_server)
        page.goto(f"{live_server.url}/admin/firmware/firmwarerelease/{world.release.pk}/change/")
        keys.press("link", re.compile("Sign off resumption"))
        keys.write(re.compile("Reason"), "The mast was repaired")
        keys.press("button", "Sign off resumption")
        expect(page.get_by_text("Resumption signed off.")).to_be_visible()

        self.come(world.staff, keys, live_server)
        page.goto(f"{live_server.url}/admin/firmware/firmwarerelease/{world.release.pk}/change/")
        keys.press("link", re.compile("^Resume"))
        keys.write(re.compile("Reason"), "As signed off")
        keys.press("button", "Resume")
        expect(page.get_by_text("Spring release: Resumed.")).to_be_visible()
        assert self.state() == ReleaseState.PUBLISHED

    def come(self, person: User, keys: Keyboard, live_server: LiveServer) -> None:
        """Be there with a password given a moment ago."""
        person.refresh_from_db()  # the world has changed the password since
        client = Client()
        known_recently(client=client, person=person)
        name = settings.SESSION_COOKIE_NAME
        keys.page.context.clear_cookies()
        keys.page.context.add_cookies(
            [{"name": name, "value": client.cookies[name].value, "url": live_server.url}]
        )

    def state(self) -> str:
        """Return how the release stands now."""
        return FirmwareRelease.objects.get().state
