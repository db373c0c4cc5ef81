"""Somebody sets up an app and a security key in a browser, and signs in with each, and with a recovery code."""

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from allauth.mfa.totp.internal.auth import yield_hotp_counters_from_time as steps
from playwright.sync_api import Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from portal import attempts
from portal.ground import sql
from tests.browser.conftest import Passes
from tests.factories import PASSWORD
from tests.scheduling.world import World


@pytest.fixture
def address(live_server: LiveServer) -> str:
    """Return the server's address by the name under which a browser lets keys be used without TLS."""
    return live_server.url.replace("127.0.0.1", "localhost")


@pytest.fixture(autouse=True)
def required(settings: Settings) -> None:
    """Let the portal be as it is in production."""
    settings.SECOND_FACTOR = "required"


def code_of(secret: str, *, step: int) -> str:
    """Return what an app shows: 0 is the step before this one, 2 that after it."""
    return format_hotp_value(hotp_value(secret, list(steps())[step]))


def give_password(page: Page, address: str, email: str) -> None:
    """Sign in, up to the second factor."""
    page.context.clear_cookies()
    page.goto(f"{address}/accounts/login/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def forget_used_codes() -> None:
    """Let time pass: a code that was used is not shown by an app again."""
    sql.run(attempts.CLEAR, {})


def test_an_app_and_recovery_codes(page: Page, address: str, world: World, passes: Passes) -> None:
    email = world.staff.email
    give_password(page, address, email)
    expect(page.get_by_role("heading", level=1)).to_have_text("Set up a second factor")
    passes()
    page.goto(f"{address}/admin/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Set up a second factor")
    page.get_by_role("link", name="Set up an app").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm that it is you")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Set up an authenticator app")
    passes()
    secret = page.locator(".factor-secret").inner_text()
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Set it up").click()
    expect(page.get_by_text("This code is wrong")).to_be_visible()
    passes()
    page.get_by_label("Code").fill(code_of(secret, step=1))
    page.get_by_role("button", name="Set it up").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Recovery codes")
    passes()
    codes = page.locator(".recovery-codes code").all_inner_texts()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download them").click()
    assert [line for line in download.value.path().read_text().splitlines()[1:] if line] == codes
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
    passes()

    give_password(page, address, email)
    expect(page.get_by_role("heading", level=1)).to_have_text("Your second factor")
    passes()
    page.get_by_label("Code").fill(code_of(secret, step=2))
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{address}/admin/")

    forget_used_codes()
    give_password(page, address, email)
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{address}/admin/")
    page.goto(f"{address}/accounts/")
    expect(page.get_by_text("9 left")).to_be_visible()

    page.emulate_media(color_scheme="dark")
    passes()


def test_a_security_key(page: Page, address: str, world: World, passes: Passes) -> None:
    tools = page.context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    tools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "usb",
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    email = world.staff.email
    give_password(page, address, email)
    page.get_by_role("link", name="Add a key").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add a security key")
    passes()
    page.get_by_label("What you call the key").fill("Blue key")
    page.get_by_role("button", name="Add the key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Recovery codes")
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_text("Blue key, added")).to_be_visible()
    passes()

    give_password(page, address, email)
    page.get_by_role("button", name="Use a security key").click()
    expect(page).to_have_url(f"{address}/admin/")

    page.goto(f"{address}/admin/people/{world.person.pk}/second-factor/")
    page.goto(f"{address}/accounts/second-factor/codes/new/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm that it is you")
    passes()
    page.get_by_role("button", name="Use a security key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Make new recovery codes?")
    passes()
