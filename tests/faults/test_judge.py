"""The judge finds every breach that is planted, and none where there is none."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.core import mail
from django.db import connection, transaction

from hubs.gateway import Outcome, Phase
from hubs.modelled_fleet.models import CommandLog
from portal.ground import sql
from portal.models import User
from scheduling.models import Command, Consent, Deployment, Lot, Notice, Slot
from scheduling.operations import bookings, consents, notices
from tests.faults import judge
from tests.faults.carrier import Arrival
from tests.faults.judge import Evidence, Judgement, Stop
from tests.scheduling import world as worlds
from tests.scheduling.world import World
from tests.smtp import Mail

HUBS, SHARED = 6, 4
HOUR = timedelta(hours=1)
ONE = "(SELECT min(id) FROM scheduling_deployment)"
OF_ONE = f"deployment_id = {ONE}"

Plant = Callable[..., list[str]]


@pytest.fixture
def world(db: None, now: datetime) -> World:
    """A world where everything has been done, and rightly."""
    world = worlds.make(now=now)
    policy = world.release.policy
    policy.objection_window, policy.explicit_consent_within = "1 hours", "1 hours"
    policy.save()
    world.hubs(HUBS)
    world.shared(SHARED)
    world.slot(start=6 * HOUR, room=HUBS + SHARED)
    world.slot(start=8 * HOUR, room=HUBS)
    world.book()
    southern = User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
    consents.agree(consents=list(Consent.objects.all()), by=southern, now=world.clock())
    for span in (3 * HOUR, 3 * HOUR):
        world.clock.moment += span
        world.work()
    bookings.finish(now=world.clock())
    notices.send(clock=world.clock, limit=100)
    return world


@pytest.fixture
def evidence(world: World) -> Evidence:
    """What was seen outside that world: each command arrived once, and each e-mail."""
    return Evidence(
        arrivals=[
            Arrival(
                log.deployment,
                log.phase,
                log.attempt,
                log.hub,
                log.lot,
                log.token,
                log.received_at,
                log.received_at,
            )
            for log in CommandLog.objects.order_by("id")
        ],
        mails=[
            Mail(message.extra_headers["Message-ID"], address, is_answered=True)
            for message in mail.outbox
            for address in message.to
        ],
    )


@pytest.fixture
def plant(world: World) -> Plant:
    """Do something that must never be, past every constraint and trigger, ask a judgement, and take it back."""

    def do(judgement: Judgement, statement: str) -> list[str]:
        assert judgement(Evidence()) == []
        before = transaction.savepoint()
        sql.run("SET CONSTRAINTS ALL IMMEDIATE", {})
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT conrelid::regclass::text, conname FROM pg_constraint"
                " WHERE contype = 'c' AND conrelid::regclass::text LIKE ANY (ARRAY['scheduling_%', 'modelled_%'])"
            )
            for table, constraint in cursor.fetchall():
                cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{constraint}"')
            cursor.execute("ALTER TABLE scheduling_deployment DISABLE TRIGGER USER")
            cursor.execute("ALTER TABLE scheduling_deployment DROP CONSTRAINT deployment_one_open_per_hub")
            cursor.execute(statement)
            assert cursor.rowcount, statement
        found = judgement(Evidence())
        transaction.savepoint_rollback(before)
        return found

    return do


def of(phase: Phase) -> str:
    """Return the condition that picks the command of one deployment in a phase, wherever it is logged."""
    return f"{OF_ONE} AND phase = {int(phase)}"


def logged(phase: Phase) -> str:
    """Return the same condition for the fleet's log."""
    return f"deployment = {ONE} AND phase = {int(phase)}"


class TestBreaches:
    def test_are_none_where_everything_was_done_rightly(self, world: World, evidence: Evidence) -> None:
        assert judge.breaches(evidence) == []
        assert sum(Lot.objects.values_list("succeeded", flat=True)) == HUBS + SHARED
        assert len(evidence.arrivals) == 4 * (HUBS + SHARED)
        assert evidence.mails

    def test_name_the_judgement_that_was_breached(self, world: World) -> None:
        Slot.objects.filter(taken__gt=0).update(taken=1)

        assert [told.split(":")[0] for told in judge.breaches()] == ["sells_no_place_twice"]


