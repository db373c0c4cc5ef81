"""Rehearsals are asked for, taken by one at a time, held, and over in one of four ways."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from firmware.models import FirmwareRelease, ReleaseState
from portal.ground.models import AuditEntry
from scheduling.models import Rehearsal
from scheduling.operations.asked_rehearsals import (
    ATTEMPTS,
    LEASE,
    UnableToAsk,
    UnableToStop,
    Wish,
    ask,
    digest_of,
    fail,
    finish,
    hand_back,
    renew,
    stop,
    take,
)
from scheduling.queries.asked_rehearsals import of_release, told
from tests.scheduling.test_races import at_once
from tests.scheduling.world import World
from tests.scheduling.world import make as make_world

NO_DEFECT: dict[str, Any] = {"percent": Decimal(0), "kind": ""}


def wish(**facts: Any) -> Wish:
    """Return the wish that the page begins with, but for some facts."""
    usual: dict[str, Any] = {
        "is_whole": False,
        "hubs": 1_000,
        "percent": Decimal(2),
        "kind": "silent",
        "network": None,
        "model": None,
        "seed": 1,
    }
    return Wish(**(usual | facts))


def asked(world: World, **facts: Any) -> Rehearsal:
    """Ask for a rehearsal of the world's release."""
    return ask(
        release=world.release, wish=wish(**facts), plan={"of": "it"}, by=world.staff, now=world.clock()
    )


def taken(world: World, **facts: Any) -> Rehearsal:
    """Ask for one, and take it."""
    rehearsal = asked(world, **facts)
    found = take(is_whole=rehearsal.is_whole, now=world.clock())
    assert found == rehearsal
    assert found is not None
    return found


def another(world: World) -> FirmwareRelease:
    """Return another release, as far as rehearsals can tell."""
    release = FirmwareRelease.objects.get(pk=world.release.pk)
    policy = release.policy
    release.pk, release.cpl_entry_id, release.digest = None, "OTHER", "0" * 64
    release.version_id = release.predecessors.model.objects.values_list("version", flat=True)[0]
    release.save()
    policy.pk, policy.release = None, release
    policy.save()
    return release


class TestAsk:
    def test_puts_it_in_line_and_on_record(self, world: World) -> None:
        rehearsal = asked(world, network=world.network)

        assert rehearsal.state == "waiting"
        assert rehearsal.revision == world.release.revision
        entry = AuditEntry.objects.get(verb="release.rehearsal_asked")
        assert entry.actor == world.staff
        assert entry.subject == f"release:{world.release.pk}"
        assert entry.facts["network"] == world.network.code
        assert entry.facts["percent"] == "2"

    def test_refuses_a_second_one_of_a_release_until_the_first_is_over(self, world: World) -> None:
        first = asked(world)
        with pytest.raises(UnableToAsk, match="Another rehearsal of this release is waiting or running"):
            asked(world, is_whole=True)
        stop(rehearsal=first, by=world.staff, now=world.clock())
        assert asked(world).state == "waiting"

    @pytest.mark.parametrize("state", [ReleaseState.CLOSED, ReleaseState.WITHDRAWN])
    def test_refuses_a_release_that_is_over(self, world: World, state: ReleaseState) -> None:
        world.release.state = state
        with pytest.raises(UnableToAsk, match="nothing of it will be rolled out any more"):
            asked(world)


class TestTake:
    def test_gives_each_to_one_alone(self, world: World) -> None:
        rehearsal = taken(world)

        assert rehearsal.state == "running"
        assert rehearsal.token == 1
        assert rehearsal.lease_until == world.clock() + LEASE
        assert take(is_whole=False, now=world.clock()) is None

    def test_lets_one_of_each_way_run_at_a_time(self, world: World) -> None:
        taken(world)
        other = another(world)
        for is_whole in (False, True):
            Rehearsal.objects.filter(release=other).delete()
            Rehearsal.objects.create(
                release=other, revision=1, is_whole=is_whole, hubs=1, **NO_DEFECT, seed=1, plan={},
                asked_by=world.staff, asked_at=world.clock(),
            )  # fmt: skip
            assert bool(take(is_whole=is_whole, now=world.clock())) is is_whole

    def test_gives_one_whose_process_died_to_another(self, world: World) -> None:
        first = taken(world)
        world.clock.move(seconds=61)
        second = take(is_whole=False, now=world.clock())

        assert second == first
        assert second is not None
        assert second.token == 2
        assert not renew(rehearsal=first.pk, token=first.token, step="", progress=None, now=world.clock())
        assert renew(rehearsal=first.pk, token=second.token, step="", progress=None, now=world.clock())

    def test_gives_one_up_that_ended_its_processes(self, world: World) -> None:
        taken(world)
        for _ in range(ATTEMPTS):
            world.clock.move(seconds=61)
            found = take(is_whole=False, now=world.clock())
        assert found is None
        [ended] = of_release(release=world.release)
        assert ended.rehearsal.state == "failed"
        assert "ended without a word" in ended.came_to


