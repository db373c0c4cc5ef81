"""Tests of who needs a second factor, how one is set up, given, lost and taken away."""

import re
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.mfa.totp.internal.auth import yield_hotp_counters_from_time as steps
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from hubs.models import Supplier
from portal import second_factors
from portal.ground import clock
from portal.ground.models import AuditEntry
from portal.ground.roles import SupplierRole
from portal.models import Session, User
from tests.factories import PASSWORD, UserFactory
from tests.portal.letters import delivered
from tests.portal.test_attempts import at_once
from tests.signing_in import known_recently

LOGIN = "/accounts/login/"
SET_UP = "/accounts/second-factor/set-up/"
GIVE = "/accounts/second-factor/give/"
GIVE_AGAIN = "/accounts/second-factor/give-again/"


@pytest.fixture(autouse=True)
def required(settings: Settings) -> None:
    """Let the portal be as it is in production."""
    settings.SECOND_FACTOR = "required"


def with_app(person: User) -> str:
    """Give somebody an authenticator app with recovery codes; return its secret."""
    secret = generate_totp_secret()
    TOTP.activate(person, secret)
    RecoveryCodes.activate(person)
    return secret


def code_of(secret: str, *, step: int = 1) -> str:
    """Return what an app shows: 0 is the step before this one, 2 that after it."""
    return format_hotp_value(hotp_value(secret, list(steps())[step]))


def give_password(person: User) -> Client:
    """Return a browser in which somebody has given their password."""
    client = Client()
    client.post(LOGIN, {"login": person.email, "password": PASSWORD})
    return client


def is_in(client: Client) -> bool:
    """Tell whether somebody is signed in."""
    return "_auth_user_id" in client.session


class TestWhoNeedsOne:
    @pytest.mark.parametrize("address", ["/admin/", "/admin/portal/user/", "/accounts/", "/"])
    def test_sees_nothing_else_without(self, staff: User, address: str) -> None:
        client = give_password(staff)

        response = client.get(address)

        assert response.headers["Location"] == SET_UP
        assert "DCC staff need a second factor" in client.get(SET_UP).content.decode()

    def test_does_nothing_without(self, staff: User, northern: User) -> None:
        client = Client()
        known_recently(client=client, person=staff)

        response = client.post("/admin/portal/invitation/add/", {"email": "noor@northern.example"})

        assert response.headers["Location"] == SET_UP

    def test_is_told_so_where_a_page_asks_by_itself(self, staff: User) -> None:
        response = give_password(staff).get("/admin/health/", headers={"HX-Request": "true"})

        assert response.headers["HX-Redirect"] == SET_UP

    @pytest.mark.parametrize(
        "name",
        ["account_logout", "account_change_password", "set-up-second-factor", "account_reauthenticate"],
    )
    def test_can_still_sign_out_and_change_the_password(self, staff: User, name: str) -> None:
        assert give_password(staff).get(reverse(name)).status_code == HTTPStatus.OK

    def test_is_everybody_of_a_supplier_that_asks_for_it(self, northern: User, southern: User) -> None:
        Supplier.objects.filter(pk=northern.supplier_id).update(second_factor_required=True)

        assert give_password(northern).get("/").headers["Location"] == SET_UP
        assert give_password(southern).get("/").status_code == HTTPStatus.OK

    def test_is_told_whose_rule_it_is(self, staff: User, northern: User, southern: User) -> None:
        Supplier.objects.filter(pk=northern.supplier_id).update(second_factor_required=True)
        opens = "Everything else opens once you have one."

        for person, words in (
            (staff, f"DCC staff need a second factor beside the password. {opens}"),
            (
                northern,
                f"{northern.supplier} asks its people for a second factor beside the password. {opens}",
            ),
            (southern, "You need none here."),
        ):
            page = " ".join(give_password(person).get(SET_UP).content.decode().split())
            assert words in page
            assert (opens in page) is (person != southern)

    def test_works_with_one(self, staff: User) -> None:
        secret = with_app(staff)
        client = give_password(staff)

        client.post(GIVE, {"code": code_of(secret)})

        assert client.get("/admin/").status_code == HTTPStatus.OK
        assert client.get(SET_UP).headers["Location"] == "/accounts/"

    def test_is_nobody_in_a_demo(self, staff: User, settings: Settings) -> None:
        settings.SECOND_FACTOR = "optional"

        assert give_password(staff).get("/admin/").status_code == HTTPStatus.OK

    def test_keeps_the_last(self, staff: User) -> None:
        secret = with_app(staff)
        client = give_password(staff)
        client.post(GIVE, {"code": code_of(secret)})
        client.post(GIVE_AGAIN, {"code": code_of(secret, step=2)})

        refused = client.post(reverse("mfa_deactivate_totp"))

        assert "You need a second factor" in refused.content.decode()
        assert Authenticator.objects.filter(user=staff, type="totp").exists()