class TestActivatesOnlyInItsSlot:
    def test_finds_an_activation_outside(self, plant: Plant) -> None:
        for change in [
            "received_at = received_at - interval '2 hours'",
            "received_at = received_at + interval '2 hours'",
            "acted_at = acted_at + interval '2 hours'",
        ]:
            assert plant(
                judge.activates_only_in_its_slot,
                f"UPDATE modelled_fleet_commandlog SET {change} WHERE {logged(Phase.ACTIVATE)}",
            ), change

    def test_finds_an_activation_after_the_period(self, plant: Plant) -> None:
        assert plant(
            judge.activates_only_in_its_slot,
            "UPDATE firmware_availabilityperiod SET end_at = start_at + interval '1 hour'",
        )


class TestAdmitsOnlyInTime:
    def test_finds_what_came_too_early_or_too_late(self, plant: Plant) -> None:
        for phase, change in [
            (Phase.ACTIVATE, "admitted_at = admitted_at - interval '1 minute'"),
            (
                Phase.ACTIVATE,
                "admitted_at = admitted_at + interval '1 hour', sent_at = NULL, answered_at = NULL",
            ),
            (Phase.ACTIVATE, "valid_until = valid_until + interval '2 hours'"),
            (Phase.STAGE, "admitted_at = admitted_at - interval '2 hours'"),
            (Phase.VERIFY, "admitted_at = admitted_at - interval '1 minute'"),
            (Phase.READ, "sent_at = sent_at - interval '1 second'"),
            (Phase.READ, "answered_at = answered_at - interval '1 second'"),
        ]:
            assert plant(
                judge.admits_only_in_time, f"UPDATE scheduling_command SET {change} WHERE {of(phase)}"
            ), change


class TestActivatesAHubOnce:
    def test_finds_a_second_activation(self, plant: Plant) -> None:
        assert plant(
            judge.activates_a_hub_once,
            "UPDATE modelled_fleet_commandlog SET hub = (SELECT min(hub) FROM modelled_fleet_commandlog)"
            f" WHERE phase = {int(Phase.ACTIVATE)}",
        )

    def test_finds_one_that_nobody_logged(self, plant: Plant) -> None:
        assert plant(judge.activates_a_hub_once, "UPDATE modelled_fleet_fleethub SET activations = 2")


class TestSendsNothingUnasked:
    def test_finds_what_nobody_decided(self, plant: Plant) -> None:
        for statement in [
            f"DELETE FROM scheduling_command WHERE {of(Phase.READ)}",
            f"UPDATE scheduling_command SET sent_at = NULL WHERE {of(Phase.READ)}",
            f"UPDATE modelled_fleet_commandlog SET hub = hub + 1 WHERE {logged(Phase.READ)}",
            f"UPDATE modelled_fleet_commandlog SET attempt = 9 WHERE {logged(Phase.READ)}",
            "UPDATE modelled_fleet_commandlog SET token = token + 100",
            "INSERT INTO scheduling_strayreport (hub, deployment_id, phase, attempt, outcome, received_at)"
            " VALUES (1, 1, 1, 1, 1, now())",
        ]:
            assert plant(judge.sends_nothing_unasked, statement), statement

    def test_finds_what_only_the_carrier_knows_of(self, world: World, evidence: Evidence) -> None:
        assert judge.sends_nothing_unasked(evidence) == []
        first, *others = evidence.arrivals
        seen = replace(evidence, arrivals=[replace(first, attempt=9), *others])

        assert len(judge.sends_nothing_unasked(seen)) == 1


class TestRefusesOlderTokens:
    def test_finds_an_older_one_after_a_newer(self, plant: Plant) -> None:
        assert plant(
            judge.refuses_older_tokens,
            f"UPDATE modelled_fleet_commandlog SET token = 0 WHERE {logged(Phase.VERIFY)}",
        )

    def test_finds_one_that_was_never_given(self, plant: Plant) -> None:
        assert plant(
            judge.refuses_older_tokens, "UPDATE modelled_fleet_fleetlottoken SET token = token + 100"
        )


