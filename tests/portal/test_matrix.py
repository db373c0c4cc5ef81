"""
Nobody where they do not belong: every address, verb and act of the site, asked by everybody.

The tables say what each is answered. A route, a list or an action that no table has fails, and so does one that is
gone. An object is the northern Supplier's: its own people, another Supplier's, and one's without any such hubs ask for
it. `nobody` stands for a stranger and for people whose access has ended.
"""

import html
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from uuid import UUID

import pytest
from django.contrib.admin import site
from django.db.models import ForeignKey, ManyToManyField, Model
from django.http import HttpResponse
from django.urls import get_resolver, reverse

from firmware.admin import ACTS
from hubs.identifiers import format_eui64
from scheduling.models import Decision, Exemption, HubException, Notice, Rehearsal
from tests.portal.matrix import GUARDED, Asker, Cast, Line, every_action, read, routes, word
from tests.portal.test_access import assert_keeps_to_itself, assert_obeys_policy
from tests.scheduling.addresses import OWN, address_of

Address = Callable[[Cast], list[object]]

SUPPLIERS = """
                        nobody  read-only  operations  administrator  foreign  elsewhere  staff
# A page of whoever asks
home bookings proposals results export-results export-reasons hubs windows week groups
example-windows export-consents:
    GET HEAD OPTIONS    login   200        200         200            -        -          admin
    POST                login   403        405         405            -        -          admin
    PUT PATCH DELETE    login   403        405         405            -        -          admin
# The same, and one can agree on it
consents:
    GET HEAD OPTIONS    login   200        200         200            -        -          admin
    POST                login   403        302         302            -        -          admin
    PUT PATCH DELETE    login   403        405         405            -        -          admin
# What it takes no page to say
first-steps:
    GET HEAD            login   403        405         405            -        -          admin
    OPTIONS             login   403        200         200            -        -          admin
    POST                login   403        302         302            -        -          admin
    PUT PATCH DELETE    login   403        405         405            -        -          admin
# A form and nothing else
new-window new-group upload-windows:
    GET HEAD OPTIONS    login   403        200         200            -        -          admin
    POST                login   403        200         200            -        -          admin
    PUT PATCH DELETE    login   403        405         405            -        -          admin
# A release is open to every Supplier that leads hubs of its models
release bad-hubs rollout:
    GET HEAD OPTIONS    login   200        200         200            -        404        404
    POST                login   403        405         405            -        404        404
    PUT PATCH DELETE    login   403        405         405            -        404        404
book:
    GET HEAD OPTIONS    login   403        200         200            -        404        404
    POST                login   403        200         200            -        404        404
    PUT PATCH DELETE    login   403        405         405            -        404        404
# What one Supplier has, and its files
booking progress booked-hubs export calendar
consent consent-hubs group hub
when room reading refused upload upload-refused:
    GET HEAD OPTIONS    login   200        200         200            404      404        404
    POST                login   403        405         405            404      404        404
    PUT PATCH DELETE    login   403        405         405            404      404        404
check:
    GET HEAD OPTIONS    login   200        200         200            404      404        404
    POST                login   403        302         302            404      404        404
    PUT PATCH DELETE    login   403        405         405            404      404        404
# A colleague's answer, which comes back where no button was pressed
proposal:
    GET HEAD OPTIONS    login   200        200         200            404      404        404
    POST                login   403        200         200            404      404        404
    PUT PATCH DELETE    login   403        405         405            404      404        404
# A form about it, which comes back with what is missing
cancel change object edit-window group-hubs rename-group:
    GET HEAD OPTIONS    login   403        200         200            404      404        404
    POST                login   403        200         200            404      404        404
    PUT PATCH DELETE    login   403        405         405            404      404        404
# A form that misses nothing
delete-window delete-group pilot-group:
    GET HEAD OPTIONS    login   403        200         200            404      404        404
    POST                login   403        302         302            404      404        404
    PUT PATCH DELETE    login   403        405         405            404      404        404
"""
ADMINISTRATORS = """
                        nobody  read-only  operations  administrator  foreign  elsewhere  staff
# Lists that they take away: whoever sees a list may
exports:
    GET HEAD OPTIONS    login   200        200         200            -        -          admin
    POST                login   302        302         302            -        -          admin
    PUT PATCH DELETE    login   405        405         405            -        -          admin
one-export:
    GET HEAD OPTIONS    login   200        200         200            404      404        404
    POST                login   302        302         302            404      404        404
    PUT PATCH DELETE    login   405        405         405            404      404        404
saved-filters:
    GET HEAD OPTIONS    login   200        200         200            -        -          admin
    POST                login   302        302         302            -        -          admin
    PUT PATCH DELETE    login   405        405         405            -        -          admin
# a colleague's
saved-filter:
    GET HEAD OPTIONS POST login 404        404         404            404      404        404
    PUT PATCH DELETE    login   404        404         404            404      404        404
# its file is not written yet
export-file:
    GET HEAD            login   302        302         302            404      404        404
    OPTIONS             login   200        200         200            404      404        404
    POST                login   403        405         405            404      404        404
    PUT PATCH DELETE    login   403        405         405            404      404        404
# Their own people
people record export-record:
    GET HEAD OPTIONS    login   403        403         200            -        -          admin
    POST                login   403        403         405            -        -          admin
    PUT PATCH DELETE    login   403        403         405            -        -          admin
invite-colleague second-factor-rule second-person-rule:
    GET HEAD OPTIONS    login   403        403         200            -        -          admin
    POST                login   403        403         password       -        -          admin
    PUT PATCH DELETE    login   403        403         405            -        -          admin
person:
    GET HEAD OPTIONS    login   403        403         200            404      404        404
    POST                login   403        403         password       404      404        404
    PUT PATCH DELETE    login   403        403         405            404      404        404
colleagues-invitation:
    GET HEAD OPTIONS    login   403        403         200            404      404        404
    POST                login   403        403         password       404      404        404
    PUT PATCH DELETE    login   403        403         405            404      404        404
"""
ADMINISTRATORS_OWN: dict[str, Address] = {
    **dict.fromkeys(("one-export", "export-file"), lambda cast: [cast.export.pk]),
    "saved-filter": lambda cast: [cast.saved.pk],
    "person": lambda cast: [cast.one("operations").pk],
    "colleagues-invitation": lambda cast: [cast.invitation.pk],
}

