"""Tests of bringing people in and seeing them out."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.auth.models import Group
from django.db import connection

from firmware.operations.groups import ensure_groups
from hubs.models import Supplier
from portal import operations, second_factors, tokens
from portal.ground.models import AuditEntry
from portal.ground.roles import DccRole, SupplierRole
from portal.models import Invitation, User
from portal.operations import UnableToAccept, UnableToChangeRole, UnableToDeactivate, UnableToInvite
from scheduling.models import Notice
from tests.factories import PASSWORD, SupplierFactory, UserFactory
from tests.portal.letters import delivered


def token_of(link: str) -> str:
    return link.rstrip("/").rpartition("/")[2]


def invite(
    by: User, now: datetime, supplier: Supplier | None = None, email: str = "new@northern.example"
) -> str:
    role = SupplierRole.OPERATIONS if supplier else ""
    return token_of(operations.invite(email=email, supplier=supplier, role=role, by=by, now=now))


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

        link = operations.invite(
            email=" New@Northern.example ", supplier=supplier, role=SupplierRole.READ_ONLY, by=by, now=now
        )

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
        User.objects.filter(pk=northern.pk).update(role=SupplierRole.ADMINISTRATOR)
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
        User.objects.filter(pk=southern.pk).update(role=SupplierRole.ADMINISTRATOR)

        with pytest.raises(UnableToInvite, match="ask DCC"):
            invite(southern, now, southern.supplier)
        assert accept(token, now).supplier == northern.supplier

    def test_refuses_groups_in_a_supplier(self, staff: User, northern: User, now: datetime) -> None:
        group = Group.objects.create(name="Approvers")

        with pytest.raises(UnableToInvite, match="choose a Supplier or groups"):
            operations.invite(
                email="a@b.example", supplier=northern.supplier, groups=[group], by=staff, now=now
            )

    def test_refuses_a_role_without_a_supplier_and_a_supplier_without_a_role(
        self, staff: User, northern: User, now: datetime
    ) -> None:
        with pytest.raises(UnableToInvite, match="for a Supplier's people"):
            operations.invite(
                email="a@b.example", supplier=None, role=SupplierRole.ADMINISTRATOR, by=staff, now=now
            )
        for role in ("", "DCC approvers"):
            with pytest.raises(UnableToInvite, match="needs a role"):
                operations.invite(
                    email="a@b.example", supplier=northern.supplier, role=role, by=staff, now=now
                )

    @pytest.mark.parametrize(
        "together",
        [
            (DccRole.AUTHOR, DccRole.APPROVER),
            (DccRole.ADMINISTRATOR, DccRole.APPROVER),
            (DccRole.AUTHOR, DccRole.ADMINISTRATOR),
            (DccRole.AUDITOR, DccRole.OPERATIONS),
        ],
    )
    def test_refuses_roles_that_nobody_has_together(
        self, staff: User, together: tuple[DccRole, DccRole], now: datetime
    ) -> None:
        ensure_groups()

        with pytest.raises(UnableToInvite, match="for two people"):
            operations.invite(
                email="a@b.example",
                supplier=None,
                groups=Group.objects.filter(name__in=together),
                by=staff,
                now=now,
            )

    def test_takes_no_invitation_of_staff_who_do_not_manage_people(self, db: None, now: datetime) -> None:
        ensure_groups()
        author = UserFactory.create()
        author.groups.add(Group.objects.get(name=DccRole.AUTHOR))

        with pytest.raises(UnableToInvite, match="Only DCC"):
            invite(author, now)


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

    def test_says_so_to_the_person(self, staff: User, northern: User, now: datetime) -> None:
        operations.deactivate(user=northern, by=staff, now=now, reason="Left the company")
        operations.reactivate(user=northern, by=staff, now=now)

        ended, back = Notice.objects.order_by("pk")
        assert (ended.address, back.address) == (northern.email, northern.email)
        assert "Left the company" in ended.context["text"]
        assert "Northern Light Energy again" in back.context["text"]


@pytest.fixture
def administrator(northern: User) -> User:
    """An administrator of the northern Supplier."""
    return UserFactory.create(
        email="admin@northern.example", supplier=northern.supplier, role=SupplierRole.ADMINISTRATOR
    )


class TestSupplierAdministrators:
    def test_see_their_own_people_out_and_in_again(
        self, administrator: User, northern: User, southern: User, now: datetime
    ) -> None:
        operations.deactivate(user=northern, by=administrator, now=now)
        operations.reactivate(user=northern, by=administrator, now=now)

        with pytest.raises(UnableToDeactivate, match="Only DCC"):
            operations.deactivate(user=southern, by=administrator, now=now)
        with pytest.raises(UnableToDeactivate, match="Only DCC"):
            operations.deactivate(user=administrator, by=northern, now=now)
        assert User.objects.filter(is_active=True).count() == 3

    def test_withdraw_their_own_invitations(
        self, administrator: User, southern: User, staff: User, now: datetime
    ) -> None:
        invite(staff, now, southern.supplier, email="new@southern.example")

        with pytest.raises(UnableToInvite, match="Only DCC"):
            operations.withdraw(invitation=Invitation.objects.get(), by=administrator, now=now)
        assert Invitation.objects.exists()

    def test_act_no_longer_once_they_are_none(
        self, administrator: User, northern: User, now: datetime
    ) -> None:
        """What they are is asked when they act, not when their request began."""
        User.objects.filter(pk=administrator.pk).update(is_active=False)

        with pytest.raises(UnableToDeactivate, match="Only DCC"):
            operations.deactivate(user=northern, by=administrator, now=now)

    @pytest.mark.django_db(transaction=True)
    def test_leave_one_of_two_who_see_each_other_out_at_the_same_moment(self) -> None:
        now = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        supplier = SupplierFactory.create()
        pair = UserFactory.create_batch(2, supplier=supplier, role=SupplierRole.ADMINISTRATOR)
        together, refused = threading.Barrier(2), []

        def race(by: User, user: User) -> None:
            together.wait(timeout=10)
            try:
                operations.deactivate(user=user, by=by, now=now)
            except UnableToDeactivate as refusal:
                refused.append(str(refusal))
            finally:
                connection.close()

        threads = [threading.Thread(target=race, args=each) for each in (pair, pair[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)

        assert len(refused) == 1
        assert User.objects.filter(supplier=supplier, is_active=True).count() == 1


class TestChangeRole:
    def test_holds_is_recorded_and_is_told(self, administrator: User, northern: User, now: datetime) -> None:
        operations.change_role(
            user=northern, role=SupplierRole.READ_ONLY, by=administrator, now=now, reason="Moves to billing"
        )

        northern.refresh_from_db()
        assert northern.role == SupplierRole.READ_ONLY
        assert not northern.may_act
        entry = AuditEntry.objects.get(verb="user.role_changed")
        assert (entry.actor, entry.reason) == (administrator, "Moves to billing")
        assert (entry.facts["from"], entry.facts["to"]) == ("operations", "read-only")
        assert "is now: Read-only" in Notice.objects.get(address=northern.email).context["text"]

    def test_leaves_the_last_administrator_who_can_sign_in(
        self, administrator: User, northern: User, now: datetime
    ) -> None:
        other = UserFactory.create(
            supplier=northern.supplier, role=SupplierRole.ADMINISTRATOR, is_active=False
        )

        with pytest.raises(UnableToChangeRole, match="the last administrator"):
            operations.change_role(user=administrator, role="operations", by=administrator, now=now)
        administrator.refresh_from_db()
        assert administrator.role == SupplierRole.ADMINISTRATOR

        operations.reactivate(user=other, by=administrator, now=now)
        operations.change_role(user=administrator, role="operations", by=administrator, now=now)
        assert User.objects.get(pk=administrator.pk).role == SupplierRole.OPERATIONS

    @pytest.mark.django_db(transaction=True)
    def test_leaves_one_of_two_administrators_who_step_down_at_the_same_moment(self) -> None:
        now = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        supplier = SupplierFactory.create()
        pair = UserFactory.create_batch(2, supplier=supplier, role=SupplierRole.ADMINISTRATOR)
        together, refused = threading.Barrier(2), []

        def race(by: User) -> None:
            together.wait(timeout=10)
            try:
                operations.change_role(user=by, role="operations", by=by, now=now)
            except UnableToChangeRole as refusal:
                refused.append(str(refusal))
            finally:
                connection.close()

        threads = [threading.Thread(target=race, args=(each,)) for each in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)

        assert len(refused) == 1
        assert User.objects.filter(role=SupplierRole.ADMINISTRATOR).count() == 1

    def test_is_no_other_suppliers_nor_an_operations_persons(
        self, administrator: User, northern: User, southern: User, now: datetime
    ) -> None:
        for user, by in ((southern, administrator), (administrator, northern)):
            with pytest.raises(UnableToChangeRole, match="Only DCC"):
                operations.change_role(user=user, role="read-only", by=by, now=now)

    def test_lets_dcc_take_the_last_one(self, administrator: User, staff: User, now: datetime) -> None:
        operations.change_role(user=administrator, role="operations", by=staff, now=now)

        assert not User.objects.filter(role=SupplierRole.ADMINISTRATOR).exists()

    def test_refuses_the_role_that_it_is_and_one_that_is_none(
        self, administrator: User, northern: User, staff: User, now: datetime
    ) -> None:
        with pytest.raises(UnableToChangeRole, match="already"):
            operations.change_role(user=northern, role="operations", by=administrator, now=now)
        with pytest.raises(UnableToChangeRole, match="choose one of those"):
            operations.change_role(user=northern, role="DCC approvers", by=administrator, now=now)
        with pytest.raises(UnableToChangeRole, match="choose one of those"):
            operations.change_role(user=staff, role="operations", by=staff, now=now)


class TestChangeGroups:
    @pytest.fixture
    def manager(self, staff: User) -> User:
        ensure_groups()
        person = UserFactory.create(email="people@dcc.example")
        person.groups.add(Group.objects.get(name=DccRole.ADMINISTRATOR))
        return person

    def test_is_recorded_and_told(self, manager: User, now: datetime) -> None:
        person = UserFactory.create()
        groups = list(Group.objects.filter(name__in=[DccRole.AUTHOR, DccRole.OPERATIONS]))

        operations.change_groups(user=person, groups=groups, by=manager, now=now)

        entry = AuditEntry.objects.get(verb="user.groups_changed")
        assert entry.facts == {
            "from": [],
            "to": ["DCC operations", "DCC release managers"],
        }
        assert "DCC operations" in Notice.objects.get(address=person.email).context["text"]

    @pytest.mark.parametrize("who", ["themselves", "a superuser", "a Supplier's", "by an author", "together"])
    def test_is_refused(self, manager: User, staff: User, northern: User, who: str, now: datetime) -> None:
        groups = list(Group.objects.filter(name=DccRole.APPROVER))
        person, by = UserFactory.create(), manager
        if who == "themselves":
            person = manager
        elif who == "a superuser":
            person = staff
        elif who == "a Supplier's":
            person = northern
        elif who == "by an author":
            by = UserFactory.create()
            by.groups.add(Group.objects.get(name=DccRole.AUTHOR))
        else:
            groups += Group.objects.filter(name=DccRole.AUTHOR)
        before = list(person.groups.all())

        with pytest.raises(UnableToChangeRole):
            operations.change_groups(user=person, groups=groups, by=by, now=now)
        assert list(person.groups.all()) == before


class TestWhatIsOnRecordOfPeople:
    """Their ids, which lead to their accounts; an address only where there is no account yet."""

    def test_is_an_address_of_nobody_but_the_invited(
        self, staff: User, northern: User, now: datetime
    ) -> None:
        supplier = northern.supplier
        accept(invite(staff, now, supplier), now)
        invite(staff, now, supplier, "other@northern.example")
        operations.withdraw(invitation=Invitation.objects.get(accepted_at=None), by=staff, now=now)
        operations.change_role(user=northern, role="read-only", by=staff, now=now)
        operations.deactivate(user=northern, by=staff, now=now)
        operations.reactivate(user=northern, by=staff, now=now)
        colleague = UserFactory.create()
        operations.change_groups(
            user=colleague, groups=[Group.objects.create(name=DccRole.AUDITOR)], by=staff, now=now
        )
        RecoveryCodes.activate(northern)
        second_factors.take_away(user=northern, by=staff, reason="Lost", now=now)

        named = {entry.verb for entry in AuditEntry.objects.all() if "@" in f"{entry.subject} {entry.facts}"}

        assert named == {"invitation.made", "invitation.withdrawn"}
        assert AuditEntry.objects.count() == 9
