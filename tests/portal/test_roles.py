"""Who may do what, as it is stated in one place."""

from itertools import combinations

import pytest

from portal.ground import roles
from portal.ground.roles import DccRole, SupplierRole

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


class TestSupplierRoles:
    def test_each_may_all_that_the_next_one_may(self) -> None:
        reach = [
            {one.words for one in roles.SUPPLIER_CAPABILITIES if role in one.roles}
            for role in (SupplierRole.ADMINISTRATOR, SupplierRole.OPERATIONS, SupplierRole.READ_ONLY)
        ]

        assert reach[0] > reach[1] > reach[2] == {roles.SEE.words}

    def test_say_why_not(self) -> None:
        assert set(roles.REFUSALS) == set(roles.SUPPLIER_CAPABILITIES)
