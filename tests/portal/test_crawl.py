"""
Every page that a link leads to, as each who may sign in: none is dead, refused or broken, and none leads off the site.

A scanner does the same from outside (docs/security-crawl.md). Here nothing is found by guessing: what is followed is
what the pages show, so a page to which nothing leads is found as well.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import product
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import pytest
from django.test import Client
from django.urls import Resolver404, get_resolver, resolve, reverse

from portal.ground import once
from portal.ground.roles import DccRole, SupplierRole
from tests.portal.matrix import Asker, Cast, read, routes
from tests.portal.test_access import assert_keeps_to_itself, assert_obeys_policy
from tests.portal.test_matrix import EVERYBODY, EVERYBODYS, TABLES, WAYS

SITE = "http://testserver"
STARTS = ("/", "/accounts/")
SAMPLES = 2
"""So many addresses of one kind are followed; a list of ten thousand rows leads to one kind of page."""

LED_TO_BY_NOTHING = {
    # one comes to them without a session, or by an e-mail
    *("account_login", "account_reset_password", "account_reset_password_done", "invitation", "admin:login"),
    *("account_reset_password_from_key", "account_reset_password_from_key_done", "mfa_authenticate"),
    # one has to have a second factor; tests/browser/test_second_factor.py goes there
    *("mfa_deactivate_totp", "mfa_generate_recovery_codes", "mfa_reauthenticate", "mfa_view_recovery_codes"),
    *("mfa_reauthenticate_webauthn", "mfa_remove_webauthn", "set-up-second-factor"),
    # what allauth calls the account
    *("mfa_index", "mfa_list_webauthn"),
    # forms alone lead there
    *("account_logout", "end-session", "end-other-sessions", "evidence-pack", "stop-rehearsal"),
    "scheduling:first-steps",
    *("one-export", "export-file", "saved-filter"),
    # a form or an upload comes first; tests/browser/test_journey.py goes there
    *("scheduling:when", "scheduling:room", "scheduling:check", "scheduling:reading", "scheduling:refused"),
    *("scheduling:upload", "scheduling:upload-refused"),
    # there have to be bad hubs, or an exception that is open
    *("bad-hubs", "bad-hubs-file", "scheduling:bad-hubs", "admin:scheduling_hubexception_decide"),
    # hubs have to have been commanded to activate: tests/browser/test_charts.py
    *("rollout-file", "outcomes-file", "scheduling:rollout"),
    *("scheduling:export-results", "scheduling:export-reasons"),
    # machines ask
    *("health-live", "health-ready", "metrics", "evidence-key"),
    # Django's own, which answer 404 or lead on
    *("admin:(?P<url>.*)$", "admin:<path:object_id>/", "admin:autocomplete", "admin:view_on_site"),
    # what stands in frames
    *("admin:scheduling_notice_html", "gallery-email"),
    # pages of the portal's own, which tell it themselves
    *("admin:scheduling_exemption_history", "admin:scheduling_hubexception_history"),
}
"""Each with why."""
REFUSED = {
    f"admin:{line.route.replace('.', '_')}_{page}"
    for line in read(TABLES)
    for way in line.verbs
    for _, page in WAYS[way]
    if line.answers["superuser"] != "200"
}
"""Pages of the admin that nobody may see."""


class Page(HTMLParser):
    """Where a page leads by links, where its forms are sent, what each carries that changes something; its frames."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.targets: set[str] = set()
        self.forms: list[set[str]] = []
        self.frames: list[dict[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where an element leads, or what its form carries."""
        facts = {name: value or "" for name, value in attrs}
        if tag == "iframe":
            self.frames.append(facts)
            return
        sends = {name for name in ("formaction", "hx-post") if name in facts}
        if tag == "form" and facts.get("method", "").lower() == "post":
            self.forms.append(set())
            sends.add("action")
        elif self.forms and "name" in facts:
            self.forms[-1].add(facts["name"])
        self.targets |= {facts.get(name, "") for name in sends}
        self.links |= {
            facts[name] for name in ("href", "src", "action", "hx-get") if name in {*facts} - sends
        }


class Crawl:
    """Follow every link as somebody; keep which routes were reached, and what is wrong."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.reached: set[str] = set()
        self.faults: list[str] = []
        self.forms = 0

    def run(self) -> "Crawl":
        """Follow links until there is none of a new shape."""
        waiting = deque((start, "nothing") for start in STARTS)
        known, times = set(STARTS), Counter[object]()
        while waiting:
            address, where = waiting.popleft()
            for link in self._ask(address, where):
                if link not in known and times[shape(link)] < SAMPLES:
                    known.add(link)
                    times[shape(link)] += 1
                    waiting.append((link, address))
        return self

    def _ask(self, address: str, where: str) -> list[str]:
        """Ask for a page; return where it leads."""
        response = self.client.get(address)
        text = response.getvalue().decode(errors="replace")  # type: ignore[attr-defined]
        if response.status_code not in (200, 302):
            self.faults.append(f"{address}, to which {where} leads: {response.status_code}")
            return []
        match = resolve(urlsplit(address).path)
        self.reached.add(match.view_name or match.route)
        try:
            assert_keeps_to_itself(response)
            if response.status_code == 302:
                return self._on_this_site({response.headers["Location"]}, address)
            if not response.headers["Content-Type"].startswith("text/html"):
                return []
            assert_obeys_policy(text)
            page = Page(text)
            self.forms += len(page.forms)
            for carried in page.forms:
                assert {"csrfmiddlewaretoken", once.FIELD} <= carried, "a form without its token or its key"
            for frame in page.frames:
                assert frame.get("sandbox") == "", "a frame that is not shut in"
            for target in self._on_this_site(page.targets, address):
                resolve(urlsplit(target).path)
            return self._on_this_site(page.links, address)
        except (AssertionError, Resolver404) as fault:
            self.faults.append(f"{address}: {fault}")
            return []

    @staticmethod
    def _on_this_site(leads: set[str], address: str) -> list[str]:
        """Return addresses of a page as whole ones; refuse one of another site, and leave out what is no page."""
        found = []
        for lead in sorted(leads):
            parts = urlsplit(urljoin(f"{SITE}{address}", lead))
            if (
                parts.scheme in ("mailto", "data")
                or parts.path.startswith("/static/")
                or lead.startswith("#")
            ):
                continue
            assert f"{parts.scheme}://{parts.netloc}" == SITE, f"it leads to another site: {lead}"
            found.append(f"{parts.path}?{parts.query}" if parts.query else parts.path)
        return found


def shape(address: str) -> tuple[str, tuple[str, ...]]:
    """Return what addresses have in common that lead to the same kind of page."""
    parts = urlsplit(address)
    try:
        match = resolve(parts.path)
    except Resolver404:
        return parts.path, ()
    # a list of the admin is narrowed in a hundred ways: tests/portal/test_matrix.py asks for each
    asked = [] if address.startswith("/admin/") else parse_qsl(parts.query, keep_blank_values=True)
    return match.view_name or match.route, tuple(sorted({name for name, _ in asked}))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Write no line for what is refused: the test says it."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class TestEveryLink:
    @pytest.mark.parametrize(
        "who",
        [
            "a stranger",
            *(f"northern {role}" for role in SupplierRole),
            "southern operations",
            "western administrator",
            *(role.value for role in DccRole),
        ],
    )
    def test_leads_to_a_page_that_is_well(self, who: str, asker: Asker) -> None:
        crawl = Crawl(asker.clients[who]).run()

        assert not crawl.faults, "\n".join(crawl.faults)
        assert crawl.forms >= 1

    def test_leads_somewhere_from_everywhere(self, cast: Cast, asker: Asker) -> None:
        """Every route is reached, by somebody who may do everything, but those of which the list says why not."""
        staff = Crawl(asker.clients["superuser"]).run()
        supplier = Crawl(asker.clients["northern administrator"]).run()

        assert not staff.faults, "\n".join(staff.faults)
        unreached = set(routes(get_resolver())) - staff.reached - supplier.reached
        assert {name for name in unreached if name not in REFUSED} == LED_TO_BY_NOTHING


class TestWhereOneGoesOn:
    """A page that goes on to another when it is done is told which in its address."""

    ELSEWHERE = (
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "/\\elsewhere.example",
        "javascript:alert(1)",
    )

    @pytest.mark.parametrize("who", ["a stranger", "northern administrator", "superuser"])
    def test_is_on_this_site(self, who: str, cast: Cast, asker: Asker) -> None:
        asker.show_who_they_are(cast)
        addresses = [
            *(reverse(line.route, kwargs=EVERYBODYS.get(line.route)) for line in read(EVERYBODY)),
            *("/admin/login/", "/people/invite/", "/"),
        ]
        found = []
        for address, elsewhere, verb in product(sorted(set(addresses)), self.ELSEWHERE, ("GET", "POST")):
            if "logout" in address and verb == "POST" and who != "a stranger":
                continue
            asked = f"{address}?{urlencode({'next': elsewhere})}"
            with asker.asked(who, verb, asked, {"next": elsewhere}) as response:
                place = urlsplit(urljoin(f"{SITE}{address}", response.headers.get("Location", "")))
                if f"{place.scheme}://{place.netloc}" != SITE:
                    found.append((verb, asked, response.headers["Location"]))
                shown = Page(response.getvalue().decode())  # type: ignore[attr-defined]
                found += [
                    (verb, asked, lead) for lead in shown.links | shown.targets if lead.startswith(elsewhere)
                ]
        assert found == []
