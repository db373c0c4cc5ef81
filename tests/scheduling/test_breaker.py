"""When what came back says that a release must stop."""

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduling.breaker import (
    ALTERNATIVES,
    FALSE_ALARMS,
    Reading,
    Stream,
    evidence,
    limit,
    read,
    tolerance,
    tranche,
)

HUBS = st.integers(0, 1_000_000)
FEW = st.integers(0, 5_000)
TOLERATED = st.floats(0.0025, 0.5)
OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80)
"""Of each hub, in the order of commands: whether it is bad, and whether that is known yet."""


def exactly(*, good: int, bad: int, tolerated: float) -> Decimal:
    """Return the evidence from its definition, likelihood by likelihood, with 60 digits and no logarithm but one."""
    with localcontext(prec=60, Emin=-(10**12), Emax=10**12):
        null = Decimal(tolerated)
        of_null = null**bad * (1 - null) ** good
        of_bad = [
            (null + Decimal(more)) ** bad * (1 - null - Decimal(more)) ** good / of_null
            for more in ALTERNATIVES
        ]
        return (sum(of_bad, Decimal(0)) / len(of_bad)).ln()


def trips_at(*, hubs: int, tolerated: float, least: int, most: float) -> int:
    """Return how many bad ones among so many hubs it takes to reach `most`, from `least` on."""
    bad = least
    while bad <= hubs and evidence(good=hubs - bad, bad=bad, tolerated=tolerated) < most:
        bad += 1
    return bad


class TestTolerance:
    @pytest.mark.parametrize(
        ("baseline", "tolerated"), [(0.0, 0.0025), (0.004, 0.0065), (0.005, 0.0075), (0.02, 0.03)]
    )
    def test_is_half_as_much_again_and_a_quarter_of_a_point_more_at_least(
        self, baseline: float, tolerated: float
    ) -> None:
        assert tolerance(baseline=baseline) == pytest.approx(tolerated, rel=1e-12)

    @pytest.mark.parametrize("baseline", [-0.001, 1 / 3, 1.0, math.nan])
    def test_refuses_a_baseline_that_leaves_nothing_to_be_told(self, baseline: float) -> None:
        with pytest.raises(ValueError, match="leaves nothing to be told"):
            tolerance(baseline=baseline)

    @given(st.floats(0, 0.3333))
    def test_is_a_share_that_evidence_takes(self, baseline: float) -> None:
        assert math.isfinite(evidence(good=1, bad=1, tolerated=tolerance(baseline=baseline)))


class TestEvidence:
    @pytest.mark.parametrize(
        ("good", "bad"),
        [
            (0, 0),
            (1, 0),
            (0, 1),
            (45, 5),
            (5_467, 83),
            (30_000_000, 0),
            (0, 1_000_000),
            (29_700_000, 300_000),
            (700_000, 300_000),
        ],
    )
    @pytest.mark.parametrize("tolerated", [0.0025, 0.0075, 0.5])
    def test_is_exact_in_both_tails(self, good: int, bad: int, tolerated: float) -> None:
        wanted = exactly(good=good, bad=bad, tolerated=tolerated)

        assert evidence(good=good, bad=bad, tolerated=tolerated) == pytest.approx(
            float(wanted), rel=1e-12, abs=1e-12
        )

    @given(HUBS, HUBS, TOLERATED)
    def test_is_a_number_however_many_hubs(self, good: int, bad: int, tolerated: float) -> None:
        assert math.isfinite(evidence(good=good, bad=bad, tolerated=tolerated))

    def test_is_nought_before_anything_is_known(self) -> None:
        assert evidence(good=0, bad=0, tolerated=0.0075) == 0

    @given(HUBS, HUBS, TOLERATED)
    def test_rises_with_a_bad_hub(self, good: int, bad: int, tolerated: float) -> None:
        before = evidence(good=good, bad=bad, tolerated=tolerated)
        assert evidence(good=good, bad=bad + 1, tolerated=tolerated) > before

    @given(HUBS, HUBS, TOLERATED)
    def test_falls_with_a_good_hub(self, good: int, bad: int, tolerated: float) -> None:
        before = evidence(good=good, bad=bad, tolerated=tolerated)
        assert evidence(good=good + 1, bad=bad, tolerated=tolerated) < before

    @given(FEW, FEW, TOLERATED)
    def test_expects_nothing_of_one_more_hub_that_is_as_bad_as_is_tolerated(
        self, good: int, bad: int, tolerated: float
    ) -> None:
        now, worse, better = (
            evidence(good=good + more_good, bad=bad + more_bad, tolerated=tolerated)
            for more_good, more_bad in ((0, 0), (0, 1), (1, 0))
        )
        expected = tolerated * math.exp(worse - now) + (1 - tolerated) * math.exp(better - now)
        assert expected == pytest.approx(1, abs=1e-8)

    def test_reaches_the_limit_on_a_tolerated_release_no_more_often_than_promised(self) -> None:
        tolerated, most = 0.0075, limit(episode=1, streams=1)
        # how likely so many are bad among the hubs so far, and nobody has stopped the release
        going, stopped, trips = [1.0], 0.0, 0
        for hubs in range(1, 3_001):
            going = [
                stay * (1 - tolerated) + come * tolerated
                for stay, come in zip([*going, 0.0], [0.0, *going], strict=True)
            ]
            trips = trips_at(hubs=hubs, tolerated=tolerated, least=trips, most=most)
            stopped += sum(going[trips:])
            going = going[:trips]

        assert sum(going) + stopped == pytest.approx(1)
        assert math.exp(-most) / 10 < stopped < math.exp(-most)

    @given(OUTCOMES, st.randoms(use_true_random=False))
    def test_never_says_more_of_hubs_that_are_waited_for_than_of_the_same_hubs_in_the_end(
        self, hubs: list[tuple[bool, bool]], luck: Random
    ) -> None:
        begun = hubs[: luck.randint(0, len(hubs))]

        def said_of(bad: Sequence[bool]) -> float:
            return evidence(good=len(bad) - sum(bad), bad=sum(bad), tolerated=0.0075)

        so_far = said_of([is_bad and is_known for is_bad, is_known in begun])
        assert so_far <= said_of([is_bad for is_bad, _ in begun]) + 1e-12

    @pytest.mark.parametrize(("good", "bad"), [(-1, 0), (0, -1)])
    def test_refuses_fewer_hubs_than_none(self, good: int, bad: int) -> None:
        with pytest.raises(ValueError, match="cannot be"):
            evidence(good=good, bad=bad, tolerated=0.0075)

    @pytest.mark.parametrize("tolerated", [0.0, -0.1, 0.51, 1.0, math.nan])
    def test_refuses_what_is_no_share_that_can_be_tolerated(self, tolerated: float) -> None:
        with pytest.raises(ValueError, match="no share of bad hubs"):
            evidence(good=1, bad=1, tolerated=tolerated)


