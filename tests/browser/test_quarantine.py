"""Hubs set aside, in a browser: DCC finds them, takes one back and ends another; their Supplier sees what is so."""

from datetime import timedelta

from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from hubs.identifiers import format_eui64
from scheduling.lifecycle import State
from scheduling.models import Deployment, Quarantine
from scheduling.operations.deployments import aside
from tests.browser.accessibility import accessible
from tests.browser.conftest import Passes, SignIn
from tests.scheduling.world import World, in_no_stage


class TestHubsSetAside:
    def test_are_decided_about_and_their_supplier_is_told(
        self, page: Page, live_server: LiveServer, world: World, sign_in: SignIn, passes: Passes
    ) -> None:
        world.slot(start=timedelta(hours=3), room=10)
        booking = world.book()
        first, second, third = Deployment.objects.order_by("id")
        for deployment, error in (
            (first, "CommandRefused: unknown hub"),
            (second, "Worker after worker died with it."),
            (third, "KeyError: 'digest'"),
        ):
            aside.set_aside(deployment=deployment.pk, error=error, now=world.clock())
        with in_no_stage():
            for state in (State.STAGING, State.STAGED, State.ACTIVATING):
                Deployment.objects.filter(pk=third.pk).update(state=state)

        sign_in(world.staff)
        page.goto(live_server.url + reverse("admin:scheduling_hubexception_changelist"))
        to_decide = page.get_by_role("link", name="because carrying them out kept failing: 3")
        expect(to_decide).to_be_visible()
        accessible(page)
        to_decide.click()
        expect(page.get_by_text("The carrier does not take its command: unknown hub")).to_be_visible()
        expect(page.get_by_text("Every worker that carried it out died")).to_be_visible()
        accessible(page)

        page.get_by_role("row", name=format_eui64(first.hub_id)).get_by_role("checkbox").check()
        page.get_by_role("combobox", name="Action").select_option("Take the chosen hubs back: they go on")
        page.get_by_role("button", name="Go").click()
        expect(page.get_by_text("It is about 1 hub: 1 booked.")).to_be_visible()
        accessible(page)
        page.get_by_label("Reason").fill("The carrier knows it now")
        page.get_by_role("button", name="Take back").click()
        expect(page.get_by_text("1 hub taken back, and due at once.")).to_be_visible()

        page.get_by_role("checkbox", name="Select all objects on this page for an action").check()
        page.get_by_role("combobox", name="Action").select_option("End the chosen hubs' deployments")
        page.get_by_role("button", name="Go").click()
        expect(
            page.get_by_text("1 becomes missed, and 1, whose activation has begun, unconfirmed")
        ).to_be_visible()
        page.set_viewport_size({"width": 390, "height": 844})
        page.emulate_media(color_scheme="dark")
        accessible(page)
        page.get_by_role("link", name="Back, without deciding").click()
        expect(page.get_by_text("Every worker that carried it out died")).to_be_visible()
        accessible(page)
        assert Quarantine.objects.count() == 2

        sign_in(world.person)
        page.goto(live_server.url + reverse("scheduling:hub", args=[second.hub_id]))
        expect(page.get_by_text("Set aside: DCC looks into it")).to_be_visible()
        passes()
        page.set_viewport_size({"width": 1366, "height": 900})
        page.emulate_media(color_scheme="light")
        page.goto(live_server.url + reverse("scheduling:booked-hubs", args=[booking.reference]))
        expect(page.get_by_text("DCC looks into it").first).to_be_visible()
        passes()