EVERYBODY = """
                        nobody  supplier  staff
health-live health-ready evidence-key
account_reset_password_done account_reset_password_from_key_done:
    GET HEAD            200     200       200
health-live health-ready evidence-key:
    POST                405     405       405
# a token of its own opens it
metrics:
    GET HEAD            404     404       404
    POST                405     405       405
# a link that is none
invitation:
    GET HEAD POST       404     404       404
account_login:
    GET HEAD            200     302       302
    POST                200     302       302
account_reauthenticate account_change_password:
    GET HEAD POST       login   200       200
account_reset_password account_reset_password_from_key:
    GET HEAD POST       200     200       200
account_reset_password_done account_reset_password_from_key_done:
    POST                405     405       405
# one's own account
account glossary set-up-second-factor:
    GET HEAD            login   200       200
    POST                login   405       405
mfa_index mfa_list_webauthn:
    GET HEAD POST       login   302       302
end-session end-other-sessions:
    GET HEAD            login   405       405
# without the number of one of one's own
end-session:
    POST                login   404       404
end-other-sessions:
    POST                login   302       302
# between the password and the session: who has a session is past it
mfa_authenticate:
    GET HEAD POST       login   302       302
# whoever has no second factor has none to give again, to take away or to make codes for
mfa_reauthenticate mfa_reauthenticate_webauthn:
    GET HEAD POST       login   password  password
mfa_activate_totp mfa_add_webauthn mfa_generate_recovery_codes mfa_remove_webauthn:
    GET HEAD POST       login   password  password
mfa_deactivate_totp:
    GET HEAD POST       login   404       404
mfa_view_recovery_codes:
    GET HEAD            login   404       404
    POST                login   405       405
# last: whoever leaves asks no more
account_logout:
    GET HEAD            login   200       200
    POST                login   login     login
"""
EVERYBODYS: Mapping[str, Mapping[str, str]] = {
    "invitation": {"token": "unknown"},
    "account_reset_password_from_key": {"uidb36": "1", "key": "no-such-key"},
    "mfa_remove_webauthn": {"pk": "1"},
}

