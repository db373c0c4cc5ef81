"""Real workers that die on certain hubs, and images that cannot be read: what they stall, and whom not."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import Count, Max, Min

from firmware.models import FirmwareRelease, ReleaseState
from hubs.gateway import Phase
from hubs.identifiers import format_eui64
from hubs.modelled_fleet.models import CommandLog, NetworkProfile
from hubs.models import CommunicationsHub
from portal.ground import clock
from scheduling.lifecycle import Ending, State
from scheduling.models import Deployment, Lot, Quarantine, Reclaim
from scheduling.operations import deployments, quarantine
from scheduling.operations.deployments.claims import LEASE
from tests import factories
from tests.conftest import StartCelery, eventually, kill
from tests.faults import judge
from tests.scheduling import world as worlds
from tests.scheduling.world import World

LEASE_SECONDS = "8"
DEATHS = 6
"""Holders that die until a hub is found: two with the whole lot, then one with each half of the last reach."""
DIED_BEFORE = 1
"""So many of them hours ago."""
HUBS = 14
"""In each lot; all lots together fit into the first stage of the release."""
PATIENCE = 400


@pytest.fixture
def world(transactional_db: None) -> World:
    """A network that answers within seconds and without trouble, and slots that begin about now, one after another."""
    world = worlds.make(now=clock.now() - timedelta(hours=6))
    NetworkProfile.objects.update(read_delay=0.2, stage_delay=0.5, activate_delay=0.5, verify_delay=0.2)
    for number in range(3):
        world.slot(start=timedelta(hours=6, seconds=10 + number), room=HUBS, length=timedelta(minutes=40))
    return world


def states() -> dict[str, int]:
    return dict(Deployment.objects.values_list("state").annotate(Count("id")))


def die_with(lots: Sequence[Lot]) -> None:
    """Be the first holders of these lots, hours ago; each leaves its lease to run out."""
    ours, moment = {lot.pk for lot in lots}, clock.now() - timedelta(hours=6)
    dues = dict(Lot.objects.filter(pk__in=ours).values_list("pk", "due_at"))
    Lot.objects.filter(pk__in=ours).update(due_at=moment)
    for _ in range(DIED_BEFORE):
        claims = [deployments.claim(now=moment) for _ in lots]
        assert {claimed.lot.pk for claimed in claims if claimed} == ours
        moment += LEASE
    for pk, due_at in dues.items():
        Lot.objects.filter(pk=pk).update(due_at=due_at)


def book_three_lots(world: World) -> list[list[CommunicationsHub]]:
    """Book a lot in each slot; return the hubs of each."""
    lots = [world.hubs(HUBS) for _ in world.slots]
    for hubs, slot in zip(lots, world.slots, strict=True):
        selection = world.choose_ids("\n".join(format_eui64(hub.chf_id) for hub in hubs))
        world.book(selection, start_at=slot.start_at)
    return lots


class TestHubsOnWhichWorkersDie:
    def test_are_set_aside_alone_and_wait_for_dcc(self, world: World, start_celery: StartCelery) -> None:
        first, second, third = book_three_lots(world)
        deadly = {first[5].chf_id, second[HUBS - 1].chf_id}
        die_with(Lot.objects.exclude(slot=world.slots[2]))
        start_celery("beat")
        worker = start_celery(
            "worker",
            "--concurrency",
            "2",
            LEASE_SECONDS=LEASE_SECONDS,
            HUB_GATEWAY="tests.faults.deadly_fleet.DeadlyFleet",
            DEADLY_HUBS=",".join(map(str, deadly)),
        )
        assert eventually(
            lambda: Quarantine.objects.filter(since__isnull=False).count() == 2, within=PATIENCE
        ), list(Lot.objects.values("deaths", "reach", "reach_from"))
        assert eventually(lambda: states().get(State.SUCCEEDED) == 3 * HUBS - 2, within=PATIENCE), states()

        aside = set(Quarantine.objects.values_list("deployment_id", flat=True))
        left = Deployment.objects.filter(pk__in=aside)
        assert set(left.values_list("hub", flat=True)) == deadly
        assert set(left.values_list("state", flat=True)) == {State.STAGING}
        assert Reclaim.objects.count() >= 2 * DEATHS
        assert Reclaim.objects.filter(token__gt=DIED_BEFORE).count() >= 2 * (DEATHS - DIED_BEFORE)
        assert not CommandLog.objects.filter(hub__in=deadly).exists()
        # the lot without such a hub was through before the first of them was found
        others = Deployment.objects.filter(hub__in=[hub.chf_id for hub in third])
        assert (
            others.aggregate(last=Max("ended_at"))["last"]
            < (Quarantine.objects.aggregate(first=Min("since"))["first"])
        )

        # the adapter is mended; DCC takes one back, and ends the other
        kill(worker)
        start_celery("worker", "--concurrency", "2", LEASE_SECONDS=LEASE_SECONDS)
        back, gone = (Deployment.objects.get(hub=hub) for hub in (first[5].chf_id, second[HUBS - 1].chf_id))
        quarantine.take_back(deployments=[back.pk], by=world.staff, reason="Mended", now=clock.now())
        ended = quarantine.end(deployments=[gone.pk], by=world.staff, reason="Broken", now=clock.now())
        assert (ended.missed, ended.unconfirmed) == (1, 0)
        assert eventually(lambda: not Deployment.objects.filter(ended_at=None).exists(), within=PATIENCE), (
            states()
        )

        back.refresh_from_db()
        gone.refresh_from_db()
        assert back.state == State.SUCCEEDED
        assert (gone.state, gone.ending) == (State.MISSED, Ending.SET_ASIDE)
        assert states() == {State.SUCCEEDED: 3 * HUBS - 1, State.MISSED: 1}
        assert eventually(lambda: not judge.breaches(), within=PATIENCE), judge.breaches()
        assert not Quarantine.objects.filter(since__isnull=False).exists()


class TestAnImageThatCannotBeRead:
    def test_halts_its_own_release_and_stalls_no_other(self, world: World, start_celery: StartCelery) -> None:
        model = factories.HubModelFactory.create()
        factories.FirmwareVersionFactory.create(number=worlds.NEW + 1)
        other = replace(
            world,
            model=model,
            release=worlds.publish(
                model=model,
                network=world.network,
                staff=world.staff,
                approver=world.approver,
                now=world.clock(),
                version=worlds.NEW + 1,
            ),
        )
        poisoned = [hub.chf_id for hub in world.hubs(HUBS)]
        sound = [hub.chf_id for hub in other.hubs(HUBS)]
        world.book(start_at=world.slots[0].start_at)
        other.book(other.choose(), start_at=world.slots[1].start_at)
        image = Path(world.release.image.path)
        image.unlink()
        image.mkdir()  # there, and not to be read
        start_celery("beat")
        start_celery("worker", "--concurrency", "2")

        assert eventually(
            lambda: not Deployment.objects.filter(hub__in=sound, ended_at=None).exists(), within=PATIENCE
        ), states()
        assert set(Deployment.objects.filter(hub__in=sound).values_list("state", flat=True)) == {
            State.SUCCEEDED
        }
        halted = FirmwareRelease.objects.get(pk=world.release.pk)
        assert halted.state == ReleaseState.HALTED
        assert FirmwareRelease.objects.get(pk=other.release.pk).state == ReleaseState.PUBLISHED
        assert not CommandLog.objects.filter(hub__in=poisoned, phase__gte=Phase.STAGE).exists()
        assert judge.balances_its_ledger(judge.Evidence()) == []
