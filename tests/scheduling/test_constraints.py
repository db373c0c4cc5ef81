"""What the database refuses of deployments, commands and notices, past Python."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from hubs.gateway import Outcome, Phase, Verdict
from scheduling.lifecycle import Ending, State
from scheduling.models import Allocation, Command, Consent, Deployment, Lot, Notice, Quarantine
from scheduling.operations import notices
from tests.scheduling.rows import Row, Sent, lay_out
from tests.scheduling.world import World


@pytest.fixture
def laid(world: World) -> World:
    """Return the world with one hub that is being staged, and the command for it."""
    world.hubs(1)
    world.slot(start=timedelta(hours=5), room=1)
    world.book()
    world.clock.move(hours=2)
    lay_out(world, [Row(State.STAGING, Phase.STAGE, is_due=False, awaits=Sent(is_sent=False))])
    return world


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"next_at": None}, "deployment_open_or_ended"),
        ({"ended_at": "now"}, "deployment_open_or_ended"),
        ({"state": State.FAILED, "ended_at": "now", "awaiting": False}, "deployment_open_or_ended"),
        ({"state": State.FAILED, "next_at": None, "awaiting": False}, "deployment_open_or_ended"),
        ({"attempt": 0}, "deployment_awaits_only_after_a_command"),
        ({"state": State.HELD}, "deployment_awaits_only_after_a_command"),
        ({"tries": -1}, "deployment_counts_from_0"),
        ({"attempt": -1, "awaiting": False}, "deployment_counts_from_0"),
        ({"phase": 5}, "deployment_counts_from_0"),
        ({"ending": Ending.SILENT}, "deployment_ending_says_why_it_failed"),
        (
            {
                "state": State.SUCCEEDED,
                "ending": Ending.SILENT,
                "ended_at": "now",
                "next_at": None,
                "awaiting": False,
            },
            "deployment_ending_says_why_it_failed",
        ),
    ],
)
class TestADeployment:
    def test_is_open_with_a_moment_to_look_at_it_or_ended(
        self, laid: World, change: dict[str, Any], constraint: str
    ) -> None:
        stamped = {name: laid.clock() if value == "now" else value for name, value in change.items()}
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            Deployment.objects.update(**stamped)


class TestADeploymentsState:
    def test_is_one_of_the_lifecycle(self, laid: World) -> None:
        with connection.cursor() as cursor:  # past the trigger that refuses the move
            cursor.execute("ALTER TABLE scheduling_deployment DISABLE TRIGGER deployment_moves")
        with pytest.raises(IntegrityError, match="deployment_state_known"), transaction.atomic():
            Deployment.objects.update(state="lost", awaiting=False)


class TestALot:
    @pytest.mark.parametrize("size", [0, 1_001])
    def test_has_one_to_a_thousand_hubs(self, laid: World, size: int) -> None:
        with pytest.raises(IntegrityError, match="lot_of_at_most_1000"), transaction.atomic():
            Lot.objects.update(size=size, staging=size)

    def test_has_seen_no_more_misses_than_there_are(self, laid: World) -> None:
        with pytest.raises(IntegrityError, match="lot_misses_seen_are_missed"), transaction.atomic():
            Lot.objects.update(misses_seen=1)

    def test_has_as_many_as_its_counts_say(self, laid: World) -> None:
        with pytest.raises(IntegrityError, match="lot_counts_add_up"), transaction.atomic():
            Lot.objects.update(staged=1)


class TestACommand:
    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"answered_at": "now"}, "command_answered_at_with_outcome"),
            ({"outcome": Outcome.DONE}, "command_answered_at_with_outcome"),
            ({"verdict": Verdict.ACCEPTED}, "command_receipt_only_when_sent"),
            ({"version": 7}, "command_version_only_when_answered"),
            ({"valid_until": "long ago"}, "command_valid_after_its_admission"),
            ({"phase": 5}, "command_says_what_is_known"),
            ({"attempt": -1}, "command_says_what_is_known"),
            ({"sent_at": "now", "verdict": 4}, "command_says_what_is_known"),
            ({"answered_at": "now", "outcome": 10}, "command_says_what_is_known"),
        ],
    )
    def test_has_an_outcome_once_it_is_answered_and_a_receipt_once_it_is_sent(
        self, laid: World, change: dict[str, Any], constraint: str
    ) -> None:
        moments = {"now": laid.clock(), "long ago": laid.clock() - timedelta(days=1)}
        stamped = {name: moments.get(value, value) for name, value in change.items()}
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            Command.objects.update(**stamped)


@pytest.mark.parametrize("since", [None, timedelta(seconds=1)])
class TestAHubSetAside:
    def test_ends_by_time_only_after_it_was_set_aside(self, laid: World, since: timedelta | None) -> None:
        now = laid.clock()
        Quarantine.objects.create(
            deployment_id=1, strikes=3, error="x", last_at=now, since=None if since is None else now + since
        )
        with pytest.raises(IntegrityError, match="quarantine_lapses_after_it_began"), transaction.atomic():
            Quarantine.objects.update(lapsed_at=now)


class TestANotice:
    def owe(self, world: World) -> None:
        notices.owe(
            kind=Notice.Kind.HALTED,
            subject_key="halt:1",
            addresses=["person@northern.example.com"],
            context={},
            now=world.clock(),
        )

    def test_is_owed_once_to_each_address(self, world: World) -> None:
        self.owe(world)
        self.owe(world)
        assert Notice.objects.count() == 1
        again = Notice.objects.get()
        again.pk = None
        with pytest.raises(IntegrityError, match="notice_once_per_address"), transaction.atomic():
            again.save(force_insert=True)

    @pytest.mark.parametrize("is_sent", [True, False])
    def test_is_owed_or_sent(self, world: World, is_sent: bool) -> None:
        self.owe(world)
        stamps = {"sent_at": world.clock()} if is_sent else {"next_try_at": None}
        with pytest.raises(IntegrityError, match="notice_owed_or_sent"), transaction.atomic():
            Notice.objects.update(**stamps)


class TestAnAllocation:
    def test_is_one_a_day_for_a_release_and_a_supplier(self, world: World) -> None:
        now = world.clock()
        one = {"release": world.release, "supplier": world.northern, "begun_at": now, "finished_at": now}
        Allocation.objects.create(**one, day=now.date())
        Allocation.objects.create(**one, day=now.date() + timedelta(days=1))
        with pytest.raises(IntegrityError, match="allocation_once_a_day"), transaction.atomic():
            Allocation.objects.create(**one, day=now.date())


class TestAConsent:
    def test_is_in_a_state_that_there_is(self, world: World) -> None:
        world.shared(1)
        world.slot(start=timedelta(hours=5), room=1)
        world.book()
        with pytest.raises(IntegrityError, match="consent_state_known"), transaction.atomic():
            Consent.objects.update(state="perhaps", answered_at=world.clock())
