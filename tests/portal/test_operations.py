"""Tests of bringing people in and seeing them out."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from hubs.models import Supplier
from portal import operations, tokens
from portal.ground.models import AuditEntry
from portal.models import Invitation, User
from portal.operations import UnableToAccept, UnableToDeactivate, UnableToInvite
from tests.factories import PASSWORD, SupplierFactory, UserFactory
from tests.portal.letters import delivered


def token_of(link: str) -> str:
    return link.rstrip("/").rpartition("/")[2]


def invite(
    by: User, now: datetime, supplier: Supplier | None = None, email: str = "new@northern.example"
) -> str:
    return token_of(operations.invite(email=email, supplier=supplier, by=by, now=now))


def accept(token: str, now: datetime) -> User:
    return operations.accept(token=token, first_name="Noor", last_name="Haddad", password=PASSWORD, now=now)


class TestInvite:
    def test_keeps_only_a_digest_of_the_link(self, staff: User, northern: User, now: datetime) -> None:
        token = invite(staff, now, northern.supplier)

        invitation = Invitation.objects.get()
        assert invitation.token_digest == tokens.digest(token)
        assert not Invitation.objects.filter(token_digest__contains=token).exists()
        assert token not in str(AuditEntry.objects.values_list("facts", "subject", "reason"))

    def test_works_for_seven_days(self, staff: User, northern: User, now: datetime) -> None:
        invite(staff, now, northern.supplier)

        invitation = Invitation.objects.get()
        assert invitation.is_open(now=now + timedelta(days=7, seconds=-1))
        assert not invitation.is_open(now=now + timedelta(days=7))

    @pytest.mark.django_db(transaction=True)
    def test_writes_the_link_to_the_address_in_text_and_html(self, now: datetime) -> None:
        by = User.objects.create_superuser("staff@dcc.example")
        supplier = SupplierFactory.create(name="Northern Light Energy")

        link = operations.invite(email=" New@Northern.example ", supplier=supplier, by=by, now=now)

        [message] = delivered()
        assert message.to == ["new@northern.example"]
        assert link in message.body
        assert "Northern Light Energy" in message.body
        assert link in str(message.alternatives[0][0])

    def test_is_recorded(self, staff: User, northern: User, now: datetime) -> None:
        invite(staff, now, northern.supplier)

        entry = AuditEntry.objects.get(verb="invitation.made")
        assert entry.actor == staff
        assert entry.facts["email"] == "new@northern.example"
        assert entry.recorded_at == now

    def test_replaces_an_earlier_link_to_the_same_address(
        self, staff: User, northern: User, now: datetime
    ) -> None:
        earlier = invite(staff, now, northern.supplier)
        later = invite(staff, now + timedelta(hours=1), northern.supplier, email="NEW@northern.example")

        with pytest.raises(UnableToAccept):
            accept(earlier, now + timedelta(hours=2))
        assert accept(later, now + timedelta(hours=2)).email == "new@northern.example"

    def test_refuses_an_address_with_an_account(self, staff: User, northern: User, now: datetime) -> None:
        with pytest.raises(UnableToInvite, match="has an account already"):
            invite(staff, now, northern.supplier, email="OPS@northern.example")

    def test_is_dccs_and_the_suppliers_administrators(
        self, northern: User, southern: User, now: datetime
    ) -> None:
        with pytest.raises(UnableToInvite, match="Only DCC"):
            invite(northern, now, northern.supplier)
        User.objects.filter(pk=northern.pk).update(is_supplier_administrator=True)
        northern.refresh_from_db()
        with pytest.raises(UnableToInvite, match="Only DCC"):
            invite(northern, now, southern.supplier)
        with pytest.raises(UnableToInvite, match="Only DCC"):
            invite(northern, now, None)

        invite(northern, now, northern.supplier)

        assert Invitation.objects.get().supplier == northern.supplier

    def test_lets_no_supplier_take_over_anothers_open_invitation(
        self, staff: User, northern: User, southern: User, now: datetime
    ) -> None:
        token = invite(staff, now, northern.supplier)
        southern.is_supplier_administrator = True

        with pytest.raises(UnableToInvite, match="ask DCC"):
            invite(southern, now, southern.supplier)
        assert accept(token, now).supplier == northern.supplier

    def test_refuses_groups_in_a_supplier(self, staff: User, northern: User, now: datetime) -> None:
        group = Group.objects.create(name="Approvers")

        with pytest.raises(UnableToInvite, match="choose a Supplier or groups"):
            operations.invite(
                email="a@b.example", supplier=northern.supplier, groups=[group], by=staff, now=now
            )

    def test_refuses_a_supplier_administrator_without_a_supplier(self, staff: User, now: datetime) -> None:
        with pytest.raises(UnableToInvite, match="needs a Supplier"):
            operations.invite(
                email="a@b.example", supplier=None, is_supplier_administrator=True, by=staff, now=now
            )


class TestAccept:
    def test_makes_a_user_of_the_supplier(self, staff: User, northern: User, now: datetime) -> None:
        token = invite(staff, now, northern.supplier)

        user = accept(token, now)

        assert (user.supplier, user.is_staff, user.email) == (
            northern.supplier,
            False,
            "new@northern.example",
        )
        assert user.check_password(PASSWORD)
        assert Invitation.objects.get().accepted_by == user
        assert AuditEntry.objects.get(verb="invitation.accepted").actor == user

    def test_makes_dcc_staff_with_their_groups(self, staff: User, now: datetime) -> None:
        group = Group.objects.create(name="Approvers")
        link = operations.invite(email="new@dcc.example", supplier=None, groups=[group], by=staff, now=now)

        user = accept(token_of(link), now)

        assert user.is_staff
        assert not user.is_superuser
        assert list(user.groups.all()) == [group]

    @pytest.mark.parametrize("token", ["unknown", ""])
    def test_refuses_an_unknown_link(self, db: None, token: str, now: datetime) -> None:
        with pytest.raises(UnableToAccept):
            accept(token, now)

    def test_refuses_a_used_link(self, staff: User, northern: User, now: datetime) -> None:
        token = invite(staff, now, northern.supplier)
        accept(token, now)

        with pytest.raises(UnableToAccept, match="used"):
            accept(token, now)

    def test_refuses_an_expired_link(self, staff: User, northern: User, now: datetime) -> None:
        token = invite(staff, now, northern.supplier)

        with pytest.raises(UnableToAccept, match="expired"):
            accept(token, now + timedelta(days=7))
        assert not User.objects.filter(email="new@northern.example").exists()

    def test_refuses_where_an_account_has_come_up_meanwhile(
        self, staff: User, northern: User, now: datetime
    ) -> None:
        token = invite(staff, now, northern.supplier)
        UserFactory.create(email="new@northern.example")

        with pytest.raises(UnableToAccept, match="sign in instead"):
            accept(token, now)
        assert Invitation.objects.get().accepted_at is None

    @pytest.mark.django_db(transaction=True)
    def test_makes_one_user_of_two_who_race(self) -> None:
        now = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        by = User.objects.create_superuser("staff@dcc.example")
        token = invite(by, now, SupplierFactory.create())
        together, outcomes = threading.Barrier(4), []

        def race() -> None:
            together.wait(timeout=10)
            try:
                outcomes.append(accept(token, now).pk)
            except UnableToAccept:
                outcomes.append(None)
            finally:
                connection.close()

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)

        assert outcomes.count(None) == 3
        assert User.objects.filter(email="new@northern.example").count() == 1


class TestWithdraw:
    def test_makes_the_link_worthless(self, staff: User, northern: User, now: datetime) -> None:
        token = invite(staff, now, northern.supplier)

        assert operations.withdraw(invitation=Invitation.objects.get(), by=staff, now=now)

        with pytest.raises(UnableToAccept):
            accept(token, now)
        assert AuditEntry.objects.filter(verb="invitation.withdrawn", actor=staff).count() == 1

    def test_leaves_an_accepted_one(self, staff: User, northern: User, now: datetime) -> None:
        accept(invite(staff, now, northern.supplier), now)

        assert not operations.withdraw(invitation=Invitation.objects.get(), by=staff, now=now)
        assert Invitation.objects.count() == 1


class TestDeactivate:
    def test_ends_access_and_is_recorded(self, staff: User, northern: User, now: datetime) -> None:
        operations.deactivate(user=northern, by=staff, now=now, reason="left the company")

        northern.refresh_from_db()
        assert not northern.is_active
        assert AuditEntry.objects.get(verb="user.deactivated").reason == "left the company"

    def test_refuses_to_end_ones_own(self, staff: User, now: datetime) -> None:
        with pytest.raises(UnableToDeactivate, match="their own"):
            operations.deactivate(user=staff, by=staff, now=now)

    def test_refuses_twice(self, staff: User, northern: User, now: datetime) -> None:
        operations.deactivate(user=northern, by=staff, now=now)

        with pytest.raises(UnableToDeactivate, match="no access any more"):
            operations.deactivate(user=northern, by=staff, now=now)


class TestReactivate:
    def test_gives_access_back(self, staff: User, northern: User, now: datetime) -> None:
        operations.deactivate(user=northern, by=staff, now=now)

        operations.reactivate(user=northern, by=staff, now=now)

        northern.refresh_from_db()
        assert northern.is_active
