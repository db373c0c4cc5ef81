"""The modelled fleet keeps the gateway's contract, and misbehaves as its profile says."""

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from hubs.gateway import HubGateway, Outcome, Phase, Verdict, connect
from hubs.modelled_fleet.gateway import SEND_LIMIT, ModelledFleet
from hubs.modelled_fleet.models import (
    CommandLog,
    Defect,
    FleetHub,
    FleetImage,
    FleetLotToken,
    FleetReport,
    NetworkProfile,
)
from tests.factories import FleetHubFactory, HubModelFactory, NetworkProfileFactory
from tests.hubs.gateway_contract import (
    DIGEST,
    LATER,
    NEW,
    NOW,
    OLD,
    AccountableContract,
    GatewayContract,
    WatchfulContract,
    ask,
    command,
)


@pytest.fixture
def gateway(db) -> HubGateway:
    NetworkProfileFactory()
    return ModelledFleet()


@pytest.fixture
def hub(db) -> int:
    return FleetHubFactory(running_version=OLD).chf_id


@pytest.fixture
def stranger() -> int:
    return -1


def behave(**profile: float) -> None:
    NetworkProfile.objects.update(**profile)


class TestModelledFleet(GatewayContract, AccountableContract, WatchfulContract):
    def test_is_what_the_setting_names(self):
        assert isinstance(connect(), ModelledFleet)


class TestSend:
    def test_takes_no_more_than_fifty_commands(self, gateway, hub):
        commands = [command(Phase.READ, hub=hub, deployment=number) for number in range(SEND_LIMIT + 1)]

        with pytest.raises(ValueError, match="more than the 50"):
            gateway.send(commands=commands, now=NOW)
        assert not CommandLog.objects.exists()

    def test_logs_the_command_as_it_came_and_counts_repeats(self, gateway, hub):
        stage = command(Phase.STAGE, hub=hub, token=3)
        gateway.send(commands=[stage, stage], now=NOW)
        gateway.send(commands=[stage], now=LATER)

        row = CommandLog.objects.get()
        assert (row.deployment, row.phase, row.attempt, row.hub, row.lot, row.token) == (
            2048,
            2,
            1,
            hub,
            1,
            3,
        )
        assert (row.digest, row.version, row.received_at, row.valid_until) == (DIGEST, NEW, NOW, LATER)
        assert row.repeats == 2

    def test_counts_what_it_refuses_and_logs_none_of_it(self, gateway, hub):
        gateway.send(commands=[command(Phase.READ, hub=hub, token=2)], now=NOW)
        gateway.send(commands=[command(Phase.ACTIVATE, hub=hub, attempt=n) for n in (1, 2)], now=NOW)

        assert FleetLotToken.objects.values_list("token", "refused").get() == (2, 2)
        assert CommandLog.objects.count() == 1

    def test_needs_the_same_few_statements_for_one_command_as_for_fifty(
        self, gateway, hub, django_assert_num_queries
    ):
        for commands in (1, SEND_LIMIT):
            with django_assert_num_queries(2):
                gateway.send(
                    commands=[
                        command(Phase.READ, hub=hub, deployment=commands * 100 + number)
                        for number in range(commands)
                    ],
                    now=NOW,
                )

    def test_draws_when_a_hub_acts_from_the_seed_alone(self, gateway, hub):
        behave(read_delay=25.0, delay_spread=0.4)
        moments = []
        for deployment, seed in ((1, 1), (2, 1), (3, 2)):
            behave(seed=seed)
            gateway.send(commands=[command(Phase.READ, hub=hub, deployment=deployment)], now=NOW)
            moments.append(CommandLog.objects.get(deployment=deployment).acts_at)

        assert NOW < moments[0] == moments[1] != moments[2]

    def test_runs_on_compressed_time(self, gateway, hub):
        behave(stage_delay=1200.0, time_scale=60.0)
        gateway.send(commands=[command(Phase.STAGE, hub=hub)], now=NOW)

        assert CommandLog.objects.get().acts_at == NOW + timedelta(seconds=20)


