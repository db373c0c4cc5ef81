"""
Whether the work is being done: what is due, held, owed or half done.

For a page and for metrics that are asked every few seconds, in few statements, whatever the size of the fleet: they
read small tables, and of large ones the partial indexes of what is open. Raw SQL, since one pass over the open
lots answers many questions at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Sum

from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Network
from portal.ground import sql
from portal.ground.uk_time import LONDON, add_working_days
from scheduling.lifecycle import OPEN, State
from scheduling.models import LOT_SPAN, InFlight, Lot, ReportCount, ReportKind
from scheduling.queries import progress

UNANSWERED = timedelta(hours=12)
"""After its slot, when every hub should have answered or been given up."""
HALF_MADE = timedelta(minutes=5)
ALLOCATING = timedelta(hours=1)
LATELY = timedelta(days=1)
JUST_NOW = timedelta(hours=1)
EXCESS = timedelta(days=7)
"""For so long an excess stays before everybody's eyes."""
DEATHS = 2
"""Holders that may die with a lot before somebody should know; the lot is taken in halves from then on."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """
    The lots of one network that are not over.

    `due` are the lots that nobody holds although their time has come, `due_hubs` the open hubs in them, and `oldest` is
    since when the first has been due; `leased` are those that a worker holds; `unanswered` those with
    hubs that were activated, and have not answered long after their slot, unless their release is halted; with
    `deadly` ones worker after worker died; those that `wait` do so for room in flight.
    """

    network: Network
    due: int
    due_hubs: int
    oldest: datetime | None
    leased: int
    open_hubs: int
    activating_hubs: int
    unanswered: int
    deadly: int
    wait: int


BACKLOG = f"""
SELECT lot.network_id,
       count(*) FILTER (WHERE is_due), coalesce(sum(open_hubs) FILTER (WHERE is_due), 0),
       min(lot.due_at) FILTER (WHERE is_due),
       count(*) FILTER (WHERE lot.lease_until > %(now)s),
       sum(open_hubs), sum(lot.activating),
       count(*) FILTER (WHERE lot.activating > 0 AND slot.end_at < %(unanswered)s AND release.state <> %(halted)s),
       count(*) FILTER (WHERE lot.deaths >= %(deaths)s), count(*) FILTER (WHERE lot.waits)
FROM scheduling_lot lot
JOIN scheduling_slot slot ON slot.id = lot.slot_id
JOIN firmware_firmwarerelease release ON release.id = lot.release_id
CROSS JOIN LATERAL (
    SELECT lot.due_at <= %(now)s AND (lot.lease_until IS NULL OR lot.lease_until <= %(now)s) AS is_due,
           {" + ".join(f"lot.{state}" for state in OPEN)} AS open_hubs) said
WHERE lot.due_at IS NOT NULL
GROUP BY lot.network_id
"""  # noqa: S608 - our own names


def backlog(*, now: datetime) -> list[Backlog]:
    """Return what is to be done on each network, in order of name; also where there is nothing."""
    terms = {"now": now, "unanswered": now - UNANSWERED, "halted": ReleaseState.HALTED, "deaths": DEATHS}
    found = {row[0]: row[1:] for row in sql.rows(BACKLOG, terms)}
    nothing: tuple[Any, ...] = (0, 0, None, 0, 0, 0, 0, 0, 0)
    return [Backlog(network, *found.get(network.pk, nothing)) for network in Network.objects.order_by("name")]


@dataclass(frozen=True, slots=True)
class Standing:
    """What else may be wrong. Counts of what can be very many stop above `most`; without a moment there is nothing."""

    counted_at: datetime | None
    stray_reports: int
    unreadable_reports: int
    forged_answers: int
    reclaims_of_an_hour: int
    reclaims_of_a_day: int
    set_aside: int
    lapsed: int
    excesses: int
    differences: int
    reconciled_at: datetime | None
    log_was_read: bool | None
    half_made_bookings: int
    unfinished_allocations: int
    exceptions: int
    late_exceptions: int
    overdue_since: datetime | None
    """The midnight from which a change of supplier should have been in effect."""
    owed_notices: int
    oldest_notice: datetime | None


STANDING = """
SELECT
    (SELECT counted_at FROM hubs_fleetcount LIMIT 1),
    counted.stray, counted.unreadable, counted.forged, reclaimed.just_now, reclaimed.lately,
    (SELECT count(*) FROM (SELECT FROM scheduling_quarantine kept
                             JOIN scheduling_deployment deployment ON deployment.id = kept.deployment_id
                            WHERE kept.since IS NOT NULL AND deployment.ended_at IS NULL LIMIT %(most)s + 1) few),
    (SELECT count(*) FROM (SELECT FROM scheduling_quarantine
                            WHERE since IS NOT NULL AND lapsed_at > %(lately)s LIMIT %(most)s + 1) few),
    (SELECT count(*) FROM scheduling_finding WHERE is_excess AND found_at > %(this_week)s),
    (SELECT count(*) FROM scheduling_finding finding
      WHERE NOT is_excess AND finding.reconciliation_id = reconciled.id),
    reconciled.finished_at, NOT reconciled.log_silent,
    (SELECT count(*) FROM scheduling_booking
      WHERE done_at IS NULL AND abandoned_at IS NULL AND placed_at IS NULL AND created_at < %(half_made)s),
    (SELECT count(*) FROM scheduling_allocation allocation
       JOIN firmware_firmwarerelease release ON release.id = allocation.release_id
      WHERE allocation.finished_at IS NULL AND allocation.begun_at < %(allocating)s AND release.state <> %(halted)s),
    (SELECT count(*) FROM (SELECT FROM scheduling_hubexception WHERE ended_at IS NULL LIMIT %(most)s + 1) few),
    (SELECT count(*) FROM (SELECT FROM scheduling_hubexception
                            WHERE ended_at IS NULL AND raised_at < %(decided_by)s LIMIT %(most)s + 1) few),
    (SELECT min(effective_on)::timestamp AT TIME ZONE 'Europe/London' FROM hubs_changeofsupplier
      WHERE applied_at IS NULL AND effective_on <= %(today)s),
    owed.all_of_them, owed.oldest
