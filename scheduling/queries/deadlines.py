"""Until when Suppliers can still book themselves, network by network."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import OuterRef, Subquery

from firmware.models import AvailabilityPeriod, FirmwareRelease, RolloutPolicy
from scheduling.models import Slot


def allocation_at(*, period: AvailabilityPeriod, policy: RolloutPolicy) -> datetime:
    """Return the moment of a period at which the portal allocates for DCC what nobody has booked on its network."""
    part = policy.default_allocation_percent / 100
    return period.start_at + (period.end_at - period.start_at) * part


def of_releases(*, releases_shown: Iterable[FirmwareRelease]) -> dict[int, dict[int, datetime]]:
    """
    Return the last moment to book by release id and network id, for releases given with their policies; one query.

    After it nothing is left to book: what was not booked has been allocated, or the cut-off of the last slot has
    passed. Of the two the earlier counts. A network without slots is held to the cut-off of its period's end.
    """
    policies = {release.pk: release.policy for release in releases_shown}
    last_slot = (
        Slot.objects.filter(
            network=OuterRef("network"),
            start_at__gte=OuterRef("start_at"),
            start_at__lt=OuterRef("end_at"),
            end_at__lte=OuterRef("end_at"),
            capacity__gt=0,
        )
        .order_by("-start_at")
        .values("start_at")[:1]
    )
    periods = AvailabilityPeriod.objects.filter(release__in=policies).annotate(last_start=Subquery(last_slot))
    found: dict[int, dict[int, datetime]] = {release: {} for release in policies}
    for period in periods.order_by("network", "pk"):
        policy = policies[period.release_id]
        found[period.release_id][period.network_id] = min(
            allocation_at(period=period, policy=policy),
            policy.cut_off.before(period.last_start or period.end_at),
        )
    return found