class TestCollect:
    def test_lets_nothing_happen_before_its_time(self, gateway, hub):
        behave(stage_delay=60.0)
        gateway.send(commands=[command(Phase.STAGE, hub=hub)], now=NOW)

        assert gateway.collect(limit=9, now=NOW + timedelta(seconds=59)) == []
        assert FleetHub.objects.get().staged_version is None
        (report,) = gateway.collect(limit=9, now=LATER)
        assert report.observed_at == NOW + timedelta(seconds=60)

    def test_does_not_let_a_hub_act_after_the_command_is_valid(self, gateway, hub):
        ask(gateway, command(Phase.STAGE, hub=hub))
        behave(activate_delay=3601.0)
        gateway.send(commands=[command(Phase.ACTIVATE, hub=hub)], now=NOW)

        (report,) = gateway.collect(limit=9, now=LATER + timedelta(days=1))

        assert report.outcome == Outcome.EXPIRED
        assert report.observed_at == LATER
        assert FleetHub.objects.get().activations == 0

    def test_lets_a_hub_act_at_the_last_valid_moment_however_late_it_is_asked(self, gateway, hub):
        ask(gateway, command(Phase.STAGE, hub=hub))
        behave(activate_delay=3600.0)
        gateway.send(commands=[command(Phase.ACTIVATE, hub=hub)], now=NOW)

        (report,) = gateway.collect(limit=9, now=LATER + timedelta(days=1))

        assert (report.outcome, report.observed_at) == (Outcome.DONE, LATER)

    def test_lets_each_hub_act_in_the_order_of_the_moments(self, gateway, hub):
        behave(activate_delay=5.0)
        everything = [
            command(Phase.ACTIVATE, hub=hub, deployment=1),
            command(Phase.STAGE, hub=hub, deployment=2),
            command(Phase.STAGE, hub=hub, deployment=3)._replace(digest="cd" * 32),
        ]
        gateway.send(commands=everything, now=NOW)
        gateway.send(commands=[command(Phase.VERIFY, hub=hub, deployment=4)], now=NOW + timedelta(seconds=9))

        outcomes = {report.deployment: report for report in gateway.collect(limit=9, now=LATER)}

        assert outcomes[1].outcome == Outcome.NO_IMAGE_HELD, "deployment 3 staged another image over it"
        assert outcomes[4].version == OLD

    def test_marks_in_the_log_what_changed_a_hub(self, gateway, hub):
        ask(gateway, command(Phase.READ, hub=hub), command(Phase.STAGE, hub=hub))

        log = dict(CommandLog.objects.values_list("phase", "is_applied"))
        assert log == {Phase.READ: False, Phase.STAGE: True}
        assert not CommandLog.objects.exclude(acted_at=F("acts_at"), outcome=Outcome.DONE).exists()

    def test_keeps_a_dropped_report_to_itself(self, gateway, hub):
        behave(report_dropped=1.0)

        assert ask(gateway, command(Phase.STAGE, hub=hub)) == []
        assert FleetHub.objects.get().staged_version == NEW

    def test_hands_over_a_doubled_report_twice(self, gateway, hub):
        behave(report_doubled=1.0, report_delay=30.0)

        first, second = ask(gateway, command(Phase.READ, hub=hub))

        assert first.id != second.id
        assert first._replace(id=0) == second._replace(id=0)

    def test_hands_over_delayed_reports_late_and_out_of_order(self, gateway, hub):
        behave(report_delayed=0.5, report_delay=600.0, delay_spread=1.0)
        for number in range(20):
            gateway.send(
                commands=[command(Phase.READ, hub=FleetHubFactory().chf_id, deployment=number)],
                now=NOW + timedelta(seconds=number),
            )

        early = gateway.collect(limit=99, now=NOW + timedelta(seconds=30))
        late = gateway.collect(limit=99, now=NOW + timedelta(days=1))

        assert 0 < len(early) < 20 == len(late)
        observed = [report.observed_at for report in late]
        assert observed != sorted(observed)

    def test_changes_the_version_without_a_report_in_a_silent_activation(self, gateway, hub):
        ask(gateway, command(Phase.STAGE, hub=hub))
        behave(silent_activation=1.0)

        assert ask(gateway, command(Phase.ACTIVATE, hub=hub)) == []
        (report,) = ask(gateway, command(Phase.VERIFY, hub=hub))
        assert report.version == NEW

    @pytest.mark.parametrize(
        ("phase", "rate", "outcome"),
        [
            (Phase.READ, "never_reached", Outcome.UNREACHABLE),
            (Phase.STAGE, "transfer_failed", Outcome.TRANSFER_FAILED),
            (Phase.STAGE, "hash_mismatch", Outcome.HASH_MISMATCH),
            (Phase.STAGE, "verification_failed", Outcome.VERIFICATION_FAILED),
            (Phase.ACTIVATE, "activation_failed", Outcome.ACTIVATION_FAILED),
        ],
    )
    def test_fails_at_the_rate_of_the_profile_and_changes_nothing(self, gateway, hub, phase, rate, outcome):
        if phase is Phase.ACTIVATE:
            ask(gateway, command(Phase.STAGE, hub=hub))
        before = FleetHub.objects.values().get()
        behave(**{rate: 1.0})

        (report,) = ask(gateway, command(phase, hub=hub))

        assert report.outcome == outcome
        assert FleetHub.objects.values().get() == before

    def test_tries_again_with_new_luck(self, gateway, hub):
        behave(reachability=0.5)

        reports = ask(gateway, *(command(Phase.READ, hub=hub, attempt=number) for number in range(1, 40)))

        assert {report.outcome for report in reports} == {Outcome.DONE, Outcome.UNREACHABLE}

    def test_believes_what_it_was_told_of_an_image_rather_than_the_command(self, gateway, hub):
        image = FleetImage.objects.create(digest=DIGEST, version=NEW, minimum_hardware=1, maximum_hardware=1)
        image.models_covered.add(FleetHub.objects.get().model)
        right = FleetHub.objects.get()
        other_model = FleetHubFactory(model=HubModelFactory())
        other_hardware = FleetHubFactory(model=right.model, hardware_version=2)

        reports = ask(
            gateway,
            *(
                command(Phase.STAGE, hub=each.chf_id, deployment=number)
                for number, each in enumerate([right, other_model, other_hardware])
            ),
            command(Phase.STAGE, hub=FleetHubFactory(model=right.model).chf_id)._replace(version=NEW + 1),
        )

        outcomes = {report.deployment: report.outcome for report in reports}
        assert outcomes == {
            0: Outcome.DONE,
            1: Outcome.WRONG_HARDWARE,
            2: Outcome.WRONG_HARDWARE,
            2048: Outcome.HASH_MISMATCH,
        }

    def test_refuses_a_digest_that_is_none(self, gateway, hub):
        (report,) = ask(gateway, command(Phase.STAGE, hub=hub)._replace(digest="not a digest"))

        assert report.outcome == Outcome.HASH_MISMATCH

    def test_needs_a_handful_of_statements_for_any_number_of_hubs(
        self, gateway, hub, django_assert_max_num_queries
    ):
        for number in range(120):
            gateway.send(
                commands=[
                    command(Phase.STAGE, hub=FleetHubFactory().chf_id, deployment=number, token=number)
                ],
                now=NOW,
            )

        with django_assert_max_num_queries(14):
            assert len(gateway.collect(limit=2000, now=LATER)) == 120


