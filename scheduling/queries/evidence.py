"""
What speaks against a release: the outcomes of its hubs as the breaker looks at them, from the maintained counters.

Each model of a release is watched, and each of its networks over all models. What counts is of one episode: evidence
begins anew with each tranche, and after a resumption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from portal.ground import sql
from portal.ground.uk_time import Span
from scheduling import breaker

REFUSALS = 3
"""Hubs that refuse the image, by its hash or their hardware: what was approved is then not what they got."""

# A release that was halted and resumed goes on in stages that were opened after that, so that the evidence of before
# and that of after are never mixed.
RESUMED_SINCE = """EXISTS (
    SELECT FROM firmware_halt halt WHERE halt.release_id = stage.release_id AND halt.lifted_at >= stage.opened_at
      AND (halt.model_id IS NULL OR halt.model_id = stage.model_id))"""
MODEL_HALTED = """EXISTS (
    SELECT FROM firmware_halt halt WHERE halt.release_id = stage.release_id AND halt.lifted_at IS NULL
      AND halt.model_id = stage.model_id)"""
HARDLY_JUDGED = """(stage.cut_at IS NULL AND stage.size < 2 * (
    SELECT coalesce(sum(counted.hubs), 0) FROM (
        SELECT network_id, hubs FROM scheduling_tally tally
        WHERE tally.release_id = stage.release_id AND tally.model_id = stage.model_id AND tally.stage = stage.number
        UNION ALL
        SELECT network_id, hubs FROM scheduling_tallychange change
        WHERE change.release_id = stage.release_id AND change.model_id = stage.model_id
          AND change.stage = stage.number) counted
    JOIN firmware_halt halt ON halt.release_id = stage.release_id AND halt.lifted_at IS NULL
        AND halt.network_id = counted.network_id))"""
"""Most hubs of a stage were on networks that are halted: what these say is left out, so they let nobody go on."""
# What is halted by itself is known, and says nothing against the rest that goes on without it.
WATCHED = f"""
    SELECT stage.model_id, stage.episode, of_episode.number
    FROM scheduling_stage stage
    JOIN scheduling_stage of_episode ON of_episode.release_id = stage.release_id
        AND of_episode.model_id = stage.model_id AND of_episode.episode = stage.episode
    WHERE stage.release_id = %(release)s AND stage.closed_at IS NULL AND NOT {RESUMED_SINCE}
      AND NOT {MODEL_HALTED}"""  # noqa: S608 - our own constants
NETWORKS_HALTED = """ARRAY(
    SELECT halt.network_id FROM firmware_halt halt
    WHERE halt.release_id = %(release)s AND halt.lifted_at IS NULL AND halt.network_id IS NOT NULL)"""
# One statement, so that nothing is counted twice, or not at all, while the tally takes up its changes. A hub that was
# silent at its deadline is bad while it is being read back; then it is what it is found to be. Looked up by stage: of
# a long rollout there are hundreds, and all but the last few are of earlier episodes.
OUTCOMES = f"""
WITH watched AS ({WATCHED})
SELECT watched.model_id, watched.episode, counted.network_id,
       coalesce(sum(hubs) FILTER (WHERE state = 'succeeded'), 0)::bigint,
       coalesce(sum(hubs) FILTER (WHERE state IN ('failed', 'unconfirmed', 'silent')), 0)::bigint,
       coalesce(sum(CASE state WHEN 'activating' THEN hubs WHEN 'silent' THEN -hubs END), 0)::bigint
FROM watched LEFT JOIN LATERAL (
    SELECT network_id, state, hubs FROM scheduling_tally tally
    WHERE tally.release_id = %(release)s AND tally.model_id = watched.model_id AND tally.stage = watched.number
    UNION ALL
    SELECT network_id, state, hubs FROM scheduling_tallychange change
    WHERE change.release_id = %(release)s AND change.model_id = watched.model_id AND change.stage = watched.number
    UNION ALL
    SELECT network_id, kind, hubs FROM scheduling_warningsign sign
    WHERE sign.release_id = %(release)s AND sign.kind = 'silent' AND sign.model_id = watched.model_id
      AND sign.stage = watched.number) counted ON counted.network_id <> ALL ({NETWORKS_HALTED})
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""  # noqa: S608 - our own constant
# Whenever a model begins anew, or is left out, each network does so too: the hubs that its stream looks at are others.
TERMS = """
SELECT policy.tolerated_bad_percent, policy.silence_deadline,
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


# Ordered by all columns of its unique index, and apart for models and for networks: so the last is found by it.
LAST_KEPT = " UNION ALL ".join(
    f"""
    (SELECT episode, seen_at, good, bad, waiting FROM scheduling_evidence last
     WHERE last.release_id = %(release)s AND {same} AND {{before}}
     ORDER BY release_id DESC, model_id DESC, network_id DESC, at DESC LIMIT 1)"""  # noqa: S608 - our own constants
    for same in (
        "last.model_id = seen.model_id AND last.network_id IS NULL",
        "last.model_id IS NULL AND last.network_id = seen.network_id",
    )
)
"""Of the evidence of a stream `seen` that was kept `before`, the last."""
# How many hubs of a stream had been commanded at the last look before a moment, and how many of them are bad by now.
# Who was commanded in the minute before that look may not have been counted then, and is none of the bad ones. What
# was kept before a part of the release was halted counts hubs that are looked at no more.
SETTLED = f"""
SELECT seen.model_id, seen.network_id, kept.good + kept.bad + kept.waiting, least(kept.good + kept.bad + kept.waiting, (
    SELECT coalesce(sum(sign.hubs), 0) FROM scheduling_warningsign sign
    JOIN ({WATCHED}) watched ON watched.model_id = sign.model_id AND watched.number = sign.stage
    WHERE sign.release_id = %(release)s AND sign.kind = 'bad' AND sign.network_id <> ALL ({NETWORKS_HALTED})
      AND sign.commanded_at <= kept.seen_at - interval '1 minute'
      AND sign.model_id = coalesce(seen.model_id, sign.model_id)
      AND sign.network_id = coalesce(seen.network_id, sign.network_id)))::bigint
