"""A Supplier's administrator invites a colleague, makes them read-only and ends their access; each sees it at once."""

import re

from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from portal.ground.roles import SupplierRole
from portal.models import User
from tests.browser.conftest import Passes
from tests.factories import PASSWORD
from tests.portal.letters import delivered
from tests.scheduling.world import World
from tests.signing_in import known_recently

NOOR = "noor@northern.example.com"
OWN = "a horse of quite another colour"
TEN_MINUTES = 600.0


def heading(page: Page, words: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(words)


def show_who_it_is(page: Page) -> None:
    """Give the password once more, without a mouse."""
    heading(page, "Confirm that it is you")
    page.get_by_label("Password").focus()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")


def test_a_colleague_comes_is_made_a_reader_and_goes(
    world: World, page: Page, browser: Browser, live_server: LiveServer, passes: Passes
) -> None:
    User.objects.filter(pk=world.person.pk).update(role=SupplierRole.ADMINISTRATOR)
    world.person.refresh_from_db()
    client = Client()
    known_recently(client=client, person=world.person, ago=TEN_MINUTES)
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])

    # the administrator invites, and gives the password again: it was typed ten minutes ago
    page.goto(f"{live_server.url}/people/invite/")
    page.get_by_label("E-mail address").focus()
    page.keyboard.type(NOOR)
    page.keyboard.press("Tab")
    page.keyboard.type("Operations")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Invite")).to_be_focused()
    page.keyboard.press("Enter")
    show_who_it_is(page)
    expect(page.get_by_text(f"An invitation goes to {NOOR}")).to_be_visible()
    passes()

    # the colleague opens the link of the e-mail, chooses a password, and is in
    [letter] = delivered()
    assert letter.to == [NOOR]
    found = re.search(r"/invitation/\S+/", str(letter.body))
    assert found
    colleague = browser.new_context().new_page()
    colleague.goto(f"{live_server.url}{found[0]}")
    heading(colleague, "Your invitation")
    colleague.get_by_label("First name").focus()
    for typed in ("Noor", "Haddad", OWN, OWN):
        colleague.keyboard.type(typed)
        colleague.keyboard.press("Tab")
    colleague.get_by_role("button", name="Create my account and sign in").press("Enter")
    expect(colleague.get_by_role("link", name="Book 3 hubs").first).to_be_visible()
    colleague.goto(f"{live_server.url}/releases/{world.release.pk}/book/")
    expect(colleague.get_by_role("button", name="Go on: when")).to_be_visible()

    # made a reader, the page that was open asks them to sign in; then it has nothing for them
    page.goto(f"{live_server.url}/people/")
    page.get_by_role("link", name=re.compile("Noor|noor")).first.press("Enter")
    heading(page, "Noor Haddad")
    page.get_by_role("combobox", name="Role").select_option("Read-only")
    page.get_by_label("Reason").focus()
    page.keyboard.type("Left the desk")
    page.get_by_role("button", name="Change the role").press("Enter")
    expect(page.get_by_text("Noor Haddad has another role")).to_be_visible()
    colleague.get_by_label("All that are left").check()
    colleague.get_by_role("button", name="Go on: when").press("Enter")
    heading(colleague, "Sign in")
    expect(colleague.get_by_text("Your password, or what you may do, was changed.")).to_be_visible()
    for label, typed in (("E-mail address", NOOR), ("Password", OWN)):
        colleague.get_by_label(label).focus()
        colleague.keyboard.type(typed)
    colleague.keyboard.press("Enter")
    heading(colleague, "Your role does not reach that far")
    expect(colleague.get_by_text("Your role is read-only")).to_be_visible()
    colleague.goto(f"{live_server.url}/releases/{world.release.pk}/")
    expect(colleague.get_by_role("link", name="Book 3 hubs")).to_have_count(0)
    passes()

    # access ended, the next request is at the door
    page.get_by_role("link", name=re.compile("Noor|noor")).first.press("Enter")
    page.get_by_role("button", name="End their access now").press("Enter")
    expect(page.get_by_text("Noor Haddad has no access any more")).to_be_visible()
    colleague.goto(f"{live_server.url}/bookings/")
    heading(colleague, "Sign in")
    colleague.context.close()

    # all of it is on record
    page.get_by_role("link", name="Record").first.press("Enter")
    record = page.get_by_role("table", name="What was done, newest first")
    for act in ("User deactivated", "User role changed", "Invitation made"):
        expect(record.get_by_text(act).first).to_be_visible()
    expect(record.get_by_text("Left the desk")).to_be_visible()
    passes()