class TestDefect:
    @pytest.fixture
    def staged(self, gateway, hub):
        ask(gateway, command(Phase.STAGE, hub=hub))
        return hub

    def test_fails_visibly_again_and_again(self, gateway, staged):
        Defect.objects.create(version=NEW, share=1.0, kind=Defect.Kind.VISIBLE)

        reports = ask(gateway, *(command(Phase.ACTIVATE, hub=staged, attempt=number) for number in (1, 2)))

        assert [report.outcome for report in reports] == [Outcome.ACTIVATION_FAILED] * 2
        assert FleetHub.objects.get().running_version == OLD

    def test_leaves_the_hub_silent_for_good(self, gateway, staged):
        Defect.objects.create(version=NEW, share=1.0, kind=Defect.Kind.SILENT)

        assert ask(gateway, command(Phase.ACTIVATE, hub=staged)) == []
        (report,) = ask(gateway, command(Phase.VERIFY, hub=staged), now=NOW + timedelta(minutes=30))
        assert report.outcome == Outcome.UNREACHABLE
        assert FleetHub.objects.get().running_version == NEW

    def test_lets_the_hub_answer_and_fall_silent_later(self, gateway, staged):
        Defect.objects.create(version=NEW, share=1.0, kind=Defect.Kind.LATE, late_by=7200.0)

        (report,) = ask(gateway, command(Phase.ACTIVATE, hub=staged))
        assert (report.phase, report.outcome) == (Phase.ACTIVATE, Outcome.DONE)
        for minutes, is_heard in ((1, True), (119, True), (121, False), (10_000, False)):
            [seen] = gateway.look(hubs=[staged], now=NOW + timedelta(minutes=minutes))
            assert seen.is_heard == is_heard
        read = command(Phase.READ, hub=staged, deployment=99)._replace(valid_until=NOW + timedelta(days=9))
        (report,) = ask(gateway, read, now=NOW + timedelta(hours=3))
        assert report.outcome == Outcome.UNREACHABLE

    def test_strikes_its_share_of_hubs_of_its_version_network_and_model_only(self, gateway, staged):
        model = FleetHub.objects.get().model
        here = FleetHub.objects.get().network
        elsewhere = NetworkProfileFactory(network__code="south").network
        for narrowed in ({"network": elsewhere}, {"model": HubModelFactory()}, {"version": NEW + 1}):
            Defect.objects.create(**{"version": NEW, "share": 1.0, "kind": "visible"} | narrowed)
        Defect.objects.create(version=NEW, share=0.3, kind="visible", network=here, model=model)
        held = {"staged_version": NEW, "staged_digest": DIGEST, "model": model}
        hubs = [FleetHubFactory(**held).chf_id for _ in range(200)]
        for start in range(0, 200, 50):
            gateway.send(
                commands=[
                    command(Phase.ACTIVATE, hub=chf_id, deployment=start + number)
                    for number, chf_id in enumerate(hubs[start : start + 50])
                ],
                now=NOW,
            )

        reports = gateway.collect(limit=999, now=LATER)
        failed = sum(report.outcome == Outcome.ACTIVATION_FAILED for report in reports)

        assert len(reports) == 200
        assert 40 <= failed <= 80


