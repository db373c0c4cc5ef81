"""What the timetable wakes: delivered three times, at once, late or after an hour of silence, it does no harm."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from celery import Task, signals
from django.core import mail
from kombu.exceptions import OperationalError

from hubs.gateway import Phase
from hubs.modelled_fleet.models import CommandLog, FleetHub, NetworkProfile
from portal.celery import TIMETABLE, app
from portal.ground import clock
from scheduling.lifecycle import FINAL, State
from scheduling.models import Allocation, Booking, Command, Deployment, Lot, Notice, Slot
from scheduling.operations import deployments
from scheduling.operations.deployments import work
from scheduling.tasks import wake_soon
from tests.scheduling import world as worlds
from tests.scheduling.test_changes import assert_books_balance
from tests.scheduling.test_races import at_once
from tests.scheduling.world import NEW, World

COPIES = 3


def tasks() -> dict[str, Callable[[], object]]:
    """Return every task of the timetable by its name."""
    return {entry["task"]: app.tasks[entry["task"]] for entry in TIMETABLE.values()}


@pytest.mark.django_db(transaction=True)
class TestDeliveredThreeTimes:
    @pytest.fixture
    def world(self, transactional_db: None) -> World:
        """Sixty hubs in three slots that are running, by the database's clock, with some trouble on the way."""
        world = worlds.make(now=clock.now() - timedelta(hours=6))
        NetworkProfile.objects.update(report_doubled=0.3, reachability=0.98)
        world.release.policy.retry_interval = "1 seconds"
        world.release.policy.save()
        world.hubs(60)
        for number in range(3):
            world.slot(start=timedelta(hours=6, seconds=-number - 1), room=20, length=timedelta(minutes=10))
        world.book()
        return world

    def test_by_three_workers_at_once_each_act_happens_once(self, world: World) -> None:
        app.loader.import_default_modules()
        for _ in range(60):
            for task in tasks().values():
                results = at_once(*[task] * COPIES)
                assert [result for result in results if isinstance(result, Exception)] == []
            if not Deployment.objects.exclude(state__in=FINAL).exists():
                break
        for task in tasks().values():
            at_once(*[task] * COPIES)

        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
        assert set(FleetHub.objects.values_list("activations", "running_version")) == {(1, NEW)}
        assert set(CommandLog.objects.values_list("deployment", "phase", "attempt")) == set(
            Command.objects.values_list("deployment_id", "phase", "attempt")
        )
        assert sum(lot.succeeded for lot in Lot.objects.all()) == sum(
            Slot.objects.values_list("taken", flat=True)
        )
        assert not Booking.objects.filter(done_at=None).exists()
        assert_books_balance()
        letters = Counter((tuple(letter.to), letter.subject) for letter in mail.outbox)
        assert letters
        assert set(letters.values()) == {1}
        assert Notice.objects.exclude(sent_at=None).count() == len(letters)
        assert Allocation.objects.count() <= 1

    def test_or_with_words_of_another_version_of_the_portal_does_the_same(self, world: World) -> None:
        app.loader.import_default_modules()
        for name, task in tasks().items():
            try:
                task(asked_by="a newer version", times=2)  # type: ignore[call-arg]
            except TypeError as error:
                pytest.fail(f"{name} does not take words that it does not know: {error}")
        assert CommandLog.objects.exists()


@pytest.mark.django_db
class TestAnHourOfSilence:
    def test_is_made_up_for_by_the_next_that_is_awake(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()
        world.clock.move(hours=4)  # staging opened three hours ago, and nobody came
        world.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}

        world.clock.move(hours=1, minutes=30)  # the slot began half an hour ago
        world.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}

    def test_costs_no_hub_more_than_its_slot(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()
        world.clock.move(hours=7)
        world.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.MISSED}
        assert not CommandLog.objects.filter(phase=Phase.ACTIVATE).exists()

    def test_leaves_nobody_with_a_dead_workers_lot(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=3)
        world.book()
        world.clock.move(hours=4)
        assert deployments.claim(now=world.clock())
        world.work()
        assert not CommandLog.objects.exists()
        world.clock.move(seconds=60)
        world.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}


@pytest.mark.django_db
class TestWhatIsLeft:
    @pytest.fixture
    def woken(self) -> Iterator[list[str]]:
        """Every task that somebody was asked to do."""
        asked: list[str] = []

        def ask(sender: str, **_: object) -> None:
            asked.append(sender)

        signals.before_task_publish.connect(ask)
        yield asked
        signals.before_task_publish.disconnect(ask)
        app.control.purge()

    def test_has_somebody_woken_at_once(self, woken: list[str]) -> None:
        wake_soon(task=app.tasks["scheduling.tasks.carry_out"])
        assert woken == ["scheduling.tasks.carry_out"]

    def test_waits_for_the_timetable_where_the_broker_cannot_be_reached(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Unreachable(Task):
            def apply_async(self, *_: object, **__: object) -> None:
                raise OperationalError("connection refused")

        wake_soon(task=Unreachable())
        assert "nobody was woken" in caplog.text

    def test_is_left_when_time_is_up_and_not_when_nothing_is(
        self, woken: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app.tasks["scheduling.tasks.carry_out"]()
        assert woken == []
        monkeypatch.setattr(work, "LEASE", timedelta(0))
        app.tasks["scheduling.tasks.carry_out"]()
        assert woken == ["scheduling.tasks.carry_out"]