class TestSendsOnlyTheApprovedImage:
    def test_finds_another_image_or_another_hub(self, plant: Plant) -> None:
        for statement in [
            f"UPDATE modelled_fleet_commandlog SET digest = repeat('a', 64) WHERE {logged(Phase.STAGE)}",
            f"UPDATE modelled_fleet_commandlog SET version = version + 1 WHERE {logged(Phase.ACTIVATE)}",
            f"UPDATE modelled_fleet_commandlog SET version = 1 WHERE {logged(Phase.READ)}",
            "UPDATE modelled_fleet_fleethub SET hardware_version = -1",
            "UPDATE modelled_fleet_fleethub SET network_id = network_id + 1",
            "DELETE FROM firmware_firmwarerelease_hub_models",
        ]:
            assert plant(judge.sends_only_the_approved_image, statement), statement


class TestSkipsNoStep:
    def test_finds_a_step_that_nothing_led_to(self, plant: Plant) -> None:
        for statement in [
            f"UPDATE scheduling_command SET version = {worlds.NEW} WHERE {of(Phase.READ)}",
            f"UPDATE scheduling_command SET outcome = {int(Outcome.UNREACHABLE)} WHERE {of(Phase.READ)}",
            f"DELETE FROM scheduling_command WHERE {of(Phase.READ)}",
            f"UPDATE scheduling_command SET outcome = {int(Outcome.TRANSFER_FAILED)} WHERE {of(Phase.STAGE)}",
        ]:
            assert plant(judge.skips_no_step, statement), statement


class TestWaitsForTheOtherSupplier:
    def test_finds_commands_before_the_answer(self, plant: Plant) -> None:
        for change in [
            "state = 'asked', answered_at = NULL",
            "answered_at = answered_at + interval '9 hours'",
        ]:
            assert plant(judge.waits_for_the_other_supplier, f"UPDATE scheduling_consent SET {change}"), (
                change
            )


class TestAdmitsNothingAfterAStop:
    @pytest.fixture
    def staged(self, world: World) -> datetime:
        """The moment between staging and activation."""
        return world.slots[0].start_at - timedelta(minutes=1)

    def test_finds_what_was_admitted_and_what_was_sent(
        self, world: World, evidence: Evidence, staged: datetime
    ) -> None:
        halted = Stop(world.release.pk, staged)

        assert len(judge.admits_nothing_after_a_stop(Evidence(stops=[halted]))) == 2 * (HUBS + SHARED)
        assert len(judge.admits_nothing_after_a_stop(replace(evidence, stops=[halted]))) == 4 * (
            HUBS + SHARED
        )

    def test_lets_a_withdrawn_release_read_its_hubs(self, world: World, staged: datetime) -> None:
        withdrawn = Stop(world.release.pk, staged, is_halt=False)

        assert len(judge.admits_nothing_after_a_stop(Evidence(stops=[withdrawn]))) == HUBS + SHARED

    def test_knows_the_end_of_a_halt_and_other_releases(
        self, world: World, evidence: Evidence, staged: datetime
    ) -> None:
        stops = [
            Stop(world.release.pk, staged, until=staged + timedelta(seconds=1)),
            Stop(world.release.pk + 1, staged),
            Stop(world.release.pk, world.clock()),
        ]

        assert judge.admits_nothing_after_a_stop(replace(evidence, stops=stops)) == []


class TestBalancesItsLedger:
    def test_finds_what_does_not_add_up(self, plant: Plant) -> None:
        for statement in [
            "UPDATE scheduling_lot SET succeeded = succeeded - 1, failed = failed + 1",
            f"DELETE FROM scheduling_deployment WHERE id = {ONE}",
            f"UPDATE scheduling_deployment SET id = 1 WHERE id = {ONE}",
            "UPDATE scheduling_booking SET hubs = hubs + 1",
            f"UPDATE scheduling_deployment SET attempt = 9 WHERE id = {ONE}",
            f"DELETE FROM scheduling_command WHERE {of(Phase.READ)}",
            f"UPDATE scheduling_command SET attempt = 2 WHERE {of(Phase.READ)}",
            f"UPDATE scheduling_deployment SET awaiting = true WHERE id = {ONE}",
        ]:
            assert plant(judge.balances_its_ledger, statement), statement