class TestConstraints:
    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"acted_at": NOW, "outcome": None}, "command_acted_has_outcome"),
            ({"is_applied": True, "acts_at": LATER + timedelta(seconds=1)}, "command_applied_while_valid"),
        ],
    )
    def test_keep_the_log_honest(self, gateway, hub, changes, name):
        gateway.send(commands=[command(Phase.READ, hub=hub)], now=NOW)

        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            CommandLog.objects.update(**changes)

    def test_tie_a_staged_version_to_its_digest(self, hub):
        with (
            pytest.raises(IntegrityError, match="fleet_hub_staged_version_with_digest"),
            transaction.atomic(),
        ):
            FleetHub.objects.update(staged_version=NEW)

    @pytest.mark.parametrize(
        ("changes", "name"),
        [({"share": 1.1}, "defect_share_is_a_share"), ({"kind": "odd"}, "defect_kind_known")],
    )
    def test_keep_a_defect_in_bounds(self, db, changes, name):
        Defect.objects.create(version=NEW, kind="late")

        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            Defect.objects.update(**changes)


@pytest.mark.django_db(transaction=True)
class TestRaces:
    """Real connections: what one process does, another must not do again."""

    def together(self, *acts):
        barrier = threading.Barrier(len(acts))
        results, failures = [], []

        def run(act):
            try:
                barrier.wait(timeout=10)
                results.append(act())
            except Exception as failure:
                failures.append(failure)
            finally:
                connection.close()

        threads = [threading.Thread(target=run, args=[act]) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert not failures
        return results

    @pytest.fixture
    def fleet(self):
        NetworkProfileFactory()
        return ModelledFleet()

    def test_one_key_from_many_senders_is_carried_out_once(self, fleet):
        hub = FleetHubFactory(running_version=OLD, staged_version=NEW, staged_digest=DIGEST).chf_id
        activate = command(Phase.ACTIVATE, hub=hub)

        receipts = self.together(*[lambda: ModelledFleet().send(commands=[activate], now=NOW)] * 8)
        reports = fleet.collect(limit=99, now=LATER)

        assert {receipt.verdict for (receipt,) in receipts} == {Verdict.ACCEPTED}
        assert [report.outcome for report in reports] == [Outcome.DONE]
        assert CommandLog.objects.get().repeats == 7

    def test_collectors_let_each_hub_act_once_and_in_order(self, fleet):
        hubs = [FleetHubFactory(running_version=OLD).chf_id for _ in range(40)]
        for number, hub in enumerate(hubs):
            fleet.send(
                commands=[
                    command(phase, hub=hub, deployment=number)
                    for phase in (Phase.STAGE, Phase.ACTIVATE, Phase.VERIFY)
                ],
                now=NOW,
            )

        self.together(*[lambda: ModelledFleet().collect(limit=1, now=LATER)] * 4)
        fleet.collect(limit=1, now=LATER)

        assert FleetReport.objects.count() == 120
        assert set(FleetReport.objects.values_list("outcome", flat=True)) == {Outcome.DONE}
        assert set(FleetHub.objects.values_list("activations", "running_version")) == {(1, NEW)}