@pytest.mark.django_db(transaction=True)
class TestTakeByMany:
    def test_starts_one(self, now: Any) -> None:
        world = make_world(now=now)
        asked(world)
        found: list[Rehearsal | None] = []
        at_once(*[lambda: found.append(take(is_whole=False, now=world.clock()))] * 6)
        assert len([one for one in found if one]) == 1


class TestRenew:
    def test_says_how_far_it_is_and_keeps_it(self, world: World) -> None:
        rehearsal = taken(world)
        world.clock.move(seconds=40)
        assert renew(
            rehearsal=rehearsal.pk, token=1, step="day 3: half of it", progress=0.5, now=world.clock()
        )
        [found] = of_release(release=world.release)
        assert found.percent == 50
        assert found.came_to == "day 3: half of it"
        assert found.rehearsal.lease_until == world.clock() + LEASE

    def test_says_no_once_it_was_stopped(self, world: World) -> None:
        rehearsal = taken(world)
        stop(rehearsal=rehearsal, by=world.staff, now=world.clock())
        assert not renew(rehearsal=rehearsal.pk, token=1, step="", progress=None, now=world.clock())


class TestFinish:
    def test_keeps_the_result_with_its_hash_on_record(self, world: World) -> None:
        rehearsal = taken(world)
        result = {"commanded": 1.25, "words": "½"}
        assert finish(rehearsal=rehearsal.pk, token=1, result=result, now=world.clock())

        kept = Rehearsal.objects.get()
        assert kept.state == "done"
        assert kept.digest == digest_of(result=kept.result)
        entry = AuditEntry.objects.get(verb="release.rehearsed")
        assert entry.actor is None
        assert entry.facts == {"rehearsal": kept.pk, "result_sha256": kept.digest}

    def test_keeps_nothing_of_one_that_is_somebody_elses_by_now(self, world: World) -> None:
        rehearsal = taken(world)
        assert not finish(rehearsal=rehearsal.pk, token=2, result={}, now=world.clock())
        assert not AuditEntry.objects.filter(verb="release.rehearsed").exists()


class TestFail:
    def test_says_why(self, world: World) -> None:
        rehearsal = taken(world)
        assert fail(rehearsal=rehearsal.pk, token=1, error="No room.", now=world.clock())
        assert Rehearsal.objects.get().error == "No room."
        assert not fail(rehearsal=rehearsal.pk, token=1, error="Again.", now=world.clock())


class TestHandBack:
    def test_lets_another_begin_anew_however_often(self, world: World) -> None:
        for token in range(1, 2 * ATTEMPTS):
            rehearsal = taken(world) if token == 1 else take(is_whole=False, now=world.clock())
            assert rehearsal is not None
            assert rehearsal.token == token
            assert hand_back(rehearsal=rehearsal.pk, token=token)
        assert not hand_back(rehearsal=rehearsal.pk, token=token)


class TestStop:
    def test_ends_one_that_waits_or_runs_and_no_other(self, world: World) -> None:
        rehearsal = taken(world)
        stop(rehearsal=rehearsal, by=world.staff, now=world.clock())
        assert Rehearsal.objects.get().state == "cancelled"
        assert AuditEntry.objects.get(verb="release.rehearsal_stopped").actor == world.staff
        with pytest.raises(UnableToStop, match="over before it could be stopped"):
            stop(rehearsal=rehearsal, by=world.staff, now=world.clock())


class TestARehearsal:
    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"percent": 0}, "rehearsal_kind_and_place_with_a_defect"),
            ({"kind": ""}, "rehearsal_kind_and_place_with_a_defect"),
            ({"percent": 101}, "rehearsal_kind_and_place_with_a_defect"),
            ({"network": True, "model": True}, "rehearsal_one_place_of_a_defect"),
            ({"hubs": 0}, "rehearsal_of_some_hubs"),
            ({"progress": 1.1}, "rehearsal_progress_is_a_share"),
            ({"state": "running"}, "rehearsal_leased_while_running"),
            ({"state": "cancelled"}, "rehearsal_ended_when_it_is_over"),
            ({"state": "done", "ended_at": True}, "rehearsal_result_when_done"),
            ({"result": {}}, "rehearsal_result_when_done"),
            ({"state": "failed", "ended_at": True}, "rehearsal_error_when_failed"),
            ({"error": "Odd."}, "rehearsal_error_when_failed"),
        ],
    )
    def test_is_what_its_state_says(self, world: World, change: dict[str, Any], constraint: str) -> None:
        asked(world)
        known = {"network": world.network, "model": world.model, "ended_at": world.clock()}
        facts = {name: known[name] if value is True else value for name, value in change.items()}
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            Rehearsal.objects.update(**facts)

    def test_is_the_only_open_one_of_its_release(self, world: World) -> None:
        ended = {"state": "cancelled", "ended_at": world.clock()}
        asked(world)
        Rehearsal.objects.update(**ended)
        asked(world)
        with pytest.raises(IntegrityError, match="rehearsal_one_open_per_release"), transaction.atomic():
            Rehearsal.objects.update(state="waiting", ended_at=None)


