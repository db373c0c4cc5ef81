"""What a report means: every phase and outcome has an answer, and none of them is unsafe."""

from itertools import product

import pytest

from hubs.gateway import Outcome, Phase
from scheduling.lifecycle import FINAL, MOVES, Ending, State
from scheduling.reactions import Reaction, Wait, to_report

TARGET, OLD, OTHER = 0x20, 0x10, 0x77
WHERE = {
    Phase.READ: State.STAGING,
    Phase.STAGE: State.STAGING,
    Phase.ACTIVATE: State.ACTIVATING,
    Phase.VERIFY: State.ACTIVATING,
}


def react(phase: Phase, outcome: Outcome, version: int | None = None, tries: int = 1) -> Reaction:
    """React with the release of these tests: from OLD to TARGET."""
    return to_report(
        phase=phase,
        tries=tries,
        outcome=outcome,
        version=version,
        target=TARGET,
        predecessors=frozenset({OLD}),
    )


@pytest.mark.parametrize(
    ("phase", "outcome", "version", "tries"),
    list(product(Phase, Outcome, [None, TARGET, OLD, OTHER], [1, 2, 3, 9])),
)
class TestEveryReport:
    def test_leads_along_a_move_that_exists(
        self, phase: Phase, outcome: Outcome, version: int | None, tries: int
    ) -> None:
        reaction = react(phase, outcome, version, tries)
        assert reaction.state == WHERE[phase] or reaction.state in MOVES[WHERE[phase]]
        assert (reaction.wait is Wait.NEVER) == (reaction.state in FINAL)

    def test_makes_a_success_of_nothing_but_a_matching_read_back(
        self, phase: Phase, outcome: Outcome, version: int | None, tries: int
    ) -> None:
        succeeded = react(phase, outcome, version, tries).state == State.SUCCEEDED
        assert succeeded == ((phase, outcome, version) == (Phase.VERIFY, Outcome.DONE, TARGET))

    def test_activates_again_only_when_the_hub_was_surely_not_contacted(
        self, phase: Phase, outcome: Outcome, version: int | None, tries: int
    ) -> None:
        if (
            phase in (Phase.ACTIVATE, Phase.VERIFY)
            and react(phase, outcome, version, tries).state == State.STAGED
        ):
            assert phase == Phase.ACTIVATE
            assert outcome in (Outcome.UNREACHABLE, Outcome.EXPIRED)


class TestReadBeforeStaging:
    def test_lets_a_predecessor_through(self) -> None:
        assert react(Phase.READ, Outcome.DONE, OLD).phase == Phase.STAGE

    def test_stops_at_a_version_that_is_no_predecessor(self) -> None:
        assert react(Phase.READ, Outcome.DONE, OTHER).ending == Ending.VERSION_CHANGED

    def test_asks_again_where_no_version_was_said(self) -> None:
        reaction = react(Phase.READ, Outcome.DONE, None)
        assert (reaction.state, reaction.phase, reaction.missed) == (State.STAGING, Phase.READ, True)

    @pytest.mark.parametrize(("version", "goes"), [(TARGET - 1, True), (TARGET + 1, False), (-1, False)])
    def test_never_goes_back_to_an_older_version_where_any_predecessor_will_do(
        self, version: int, goes: bool
    ) -> None:
        reaction = to_report(
            phase=Phase.READ, tries=1, outcome=Outcome.DONE, version=version, target=TARGET, predecessors=None
        )
        assert (reaction.phase == Phase.STAGE) == goes


class TestVerification:
    def test_gives_up_after_three_silent_reads(self) -> None:
        assert [react(Phase.VERIFY, Outcome.UNREACHABLE, tries=tries).state for tries in (1, 2, 3)] == [
            State.ACTIVATING,
            State.ACTIVATING,
            State.UNCONFIRMED,
        ]

    def test_tells_a_hub_that_stayed_from_one_that_went_elsewhere(self) -> None:
        assert react(Phase.VERIFY, Outcome.DONE, OLD).ending == Ending.NOT_ACTIVATED
        assert react(Phase.VERIFY, Outcome.DONE, OTHER).ending == Ending.WRONG_VERSION
