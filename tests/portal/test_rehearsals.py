"""A rollout is rehearsed through the real code, and says what it came to."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from firmware import policies
from firmware.models import AvailabilityPeriod, FirmwareRelease, Halt, RolloutPolicy
from hubs.modelled_fleet.models import CommandLog, FleetHub
from hubs.models import FleetCount
from portal import databases
from portal.rehearsals import Defect, Plan, UnableToRehearse, defect_from, nobodys, of_release, rehearse
from scheduling.models import CapacityPattern, Deployment
from tests.factories import HubModelFactory, NetworkFactory
from tests.scheduling.world import World
from tests.scheduling.world import make as make_world

Steps = list[str]


@pytest.fixture
def plan() -> Callable[..., Plan]:
    """Return what makes a small plan."""

    def make(defect: Defect | None = None, *, hubs: int = 150, seed: int = 3) -> Plan:
        return nobodys(hubs=hubs, defect=defect, seed=seed)

    return make


def run(plan: Plan) -> tuple[dict[str, Any], Steps]:
    """Rehearse here, in the database of the test."""
    steps: Steps = []
    return rehearse(plan=plan, tell=lambda step, share=None: steps.append(step)), steps


class TestDefectFrom:
    def test_reads_the_words_of_the_command(self) -> None:
        assert defect_from(share=None, kind="silent", where="all") is None
        assert defect_from(share="2%", kind="silent", where="all") == Defect(0.02, "silent")
        assert defect_from(share="0.5 %", kind="visible", where="network:south") == Defect(
            0.005, "visible", network="south"
        )
        assert defect_from(share="100%", kind="late", where="model:R1 Hub") == Defect(
            1.0, "late", model="R1 Hub"
        )

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ({"share": "2"}, "give a percentage"),
            ({"share": "lots%"}, "give a percentage"),
            ({"share": "0%"}, "more than 0%"),
            ({"share": "101%"}, "at most 100%"),
            ({"kind": "odd"}, "visible, silent, late"),
            ({"where": "south"}, "network:NAME or model:NAME"),
            ({"where": "network:"}, "network:NAME or model:NAME"),
        ],
    )
    def test_says_what_it_cannot_read(self, words: dict[str, str], sentence: str) -> None:
        with pytest.raises(UnableToRehearse, match=sentence):
            defect_from(**{"share": "2%", "kind": "silent", "where": "all"} | words)


class TestPlan:
    def test_is_the_same_when_it_was_written_down(self) -> None:
        plan = nobodys(hubs=70_000, defect=Defect(0.02, "silent", network="south"), seed=4)
        assert Plan.from_json(plan.as_json()) == plan


class TestNobodys:
    def test_opens_every_night_with_room_to_spare(self) -> None:
        nights = nobodys(hubs=1_000_000, defect=None, seed=1).nights
        assert len(nights) == 3 * 39  # three networks, and three days in which images are staged
        assert len({night.hubs for night in nights}) == 1
        assert sum(night.hubs for night in nights) * 0.7 > 1.9 * 1_000_000

    def test_refuses_a_place_that_the_release_is_not_for(self) -> None:
        with pytest.raises(UnableToRehearse, match=r"no network “4g”\. It is for: north, central, south"):
            nobodys(hubs=10, defect=Defect(0.1, "silent", network="4g"), seed=1)
        with pytest.raises(UnableToRehearse, match=r"no model “X”\. It is for: Rehearsal Hub"):
            nobodys(hubs=10, defect=Defect(0.1, "silent", model="X"), seed=1)
        assert nobodys(hubs=10, defect=Defect(0.1, "silent", network="South"), seed=1).defect == Defect(
            0.1, "silent", network="south"
        )


class TestOfRelease:
    @pytest.fixture
    def counted(self, db: None, now: datetime) -> World:
        """A release with 40 hubs of one Supplier, and an hour's slot every day."""
        world = make_world(now=now)
        FleetCount.objects.create(
            lead=world.northern, network=world.network, model=world.model, status=4, payment_mode=1, hubs=40,
            installed_version=world.release.predecessors.get().version, hardware_version=1, counted_at=now,
        )  # fmt: skip
        for weekday in range(7):
            CapacityPattern.objects.create(
                network=world.network, weekday=weekday, starts="02:00", ends="03:00", capacity=10
            )
        return world

    @pytest.fixture
    def now(self) -> datetime:
        """An ordinary day."""
        return datetime.fromisoformat("2027-02-01T09:00:00+00:00")

    def test_takes_over_what_the_release_says(self, counted: World) -> None:
        plan = of_release(release=counted.release, hubs=None, defect=None, seed=1)
        assert plan.hubs == 40
        assert plan.version == counted.release.version.number
        assert list(plan.networks) == [counted.network.code]
        assert plan.suppliers == [("Northern", 40)]
        assert plan.policy["soak"] == "0 minutes"
        assert plan.policy["stage_sizes"] == counted.release.policy.stage_sizes
        assert {pattern["capacity"] for pattern in plan.patterns[counted.network.code]} == {10}

    def test_lets_capacity_grow_with_the_hubs(self, counted: World) -> None:
        plan = of_release(release=counted.release, hubs=4_000, defect=None, seed=1)
        assert {pattern["capacity"] for pattern in plan.patterns[counted.network.code]} == {1_000}

    def test_refuses_a_release_that_no_hub_can_take(self, counted: World) -> None:
        FleetCount.objects.all().delete()
        with pytest.raises(UnableToRehearse, match="No hub can take this release"):
            of_release(release=counted.release, hubs=None, defect=None, seed=1)


