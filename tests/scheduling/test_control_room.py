"""Where a rollout stands: from the counters, the same words for everybody, and few questions."""

from datetime import timedelta

import pytest

from firmware.models import FirmwareRelease, Part, RolloutPolicy
from firmware.operations import decisions
from portal.ground import clock
from scheduling.lifecycle import Ending, State
from scheduling.models import Deployment, Evidence, Stage, TallyChange
from scheduling.operations import halts, stages, tallies
from scheduling.queries import control_room
from scheduling.queries.control_room import Health, History, Outcomes, Situation
from tests import factories
from tests.scheduling.test_early_warning import activate, end, publish_another, resume, silence, stage
from tests.scheduling.world import World


@pytest.fixture
def staged(world: World) -> World:
    """Sixty staged hubs of one model, the first fifty of which may be activated."""
    RolloutPolicy.objects.update(tolerated_bad_percent="0.75")
    return stage(world, 60)


def situation() -> Situation:
    """Return where the only release stands."""
    [found] = control_room.situations(shown=control_room.rolling_out(), now=clock.now())
    return found


def health() -> Health:
    """Return how the only release fares; however it is asked."""
    [one] = control_room.healths(shown=FirmwareRelease.objects.all()).values()
    assert situation().health is one
    return one


class TestRollingOut:
    def test_has_what_is_published_or_halted_and_the_halted_first(self, staged: World) -> None:
        staged.clock.move(minutes=1)
        other = publish_another(staged)
        assert list(control_room.rolling_out()) == [other, staged.release]
        decisions.halt(release=staged.release, by=staged.staff, reason="Odd.", now=staged.clock())
        assert list(control_room.rolling_out()) == [staged.release, other]
        decisions.withdraw(release=other, by=staged.staff, reason="Over.", now=staged.clock())
        assert list(control_room.rolling_out()) == [staged.release]