STAFF = """
                        nobody  supplier  author  approver  operations-dcc  auditor  people  superuser
control-room health capacity capacity-file capacity-shares rehearsal roles
release-report rollout-file outcomes-file bad-hubs bad-hubs-file
gallery gallery-emails gallery-email:
    GET HEAD            login   404       200     200       200             200      200     200
    POST                login   404       405     405       405             405      405     405
# it is made in a transaction of its own kind, which its own tests have
evidence-pack:
    GET HEAD            login   404       405     405       405             405      405     405
    POST                login   404       -       -         -               -        -       -
rehearsals:
    GET HEAD            login   404       200     200       200             200      200     200
    POST                login   404       200     200       200             403      403     200
stop-rehearsal:
    GET HEAD            login   404       405     405       405             405      405     405
    POST                login   404       302     302       302             403      403     302
admin:index admin:app_list:
    GET HEAD POST       login   404       200     200       200             200      200     200
admin:jsi18n:
    GET HEAD            login   404       200     200       200             200      200     200
    POST                login   404       405     405       405             405      405     405
admin:login:
    GET HEAD POST       login   404       admin   admin     admin           admin    admin   admin
second-factor-of second-factor-of-supplier:
    GET HEAD            login   404       403     403       403             403      200     200
    POST                login   404       403     403       403             403      password  password
# no choice of ours is completed while one types
admin:autocomplete admin:view_on_site admin:(?P<url>.*)$:
    GET HEAD POST       login   404       404     404       404             404      404     404
admin:scheduling_slot_fit admin:scheduling_notice_html admin:ground_auditentry_export
admin:scheduling_hubexception_group admin:scheduling_hubexception_csv:
    GET HEAD POST       login   404       200     200       200             200      200     200
admin:scheduling_hubexception_decide:
    GET HEAD POST       login   404       403     403       200             403      403     200
# everybody sees it; who approves it types a password first, and only those who asked or approve may drop it
admin:scheduling_hubexception_override:
    GET HEAD POST       login   404       200     200       200             200      200     200
admin:scheduling_exemption_end:
    GET HEAD POST       login   404       403     403       200             403      403     200
"""
STAFFS: dict[str, Address] = {
    **dict.fromkeys(
        (
            *("release-report", "rollout-file", "outcomes-file", "bad-hubs", "bad-hubs-file"),
            *("rehearsals", "evidence-pack"),
        ),
        lambda cast: [cast.world.release.pk],
    ),
    **dict.fromkeys(
        ("rehearsal", "stop-rehearsal"), lambda cast: [cast.world.release.pk, cast.row(Rehearsal).pk]
    ),
    "gallery-email": lambda cast: ["published"],
    "second-factor-of": lambda cast: [cast.one("operations").pk],
    "second-factor-of-supplier": lambda cast: [cast.world.northern.pk],
    "admin:view_on_site": lambda cast: [1, 1],
    "admin:app_list": lambda cast: ["scheduling"],
    "admin:(?P<url>.*)$": lambda cast: ["no/such/page/"],
    "admin:scheduling_slot_fit": lambda cast: [cast.world.release.pk],
    "admin:scheduling_notice_html": lambda cast: [cast.row(Notice).pk],
    "admin:scheduling_hubexception_decide": lambda cast: ["extend"],
    "admin:scheduling_hubexception_override": lambda cast: [cast.row(Decision).pk],
    "admin:scheduling_exemption_end": lambda cast: [cast.row(Exemption).pk],
}
PORTION = (
    "admin:scheduling_hubexception_group",
    "admin:scheduling_hubexception_csv",
    "admin:scheduling_hubexception_decide",
)
"""What is asked about exceptions of a release, which the query names."""

