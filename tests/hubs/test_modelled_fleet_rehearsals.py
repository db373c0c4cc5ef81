"""The fleet of a rehearsal: every hub may take the release, and the seed says which ones it breaks."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from hubs.gateway import Activated, Foreseeable, Outcome, Phase, connect
from hubs.modelled_fleet.gateway import BATCH, SEND_LIMIT, RehearsedFleet
from hubs.modelled_fleet.models import CommandLog, Defect, FleetHub, FleetReport, NetworkProfile
from hubs.modelled_fleet.rehearsals import Fault, Kind, make
from hubs.models import CommunicationsHub, FleetCount, HubStatus
from tests.factories import (
    FirmwareVersionFactory,
    HubModelFactory,
    NetworkFactory,
    NetworkProfileFactory,
    SupplierFactory,
)
from tests.hubs.gateway_contract import LATER, NEW, NOW, OLD, command

HUBS = 4_000
TOMORROW = NOW + timedelta(days=1)


@pytest.fixture
def kinds(db: None) -> list[Kind]:
    """Three hubs on one network for each on another."""
    model, version = HubModelFactory.create(), FirmwareVersionFactory.create(number=OLD)
    return [
        Kind(NetworkFactory.create().pk, model.pk, version.pk, OLD, hardware, weight)
        for hardware, weight in ((1, 3), (2, 1))
    ]


@pytest.fixture
def suppliers(db: None) -> list[tuple[int, int]]:
    """A large Supplier and a small one."""
    return [(SupplierFactory.create().pk, 9), (SupplierFactory.create().pk, 1)]


def load(kinds: list[Kind], suppliers: list[tuple[int, int]], *, seed: int = 5) -> None:
    fault = Fault(NEW, 0.25, "silent", network=kinds[0].network)
    make(hubs=HUBS, kinds=kinds, suppliers=suppliers, baseline=0.005, fault=fault, seed=seed, now=NOW)


class TestMake:
    def test_makes_hubs_of_each_kind_by_their_weights(
        self, kinds: list[Kind], suppliers: list[tuple[int, int]]
    ) -> None:
        load(kinds, suppliers)
        hubs = CommunicationsHub.objects.filter(
            status=HubStatus.COMMISSIONED, installed_version=kinds[0].version
        )
        assert hubs.count() == HUBS
        of_first = hubs.filter(network=kinds[0].network, hardware_version=1).count()
        assert HUBS * 0.72 < of_first < HUBS * 0.78
        assert of_first + hubs.filter(network=kinds[1].network, hardware_version=2).count() == HUBS
        assert HUBS * 0.87 < hubs.filter(lead_id=suppliers[0][0]).count() < HUBS * 0.93
        assert not hubs.filter(other_id__isnull=False).exists()
        assert FleetHub.objects.filter(running_version=OLD).count() == HUBS
        assert sum(FleetCount.objects.values_list("hubs", flat=True)) == HUBS

    def test_says_how_its_networks_behave_and_what_is_wrong(
        self, kinds: list[Kind], suppliers: list[tuple[int, int]]
    ) -> None:
        load(kinds, suppliers)
        for profile in NetworkProfile.objects.all():
            assert profile.activation_failed + profile.silent_activation == pytest.approx(0.005)
            assert (profile.never_reached, profile.seed) == (0.0, 5)
        defect = Defect.objects.get()
        assert (defect.share, defect.kind, defect.network_id) == (0.25, "silent", kinds[0].network)

    def test_makes_the_same_hubs_for_the_same_seed(
        self, kinds: list[Kind], suppliers: list[tuple[int, int]]
    ) -> None:
        def shown() -> list[tuple[int, int, int | None]]:
            return list(CommunicationsHub.objects.order_by("pk").values_list("pk", "network", "lead_id"))

        made = []
        for seed in (5, 5, 6):
            CommunicationsHub.objects.all().delete()
            FleetHub.objects.all().delete()
            Defect.objects.all().delete()
            load(kinds, suppliers, seed=seed)
            made.append(shown())
        assert made[0] == made[1] != made[2]

    def test_leaves_other_hubs_alone(self, kinds: list[Kind], suppliers: list[tuple[int, int]]) -> None:
        load(kinds, suppliers)
        plan = {"hubs": 1, "kinds": [], "suppliers": [], "baseline": 0, "fault": None, "seed": 1}
        with pytest.raises(CommandError, match="needs a database of its own"):
            call_command("load_rehearsal", plan=json.dumps(plan))


class TestWhatItForesees:
    @pytest.fixture
    def fleet(self, db: None) -> Foreseeable:
        NetworkProfileFactory.create(read_delay=25.0)
        gateway = connect()
        assert isinstance(gateway, Foreseeable)
        return gateway

    def test_says_when_something_happens_next(self, fleet: Foreseeable, hub: int) -> None:
        assert fleet.next_at() is None
        assert fleet.last_position() == 0
        fleet.send(commands=[command(phase=Phase.READ, hub=hub)], now=NOW)
        acts_at = fleet.next_at()
        assert acts_at is not None
        assert acts_at > NOW
        [received] = fleet.received(after=0, limit=10)
        assert fleet.last_position() == received.position
        fleet.collect(limit=10, now=acts_at)
        arrives_at = fleet.next_at()
        assert arrives_at is not None
        assert arrives_at >= acts_at

    def test_lets_hubs_act_before_anybody_collects(self, fleet: Foreseeable, hub: int) -> None:
        fleet.send(commands=[command(phase=Phase.READ, hub=hub)], now=NOW)
        assert fleet.act(now=NOW) == 0
        acts_at = fleet.next_at()
        assert acts_at is not None
        assert fleet.act(now=acts_at) == 1
        assert fleet.act(now=acts_at) == 0
        [report] = fleet.collect(limit=10, now=acts_at + timedelta(hours=1))
        assert report.observed_at == acts_at

    def test_tells_phases_apart(self, fleet: Foreseeable, hub: int) -> None:
        fleet.send(commands=[command(phase=Phase.READ, hub=hub)], now=NOW)
        acts_at = fleet.next_at(phases=[Phase.READ, Phase.STAGE])
        assert acts_at == fleet.next_at()
        assert fleet.next_at(phases=[Phase.ACTIVATE, Phase.VERIFY]) is None
        assert acts_at is not None
        fleet.collect(limit=10, now=acts_at)
        assert fleet.next_at(phases=[Phase.READ]) == fleet.next_at()
        assert fleet.next_at(phases=[Phase.ACTIVATE]) is None

    def test_counts_who_was_told_to_activate_and_went_wrong(self, fleet: Foreseeable, hub: int) -> None:
        assert fleet.activated() == Activated(0, 0)
        activate = command(phase=Phase.ACTIVATE, hub=hub)
        fleet.send(commands=[activate], now=NOW)
        assert fleet.activated() == Activated(1, 0)
        fleet.collect(limit=10, now=activate.valid_until)
        [report] = fleet.collect(limit=10, now=activate.valid_until)
        assert report.outcome is Outcome.NO_IMAGE_HELD
        assert fleet.activated() == Activated(1, 1)

    @pytest.fixture
    def hub(self, fleet: Foreseeable) -> int:
        network, model = NetworkProfile.objects.get().network, HubModelFactory.create()
        return FleetHub.objects.create(
            chf_id=77, network=network, model=model, hardware_version=1, running_version=OLD
        ).pk


class TestRehearsedFleet:
    @pytest.fixture
    def fleet(self, db: None) -> RehearsedFleet:
        network = NetworkProfileFactory.create(read_delay=25.0, seed=5).network
        model = HubModelFactory.create()
        FleetHub.objects.bulk_create(
            FleetHub(chf_id=2 * n, network=network, model=model, hardware_version=1, running_version=OLD)
            for n in range(BATCH + 200)
        )
        return RehearsedFleet()

    def send(self, fleet: RehearsedFleet, *, attempt: int = 1, now: datetime = NOW) -> int:
        """Have each hub read; return how many there are."""
        hubs = list(FleetHub.objects.order_by("pk").values_list("pk", flat=True))
        for start in range(0, len(hubs), SEND_LIMIT):
            fleet.send(
                commands=[
                    command(Phase.READ, hub=hub, deployment=1 + hub, attempt=attempt)._replace(
                        valid_until=TOMORROW
                    )
                    for hub in hubs[start : start + SEND_LIMIT]
                ],
                now=now,
            )
        return len(hubs)

    def test_lets_all_act_however_many_and_again_later(self, fleet: RehearsedFleet) -> None:
        hubs = self.send(fleet)
        assert fleet.act(now=NOW) == 0
        assert fleet.act(now=LATER) == hubs
        assert fleet.next_at(phases=[Phase.READ]) is not None
        self.send(fleet, attempt=2, now=LATER)
        assert fleet.act(now=LATER) == 0
        assert fleet.act(now=LATER + timedelta(hours=1)) == hubs

    def test_looks_no_further_back_than_where_all_had_acted(self, fleet: RehearsedFleet) -> None:
        hubs = self.send(fleet)
        assert fleet.act(now=LATER) == hubs
        self.send(fleet, attempt=2, now=LATER)
        CommandLog.objects.filter(attempt=2, hub=0).update(acts_at=NOW)
        assert fleet.act(now=LATER + timedelta(hours=1)) == hubs - 1

    def test_looks_back_as_long_as_not_all_have_acted(self, fleet: RehearsedFleet) -> None:
        hubs = self.send(fleet)
        assert len(fleet.collect(limit=1, now=LATER)) == 1
        assert CommandLog.objects.filter(acted_at=None).count() == hubs - BATCH
        assert fleet.act(now=LATER) == hubs - BATCH

    def test_looks_no_further_back_than_the_batch_before(self, fleet: RehearsedFleet) -> None:
        hubs = self.send(fleet)
        fleet.collect(limit=1, now=LATER)
        left = CommandLog.objects.filter(acted_at=None).order_by("-acts_at")[0]
        CommandLog.objects.filter(pk=left.pk).update(acts_at=NOW)
        assert fleet.act(now=LATER) == hubs - BATCH - 1

    def test_comes_back_to_what_a_hub_was_not_ready_for(self, fleet: RehearsedFleet) -> None:
        hubs = self.send(fleet)
        self.send(fleet, attempt=2)
        CommandLog.objects.filter(hub=0).update(acts_at=NOW)
        fleet.collect(limit=1, now=LATER)
        assert CommandLog.objects.filter(hub=0, acted_at=None).count() == 1
        fleet.act(now=LATER)
        assert CommandLog.objects.exclude(acted_at=None).count() == 2 * hubs

    @pytest.mark.django_db(transaction=True)
    def test_lets_several_share_what_there_is(self, fleet: RehearsedFleet) -> None:
        hubs = self.send(fleet)
        with ThreadPoolExecutor(max_workers=3) as threads:
            acted = sum(threads.map(lambda _: _and_close(fleet.act), range(3)))
        assert acted == hubs
        self.send(fleet, attempt=2, now=LATER)
        assert fleet.act(now=LATER + timedelta(hours=1)) == hubs
        assert FleetReport.objects.values("hub", "attempt").distinct().count() > hubs


def _and_close(act: Callable[..., int]) -> int:
    try:
        return act(now=LATER)
    finally:
        connection.close()