FROM unnest(%(models)s::bigint[], %(networks)s::bigint[], %(episodes)s::int[])
    AS seen (model_id, network_id, episode)
CROSS JOIN LATERAL ({LAST_KEPT.format(before="last.at <= %(settled)s AND last.seen_at <= %(settled)s")}) kept
WHERE kept.episode = seen.episode AND kept.seen_at > coalesce((
    SELECT max(halt.halted_at) FROM firmware_halt halt WHERE halt.release_id = %(release)s
      AND (halt.network_id IS NOT NULL OR halt.model_id IS NOT NULL)), '-infinity')
"""  # noqa: S608 - our own constant
# Hubs that were found well a day later, and those found bad then or after two days: since the last resumption, and
# without what is halted by itself.
LATE = f"""
SELECT tally.model_id, tally.epoch, greatest(sum(tally.well), 0)::bigint, sum(tally.bad)::bigint
FROM scheduling_latetally tally
WHERE tally.release_id = %(release)s AND tally.epoch = (
        SELECT count(*) FROM firmware_halt halt
        WHERE halt.release_id = %(release)s AND halt.lifted_at IS NOT NULL)
  AND tally.network_id <> ALL ({NETWORKS_HALTED})
  AND NOT EXISTS (
      SELECT FROM firmware_halt halt
      WHERE halt.release_id = %(release)s AND halt.lifted_at IS NULL AND halt.model_id = tally.model_id)
GROUP BY 1, 2 ORDER BY 1
"""  # noqa: S608 - our own constant
FOUND_OUT = timedelta(minutes=5)
"""After the deadline, until somebody has looked at the lot and found the hub silent."""


@dataclass(frozen=True, slots=True)
class Watched:
    """
    What the hubs of one model, or of one network (by id; the other is None), say in an episode.

    `stream` are all that were commanded. The `reading` is theirs, or that of those commanded a deadline ago, of which
    everything is known: whichever says more. `breaker` says why both may be asked.
    """

    model: int | None
    network: int | None
    episode: int
    stream: breaker.Stream
    reading: breaker.Reading
    is_late: bool = False
    """They are those of a model that were looked at again, a day after they succeeded or two."""


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


def look(*, release: int, now: datetime) -> Look:
    """Hold the outcomes of a release, by id, against its limits."""
    [(percent, deadline, models, networks, refused, begun)] = sql.rows(TERMS, {"release": release})
    tolerated = float(percent / Decimal(100))
    found: dict[_Which, breaker.Stream] = {}
    episodes: dict[_Which, int] = {}
    for model, episode, network, *counts in sql.rows(OUTCOMES, {"release": release}):
        episodes[model, None] = episode
        of_both: list[_Which] = [(model, None)]
        if network is not None:
            episodes[None, network] = begun
            of_both.append((None, network))
        for which in of_both:
            found[which] = found.get(which, breaker.NOTHING) + breaker.Stream(*counts)

    def read(stream: breaker.Stream, episode: int) -> breaker.Reading:
        return breaker.read(
            stream=stream, tolerated=tolerated, episode=episode, streams=max(1, 2 * models + networks)
        )

    settled = _settled(release, episodes, Span.parse(deadline).before(now) - FOUND_OUT)
    watched = []
    for which in sorted(found, key=lambda one: (one[0] is None, one)):
        readings = [read(found[which], episodes[which])]
        if which in settled:
            readings.append(read(settled[which], episodes[which]))
        strongest = max(readings, key=lambda reading: reading.evidence)
        watched.append(Watched(*which, episodes[which], found[which], strongest))
    for model, epoch, well, bad in sql.rows(LATE, {"release": release}):
        stream = breaker.Stream(good=well, bad=bad, waiting=0)
        watched.append(Watched(model, None, epoch + 1, stream, read(stream, epoch + 1), is_late=True))
    return Look(tolerated, refused, watched)


_Which: TypeAlias = tuple[int | None, int | None]
"""A model, or a network, by id."""


def _settled(release: int, episodes: Mapping[_Which, int], before: datetime) -> dict[_Which, breaker.Stream]:
    """Return what became of the hubs that had been commanded before a moment; nothing of a stream without any."""
    terms = {
        "release": release,
        "settled": before,
        "models": [model for model, _ in episodes],
        "networks": [network for _, network in episodes],
        "episodes": list(episodes.values()),
    }
    return {
        (model, network): breaker.Stream(good=hubs - bad, bad=bad, waiting=0)
        for model, network, hubs, bad in sql.rows(SETTLED, terms)
    }
