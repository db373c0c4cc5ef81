"""
Where the rollout of each release stands, and what speaks against it: for DCC's control room, and in sum for Suppliers.

Every count comes from the maintained counters and warning signs, never from the hubs, so that a page may ask every few
seconds however many hubs there are. Whatever says how a release fares asks here, so that all pages say the same.
"""

import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet, TextChoices

from firmware.models import OPEN_TO_SUPPLIERS, FirmwareRelease, Halt, Part, ReleaseState, SignedAct, SignOff
from hubs.models import HubModel, Network
from portal.ground import asking, sql
from scheduling.models import InFlight, Stage
from scheduling.queries import evidence, late_looks
from scheduling.queries.evidence import REFUSALS, Look, Watched
from scheduling.queries.late_looks import Awaited

WHOLE_HALT = Q(halt__network=None, halt__model=None, halt__installed_version=None)
WATCHED_FROM = 0.5
"""The share of its limit from which the evidence is worth watching."""
HISTORY = timedelta(days=1)
"""For so long before its last change the evidence is drawn."""
MOMENTS = 48
"""A picture has about so many moments; of those between them, the highest is shown."""


class Health(TextChoices):
    """How a rollout fares, in one word."""

    HEALTHY = "healthy", "Healthy"
    WATCHED = "watched", "Watched"
    HALTED = "halted", "Halted"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """
    Hubs by what became of them.

    `staged` hold the image, and `held` wait for the release to be resumed; `failed_before` failed before anything
    was activated. The others were activated: `waiting` have time left to answer, `silent` have not, and are being
    read back.
    """

    staged: int = 0
    held: int = 0
    failed_before: int = 0
    waiting: int = 0
    silent: int = 0
    succeeded: int = 0
    failed: int = 0
    unconfirmed: int = 0

    def __add__(self, other: "Outcomes") -> "Outcomes":
        return Outcomes(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @property
    def activated(self) -> int:
        """All that were commanded to activate: none of it can be undone."""
        return self.in_flight + self.succeeded + self.failed + self.unconfirmed

    @property
    def in_flight(self) -> int:
        """Those of them that have no outcome yet."""
        return self.waiting + self.silent

    @property
    def bad(self) -> int:
        """Those of them that speak against the release."""
        return self.failed + self.unconfirmed + self.silent


@dataclass(frozen=True, slots=True)
class Cell:
    """What became of the hubs of one model on one network."""

    model: str
    network: str
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class OpenStage:
    """The stage in which hubs of a model are activated now."""

    model: str
    stage: Stage
    sizes: int
    """How many sizes the policy names."""
    is_halted: bool
    """The model is halted by itself."""
    awaited: Awaited | None
    """Hubs that it waits for, now that it has soaked: they are to be looked at again first."""

    @property
    def tranche(self) -> int:
        """Which tranche of the policy's last size it is, from 1; nought before them."""
        return max(self.stage.step - self.sizes, 0)


@dataclass(frozen=True, slots=True)
class Stream:
    """The hubs of one model, or of one network, that one test looks at; `letter` marks it in a picture."""

    letter: str
    name: str
    model: int | None
    network: int | None
    watched: Watched | None
    """What they say now; None before the first of them is activated in this episode."""
    is_halted: bool
    """They are halted by themselves, so they say nothing more."""

    @property
    def words(self) -> str:
        """What its hubs have in common."""
        return f"{'Network' if self.model is None else 'Model'} {self.name}"

    @property
    def share(self) -> float:
        """How much of its limit the evidence has reached; 1 and more halts the release."""
        return self.watched.reading.share if self.watched else 0.0

    @property
    def bad_share(self) -> float:
        """Which part of its hubs is bad."""
        return self.watched.stream.bad / self.watched.stream.hubs if self.watched else 0.0


@dataclass(frozen=True, slots=True)
class Near:
    """Some hubs, and how much of its limit what they say has reached."""

    words: str
    share: float


@dataclass(frozen=True, slots=True)
class Situation:
    """Where the rollout of a release stands, and what speaks against it."""

    release: FirmwareRelease
    halt: Halt | None
    """That of the whole release."""
    halted_parts: Sequence[Halt]
    agreed: SignOff | None
    """The sign-off of its resumption, where somebody has agreed to that already."""
    look: Look
    streams: Sequence[Stream]
    later: Sequence[Stream]
    """Of each model the hubs that were looked at again, a day after they succeeded or two; without letters."""
    stages: Sequence[OpenStage]
    in_flight: InFlight | None
    cells: Sequence[Cell]

    @property
    def national(self) -> Outcomes:
        """All hubs of the release, on all networks and of all Suppliers."""
        return sum((cell.outcomes for cell in self.cells), start=Outcomes())

    @property
    def nearest(self) -> "Near":
        """What is nearest to its limit."""
        return max(
            [
                *(Near(stream.words, stream.share) for stream in self.streams),
                *(Near(f"{stream.words}, looked at later", stream.share) for stream in self.later),
                Near("Hubs that refused the image", self.refused_share),
            ],
            key=lambda near: near.share,
        )

    @property
    def share(self) -> float:
        """How near the release is to its next limit, from 0; 1 and more halts it."""
        return self.nearest.share

    @property
    def refused_share(self) -> float:
        """How many hubs refused the image, of those that halt the release."""
        return self.look.refused / REFUSALS

    @property
    def health(self) -> Health:
        """How the rollout fares."""
        return _health(is_halted=self.release.state == ReleaseState.HALTED, share=self.share)


def _health(*, is_halted: bool, share: float) -> Health:
    if is_halted:
        return Health.HALTED
    return Health.WATCHED if share > WATCHED_FROM else Health.HEALTHY


def rolling_out() -> QuerySet[FirmwareRelease]:
    """Return the releases that are published or halted, the halted first and then the latest."""
    return (
        FirmwareRelease.objects.filter(state__in=OPEN_TO_SUPPLIERS)
        .select_related("version", "policy")
        .prefetch_related("hub_models", "periods__network")
        .order_by("state", "-published_at", "pk")
    )


# One statement, so that no hub is counted twice, or not at all, while the tally takes up its changes. Only what is
# activated has a stage. A hub that is silent is still being activated.
OUTCOMES = """
SELECT release_id, model_id, network_id,
       coalesce(sum(hubs) FILTER (WHERE state = 'staged'), 0)::bigint,
       coalesce(sum(hubs) FILTER (WHERE state = 'held'), 0)::bigint,
       coalesce(sum(hubs) FILTER (WHERE state = 'failed' AND stage = 0), 0)::bigint,
       coalesce(sum(CASE state WHEN 'activating' THEN hubs WHEN 'silent' THEN -hubs END), 0)::bigint,
       coalesce(sum(hubs) FILTER (WHERE state = 'silent'), 0)::bigint,
       coalesce(sum(hubs) FILTER (WHERE state = 'succeeded'), 0)::bigint,
       coalesce(sum(hubs) FILTER (WHERE state = 'failed' AND stage > 0), 0)::bigint,
       coalesce(sum(hubs) FILTER (WHERE state = 'unconfirmed'), 0)::bigint
FROM (
    SELECT release_id, model_id, network_id, stage, state, hubs FROM scheduling_tally
    WHERE release_id = ANY (%(releases)s)
    UNION ALL
    SELECT release_id, model_id, network_id, stage, state, hubs FROM scheduling_tallychange
    WHERE release_id = ANY (%(releases)s)
    UNION ALL
    SELECT release_id, model_id, network_id, stage, kind, hubs FROM scheduling_warningsign
    WHERE release_id = ANY (%(releases)s) AND kind = 'silent') counted
GROUP BY 1, 2, 3
"""


@asking.trusted("how a release fares is counted over the whole country, and names no hub and no Supplier")
def situations(*, shown: Iterable[FirmwareRelease], now: datetime) -> list[Situation]:
    """
    Say where the rollout of each release stands, in the order given.

    The releases come with their policy, hub models and periods, as `rolling_out` and `standings.with_facts` fetch
    them. The same few questions for all of them together, and three for each: what speaks against it.
    """
    releases = list(shown)
    models = {model.pk: model.name for model in HubModel.objects.order_by("name")}
    networks = {network.pk: network.name for network in Network.objects.order_by("name")}
    stages: dict[int, dict[int, Stage]] = {}
    for stage in Stage.objects.filter(release__in=releases, closed_at=None).order_by("pk"):
        stages.setdefault(stage.release_id, {})[stage.model_id] = stage
    budgets = InFlight.objects.in_bulk([release.pk for release in releases])
    outcomes: dict[int, dict[tuple[int, int], Outcomes]] = {}
    for release_id, model, network, *counts in sql.rows(
        OUTCOMES, {"releases": [release.pk for release in releases]}
    ):
        outcomes.setdefault(release_id, {})[model, network] = Outcomes(*counts)
    halts = _halts(releases)
    agreed = _agreed([release for release in releases if release.state == ReleaseState.HALTED])
    found = []
    for release in releases:
        look = evidence.look(release=release.pk, now=now)
        opened = stages.get(release.pk, {})
        parts = [halt for halt in halts.get(release.pk, ()) if not halt.is_whole]
        stopped = {(halt.model_id, halt.network_id) for halt in parts}
        found.append(
            Situation(
                release=release,
                halt=next((halt for halt in halts.get(release.pk, ()) if halt.is_whole), None),
                halted_parts=parts,
                agreed=agreed.get(release.pk),
                look=look,
                streams=_streams(release, look, stopped),
                later=_later(release, look),
                stages=[
                    OpenStage(
                        name,
                        opened[model],
                        len(release.policy.stage_sizes),
                        (model, None) in stopped,
                        late_looks.awaited(stage=opened[model], release=release, now=now),
                    )
                    for model, name in models.items()
                    if model in opened
                ],
                in_flight=budgets.get(release.pk),
                cells=[
                    Cell(model_name, network_name, outcomes[release.pk][model, network])
                    for model, model_name in models.items()
                    for network, network_name in networks.items()
                    if (model, network) in outcomes.get(release.pk, {})
                ],
            )
        )
    return found


def _halts(releases: Sequence[FirmwareRelease]) -> dict[int, list[Halt]]:
    found: dict[int, list[Halt]] = {}
    standing = Halt.objects.filter(release__in=releases, lifted_at=None)
    for halt in standing.select_related("halted_by", "network", "model", "installed_version").order_by("pk"):
        found.setdefault(halt.release_id, []).append(halt)
    return found


def _agreed(halted: Sequence[FirmwareRelease]) -> dict[int, SignOff]:
    if not halted:
        return {}
    as_it_is = {(release.pk, release.revision, release.digest) for release in halted}
    standing = SignOff.objects.filter(
        WHOLE_HALT, release__in=halted, act=SignedAct.RESUME, voided_at=None
    ).select_related("signed_by")
    return {
        signed.release_id: signed
        for signed in standing
        if (signed.release_id, signed.revision, signed.digest) in as_it_is
    }


def _streams(
    release: FirmwareRelease, look: Look, halted: Collection[tuple[int | None, int | None]]
) -> list[Stream]:
    """Return the streams of a release, models before networks, so that each keeps its letter as hubs come in."""
    watched = {(one.model, one.network): one for one in look.watched if one.stream.hubs and not one.is_late}
    named: list[tuple[str, int | None, int | None]] = [
        *sorted((model.name, model.pk, None) for model in release.hub_models.all()),
        *sorted((period.network.name, None, period.network_id) for period in release.periods.all()),
    ]
    return [
        Stream(
            _letter(place), name, model, network, watched.get((model, network)), (model, network) in halted
        )
        for place, (name, model, network) in enumerate(named)
    ]


def _later(release: FirmwareRelease, look: Look) -> list[Stream]:
    names = {model.pk: model.name for model in release.hub_models.all()}
    return [
        Stream("", names[one.model], one.model, None, one, is_halted=False)  # or it would not be watched
        for one in look.watched
        if one.is_late and one.model in names and one.stream.hubs
    ]


def _letter(place: int) -> str:
    times, which = divmod(place, len(string.ascii_uppercase))
    return string.ascii_uppercase[which] * (times + 1)


# What was kept of each model's hubs, and of each network's, found by the index of the streams. The order names all of
# its columns: PostgreSQL does not see that a column which has to be empty is always the same.
OF_STREAMS = (
    (
        "firmware_firmwarerelease_hub_models stream",
        "stream.firmwarerelease_id",
        "model_id = stream.hubmodel_id AND network_id IS NULL",
    ),
    (
        "firmware_availabilityperiod stream",
        "stream.release_id",
        "model_id IS NULL AND network_id = stream.network_id",
    ),
)
LAST = "ORDER BY model_id DESC, network_id DESC, at DESC LIMIT 1"
FIRST = "ORDER BY model_id, network_id, at LIMIT 1"
# What was known before a resumption says nothing of what comes after it: of a model that is of its hubs and those of
# every network, and else of all.
LATEST = " UNION ALL ".join(
    f"""
    SELECT {release} AS release_id, kept.*
    FROM {streams} CROSS JOIN LATERAL (
        SELECT model_id, network_id, at, evidence, threshold FROM scheduling_evidence
        WHERE release_id = {release} AND {same} {LAST}) kept
    WHERE {release} = ANY (%(releases)s)"""  # noqa: S608 - our own constants
    for streams, release, same in OF_STREAMS
)
NEAREST = f"""
WITH latest AS ({LATEST})
SELECT release_id, max(share) FROM (
    SELECT release_id, greatest(evidence, 0) / threshold AS share FROM latest
    WHERE NOT EXISTS (
        SELECT FROM firmware_halt halt WHERE halt.release_id = latest.release_id AND (
            (halt.lifted_at >= latest.at AND (
                halt.model_id IS NULL OR halt.model_id = latest.model_id OR latest.model_id IS NULL))
            OR (halt.lifted_at IS NULL AND (
                halt.model_id = latest.model_id OR halt.network_id = latest.network_id))))
    UNION ALL
    SELECT budget.release_id, (sum(sign.hubs) - budget.refusals_known)::float8 / %(refusals)s
    FROM scheduling_inflight budget
    JOIN scheduling_warningsign sign ON sign.release_id = budget.release_id AND sign.kind = 'refused'
    WHERE budget.release_id = ANY (%(releases)s)
    GROUP BY budget.release_id) said
GROUP BY 1
"""  # noqa: S608 - our own constant


@asking.trusted("how a release fares is counted over the whole country, and names no hub and no Supplier")
def healths(*, shown: Iterable[FirmwareRelease]) -> Mapping[int, Health]:
    """
    Say in a word how each release fares, by its id: one question for all of them, where `situations` asks more.

    It goes by the evidence that was kept, which is at most a few seconds behind.
    """
    states = {release.pk: release.state == ReleaseState.HALTED for release in shown}
    nearest = dict(sql.rows(NEAREST, {"releases": list(states), "refusals": REFUSALS}))
    return {
        release: _health(is_halted=is_halted, share=nearest.get(release, 0.0))
        for release, is_halted in states.items()
    }


def halted_parts(*, shown: Iterable[FirmwareRelease]) -> Mapping[int, Sequence[Part]]:
    """Say which parts of some releases are halted by themselves, by the id of the release: one question for all."""
    return {
        release: [halt.part for halt in halts if not halt.is_whole]
        for release, halts in _halts(list(shown)).items()
    }


@dataclass(frozen=True, slots=True)
class Track:
    """How near one stream came to its limit, over time: moments with shares, each of which holds until the next."""

    stream: Stream
    shares: Sequence[tuple[datetime, float]]


@dataclass(frozen=True, slots=True)
class History:
    """The evidence of a release over time; each share is the highest of the `step` that begins with its moment."""

    since: datetime
    until: datetime
    step: timedelta
    tracks: Sequence[Track]


# A stream is kept only where it changes: what it said last before the time that is shown, it still said when that
# began. Of the moments in a step, the worst is shown, so that nothing that came near its limit is lost.
BEGUN = " UNION ALL ".join(
    f"""
    SELECT {release} AS release_id, kept.at
    FROM {streams} CROSS JOIN LATERAL (
        SELECT at FROM scheduling_evidence WHERE release_id = {release} AND {same} {FIRST}) kept
    WHERE {release} = ANY (%(releases)s)"""  # noqa: S608 - our own constants
    for streams, release, same in OF_STREAMS
)
KEPT = " UNION ALL ".join(
    f"""
    SELECT span.*, kept.*
    FROM span JOIN {streams} ON {release} = span.release_id
    CROSS JOIN LATERAL (
        SELECT model_id, network_id, greatest(at, span.since) AS at, greatest(evidence, 0) / threshold AS share
        FROM scheduling_evidence
        WHERE release_id = {release} AND {same} AND at >= coalesce((
            SELECT at FROM scheduling_evidence
            WHERE release_id = {release} AND {same} AND at <= span.since {LAST}), span.since)) kept"""  # noqa: S608
    for streams, release, same in OF_STREAMS
)
OVER_TIME = f"""
WITH latest AS ({LATEST}),
begun AS ({BEGUN}),
lasting AS (
    SELECT release_id, max(latest.at) AS until, greatest(
        max(latest.at) - %(history)s::interval,
        (SELECT min(begun.at) FROM begun WHERE begun.release_id = latest.release_id)) AS since
    FROM latest GROUP BY 1),
span AS (
    SELECT release_id, since, until, make_interval(mins => greatest(
        1, ceil(extract(epoch FROM until - since) / 60 / %(moments)s)::int)) AS step
    FROM lasting),
kept AS ({KEPT})
SELECT release_id, since, until, step, model_id, network_id, date_bin(step, at, since) AS moment, max(share)
FROM kept GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 5, 6, 7
"""  # noqa: S608 - our own constants


def histories(*, shown: Sequence[Situation], lasting: timedelta = HISTORY) -> Mapping[int, History]:
    """Return how near each release came to its limits of late, by its id; nothing of one without evidence."""
    by_stream = {
        (one.release.pk, stream.model, stream.network): stream for one in shown for stream in one.streams
    }
    terms = {"releases": [one.release.pk for one in shown], "history": lasting, "moments": MOMENTS}
    spans: dict[int, tuple[datetime, datetime, timedelta]] = {}
    shares: dict[tuple[int, int | None, int | None], list[tuple[datetime, float]]] = {}
    for release, since, until, step, model, network, moment, share in sql.rows(OVER_TIME, terms):
        spans[release] = (since, until, step)
        shares.setdefault((release, model, network), []).append((moment, share))
    return {
        release: History(
            *span,
            [
                Track(stream, shares[key])
                for key, stream in by_stream.items()
                if key[0] == release and key in shares
            ],
        )
        for release, span in spans.items()
    }
