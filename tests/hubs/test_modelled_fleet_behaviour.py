"""What a hub does as it is told, where no bad luck strikes, is what it does at all."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from hubs.gateway import Command, Outcome, Phase
from hubs.modelled_fleet.behaviour import Hazards, HubState, Profile, Reaction, react

AT = datetime(2026, 11, 2, 12, tzinfo=UTC)
OLD, NEW = 1, 2
DIGEST = "ab" * 32
ROUGH = Profile(
    seed=3,
    reachability=0.9,
    never_reached=0.05,
    transfer_failed=0.05,
    hash_mismatch=0.05,
    verification_failed=0.05,
    activation_failed=0.1,
    silent_activation=0.1,
    report_dropped=0.05,
    report_doubled=0.05,
    report_delayed=0.05,
)


def hub(chf_id: int, phase: Phase) -> HubState:
    """Return a hub that has all that a command of a phase needs."""
    if phase is Phase.ACTIVATE:
        return HubState(chf_id, 1, 1, 1, OLD, staged_version=NEW, staged_digest=DIGEST)
    return HubState(chf_id, 1, 1, 1, OLD)


def reaction(chf_id: int, phase: Phase, profile: Profile) -> Reaction:
    """Let a hub react to its second attempt."""
    command = Command(1, phase, 2, chf_id, 1, 1, AT + timedelta(hours=1), DIGEST, NEW)
    return react(hub=hub(chf_id, phase), command=command, at=AT, profile=profile)


class TestHazards:
    @pytest.mark.parametrize("phase", list(Phase))
    def test_strike_where_a_hub_does_not_simply_do_as_it_is_told(self, phase: Phase) -> None:
        hazards, seen = Hazards(phase=phase, profile=ROUGH), Counter[bool]()
        for chf_id in range(0, 4_000, 2):
            found = reaction(chf_id, phase, ROUGH)
            plain = (
                found.outcome is Outcome.DONE
                and found.reports_at == (AT,)
                and found.is_applied == (phase in (Phase.STAGE, Phase.ACTIVATE))
            )
            struck = hazards.strike(chf_id=chf_id, attempt=2)
            assert (
                plain or struck
            )  # what strikes may come to nothing: who was not reached has nothing to fail at
            seen[struck] += 1
        assert min(seen.values()) > 300

    @pytest.mark.parametrize("phase", list(Phase))
    def test_never_strike_where_nothing_goes_wrong(self, phase: Phase) -> None:
        safe = Profile(
            reachability=1.0,
            never_reached=0.0,
            transfer_failed=0.0,
            verification_failed=0.0,
            activation_failed=0.0,
            silent_activation=0.0,
            report_dropped=0.0,
            report_doubled=0.0,
            report_delayed=0.0,
        )
        hazards = Hazards(phase=phase, profile=safe)
        assert not any(hazards.strike(chf_id=chf_id, attempt=2) for chf_id in range(100))
