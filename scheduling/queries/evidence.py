"""
What speaks against a release: the outcomes of its hubs as the breaker looks at them, from the maintained counters.

Each model of a release is watched, and each of its networks over all models. What counts is of one episode: evidence
begins anew with each tranche, and after a resumption.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from portal.ground import sql
from scheduling import breaker

REFUSALS = 3
"""Hubs that refuse the image, by its hash or their hardware: what was approved is then not what they got."""

# One statement, so that nothing is counted twice, or not at all, while the tally takes up its changes. A hub that was
# silent at its deadline is bad while it is being read back; then it is what it is found to be.
OUTCOMES = """
WITH watched AS (
    SELECT now_open.model_id, now_open.episode, stage.number
    FROM scheduling_stage now_open
    JOIN scheduling_stage stage ON stage.release_id = now_open.release_id
        AND stage.model_id = now_open.model_id AND stage.episode = now_open.episode
    WHERE now_open.release_id = %(release)s AND now_open.closed_at IS NULL
      AND NOT EXISTS (
        SELECT FROM firmware_halt halt
        WHERE halt.release_id = now_open.release_id AND halt.lifted_at >= now_open.opened_at)),
counted AS (
    SELECT network_id, model_id, stage, state, hubs FROM scheduling_tally WHERE release_id = %(release)s
    UNION ALL
    SELECT network_id, model_id, stage, state, hubs FROM scheduling_tallychange WHERE release_id = %(release)s
    UNION ALL
    SELECT network_id, model_id, stage, kind, hubs FROM scheduling_warningsign
    WHERE release_id = %(release)s AND kind = 'silent')
SELECT watched.model_id, watched.episode, counted.network_id,
       coalesce(sum(hubs) FILTER (WHERE state = 'succeeded'), 0)::bigint,
       coalesce(sum(hubs) FILTER (WHERE state IN ('failed', 'unconfirmed', 'silent')), 0)::bigint,
       coalesce(sum(CASE state WHEN 'activating' THEN hubs WHEN 'silent' THEN -hubs END), 0)::bigint
FROM watched LEFT JOIN counted ON counted.model_id = watched.model_id AND counted.stage = watched.number
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
# Whenever a model begins anew, or is left out, each network does so too: the hubs that its stream looks at are others.
TERMS = """
SELECT policy.tolerated_bad_percent,
       (SELECT count(*) FROM firmware_firmwarerelease_hub_models chosen
        WHERE chosen.firmwarerelease_id = policy.release_id),
       (SELECT count(*) FROM firmware_availabilityperiod period WHERE period.release_id = policy.release_id),
       coalesce((SELECT sum(hubs) FROM scheduling_warningsign sign
                 WHERE sign.release_id = policy.release_id AND sign.kind = 'refused'), 0)::bigint
       - coalesce((SELECT refusals_known FROM scheduling_inflight budget
                   WHERE budget.release_id = policy.release_id), 0),
       1 + coalesce((SELECT sum(episode - 1 + cuts) FROM (
           SELECT max(episode) AS episode, count(cut_at) AS cuts FROM scheduling_stage stage
           WHERE stage.release_id = policy.release_id GROUP BY model_id) model), 0)::bigint
FROM firmware_rolloutpolicy policy WHERE policy.release_id = %(release)s
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """What the hubs of one model, or of one network (by id; the other is None), say in an episode."""

    model: int | None
    network: int | None
    episode: int
    stream: breaker.Stream
    reading: breaker.Reading


@dataclass(frozen=True, slots=True)
class Look:
    """All that speaks for and against a release; `refused` are hubs that refused the image, by hash or hardware."""

    tolerated: float
    refused: int
    watched: Sequence[Watched]

    @property
    def stops(self) -> bool:
        """Whether the release has to stop."""
        return self.refused >= REFUSALS or (self.worst is not None and self.worst.reading.trips)

    @property
    def worst(self) -> Watched | None:
        """The stream that is nearest to its limit, or furthest beyond; None where no hub was activated."""
        return max(
            (one for one in self.watched if one.stream.hubs),
            key=lambda one: one.reading.evidence - one.reading.limit,
            default=None,
        )


def look(*, release: int) -> Look:
    """Hold the outcomes of a release, by id, against its limits."""
    [(percent, models, networks, refused, begun)] = sql.rows(TERMS, {"release": release})
    tolerated = float(percent / Decimal(100))
    of_models: dict[int, breaker.Stream] = {}
    of_networks: dict[int, breaker.Stream] = {}
    episodes: dict[int, int] = {}
    for model, episode, network, *counts in sql.rows(OUTCOMES, {"release": release}):
        outcomes = breaker.Stream(*counts)
        episodes[model] = episode
        of_models[model] = of_models.get(model, breaker.NOTHING) + outcomes
        if network is not None:
            of_networks[network] = of_networks.get(network, breaker.NOTHING) + outcomes

    def read(stream: breaker.Stream, episode: int) -> breaker.Reading:
        return breaker.read(
            stream=stream, tolerated=tolerated, episode=episode, streams=max(1, models + networks)
        )

    return Look(
        tolerated,
        refused,
        [
            Watched(model, None, episodes[model], stream, read(stream, episodes[model]))
            for model, stream in sorted(of_models.items())
        ]
        + [
            Watched(None, network, begun, stream, read(stream, begun))
            for network, stream in sorted(of_networks.items())
        ],
    )
