"""A release breaks one of its two hub models: it halts while one watches, and two people resume it without that one."""

import re
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from firmware.models import Halt, RolloutPolicy
from hubs.modelled_fleet.models import Defect
from hubs.models import HubModel
from portal.ground import clock
from portal.models import User
from scheduling.lifecycle import State
from scheduling.models import Deployment
from scheduling.operations import halts, tallies
from tests import factories
from tests.browser.accessibility import accessible
from tests.browser.conftest import Passes, SignIn
from tests.factories import PASSWORD
from tests.scheduling import world as worlds
from tests.scheduling.world import World

GENEROUS = 120_000
"""Milliseconds: a machine that is busy with other tests still shows it."""
WHY = re.compile(
    r"Early warning: of \d+ hubs of model Faulty model that were activated, \d+ are bad \(\d+\.\d%\), where 0\.75% are"
)
DRAWN_BY_DJANGO = [".inline-group"]
"""Tables of the stock admin, two of whose headings have no words."""
SOUND, FAULTY = 200, 80
TRIES = 1_000


@pytest.fixture
def world(transactional_db: None) -> World:
    """
    Make a release for two hub models that breaks three in ten hubs of one, as the demo's does.

    The northern Supplier has booked hubs of both into a slot that is open now, and all of them hold the image; it has
    one hub of each that is not booked yet. Another slot comes tomorrow.
    """
    world = worlds.make(now=clock.now() - timedelta(hours=6))
    RolloutPolicy.objects.update(tolerated_bad_percent="0.75")
    HubModel.objects.update(name="Sound model")
    faulty = factories.HubModelFactory.create(name="Faulty model")
    world.release.hub_models.add(faulty)
    Defect.objects.create(version=worlds.NEW, share=0.3, kind=Defect.Kind.VISIBLE, model=faulty)
    for _ in range(4):  # side by side, as they stand in the homes
        world.hubs(SOUND // 4)
        world.hubs(FAULTY // 4, model=faulty)
    world.slot(start=timedelta(hours=5), room=SOUND + FAULTY + 2, length=timedelta(hours=20))
    world.book()
    world.slot(start=timedelta(hours=30), room=SOUND + FAULTY + 2)
    world.hubs(1)
    world.hubs(1, model=faulty)
    world.clock.move(hours=2)
    world.work()
    world.clock.moment = clock.now()
    tallies.count_fleet(now=world.clock())
    for person in User.objects.all():
        person.set_password(PASSWORD)
        person.save()
    assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}
    return world


def decide(page: Page, act: str) -> None:
    """Take a decision long after one signed in: who one is has to be said once more."""
    cookie = next(one for one in page.context.cookies() if one["name"] == settings.SESSION_COOKIE_NAME)
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key=cookie["value"])
    for method in session["account_authentication_methods"]:
        method["at"] -= settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    session.save()
    page.get_by_role("button", name=act).click()
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()


def in_state(model: HubModel, *states: State) -> int:
    """Count the hubs of a model in some states."""
    return Deployment.objects.filter(model=model, state__in=states).count()


def places(model: HubModel) -> list[tuple[int, int]]:
    """Return the hubs of a model that are held, with their places: the key names the lot, and so the slot."""
    held = Deployment.objects.filter(model=model, state=State.HELD)
    return list(held.order_by("pk").values_list("pk", "hub_id"))


def go_on(world: World, page: Page, *, until: Callable[[], bool]) -> None:
    """Let the workers do what is due, while the page is alive, until something has come of it: the hubs take time."""
    for _ in range(TRIES):
        world.clock.moment = clock.now()
        world.work()
        halts.watch(now=world.clock())
        if until():
            return
        page.wait_for_timeout(250)
    raise AssertionError("Nothing came of it.")


