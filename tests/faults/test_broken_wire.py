"""A booking carried out over a wire that breaks in every way: each hub ends once, and as it should."""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db.models import Count
from pytest_django import Settings

from hubs.gateway import GatewayUnavailable, Phase
from hubs.http_carrier import HttpCarrier
from hubs.modelled_fleet.models import CommandLog, FleetHub
from scheduling.lifecycle import State
from scheduling.models import Deployment, OddReport, Quarantine, StrayReport
from scheduling.queries import reconciliation
from tests.hubs import carrier
from tests.hubs.carrier import PATIENT, SECRET, Fault, Line
from tests.scheduling import world as worlds
from tests.scheduling.world import NEW, World

HUBS = 60
"""More than one sending."""
FAULTS: tuple[Fault, ...] = (
    carrier.dropped_before,
    carrier.dropped_after,
    carrier.broken,
    carrier.failed,
    carrier.unsigned,
    carrier.altered,
    carrier.truncated,
    carrier.saying("200 OK", b"{}\n"),
    carrier.saying("403 Forbidden", b""),
)


@pytest.fixture
def world(db: None, now: datetime) -> World:
    """Hubs in a slot five hours from now, whose reading is due."""
    world = worlds.make(now=now)
    world.hubs(HUBS)
    world.slot(start=timedelta(hours=5), room=HUBS)
    world.book()
    world.clock.move(hours=1)
    return world


@pytest.fixture
def line(world: World, settings: Settings) -> Iterator[Line]:
    settings.CARRIER_SECRETS = [SECRET]
    with carrier.served(clock=world.clock) as (line, settings.CARRIER_URL):
        yield line


class TestABrokenWire:
    @pytest.mark.parametrize("seed", range(2))
    def test_neither_loses_nor_doubles_what_becomes_of_a_hub(
        self, world: World, line: Line, seed: int
    ) -> None:
        drawn = random.Random(seed)
        gateway = HttpCarrier(patience=replace(PATIENT, tries=2))
        met = 0
        while Deployment.objects.filter(ended_at=None).exists():
            line.faults.clear()
            line.faults.extend(drawn.choices(FAULTS, k=6))
            with suppress(GatewayUnavailable):
                world.work(gateway=gateway)
            met += 6 - len(line.faults)
            line.faults.clear()
            with suppress(GatewayUnavailable):
                world.work(gateway=gateway, rounds=1)
            step = 2 if world.clock() > world.slots[0].start_at else 15
            assert world.clock.move(minutes=step) < world.slots[0].end_at, (
                f"seed {seed}: some hub never ended"
            )

        assert gateway.collect(limit=1, now=world.clock()) == []
        assert met > 30, "the wire was hardly broken"
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
        assert set(FleetHub.objects.values_list("running_version", "activations")) == {(NEW, 1)}
        applied = CommandLog.objects.filter(is_applied=True).values_list("hub", "phase").annotate(Count("id"))
        assert sorted(applied) == sorted(
            (hub, phase, 1)
            for hub in FleetHub.objects.values_list("chf_id", flat=True)
            for phase in (Phase.STAGE, Phase.ACTIVATE)
        )
        assert not StrayReport.objects.exists()
        assert set(OddReport.objects.values_list("text", flat=True)) <= {"{}"}, "what one fault says"
        assert not Quarantine.objects.exists(), "no hub is at fault"
        assert reconciliation.everything(gateway=gateway) == []