DECISIONS = """
                        nobody  supplier  author    approver  operations-dcc  auditor  people  superuser
submit close withdraw:
    GET                 login   404       200       403       403             403      403     200
    POST                login   404       200       403       403             403      403     200
publish resume:
    GET                 login   404       200       403       403             403      403     200
    POST                login   404       password  403       403             403      403     password
sign-off sign-off-resumption:
    GET                 login   404       403       200       403             403      403     200
    POST                login   404       403       password  403             403      403     password
halt:
    GET                 login   404       200       200       200             403      403     200
    POST                login   404       200       200       200             403      403     200
"""

TABLES = """
                        nobody  supplier  author  approver  operations-dcc  auditor  people  superuser
# What nobody changes
ground.auditentry hubs.changeofsupplier
scheduling.booking scheduling.finding scheduling.hubexception scheduling.lot scheduling.notice scheduling.oddreport
scheduling.reclaim scheduling.reconciliation scheduling.reportcount scheduling.slot scheduling.strayreport
scheduling.quarantine:
    list                login   404       200     200       200             200      200     200
    add delete          login   404       403     403       403             403      403     403
    see history         login   404       200     200       200             200      200     200
    change              login   404       403     403       403             403      403     403
# made by hand, or ended by a page of its own
scheduling.exemption:
    list see history    login   404       200     200       200             200      200     200
    add                 login   404       403     403       200             403      403     200
    change delete       login   404       403     403       403             403      403     403
scheduling.capacitypattern scheduling.maintenance scheduling.incident:
    list see history    login   404       200     200       200             200      200     200
    add change delete   login   404       403     403       200             403      403     200
hubs.network hubs.supplier:
    list see history    login   404       200     200       200             200      200     200
    add change          login   404       403     403       200             403      403     200
    delete              login   404       403     403       403             403      403     200
hubs.hubmodel:
    list see history    login   404       200     200       200             200      200     200
    add change          login   404       200     403       403             403      403     200
    delete              login   404       403     403       403             403      403     200
hubs.firmwareversion:
    list see history    login   404       200     200       200             200      200     200
    add change          login   404       403     403       403             403      403     403
    delete              login   404       403     403       403             403      403     200
# this one is published: nobody changes it any more; its history is on its own page
firmware.firmwarerelease:
    list see            login   404       200     200       200             200      200     200
    history             login   404       302     302       302             302      302     302
    add                 login   404       200     403       403             403      403     200
    change delete       login   404       403     403       403             403      403     403
portal.user:
    list see history    login   404       403     403       403             200      200     200
    add delete          login   404       403     403       403             403      403     403
    change              login   404       403     403       403             403      302     302
portal.invitation:
    list see history    login   404       403     403       403             200      200     200
    add                 login   404       403     403       403             403      200     200
    change delete       login   404       403     403       403             403      403     403
# no role has the modelled fleet; a demo opens it
modelled_fleet.commandlog modelled_fleet.fleetreport modelled_fleet.fleethub:
    list see history    login   404       403     403       403             403      403     200
    add change delete   login   404       403     403       403             403      403     403
modelled_fleet.networkprofile modelled_fleet.outage modelled_fleet.defect modelled_fleet.fleetimage:
    list see history    login   404       403     403       403             403      403     200
    add change delete   login   404       403     403       403             403      403     200
"""
WAYS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "list": (("HEAD", "changelist"), ("POST", "changelist")),
    "add": (("GET", "add"), ("POST", "add")),
    "see": (("GET", "change"),),
    "change": (("POST", "change"),),
    "delete": (("HEAD", "delete"), ("POST", "delete")),
    "history": (("GET", "history"),),
}

