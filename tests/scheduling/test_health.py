"""Tests of the questions about whether the work is being done: each fault by itself, on both sides of its limit."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from firmware.models import ReleaseState
from hubs.models import ChangeOfSupplier
from scheduling.lifecycle import State
from scheduling.models import (
    EXCESSES,
    LOT_SPAN,
    Allocation,
    Booking,
    Deployment,
    Finding,
    HubException,
    HubSelection,
    InFlight,
    Lot,
    Mismatch,
    Notice,
    Quarantine,
    Reclaim,
    Reconciliation,
    ReportCount,
    ReportKind,
    Slot,
)
from scheduling.queries import health
from scheduling.queries.health import Backlog, Standing
from tests.factories import (
    BookingFactory,
    FirmwareReleaseFactory,
    FleetCountFactory,
    LotFactory,
    NetworkFactory,
    SlotFactory,
    SupplierFactory,
)
from tests.scheduling.world import World

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def lot(*, now: datetime, due: timedelta | None, lease: timedelta | None = None, **facts: Any) -> Lot:
    """Make a lot of ten booked hubs that is due, and held, so long from now."""
    return LotFactory.create(
        **{
            "size": 10,
            "booked": 10,
            "slot": Slot.objects.first() or SlotFactory.create(),
            "due_at": None if due is None else now + due,
            "lease_until": None if lease is None else now + lease,
            **facts,
        }
    )


def north(now: datetime) -> Backlog:
    """Return the backlog of the North network."""
    [found] = [backlog for backlog in health.backlog(now=now) if backlog.network.code == "north"]
    return found


class TestBacklog:
    def test_counts_what_is_due_and_held_by_nobody(self, now: datetime) -> None:
        lot(now=now, due=-3 * MINUTE)
        lot(now=now, due=-2 * MINUTE, lease=-MINUTE, booked=4, succeeded=6)
        lot(now=now, due=-4 * MINUTE, lease=MINUTE)
        lot(now=now, due=MINUTE)
        lot(now=now, due=None, booked=0, succeeded=10)

        found = north(now)

        assert (found.due, found.due_hubs, found.oldest) == (2, 14, now - 3 * MINUTE)
        assert found.leased == 1
        assert found.open_hubs == 34

    def test_names_every_network_also_where_nothing_is_due(self, now: datetime) -> None:
        NetworkFactory.create(code="central", name="Central")
        lot(now=now, due=-MINUTE)

        found = {backlog.network.code: backlog.due for backlog in health.backlog(now=now)}

        assert found["central"] == 0
        assert found["north"] == 1

    @pytest.mark.parametrize(
        ("ended", "state", "unanswered"),
        [
            (timedelta(hours=13), ReleaseState.PUBLISHED, 1),
            (timedelta(hours=11), ReleaseState.PUBLISHED, 0),
            (timedelta(hours=13), ReleaseState.HALTED, 0),
        ],
    )
    def test_finds_hubs_that_never_answered(
        self, now: datetime, ended: timedelta, state: ReleaseState, unanswered: int
    ) -> None:
        release = FirmwareReleaseFactory.create(published=True)
        type(release).objects.filter(pk=release.pk).update(state=state)
        slot = SlotFactory.create(start_at=now - ended - timedelta(hours=1), end_at=now - ended)
        lot(
            now=now,
            due=MINUTE,
            slot=slot,
            booking=BookingFactory.create(release=release),
            booked=0,
            activating=1,
            succeeded=9,
        )

        found = north(now)

        assert found.unanswered == unanswered
        assert found.activating_hubs == 1

    def test_finds_lots_with_which_workers_die_and_those_that_wait(self, now: datetime) -> None:
        lot(now=now, due=MINUTE, deaths=1)
        lot(now=now, due=MINUTE, deaths=2)
        lot(now=now, due=MINUTE, waits=True)

        found = north(now)

        assert (found.deadly, found.wait) == (1, 1)

    def test_asks_no_more_when_there_is_more(
        self, now: datetime, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        for _ in range(3):
            lot(now=now, due=-MINUTE)

        with django_assert_num_queries(2):
            health.backlog(now=now)


def standing(now: datetime, *, most: int = 100) -> Standing:
    """Ask, with a cap."""
    return health.standing(now=now, most=most)


class TestStanding:
    def test_finds_nothing_in_an_empty_portal(self, now: datetime) -> None:
        assert standing(now) == Standing(
            None, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None, 0, 0, 0, 0, None, 0, None
        )

    def test_knows_when_the_fleet_was_counted(self, now: datetime) -> None:
        FleetCountFactory.create(counted_at=now - MINUTE)

        assert standing(now).counted_at == now - MINUTE

    def test_counts_the_reports_since_yesterday_that_should_not_have_come(self, now: datetime) -> None:
        for days, kind, reports in (
            (0, ReportKind.STRAY, 1),
            (1, ReportKind.STRAY, 2),
            (2, ReportKind.STRAY, 4),
            (1, ReportKind.UNREADABLE, 8),
            (0, ReportKind.ANSWER, 16),
            (1, ReportKind.FORGED, 32),
            (2, ReportKind.FORGED, 64),
        ):
            ReportCount.objects.create(day=now.date() - timedelta(days=days), kind=kind, reports=reports)

        found = standing(now)

        assert (found.stray_reports, found.unreadable_reports, found.forged_answers) == (3, 8, 32)

    def test_counts_the_lots_taken_over_in_an_hour_and_in_a_day(self, now: datetime) -> None:
        for minutes in (1, 59, 61, 23 * 60, 25 * 60):
            at = now - minutes * MINUTE
            Reclaim.objects.create(lot_id=1, token=minutes, lease_until=at, reclaimed_at=at)

        found = standing(now)

        assert (found.reclaims_of_an_hour, found.reclaims_of_a_day) == (2, 4)

    def test_counts_the_hubs_set_aside_and_not_those_that_failed_once_or_have_ended(
        self, world: World, now: datetime
    ) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=3), room=10)
        world.book()
        one, other, gone = Deployment.objects.order_by("id")
        for deployment, since in ((one, now), (other, None), (gone, now)):
            Quarantine.objects.create(
                deployment_id=deployment.pk, strikes=1, error="x", last_at=now, since=since
            )
        Deployment.objects.filter(pk=gone.pk).update(state="cancelled", ended_at=now, next_at=None)

        assert standing(now).set_aside == 1

    def test_counts_for_a_day_what_time_decided_about_hubs_set_aside(self, now: datetime) -> None:
        for number, hours in enumerate((1, 23, 25)):
            Quarantine.objects.create(
                deployment_id=number,
                strikes=3,
                error="x",
                last_at=now,
                since=now - timedelta(days=2),
                lapsed_at=now - timedelta(hours=hours),
            )
        Quarantine.objects.create(deployment_id=7, strikes=3, error="x", last_at=now, since=now)

        assert standing(now).lapsed == 2

    def test_knows_what_the_last_reconciliation_found(self, now: datetime) -> None:
        passes = [
            Reconciliation.objects.create(
                started_at=now - hours * timedelta(hours=1),
                finished_at=finished,
                log_from=0,
                log_to=0,
                log_done=finished is not None,
                lots_done=finished is not None,
                log_silent=silent,
            )
            for hours, finished, silent in (
                (9, now - timedelta(hours=8), False),
                (5, now - timedelta(hours=4), True),
                (1, None, False),
            )
        ]
        for one, kind, found_at in (
            (0, Mismatch.LOT, now - timedelta(hours=8)),
            (1, Mismatch.LOT, now - timedelta(hours=4)),
            (1, Mismatch.TALLY, now - timedelta(hours=4)),
            (0, Mismatch.UNADMITTED, now - timedelta(days=6)),
            (0, Mismatch.OTHER_HUB, now - timedelta(days=8)),
        ):
            Finding.objects.create(
                reconciliation=passes[one],
                kind=kind,
                is_excess=kind in EXCESSES,
                subject="x",
                words="x",
                found_at=found_at,
            )

        found = standing(now)

        assert (found.excesses, found.differences) == (1, 2)
        assert found.reconciled_at == now - timedelta(hours=4)
        assert found.log_was_read is False

    def test_counts_bookings_that_stay_half_made(self, now: datetime) -> None:
        for age, facts in (
            (6, {"placed_at": None}),
            (4, {"placed_at": None}),
            (6, {"placed_at": None, "abandoned_at": now}),
            (6, {"placed_at": now}),
        ):
            BookingFactory.create(created_at=now - age * MINUTE, **facts)

        assert standing(now).half_made_bookings == 1
        assert Booking.objects.count() == 4

    @pytest.mark.parametrize(
        ("minutes", "finished", "state", "unfinished"),
        [
            (61, False, ReleaseState.PUBLISHED, 1),
            (59, False, ReleaseState.PUBLISHED, 0),
            (61, True, ReleaseState.PUBLISHED, 0),
            (61, False, ReleaseState.HALTED, 0),
        ],
    )
    def test_counts_allocations_that_do_not_end(
        self, now: datetime, minutes: int, finished: bool, state: ReleaseState, unfinished: int
    ) -> None:
        release = FirmwareReleaseFactory.create(published=True)
        type(release).objects.filter(pk=release.pk).update(state=state)
        supplier = SupplierFactory.create()
        Allocation.objects.create(
            release=release,
            supplier=supplier,
            day=now.date(),
            selection=HubSelection.objects.create(
                supplier=supplier, release=release, created_at=now, method=HubSelection.Method.ALL
            ),
            begun_at=now - minutes * MINUTE,
            finished_at=now if finished else None,
        )

        assert standing(now).unfinished_allocations == unfinished

    def test_counts_exceptions_and_those_older_than_a_working_day(self) -> None:
        monday = datetime(2026, 11, 23, 12, tzinfo=UTC)
        release = FirmwareReleaseFactory.create(published=True)
        raised = [
            monday - timedelta(hours=1),
            monday - timedelta(days=2, hours=23),  # Friday afternoon: the weekend does not count
            monday - timedelta(days=3, hours=1),
        ]
        HubException.objects.bulk_create(
            HubException(
                release=release,
                hub=number,
                why=HubException.Why.NO_SLOT,
                supplier=SupplierFactory.create(),
                network=NetworkFactory.create(code="north"),
                raised_at=at,
            )
            for number, at in enumerate(raised)
        )

        found = standing(monday)

        assert (found.exceptions, found.late_exceptions) == (3, 1)
        capped = standing(monday, most=1)
        assert (capped.exceptions, capped.late_exceptions) == (2, 1)

    def test_knows_since_which_midnight_a_change_of_supplier_is_late(self) -> None:
        """Midnight of the UK: in summer an hour before that of the database's day."""
        now = datetime(2026, 6, 3, 0, 5, tzinfo=UTC)
        for hub, day, applied in ((1, 3, None), (2, 1, now), (3, 4, None)):
            ChangeOfSupplier.objects.create(
                hub=hub,
                role=ChangeOfSupplier.Role.GAS,
                gaining=SupplierFactory.create(),
                effective_on=datetime(2026, 6, day, tzinfo=UTC).date(),
                imported_at=now,
                applied_at=applied,
            )

        assert standing(now).overdue_since == datetime(2026, 6, 2, 23, tzinfo=UTC)

    def test_counts_the_e_mails_owed(self, now: datetime) -> None:
        for number, (age, sent) in enumerate(((9, True), (5, False), (3, False))):
            Notice.objects.create(
                kind=Notice.Kind.PUBLISHED,
                subject_key=f"release:{number}",
                address="a@b.example",
                owed_at=now - age * MINUTE,
                next_try_at=None if sent else now + MINUTE,
                sent_at=now if sent else None,
                message_id=str(number),
            )

        found = standing(now)

        assert (found.owed_notices, found.oldest_notice) == (2, now - 5 * MINUTE)

    def test_is_one_question(self, now: datetime, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        with django_assert_num_queries(1):
            standing(now)


class TestRollouts:
    def test_counts_the_hubs_of_releases_under_way_by_state(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=3), room=10)
        world.book()

        [found] = health.rollouts()

        assert (found.release, found.network) == (world.release.cpl_entry_id, world.network.code)
        assert found.hubs[State.BOOKED] == 3
        assert sum(found.hubs.values()) == 3

    def test_leaves_out_what_is_over(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=3), room=10)
        world.book()
        type(world.release).objects.filter(pk=world.release.pk).update(
            state=ReleaseState.CLOSED, ended_at=world.clock()
        )

        assert health.rollouts() == []


