"""Bring people in, change what they may do, and see them out."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.urls import reverse

from hubs.models import Supplier
from portal import notices, tokens
from portal.ground import asking, audit, roles
from portal.ground.roles import SupplierRole
from portal.models import Invitation, User

INVITATION_LIFETIME = timedelta(days=7)
INVITE = "portal.add_invitation"
MANAGE = "portal.change_user"


class UnableToInvite(Exception):
    """No invitation was made; the message is for the one who invites."""


class UnableToAccept(Exception):
    """The link no longer works; the message is for the one who followed it."""


class UnableToDeactivate(Exception):
    """The person stays as they are; the message is for the one who wanted them gone, or back."""


class UnableToChangeRole(Exception):
    """The person keeps what they may do; the message is for the one who wanted it otherwise."""


@asking.trusted("whether an address has an account anywhere decides whether it can be invited")
def invite(
    *,
    email: str,
    supplier: Supplier | None,
    by: User,
    now: datetime,
    role: str = "",
    groups: Collection[Group] = (),
) -> str:
    """
    Keep a place for one person and owe them the e-mail; return the link, of which only a digest stays.

    A place with a Supplier has a `role`, one among DCC staff `groups`. Inviting an address again replaces its link,
    for e-mails get lost.

    :raises UnableToInvite: if the address has an account, or the place is not `by`'s to give
    """
    email = email.strip().lower()
    token = tokens.fresh()
    try:
        with transaction.atomic():
            _check_place(supplier=supplier, by=by, role=role, groups=groups)
            if User.objects.filter(email=email).exists():
                raise UnableToInvite(
                    f"{email} has an account already: they can sign in, or reset their password."
                )
            replaced = _withdraw_earlier(email=email, supplier=supplier, by=by, now=now)
            invitation = Invitation.objects.create(
                email=email,
                supplier=supplier,
                role=role,
                token_digest=tokens.digest(token),
                invited_by=by,
                invited_at=now,
                expires_at=now + INVITATION_LIFETIME,
            )
            invitation.groups.set(groups)
            audit.record(
                actor=by,
                verb="invitation.made",
                subject=f"invitation:{invitation.pk}",
                now=now,
                facts={
                    "email": email,
                    "supplier": supplier.pk if supplier else None,
                    "role": role,
                    "groups": sorted(group.name for group in groups),
                    "replaced": replaced,
                },
            )
            link = settings.PORTAL_ADDRESS + reverse("invitation", kwargs={"token": token})
            notices.invitation(invitation=invitation, link=link, now=now)
    except IntegrityError as error:
        raise UnableToInvite(f"Somebody else is inviting {email} at this moment: look again.") from error
    return link


def _check_place(*, supplier: Supplier | None, by: User, role: str, groups: Collection[Group]) -> None:
    if not _manages(by=by, supplier=supplier, permission=INVITE):
        raise UnableToInvite("Only DCC and the administrators of a Supplier can invite people to it.")
    if supplier is not None and groups:
        raise UnableToInvite("Groups are for DCC staff: choose a Supplier or groups, not both.")
    if supplier is None and role:
        raise UnableToInvite("A role is for a Supplier's people: choose a Supplier.")
    if supplier is not None and role not in SupplierRole:
        raise UnableToInvite("A place with a Supplier needs a role: choose one.")
    if sentence := roles.conflict([group.name for group in groups]):
        raise UnableToInvite(sentence)


def _manages(*, by: User, supplier: Supplier | None, permission: str) -> bool:
    """
    Say whether a person may manage the people of a Supplier, or of DCC; in the caller's transaction.

    Of a Supplier all active administrators are locked, in the order of their keys. So whoever was one a moment ago is
    asked anew, and those who end one another's access at the same moment come one after the other.
    """
    if by.is_staff:
        return by.has_perm(permission)
    return supplier is not None and by.supplier_id == supplier.pk and by.pk in _administrators(supplier.pk)


def _administrators(supplier: int) -> set[int]:
    locked = User.objects.select_for_update(no_key=True).order_by("pk")
    return set(
        locked.filter(supplier=supplier, role=SupplierRole.ADMINISTRATOR, is_active=True).values_list(
            "pk", flat=True
        )
    )


def _withdraw_earlier(*, email: str, supplier: Supplier | None, by: User, now: datetime) -> int | None:
    earlier = Invitation.objects.select_for_update().filter(email=email, accepted_at=None).first()
    if earlier is None:
        return None
    another = earlier.supplier_id != (supplier.pk if supplier else None)
    if another and not by.is_staff and earlier.is_open(now=now):
        raise UnableToInvite(f"{email} cannot be invited at present: ask DCC.")
    replaced = earlier.pk
    earlier.delete()
    return replaced


def accept(*, token: str, first_name: str, last_name: str, password: str, now: datetime) -> User:
    """
    Make the invited person's account, once; whoever comes second finds the link used.

    The password must have been validated.

    :raises UnableToAccept: if the link is unknown, used or expired
    """
    try:
        with transaction.atomic():
            # The lock lets two who follow the link at once come in one after the other.
            invitation = (
                Invitation.objects.select_for_update(of=("self",))
                .select_related("supplier")
                .filter(token_digest=tokens.digest(token), accepted_at=None, expires_at__gt=now)
                .first()
            )
            if invitation is None:
                raise UnableToAccept("This invitation has been used or has expired.")
            user = User.objects.create_user(
                email=invitation.email,
                password=password,
                first_name=first_name,
                last_name=last_name,
                supplier=invitation.supplier,
                is_staff=invitation.supplier is None,
                role=invitation.role,
            )
            user.groups.set(invitation.groups.all())
            moved = Invitation.objects.filter(pk=invitation.pk, accepted_at=None).update(
                accepted_at=now, accepted_by=user
            )
            if moved != 1:
                raise UnableToAccept("This invitation has been used.")
            audit.record(
                actor=user,
                verb="invitation.accepted",
                subject=f"invitation:{invitation.pk}",
                now=now,
                facts={"user": user.pk},
            )
    except IntegrityError as error:
        raise UnableToAccept("There is an account for this address already: sign in instead.") from error
    return user


@asking.trusted("an invitation of the Supplier's is withdrawn, which goes on record")
def withdraw(*, invitation: Invitation, by: User, now: datetime) -> bool:
    """
    Make an unused link worthless; return whether there was one left to withdraw.

    :raises UnableToInvite: if the invitation is not `by`'s to withdraw
    """
    with transaction.atomic():
        if not _manages(by=by, supplier=invitation.supplier, permission=INVITE):
            raise UnableToInvite(
                "Only DCC and the administrators of a Supplier can withdraw its invitations."
            )
        deleted, _ = Invitation.objects.filter(pk=invitation.pk, accepted_at=None).delete()
        if deleted:
            audit.record(
                actor=by,
                verb="invitation.withdrawn",
                subject=f"invitation:{invitation.pk}",
                now=now,
                facts={"email": invitation.email},
            )
    return bool(deleted)


@asking.trusted("a colleague's access ends, and their sessions with it")
def deactivate(*, user: User, by: User, now: datetime, reason: str = "") -> None:
    """
    End a person's access at once, their open sessions included; what they did stays on record.

    The last active administrator of a Supplier stays, unless DCC ends their access: it can invite another.

    :raises UnableToDeactivate: if it is oneself, the person has no access any more, or is not `by`'s to see out
    """
    if user.pk == by.pk:
        raise UnableToDeactivate("Nobody can end their own access: ask a colleague.")
    _set_active(user=user, active=False, by=by, now=now, reason=reason)


@asking.trusted("a colleague's access is given back")
def reactivate(*, user: User, by: User, now: datetime, reason: str = "") -> None:
    """
    Give a person their access back, with the role and the password that they had.

    :raises UnableToDeactivate: if the person has access already, or is not `by`'s to let in
    """
    _set_active(user=user, active=True, by=by, now=now, reason=reason)


def _set_active(*, user: User, active: bool, by: User, now: datetime, reason: str) -> None:
    with transaction.atomic():
        if not _manages(by=by, supplier=user.supplier, permission=MANAGE):
            raise UnableToDeactivate(
                "Only DCC and the administrators of a Supplier can end the access of its people, or give it back."
            )
        if not User.objects.filter(pk=user.pk, is_active=not active).update(is_active=active):
            raise UnableToDeactivate(
                f"{user} {'has access already' if active else 'has no access any more'}."
            )
        if not active and not by.is_staff and user.supplier_id and not _administrators(user.supplier_id):
            raise UnableToDeactivate(f"{user} {LAST}")
        audit.record(
            actor=by,
            verb="user.reactivated" if active else "user.deactivated",
            subject=f"user:{user.pk}",
            now=now,
            reason=reason,
        )
        notices.access_changed(user=user, has_access=active, reason=reason, now=now)


LAST = (
    "is the last administrator of your Supplier who can sign in. Make somebody else one first, or ask DCC: "
    "otherwise nobody could invite people any more."
)


@asking.trusted("a colleague's role is another one, while no other administrator goes")
def change_role(*, user: User, role: str, by: User, now: datetime, reason: str = "") -> None:
    """
    Give a person of a Supplier another role, which holds from their next request on.

    The last active administrator stays one, unless DCC changes that.

    :raises UnableToChangeRole: if the person has that role, has none to change, or is not `by`'s to change
    """
    if user.supplier is None or role not in SupplierRole:
        raise UnableToChangeRole(
            "A Supplier's people have a role, and DCC staff have groups: choose one of those."
        )
    if by.is_staff and by.pk == user.pk:
        raise UnableToChangeRole(OWN)
    with transaction.atomic():
        if not _manages(by=by, supplier=user.supplier, permission=MANAGE):
            raise UnableToChangeRole(
                "Only DCC and the administrators of a Supplier can change its people's roles."
            )
        before = User.objects.select_for_update(no_key=True).values_list("role", flat=True).get(pk=user.pk)
        if before == role:
            raise UnableToChangeRole(f"{user} has that role already.")
        User.objects.filter(pk=user.pk).update(role=role)
        if before == SupplierRole.ADMINISTRATOR and not by.is_staff and not _administrators(user.supplier.pk):
            raise UnableToChangeRole(f"{user} {LAST}")
        audit.record(
            actor=by,
            verb="user.role_changed",
            subject=f"user:{user.pk}",
            now=now,
            reason=reason,
            facts={"from": before, "to": role},
        )
        notices.role_changed(user=user, word=SupplierRole(role).label, reason=reason, now=now)


OWN = "Nobody can change what they may do themselves: ask a colleague."


def change_groups(
    *, user: User, groups: Collection[Group], by: User, now: datetime, reason: str = ""
) -> None:
    """
    Give DCC staff other groups, which hold from their next request on.

    :raises UnableToChangeRole: if it is oneself, nobody may have these groups together, or the person is not `by`'s to
        change
    """
    names = sorted(group.name for group in groups)
    if user.pk == by.pk:
        raise UnableToChangeRole(OWN)
    if not (by.is_staff and by.has_perm(MANAGE)):
        raise UnableToChangeRole("Only DCC's administrators of people can change what DCC staff may do.")
    if user.is_superuser and not by.is_superuser:
        raise UnableToChangeRole(
            f"{user} may do everything already; only somebody who may as well can change that."
        )
    if not user.is_staff:
        raise UnableToChangeRole("Groups are for DCC staff: a Supplier's people have a role.")
    if sentence := roles.conflict(names):
        raise UnableToChangeRole(sentence)
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        before = sorted(user.groups.values_list("name", flat=True))
        if before == names:
            return
        user.groups.set(groups)
        audit.record(
            actor=by,
            verb="user.groups_changed",
            subject=f"user:{user.pk}",
            now=now,
            reason=reason,
            facts={"from": before, "to": names},
        )
        notices.role_changed(user=user, word=", ".join(names) or "none", reason=reason, now=now)