ACTIONS = """
                        nobody  supplier  author  approver  operations-dcc  auditor  people  superuser
portal.user:
    deactivate reactivate send_password_reset login   404       403     403       403             no       yes     yes
portal.invitation:
    invite_again withdraw login   404       403     403       403             no       yes     yes
scheduling.quarantine:
    take_back end       login   404       no      no        yes             no       no      yes
scheduling.capacitypattern scheduling.maintenance scheduling.incident:
    delete_selected     login   404       no      no        yes             no       no      yes
hubs.network hubs.supplier hubs.hubmodel hubs.firmwareversion:
    delete_selected     login   404       no      no        no              no       no      yes
modelled_fleet.networkprofile modelled_fleet.outage modelled_fleet.defect modelled_fleet.fleetimage:
    delete_selected     login   404       403     403       403             403      403     yes
portal.user portal.invitation:
    delete_selected     login   404       403     403       403             no       no      no
ground.auditentry hubs.changeofsupplier firmware.firmwarerelease
scheduling.booking scheduling.finding scheduling.hubexception scheduling.lot scheduling.notice scheduling.oddreport
scheduling.reclaim scheduling.reconciliation scheduling.reportcount scheduling.slot scheduling.strayreport
scheduling.quarantine scheduling.exemption:
    delete_selected     login   404       no      no        no              no       no      no
modelled_fleet.commandlog modelled_fleet.fleetreport modelled_fleet.fleethub:
    delete_selected     login   404       403     403       403             403      403     no
"""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Write no line for each of the thousands that are refused, as they should be."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def differences(cast: Cast, lines: list[Line], ask: Callable[[str, Line, str], str]) -> list[str]:
    """Ask everybody of every column; return what was answered otherwise than the table says."""
    return [
        f"{line.route} {verb}, {who}: {answer} instead of {expected}"
        for line in lines
        for verb, (column, expected) in product(line.verbs, line.answers.items())
        for who in (cast.people[column] if expected != "-" else ())
        if (answer := ask(who, line, verb)) != expected
    ]


class TestEveryRoute:
    def test_is_in_one_table(self) -> None:
        of_tables = {
            f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
            for model in site._registry
            for page in ("changelist", "add", "history", "delete", "change")
        }
        named = [
            *sorted({f"scheduling:{line.route}" for line in read(SUPPLIERS)}),
            *sorted({line.route for line in read(ADMINISTRATORS)}),
            *sorted({line.route for line in read(EVERYBODY)}),
            *sorted({line.route for line in read(STAFF)}),
            *sorted(of_tables),
            "admin:firmware_firmwarerelease_decide",
            "admin:<path:object_id>/",  # an address from before Django 1.9: it leads to `change`
        ]

        assert sorted(set(routes(get_resolver()))) == sorted(named)

    def test_of_every_table_of_the_admin_has_every_way(self) -> None:
        told = [(line.route, way) for line in read(TABLES) for way in line.verbs]

        assert sorted(told) == sorted(
            (model._meta.label_lower, way) for model in site._registry for way in WAYS
        )

    def test_of_every_action_has_its_row(self) -> None:
        told = [(line.route, action) for line in read(ACTIONS) for action in line.verbs]

        assert sorted(told) == sorted((model._meta.label_lower, name) for model, name in every_action())

    def test_has_every_verb(self) -> None:
        for table, verbs in (
            (ADMINISTRATORS, {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}),
            (SUPPLIERS, {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}),
            (EVERYBODY, {"GET", "HEAD", "POST"}),
            (STAFF, {"GET", "HEAD", "POST"}),
            (DECISIONS, {"GET", "POST"}),
        ):
            told: dict[str, list[str]] = {}
            for line in read(table):
                told.setdefault(line.route, []).extend(line.verbs)
            assert {route: sorted(given) for route, given in told.items()} == dict.fromkeys(
                told, sorted(verbs)
            )


