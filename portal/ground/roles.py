"""
Who may do what: the roles of DCC's people and of a Supplier's, and what each is for.

Everything else follows from here: the permissions of DCC's groups, which requests a Supplier's person may make, and the
page on which DCC reads both. Each permission stands under the one capability that needs it; whoever may do
anything at all may see everything of their side.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from django.db.models import TextChoices


class DccRole(TextChoices):
    """A role of DCC's people. Its value is the name of the group that gives it."""

    AUTHOR = "DCC release managers", "Author"
    APPROVER = "DCC approvers", "Approver"
    OPERATIONS = "DCC operations", "Operations"
    AUDITOR = "DCC auditors", "Auditor"
    ADMINISTRATOR = "DCC user administrators", "Administrator of people"


class SupplierRole(TextChoices):
    """A role of a Supplier's people. Each of them has one."""

    ADMINISTRATOR = "administrator", "Administrator"
    OPERATIONS = "operations", "Operations"
    READ_ONLY = "read-only", "Read-only"


EVERYTHING: Final = "superuser"
"""How the record names whoever may do everything, whatever their groups."""
BETWEEN: Final = ", "
"""What stands between two roles that somebody acts in."""


def in_words(*, role: str) -> str:
    """Return what the record says that somebody acted in as people write it; empty where it says nothing."""
    if not role:
        return ""
    if role in SupplierRole:
        return f"Supplier: {SupplierRole(role).label}"
    names = (DccRole(one).label if one in DccRole else one.capitalize() for one in role.split(BETWEEN))
    return f"DCC: {BETWEEN.join(names)}"


@dataclass(frozen=True, slots=True)
class Capability:
    """Something that DCC's people do, in their own words; the roles that may, and the permissions that it takes."""

    words: str
    roles: tuple[DccRole, ...]
    permissions: tuple[str, ...]


def _permissions(app: str, acts: Iterable[str], *models: str) -> tuple[str, ...]:
    return tuple(f"{app}.{act}_{model}" for model in models for act in acts)


VIEW: Final = ("view",)
KEEP: Final = ("add", "change")
KEEP_AND_DELETE: Final = ("add", "change", "delete")
_EVERYBODY = tuple(DccRole)
_AT_WORK = (DccRole.AUTHOR, DccRole.APPROVER, DccRole.OPERATIONS)

CAPABILITIES: Final[tuple[Capability, ...]] = (
    Capability(
        "See releases, the fleet's tables, slots, bookings, e-mails, exceptions, findings and the record of decisions, "
        "and take exports and evidence packs away",
        _EVERYBODY,
        (
            *_permissions(
                "firmware",
                VIEW,
                *("firmwarerelease", "predecessor", "availabilityperiod", "rolloutpolicy", "signoff", "halt"),
            ),
            *_permissions(
                "hubs", VIEW, "network", "supplier", "hubmodel", "firmwareversion", "changeofsupplier"
            ),
            "ground.view_auditentry",
            *_permissions(
                "scheduling",
                VIEW,
                *("capacitypattern", "slot", "booking", "lot", "notice", "oddreport", "strayreport"),
                *("reportcount", "reclaim", "quarantine", "maintenance", "incident", "hubexception"),
                *("exemption", "finding", "reconciliation", "rehearsal"),
            ),
        ),
    ),
    Capability(
        "See who can sign in, and who is invited",
        (DccRole.AUDITOR, DccRole.ADMINISTRATOR),
        _permissions("portal", VIEW, "user", "invitation"),
    ),
    Capability(
        "Upload, describe and change a release, and submit it for sign-off",
        (DccRole.AUTHOR,),
        (
            *_permissions("firmware", KEEP, "firmwarerelease"),
            *_permissions("firmware", KEEP_AND_DELETE, "predecessor", "availabilityperiod", "rolloutpolicy"),
            *_permissions("hubs", KEEP, "hubmodel", "firmwareversion"),
        ),
    ),
    Capability(
        "Publish, resume, withdraw and close a release, once somebody else has signed off what needs it",
        (DccRole.AUTHOR,),
        ("firmware.publish_firmwarerelease",),
    ),
    Capability(
        "Sign off the publication and the resumption of a release",
        (DccRole.APPROVER,),
        ("firmware.sign_off_firmwarerelease",),
    ),
    Capability(
        "Approve an override that somebody else asked for",
        (DccRole.APPROVER,),
        ("scheduling.approve_decision",),
    ),
    Capability("Halt a release", _AT_WORK, ("firmware.halt_firmwarerelease",)),
    Capability("Rehearse a release", _AT_WORK, ("scheduling.add_rehearsal",)),
    Capability(
        "Keep networks, Suppliers, capacity, maintenance and incidents",
        (DccRole.OPERATIONS,),
        (
            *_permissions("hubs", KEEP, "network", "supplier"),
            *_permissions("scheduling", KEEP_AND_DELETE, "capacitypattern", "maintenance", "incident"),
        ),
    ),
    Capability(
        "Decide about exceptions and about hubs that were set aside, ask for overrides, and exempt hubs",
        (DccRole.OPERATIONS,),
        ("scheduling.decide_hubexception", "scheduling.add_exemption"),
    ),
    Capability(
        "Invite people, end their access, and choose their roles, never one's own",
        (DccRole.ADMINISTRATOR,),
        ("portal.change_user", *_permissions("portal", KEEP_AND_DELETE, "invitation")),
    ),
)