@pytest.mark.django_db(transaction=True)  # many small transactions, as in life
class TestRehearse:
    @pytest.mark.parametrize("kind", ["visible", "silent"])
    def test_of_a_broken_release_ends_with_a_halt(self, plan: Callable[..., Plan], kind: str) -> None:
        found, _ = run(plan(Defect(0.4, kind)))
        halt = Halt.objects.get()
        assert 5 <= found["bad"] < found["commanded"] <= 50
        assert found["halt"]["reason"] == halt.reason
        assert "0.75% are tolerated" in halt.reason
        assert found["halt"]["admitted_after"] == 0
        assert 0 <= found["halt"]["hours"] < 4
        assert not CommandLog.objects.filter(received_at__gt=halt.halted_at).exists()
        assert found["fits"] is None

    def test_of_a_sound_release_runs_to_its_end(self, plan: Callable[..., Plan]) -> None:
        found, steps = run(plan(hubs=120))
        assert found["halt"] is None
        assert FirmwareRelease.objects.get().state == "published"
        assert found["commanded"] == FleetHub.objects.filter(activations__gt=0).count() + found["bad"]
        assert found["commanded"] + found["untried"] >= 115
        assert sum(end["hubs"] for end in found["outcomes"]) + found["unplaced_at_first"] == 120
        assert not Deployment.objects.filter(ended_at=None).exists()
        assert 3 < found["days"] < found["period_days"] == 42
        assert found["stages"][0]["commanded"] == 50
        assert sum(network["taken"] for network in found["capacity"]) >= 115
        assert {network["network"] for network in found["capacity"]} == {"North", "Central", "South"}
        assert any("booked" in step for step in steps)

    def test_comes_to_an_end_with_two_at_work_in_the_tranches(self, plan: Callable[..., Plan]) -> None:
        policy = {"stage_sizes": [15], "soak": "1 hours"}
        found = rehearse(plan=replace(plan(hubs=90), policy=policy), tell=lambda *_: None, has_helper=True)
        assert found["halt"] is None
        assert len(found["stages"]) >= 4
        assert not Deployment.objects.filter(ended_at=None).exists()
        assert found["commanded"] == FleetHub.objects.filter(activations__gt=0).count() + found["bad"]
        assert CommandLog.objects.filter(repeats__gt=0).count() == 0

    def test_spares_the_networks_that_a_defect_is_not_in(self, plan: Callable[..., Plan]) -> None:
        run(plan(Defect(1.0, "visible", network="south")))
        broken = CommandLog.objects.filter(phase=3, outcome=6).values_list("hub", flat=True)
        assert set(FleetHub.objects.filter(pk__in=broken).values_list("network__code", flat=True)) == {
            "south"
        }