class TestSuppliersPages:
    def test_answer_as_the_table_says(self, cast: Cast, asker: Asker) -> None:
        found = differences(
            cast,
            read(SUPPLIERS),
            lambda who, line, verb: asker.answer(who, verb, address_of(line.route, cast)),
        )
        assert not found, "\n".join(found)

    def test_of_administrators_answer_as_the_table_says(self, cast: Cast, asker: Asker) -> None:
        def ask(who: str, line: Line, verb: str) -> str:
            named = ADMINISTRATORS_OWN.get(line.route)
            return asker.answer(who, verb, reverse(line.route, args=named(cast) if named else []))

        found = differences(cast, read(ADMINISTRATORS), ask)
        assert not found, "\n".join(found)

    def test_tell_nobody_what_exists(self, cast: Cast, asker: Asker) -> None:
        """What is another's answers as what is nobody's."""
        [who] = cast.people["elsewhere"]
        for name, named in OWN.items():
            known = named(cast)
            unknown = (
                UUID(int=1)
                if isinstance(known, UUID)
                else "BK-2222-2222"
                if isinstance(known, str)
                else 1 << 40
            )
            for verb in ("GET", "POST", "DELETE", "OPTIONS"):
                pages = []
                for address in (reverse(f"scheduling:{name}", args=[unknown]), address_of(name, cast)):
                    with asker.asked(who, verb, address) as response:
                        assert response.status_code == 404, (name, verb)
                        pages.append(text(response))
                assert pages[0] == pages[1], (name, verb)

    def test_show_a_reader_nothing_to_press(self, cast: Cast, asker: Asker) -> None:
        """No form that changes something of the Supplier's, and no link to a page that is only for those who may."""
        own = tuple(
            f'action="{reverse(name)}"' for name in ("exports", "saved-filters")
        )  # for whoever sees a list
        [who] = cast.people["read-only"]
        shown = sorted({line.route for line in read(SUPPLIERS) if line.answers["read-only"] == "200"})
        found: list[tuple[str, str]] = []
        for name in shown:
            response = asker.clients[who].get(address_of(name, cast))
            if not response.headers["Content-Type"].startswith("text/html"):
                word(response)
                continue
            main = response.content.decode().partition("<main")[2]
            found += [
                (name, form)
                for form in re.findall(r"<form\b[^>]*>", main)
                if 'method="post"' in form and not any(one in form for one in own)
            ]
            addresses = {html.unescape(one).partition("#")[0] for one in re.findall(r'href="(/[^"]*)"', main)}
            found += [(name, one) for one in addresses if asker.answer(who, "GET", one) == "403"]

        assert len(shown) > 15
        assert not found, "\n".join(map(str, sorted(found)))

    def test_of_a_release_that_is_shown_no_longer_are_gone(self, cast: Cast, asker: Asker) -> None:
        type(cast.world.release).objects.update(state="withdrawn", ended_at=cast.world.clock())

        answers = {
            name: asker.answer("northern operations", "GET", address_of(name, cast))
            for name in ("release", "bad-hubs", "book", "when", "booking")
        }
        assert answers == {**dict.fromkeys(answers, "404"), "booking": "200"}

    def test_carry_a_strict_policy_and_nothing_that_breaks_it(self, cast: Cast, asker: Asker) -> None:
        addresses = [
            *(address_of(line.route, cast) for line in read(SUPPLIERS)),
            *(reverse(line.route, kwargs=EVERYBODYS.get(line.route)) for line in read(EVERYBODY)),
            *(
                reverse(name, args=ADMINISTRATORS_OWN[name](cast) if name in ADMINISTRATORS_OWN else [])
                for name in {line.route for line in read(ADMINISTRATORS)}
            ),
        ]
        for who, address in product(("northern administrator", "a stranger"), sorted(set(addresses))):
            response = asker.clients[who].get(address)
            page = response.getvalue().decode()  # type: ignore[attr-defined]
            assert_keeps_to_itself(response)
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy, address
            assert "unsafe" not in policy, address
            assert_obeys_policy(page)


def text(response: HttpResponse) -> str:
    """Return a page without what differs each time, and without its address, which is printed."""
    page = response.content.decode()
    return re.sub(
        r'value="[^"]{36,64}"|"X-CSRFToken": "[^"]*"|As of [^<]*|<span class="address">[^<]*', "", page
    )


