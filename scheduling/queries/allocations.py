"""On which networks DCC allocates today what nobody booked."""

from collections.abc import Collection
from datetime import datetime

from firmware.models import FirmwareRelease
from portal.ground import uk_time
from scheduling.models import Allocation
from scheduling.queries import deadlines


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
