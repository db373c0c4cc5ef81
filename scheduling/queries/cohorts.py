"""
What the bad hubs of a release have in common: its Supplier, the hardware, or what they ran before.

The bad ones are counted one by one; they are few. All hubs that were commanded are too many to look at: beyond some
thousands, how many share a value is estimated from a sample of them. A warning halts nothing. It tells people where to
look, and what to leave out when they resume. The test is the breaker's, but what it holds a cohort against is how bad
the others are, where that is more than what is tolerated: of a release that is bad everywhere no cohort stands out.
Where it goes by an estimate, it errs on the side of silence.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from django.db.models import Exists, OuterRef, Q

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from hubs.queries import hubs_of
from portal.ground import sql
from scheduling import breaker
from scheduling.lifecycle import Ending, State
from scheduling.models import LOT_SPAN, BadHub, Cohort, Deployment
from scheduling.queries import late_looks
from scheduling.queries.evidence import LATE, NETWORKS_HALTED, OUTCOMES, WATCHED

HUBS = 6_000
"""Commanded hubs that are looked at; the first stages of a model are smaller, so their numbers are exact."""
LOTS = 200
"""Lots in which they are sought."""
LEAST = 3
"""So few bad hubs have nothing in common yet that means anything."""
PAGE = 1_000

Value: TypeAlias = tuple[str, int]
"""A kind of cohort, and the Supplier's id or the version's number."""

# Of the hubs that the breaker watches now: commanded in the episode, and the bad ones of them. What is halted by itself
# is known, and left out here as there.
BAD_NOW = f"""
    FROM scheduling_badhub bad JOIN watched ON watched.model_id = bad.model_id AND watched.number = bad.stage
    WHERE bad.release_id = %(release)s AND bad.network_id <> ALL ({NETWORKS_HALTED})"""
COMMANDED = f"""
WITH watched AS ({WATCHED})
SELECT coalesce(sum(good + bad + waiting), 0)::bigint, coalesce(max(episode), 1),
       (SELECT min(stage.opened_at) FROM scheduling_stage stage
        JOIN watched ON watched.model_id = stage.model_id AND watched.number = stage.number
        WHERE stage.release_id = %(release)s),
       (SELECT count(*) {BAD_NOW})
FROM ({OUTCOMES}) outcome (model_id, episode, network_id, good, bad, waiting)
"""  # noqa: S608 - our own constants
BAD = f"""
WITH watched AS ({WATCHED})
SELECT bad.supplier_id, bad.hardware_version, bad.version_before, count(*) {BAD_NOW} GROUP BY 1, 2, 3
"""
BY_VALUE = """SELECT admitted.supplier_id, hub.hardware_version, coalesce(said.version, version.number), count(*)
FROM admitted
JOIN hubs_communicationshub hub ON hub.chf_id = admitted.hub_id
JOIN hubs_firmwareversion version ON version.id = hub.installed_version_id
LEFT JOIN LATERAL (
    SELECT command.version FROM scheduling_command command
    WHERE command.deployment_id = admitted.id AND command.phase = 1 AND command.version IS NOT NULL
    ORDER BY command.attempt DESC LIMIT 1) said ON true
GROUP BY 1, 2, 3"""
# Only lots whose slots were not over when the episode began can have hubs in it. Which lots, and which hubs, is decided
# by a hash of their numbers: by chance, and the same ones each time. The OFFSET keeps PostgreSQL from reading all
# deployments in search of the stage: it goes by the keys of each lot.
SAMPLE = f"""
WITH watched AS ({WATCHED}),
lots AS MATERIALIZED (
    SELECT lot.id, lot.supplier_id FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
    WHERE lot.release_id = %(release)s AND slot.end_at > %(since)s AND lot.network_id <> ALL ({NETWORKS_HALTED})
      AND lot.activating + lot.succeeded + lot.failed + lot.unconfirmed > 0
    ORDER BY hashint8(lot.id), lot.id LIMIT %(lots)s),
