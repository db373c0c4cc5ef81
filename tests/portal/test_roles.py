"""Who may do what, as it is stated in one place."""

from itertools import combinations
from threading import Barrier

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction

from portal.ground import roles, sql
from portal.ground.roles import DccRole, SupplierRole
from portal.models import User
from tests.factories import SupplierFactory, UserFactory
from tests.scheduling.test_races import at_once

SIGN_OFF, PUBLISH = "firmware.sign_off_firmwarerelease", "firmware.publish_firmwarerelease"
INVITE, MANAGE = "portal.add_invitation", "portal.change_user"


def together(*chosen: DccRole) -> frozenset[str]:
    return frozenset[str]().union(*map(roles.permissions_of, chosen))


class TestDccRoles:
    def test_let_nobody_publish_alone(self) -> None:
        allowed = [
            together(*chosen)
            for size in range(1, len(DccRole) + 1)
            for chosen in combinations(DccRole, size)
            if not roles.conflict(chosen)
        ]

        assert len(allowed) > len(DccRole)  # some go together
        for permissions in allowed:
            assert not {SIGN_OFF, PUBLISH} <= permissions
            # nor by way of a second self
            assert not (permissions & {INVITE, MANAGE} and permissions & {SIGN_OFF, PUBLISH})

    def test_let_an_auditor_see_what_anybody_sees_and_change_nothing(self) -> None:
        auditors = roles.permissions_of(DccRole.AUDITOR)
        seen = {name for role in DccRole for name in roles.permissions_of(role) if ".view_" in name}

        assert auditors == seen

    @pytest.mark.parametrize("role", DccRole)
    def test_name_each_permission_once_for_each_capability(self, role: DccRole) -> None:
        named = [name for one in roles.CAPABILITIES if role in one.roles for name in one.permissions]

        assert len(named) == len(set(named))

    def test_delete_no_release_and_no_person(self) -> None:
        every = together(*DccRole)

        assert not every & {"firmware.delete_firmwarerelease", "portal.delete_user", "portal.add_user"}


class TestConflict:
    def test_names_both_and_the_reason(self) -> None:
        sentence = roles.conflict([DccRole.APPROVER, DccRole.OPERATIONS, DccRole.AUTHOR])

        assert sentence == (
            "DCC release managers and DCC approvers are for two people. Whoever publishes releases cannot also sign "
            "them off: leave one of them out."
        )

    def test_lets_others_go_together(self) -> None:
        assert roles.conflict([DccRole.AUTHOR, DccRole.OPERATIONS, "A group of somebody else's"]) == ""


GIVE = "INSERT INTO portal_user_groups (user_id, group_id) VALUES (%s, %s)"


def give(person: User, *given: Group) -> None:
    """Give groups past Python."""
    with transaction.atomic(), connection.cursor() as cursor:
        for group in given:
            cursor.execute(GIVE, [person.pk, group.pk])


@pytest.mark.django_db
class TestTheDatabase:
    """What no path gives anybody, whoever writes."""

    @pytest.fixture
    def groups(self) -> dict[str, Group]:
        return {role: Group.objects.get_or_create(name=role.value)[0] for role in DccRole}

    def test_knows_the_same_pairs(self) -> None:
        held = {frozenset(pair) for pair in sql.rows("SELECT one, other FROM portal_roles_apart()", {})}

        assert held == {frozenset((one.value, other.value)) for one, other, _ in roles.CONFLICTS}

    @pytest.mark.parametrize(("one", "other"), list(combinations(DccRole, 2)))
    def test_refuses_what_nobody_has_together(
        self, one: DccRole, other: DccRole, groups: dict[str, Group]
    ) -> None:
        for first, second in ((one, other), (other, one)):
            person = UserFactory.create(is_staff=True)
            give(person, groups[first])
            if not roles.conflict([one, other]):
                give(person, groups[second])
                continue
            with pytest.raises(IntegrityError, match="are for two people"):
                give(person, groups[second])
            with pytest.raises(IntegrityError, match="are for two people"):
                give(UserFactory.create(is_staff=True), groups[first], groups[second])

    def test_lets_one_take_the_place_of_another(self, groups: dict[str, Group]) -> None:
        person = UserFactory.create(is_staff=True)
        give(person, groups[DccRole.AUTHOR])

        person.groups.set([groups[DccRole.APPROVER], groups[DccRole.OPERATIONS]])

        assert person.groups.count() == 2

    def test_refuses_a_row_that_becomes_another(self, groups: dict[str, Group]) -> None:
        person = UserFactory.create(is_staff=True)
        give(person, groups[DccRole.AUTHOR], groups[DccRole.OPERATIONS])

        with pytest.raises(IntegrityError, match="are for two people"), transaction.atomic():
            sql.run(
                "UPDATE portal_user_groups SET group_id = %(to)s WHERE group_id = %(one)s",
                {"to": groups[DccRole.APPROVER].pk, "one": groups[DccRole.OPERATIONS].pk},
            )

    def test_gives_a_suppliers_person_no_groups(self, groups: dict[str, Group]) -> None:
        supplier = SupplierFactory.create()
        with pytest.raises(IntegrityError, match="groups are for people of DCC"):
            give(UserFactory.create(supplier=supplier), groups[DccRole.AUDITOR])

        person = UserFactory.create(is_staff=True)
        give(person, groups[DccRole.AUDITOR])
        with pytest.raises(IntegrityError, match="groups are for people of DCC"), transaction.atomic():
            User.objects.filter(pk=person.pk).update(
                is_staff=False, supplier=supplier, role=SupplierRole.OPERATIONS
            )

    def test_gives_dccs_people_no_role_of_a_suppliers(self) -> None:
        person = UserFactory.create(is_staff=True)

        with pytest.raises(IntegrityError, match="user_of_a_supplier_has_a_role"), transaction.atomic():
            User.objects.filter(pk=person.pk).update(role=SupplierRole.ADMINISTRATOR)


@pytest.mark.django_db(transaction=True)
class TestTwoAtOnce:
    def test_do_not_give_somebody_both(self) -> None:
        person = UserFactory.create(is_staff=True)
        together = Barrier(2, timeout=30)

        def gives(role: DccRole) -> None:
            with transaction.atomic():
                group = Group.objects.create(name=role.value)
                together.wait()
                give(person, group)

        went = at_once(lambda: gives(DccRole.AUTHOR), lambda: gives(DccRole.APPROVER))

        assert sorted(type(one).__name__ for one in went) == ["IntegrityError", "NoneType"]
        assert person.groups.count() == 1


class TestSupplierRoles:
    def test_each_may_all_that_the_next_one_may(self) -> None:
        reach = [
            {one.words for one in roles.SUPPLIER_CAPABILITIES if role in one.roles}
            for role in (SupplierRole.ADMINISTRATOR, SupplierRole.OPERATIONS, SupplierRole.READ_ONLY)
        ]

        assert reach[0] > reach[1] > reach[2] == {roles.SEE.words}

    def test_say_why_not(self) -> None:
        assert set(roles.REFUSALS) == set(roles.SUPPLIER_CAPABILITIES)
