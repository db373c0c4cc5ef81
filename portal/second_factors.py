"""Who needs a second factor, who has one, and who takes a lost one away."""

from datetime import datetime

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet

from hubs.models import Supplier
from portal import notices, sealing
from portal.ground import asking, audit, roles
from portal.models import User

FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
"""What can be given beside a password. Recovery codes stand in for a lost one, and are none themselves."""

SEALED = {Authenticator.Type.TOTP: "secret", Authenticator.Type.RECOVERY_CODES: "seed"}
"""What is sealed in the data of each."""


class UnableToTakeAway(Exception):
    """The second factor stays; the message is for the one who wanted it gone."""


class UnableToRule(Exception):
    """The Supplier's rule stays as it is; the message is for the one who wanted another."""


def is_needed(*, user: User) -> bool:
    """Tell whether somebody needs a second factor: DCC staff, and the people of a Supplier that asks for it."""
    if settings.SECOND_FACTOR != "required":
        return False
    return user.is_staff or (user.supplier is not None and user.supplier.second_factor_required)


def is_set_up(*, user: User) -> bool:
    """Tell whether somebody has a second factor."""
    return _factors(user).exists()


def has_app(*, user: User) -> bool:
    """Tell whether somebody has an authenticator app."""
    return _factors(user).filter(type=Authenticator.Type.TOTP).exists()


def is_last_needed(*, authenticator: Authenticator) -> bool:
    """Tell whether somebody who needs a second factor would have none without this one."""
    if authenticator.type not in FACTORS or not is_needed(user=authenticator.user):
        return False
    return not _factors(authenticator.user).exclude(pk=authenticator.pk).exists()


def take_away(*, user: User, by: User, reason: str, now: datetime) -> None:
    """
    Take every second factor of a person away, and end their sessions: they set up a new one when they sign in.

    They are told by e-mail.

    :raises UnableToTakeAway: if it is oneself, no reason is given, or the person has none
    """
    if user.pk == by.pk:
        raise UnableToTakeAway("Nobody takes their own second factor away: ask a colleague.")
    if not reason.strip():
        raise UnableToTakeAway("Give a reason: how you know that it is them, and what became of it.")
    with transaction.atomic():
        # the row is locked, and the epoch raised, before anything is looked at: two at once come one after the other
        User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
        had = sorted(Authenticator.objects.filter(user=user).values_list("type", flat=True))
        if not had:
            raise UnableToTakeAway(f"{user} has no second factor.")
        Authenticator.objects.filter(user=user).delete()
        audit.record(
            actor=by,
            verb="second_factor.taken_away",
            subject=f"user:{user.pk}",
            now=now,
            reason=reason,
            facts={"had": had},
        )
        notices.account(address=user.email, words=notices.second_factor_taken_away(by=str(by)), now=now)


@asking.trusted("an administrator says for the Supplier whether its people need a second factor")
def rule(*, supplier: Supplier, is_required: bool, by: User, now: datetime) -> bool:
    """
    Say whether a Supplier's people need a second factor; return whether that changes anything.

    Who has none is asked to set one up before anything else, from their next page on.

    :raises UnableToRule: if it is not `by`'s to say
    """
    if not (may_rule(user=by) and (by.is_staff or by.supplier_id == supplier.pk)):
        raise UnableToRule("Only DCC and the administrators of a Supplier can change that.")
    with transaction.atomic():
        changed = Supplier.objects.filter(pk=supplier.pk, second_factor_required=not is_required).update(
            second_factor_required=is_required
        )
        if changed:
            audit.record(
                actor=by,
                verb="second_factor.required" if is_required else "second_factor.optional",
                subject=f"supplier:{supplier.pk}",
                now=now,
                facts={"supplier": supplier.name},
            )
    return bool(changed)


def may_rule(*, user: User) -> bool:
    """Tell whether somebody says for a Supplier whether its people need a second factor."""
    return user.has_perm("portal.change_user") if user.is_staff else user.may(roles.ADMINISTER)


def seal_anew() -> int:
    """Seal every secret with the first of the keys, so that the others can go; return how many there are."""
    with transaction.atomic():
        rows = list(Authenticator.objects.select_for_update().filter(type__in=SEALED).order_by("pk"))
        for row in rows:
            name = SEALED[row.type]
            text = sealing.unseal(sealed=row.data[name], keys=settings.SEALING_KEYS)
            row.data[name] = sealing.seal(text=text, keys=settings.SEALING_KEYS)
            row.save(update_fields=["data"])
    return len(rows)


def _factors(user: User) -> QuerySet[Authenticator]:
    found: QuerySet[Authenticator] = Authenticator.objects.filter(user_id=user.pk, type__in=FACTORS)
    return found