FROM (SELECT count(*) AS all_of_them, min(owed_at) AS oldest
      FROM scheduling_notice WHERE next_try_at IS NOT NULL) owed,
     (SELECT coalesce(sum(reports) FILTER (WHERE kind = %(stray)s), 0)::bigint AS stray,
             coalesce(sum(reports) FILTER (WHERE kind = %(unreadable)s), 0)::bigint AS unreadable,
             coalesce(sum(reports) FILTER (WHERE kind = %(forged)s), 0)::bigint AS forged
      FROM scheduling_reportcount WHERE day >= %(report_day)s) counted,
     (SELECT count(*) AS lately, count(*) FILTER (WHERE reclaimed_at > %(just_now)s) AS just_now
      FROM scheduling_reclaim WHERE reclaimed_at > %(lately)s) reclaimed
LEFT JOIN (SELECT id, finished_at, log_silent FROM scheduling_reconciliation
           WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1) reconciled ON true
"""


def standing(*, now: datetime, most: int) -> Standing:
    """Return what waits, is late, or should not be there; of what can be very many, at most `most` and one."""
    today = now.astimezone(LONDON).date()
    terms = {
        "most": most,
        "today": today,
        "stray": ReportKind.STRAY,
        "unreadable": ReportKind.UNREADABLE,
        "forged": ReportKind.FORGED,
        "report_day": (now - LATELY).date(),
        "this_week": now - EXCESS,
        "just_now": now - JUST_NOW,
        "lately": now - LATELY,
        "half_made": now - HALF_MADE,
        "allocating": now - ALLOCATING,
        "halted": ReleaseState.HALTED,
        "decided_by": add_working_days(now, -1),
    }
    [found] = sql.rows(STANDING, terms)
    return Standing(*found)


@dataclass(frozen=True, slots=True)
class Rollout:
    """How many hubs of a release on one network are in each state, by the counts that its lots carry."""

    release: str
    network: str
    hubs: Mapping[State, int]


def rollouts() -> list[Rollout]:
    """Return the state of every release that is published or halted, by its CPL Entry ID and the network's code."""
    releases = dict(
        FirmwareRelease.objects.filter(state__in=[ReleaseState.PUBLISHED, ReleaseState.HALTED]).values_list(
            "pk", "cpl_entry_id"
        )
    )
    networks = dict(Network.objects.values_list("pk", "code"))
    counts = progress.by_release_and_network(lots=Lot.objects.filter(release__in=list(releases)))
    return [
        Rollout(releases[release], networks[network], found.by_state)
        for (release, network), found in sorted(counts.items())
    ]


def in_flight() -> list[InFlight]:
    """Return what is in flight of every release that is published or halted, with its budget."""
    states = [ReleaseState.PUBLISHED, ReleaseState.HALTED]
    return list(
        InFlight.objects.filter(release__state__in=states).select_related("release").order_by("release")
    )


def reports() -> dict[ReportKind, int]:
    """Return how many reports of each kind ever came; six rows a day are summed."""
    counted = dict(ReportCount.objects.values_list("kind").annotate(Sum("reports")).order_by("kind"))
    return {kind: int(counted.get(kind, 0)) for kind in ReportKind}


@dataclass(frozen=True, slots=True)
class SetAside:
    """A hub that nobody touches until DCC decides, and what failed last."""

    deployment: int
    hub: int
    booking: str
    release: str
    since: datetime
    error: str


SET_ASIDE = """
SELECT kept.deployment_id, deployment.hub_id, booking.reference, release.name, kept.since, kept.error
FROM scheduling_quarantine kept
JOIN scheduling_deployment deployment ON deployment.id = kept.deployment_id
JOIN scheduling_lot lot ON lot.id = kept.deployment_id / %(span)s
JOIN scheduling_booking booking ON booking.id = lot.booking_id
JOIN firmware_firmwarerelease release ON release.id = lot.release_id
WHERE kept.since IS NOT NULL AND deployment.ended_at IS NULL
ORDER BY kept.since DESC, kept.deployment_id LIMIT %(limit)s
"""


def set_aside(*, limit: int) -> list[SetAside]:
    """Return the hubs that were set aside last, of those whose deployment has not ended by itself meanwhile."""
    return [SetAside(*row) for row in sql.rows(SET_ASIDE, {"span": LOT_SPAN, "limit": limit})]
