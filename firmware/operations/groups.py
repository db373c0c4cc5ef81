"""The groups of DCC staff, and what each may do."""

from django.contrib.auth.models import Group, Permission
from django.db import transaction

RELEASE_MANAGERS = "DCC release managers"
APPROVERS = "DCC approvers"
AUDITORS = "DCC auditors"
USER_ADMINISTRATORS = "DCC user administrators"
"""Apart from the others: whoever can invite could invite a second self to sign off the first one's work."""
NAMES = (RELEASE_MANAGERS, APPROVERS, AUDITORS, USER_ADMINISTRATORS)

_VIEW = (
    "firmware.view_firmwarerelease",
    "firmware.view_predecessor",
    "firmware.view_availabilityperiod",
    "firmware.view_rolloutpolicy",
    "firmware.view_signoff",
    "firmware.view_halt",
    "hubs.view_network",
    "hubs.view_supplier",
    "hubs.view_hubmodel",
    "hubs.view_firmwareversion",
    "hubs.view_changeofsupplier",
    "ground.view_auditentry",
    # by name alone: this app knows nothing of those above it
    *(
        f"scheduling.view_{part}"
        for part in (
            "capacitypattern",
            "slot",
            "booking",
            "lot",
            "notice",
            "oddreport",
            "strayreport",
            "reportcount",
            "reclaim",
            "quarantine",
            "maintenance",
            "incident",
            "hubexception",
            "exemption",
            "finding",
            "reconciliation",
            "rehearsal",
        )
    ),
)
_PERMISSIONS = {
    AUDITORS: _VIEW,
    USER_ADMINISTRATORS: (
        *_VIEW,
        *(f"portal.{act}_user" for act in ("view", "change")),
        *(f"portal.{act}_invitation" for act in ("view", "add", "change", "delete")),
    ),
    APPROVERS: (
        *_VIEW,
        "firmware.sign_off_firmwarerelease",
        "firmware.halt_firmwarerelease",
        "scheduling.approve_decision",
        "scheduling.add_rehearsal",
    ),
    RELEASE_MANAGERS: (
        *_VIEW,
        "firmware.add_firmwarerelease",
        "firmware.change_firmwarerelease",
        "firmware.publish_firmwarerelease",
        "firmware.halt_firmwarerelease",
        *(
            f"firmware.{act}_{part}"
            for part in ("predecessor", "availabilityperiod", "rolloutpolicy")
            for act in ("add", "change", "delete")
        ),
        *(
            f"hubs.{act}_{part}"
            for part in ("network", "supplier", "hubmodel", "firmwareversion")
            for act in ("add", "change")
        ),
        *(
            f"scheduling.{act}_{part}"
            for part in ("capacitypattern", "maintenance", "incident")
            for act in ("add", "change", "delete")
        ),
        "scheduling.decide_hubexception",
        "scheduling.add_exemption",
        "scheduling.add_rehearsal",
    ),
}


class PermissionsMissing(Exception):
    """The permissions are not in the database yet."""


@transaction.atomic
def ensure_groups() -> None:
    """
    Make the groups of DCC staff, and give each its permissions; harmless when repeated.

    Permissions that other apps or people added to a group stay.

    :raises PermissionsMissing: before the first `migrate`
    """
    known = {
        f"{label}.{codename}": pk
        for label, codename, pk in Permission.objects.values_list("content_type__app_label", "codename", "pk")
    }
    for name, wanted in _PERMISSIONS.items():
        if missing := [permission for permission in wanted if permission not in known]:
            raise PermissionsMissing(f"Run migrate first: {', '.join(missing)} do not exist yet.")
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*(known[permission] for permission in wanted))