class TestSituations:
    def test_count_every_hub_once_by_what_became_of_it(self, staged: World) -> None:
        activate(20)
        end(6, world=staged, state=State.SUCCEEDED)
        end(2, world=staged, state=State.FAILED, ending=Ending.WRONG_VERSION)
        end(1, world=staged, state=State.UNCONFIRMED, ending=Ending.SILENT)
        silence(3)
        first = Deployment.objects.filter(state=State.STAGED).earliest("pk")
        Deployment.objects.filter(pk=first.pk).update(state=State.HELD)

        for _ in range(2):
            [cell] = situation().cells
            assert (cell.model, cell.network) == (staged.model.name, staged.network.name)
            assert cell.outcomes == Outcomes(
                staged=39, held=1, waiting=8, silent=3, succeeded=6, failed=2, unconfirmed=1
            )
            assert (cell.outcomes.activated, cell.outcomes.in_flight, cell.outcomes.bad) == (20, 11, 6)
            tallies.fold(limit=1_000)  # however the counters keep it

    def test_tell_what_failed_before_it_was_activated_apart(self, staged: World) -> None:
        staged.hubs(1)
        staged.slot(start=timedelta(hours=9), room=1)
        staged.book()
        Deployment.objects.filter(state=State.BOOKED).update(state=State.STAGING)
        Deployment.objects.filter(state=State.STAGING).update(
            state=State.FAILED, ending=Ending.TRANSFER_FAILED, ended_at=staged.clock(), next_at=None
        )
        assert situation().national == Outcomes(staged=60, failed_before=1)
        assert situation().national.activated == 0

    def test_add_up_the_country(self, staged: World) -> None:
        other = factories.NetworkFactory.create(code="south")
        activate(5)
        TallyChange.objects.create(
            release=staged.release,
            network=other,
            model=staged.model,
            stage=1,
            state=State.SUCCEEDED,
            hubs=9_000,
        )
        found = situation()
        assert {cell.network: cell.outcomes.activated for cell in found.cells} == {
            staged.network.name: 5,
            other.name: 9_000,
        }
        assert found.national.activated == 9_005

    def test_name_the_open_stage_of_each_model(self, staged: World) -> None:
        Stage.objects.update(size=2)
        activate(2)
        end(2, world=staged, state=State.SUCCEEDED)
        stages.advance(now=staged.clock())
        [opened] = situation().stages
        assert (opened.model, opened.stage.number, opened.stage.size) == (staged.model.name, 2, 500)
        assert opened.sizes == 4
        assert opened.tranche == 0
        Stage.objects.filter(closed_at=None).update(step=6)
        assert situation().stages[0].tranche == 2

    def test_give_each_stream_a_letter_that_it_keeps(self, staged: World) -> None:
        other = factories.HubModelFactory.create(name="ZZZ")
        staged.release.hub_models.add(other)
        streams = situation().streams
        assert [(one.letter, one.name, one.watched) for one in streams] == [
            ("A", staged.model.name, None),
            ("B", "ZZZ", None),
            ("C", staged.network.name, None),
        ]
        activate(4)
        silence(1)
        streams = situation().streams
        assert [(one.letter, one.watched and one.watched.stream.hubs) for one in streams] == [
            ("A", 4),
            ("B", None),
            ("C", 4),
        ]
        assert streams[0].bad_share == 0.25

    def test_tell_of_the_halt_that_stands(self, staged: World) -> None:
        assert (situation().halt, situation().agreed) == (None, None)
        activate(50)
        end(20, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=staged.clock())
        found = situation()
        assert found.halt
        assert "20 are bad" in found.halt.reason
        staged.clock.move(minutes=1)
        resume(staged)
        assert situation().halt is None

    def test_name_what_is_nearest_to_its_limit(self, staged: World) -> None:
        other = factories.NetworkFactory.create(code="south")
        activate(50)
        end(3, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        TallyChange.objects.create(
            release=staged.release,
            network=other,
            model=staged.model,
            stage=1,
            state=State.SUCCEEDED,
            hubs=900,
        )
        nearest = situation().nearest
        assert nearest.words == f"Network {staged.network.name}"
        assert 0 < nearest.share < 0.5
        end(2, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        assert situation().refused_share == 2 / 3
        end(1, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        found = situation()
        assert found.share == found.nearest.share >= 1


class TestHealths:
    def test_are_healthy_while_nothing_speaks_against_a_release(self, staged: World) -> None:
        assert health() is Health.HEALTHY
        activate(50)
        end(1, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=staged.clock())
        assert health() is Health.HEALTHY

    def test_are_watched_beyond_half_of_the_limit(self, staged: World) -> None:
        activate(50)
        end(3, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=staged.clock())
        assert health() is Health.HEALTHY
        end(1, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=staged.clock())
        assert health() is Health.WATCHED

    def test_are_watched_when_two_hubs_refused_the_image(self, staged: World) -> None:
        activate(50)
        end(48, world=staged, state=State.SUCCEEDED)
        end(1, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        assert health() is Health.HEALTHY
        end(1, world=staged, state=State.FAILED, ending=Ending.WRONG_HARDWARE)
        assert health() is Health.WATCHED

    def test_are_halted_whatever_else(self, staged: World) -> None:
        decisions.halt(release=staged.release, by=staged.staff, reason="Odd.", now=staged.clock())
        assert health() is Health.HALTED

    def test_begin_anew_after_a_resumption(self, staged: World) -> None:
        activate(50)
        end(20, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        end(3, world=staged, state=State.FAILED, ending=Ending.HASH_MISMATCH)
        halts.watch(now=staged.clock())
        assert health() is Health.HALTED
        staged.clock.move(minutes=1)
        resume(staged)
        halts.watch(now=staged.clock())
        assert health() is Health.HEALTHY

    def test_are_asked_of_all_releases_at_once(self, staged: World) -> None:
        other = publish_another(staged)
        activate(50)
        end(4, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=staged.clock())
        assert control_room.healths(shown=control_room.rolling_out()) == {
            staged.release.pk: Health.WATCHED,
            other.pk: Health.HEALTHY,
        }

    @pytest.mark.parametrize(
        ("resumed", "said"),
        [("another model", Health.WATCHED), ("its model", Health.HEALTHY), ("a network", Health.HEALTHY)],
    )
    def test_goes_on_as_before_where_another_model_was_resumed(
        self, staged: World, resumed: str, said: Health
    ) -> None:
        other = factories.HubModelFactory.create()
        staged.release.hub_models.add(other)
        stages.advance(now=staged.clock())
        activate(50)
        end(4, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=staged.clock())
        part = {
            "another model": Part(model=other),
            "its model": Part(model=staged.model),
            "a network": Part(network=staged.network),
        }[resumed]
        halt = decisions.halt(
            release=staged.release, by=staged.staff, reason="Odd.", now=staged.clock(), part=part
        )
        staged.clock.move(minutes=1)
        staged.resume(reason="Understood.", halt=halt)
        halts.watch(now=staged.clock())
        assert health() is said


class TestHistories:
    @staticmethod
    def keep(world: World, *, minutes: int, share: float, of_network: bool = False) -> None:
        """Keep the evidence of a stream so many minutes from now."""
        Evidence.objects.create(
            release=world.release,
            model=None if of_network else world.model,
            network=world.network if of_network else None,
            at=world.clock() + timedelta(minutes=minutes),
            episode=1,
            good=0,
            bad=0,
            waiting=1,
            tolerated=0.0075,
            evidence=share * 8 if share else -3.0,
            threshold=8.0,
        )

    @staticmethod
    def history(world: World) -> History:
        """Return what the picture of the world's release shows."""
        return control_room.histories(shown=[situation()])[world.release.pk]

    def shares(self, world: World) -> dict[str, list[tuple[float, float]]]:
        """Return the shares by letter, with their minutes from now."""
        return {
            track.stream.letter: [
                ((moment - world.clock()) / timedelta(minutes=1), share) for moment, share in track.shares
            ]
            for track in self.history(world).tracks
        }

    def test_are_nothing_without_evidence(self, staged: World) -> None:
        assert control_room.histories(shown=[situation()]) == {}
        assert control_room.histories(shown=[]) == {}

    def test_are_the_shares_of_each_stream_over_time(self, staged: World) -> None:
        self.keep(staged, minutes=0, share=0.0)
        self.keep(staged, minutes=2, share=0.25)
        self.keep(staged, minutes=7, share=1.5)
        self.keep(staged, minutes=2, share=0.5, of_network=True)
        assert self.shares(staged) == {"A": [(0, 0), (2, 0.25), (7, 1.5)], "B": [(2, 0.5)]}
        found = self.history(staged)
        assert found.until - found.since == timedelta(minutes=7)

    def test_show_the_worst_of_what_lies_too_close_together(self, staged: World) -> None:
        for minute in range(0, 48 * 5 + 1, 1):
            self.keep(staged, minutes=minute, share=0.75 if minute == 101 else 0.125)
        shares = dict(self.shares(staged)["A"])
        assert self.history(staged).step == timedelta(minutes=5)
        assert len(shares) == 49
        assert {minute: share for minute, share in shares.items() if share != 0.125} == {100: 0.75}

    def test_show_a_day_and_what_held_when_it_began(self, staged: World) -> None:
        day = 24 * 60
        self.keep(staged, minutes=-2 * day, share=0.875)
        self.keep(staged, minutes=-day - 60, share=0.125)
        self.keep(staged, minutes=-30, share=0.25)
        self.keep(staged, minutes=-3 * day, share=0.5, of_network=True)
        self.keep(staged, minutes=0, share=0.375)
        found = self.shares(staged)
        assert found["A"][0] == (-day, 0.125)
        assert [share for _, share in found["A"]] == [0.125, 0.25, 0.375]
        assert found["B"] == [(-day, 0.5)]