class TestFiltersOfSuppliers:
    """Numbers of another's in the part of an address that narrows, turns a page or begins a form."""

    NAMES = ("before", "after", "from", "group", "network", "search", "week", "source")

    def test_show_nothing_of_anothers(self, cast: Cast, asker: Asker) -> None:
        secrets = (GUARDED, cast.booking.reference, format_eui64(cast.hub.chf_id))
        values = (cast.group.pk, cast.booking.pk, cast.hub.chf_id, cast.booking.reference, "x" * 40, "\x00")
        lists = sorted(
            {line.route for line in read(SUPPLIERS) if line.answers["foreign"] == "-"}
            - {"book", "release", "first-steps"}  # the last is no page
        )
        found = []
        for name, parameter, value in product(lists, self.NAMES, (*values, "x" * 40, "-1", "\x00")):
            response = asker.clients["southern administrator"].get(address_of(name, cast), {parameter: value})
            page = response.getvalue().decode()  # type: ignore[attr-defined]
            if response.status_code != 200:
                found.append((name, parameter, value, response.status_code))
            # what was typed comes back in its field, and in the addresses of further pages
            page = page.replace(f'"{value}"', "").replace(f"={value}", "")
            found += [
                (name, parameter, value, secret) for secret in secrets if secret != value and secret in page
            ]

        assert found == []


class TestEverybodysPages:
    def test_answer_as_the_table_says(self, cast: Cast, asker: Asker) -> None:
        def ask(who: str, line: Line, verb: str) -> str:
            return asker.answer(who, verb, reverse(line.route, kwargs=EVERYBODYS.get(line.route)))

        found = differences(cast, read(EVERYBODY), ask)
        assert not found, "\n".join(found)


class TestStaffsPages:
    def test_answer_as_the_table_says(self, cast: Cast, asker: Asker) -> None:
        found = differences(
            cast,
            read(STAFF),
            lambda who, line, verb: asker.answer(who, verb, staff_address(line.route, cast)),
        )
        assert not found, "\n".join(found)

    def test_let_each_role_take_its_decisions(self, cast: Cast, asker: Asker) -> None:
        def ask(who: str, line: Line, verb: str) -> str:
            address = reverse(
                "admin:firmware_firmwarerelease_decide", args=[cast.world.release.pk, line.route]
            )
            return asker.answer(who, verb, address)

        assert {line.route for line in read(DECISIONS)} == set(ACTS)
        found = differences(cast, read(DECISIONS), ask)
        assert not found, "\n".join(found)

    def test_take_no_other_verb(self, cast: Cast, asker: Asker) -> None:
        addresses = [
            *(staff_address(line.route, cast) for line in read(STAFF) if line.route != "admin:login"),
            *(
                table_address(model, page, cast)
                for model in site._registry
                for page in ("changelist", "add", "change", "delete", "history")
            ),
        ]
        expected = {"superuser": "405", "northern administrator": "404", "a stranger": "login"}

        assert [
            (who, verb, address, answer)
            for (who, wanted), verb, address in product(
                expected.items(), ("PUT", "PATCH", "DELETE", "OPTIONS"), addresses
            )
            if (answer := asker.answer(who, verb, address)) != wanted
        ] == []


def staff_address(name: str, cast: Cast) -> str:
    """Return the address of a page of DCC's."""
    if name == "admin:(?P<url>.*)$":
        return "/admin/no/such/page/"
    query = f"?release={cast.world.release.pk}" if name in PORTION else ""
    return reverse(name, args=STAFFS[name](cast) if name in STAFFS else []) + query


TABLE_OF = {model._meta.label_lower: model for model in site._registry}


def table_address(model: type[Model], page: str, cast: Cast) -> str:
    """Return the address of a page about a table of the admin, or about its one row."""
    arguments = [] if page in ("changelist", "add") else [cast.row(model).pk]
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