class TestAReleaseThatBreaksAModel:
    def test_halts_while_one_watches_and_goes_on_without_that_model(
        self, page: Page, live_server: LiveServer, world: World, sign_in: SignIn, passes: Passes
    ) -> None:
        sign_in(world.staff)
        page.get_by_role("link", name="Control room").first.click()
        card = page.get_by_role("article", name="Spring release")
        expect(page.get_by_text("1 release: 1 healthy")).to_be_visible()
        accessible(page)

        go_on(world, page, until=Halt.objects.filter(release=world.release).exists)
        expect(page.get_by_text("1 release: 1 halted")).to_be_visible(timeout=GENEROUS)
        expect(card.get_by_text(WHY)).to_be_visible()
        expect(card.get_by_text("by the portal itself")).to_be_visible()
        expect(card.get_by_text("Two people. A DCC approver")).to_be_visible()
        accessible(page)
        waiting = in_state(world.model, State.STAGED, State.HELD)
        assert waiting > 0

        sign_in(world.approver)
        page.goto(f"{live_server.url}/admin/control-room/")
        card.get_by_role("link", name="Decide on the page of the release").click()
        page.get_by_role("link", name="Sign off resumption").click()
        left_out = page.get_by_role("group", name="Leave out what stays halted")
        left_out.get_by_label("Hub model Faulty model").check()
        page.get_by_label("Reason").fill("The other model is sound")
        accessible(page)
        decide(page, "Sign off resumption")
        expect(
            page.get_by_text("Resumption signed off. A release manager can resume it now.")
        ).to_be_visible()
        accessible(page, without=DRAWN_BY_DJANGO)

        sign_in(world.staff)
        page.goto(f"{live_server.url}/admin/firmware/firmwarerelease/{world.release.pk}/change/")
        page.get_by_role("link", name="Resume").click()
        expect(page.get_by_text("Without hub model Faulty model")).to_be_visible()
        page.get_by_label("Reason").fill("Only the faulty model waits for a fix")
        accessible(page)
        decide(page, "Resume")
        expect(page.get_by_text("Halted: hub model Faulty model")).to_be_visible()
        accessible(page, without=DRAWN_BY_DJANGO)
        [halt] = Halt.objects.filter(release=world.release, lifted_at=None)
        assert halt.part.model is not None
        go_on(world, page, until=lambda: in_state(world.model, State.SUCCEEDED) == SOUND)
        held = places(halt.part.model)
        assert len(held) > 0

        page.get_by_role("link", name="Home").click()
        page.get_by_role("link", name="Control room").first.click()
        expect(page.get_by_text("1 release: 1 healthy; 1 halted in part")).to_be_visible()
        expect(card.get_by_text("Halted: hub model Faulty model")).to_be_visible()
        expect(card.get_by_text("For the model to be resumed: it is halted by itself")).to_be_visible()
        accessible(page)
        outcomes = card.get_by_role("region", name="Outcomes of")
        expect(
            outcomes.get_by_role("row", name=re.compile(f"^Sound model North {SOUND} 0 0 {SOUND} "))
        ).to_be_visible(timeout=GENEROUS)
        accessible(page)
        assert in_state(world.model, State.SUCCEEDED) == SOUND
        assert places(halt.part.model) == held

        sign_in(world.person)
        expect(page.get_by_text("Halted for hub model Faulty model.")).to_be_visible()
        passes()
        page.get_by_role("link", name="Spring release", exact=True).first.click()
        story = page.get_by_role("status").filter(
            has_text="DCC halted this release for hub model Faulty model"
        )
        expect(story).to_contain_text(WHY)
        expect(story).to_contain_text("Only the faulty model waits for a fix")
        expect(story).to_contain_text("keep their slots and are held")
        expect(story).to_contain_text("The rest goes on.")
        expect(
            page.get_by_role("row", name="Faulty model").filter(has_text="Halted for them")
        ).to_be_visible()
        passes()
        page.get_by_role("link", name=re.compile(r"^Book \d+ hubs?$")).first.click()
        page.get_by_label("All that are left").check()
        page.get_by_role("button", name="Go on: when").click()
        bad = in_state(halt.part.model, State.FAILED)
        expect(page.get_by_text(f"{bad + 1} hubs: Halted for hubs like this one")).to_be_visible()
        expect(page.get_by_text("Wait until DCC resumes it for hub model Faulty model.")).to_be_visible()
        expect(page.get_by_role("heading", name="Or choose slots for the hub")).to_be_visible()
        passes()

        world.clock.move(hours=24)  # their slot is over before anybody has resumed them
        world.work()
        tallies.count_fleet(now=clock.now())
        page.get_by_role("link", name="Home").first.click()
        expect(page.get_by_text(f"{len(held)} hubs missed")).to_be_visible()
        page.get_by_role("link", name="See why").click()
        page.get_by_role("navigation", name="States").get_by_role("link", name="Missed").click()
        expect(page.get_by_text("The release was halted during the slot").first).to_be_visible()
        passes()
        world.clock.moment = clock.now()
        world.resume(reason="They can be told from the sound ones now", halt=halt)
        page.goto(f"{live_server.url}/releases/{world.release.pk}/")
        expect(page.get_by_role("heading", name="Spring release")).to_be_visible()
        expect(story).not_to_be_visible()
        page.get_by_role("link", name=re.compile(r"^Book \d+ hubs$")).first.click()
        page.get_by_label("All that are left").check()
        page.get_by_role("button", name="Go on: when").click()
        expect(page.get_by_text(f"{len(held) + bad + 2} hubs in 1 slot")).to_be_visible()
        passes()
