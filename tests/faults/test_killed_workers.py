"""kill -9 of the whole worker in the middle of a lot, and what is left afterwards."""

from datetime import timedelta

import pytest
from django.db.models import Count

from hubs.gateway import Phase
from hubs.modelled_fleet.models import CommandLog, FleetHub, NetworkProfile
from portal.ground import clock
from scheduling.lifecycle import FINAL, State
from scheduling.models import Command, Deployment, InFlight, Lot, Stage
from scheduling.operations import stages
from tests.conftest import StartCelery, eventually, kill
from tests.faults import judge
from tests.scheduling import world as worlds
from tests.scheduling.world import World

HUBS = 3_000
LEASE_SECONDS = "8"
PROCESSES = 2


@pytest.fixture
def world(transactional_db: None) -> World:
    """Hubs on a network that answers within seconds, with some trouble, booked into a slot about to begin."""
    world = worlds.make(now=clock.now() - timedelta(hours=6))
    NetworkProfile.objects.update(
        reachability=0.98,
        read_delay=0.2,
        stage_delay=0.5,
        activate_delay=0.5,
        verify_delay=0.2,
        activation_failed=0.01,
        silent_activation=0.01,
        report_doubled=0.05,
        report_delayed=0.05,
        report_delay=1.0,
    )
    policy = world.release.policy
    # as always a lease runs out long before a silence
    policy.silence_deadline, policy.retry_interval, policy.grace = "20 seconds", "2 seconds", "15 seconds"
    policy.save()
    # all at once: what is looked at here are whole lots
    stages.open_first(release=world.release.pk, now=clock.now())
    Stage.objects.update(size=None)
    InFlight.objects.update(floor=HUBS, ceiling=HUBS)
    world.hubs(HUBS)
    world.slot(start=timedelta(hours=6, seconds=15), room=HUBS, length=timedelta(minutes=5))
    world.book()
    return world


def in_mid_lot(phase: Phase) -> bool:
    """Say whether the fleet has some of the commands of a phase and not yet others that are stamped."""
    stamped = Command.objects.filter(phase=phase, sent_at__isnull=False).count()
    return 0 < CommandLog.objects.filter(phase=phase).count() < stamped


class TestKillingTheWorker:
    def test_twice_in_mid_lot_loses_nothing_and_activates_nothing_twice(
        self, world: World, start_celery: StartCelery
    ) -> None:
        start_celery("beat")
        for phase in (Phase.STAGE, Phase.ACTIVATE):
            worker = start_celery("worker", "--concurrency", str(PROCESSES), LEASE_SECONDS=LEASE_SECONDS)
            # it lasts for some hundredths of a second
            assert eventually(lambda phase=phase: in_mid_lot(phase), within=60, every=0)  # type: ignore[misc]
            kill(worker)
        assert Lot.objects.filter(lease_until__isnull=False).exists()  # the dead still hold their leases
        start_celery("worker", "--concurrency", str(PROCESSES), LEASE_SECONDS=LEASE_SECONDS)
        assert eventually(lambda: not Deployment.objects.filter(ended_at=None).exists(), within=330), dict(
            Deployment.objects.values_list("state").annotate(Count("id"))
        )

        assert set(Deployment.objects.values_list("state", flat=True)) <= set(FINAL)
        assert eventually(lambda: not judge.breaches(), within=60), (
            judge.breaches()
        )  # bookings are done later
        lots = Lot.objects.all()
        assert sum(lot.succeeded for lot in lots) > HUBS * 0.9
        # every hub had its turn: what a dead worker had stamped and not sent was sent by the next, under the same key
        activated = CommandLog.objects.filter(phase=Phase.ACTIVATE).values("hub")
        assert not Deployment.objects.exclude(hub__in=activated).exists()
        # success is what the fleet itself runs
        succeeded = Deployment.objects.filter(state=State.SUCCEEDED).values("hub")
        assert not FleetHub.objects.filter(pk__in=succeeded).exclude(running_version=worlds.NEW).exists()
