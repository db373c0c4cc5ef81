"""
What became of hubs, by the day of their slot: nationally, and for a Supplier by network, model and reason.

From counters that the database keeps, so it costs the same however many hubs there are: there are at most
as many rows as Suppliers, networks, models, days and reasons make together.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Exists, OuterRef, QuerySet

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from portal.ground import asking, sql
from scheduling.lifecycle import Ending, State
from scheduling.models import OutcomeTally

MOST_DAYS = 92
"""A rollout that took longer is shown by weeks."""

# What was taken up, and what was not yet, in one statement, so that nothing is counted twice or not at all.
COUNTED = """
    SELECT release_id, supplier_id, network_id, model_id, day, state, ending, is_activated, hubs
    FROM scheduling_outcometally
    UNION ALL
    SELECT change.release_id, change.supplier_id, change.network_id, change.model_id,
           (slot.start_at AT TIME ZONE 'Europe/London')::date, change.state, change.ending,
           change.stage > 0, change.hubs
    FROM scheduling_tallychange change JOIN scheduling_slot slot ON slot.id = change.slot_id"""
# Summed up by state first, since that leaves little to ask about.
ROLLOUT = f"""
SELECT day, sum(hubs)::bigint, coalesce(sum(hubs) FILTER (WHERE state = 'succeeded'), 0)::bigint,
       coalesce(sum(hubs) FILTER (WHERE state IN ('failed', 'unconfirmed')), 0)::bigint
FROM (SELECT day, state, is_activated, sum(hubs) AS hubs FROM ({COUNTED}) counted
      WHERE release_id = %(release)s GROUP BY 1, 2, 3) by_state
WHERE state IN ('activating', 'succeeded', 'unconfirmed') OR (state = 'failed' AND is_activated)
GROUP BY 1 HAVING sum(hubs) > 0 ORDER BY 1
"""  # noqa: S608 - our own constants


@dataclass(frozen=True, slots=True)
class Step:
    """
    What was commanded to activate in the slots of a day, or of a week from that day on, and what became of it.

    Bad are those that failed or stayed unconfirmed; those that are silent are among the ones without an outcome until
    they have been read back.
    """

    day: date
    commanded: int
    succeeded: int
    bad: int

    @property
    def waiting(self) -> int:
        """Those that have no outcome yet."""
        return self.commanded - self.succeeded - self.bad


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a release went over time: a step for each day (UK) or week from the first to the last, without a gap."""

    steps: Sequence[Step]
    is_weekly: bool


def monday(day: date) -> date:
    """Return the first day of a day's week."""
    return day - timedelta(days=day.weekday())


@asking.trusted(
    "how a release goes by day is counted over the whole country, and names no hub and no Supplier"
)
def rollout(*, release: int) -> Rollout:
    """Return how a release, by its id, went over time, over all Suppliers; no step where nothing was commanded."""
    steps = {row[0]: Step(*row) for row in sql.rows(ROLLOUT, {"release": release})}
    if not steps:
        return Rollout([], is_weekly=False)
    first, last = min(steps), max(steps)
    if (last - first).days < MOST_DAYS:
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        return Rollout([steps.get(day, Step(day, 0, 0, 0)) for day in days], is_weekly=False)
    weeks: dict[date, Step] = {}
    for day in range((monday(last) - monday(first)).days // 7 + 1):
        week = monday(first) + timedelta(weeks=day)
        weeks[week] = Step(week, 0, 0, 0)
    for step in steps.values():
        week = monday(step.day)
        had = weeks[week]
        weeks[week] = Step(
            week, had.commanded + step.commanded, had.succeeded + step.succeeded, had.bad + step.bad
        )
    return Rollout(list(weeks.values()), is_weekly=True)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a Supplier's hubs of one model, on one network, in the slots of a week."""

    week: date
    network: str
    model: str
    by_state: Mapping[State, int]

    @property
    def ended(self) -> int:
        """Hubs with an outcome."""
        return sum(hubs for state, hubs in self.by_state.items() if state != State.ACTIVATING)


@dataclass(frozen=True, slots=True)
class Reason:
    """So many of a Supplier's hubs that did not get the release in the slots of a week, and why."""

    state: State
    ending: Ending
    network: str
    model: str
    week: date
    hubs: int


@dataclass(frozen=True, slots=True)
class Results:
    """What became of a Supplier's hubs with a release."""

    by_week: Sequence[Result]
    reasons: Sequence[Reason]

    @property
    def by_state(self) -> Mapping[State, int]:
        """All of them together."""
        found = dict.fromkeys(OutcomeTally.STATES, 0)
        for result in self.by_week:
            for state, hubs in result.by_state.items():
                found[state] += hubs
        return found


RESULTS = f"""
SELECT date_trunc('week', day)::date, network.name, model.name, state, ending, sum(hubs)::bigint
FROM ({COUNTED}) counted
JOIN hubs_network network ON network.id = counted.network_id
JOIN hubs_hubmodel model ON model.id = counted.model_id
WHERE release_id = %(release)s AND supplier_id = %(supplier)s
GROUP BY 1, 2, 3, 4, 5 HAVING sum(hubs) > 0 ORDER BY 1, 2, 3, 4, 5
"""  # noqa: S608 - our own constant


def results(*, supplier: Supplier, release: FirmwareRelease) -> Results:
    """Return what became of a Supplier's hubs with a release, week by week; one query."""
    rows = sql.rows(RESULTS, {"release": release.pk, "supplier": supplier.pk})
    cells: dict[tuple[date, str, str], dict[State, int]] = defaultdict(
        lambda: dict.fromkeys(OutcomeTally.STATES, 0)
    )
    reasons = []
    for week, network, model, state, ending, hubs in rows:
        cells[week, network, model][State(state)] += hubs
        if state not in (State.SUCCEEDED, State.ACTIVATING):
            reasons.append(Reason(State(state), Ending(ending), network, model, week, hubs))
    return Results([Result(*cell, by_state) for cell, by_state in cells.items()], reasons)


def with_results(*, supplier: Supplier) -> QuerySet[FirmwareRelease]:
    """Return the releases with which hubs of a Supplier's bookings have an outcome, the latest first."""
    kept = OutcomeTally.objects.filter(supplier=supplier, release=OuterRef("pk"))
    return (
        FirmwareRelease.objects.filter(Exists(kept), published_at__isnull=False)
        .select_related("version")
        .order_by("-published_at", "-pk")
    )
