"""The groups of DCC staff, each with what its role may do: see `portal.ground.roles`."""

from django.contrib.auth.models import Group, Permission
from django.db import transaction

from portal.ground import roles
from portal.ground.roles import DccRole

RELEASE_MANAGERS = DccRole.AUTHOR.value
APPROVERS = DccRole.APPROVER.value
OPERATIONS = DccRole.OPERATIONS.value
AUDITORS = DccRole.AUDITOR.value
USER_ADMINISTRATORS = DccRole.ADMINISTRATOR.value
NAMES = tuple(role.value for role in DccRole)


class PermissionsMissing(Exception):
    """The permissions are not in the database yet."""


@transaction.atomic
def ensure_groups() -> None:
    """
    Make the groups of DCC staff, and give each the permissions of its role; harmless when repeated.

    What a group has besides goes, so that an upgrade leaves nobody with what their role has lost. Permissions of apps
    of which the roles say nothing stay.

    :raises PermissionsMissing: before the first `migrate`
    """
    known = {
        f"{label}.{codename}": pk
        for label, codename, pk in Permission.objects.values_list("content_type__app_label", "codename", "pk")
    }
    wanted = {role: roles.permissions_of(role) for role in DccRole}
    labels = {permission.partition(".")[0] for permissions in wanted.values() for permission in permissions}
    for role, permissions in wanted.items():
        if missing := sorted(permissions - known.keys()):
            raise PermissionsMissing(f"Run migrate first: {', '.join(missing)} do not exist yet.")
        group, _ = Group.objects.get_or_create(name=role.value)
        kept = group.permissions.exclude(content_type__app_label__in=labels).values_list("pk", flat=True)
        group.permissions.set([*kept, *(known[permission] for permission in permissions)])
