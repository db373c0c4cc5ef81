"""Bring people in, and see them out."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.urls import reverse

from hubs.models import Supplier
from portal import notices, tokens
from portal.ground import audit
from portal.models import Invitation, User

INVITATION_LIFETIME = timedelta(days=7)


class UnableToInvite(Exception):
    """No invitation was made; the message is for the one who invites."""


class UnableToAccept(Exception):
    """The link no longer works; the message is for the one who followed it."""


class UnableToDeactivate(Exception):
    """The person stays; the message is for the one who wanted them gone."""


def invite(
    *,
    email: str,
    supplier: Supplier | None,
    by: User,
    now: datetime,
    is_supplier_administrator: bool = False,
    groups: Collection[Group] = (),
) -> str:
    """
    Keep a place for one person and owe them the e-mail; return the link, of which only a digest stays.

    Without a supplier the place is among DCC staff, with `groups` saying what they may do. Inviting an
    address again replaces its link, for e-mails get lost.

    :raises UnableToInvite: if the address has an account, or the place is not `by`'s to give
    """
    _check_place(supplier=supplier, by=by, is_supplier_administrator=is_supplier_administrator, groups=groups)
    email = email.strip().lower()
    token = tokens.fresh()
    try:
        with transaction.atomic():
            if User.objects.filter(email=email).exists():
                raise UnableToInvite(
                    f"{email} has an account already: they can sign in, or reset their password."
                )
            replaced = _withdraw_earlier(email=email, supplier=supplier, by=by, now=now)
            invitation = Invitation.objects.create(
                email=email,
                supplier=supplier,
                is_supplier_administrator=is_supplier_administrator,
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
                    "is_supplier_administrator": is_supplier_administrator,
                    "groups": sorted(group.name for group in groups),
                    "replaced": replaced,
                },
            )
            link = settings.PORTAL_ADDRESS + reverse("invitation", kwargs={"token": token})
            notices.invitation(invitation=invitation, link=link, now=now)
    except IntegrityError as error:
        raise UnableToInvite(f"Somebody else is inviting {email} at this moment: look again.") from error
    return link


def _check_place(
    *, supplier: Supplier | None, by: User, is_supplier_administrator: bool, groups: Collection[Group]
) -> None:
    if not by.is_staff and not (
        by.is_supplier_administrator and supplier is not None and supplier.pk == by.supplier_id
    ):
        raise UnableToInvite("Only DCC and the administrators of a Supplier can invite people to it.")
    if supplier is not None and groups:
        raise UnableToInvite("Groups are for DCC staff: choose a Supplier or groups, not both.")
    if supplier is None and is_supplier_administrator:
        raise UnableToInvite("A Supplier administrator needs a Supplier: choose one.")


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
                is_supplier_administrator=invitation.is_supplier_administrator,
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
                facts={"email": user.email, "user": user.pk},
            )
    except IntegrityError as error:
        raise UnableToAccept("There is an account for this address already: sign in instead.") from error
    return user


def withdraw(*, invitation: Invitation, by: User, now: datetime) -> bool:
    """Make an unused link worthless; return whether there was one left to withdraw."""
    with transaction.atomic():
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


def deactivate(*, user: User, by: User, now: datetime, reason: str = "") -> None:
    """
    End a person's access at once, their open sessions included; what they did stays on record.

    :raises UnableToDeactivate: if it is oneself, or the person has no access any more
    """
    if user.pk == by.pk:
        raise UnableToDeactivate("Nobody can end their own access: ask a colleague.")
    _set_active(user=user, active=False, verb="user.deactivated", by=by, now=now, reason=reason)


def reactivate(*, user: User, by: User, now: datetime, reason: str = "") -> None:
    """
    Give a person their access back, with the password they had.

    :raises UnableToDeactivate: if the person has access already
    """
    _set_active(user=user, active=True, verb="user.reactivated", by=by, now=now, reason=reason)


def _set_active(*, user: User, active: bool, verb: str, by: User, now: datetime, reason: str) -> None:
    with transaction.atomic():
        if not User.objects.filter(pk=user.pk, is_active=not active).update(is_active=active):
            raise UnableToDeactivate(
                f"{user} {'has access already' if active else 'has no access any more'}."
            )
        audit.record(
            actor=by,
            verb=verb,
            subject=f"user:{user.pk}",
            now=now,
            reason=reason,
            facts={"email": user.email},
        )
