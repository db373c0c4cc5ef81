"""From a booking to the fleet's own log: whatever the hubs are, run and answer, and on whichever night."""

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise, product
from pathlib import Path

import pytest
from django.db import connection

from firmware.models import ReleaseState
from hubs.gateway import Phase, Report
from hubs.identifiers import format_eui64
from hubs.modelled_fleet.models import CommandLog, FleetHub, NetworkProfile
from hubs.models import CommunicationsHub, FirmwareVersion
from portal.ground.uk_time import LONDON
from scheduling.lifecycle import FINAL, Ending, State
from scheduling.models import CapacityPattern, Command, Deployment, Lot, StrayReport, Weekday
from scheduling.operations import deployments, slots
from scheduling.operations.bookings import UnableToBook
from tests import factories
from tests.scheduling import world as worlds
from tests.scheduling.test_deployments import Recorder
from tests.scheduling.world import NEW, OLD, World

GAP, NEWER = 0x00AA0000, 0x01000003
VERSIONS = (GAP, OLD, NEW, NEWER)


def rewrite(world: World, **facts: object) -> None:
    """Let the release have said something else from the beginning, past the trigger that freezes it."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # no table is altered before what it waits for
        cursor.execute("ALTER TABLE firmware_firmwarerelease DISABLE TRIGGER release_changed")
        type(world.release).objects.filter(pk=world.release.pk).update(**facts)
        cursor.execute("ALTER TABLE firmware_firmwarerelease ENABLE TRIGGER release_changed")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    world.release.refresh_from_db()


def commanded(phase: Phase | None = None) -> set[int]:
    """Return the hubs that the fleet says it was told anything, or to do this."""
    log = CommandLog.objects.all() if phase is None else CommandLog.objects.filter(phase=phase)
    return set(log.values_list("hub", flat=True))


def ids(hubs: Sequence[CommunicationsHub]) -> str:
    """Return a file of hubs."""
    return "\n".join(format_eui64(hub.chf_id) for hub in hubs)


class TestEveryModelHardwareAndNetwork:
    """A release for one of three models, hardware 2 to 4, open on one of two networks."""

    HARDWARE = (1, 2, 3, 4, 5)

    @pytest.fixture
    def worlds_of(self, world: World) -> list[World]:
        """Return the world as each model and network sees it; the release's own comes first."""
        south = factories.NetworkProfileFactory.create(network__code="south").network
        models = [world.model, *factories.HubModelFactory.create_batch(2)]
        rewrite(world, minimum_hardware=2, maximum_hardware=4)
        found = [
            dataclasses.replace(world, network=network, model=model)
            for network, model in product((world.network, south), models)
        ]
        for one in (found[0], found[3]):
            one.slot(start=timedelta(hours=5), room=100)
        return found

    def test_books_the_right_ones_and_no_other(self, worlds_of: list[World]) -> None:
        made = {
            (number, hardware): one.hubs(1, hardware_version=hardware)[0]
            for (number, one), hardware in product(enumerate(worlds_of), self.HARDWARE)
        }
        worlds_of[0].book(worlds_of[0].choose_ids(ids(list(made.values()))))
        assert set(Deployment.objects.values_list("hub", flat=True)) == {
            made[0, hardware].pk for hardware in (2, 3, 4)
        }

    @pytest.mark.parametrize("hours", [0, 1], ids=["before staging", "after staging"])
    def test_commands_the_right_ones_and_no_other(self, worlds_of: list[World], hours: int) -> None:
        world = worlds_of[0]
        facts = list(product(worlds_of, self.HARDWARE))
        hubs = world.hubs(len(facts), hardware_version=2)
        world.book(world.choose_ids(ids(hubs)))
        world.clock.move(hours=hours)
        world.work()
        told = CommandLog.objects.count()
        for hub, (one, hardware) in zip(hubs, facts, strict=True):
            CommunicationsHub.objects.filter(pk=hub.pk).update(
                model=one.model, network=one.network, hardware_version=hardware
            )
        world.clock.move(hours=5 - hours)
        world.work()

        right = {
            hub.pk
            for hub, (one, hardware) in zip(hubs, facts, strict=True)
            if one is world and 2 <= hardware <= 4
        }
        assert set(CommandLog.objects.order_by("id")[told:].values_list("hub", flat=True)) == right
        assert set(Deployment.objects.filter(state=State.SUCCEEDED).values_list("hub", flat=True)) == right
        assert Counter(Deployment.objects.values_list("ending", flat=True)) == {
            Ending.NONE: len(right),
            Ending.NO_LONGER_ELIGIBLE: len(hubs) - len(right),
        }


