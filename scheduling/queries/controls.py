"""What the controls of each network say: which are to be looked at, and how they were found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q, Subquery, Sum

from firmware.models import AvailabilityPeriod, ReleaseState
from hubs.models import Network
from portal.ground import sql
from scheduling import breaker
from scheduling.models import Control, ControlLook, LateLook
from scheduling.queries import windows

LOOKS = 24
"""So often within the shortest silence deadline: controls have to be known long before hubs count as silent."""
EVERY = (timedelta(seconds=5), timedelta(minutes=5))
"""How often the controls of a network are looked at, at the most and at the least."""
MISSES = 3
"""Looks in a row in which a control did not answer, until it counts as silent."""
LIMIT = math.log(1_000_000)
"""
The evidence at which a network is paused: a million to one.

Each look is a test of its own and not a step of a longer one; at one every five minutes on four networks this alarms
without a cause in two and a half years, if it were ever as likely as it is allowed to be.
"""
BASELINE = 0.005
"""The share of hubs that is silent without any cause, until enough looks have measured it."""
MEASURED_OVER = timedelta(days=7)
MEASURED_FROM = 20_000
"""Hubs seen in looks, each as often as it was looked at, from which on the baseline is what was measured."""


def due(*, now: datetime) -> list[int]:
    """
    Return the networks, by id, whose controls are to be looked at.

    A release may be activated there now, or was, and its hubs are still looked at again: so are controls, which say
    whether it is the network.
    None that DCC has closed is among them, since its hubs may be silent on purpose.
    """
    deadlines: dict[int, timedelta] = {}
    looked_at_again = LateLook.objects.filter(release=OuterRef("release"), network=OuterRef("network"))
    periods = AvailabilityPeriod.objects.filter(
        Q(end_at__gt=now) | Exists(looked_at_again), start_at__lte=now, release__state=ReleaseState.PUBLISHED
    ).select_related("release__policy")
    for period in periods:
        deadline = period.release.policy.silence_deadline.after(now) - now
        deadlines[period.network_id] = min(deadline, deadlines.get(period.network_id, deadline))
    last = {look.network_id: look.at for look in latest()}
    closed = windows.closed_networks(now=now)
    return sorted(
        network
        for network, deadline in deadlines.items()
        if network not in closed
        and (network not in last or last[network] + interval(deadline=deadline) <= now)
    )


def interval(*, deadline: timedelta) -> timedelta:
    """Return how often controls are looked at beside a release whose hubs are silent after a deadline."""
    return min(max(deadline / LOOKS, EVERY[0]), EVERY[1])


def latest() -> Sequence[ControlLook]:
    """
    Return the last look at the controls of each network, by the names of the networks.

    The last one of each is sought by itself: a hundred thousand are kept.
    """
    last = ControlLook.objects.filter(network=OuterRef("pk")).order_by("-at").values("pk")[:1]
    return list(
        ControlLook.objects.filter(pk__in=Network.objects.values_list(Subquery(last)))
        .select_related("network")
        .order_by("network__name")
    )


def panel(*, network: int) -> Sequence[Control]:
    """Return the controls of a network, in the order of their CHF IDs."""
    return list(Control.objects.filter(network=network).order_by("hub"))


def baseline(*, network: int, now: datetime) -> float:
    """Return the share of a network's hubs that is silent without any cause, as it was measured lately."""
    seen = ControlLook.objects.filter(
        network=network, at__gt=now - MEASURED_OVER, evidence__lt=LIMIT
    ).aggregate(hubs=Sum("hubs"), silent=Sum("silent"))
    if (seen["hubs"] or 0) < MEASURED_FROM:
        return BASELINE
    return min(float(seen["silent"] / seen["hubs"]), 0.2)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the controls of a network say: how many there are that had answered, and how many have fallen silent."""

    hubs: int
    silent: int
    usual: float
    evidence: float

    @property
    def stops(self) -> bool:
        """Whether the network is in trouble, whatever is being updated on it."""
        return self.hubs >= ControlLook.LEAST and self.evidence >= LIMIT


COUNTED = f"""
SELECT count(*) FILTER (WHERE heard_at IS NOT NULL),
       count(*) FILTER (WHERE heard_at IS NOT NULL AND misses >= {MISSES})
FROM scheduling_control WHERE network_id = %(network)s
"""  # noqa: S608 - our own constant


def standing(*, network: int, now: datetime) -> Standing:
    """Hold the controls of a network, by id, against what is usual on it."""
    [(hubs, silent)] = sql.rows(COUNTED, {"network": network})
    usual = baseline(network=network, now=now)
    return Standing(
        hubs,
        silent,
        usual,
        breaker.evidence(good=hubs - silent, bad=silent, tolerated=breaker.tolerance(baseline=usual)),
    )


def name_of(*, network: int) -> Network:
    """Return a network by id."""
    return Network.objects.get(pk=network)
