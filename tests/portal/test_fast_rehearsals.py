"""The same plan in numbers alone: quick, and close to the real path."""

import json
from dataclasses import replace
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from portal.fast_rehearsals import RUNS, simulate
from portal.rehearsals import Defect, Model, Plan, UnableToRehearse, nobodys, rehearse


def two_models(defect: Defect | None) -> Plan:
    """Plan the rollout to two models, of which the other has a quarter of the hubs."""
    plan = nobodys(hubs=8_000, defect=None, seed=3)
    return replace(
        plan,
        defect=defect,
        models=[*plan.models, Model("Other Hub", "Rehearsal Devices")],
        kinds=[
            *(replace(kind, weight=3) for kind in plan.kinds),
            *(replace(kind, model="Other Hub") for kind in plan.kinds),
        ],
    )


class TestSimulate:
    def test_stops_a_broken_release_in_every_rollout(self) -> None:
        found = simulate(plan=nobodys(hubs=100_000, defect=Defect(0.05, "silent"), seed=1), tell=print)
        assert found["runs"] == RUNS
        assert found["halted"] == 1.0
        assert 50 < found["commanded"]["mean"] <= found["commanded"]["p95"] <= 5_550

    def test_runs_a_sound_release_to_its_end(self) -> None:
        found = simulate(plan=nobodys(hubs=60_000, defect=None, seed=1), tell=print)
        assert found["halted"] == 0.0
        assert found["commanded"]["mean"] == 60_000
        assert found["bad"]["mean"] == pytest.approx(300, abs=80)
        assert found["days"]["mean"] > 3  # three stages soak for a day each

    def test_says_the_same_for_the_same_seed(self) -> None:
        plan = nobodys(hubs=10_000, defect=Defect(0.1, "visible", network="south"), seed=7)
        first, again = (simulate(plan=plan, tell=print) for _ in range(2))
        assert first | {"wall_s": 0} == again | {"wall_s": 0}

    def test_finds_a_late_defect_by_looking_again_a_day_later(self) -> None:
        found = simulate(plan=nobodys(hubs=100_000, defect=Defect(0.05, "late"), seed=1), tell=print)
        assert found["halted"] == 1.0
        # the first look at the fifty hubs of the first stage, and the two that follow for who did not answer
        assert found["hours"]["mean"] > 24
        assert found["commanded"]["mean"] < 5_550
        visible = simulate(plan=nobodys(hubs=100_000, defect=Defect(0.05, "visible"), seed=1), tell=print)
        assert visible["hours"]["mean"] < found["hours"]["mean"]

    def test_breaks_the_hubs_of_one_model_alone(self) -> None:
        plan = two_models(Defect(0.2, "visible", model="Other Hub"))
        found = simulate(plan=plan, tell=print)
        everywhere = simulate(plan=two_models(Defect(0.2, "visible")), tell=print)
        assert found["halted"] == everywhere["halted"] == 1.0
        assert everywhere["commanded"]["mean"] < found["commanded"]["mean"]
        assert {model for _, model, *_ in found["course"]["openings"]} >= {"Rehearsal Hub", "Other Hub"}

    def test_rolls_every_model_out_in_stages_of_its_own(self) -> None:
        plan = two_models(None)
        found = simulate(plan=plan, tell=print)
        assert found["commanded"]["mean"] == plan.hubs
        sizes = {(model, number): size for _, model, number, size in found["course"]["openings"]}
        assert sizes["Rehearsal Hub", 1] == sizes["Other Hub", 1] == 50
        assert sizes["Rehearsal Hub", 2] == sizes["Other Hub", 2] == 500

    def test_tells_how_a_healthy_rollout_goes_beside_that_of_a_defect(self) -> None:
        found = simulate(plan=nobodys(hubs=20_000, defect=Defect(0.05, "silent"), seed=1), tell=print)
        alone = simulate(plan=nobodys(hubs=20_000, defect=None, seed=1), tell=print)
        assert found["healthy"]["days"] == pytest.approx(alone["days"]["mean"], abs=0.001)
        assert alone["healthy"] is None

    def test_draws_the_rollout_in_the_middle(self) -> None:
        found = simulate(plan=nobodys(hubs=20_000, defect=Defect(0.05, "visible"), seed=1), tell=print)
        course = found["course"]
        assert course["points"][0][0] == 0
        counts = [commanded for _, commanded, _ in course["points"]]
        assert counts == sorted(counts)
        assert course["halted_at"] == course["points"][-1][0]
        assert 50 <= counts[-1] <= found["commanded"]["p95"]
        assert all(bad <= commanded for _, commanded, bad in course["points"])

    def test_says_how_far_it_is(self) -> None:
        told: list[float | None] = []
        plan = nobodys(hubs=20_000, defect=Defect(0.02, "silent"), seed=1)
        simulate(plan=plan, tell=lambda step, share=None: told.append(share))
        shares = [share for share in told if share is not None]
        assert shares == sorted(shares)
        assert shares[-1] > 0.5

    def test_takes_hubs_of_a_policy_on_compressed_time_to_be_as_fast(self) -> None:
        plan = nobodys(hubs=5_000, defect=Defect(0.2, "silent"), seed=1)
        quick = replace(plan, policy={"silence_deadline": "2 minutes", "soak": "1 minute"})
        found = simulate(plan=quick, tell=print)
        assert found["halted"] == 1.0
        assert found["hours"]["mean"] < 1

    def test_refuses_a_policy_under_which_nothing_can_be_in_flight(self) -> None:
        plan = replace(nobodys(hubs=10, defect=None, seed=1), policy={"in_flight_ceiling": 20})
        with pytest.raises(UnableToRehearse, match="budget"):
            simulate(plan=plan, tell=print)

    @pytest.mark.django_db(transaction=True)
    def test_is_close_to_the_real_path(self) -> None:
        """
        The mean of hubs commanded, over three seeds of the real code, lies within 40 % of that of the numbers.

        The numbers command the fifty hubs of the first stage at once; through the real code they come as their slots
        do, on more than one night, so it stops a little sooner.
        """
        defect, hubs, seeds = Defect(0.2, "visible"), 1_000, (1, 2, 3)
        fast = simulate(plan=nobodys(hubs=hubs, defect=defect, seed=1), tell=print)
        real = []
        for seed in seeds:
            call_command("flush", verbosity=0, interactive=False)
            real.append(rehearse(plan=nobodys(hubs=hubs, defect=defect, seed=seed), tell=print))

        assert all(one["halt"]["admitted_after"] == 0 for one in real)
        mean = sum(one["commanded"] for one in real) / len(real)
        assert mean == pytest.approx(fast["commanded"]["mean"], rel=0.4)
        bad = sum(one["bad"] for one in real) / sum(one["commanded"] for one in real)
        assert bad == pytest.approx(fast["bad"]["mean"] / fast["commanded"]["mean"], rel=0.4)


class TestTheCommand:
    def test_needs_no_database_for_it(self) -> None:
        said = StringIO()
        call_command("rehearse", "--hubs", "5000", "--defect", "20%", "--fast", "--json", stdout=said)
        assert json.loads(said.getvalue())["halted"] == 1.0

    def test_lays_it_out_for_people(self) -> None:
        said = StringIO()
        call_command("rehearse", "--hubs", "5000", "--defect", "20%", "--fast", stdout=said)
        assert "commanded" in said.getvalue()
        assert "100.0%" in said.getvalue()

    def test_refuses_in_a_sentence(self) -> None:
        with pytest.raises(CommandError, match="give a percentage"):
            call_command("rehearse", "--hubs", "50", "--defect", "20", "--fast")