class TestSigningIn:
    @pytest.mark.parametrize("address", ["/", "/admin/", "/admin/login/"])
    def test_lets_nobody_in_between_the_two(self, staff: User, address: str) -> None:
        with_app(staff)
        client = give_password(staff)

        assert not is_in(client)
        assert client.get(address, follow=True).redirect_chain[-1][0].startswith((LOGIN, GIVE))

    @pytest.mark.parametrize("step", [0, 1, 2])
    def test_takes_the_code_of_a_clock_that_is_a_little_off(self, northern: User, step: int) -> None:
        secret = with_app(northern)
        client = give_password(northern)

        response = client.post(GIVE, {"code": code_of(secret, step=step)})

        assert response.headers["Location"] == "/"
        assert is_in(client)

    def test_takes_a_code_once(self, northern: User) -> None:
        secret = with_app(northern)
        code = code_of(secret)
        give_password(northern).post(GIVE, {"code": code})
        thief = give_password(northern)

        refused = thief.post(GIVE, {"code": f"{code[:3]}-{code[3:]}"})

        assert "was used already" in refused.content.decode()
        assert not is_in(thief)

    @pytest.mark.django_db(transaction=True)
    def test_takes_a_code_once_of_many_at_once(self, northern: User) -> None:
        code = code_of(with_app(northern))
        clients = [give_password(northern) for _ in range(4)]

        at_once(*(partial(client.post, GIVE, {"code": code}) for client in clients))

        assert [is_in(client) for client in clients].count(True) == 1

    def test_takes_the_code_of_setting_it_up_no_more(self, northern: User) -> None:
        client = Client()
        known_recently(client=client, person=northern)
        page = client.get(reverse("mfa_activate_totp")).content.decode()
        secret = re.findall(r'class="factor-secret">(\w+)<', page)[0]
        code = code_of(secret)
        client.post(reverse("mfa_activate_totp"), {"code": code})

        thief = give_password(northern)
        thief.post(GIVE, {"code": code})

        assert Authenticator.objects.filter(user=northern, type="totp").exists()
        assert not is_in(thief)

    def test_limits_wrong_codes(self, northern: User) -> None:
        secret = with_app(northern)
        client = give_password(northern)
        for _ in range(5):
            client.post(GIVE, {"code": "000000"})

        refused = client.post(GIVE, {"code": code_of(secret)})

        assert "Too many wrong attempts" in refused.content.decode()
        assert not is_in(client)

    def test_goes_where_the_person_was_going(self, northern: User) -> None:
        secret = with_app(northern)
        client = Client()
        client.post(LOGIN, {"login": northern.email, "password": PASSWORD, "next": "/bookings/"})

        assert client.post(GIVE, {"code": code_of(secret)}).headers["Location"] == "/bookings/"


@pytest.mark.django_db(transaction=True)
class TestRecoveryCodes:
    def test_let_somebody_in_once_and_they_are_told(self, northern: User) -> None:
        with_app(northern)
        [row] = Authenticator.objects.filter(user=northern, type="recovery_codes")
        code = row.wrap().get_unused_codes()[0]
        client = give_password(northern)

        client.post(GIVE, {"code": code})

        assert is_in(client)
        again = give_password(northern)
        again.post(GIVE, {"code": code})
        assert not is_in(again)
        [message] = delivered()
        assert message.subject == "A recovery code was used"
        assert "9 are left" in message.body

    def test_are_shown_once(self, northern: User) -> None:
        client = Client()
        known_recently(client=client, person=northern)
        page = client.get(reverse("mfa_activate_totp")).content.decode()
        secret = re.findall(r'class="factor-secret">(\w+)<', page)[0]
        shown = client.post(reverse("mfa_activate_totp"), {"code": code_of(secret)}, follow=True)
        codes = re.findall(r"<code>(\d{8})</code>", shown.content.decode())

        assert len(codes) == 10
        assert all(f"{code}%0A" in shown.content.decode() for code in codes)
        again = client.get(reverse("mfa_view_recovery_codes")).content.decode()
        assert not any(code in again for code in codes)
        assert "10 of 10 are left" in again
        assert [message.subject for message in delivered()] == ["An authenticator app was set up"]


