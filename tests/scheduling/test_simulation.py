"""Whole rollouts in numbers alone."""

import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduling import breaker
from scheduling.simulation import (
    RAN_TO_ITS_END,
    Counts,
    Defect,
    EarlyWarning,
    FixedPercentage,
    Flags,
    Fleet,
    Rollouts,
    Rule,
    Seen,
    Terms,
    evidence,
    simulate,
    streams,
)

TOLERATED = breaker.tolerance(baseline=0.005)
WARNING = EarlyWarning(tolerated=TOLERATED)
SMALL = Terms(stages=(10, 40, 100), floor=5, percent=10, ceiling=20, deadline=90)
FLEET = Fleet(hubs=450, networks=(0.5, 0.3, 0.2), baseline=0.1, silent=0.5, answer=8.0)
HEALTHY = Defect()
RUNS = 40


def rollouts(
    *,
    fleet: Fleet = FLEET,
    terms: Terms = SMALL,
    defect: Defect = HEALTHY,
    rule: Rule = WARNING,
    runs: int = RUNS,
    seed: int = 1,
) -> Rollouts:
    """Roll out, with what most tests share."""
    return simulate(fleet=fleet, terms=terms, defect=defect, rule=rule, runs=runs, seed=seed)


@dataclass
class Watching:
    """A rule that stops nothing and keeps what it is shown of the first rollout."""

    seen: list[dict[str, Counts]] = field(default_factory=list)

    def trips(self, *, seen: Seen) -> Flags:
        """Keep a copy."""
        self.seen.append({name: getattr(seen, name)[0].copy() for name in Seen.__slots__})
        return np.zeros((len(seen.tranche), 1), np.bool_)


def watched(*, terms: Terms = SMALL, fleet: Fleet = FLEET) -> list[dict[str, Counts]]:
    """Return what a rule is shown of one rollout, minute by minute."""
    rule = Watching()
    rollouts(terms=terms, fleet=fleet, rule=rule, runs=1)
    return rule.seen


class TestEvidence:
    @given(
        st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(0, 200_000)), min_size=2, max_size=2),
        st.floats(0.0025, 0.5),
    )
    def test_is_that_of_the_breaker(self, counts: list[tuple[int, int]], tolerated: float) -> None:
        good, bad = (np.array(numbers, np.int64)[:, None] for numbers in zip(*counts, strict=True))
        found = evidence(good=good, bad=bad, tolerated=tolerated)

        assert found.shape == (2, 1)
        for (of_good, of_bad), one in zip(counts, found[:, 0], strict=True):
            wanted = breaker.evidence(good=of_good, bad=of_bad, tolerated=tolerated)
            assert one == pytest.approx(wanted, rel=1e-9, abs=1e-9)


class TestStreams:
    def test_puts_all_hubs_before_those_of_each_network(self) -> None:
        assert streams(np.array([[1, 2, 3], [0, 5, 0]])).tolist() == [[6, 1, 2, 3], [5, 0, 5, 0]]