class TestInFlight:
    def test_says_what_is_activating_and_what_may_be(self, world: World) -> None:
        InFlight.objects.create(release=world.release, floor=50, percent=10, ceiling=10_000, activating=7)

        [found] = health.in_flight()

        assert found.release == world.release
        assert (found.activating, found.budget) == (7, 50)


class TestReports:
    def test_sums_each_kind_over_all_days(self, now: datetime) -> None:
        for days, reports in ((0, 5), (400, 6)):
            ReportCount.objects.create(
                day=now.date() - timedelta(days=days), kind=ReportKind.LATE, reports=reports
            )

        found = health.reports()

        assert found[ReportKind.LATE] == 11
        assert found[ReportKind.ANSWER] == 0


class TestSetAside:
    def test_names_the_hubs_that_wait_for_a_decision(self, world: World) -> None:
        [hub] = world.hubs(1)
        world.slot(start=timedelta(hours=3), room=10)
        booking = world.book()
        deployment = Deployment.objects.get()
        Quarantine.objects.create(
            deployment_id=deployment.pk, strikes=3, error="ValueError", last_at=world.clock()
        )
        assert health.set_aside(limit=5) == []
        Quarantine.objects.update(since=world.clock())

        [found] = health.set_aside(limit=5)

        assert (found.hub, found.booking, found.error) == (hub.chf_id, booking.reference, "ValueError")
        assert found.deployment // LOT_SPAN == Lot.objects.get().pk