FOUND: dict[str, Any] = {
    "runs": 200,
    "hubs": 10_000,
    "halted_runs": 200,
    "commanded": {"mean": 1618.79, "p95": 3759.6},
    "bad": {"mean": 40.2, "p95": 87.0},
    "hours": {"mean": 42.49, "p95": 56.7},
    "days": {"mean": 1.77, "p95": 2.4},
    "period_days": 42.0,
    "places": 20_000,
    "fits": True,
    "untried": None,
    "why": "",
    "admitted_after": None,
    "healthy": {"days": 6.7, "bad": 50, "is_halted": False},
    "capacity": [],
    "outcomes": [],
    "seconds": 3.0,
}


class TestTold:
    @pytest.mark.parametrize(
        ("facts", "words"),
        [
            (
                {},
                "It halts by itself after 42.5 hours on average: 1,619 hubs commanded by then, 40 of them bad.",
            ),
            (
                {"runs": 1, "halted_runs": 1, "commanded": {"mean": 1, "p95": None}},
                "It halts by itself after 42.5 hours: 1 hub commanded by then, 40 of them bad.",
            ),
            (
                {"halted_runs": 150},
                "It halts by itself in 150 of 200 rollouts, and goes on in the others: on average 1,619 hubs "
                "commanded, 40 of them bad.",
            ),
            ({"halted_runs": 0, "hours": None}, "Nothing stops it: 1,619 hubs commanded, 40 of them bad."),
        ],
    )
    def test_says_what_a_defect_came_to(self, world: World, facts: dict[str, Any], words: str) -> None:
        rehearsal = asked(world)
        rehearsal.result = FOUND | facts
        assert told(rehearsal=rehearsal).headline == words

    @pytest.mark.parametrize(
        ("facts", "words"),
        [
            (
                {"halted_runs": 0, "commanded": {"mean": 10_000.0, "p95": None}},
                "It goes to its end in 42.5 hours without a false alarm: 10,000 of 10,000 hubs commanded.",
            ),
            (
                {"halted_runs": 0, "fits": False, "days": {"mean": 71.1, "p95": None}},
                "It does not fit into its period: it takes 71.1 days, and the period has 42 days.",
            ),
            (
                {"halted_runs": 0, "fits": False, "untried": 12},
                "It does not fit into its period: nobody tried 12 hubs by the end of it.",
            ),
            (
                {"halted_runs": 0, "fits": False, "places": 9_000},
                "It does not fit into its period: the slots have 9,000 places for 10,000 hubs.",
            ),
            ({"halted_runs": 1}, "A false alarm: it halts by itself with 1,619 hubs commanded"),
        ],
    )
    def test_says_how_a_healthy_one_went(self, world: World, facts: dict[str, Any], words: str) -> None:
        rehearsal = asked(world, **NO_DEFECT)
        rehearsal.result = FOUND | {"runs": 1, "healthy": None, "hours": {"mean": 1, "p95": 1}} | facts
        assert words in told(rehearsal=rehearsal).headline

    def test_explains_each_number(self, world: World) -> None:
        rehearsal = asked(world)
        rehearsal.result = FOUND
        facts = {fact.label: fact for fact in told(rehearsal=rehearsal).facts}
        assert facts["Hubs commanded before the halt"].value == "1,619"
        assert "at most 3,760 hubs in 19 of 20" in facts["Hubs commanded before the halt"].note
        assert facts["Time to the halt"].value == "42.5 hours"
        assert facts["A healthy rollout takes"].value == "6.7 days"
        assert "the period has 42 days" in facts["A healthy rollout takes"].note
        assert "would take 50 % of it" in facts["Room in the period"].note

    def test_says_what_was_asked_for(self, world: World) -> None:
        rehearsal = asked(world, network=world.network, percent=Decimal("0.5"))
        assert told(rehearsal=rehearsal).asked == (
            f"A silent defect in 0.5 % of the hubs on network {world.network}, to 1,000 hubs, in numbers alone, seed 1"
        )
        stop(rehearsal=rehearsal, by=world.staff, now=world.clock())
        healthy = asked(world, **NO_DEFECT, is_whole=True, hubs=1)
        assert told(rehearsal=healthy).asked == "No defect, to 1 hub, through the real code, seed 1"

    def test_says_that_the_release_was_changed_since(self, world: World) -> None:
        rehearsal = asked(world)
        assert not told(rehearsal=rehearsal).is_outdated
        rehearsal.release.revision += 1
        assert told(rehearsal=rehearsal).is_outdated
