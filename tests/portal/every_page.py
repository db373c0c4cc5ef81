"""
The address of every page of the site, by whom it is for, from the tables of who may ask for what.

A route that is no page is named with why. Whoever holds, measures or shows every page takes them from here, so that a
new one is among them.
"""

from collections.abc import Callable, Mapping, Sequence

from django.urls import reverse

from portal import operations
from portal.models import Invitation, User
from tests.portal.matrix import Cast, read
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
from tests.scheduling.addresses import address_of

NO_PAGES = {
    # files and parts of pages
    *("scheduling:bad-hubs", "scheduling:reading", "scheduling:refused", "scheduling:upload-refused"),
    *("scheduling:progress", "scheduling:export", "scheduling:calendar", "scheduling:export-consents"),
    *(
        "scheduling:consent-hubs",
        "scheduling:example-windows",
        "export-record",
        "bad-hubs-file",
        "export-file",
        "saved-filter",  # of somebody else: tests/browser/test_lists.py has one's own
    ),
    *("scheduling:rollout", "rollout-file", "outcomes-file", "capacity-file", "capacity-shares"),
    *("scheduling:export-results", "scheduling:export-reasons", "scheduling:room"),
    *("evidence-key", "admin:ground_auditentry_export", "admin:scheduling_hubexception_csv", "admin:jsi18n"),
    *("admin:scheduling_notice_html", "gallery-email", "metrics", "health-live", "health-ready"),
    # what forms alone are sent to, and what leads on
    *("end-session", "end-other-sessions", "evidence-pack", "stop-rehearsal", "admin:login"),
    "scheduling:first-steps",
    *("mfa_authenticate", "mfa_index", "mfa_list_webauthn"),
    # there has to be a second factor: tests/browser/test_second_factor.py
    *("mfa_reauthenticate", "mfa_reauthenticate_webauthn", "mfa_generate_recovery_codes"),
    *("mfa_view_recovery_codes", "mfa_deactivate_totp", "mfa_remove_webauthn"),
    # Django's own, which are shut
    *("admin:autocomplete", "admin:view_on_site", "admin:(?P<url>.*)$"),
}


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


PAGES: Mapping[str, Sequence[Callable[[Cast], dict[str, str]]]] = {
    "northern administrator": (of_suppliers, of_everybody),
    "superuser": (of_staff,),
    "a stranger": (at_the_door,),
}