class TestSimulate:
    def test_runs_a_release_that_nothing_stops_to_its_end(self) -> None:
        ended = rollouts(rule=Watching(), runs=3)

        assert ended.commanded.tolist() == [450, 450, 450]
        assert ended.stopped_by.tolist() == [RAN_TO_ITS_END] * 3
        assert not ended.is_stopped.any()
        assert (ended.minutes > SMALL.deadline).all()

    def test_runs_a_healthy_release_to_its_end_under_the_breaker(self) -> None:
        ended = rollouts(fleet=Fleet(hubs=60_000), terms=Terms(), runs=60)

        assert ended.commanded[~ended.is_stopped].tolist() == [60_000] * 60
        assert ended.bad.mean() == pytest.approx(300, rel=0.05)

    @pytest.mark.parametrize("is_silent", [False, True])
    def test_stops_a_release_that_breaks_every_hub_in_its_first_stage(self, is_silent: bool) -> None:
        ended = rollouts(fleet=Fleet(), terms=Terms(), defect=Defect(share=1.0, is_silent=is_silent))

        assert ended.commanded.tolist() == [50] * RUNS
        assert ended.bad.tolist() == [50] * RUNS
        assert ended.is_stopped.all()
        assert ((ended.minutes >= Terms().deadline) == is_silent).all()

    def test_stops_in_the_first_stage_as_often_as_counting_says(self) -> None:
        share, runs = 0.08, 4_000
        fleet = Fleet(networks=(1.0,))
        ended = rollouts(fleet=fleet, terms=Terms(), defect=Defect(share=share), runs=runs)

        enough = next(
            bad
            for bad in range(51)
            if breaker.read(
                stream=breaker.Stream(good=50 - bad, bad=bad, waiting=0),
                tolerated=TOLERATED,
                episode=1,
                streams=2,
            ).trips
        )
        is_bad = fleet.baseline + (1 - fleet.baseline) * share
        chance = math.fsum(
            math.comb(50, bad) * is_bad**bad * (1 - is_bad) ** (50 - bad) for bad in range(enough, 51)
        )
        stopped = (ended.commanded == 50).mean()
        assert 0.1 < chance < 0.9
        assert stopped == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / runs))

    def test_breaks_the_hubs_of_one_network_only_and_its_own_stream_stops_it(self) -> None:
        ended = rollouts(
            fleet=Fleet(networks=(0.6, 0.3, 0.1)),
            terms=Terms(),
            defect=Defect(share=0.2, network=2),
            runs=200,
        )

        assert ended.is_stopped.all()
        by_network = np.bincount(ended.stopped_by, minlength=4)
        assert by_network[3] > 150
        # a fifth of a tenth, and the baseline
        assert 0.02 < ended.bad.sum() / ended.commanded.sum() < 0.05

    def test_sees_a_few_silent_hubs_sooner_where_it_looks_at_those_whose_deadline_has_passed(self) -> None:
        commanded = [
            rollouts(
                fleet=Fleet(),
                terms=Terms(),
                defect=Defect(share=0.01, is_silent=True),
                rule=replace(WARNING, is_settled_seen=is_settled_seen),
                runs=200,
            ).commanded.mean()
            for is_settled_seen in (True, False)
        ]
        assert commanded[0] < 0.8 * commanded[1]

    def test_stops_a_release_that_is_as_bad_as_is_tolerated_no_more_often_than_promised(self) -> None:
        fleet = Fleet(hubs=6_000, baseline=TOLERATED, silent=0.5)
        ended = rollouts(fleet=fleet, terms=Terms(), runs=1_000)

        assert ended.is_stopped.mean() <= breaker.FALSE_ALARMS
        # without a limit worth its name, chance alone would stop some
        assert rollouts(fleet=fleet, terms=Terms(), rule=EarlyWarning(tolerated=0.005)).is_stopped.any()

    def test_keeps_what_is_in_flight_in_its_budget_and_a_stage_in_its_size(self) -> None:
        tops = (10, 50, 150, 250, 350, 450)
        in_flight = []
        # every stage has a size of its own, so that nothing is counted anew with a tranche
        seen = watched(terms=replace(SMALL, stages=(10, 40, 100, 100, 100, 100)))
        for before, now in itertools.pairwise(seen):
            waiting = int(now["commanded"].sum() - now["ended"])
            assert waiting <= min(max(5, now["ended"] * 10 // 100), 20)
            in_flight.append(waiting)
            # whoever opens a stage has heard of all hubs before
            assert now["commanded"].sum() <= next(top for top in tops if top > before["ended"] or top == 450)
        assert max(in_flight) == 20

    def test_shows_of_hubs_whose_deadline_has_passed_all_that_will_ever_be_known(self) -> None:
        seen = watched(terms=replace(SMALL, stages=(450,)))
        for minute, now in enumerate(seen):
            before = seen[max(minute - SMALL.deadline, 0)]
            assert (now["settled_bad"] <= now["bad"]).all()
            if minute < SMALL.deadline:
                assert now["settled"].sum() == 0
            else:
                assert now["settled"].tolist() == before["commanded"].tolist()
        assert seen[-1]["bad"].sum() == seen[-1]["ended_bad"] > 20

    def test_begins_anew_with_each_tranche_after_the_stages_that_have_a_size(self) -> None:
        seen = watched()
        tranches = [int(now["tranche"][0]) for now in seen]
        assert tranches[0] == 1
        assert tranches[-1] == 4
        for before, now in itertools.pairwise(seen):
            if now["tranche"][0] > before["tranche"][0]:
                assert now["commanded"].sum() <= 20
                assert now["bad"].sum() == now["settled"].sum() == now["settled_bad"].sum() == 0
                assert now["ended"] >= 150
            else:
                assert (now["commanded"] >= before["commanded"]).all()

    def test_soaks_after_a_stage_for_as_long_as_the_policy_says(self) -> None:
        plain, soaked = (
            rollouts(rule=Watching(), terms=replace(SMALL, soaks=soaks)).minutes.mean()
            for soaks in ((), (200, 0, 400))
        )
        # the size of the last stage is that of each tranche after it, and so is its soak: there are three
        assert soaked - plain == pytest.approx(200 + 3 * 400, rel=0.05)

    def test_blames_a_release_for_what_is_late_only_when_controls_could_have_blamed_the_network(self) -> None:
        """The first look comes after an hour; they need a sixth of the deadline of 90 minutes."""
        late = Defect(share=1.0, is_late=True, late_by=10)
        fleet = replace(FLEET, baseline=0.0)
        found = rollouts(fleet=fleet, terms=replace(SMALL, soaks=(60,), later=60), defect=late)
        assert found.is_stopped.all()
        assert found.minutes.min() >= 60 + 90 / 6

    def test_comes_out_the_same_for_the_same_seed_and_otherwise_for_another(self) -> None:
        defect = Defect(share=0.05)
        first, same, other = (
            rollouts(fleet=Fleet(), terms=Terms(), defect=defect, seed=seed) for seed in (7, 7, 8)
        )
        assert first.commanded.tolist() == same.commanded.tolist()
        assert first.commanded.tolist() != other.commanded.tolist()

    def test_tells_once_a_day_how_many_go_on(self) -> None:
        told: list[tuple[int, int]] = []
        simulate(
            fleet=FLEET,
            terms=replace(SMALL, soaks=(2_000,)),
            defect=Defect(),
            rule=Watching(),
            runs=2,
            seed=1,
            tell=lambda minute, runs: told.append((minute, runs)),
        )
        assert told[0] == (1_440, 2)

    def test_refuses_hubs_that_the_deadline_would_make_silent(self) -> None:
        with pytest.raises(ValueError, match="too slow for a deadline of 90"):
            rollouts(fleet=replace(FLEET, answer=60.0))

    def test_refuses_to_run_nothing(self) -> None:
        with pytest.raises(ValueError, match="nothing to run"):
            rollouts(runs=0)


class TestEarlyWarning:
    def test_holds_each_stream_against_the_limit_of_its_tranche(self) -> None:
        seen = Seen(
            commanded=np.array([[25, 25], [25, 25]]),
            bad=np.array([[5, 0], [5, 0]]),
            settled=np.zeros((2, 2), np.int64),
            settled_bad=np.zeros((2, 2), np.int64),
            tranche=np.array([[1], [40]]),
            ended=np.array([50, 50]),
            ended_bad=np.array([5, 5]),
            late_well=np.zeros((2, 1), np.int64),
            late_bad=np.zeros((2, 1), np.int64),
        )
        trips = EarlyWarning(tolerated=TOLERATED).trips(seen=seen)

        assert trips.tolist() == [[True, True, False, False], [False, False, False, False]]


class TestFixedPercentage:
    @pytest.mark.parametrize(
        ("ended", "bad", "trips"), [(99, 99, False), (100, 9, False), (100, 10, True), (1_000, 99, False)]
    )
    def test_stops_at_so_many_in_a_hundred_once_there_are_so_many(
        self, ended: int, bad: int, trips: bool
    ) -> None:
        none = np.zeros((1, 3), np.int64)
        one = np.ones((1, 1), np.int64)
        seen = Seen(none, none, none, none, one, np.array([ended]), np.array([bad]), 0 * one, 0 * one)

        assert FixedPercentage().trips(seen=seen).tolist() == [[trips]]


class TestTerms:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"stages": ()},
            {"stages": (50, 0)},
            {"floor": 0},
            {"deadline": 0},
            {"percent": 101},
            {"ceiling": 49},
            {"soaks": (-1,)},
        ],
    )
    def test_refuses_a_policy_under_which_nothing_would_go_on(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match=r"have to be|cannot be"):
            Terms(**wrong)  # type: ignore[arg-type]


class TestFleet:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"hubs": 0},
            {"answer": 0.0},
            {"networks": ()},
            {"networks": (0.5, 0.4)},
            {"networks": (1.5, -0.5)},
            {"baseline": 1.1},
            {"silent": -0.1},
        ],
    )
    def test_refuses_one_that_cannot_be(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=r"hubs|shares"):
            Fleet(**wrong)  # type: ignore[arg-type]


class TestDefect:
    def test_is_in_every_network_unless_one_is_named(self) -> None:
        assert Defect(share=0.02).shares(networks=2).tolist() == [0.02, 0.02]
        assert Defect(share=0.02, network=1).shares(networks=2).tolist() == [0.0, 0.02]

    @pytest.mark.parametrize(
        "wrong", [Defect(share=1.1), Defect(share=-0.1), Defect(network=3), Defect(network=-1)]
    )
    def test_refuses_a_share_or_a_network_that_is_none(self, wrong: Defect) -> None:
        with pytest.raises(ValueError, match=r"no share|no network"):
            wrong.shares(networks=3)
