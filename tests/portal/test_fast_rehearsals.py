"""The same plan in numbers alone: quick, and close to the real path."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from portal.fast_rehearsals import RUNS, simulate
from portal.rehearsals import Defect, UnableToRehearse, nobodys, rehearse


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

    @pytest.mark.parametrize("defect", [Defect(0.1, "late"), Defect(0.1, "silent", model="Rehearsal Hub")])
    def test_refuses_what_numbers_cannot_follow(self, defect: Defect) -> None:
        with pytest.raises(UnableToRehearse, match="leave out --fast"):
            simulate(plan=nobodys(hubs=10, defect=defect, seed=1), tell=print)

    @pytest.mark.django_db(transaction=True)
    def test_is_close_to_the_real_path(self) -> None:
        """
        The real path admits the first stage's hubs as their slots come, and stops in it as the numbers do.

        A release that breaks three hubs in ten reaches some fifty. With one real rollout, no more can be said than
        that it lies within what the numbers call usual: at most their 95th percentile, and not below a third of the
        mean, since the hubs of a first stage have slots on more than one night.
        """
        defect = Defect(0.3, "visible")
        fast = simulate(plan=nobodys(hubs=150, defect=defect, seed=5), tell=print)
        real = rehearse(plan=nobodys(hubs=150, defect=defect, seed=5), tell=print)
        assert fast["commanded"]["mean"] / 3 <= real["commanded"] <= fast["commanded"]["p95"]
        assert real["bad"] <= fast["bad"]["p95"]


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
        with pytest.raises(CommandError, match="leave out --fast"):
            call_command("rehearse", "--hubs", "50", "--defect", "20%", "--kind", "late", "--fast")
