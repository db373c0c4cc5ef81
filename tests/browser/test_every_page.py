"""Every page of the portal's own is held against axe, in the light and in the dark; a route that is none says why."""

import pytest
from django.conf import settings
from django.test import Client
from django.urls import get_resolver, reverse
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from portal import operations
from portal.ground import clock
from portal.models import Invitation, User
from tests.browser.accessibility import accessible
from tests.portal.matrix import Cast, read, routes
from tests.portal.test_matrix import (
    ADMINISTRATORS,
    ADMINISTRATORS_OWN,
    EVERYBODY,
    EVERYBODYS,
    STAFF,
    SUPPLIERS,
    staff_address,
    table_address,
)
from tests.scheduling import world as worlds
from tests.scheduling.addresses import address_of
from tests.signing_in import known_recently

NO_PAGES = {
    # files and parts of pages
    *("scheduling:bad-hubs", "scheduling:reading", "scheduling:refused", "scheduling:upload-refused"),
    *("scheduling:progress", "scheduling:export", "scheduling:calendar", "scheduling:export-consents"),
    *("scheduling:consent-hubs", "scheduling:example-windows", "export-record", "bad-hubs-file"),
    *("evidence-key", "admin:ground_auditentry_export", "admin:scheduling_hubexception_csv", "admin:jsi18n"),
    *("admin:scheduling_notice_html", "metrics", "health-live", "health-ready"),
    # what forms alone are sent to, and what leads on
    *("end-session", "end-other-sessions", "evidence-pack", "stop-rehearsal", "admin:login"),
    *("mfa_authenticate", "mfa_index", "mfa_list_webauthn"),
    # there has to be a second factor: tests/browser/test_second_factor.py
    *("mfa_reauthenticate", "mfa_reauthenticate_webauthn", "mfa_generate_recovery_codes"),
    *("mfa_view_recovery_codes", "mfa_deactivate_totp", "mfa_remove_webauthn"),
    # Django's own, which are shut
    *("admin:autocomplete", "admin:view_on_site", "admin:(?P<url>.*)$"),
}
DRAWN_BY_DJANGO = ("#changelist-filter", "#toolbar", "#changelist-form", ".inline-group", ".selector")


@pytest.fixture
def cast(transactional_db: None) -> Cast:
    """Make one of everything."""
    made = Cast(worlds.make(now=clock.now()))
    made.rows  # noqa: B018 - made before anybody asks
    return made


def of_suppliers(cast: Cast) -> dict[str, str]:
    """Return the address of each page that a Supplier's administrator has."""
    of_people = {
        line.route: reverse(
            line.route, args=ADMINISTRATORS_OWN[line.route](cast) if line.route in ADMINISTRATORS_OWN else []
        )
        for line in read(ADMINISTRATORS)
    }
    return {f"scheduling:{line.route}": address_of(line.route, cast) for line in read(SUPPLIERS)} | of_people


def of_everybody(cast: Cast) -> dict[str, str]:
    """Return the address of each page of somebody's own account."""
    return {
        line.route: reverse(line.route, kwargs=EVERYBODYS.get(line.route))
        for line in read(EVERYBODY)
        if line.route not in AT_THE_DOOR
    }


AT_THE_DOOR = (
    *("account_login", "account_reset_password", "account_reset_password_done", "invitation"),
    *("account_reset_password_from_key", "account_reset_password_from_key_done"),
)


def at_the_door(cast: Cast) -> dict[str, str]:
    """Return the address of each page that a stranger sees; an invitation that is open."""
    link = operations.invite(
        email="noor@dcc.example.com", supplier=None, by=cast.world.staff, now=cast.world.clock()
    )
    addresses = {name: reverse(name, kwargs=EVERYBODYS.get(name)) for name in AT_THE_DOOR}
    return addresses | {"invitation": link.partition("://")[2].partition("/")[2]}


def of_staff(cast: Cast) -> dict[str, str]:
    """Return the address of each page of DCC's that is the portal's own, and of the tables of people."""
    tables = {
        f"{model.__name__} {page}": table_address(model, page, cast)
        for model, pages in ((User, ("changelist", "change")), (Invitation, ("changelist", "add", "change")))
        for page in pages
    }
    return {line.route: staff_address(line.route, cast) for line in read(STAFF)} | tables


PAGES = {
    "northern administrator": (of_suppliers, of_everybody),
    "superuser": (of_staff,),
    "a stranger": (at_the_door,),
}


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
