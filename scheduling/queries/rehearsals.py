"""How a rehearsed rollout went: what became of each hub, how full the slots were, when stages opened and closed."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Max

from firmware.models import FirmwareRelease
from hubs.models import Network
from portal.ground import sql
from scheduling.lifecycle import OPEN, Ending, State
from scheduling.models import Deployment, Stage

# Raw SQL: of each hub the last deployment, whatever became of those before.
ENDS = """
SELECT state, ending, count(*) FROM (
    SELECT DISTINCT ON (deployment.hub_id) deployment.hub_id, deployment.state, deployment.ending
    FROM scheduling_deployment deployment ORDER BY deployment.hub_id, deployment.id DESC) last
GROUP BY 1, 2 ORDER BY 1, 2
"""
CAPACITY = """
SELECT slot.network_id, sum(slot.capacity), sum(slot.taken), coalesce(max(slot.taken::float8 / nullif(capacity, 0)), 0)
FROM scheduling_slot slot JOIN firmware_availabilityperiod period
    ON period.network_id = slot.network_id AND period.release_id = %(release)s
    AND slot.start_at >= period.start_at AND slot.end_at <= period.end_at
GROUP BY 1 ORDER BY 1
"""
# A hub is commanded when the first activation of its deployment was admitted; whoever is found out to be bad later is
# bad from then on.
COURSE = """
SELECT extract(epoch FROM at - %(opened)s)::float8 / 86400, sum(sum(hubs)) OVER running, sum(sum(bad)) OVER running
FROM (
    SELECT date_bin(%(step)s, admitted_at, %(opened)s) AS at, count(*) AS hubs, 0 AS bad FROM (
        SELECT min(command.admitted_at) AS admitted_at FROM scheduling_command command
        WHERE command.phase = 3 GROUP BY command.deployment_id) first
    GROUP BY 1
    UNION ALL
    SELECT date_bin(%(step)s, commanded_at, %(opened)s), 0, count(*) FROM scheduling_badhub
    WHERE release_id = %(release)s GROUP BY 1) counted
GROUP BY at WINDOW running AS (ORDER BY at) ORDER BY at
"""
STEP = timedelta(minutes=1)
UNTRIED = (
    Ending.NO_TURN,
    Ending.SLOT_PASSED,
    Ending.NETWORK_CLOSED,
    Ending.PROTECTED_WINDOW,
    Ending.NOT_STAGED,
)
"""Endings of hubs that nobody tried to activate, although they were there."""


class End(NamedTuple):
    """So many hubs whose last deployment is in a state, for a reason."""

    state: State
    ending: Ending
    hubs: int

    @property
    def is_untried(self) -> bool:
        """Whether these hubs were left out for want of time or of a turn, and not for what they are."""
        return self.state in OPEN or self.ending in UNTRIED


class Use(NamedTuple):
    """How much of a network's room in the period was taken, in hubs; `fullest` is the share of its fullest slot."""

    network: Network
    places: int
    taken: int
    fullest: float


def ends() -> list[End]:
    """Return what became of the hubs that were booked, each counted once."""
    return [End(State(state), Ending(ending), hubs) for state, ending, hubs in sql.rows(ENDS, {})]


def capacity(*, release: FirmwareRelease) -> list[Use]:
    """Return how full the slots of each network were, over the release's periods."""
    rows = sql.rows(CAPACITY, {"release": release.pk})
    networks = Network.objects.in_bulk([network for network, *_ in rows])
    return [Use(networks[network], places, taken, fullest) for network, places, taken, fullest in rows]


class Point(NamedTuple):
    """How many hubs had been commanded so many days after the opening, and how many of them are bad."""

    days: float
    commanded: int
    bad: int


def course(*, release: FirmwareRelease, opened: datetime) -> list[Point]:
    """Return how many hubs had been commanded over time, minute by minute."""
    rows = sql.rows(COURSE, {"release": release.pk, "opened": opened, "step": STEP})
    return [Point(days, int(commanded), int(bad)) for days, commanded, bad in rows]


def last_outcome(*, release: FirmwareRelease) -> datetime | None:
    """Return when the last hub that was activated had its outcome; None where there was none."""
    activated = Deployment.objects.filter(state__in=[State.SUCCEEDED, State.FAILED, State.UNCONFIRMED])
    found: dict[str, Any] = activated.aggregate(at=Max("ended_at"))
    moment: datetime | None = found["at"]
    return moment


def stages(*, release: FirmwareRelease) -> list[Stage]:
    """Return the stages in which hubs were admitted, with their models, by model and number."""
    admitted = Stage.objects.filter(release=release, admitted__gt=0)
    return list(admitted.select_related("model").order_by("model", "number"))