class TestEveryVersion:
    """What the inventory says of a hub, times what the hub runs."""

    @pytest.mark.parametrize("any_older", [False, True], ids=["one predecessor", "any older version"])
    def test_goes_forward_from_a_predecessor_or_not_at_all(self, world: World, any_older: bool) -> None:
        rewrite(world, has_no_predecessor=any_older)
        pairs = list(product(VERSIONS, VERSIONS))
        hubs = world.hubs(len(pairs))
        numbers = {number: factories.FirmwareVersionFactory.create(number=number).pk for number in VERSIONS}
        for hub, (inventory, running) in zip(hubs, pairs, strict=True):
            CommunicationsHub.objects.filter(pk=hub.pk).update(installed_version=numbers[inventory])
            FleetHub.objects.filter(pk=hub.pk).update(running_version=running)
        world.slot(start=timedelta(hours=5), room=100)
        goes = {OLD, GAP} if any_older else {OLD}

        world.book(world.choose_ids(ids(hubs)))
        booked = set(Deployment.objects.values_list("hub", flat=True))
        world.clock.move(hours=5)
        world.work()

        assert booked == {
            hub.pk for hub, (inventory, _) in zip(hubs, pairs, strict=True) if inventory in goes
        }
        right = {
            hub.pk
            for hub, (inventory, running) in zip(hubs, pairs, strict=True)
            if inventory in goes and running in goes
        }
        assert commanded(Phase.READ) == booked
        assert commanded(Phase.STAGE) == commanded(Phase.ACTIVATE) == right
        for hub, (inventory, running) in zip(hubs, pairs, strict=True):
            assert FleetHub.objects.get(pk=hub.pk).running_version == (NEW if hub.pk in right else running)
            known = FirmwareVersion.objects.get(
                pk=CommunicationsHub.objects.get(pk=hub.pk).installed_version_id
            )
            if hub.pk in booked:  # what was read stands in the inventory
                assert known.number == (NEW if hub.pk in right else running)
            else:
                assert known.number == inventory


class TestClockChangeNights:
    @pytest.mark.parametrize(
        ("evening", "hours"),
        [(datetime(2026, 10, 24, 21, tzinfo=UTC), 5), (datetime(2027, 3, 27, 21, tzinfo=UTC), 3)],
        ids=["autumn", "spring"],
    )
    def test_have_a_slot_for_each_hour_that_passes_and_activate_in_it(
        self, db: None, evening: datetime, hours: int
    ) -> None:
        world = worlds.make(now=evening)
        CapacityPattern.objects.bulk_create(
            CapacityPattern(network=world.network, weekday=weekday, starts="00:00", ends="04:00", capacity=2)
            for weekday in Weekday
        )
        slots.open_slots(now=world.clock())
        world.hubs(2 * hours)
        NetworkProfile.objects.update(
            reachability=0.7
        )  # some need several tries, none of them beside the slot
        world.release.policy.retry_interval, world.release.policy.grace = "3 minutes", "1 hours"
        world.release.policy.save()
        world.book()
        for _ in range(9 * 12):
            world.clock.move(minutes=5)
            world.work()

        night = [lot.slot for lot in Lot.objects.select_related("slot").order_by("slot__start_at")]
        assert len(night) == hours
        for earlier, later in pairwise(night):
            assert earlier.end_at == later.start_at
        assert night[0].start_at.astimezone(LONDON).time() == time(0)
        assert night[-1].end_at.astimezone(LONDON).time() == time(4)
        of_lot = {lot.pk: lot.slot for lot in Lot.objects.select_related("slot")}
        activated = CommandLog.objects.filter(phase=Phase.ACTIVATE).values_list(
            "lot", "received_at", "acted_at"
        )
        assert len({lot for lot, _, _ in activated}) == hours
        for lot, received_at, acted_at in activated:
            assert of_lot[lot].holds(received_at)
            assert of_lot[lot].holds(acted_at)
        assert Deployment.objects.filter(state=State.SUCCEEDED).count() >= 2 * hours - 1