class TestTables:
    @pytest.fixture
    def asker(self, cast: Cast, asker: Asker) -> Asker:
        """Return one who asks as people who gave their password a moment ago: some tables need that."""
        asker.show_who_they_are(cast)
        return asker

    def test_answer_as_the_table_says(self, cast: Cast, asker: Asker) -> None:
        lines = [
            Line(f"{line.route} {page}", (verb,), line.answers)
            for line in read(TABLES)
            for way in line.verbs
            for verb, page in WAYS[way]
        ]

        def ask(who: str, line: Line, verb: str) -> str:
            label, page = line.route.split()
            return asker.answer(who, verb, table_address(TABLE_OF[label], page, cast))

        found = differences(cast, lines, ask)
        assert not found, "\n".join(found)

    def test_offer_their_actions_to_those_who_may(self, cast: Cast, asker: Asker) -> None:
        def ask(who: str, line: Line, action: str) -> str:
            model = TABLE_OF[line.route]
            data = {"action": action, "_selected_action": [cast.row(model).pk]}
            return asker.acts(who, table_address(model, "changelist", cast), data)

        found = differences(cast, read(ACTIONS), ask)
        assert not found, "\n".join(found)


class TestListsOfTheAdmin:
    """A list is narrowed by what it offers, ordered by what it shows, and answers about nothing else."""

    SECRETS = ("password", "token_digest", "users__password", "context")

    @pytest.fixture
    def lists(self, cast: Cast) -> dict[type[Model], str]:
        # the queue of exceptions is a page of its own, which reads no such question
        return {
            model: table_address(model, "changelist", cast)
            for model in site._registry
            if model != HubException
        }

    def test_answer_each_filter_that_they_offer(self, lists: dict[type[Model], str], asker: Asker) -> None:
        client, asked = asker.clients["superuser"], 0
        for address in lists.values():
            shown = client.get(address).context["cl"]
            offered = [
                choice["query_string"] for spec in shown.filter_specs for choice in spec.choices(shown)
            ]
            if shown.date_hierarchy:
                offered.append(f"?{shown.date_hierarchy}__year=2026&{shown.date_hierarchy}__month=1")
            assert [query for query in offered if client.get(address + query).status_code != 200] == []
            asked += len(offered)
        assert asked > 50

    def test_answer_no_question_about_anything_else(
        self, lists: dict[type[Model], str], asker: Asker
    ) -> None:
        found = []
        for model, address in lists.items():
            fields = model._meta.get_fields()
            relations = [field.name for field in fields if isinstance(field, ForeignKey | ManyToManyField)]
            questions = [
                "pk__gt",
                *(f"{field.name}__startswith" for field in fields if not field.is_relation),
                *(f"{name}__{secret}__startswith" for name, secret in product(relations, self.SECRETS)),
            ]
            found += [
                (model, question, answer)
                for question in questions
                if (answer := asker.answer("superuser", "GET", address, {question: "a"})) != "400"
            ]
        assert found == []

    def test_are_ordered_by_what_they_show(self, lists: dict[type[Model], str], asker: Asker) -> None:
        orders = ("1", "-1", "99", "password", "1.-2.99")
        assert [
            (address, order)
            for address, order in product(lists.values(), orders)
            if asker.answer("superuser", "GET", address, {"o": order}) != "200"
        ] == []

    def test_name_a_row_by_nothing_but_its_key(self, lists: dict[type[Model], str], asker: Asker) -> None:
        """A pop-up could ask to have a row named by any of its columns."""
        assert [
            (model, field.name)
            for model, address in lists.items()
            for field in model._meta.concrete_fields
            if not field.primary_key
            and asker.answer("superuser", "GET", address, {"_to_field": field.name, "_popup": "1"}) != "400"
        ] == []

    def test_complete_no_choice_by_typing(self, cast: Cast, asker: Asker) -> None:
        address = reverse("admin:autocomplete")
        asked = {"app_label": "scheduling", "model_name": "booking", "field_name": "supplier", "term": "a"}

        assert asker.answer("superuser", "GET", address, asked) == "404"