class TestCountsWhatIsUnderWay:
    def test_finds_counters_that_are_not_those_of_the_rows(self, plant: Plant) -> None:
        for statement in [
            "UPDATE scheduling_inflight SET activating = activating + 1",
            "UPDATE scheduling_inflight SET resolved = resolved - 1",
            "UPDATE scheduling_stage SET admitted = admitted + 1",
            "UPDATE scheduling_stage SET resolved = resolved - 1",
            "UPDATE scheduling_stage SET size = 1",
            f"UPDATE scheduling_deployment SET stage = 0 WHERE id = {ONE}",
            f"UPDATE scheduling_deployment SET state = 'activating' WHERE id = {ONE}",
            "DELETE FROM scheduling_tallychange",
        ]:
            assert plant(judge.counts_what_is_under_way, statement), statement


class TestSellsNoPlaceTwice:
    def test_finds_a_place_or_a_hub_with_two_owners(self, plant: Plant) -> None:
        for statement in [
            "UPDATE scheduling_slot SET taken = taken + 1",
            "UPDATE scheduling_slot SET capacity = 1",
            "UPDATE scheduling_lot SET cancelled = 1",
            "UPDATE scheduling_deployment SET ended_at = NULL, hub_id = 1",
        ]:
            assert plant(judge.sells_no_place_twice, statement), statement

    def test_finds_more_than_a_share(self, world: World) -> None:
        key = world.slots[0].pk, world.northern.pk

        assert judge.sells_no_place_twice(Evidence(places={key: HUBS + SHARED})) == []
        assert judge.sells_no_place_twice(Evidence(places={key: HUBS + SHARED - 1}))


class TestBelievesOnlyWhatIsTrue:
    def test_finds_what_is_not_as_it_is_told(self, plant: Plant) -> None:
        for statement in [
            f"UPDATE modelled_fleet_fleethub SET running_version = {worlds.OLD}",
            f"UPDATE scheduling_command SET version = {worlds.OLD} WHERE {of(Phase.VERIFY)}",
            f"UPDATE modelled_fleet_commandlog SET is_applied = false WHERE {logged(Phase.ACTIVATE)}",
            f"UPDATE scheduling_deployment SET state = 'failed' WHERE id = {ONE}",
            f"UPDATE scheduling_deployment SET state = 'missed' WHERE id = {ONE}",
        ]:
            assert plant(judge.believes_only_what_is_true, statement), statement


class TestRecordsWhatTheFleetSaid:
    def test_finds_another_outcome(self, plant: Plant) -> None:
        for statement in [
            f"UPDATE scheduling_command SET outcome = {int(Outcome.UNREACHABLE)} WHERE {of(Phase.READ)}",
            f"UPDATE scheduling_command SET outcome = {int(Outcome.EXPIRED)} WHERE {of(Phase.ACTIVATE)}",
            f"UPDATE scheduling_command SET version = 7 WHERE {of(Phase.READ)}",
            f"DELETE FROM modelled_fleet_commandlog WHERE {logged(Phase.READ)}",
        ]:
            assert plant(judge.records_what_the_fleet_said, statement), statement