admitted AS MATERIALIZED (
    SELECT deployment.id, deployment.hub_id, lots.supplier_id
    FROM lots CROSS JOIN LATERAL (
        SELECT id, hub_id, model_id, stage FROM scheduling_deployment
        WHERE id >= lots.id * %(span)s AND id < (lots.id + 1) * %(span)s AND stage > 0 OFFSET 0) deployment
    JOIN watched ON watched.model_id = deployment.model_id AND watched.number = deployment.stage
    ORDER BY hashint8(deployment.id), deployment.id LIMIT %(hubs)s)
{BY_VALUE}
"""  # noqa: S608 - our own constants
# What was looked at again: the hubs of small stages, and the same sample of large ones that the database chose. Those
# that were found bad have succeeded, and are bad all the same.
NOT_HALTED = f"""{{row}}.network_id <> ALL ({NETWORKS_HALTED}) AND NOT EXISTS (
        SELECT FROM firmware_halt halt
        WHERE halt.release_id = %(release)s AND halt.lifted_at IS NULL AND halt.model_id = {{model}})"""
BAD_LATER = f"""
SELECT bad.supplier_id, bad.hardware_version, bad.version_before, count(*)
FROM scheduling_badhub bad JOIN scheduling_deployment deployment ON deployment.id = bad.deployment_id
WHERE bad.release_id = %(release)s AND deployment.state = 'succeeded'
  AND {NOT_HALTED.format(row="bad", model="bad.model_id")}
GROUP BY 1, 2, 3
"""  # noqa: S608 - our own constants
SAMPLE_LATER = f"""
WITH lots AS MATERIALIZED (
    SELECT lot.id, lot.supplier_id FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
    WHERE lot.release_id = %(release)s AND slot.start_at <= %(before)s AND lot.succeeded > 0
    ORDER BY hashint8(lot.id), lot.id LIMIT %(lots)s),
