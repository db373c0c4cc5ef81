"""DCC's weekly patterns of capacity."""

from datetime import time

from django.db.models import Q

from hubs.models import Network
from scheduling.models import CapacityPattern


def overlapping(
    *, network: Network, weekday: int, starts: time, ends: time | None, besides: int | None
) -> CapacityPattern | None:
    """
    Return a pattern of the network and weekday that shares a time of day with `starts` to `ends`.

    `ends` of None, or 00:00, means midnight; `besides` is the pattern that is being changed.
    """
    others = CapacityPattern.objects.filter(network=network, weekday=weekday)
    if besides is not None:
        others = others.exclude(pk=besides)
    others = others.filter(Q(ends=None) | Q(ends=time()) | Q(ends__gt=starts))
    if ends is not None and ends != time():
        others = others.filter(starts__lt=ends)
    return others.select_related("network").order_by("starts").first()