class TestTakesSilenceForAnOutcome:
    def test_finds_a_second_activation_after_one_that_may_have_been(self, plant: Plant) -> None:
        for answer in [
            "NULL, NULL",
            f"now(), {int(Outcome.ACTIVATION_FAILED)}",
            # too late: another was admitted by then
            f"now() + interval '99 years', {int(Outcome.UNREACHABLE)}",
        ]:
            assert plant(
                judge.takes_silence_for_an_outcome,
                "INSERT INTO scheduling_command (deployment_id, phase, attempt, token, admitted_at, valid_until,"
                " answered_at, outcome) SELECT deployment_id, phase, 0, token, admitted_at, valid_until,"
                f" {answer} FROM scheduling_command WHERE {of(Phase.ACTIVATE)}",
            ), answer

    def test_passes_one_that_surely_did_nothing(self, plant: Plant) -> None:
        assert not plant(
            judge.takes_silence_for_an_outcome,
            "INSERT INTO scheduling_command (deployment_id, phase, attempt, token, admitted_at, valid_until,"
            " answered_at, outcome) SELECT deployment_id, phase, 0, token, admitted_at, valid_until, admitted_at,"
            f" {int(Outcome.UNREACHABLE)} FROM scheduling_command WHERE {of(Phase.ACTIVATE)}",
        )

    def test_finds_what_was_given_up_too_early(self, plant: Plant) -> None:
        assert plant(
            judge.takes_silence_for_an_outcome,
            f"UPDATE scheduling_deployment SET state = 'unconfirmed', ending = 'silent' WHERE id = {ONE}",
        )

    def test_finds_what_was_set_aside_and_ended_although_nobody_decided(self, plant: Plant) -> None:
        ended = (
            f"UPDATE scheduling_deployment SET state = 'unconfirmed', ending = 'set_aside' WHERE id = {ONE}"
        )
        said = (
            "INSERT INTO ground_auditentry (verb, subject, reason, facts, recorded_at) SELECT '{verb}', '', '',"
            " jsonb_build_object('which', jsonb_build_array(jsonb_build_object('deployment', id + {of}))),"
            f" ended_at + interval '{{late}} s' FROM scheduling_deployment WHERE id = {ONE}"
        )
        valid = f"UPDATE scheduling_command SET valid_until = now() + interval '99 years' WHERE {OF_ONE}"
        over = f"UPDATE scheduling_command SET valid_until = admitted_at WHERE {OF_ONE}"
        by_dcc, by_time = "quarantine.ended", "quarantine.lapsed"
        for statements, is_breach in [
            ([ended], True),
            ([ended, over, said.format(verb="quarantine.taken_back", of=0, late=0)], True),
            ([ended, over, said.format(verb=by_time, of=1, late=0)], True),
            ([ended, over, said.format(verb=by_time, of=0, late=1)], True),
            ([ended, valid, said.format(verb=by_time, of=0, late=0)], True),
            ([ended, over, said.format(verb=by_time, of=0, late=0)], False),
            ([ended, valid, said.format(verb=by_dcc, of=0, late=0)], False),
        ]:
            assert bool(plant(judge.takes_silence_for_an_outcome, "; ".join(statements))) is is_breach, (
                statements
            )


class TestLeavesNothingBehind:
    def test_finds_what_nobody_comes_back_to(self, plant: Plant) -> None:
        for statement in [
            f"UPDATE scheduling_deployment SET state = 'staged', ended_at = NULL WHERE id = {ONE}",
            "UPDATE scheduling_lot SET due_at = now()",
            "UPDATE scheduling_lot SET lease_until = now()",
            "UPDATE scheduling_booking SET done_at = NULL",
        ]:
            assert plant(judge.leaves_nothing_behind, statement), statement


class TestLosesNoNotice:
    @pytest.fixture
    def mails(self, evidence: Evidence) -> Sequence[Mail]:
        assert evidence.mails
        return evidence.mails

    def test_finds_what_was_never_sent_or_never_owed(self, plant: Plant) -> None:
        for statement in [
            "UPDATE scheduling_notice SET sent_at = NULL, next_try_at = now()",
            "DELETE FROM scheduling_notice WHERE kind = 'booking_done'",
        ]:
            assert plant(judge.loses_no_notice, statement), statement

    def test_finds_what_counts_as_sent_and_never_arrived(
        self, world: World, evidence: Evidence, mails: Sequence[Mail]
    ) -> None:
        assert judge.loses_no_notice(replace(evidence, mails=mails[1:]))

    def test_finds_an_e_mail_of_no_notice(
        self, world: World, evidence: Evidence, mails: Sequence[Mail]
    ) -> None:
        Notice.objects.filter(message_id=mails[0].message_id).delete()

        assert judge.loses_no_notice(evidence)

    def test_finds_one_that_came_twice_but_where_somebody_may_have_died(
        self, world: World, evidence: Evidence, mails: Sequence[Mail]
    ) -> None:
        twice = replace(evidence, mails=[*mails, mails[0]])

        assert judge.loses_no_notice(twice)
        assert not judge.loses_no_notice(replace(twice, may_double_mail=True))
        unheard = replace(mails[0], is_answered=False)
        assert not judge.loses_no_notice(replace(evidence, mails=[unheard, *mails]))


class TestJudgements:
    def test_are_all_asked(self) -> None:
        written = {
            value
            for value in vars(judge).values()
            if callable(value) and getattr(value, "__annotations__", {}).get("return") == list[str]
        } - {judge.breaches, judge._found}

        assert written == set(judge.JUDGEMENTS)

    def test_stand_on_rows_of_every_kind(self, world: World) -> None:
        assert Command.objects.count() == CommandLog.objects.count() == 4 * (HUBS + SHARED)
        assert Deployment.objects.count() == HUBS + SHARED
        assert Consent.objects.filter(state=Consent.State.GIVEN).exists()
