"""Which hubs DCC does not allocate, for now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from scheduling.models import Exemption


@dataclass(frozen=True, slots=True)
class Exempt:
    """What of a Supplier's hubs is exempt: all of them, those on some networks, and those on some lists."""

    everything: bool
    networks: Sequence[int]
    lists: Sequence[int]


def lasting(*, release: FirmwareRelease, supplier: Supplier, now: datetime) -> QuerySet[Exemption]:
    """Return the exemptions of a Supplier's hubs for a release that have not ended."""
    return Exemption.objects.filter(release=release, supplier=supplier, ended_at=None, expires_at__gt=now)


def exempt(*, release: FirmwareRelease, supplier: Supplier, now: datetime) -> Exempt:
    """Say what of a Supplier's hubs is exempt from the default allocation of a release now."""
    found = list(lasting(release=release, supplier=supplier, now=now))
    whole = [exemption for exemption in found if not exemption.hubs]
    return Exempt(
        everything=any(exemption.network_id is None for exemption in whole),
        networks=[exemption.network_id for exemption in whole if exemption.network_id is not None],
        lists=[exemption.pk for exemption in found if exemption.hubs],
    )