admitted AS MATERIALIZED (
    SELECT deployment.id, deployment.hub_id, lots.supplier_id
    FROM lots CROSS JOIN LATERAL (
        SELECT id, hub_id, model_id, stage FROM scheduling_deployment
        WHERE id >= lots.id * %(span)s AND id < (lots.id + 1) * %(span)s
          AND state = 'succeeded' AND stage > 0 AND ended_at <= %(before)s OFFSET 0) deployment
    JOIN scheduling_lot lot ON lot.id = lots.id
    JOIN scheduling_stage stage ON stage.release_id = %(release)s AND stage.model_id = deployment.model_id
        AND stage.number = deployment.stage
    WHERE (stage.size <= 5000 OR hashint8(deployment.id) %% 20 = 0)
      AND {NOT_HALTED.format(row="lot", model="deployment.model_id")}
    ORDER BY hashint8(deployment.id), deployment.id LIMIT %(hubs)s)
{BY_VALUE}
"""  # noqa: S608 - our own constants


@dataclass(frozen=True, slots=True)
class Watched:
    """
    The hubs that are watched: how many were commanded, since when, in which episode, and how many are bad.

    Where they are `looked_at_again`, they all succeeded before, and `since` is the last moment at which one may have.
    """

    hubs: int
    episode: int
    since: datetime | None
    bad: int
    looked_at_again: bool = False


def watched(*, release: int) -> Watched:
    """Count the hubs of a release, by id, that the breaker watches; from counters."""
    [(hubs, episode, since, bad)] = sql.rows(COMMANDED, {"release": release})
    return Watched(hubs, episode, since, bad)


def looked_at_again(*, release: FirmwareRelease, now: datetime) -> Watched:
    """Count the hubs of a release, with its policy, that were looked at again since it was resumed last."""
    tallies = sql.rows(LATE, {"release": release.pk})
    bad = 0
    if sum(found for *_, found in tallies) >= LEAST:
        bad = sum(number for *_, number in sql.rows(BAD_LATER, {"release": release.pk}))
    return Watched(
        hubs=sum(well for _, _, well, _ in tallies) + bad,
        episode=1 + max((epoch for _, epoch, _, _ in tallies), default=0),
        since=now - late_looks.later(release=release, now=now),
        bad=bad,
        looked_at_again=True,
    )


def find(*, release: FirmwareRelease, among: Watched, now: datetime) -> list[Cohort]:
    """
    Find what the bad hubs of a release, with its policy, have in common; as rows that nobody has kept yet.

    Nothing where there are fewer bad hubs than have anything in common.
    """
    if among.bad < LEAST or among.since is None:
        return []
    terms = {
        "release": release.pk,
        "since": among.since,
        "before": among.since,
        "lots": LOTS,
        "hubs": HUBS,
        "span": LOT_SPAN,
    }
    bad = _by_value(sql.rows(BAD_LATER if among.looked_at_again else BAD, terms))
    sample = _by_value(sql.rows(SAMPLE_LATER if among.looked_at_again else SAMPLE, terms))
    looked_at = sum(number for (kind, _), number in sample.items() if kind == Cohort.Kind.SUPPLIER)
    if among.looked_at_again:  # of some that succeed the first look is counted before the last resumption
        among = replace(among, hubs=max(among.hubs, looked_at))
    is_estimate = looked_at < among.hubs
    each = among.hubs / looked_at if looked_at else 1.0
    values = sorted(bad.keys() | sample.keys())
    cohorts = []
    for kind, value in values:
        of_it, sampled = bad.get((kind, value), 0), sample.get((kind, value), 0)
        hubs = max(round(sampled * each), of_it)
        # As many as there may well be: with fewer, a small cohort would look worse than it is.
        most = math.ceil((sampled + 2 * math.sqrt(sampled) + 2) * each) if is_estimate else hubs
        reading = breaker.read(
            stream=breaker.Stream(good=max(most - of_it, 0), bad=of_it, waiting=0),
            tolerated=_expected(release, bad=among.bad - of_it, hubs=among.hubs - hubs),
            episode=among.episode,
            streams=len(values),
        )
        cohorts.append(
            Cohort(
                release=release,
                kind=kind,
                value=value,
                bad=of_it,
                hubs=hubs,
                is_estimate=is_estimate,
                evidence=reading.evidence,
                threshold=reading.limit,
                seen_at=now,
            )
        )
    return cohorts


def _expected(release: FirmwareRelease, *, bad: int, hubs: int) -> float:
    """
    Return which share of a cohort's hubs is bad where it is like the others, of which so many are; what is tolerated
    at least.

    The fewer others there are, the less they can tell: without any, half of the hubs might be bad.
    """
    tolerated = float(release.policy.tolerated_bad_percent / Decimal(100))
    return min(max(tolerated, (max(bad, 0) + 1) / (max(hubs, bad, 0) + 2)), 0.5)


def _by_value(rows: Iterable[Sequence[int]]) -> dict[Value, int]:
    found: dict[Value, int] = {}
    for supplier, hardware, version, number in rows:
        for value in (
            (Cohort.Kind.SUPPLIER, supplier),
            (Cohort.Kind.HARDWARE, hardware),
            (Cohort.Kind.VERSION, version),
        ):
            found[value] = found.get(value, 0) + number
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """
    What is known of one cohort, for people.

    `times` says how many times as often its hubs are bad as the others of its kind; None where none of the others is.
    `is_only_bad` says that there are others, and that none of them is bad.
    """

    kind: str
    words: str
    bad: int
    hubs: int
    is_estimate: bool
    times: float | None
    is_only_bad: bool
    warns: bool
    evidence: float

    @property
    def rate(self) -> float:
        """Which part of its hubs is bad."""
        return self.bad / self.hubs if self.hubs else 0.0


@dataclass(frozen=True, slots=True)
class InCommon:
    """What the bad hubs of a release have in common, the most telling first."""

    bad: int
    hubs: int
    lines: Sequence[Line]
    seen_at: datetime

    @property
    def warnings(self) -> Sequence[Line]:
        """The cohorts of which people are warned."""
        return [line for line in self.lines if line.warns]

    @property
    def is_estimate(self) -> bool:
        """Whether the numbers of commanded hubs are estimated from a sample."""
        return any(line.is_estimate for line in self.lines)

    @property
    def sentence(self) -> str:
        """Say what stands out."""
        if not self.warnings:
            # as so often of few hubs: true of all of them, and too few to be sure
            shared = " and ".join(line.words for line in self.lines if line.is_only_bad)
            return (
                f"No Supplier, hardware version or former version stands out yet among the {self.bad:,} bad hubs"
                + (f", though all of them are hubs {shared}." if shared else ".")
            )
        parts = [f"{line.bad:,} {line.words}" for line in self.warnings[:3]]
        return f"Of the {self.bad:,} bad hubs " + ", ".join(parts) + "."


def in_common(*, releases: Iterable[int]) -> dict[int, InCommon]:
    """Return what was found last of some releases, by id; nothing of those without enough bad hubs. Two questions."""
    kept: dict[int, list[Cohort]] = {}
    for one in Cohort.objects.filter(release__in=list(releases)).order_by("pk"):
        kept.setdefault(one.release_id, []).append(one)
    names = dict(Supplier.objects.values_list("pk", "name")) if kept else {}
    return {release: as_lines(cohorts=cohorts, suppliers=names) for release, cohorts in kept.items()}


def as_lines(*, cohorts: Sequence[Cohort], suppliers: Mapping[int, str]) -> InCommon:
    """Put cohorts of one release into lines for people, each beside the others of its kind."""
    kinds: dict[str, list[Cohort]] = {}
    for one in cohorts:
        kinds.setdefault(one.kind, []).append(one)
    totals = {
        kind: (sum(one.bad for one in of_kind), sum(one.hubs for one in of_kind))
        for kind, of_kind in kinds.items()
    }
    lines = []
    for one in cohorts:
        bad, hubs = totals[one.kind]
        others_bad, others = bad - one.bad, hubs - one.hubs
        times = (one.bad / one.hubs) / (others_bad / others) if others_bad and one.hubs else None
        is_only_bad = others > 0 and one.bad > 0 and not others_bad
        lines.append(
            Line(
                Cohort.Kind(one.kind).label,
                _words(one, suppliers),
                one.bad,
                one.hubs,
                one.is_estimate,
                times,
                is_only_bad,
                others > 0 and one.evidence >= one.threshold,
                one.evidence,
            )
        )
    lines.sort(key=lambda line: (not line.warns, -line.evidence))
    bad, hubs = totals[Cohort.Kind.SUPPLIER]
    return InCommon(bad, hubs, lines, max(one.seen_at for one in cohorts))


def _words(one: Cohort, suppliers: Mapping[int, str]) -> str:
    match one.kind:
        case Cohort.Kind.SUPPLIER:
            return f"booked by {suppliers.get(one.value, one.value)}"
        case Cohort.Kind.HARDWARE:
            return f"with hardware version {one.value & 0xFFFF:04X}"
        case _:
            return f"that ran {one.value:08X} before"


@dataclass(frozen=True, slots=True)
class Concerned:
    """A bad hub, with what it may have in common with others, and what became of it."""

    bad: BadHub
    state: State
    ending: Ending

    @property
    def why(self) -> str:
        """Say why it is bad."""
        if self.state == State.ACTIVATING:
            return "Silent at its deadline; being read back"
        if self.state == State.SUCCEEDED:
            return "Fell silent, or fell back, after it had succeeded"
        return self.ending.label


def hubs_concerned(
    *, release: FirmwareRelease, after: tuple[int, int] = (0, 0), limit: int, supplier: Supplier | None = None
) -> list[Concerned]:
    """
    Return bad hubs of a release by Supplier, after the key (Supplier, deployment); of one Supplier, those it sees now.

    Two statements. The other Supplier of a shared hub sees it as well, and nobody who has lost it does.
    """
    rows = BadHub.objects.filter(
        Q(supplier__gt=after[0]) | Q(supplier=after[0], deployment_id__gt=after[1]), release=release
    )
    if supplier is not None:
        seen = hubs_of(supplier=supplier).filter(chf_id=OuterRef("hub"))
        rows = rows.filter(Exists(seen))
    page = list(
        rows.select_related("hub", "network", "model", "supplier").order_by("supplier", "deployment_id")[
            :limit
        ]
    )
    deployments = Deployment.objects.in_bulk([one.deployment_id for one in page])
    return [
        Concerned(
            one, State(deployments[one.deployment_id].state), Ending(deployments[one.deployment_id].ending)
        )
        for one in page
    ]


def every_hub_concerned(*, release: FirmwareRelease, supplier: Supplier | None = None) -> Iterator[Concerned]:
    """Yield all bad hubs of a release, page by page; of one Supplier, those it sees now."""
    after = (0, 0)
    while page := hubs_concerned(release=release, after=after, limit=PAGE, supplier=supplier):
        yield from page
        after = (page[-1].bad.supplier_id, page[-1].bad.deployment_id)
