"""When DCC allocates what nobody booked, on which networks, and what it would take."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from portal.ground import uk_time
from scheduling.models import Allocation, Booking, Decision, Exemption
from scheduling.queries import deadlines
from scheduling.queries.standings import Standing


def due_networks(*, release: FirmwareRelease, now: datetime) -> list[int]:
    """
    Return the ids of the networks whose remaining hubs are to be allocated today, in order.

    Those whose moment has come, on the UK day of that moment and on every working day after it until the period
    is over. A network that was allocated once stays among them, also when its period is given more time. There is
    one allocation a day, so while the moment of another network is still to come today, it waits for that.
    """
    today = now.astimezone(uk_time.LONDON).date()
    begun = _begun(release)
    is_first_day = False
    due = []
    for period in release.periods.all():
        moment = deadlines.allocation_at(period=period, policy=release.policy)
        is_today = moment.astimezone(uk_time.LONDON).date() == today
        if is_today and moment > now and period.network_id not in begun:
            return []
        is_first_day |= is_today
        if period.end_at > now and (moment <= now or period.network_id in begun):
            due.append(period.network_id)
    return sorted(due) if is_first_day or uk_time.is_working_day(today) else []


def _begun(release: FirmwareRelease) -> Collection[int]:
    """Return the networks for which there has been an allocation."""
    rows = (
        Allocation.objects.filter(release=release, decision=None)
        .order_by()
        .values_list("networks", flat=True)
        .distinct()
    )
    return {network for networks in rows for network in networks}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What DCC's default allocation of a release means for a Supplier, in hubs as last counted."""

    at: datetime | None = None
    """The next moment of a network on which hubs are left; None where none is to come."""
    hubs: int = 0
    """How many it would take then."""
    now: int = 0
    """How many are left where the moment has come: they are taken on the next working day."""


def outlooks(*, supplier: Supplier, shown: Sequence[Standing], now: datetime) -> dict[int, Outlook]:
    """Say by release id what the default allocation would take, of standings with the releases' facts; one query."""
    exempt: dict[int, list[Exemption]] = {}
    for exemption in Exemption.objects.filter(
        supplier=supplier,
        release__in=[standing.release for standing in shown],
        ended_at=None,
        expires_at__gt=now,
    ):
        exempt.setdefault(exemption.release_id, []).append(exemption)
    return {
        standing.release.pk: _outlook(standing, exempt.get(standing.release.pk, ()), now)
        for standing in shown
    }


def _outlook(standing: Standing, exempt: Sequence[Exemption], now: datetime) -> Outlook:
    release = standing.release
    whole = [exemption.network_id for exemption in exempt if not exemption.hubs]
    listed = sum(exemption.hubs for exemption in exempt)
    by_moment: dict[datetime, int] = {}
    for period in release.periods.all():
        left = standing.left_on.get(period.network_id, 0)
        if left and period.end_at > now and not {None, period.network_id} & set(whole):
            moment = deadlines.allocation_at(period=period, policy=release.policy)
            by_moment[moment] = by_moment.get(moment, 0) + left
    at = min((moment for moment in by_moment if moment > now), default=None)
    begun = sum(hubs for moment, hubs in by_moment.items() if moment <= now)
    # nobody counted on which network the listed ones are
    return Outlook(at, max(by_moment[at] - listed, 0) if at else 0, max(begun - listed, 0))


def decision_behind(*, booking: Booking) -> Decision | None:
    """Return DCC's decision that led to a booking, if one did."""
    if booking.origin != Booking.Origin.DEFAULT:
        return None
    return Decision.objects.filter(allocations__selection__bookings=booking).first()