class TestLimit:
    @pytest.mark.parametrize("streams", [1, 4, 30])
    def test_leaves_all_streams_and_episodes_together_one_false_alarm_in_a_hundred(
        self, streams: int
    ) -> None:
        spent = [streams * math.exp(-limit(episode=k, streams=streams)) for k in range(1, 20_001)]

        # what is left after so many episodes is as good as 1 in so many of them
        assert FALSE_ALARMS * 0.9999 < math.fsum(spent) < FALSE_ALARMS

    def test_is_that_of_the_first_tranche_and_four_streams_as_promised(self) -> None:
        assert math.exp(limit(episode=1, streams=4)) == pytest.approx(4 * math.pi**2 / (0.01 * 6))

    @given(st.integers(1, 10_000), st.integers(1, 100))
    def test_asks_for_more_each_time_and_of_each_of_more_streams(self, episode: int, streams: int) -> None:
        here = limit(episode=episode, streams=streams)
        assert here < limit(episode=episode + 1, streams=streams)
        assert here < limit(episode=episode, streams=streams + 1)

    @pytest.mark.parametrize(("episode", "streams"), [(0, 1), (1, 0), (-3, 4)])
    def test_refuses_what_cannot_be_counted(self, episode: int, streams: int) -> None:
        with pytest.raises(ValueError, match="There is no episode"):
            limit(episode=episode, streams=streams)


class TestTranche:
    def test_is_the_first_for_all_stages_with_a_size_and_then_goes_up_with_each(self) -> None:
        assert [tranche(stage=stage, sizes=4) for stage in range(1, 8)] == [1, 1, 1, 1, 2, 3, 4]

    def test_is_the_stage_where_there_is_one_size(self) -> None:
        assert [tranche(stage=stage, sizes=1) for stage in (1, 2, 3)] == [1, 2, 3]

    @pytest.mark.parametrize(("stage", "sizes"), [(0, 4), (1, 0)])
    def test_refuses_stages_that_are_none(self, stage: int, sizes: int) -> None:
        with pytest.raises(ValueError, match="There is no stage"):
            tranche(stage=stage, sizes=sizes)


class TestRead:
    @given(FEW, FEW, FEW)
    def test_counts_hubs_that_are_waited_for_as_good(self, good: int, bad: int, waiting: int) -> None:
        asked = {"tolerated": 0.0075, "episode": 2, "streams": 4}
        waited = read(stream=Stream(good=good, bad=bad, waiting=waiting), **asked)

        assert waited == read(stream=Stream(good=good + waiting, bad=bad, waiting=0), **asked)
        assert waited.evidence == evidence(good=good + waiting, bad=bad, tolerated=0.0075)
        assert waited.limit == limit(episode=2, streams=4)

    @pytest.mark.parametrize(("bad", "trips"), [(4, False), (5, True)])
    def test_trips_at_five_bad_hubs_of_the_first_fifty(self, bad: int, trips: bool) -> None:
        stream = Stream(good=40 - bad, bad=bad, waiting=10)

        assert read(stream=stream, tolerated=0.0075, episode=1, streams=4).trips is trips

    def test_refuses_a_count_below_nought(self) -> None:
        with pytest.raises(ValueError, match="cannot be"):
            read(stream=Stream(good=0, bad=0, waiting=-1), tolerated=0.0075, episode=1, streams=4)


class TestStream:
    def test_knows_all_that_were_commanded(self) -> None:
        assert Stream(good=5, bad=2, waiting=3).hubs == 10


class TestReading:
    @pytest.mark.parametrize(
        ("reached", "share", "trips"),
        [(-4.0, 0.0, False), (2.0, 0.25, False), (8.0, 1.0, True), (12.0, 1.5, True)],
    )
    def test_trips_when_all_of_the_limit_is_reached_and_never_shows_less_than_none(
        self, reached: float, share: float, trips: bool
    ) -> None:
        reading = Reading(evidence=reached, limit=8.0)

        assert reading.share == share
        assert reading.trips is trips
