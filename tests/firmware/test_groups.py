"""The groups of DCC staff."""

from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command

from firmware.operations import groups

pytestmark = pytest.mark.django_db


class TestEnsureGroups:
    def test_makes_them_once_and_leaves_what_others_added(self) -> None:
        groups.ensure_groups()
        auditors = Group.objects.get(name=groups.AUDITORS)
        extra = Permission.objects.get(codename="view_user")
        auditors.permissions.add(extra)

        call_command("ensure_groups", stdout=StringIO())

        assert Group.objects.filter(name__startswith="DCC ").count() == len(groups.NAMES) == 4
        assert extra in auditors.permissions.all()

    def test_keeps_signing_off_and_publishing_apart(self) -> None:
        groups.ensure_groups()

        def may(group: str) -> set[str]:
            return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))

        assert "sign_off_firmwarerelease" not in may(groups.RELEASE_MANAGERS)
        assert not may(groups.APPROVERS) & {
            "add_firmwarerelease",
            "change_firmwarerelease",
            "publish_firmwarerelease",
        }
        assert all(codename.startswith("view_") for codename in may(groups.AUDITORS))
        assert not any("delete_firmwarerelease" in may(group) for group in groups.NAMES)

    def test_lets_nobody_who_decides_invite_a_second_self(self) -> None:
        groups.ensure_groups()

        for name in groups.NAMES:
            codenames = set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))
            assert ("add_invitation" in codenames) is (name == groups.USER_ADMINISTRATORS)
            if name == groups.USER_ADMINISTRATORS:
                assert not {code for code in codenames if "firmwarerelease" in code} - {
                    "view_firmwarerelease"
                }

    def test_lets_all_read_e_mails_and_bookings_and_managers_set_the_capacity(self) -> None:
        groups.ensure_groups()

        for name in groups.NAMES:
            codenames = set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))
            assert {"view_notice", "view_booking", "view_lot", "view_slot"} <= codenames
            assert ("change_capacitypattern" in codenames) is (name == groups.RELEASE_MANAGERS)

    def test_says_what_to_do_before_the_first_migrate(self) -> None:
        Permission.objects.filter(codename="halt_firmwarerelease").delete()

        with pytest.raises(CommandError, match="Run migrate first"):
            call_command("ensure_groups")
