"""The groups of DCC staff."""

from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command

from firmware.operations import groups
from portal.ground import roles
from portal.ground.roles import DccRole

pytestmark = pytest.mark.django_db


def may(group: str) -> set[str]:
    permissions = Group.objects.get(name=group).permissions.values_list("content_type__app_label", "codename")
    return {f"{label}.{codename}" for label, codename in permissions}


class TestEnsureGroups:
    def test_gives_each_exactly_what_its_role_may(self) -> None:
        groups.ensure_groups()

        assert {name: may(name) for name in groups.NAMES} == {
            role.value: roles.permissions_of(role) for role in DccRole
        }

    def test_takes_away_what_a_role_has_no_more_and_leaves_what_is_another_apps(self) -> None:
        groups.ensure_groups()
        approvers = Group.objects.get(name=groups.APPROVERS)
        of_another = Permission.objects.get(codename="view_commandlog")
        approvers.permissions.add(Permission.objects.get(codename="publish_firmwarerelease"), of_another)

        call_command("ensure_groups", stdout=StringIO())

        assert may(groups.APPROVERS) == {
            *roles.permissions_of(DccRole.APPROVER),
            "modelled_fleet.view_commandlog",
        }
        assert Group.objects.filter(name__startswith="DCC ").count() == len(groups.NAMES) == 5

    def test_says_what_to_do_before_the_first_migrate(self) -> None:
        Permission.objects.filter(codename="halt_firmwarerelease").delete()

        with pytest.raises(CommandError, match="Run migrate first"):
            call_command("ensure_groups")