CONFLICTS: Final[tuple[tuple[DccRole, DccRole, str], ...]] = (
    (
        DccRole.AUTHOR,
        DccRole.APPROVER,
        "Whoever publishes releases cannot also sign them off",
    ),
    *(
        (
            DccRole.ADMINISTRATOR,
            role,
            "Whoever manages people could bring in a second self to agree with what they decide",
        )
        for role in (DccRole.AUTHOR, DccRole.APPROVER, DccRole.OPERATIONS)
    ),
    *(
        (DccRole.AUDITOR, role, "Whoever audits changes nothing")
        for role in (DccRole.AUTHOR, DccRole.APPROVER, DccRole.OPERATIONS, DccRole.ADMINISTRATOR)
    ),
)
"""Roles that nobody has together, each pair with the reason."""


def permissions_of(role: DccRole) -> frozenset[str]:
    """Return the permissions that a role of DCC's gives, as `app.codename`."""
    return frozenset(
        permission
        for capability in CAPABILITIES
        if role in capability.roles
        for permission in capability.permissions
    )


def conflict(roles: Collection[str]) -> str:
    """Return the sentence that says why nobody has these groups together; empty where somebody may."""
    for one, other, why in CONFLICTS:
        if one in roles and other in roles:
            return f"{one} and {other} are for two people. {why}: leave one of them out."
    return ""


@dataclass(frozen=True, slots=True)
class SupplierCapability:
    """Something that a Supplier's people do, and the roles that may."""

    words: str
    roles: tuple[SupplierRole, ...]


SEE: Final = SupplierCapability(
    "See everything of their own Supplier's, and take exports of it away", tuple(SupplierRole)
)
ACT: Final = SupplierCapability(
    "Book, move, cancel; agree to what takes a second person; agree and object for shared hubs; keep protected windows "
    "and groups",
    (SupplierRole.ADMINISTRATOR, SupplierRole.OPERATIONS),
)
ADMINISTER: Final = SupplierCapability(
    "Invite colleagues, change their roles, end their access and give it back, say what takes a second factor or a "
    "second person, and read what each of them did",
    (SupplierRole.ADMINISTRATOR,),
)
SUPPLIER_CAPABILITIES: Final = (SEE, ACT, ADMINISTER)
REFUSALS: Final[Mapping[SupplierCapability, str]] = {
    SEE: "Your account has no role. Ask an administrator of your Supplier.",
    ACT: "Your role is read-only: you see everything of your Supplier's, and change nothing. Ask a colleague who may, "
    "or an administrator of your Supplier for another role.",
    ADMINISTER: "This is for the administrators of your Supplier. Ask one of them.",
}
"""What somebody is told whose role is not among those that may."""