@pytest.mark.django_db(transaction=True)
class TestRehearseARelease:
    """One of the portal's own, as `rehearse --release` and the admin do it: here once the portal's rows are gone."""

    @pytest.fixture
    def portals(self) -> World:
        """A release for two models on two networks, with a policy as in production and slots every night."""
        world = make_world(now=datetime.fromisoformat("2027-02-01T09:00:00+00:00"))
        other, south = HubModelFactory.create(name="Other"), NetworkFactory.create(code="south")
        world.release.hub_models.add(other)
        period = world.release.periods.get()
        opens = datetime.fromisoformat("2027-03-08T00:00:00+00:00")
        world.release.periods.update(start_at=opens, end_at=opens + timedelta(days=42))
        AvailabilityPeriod.objects.create(
            release=world.release, network=south, start_at=opens, end_at=opens + timedelta(days=42)
        )
        RolloutPolicy.objects.update(
            **policies.BY_URGENCY["normal"],
            soak="24 hours",
            stage_sizes=[20, 60],
            silence_deadline="120 minutes",
            tolerated_bad_percent="0.75",
        )
        for network in (period.network, south):
            for weekday in range(7):
                CapacityPattern.objects.create(
                    network=network,
                    weekday=weekday,
                    starts="00:00",
                    ends="06:00",
                    slot_minutes=180,
                    capacity=20,
                )
            for model, lead, hubs in ((world.model, world.northern, 40), (other, world.southern, 25)):
                FleetCount.objects.create(
                    lead=lead, network=network, model=model, status=4, payment_mode=1, hubs=hubs,
                    installed_version=world.release.predecessors.get().version, hardware_version=1,
                    counted_at=world.clock(),
                )  # fmt: skip
        world.release.refresh_from_db()
        return world

    def rehearsed(self, world: World, defect: Defect | None) -> dict[str, Any]:
        plan = of_release(
            release=FirmwareRelease.objects.get(pk=world.release.pk), hubs=None, defect=defect, seed=2
        )
        call_command("flush", verbosity=0, interactive=False)
        return run(plan)[0]

    def test_runs_to_its_end_in_stages_of_each_model(self, portals: World) -> None:
        found = self.rehearsed(portals, None)
        assert found["hubs"] == 130
        assert found["halt"] is None
        assert found["commanded"] + found["untried"] >= 125
        assert {(stage["model"], stage["number"]) for stage in found["stages"]} >= {
            (name, 1) for name in (str(portals.model), "Other")
        }
        assert found["period_days"] == 42
        assert {use["network"] for use in found["capacity"]} == {str(portals.network), "South"}
        days, commanded, bad = found["course"][-1]
        assert commanded == found["commanded"]
        assert bad == found["bad"]
        assert 0 < days < 42

    def test_says_why_it_could_not_be_published(self, portals: World) -> None:
        period = portals.release.periods.order_by("start_at").first()
        assert period is not None
        portals.release.periods.update(end_at=period.start_at + timedelta(days=20))
        with pytest.raises(UnableToRehearse, match=r"could not be published as it is.*42 days"):
            self.rehearsed(portals, None)

    def test_halts_for_a_defect_of_one_model(self, portals: World) -> None:
        found = self.rehearsed(portals, Defect(0.8, "silent", model="Other"))
        assert found["halt"]["admitted_after"] == 0
        assert "of model Other" in found["halt"]["reason"]
        assert found["commanded"] < 60


class TestTemporary:
    def test_is_there_until_the_block_is_left(self, db: None) -> None:
        with databases.temporary(purpose="trial") as url:
            name = urlsplit(url).path[1:]
            assert name.startswith(f"{connection.settings_dict['NAME']}_trial_")
            terms = connection.get_connection_params() | {"dbname": name}
            with psycopg.connect(**terms) as inside:
                assert inside.execute("SHOW synchronous_commit").fetchone() == ("off",)
            assert name in known()
        assert name not in known()

    def test_is_dropped_when_the_work_fails(self, db: None) -> None:
        with pytest.raises(ZeroDivisionError), databases.temporary(purpose="trial"):
            raise ZeroDivisionError
        assert not [name for name in known() if "_trial_" in name]

    def test_drops_what_a_killed_process_left_behind(self, db: None) -> None:
        left = f"{connection.settings_dict['NAME']}_trial_0"
        with psycopg.connect(**connection.get_connection_params(), autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{left}"')
        with databases.temporary(purpose="trial"):
            assert left not in known()


class TestForgetInACrash:
    def test_keeps_a_log_of_no_table(self, db: None) -> None:
        databases.forget_in_a_crash()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relpersistence, count(*) > 50 FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace GROUP BY 1"
            )
            assert cursor.fetchall() == [("u", True)]


def known() -> list[str]:
    """Return the names of all databases."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as server:
        return [name for (name,) in server.execute("SELECT datname FROM pg_database").fetchall()]


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as a person does, on the servers of the tests."""
    return subprocess.run(
        [sys.executable, "manage.py", "rehearse", *words],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": settings.DATABASE_URL, "REDIS_URL": settings.REDIS_URL},
        capture_output=True,
        text=True,
        check=False,
    )


class TestTheCommand:
    def test_prints_one_line_of_json_and_leaves_no_database(self, db: None) -> None:
        ended = command(
            "--hubs", "200", "--defect", "50%", "--kind", "visible", "--where", "all", "--seed", "2", "--json"
        )
        assert ended.returncode == 0, ended.stderr
        [line] = ended.stdout.splitlines()
        found = json.loads(line)
        assert found["halt"]["admitted_after"] == 0
        assert found["commanded"] <= 50
        assert "rehearse: making a database" in ended.stderr
        assert not [name for name in known() if "_rehearsal_" in name]

    def test_refuses_in_a_sentence(self, db: None) -> None:
        ended = command("--hubs", "200", "--defect", "some")
        assert ended.returncode == 1
        assert "give a percentage" in ended.stderr
        assert "Traceback" not in ended.stderr