class TestTheDatabase:
    def test_holds_no_secret_in_the_clear(self, northern: User) -> None:
        client = Client()
        known_recently(client=client, person=northern)
        page = client.get(reverse("mfa_activate_totp")).content.decode()
        secret = re.findall(r'class="factor-secret">(\w+)<', page)[0]
        during = list(Session.objects.values_list("session_data", flat=True))
        client.post(reverse("mfa_activate_totp"), {"code": code_of(secret)})

        kept = str(list(Authenticator.objects.values_list("data", flat=True)))
        assert secret not in kept
        assert not any(secret in data for data in during)
        assert client.session["account_authentication_methods"]

    def test_opens_secrets_by_earlier_keys_until_they_are_sealed_anew(
        self, northern: User, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        secret = with_app(northern)
        old, new = settings.SEALING_KEYS[0], "d4" * 32
        settings.SEALING_KEYS = [new, old]
        client = give_password(northern)
        client.post(GIVE, {"code": code_of(secret)})
        assert is_in(client)

        call_command("seal_anew")
        settings.SEALING_KEYS = [new]

        assert "2 secrets" in capsys.readouterr().out
        assert Authenticator.objects.get(type="totp").wrap().validate_code(code_of(secret, step=2))
        assert len(Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()) == 10


class TestReauthentication:
    def test_asks_whoever_has_a_second_factor_for_that(self, staff: User, northern: User) -> None:
        secret = with_app(staff)
        client = give_password(staff)
        client.post(GIVE, {"code": code_of(secret)})

        asked = client.post(f"/admin/people/{northern.pk}/second-factor/", {"reason": "Lost"})
        by_password = client.post("/accounts/reauthenticate/", {"password": PASSWORD})

        assert asked.headers["Location"].startswith(GIVE_AGAIN)
        assert by_password.headers["Location"].startswith(GIVE_AGAIN)
        replayed = client.post(GIVE_AGAIN, {"code": code_of(secret)})
        assert "was used already" in replayed.content.decode()
        done = client.post(f"{GIVE_AGAIN}?next=/admin/", {"code": code_of(secret, step=2)})
        assert done.headers["Location"] == "/admin/"

    @pytest.mark.parametrize(
        ("address", "sent"),
        [
            ("/admin/portal/user/", {"action": "deactivate", "_selected_action": "1"}),
            ("/admin/portal/user/{pk}/change/", {"first_name": "Ada"}),
            ("/admin/portal/invitation/", {"action": "withdraw", "_selected_action": "1"}),
            ("/admin/portal/invitation/add/", {"email": "noor@northern.example"}),
            ("/admin/people/{pk}/second-factor/", {"reason": "Lost"}),
            ("/admin/suppliers/{supplier}/second-factor/", {"required": "yes"}),
        ],
    )
    @pytest.mark.parametrize(("ago", "is_asked"), [(0, False), (301, True)])
    def test_is_asked_of_whoever_manages_people_after_five_minutes(
        self,
        staff: User,
        northern: User,
        settings: Settings,
        address: str,
        sent: dict[str, str],
        ago: int,
        is_asked: bool,
    ) -> None:
        settings.SECOND_FACTOR = "optional"
        client = Client()
        known_recently(client=client, person=staff, ago=ago)

        response = client.post(address.format(pk=northern.pk, supplier=northern.supplier_id), sent)

        assert ("/accounts/reauthenticate/" in response.headers.get("Location", "")) is is_asked

    def test_goes_on_with_what_was_asked(self, staff: User, northern: User, settings: Settings) -> None:
        settings.SECOND_FACTOR = "optional"
        client = give_password(staff)
        asked = client.post(
            "/admin/portal/user/", {"action": "deactivate", "_selected_action": str(northern.pk)}
        )

        client.post(asked.headers["Location"], {"password": PASSWORD, "next": "/admin/portal/user/"})

        assert not User.objects.get(pk=northern.pk).is_active


@pytest.mark.django_db(transaction=True)
class TestTakeAway:
    @pytest.fixture
    def client(self, staff: User, settings: Settings) -> Iterator[Client]:
        """Return the browser of an administrator who has shown of late who they are."""
        settings.SECOND_FACTOR = "optional"
        client = Client()
        known_recently(client=client, person=staff)
        return client

    def test_ends_sessions_is_told_and_recorded(self, client: Client, staff: User, northern: User) -> None:
        secret = with_app(northern)
        theirs = give_password(northern)
        theirs.post(GIVE, {"code": code_of(secret)})
        address = f"/admin/people/{northern.pk}/second-factor/"
        assert "TOTP" in client.get(address).content.decode()

        client.post(address, {"reason": "Telephone stolen; called back on the known number"})

        assert not Authenticator.objects.filter(user=northern).exists()
        assert theirs.get("/").headers["Location"].startswith(LOGIN)
        [message] = delivered()
        assert (message.subject, message.to) == ("Your second factor was taken away", [northern.email])
        [entry] = AuditEntry.objects.filter(verb="second_factor.taken_away")
        assert (entry.actor, entry.subject) == (staff, f"user:{northern.pk}")
        assert entry.reason.startswith("Telephone stolen")
        assert entry.facts["had"] == ["recovery_codes", "totp"]

    @pytest.mark.parametrize(
        ("reason", "whose"), [(" ", "northern"), ("Lost", "staff"), ("Lost", "southern")]
    )
    def test_is_refused(
        self, client: Client, staff: User, northern: User, southern: User, reason: str, whose: str
    ) -> None:
        with_app(northern)
        with_app(staff)
        person = {"northern": northern, "staff": staff, "southern": southern}[whose]

        with pytest.raises(second_factors.UnableToTakeAway):
            second_factors.take_away(user=person, by=staff, reason=reason, now=clock.now())

        assert Authenticator.objects.count() == 4
        assert not AuditEntry.objects.exists()

    @pytest.mark.parametrize(
        "address", ["/admin/people/{}/second-factor/", "/admin/suppliers/{}/second-factor/"]
    )
    def test_is_for_those_who_manage_people(self, client: Client, northern: User, address: str) -> None:
        with_app(northern)
        known_recently(client=client, person=UserFactory.create())
        asked = address.format(northern.pk if "people" in address else northern.supplier_id)

        for response in (client.get(asked), client.post(asked, {"reason": "Lost", "required": "yes"})):
            assert response.status_code == HTTPStatus.FORBIDDEN
        assert Authenticator.objects.filter(user=northern).exists()
        assert not Supplier.objects.filter(second_factor_required=True).exists()


class TestRule:
    @pytest.fixture(autouse=True)
    def optional(self, settings: Settings) -> None:
        """Let DCC staff work without one."""
        settings.SECOND_FACTOR = "optional"

    @pytest.fixture
    def administrator(self, northern: User) -> User:
        """Return the administrator of the northern Supplier."""
        return UserFactory.create(supplier=northern.supplier, role=SupplierRole.ADMINISTRATOR)

    def test_is_changed_by_the_suppliers_administrator(self, administrator: User, southern: User) -> None:
        client = Client()
        known_recently(client=client, person=administrator)
        assert "2 people have none" in client.get("/people/second-factor/").content.decode()

        client.post("/people/second-factor/", {"required": "yes"})

        assert list(Supplier.objects.filter(second_factor_required=True)) == [administrator.supplier]
        [entry] = AuditEntry.objects.all()
        assert (entry.actor, entry.verb) == (administrator, "second_factor.required")

    def test_is_changed_by_dcc(self, staff: User, northern: User) -> None:
        client = Client()
        known_recently(client=client, person=staff)
        address = f"/admin/suppliers/{northern.supplier_id}/second-factor/"

        for sent, is_required in (("yes", True), ("yes", True), ("no", False)):
            client.post(address, {"required": sent})
            assert Supplier.objects.get(pk=northern.supplier_id).second_factor_required is is_required

        assert list(AuditEntry.objects.order_by("pk").values_list("verb", flat=True)) == [
            "second_factor.required",
            "second_factor.optional",
        ]

    def test_wants_to_know_again_who_it_is(self, administrator: User) -> None:
        response = give_password(administrator).post("/people/second-factor/", {"required": "yes"})

        assert response.headers["Location"].startswith("/accounts/reauthenticate/")
        assert not Supplier.objects.filter(second_factor_required=True).exists()

    def test_is_nobody_elses_to_change(self, northern: User) -> None:
        client = Client()
        known_recently(client=client, person=northern)

        response = client.post("/people/second-factor/", {"required": "yes"})

        assert response.status_code == HTTPStatus.FORBIDDEN
        assert not Supplier.objects.filter(second_factor_required=True).exists()

    def test_is_no_other_suppliers(self, administrator: User, southern: User) -> None:
        assert southern.supplier is not None

        with pytest.raises(second_factors.UnableToRule):
            second_factors.rule(
                supplier=southern.supplier, is_required=True, by=administrator, now=clock.now()
            )