class TestTheApprovedBytes:
    @pytest.fixture
    def booked(self, world: World) -> World:
        """Return the world with three hubs that are due to be staged."""
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=10)
        world.book()
        world.clock.move(hours=1)
        return world

    @pytest.mark.parametrize("damage", ["flipped", "swapped", "truncated", "missing"])
    @pytest.mark.parametrize("is_read", [False, True], ids=["before the read", "before the transfer"])
    def test_are_hashed_again_before_anything_is_staged(
        self, booked: World, media_root: Path, damage: str, is_read: bool
    ) -> None:
        if is_read:
            deployments.carry_out(gateway=Recorder(), clock=booked.clock, lots=1)
            deployments.collect(gateway=Recorder(), clock=booked.clock)
        told = CommandLog.objects.count()
        stored = media_root / str(booked.release.image.name)
        content = stored.read_bytes()
        stored.chmod(0o600)
        if damage == "missing":
            stored.unlink()
        else:
            stored.write_bytes(
                {
                    "flipped": content[:-1] + bytes([content[-1] ^ 1]),
                    "swapped": content[::-1],
                    "truncated": content[:-1],
                }[damage]
            )
        booked.work()
        booked.clock.move(hours=4)
        booked.work()

        assert CommandLog.objects.count() == told
        booked.release.refresh_from_db()
        assert booked.release.state == ReleaseState.HALTED
        assert booked.release.digest in booked.release.halts.get().reason
        assert not FleetHub.objects.exclude(running_version=OLD).exists()

    def test_are_named_in_every_command_that_is_about_them(self, booked: World) -> None:
        booked.work()
        booked.clock.move(hours=4)
        booked.work()
        assert set(CommandLog.objects.values_list("phase", "digest", "version")) == {
            (Phase.READ, "", 0),
            (Phase.STAGE, booked.release.digest, NEW),
            (Phase.ACTIVATE, booked.release.digest, NEW),
            (Phase.VERIFY, "", 0),
        }


class Archive(Recorder):
    """A gateway that keeps every report that it handed over."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[Report] = []

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report]:
        found = super().collect(limit=limit, now=now)
        self.reports += found
        return found


class TestReports:
    @pytest.fixture
    def booked(self, world: World) -> World:
        """Return the world with twenty hubs, and answers that come doubled, late and out of order."""
        world.hubs(20)
        world.slot(start=timedelta(hours=5), room=20)
        world.book()
        NetworkProfile.objects.update(
            report_doubled=1.0, report_delayed=0.5, report_delay=900.0, delay_spread=0.9, reachability=0.8
        )
        policy = world.release.policy
        policy.silence_deadline, policy.retry_interval, policy.grace = "15 minutes", "3 minutes", "1 hours"
        policy.save()
        return world

    def finish(self, world: World, gateway: Recorder) -> None:
        for _ in range(120):
            world.clock.move(minutes=5)
            world.work(gateway=gateway)

    def rows(self) -> list[tuple[object, ...]]:
        return [
            *Deployment.objects.order_by("id").values_list(),
            *Command.objects.order_by("deployment_id", "attempt").values_list(),
            *Lot.objects.order_by("id").values_list("id", *State.values),
        ]

    def test_doubled_late_and_reordered_count_once(self, booked: World) -> None:
        archive = Archive()
        self.finish(booked, archive)

        assert len(archive.reports) > Command.objects.count()
        assert not Deployment.objects.exclude(state__in=FINAL).exists()
        assert not StrayReport.objects.exists()
        assert not FleetHub.objects.filter(activations__gt=1).exists()
        done = Deployment.objects.filter(state=State.SUCCEEDED).values("hub")
        assert not FleetHub.objects.filter(pk__in=done).exclude(running_version=NEW).exists()
        # the first answer to each command is the one that stands
        said: dict[tuple[int, int, int], int] = {}
        for report in archive.reports:
            said.setdefault((report.deployment, report.phase, report.attempt), report.outcome)
        for command in Command.objects.exclude(answered_at=None).exclude(outcome=9):
            assert command.outcome == said[command.deployment_id, command.phase, command.attempt]

    def test_replayed_in_any_order_change_nothing(self, booked: World) -> None:
        archive = Archive()
        self.finish(booked, archive)
        before = self.rows()

        for seed in range(3):
            again = list(archive.reports)
            random.Random(seed).shuffle(again)
            deployments.record_reports(reports=again, now=booked.clock.move(minutes=1))

        assert self.rows() == before
        assert not StrayReport.objects.exists()

    def test_that_never_come_end_as_unconfirmed_and_lead_to_no_second_activation(self, booked: World) -> None:
        NetworkProfile.objects.update(report_doubled=0.0, report_delayed=0.0, reachability=1.0)
        booked.clock.move(hours=1)
        booked.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}
        NetworkProfile.objects.update(report_dropped=1.0)
        self.finish(booked, Recorder())

        assert set(Deployment.objects.values_list("state", "ending")) == {(State.UNCONFIRMED, Ending.SILENT)}
        assert CommandLog.objects.filter(phase=Phase.ACTIVATE).count() == 20
        assert CommandLog.objects.filter(phase=Phase.VERIFY).count() == 60
        assert set(FleetHub.objects.values_list("activations", flat=True)) == {1}


class TestABookingThatCannotBe:
    def test_names_no_slot_on_a_network_without_a_period(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(days=61), room=10)  # the period is over by then
        with pytest.raises(UnableToBook):
            world.book()
        assert not Deployment.objects.exists()
