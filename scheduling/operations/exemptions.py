"""Exempt hubs from DCC's default allocation, and end that."""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Max

from firmware import queries as releases
from firmware.models import OPEN_TO_SUPPLIERS, FirmwareRelease
from hubs.models import CommunicationsHub, Network, Supplier
from portal.ground import audit
from portal.ground.uk_time import LONDON
from scheduling.models import ExemptHub, Exemption

if TYPE_CHECKING:
    from portal.models import User

MAY_EXEMPT = "scheduling.add_exemption"


class UnableToExempt(Exception):
    """Nothing was changed; the message says why and what to do."""


def check_expiry(*, release: FirmwareRelease, expires_at: datetime, now: datetime) -> None:
    """
    Pass an expiry that an exemption can have: no exemption is for good.

    :raises UnableToExempt: saying between which moments it has to be
    """
    if release.state not in OPEN_TO_SUPPLIERS:
        raise UnableToExempt(
            f"The release is {release.get_state_display().lower()}, so nothing of it is allocated and there is "
            "nothing to exempt."
        )
    last = release.periods.aggregate(last=Max("end_at"))["last"]
    if last is None or not now < expires_at <= last:
        until = f"{last.astimezone(LONDON):%-d %B %Y, %H:%M %Z}" if last else "never"
        raise UnableToExempt(
            "An exemption ends after now, and at the latest with the release's last availability period: "
            f"{until}. Choose an expiry before that."
        )


def check(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    hubs: Collection[int],
    reason: str,
    expires_at: datetime,
    now: datetime,
) -> None:
    """
    Pass an exemption that can be made.

    :raises UnableToExempt: if a reason is missing, the expiry is too late, or a listed hub is not one that the
        Supplier leads
    """
    if not reason.strip():
        raise UnableToExempt("Say in a few words why: it stays on record.")
    check_expiry(release=release, expires_at=expires_at, now=now)
    listed = set(hubs)
    led = CommunicationsHub.objects.filter(chf_id__in=listed, lead_id=supplier.pk).count()
    if led < len(listed):
        raise UnableToExempt(
            f"{len(listed) - led:,} of the {len(listed):,} listed hubs are not hubs that {supplier} leads. Take them "
            "out of the list."
        )


@transaction.atomic
def exempt(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    network: Network | None,
    hubs: Collection[int],
    reason: str,
    expires_at: datetime,
    by: "User",
    now: datetime,
) -> Exemption:
    """
    Keep a Supplier's hubs out of the default allocation of a release until a moment.

    All of them, those on one network, or those listed by CHF ID; what is allocated already stays. The Supplier can
    book them as ever.

    :raises UnableToExempt: if the person may not, or `check` does not pass it
    """
    if not by.has_perm(MAY_EXEMPT):
        raise UnableToExempt("Only a DCC release manager can exempt hubs.")
    check(release=release, supplier=supplier, hubs=hubs, reason=reason, expires_at=expires_at, now=now)
    listed = sorted(set(hubs))
    exemption = Exemption.objects.create(
        release=release,
        supplier=supplier,
        network=network,
        hubs=len(listed),
        reason=reason,
        expires_at=expires_at,
        made_by=by,
        made_at=now,
    )
    ExemptHub.objects.bulk_create(
        (ExemptHub(exemption=exemption, hub=hub) for hub in listed), batch_size=5_000
    )
    record(exemption=exemption, by=by, now=now)
    return exemption


def record(*, exemption: Exemption, by: "User", now: datetime) -> None:
    """Put a new exemption on record."""
    audit.record(
        actor=by,
        verb="exemption.made",
        subject=releases.subject(release_id=exemption.release_id),
        reason=exemption.reason,
        facts={
            "exemption": exemption.pk,
            "supplier": exemption.supplier.name,
            "network": exemption.network.name if exemption.network else "every network",
            "hubs": exemption.hubs or "all",
            "expires": exemption.expires_at.isoformat(),
        },
        now=now,
    )


@transaction.atomic
def end(*, exemption: Exemption, by: "User", reason: str, now: datetime) -> None:
    """
    End an exemption early: its hubs are allocated like any others from the next working day.

    :raises UnableToExempt: if the person may not, or it has ended already
    """
    if not by.has_perm(MAY_EXEMPT):
        raise UnableToExempt("Only a DCC release manager can end an exemption.")
    lasting = Exemption.objects.filter(pk=exemption.pk, ended_at=None, expires_at__gt=now)
    if not lasting.update(ended_at=now, ended_by=by):
        raise UnableToExempt("This exemption has ended already.")
    audit.record(
        actor=by,
        verb="exemption.ended",
        subject=releases.subject(release_id=exemption.release_id),
        reason=reason,
        facts={"exemption": exemption.pk},
        now=now,
    )
