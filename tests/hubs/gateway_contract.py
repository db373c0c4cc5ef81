"""
What every carrier adapter must do, as tests that any adapter can be run through.

A subclass provides the fixtures `gateway` (a `HubGateway` whose hubs answer at once and never fail),
`hub` (the CHF ID of a hub that runs OLD and holds no image) and `stranger` (one that the carrier
does not know).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from hubs.gateway import (
    Accountable,
    Command,
    CommandRefused,
    HubGateway,
    Outcome,
    Phase,
    Receipt,
    Report,
    Sighting,
    Verdict,
    Watchful,
)

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
OLD, NEW = 0x02000001, 0x02000002
DIGEST = "ab" * 32


def command(phase: Phase, *, hub: int, deployment: int = 2048, attempt: int = 1, token: int = 1) -> Command:
    """Build a command of lot 1 that stays valid for an hour."""
    image = {"digest": DIGEST, "version": NEW} if phase in (Phase.STAGE, Phase.ACTIVATE) else {}
    return Command(deployment, phase, attempt, hub, 1, token, LATER, **image)  # type: ignore[arg-type]


def ask(gateway: HubGateway, *commands: Command, now: datetime = NOW) -> Sequence[Report]:
    """Send commands, collect everything an hour later, acknowledge it."""
    gateway.send(commands=commands, now=now)
    reports = gateway.collect(limit=100, now=now + timedelta(hours=1))
    gateway.acknowledge(reports=[report.id for report in reports])
    return reports


class GatewayContract:
    """The promises in the head of `hubs.gateway`."""

    def test_answers_each_command_with_a_receipt_in_order(self, gateway, hub):
        commands = [command(phase, hub=hub, deployment=number) for number, phase in ((9, 1), (7, 4), (8, 1))]
        commands = [each._replace(phase=Phase(each.phase)) for each in commands]

        receipts = gateway.send(commands=commands, now=NOW)

        assert receipts == [
            Receipt(each.deployment, each.phase, each.attempt, Verdict.ACCEPTED) for each in commands
        ]

    def test_sends_nothing_without_complaint(self, gateway, hub):
        assert list(gateway.send(commands=[], now=NOW)) == []

    def test_takes_no_more_than_fifty_and_then_none(self, gateway, hub):
        commands = [command(Phase.READ, hub=hub, deployment=number) for number in range(51)]

        with pytest.raises((CommandRefused, ValueError)):
            gateway.send(commands=commands, now=NOW)

        assert list(gateway.collect(limit=99, now=LATER)) == []

    def test_reads_the_running_version(self, gateway, hub):
        (report,) = ask(gateway, command(Phase.READ, hub=hub))

        assert (report.deployment, report.phase, report.attempt, report.hub) == (2048, Phase.READ, 1, hub)
        assert (report.outcome, report.version) == (Outcome.DONE, OLD)
        assert NOW <= report.observed_at <= LATER

    def test_stages_without_changing_the_running_version(self, gateway, hub):
        (staged,) = ask(gateway, command(Phase.STAGE, hub=hub))
        (read,) = ask(gateway, command(Phase.READ, hub=hub, attempt=2))

        assert staged.outcome == Outcome.DONE
        assert read.version == OLD

    def test_activates_what_is_staged(self, gateway, hub):
        ask(gateway, command(Phase.STAGE, hub=hub))
        (activated,) = ask(gateway, command(Phase.ACTIVATE, hub=hub))
        (verified,) = ask(gateway, command(Phase.VERIFY, hub=hub))

        assert activated.outcome == Outcome.DONE
        assert verified.version == NEW

    def test_does_not_activate_what_it_does_not_hold(self, gateway, hub):
        (unstaged,) = ask(gateway, command(Phase.ACTIVATE, hub=hub))
        ask(gateway, command(Phase.STAGE, hub=hub))
        (other,) = ask(gateway, command(Phase.ACTIVATE, hub=hub, attempt=2)._replace(digest="cd" * 32))

        assert unstaged.outcome == other.outcome == Outcome.NO_IMAGE_HELD

    def test_carries_out_a_key_once_however_often_it_comes(self, gateway, hub):
        ask(gateway, command(Phase.STAGE, hub=hub))
        activate = command(Phase.ACTIVATE, hub=hub)
        first = gateway.send(commands=[activate, activate], now=NOW)
        second = gateway.send(commands=[activate], now=NOW + timedelta(seconds=1))
        reports = ask(gateway, activate)

        assert [receipt.verdict for receipt in (*first, *second)] == [Verdict.ACCEPTED] * 3
        assert [report.outcome for report in reports] == [Outcome.DONE]
        assert ask(gateway, activate) == []

    def test_takes_another_attempt_for_another_command(self, gateway, hub):
        reports = ask(gateway, command(Phase.READ, hub=hub), command(Phase.READ, hub=hub, attempt=2))

        assert {report.attempt for report in reports} == {1, 2}

    def test_refuses_a_token_older_than_one_seen_for_the_lot(self, gateway, hub):
        gateway.send(commands=[command(Phase.READ, hub=hub, token=2)], now=NOW)

        (receipt,) = gateway.send(commands=[command(Phase.READ, hub=hub, attempt=2)], now=NOW)

        assert receipt.verdict == Verdict.STALE_TOKEN
        assert {report.attempt for report in gateway.collect(limit=9, now=LATER)} == {1}

    def test_takes_a_refused_key_from_the_holder_of_the_new_token(self, gateway, hub):
        gateway.send(commands=[command(Phase.READ, hub=hub, deployment=1, token=2)], now=NOW)
        gateway.send(commands=[command(Phase.READ, hub=hub)], now=NOW)

        (receipt,) = gateway.send(commands=[command(Phase.READ, hub=hub, token=2)], now=NOW)

        assert receipt.verdict == Verdict.ACCEPTED
        assert {report.deployment for report in gateway.collect(limit=9, now=LATER)} == {1, 2048}

    def test_keeps_the_tokens_of_lots_apart(self, gateway, hub):
        gateway.send(commands=[command(Phase.READ, hub=hub, token=5)], now=NOW)

        (receipt,) = gateway.send(
            commands=[command(Phase.READ, hub=hub, deployment=4096)._replace(lot=2)], now=NOW
        )

        assert receipt.verdict == Verdict.ACCEPTED

    def test_does_not_carry_out_what_is_no_longer_valid(self, gateway, hub):
        ask(gateway, command(Phase.STAGE, hub=hub))
        late = command(Phase.ACTIVATE, hub=hub)._replace(valid_until=NOW - timedelta(seconds=1))

        (receipt,) = gateway.send(commands=[late], now=NOW)
        (again,) = gateway.send(commands=[late], now=NOW)
        (read,) = ask(gateway, command(Phase.VERIFY, hub=hub))

        assert receipt.verdict == again.verdict == Verdict.EXPIRED
        assert read.version == OLD

    def test_says_of_a_hub_that_it_does_not_know_that_it_was_not_reached(self, gateway, stranger):
        (report,) = ask(gateway, command(Phase.READ, hub=stranger))

        assert (report.outcome, report.version) == (Outcome.UNREACHABLE, None)

    def test_repeats_a_report_until_it_is_acknowledged(self, gateway, hub):
        gateway.send(commands=[command(Phase.READ, hub=hub)], now=NOW)
        once = gateway.collect(limit=9, now=LATER)
        twice = gateway.collect(limit=9, now=LATER)
        gateway.acknowledge(reports=[report.id for report in once])
        gateway.acknowledge(reports=[report.id for report in once])

        assert len(once) == 1
        assert once == twice
        assert list(gateway.collect(limit=9, now=LATER)) == []

    def test_hands_over_no_more_reports_than_asked_for(self, gateway, hub):
        gateway.send(
            commands=[command(Phase.READ, hub=hub, deployment=number) for number in range(1, 6)], now=NOW
        )

        first = gateway.collect(limit=2, now=LATER)
        gateway.acknowledge(reports=[report.id for report in first])

        assert len(first) == 2
        assert len(gateway.collect(limit=9, now=LATER)) == 3


class AccountableContract:
    """The promises of `Accountable`: what the carrier received can be read back."""

    def test_reads_back_the_log_in_its_order_and_each_key_once(self, gateway, hub):
        stage = command(Phase.STAGE, hub=hub, token=3)
        read = command(Phase.READ, hub=hub, token=3)
        gateway.send(commands=[stage, read, stage], now=NOW)
        gateway.send(commands=[stage], now=LATER)
        gateway.send(commands=[command(Phase.VERIFY, hub=hub, token=3)], now=LATER + timedelta(seconds=1))
        gateway.send(commands=[command(Phase.ACTIVATE, hub=hub, token=2)], now=NOW)  # refused: not received

        assert isinstance(gateway, Accountable)
        first, *others = gateway.received(after=0, limit=10)

        assert {one.phase for one in (first, others[0])} == {Phase.READ, Phase.STAGE}
        assert [(one.phase, one.is_accepted) for one in others[1:]] == [(Phase.VERIFY, False)]
        assert [one.position for one in others] == sorted(one.position for one in others)
        [held] = [one for one in (first, others[0]) if one.phase == Phase.STAGE]
        assert (held.deployment, held.attempt, held.hub, held.digest, held.version) == (
            2048, 1, hub, DIGEST, NEW,
        )  # fmt: skip
        assert (held.received_at, held.valid_until, held.is_accepted) == (NOW, LATER, True)

    def test_reads_on_after_a_position(self, gateway, hub):
        gateway.send(
            commands=[command(Phase.READ, hub=hub, deployment=number) for number in range(5)], now=NOW
        )
        log = gateway.received(after=0, limit=10)
        assert gateway.received(after=log[1].position, limit=2) == log[2:4]
        assert gateway.received(after=log[-1].position, limit=2) == []


class WatchfulContract:
    """The promises of `Watchful`: hubs can be looked at, and nothing is done to them."""

    def test_says_of_each_hub_whether_it_answers_and_what_it_runs(self, gateway, hub, stranger):
        assert isinstance(gateway, Watchful)

        seen = gateway.look(hubs=[stranger, hub], now=NOW)

        assert list(seen) == [Sighting(stranger, False), Sighting(hub, True, OLD)]

    def test_changes_nothing(self, gateway, hub):
        for _ in range(3):
            gateway.look(hubs=[hub], now=NOW)

        assert gateway.collect(limit=9, now=LATER) == []
        assert gateway.received(after=0, limit=9) == []

    def test_looks_at_nobody_without_complaint(self, gateway):
        assert list(gateway.look(hubs=[], now=NOW)) == []
