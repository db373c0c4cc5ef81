"""When stages open, and who has a turn when, as rules."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.ground.uk_time import Span
from scheduling.turns import Aim, Forecast, Open, Opening, Policy, Slot, aims_in_order, forecast

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HOUR = timedelta(hours=1)
POLICY = Policy([50, 500], Span(24, "hours"), Span(2, "hours"))
BEGINNING = Open(number=1, step=1, opened_at=NOW, size=50, admitted=0)


def slot(number: int, *, network: int = 1, **hubs: int) -> Slot:
    """Return a slot that begins so many hours from now."""
    return Slot(number, network, NOW + number * HOUR, NOW + (number + 1) * HOUR, **hubs)


def look(*slots: Slot, opened: Open = BEGINNING, policy: Policy = POLICY) -> Forecast:
    return forecast(policy=policy, opened=opened, slots=slots, now=NOW)


HUBS = st.integers(0, 400)
SLOTS = st.lists(
    st.tuples(st.integers(1, 2), HUBS, HUBS, HUBS, st.integers(0, 600), st.integers(0, 30)), max_size=60
).map(
    lambda rows: [
        slot(number, network=network, begun=begun, moved=moved, booked=booked, free=free, first=first)
        for number, (network, begun, moved, booked, free, first) in enumerate(rows)
    ]
)
STAGES = st.one_of(
    st.builds(lambda admitted, chosen: replace(BEGINNING, admitted=admitted, is_chosen=chosen),
              st.integers(0, 50), st.booleans()),
    st.builds(lambda step, admitted: Open(step, step, NOW, 500, admitted), st.integers(2, 5), st.integers(0, 500)),
)  # fmt: skip


def all_of(one: Slot) -> int:
    return one.first + one.begun + one.moved + one.booked


class TestForecast:
    def test_lets_each_stage_open_when_the_one_before_has_soaked_and_goes_on_in_tranches(self) -> None:
        found = look(slot(2, booked=40), slot(3, booked=30), slot(30, booked=490), slot(60, booked=900))

        assert found.openings[:3] == [
            Opening(2, 500, NOW + 27 * HOUR),
            Opening(3, 500, NOW + 84 * HOUR),
            # after the last size of the policy nothing soaks, but silence has its deadline
        ]
        turns = [(found.turns[number].turns, found.turns[number].substitutes) for number in (2, 3, 30, 60)]
        assert turns == [(40, 0), (10, 1), (490, 0), (10, 1)]

    def test_aims_at_the_first_slots_after_the_opening_that_have_places(self) -> None:
        found = look(slot(0, booked=1_000), slot(20, free=900), slot(24, free=300), slot(25, free=900))

        assert found.turns[0].turns == 50
        assert found.turns[0].substitutes == 5
        second, third = NOW + 24 * HOUR, NOW + 25 * HOUR
        assert found.turns[0].aims == [Aim(second, 300), Aim(third, 220), Aim(None, 425)]

    def test_keeps_the_order_of_the_slots(self) -> None:
        found = look(
            slot(0, booked=250), slot(1, booked=200), slot(24, booked=500, free=600), slot(60, free=600)
        )

        later = NOW + 24 * HOUR
        assert found.turns[0].aims == [Aim(later, 195)]
        assert found.turns[1].aims == [Aim(later, 200)]
        # those who are booked there have what is left of that stage
        assert found.turns[24].turns == 105

    def test_gives_those_who_came_earlier_their_turns_before_those_who_wait(self) -> None:
        found = look(slot(0, booked=300), slot(24, moved=400, free=500))

        assert found.turns[24].turns == 400
        assert found.turns[0].aims == [Aim(NOW + 24 * HOUR, 110), Aim(None, 135)]

    def test_keeps_the_places_of_the_first_hubs(self) -> None:
        chosen = replace(BEGINNING, is_chosen=True)

        found = look(slot(0, booked=100, first=20), slot(2, first=30, booked=100), opened=chosen)

        assert [found.turns[number].turns for number in (0, 2)] == [20, 30]
        assert found.openings[0].at == NOW + 26 * HOUR

    def test_fills_a_first_stage_with_others_where_too_few_were_chosen(self) -> None:
        found = look(slot(0, booked=100, first=20), opened=replace(BEGINNING, is_chosen=True))
        assert found.turns[0].turns == 50

    def test_lets_hubs_go_in_a_slot_in_which_the_next_stage_opens(self) -> None:
        quick = Policy([50], Span(0, "minutes"), Span(20, "minutes"))
        found = look(slot(0, booked=1_000), policy=quick)

        assert found.turns[0].turns == 150
        assert [opening.at - NOW for opening in found.openings[:2]] == [HOUR / 3, 2 * HOUR / 3]

    @pytest.mark.parametrize(
        ("stage", "opens"),
        [
            ({"admitted": 50, "full_at": NOW - 3 * HOUR}, 21 * HOUR),
            ({"admitted": 50, "full_at": NOW - 30 * HOUR}, 0 * HOUR),
            ({"step": 3, "admitted": 50, "full_at": NOW - HOUR}, HOUR),
            ({"admitted": 10, "size": 10, "full_at": NOW, "is_cut": True}, 2 * HOUR),
        ],
        ids=["soaks", "is over", "a tranche", "cut off"],
    )
    def test_goes_on_from_a_stage_that_is_full(self, stage: dict[str, Any], opens: timedelta) -> None:
        found = look(slot(30, booked=1), opened=replace(BEGINNING, **stage))

        assert found.openings[0].at == NOW + opens
        assert found.openings[0].size == (50 if "is_cut" in stage else 500)

    @pytest.mark.parametrize(
        ("stage", "opens"),
        [
            ({"looked_at": NOW + 25 * HOUR}, 25 * HOUR),
            ({"looked_at": NOW + 20 * HOUR}, 23 * HOUR),
            ({"looked_at": NOW + 25 * HOUR, "step": 3}, HOUR),
            ({"looked_at": NOW + 25 * HOUR, "is_cut": True}, HOUR),
        ],
        ids=["soaks", "looked at before", "a tranche", "cut off"],
    )
    def test_waits_until_the_hubs_of_the_stage_were_looked_at_again(
        self, stage: dict[str, Any], opens: timedelta
    ) -> None:
        full = replace(BEGINNING, admitted=50, full_at=NOW - HOUR, **stage)
        assert look(slot(30, booked=1), opened=full).openings[0].at == NOW + opens

    @given(SLOTS, STAGES)
    def test_forgets_no_hub_and_invents_none(self, slots: list[Slot], opened: Open) -> None:
        found = look(*slots, opened=opened)
        for one in slots:
            turns = found.turns[one.slot]
            assert turns.turns + turns.substitutes + sum(aim.hubs for aim in turns.aims) == all_of(one)

    @given(SLOTS, STAGES)
    def test_gives_no_stage_more_than_its_size_and_no_slot_more_than_its_places(
        self, slots: list[Slot], opened: Open
    ) -> None:
        found = look(*slots, opened=opened)
        aims = [aim for turns in found.turns.values() for aim in turns.aims if aim.at]
        let_in = sum(with_turns(sum(aim.hubs for aim in aims if aim.at == one.start_at)) for one in slots)
        turns = sum(one.turns for one in found.turns.values())
        assert turns + let_in <= opened.size - opened.admitted + sum(one.size for one in found.openings)
        for one in slots:
            assert sum(aim.hubs for aim in aims if aim.at == one.start_at) <= one.free

    @given(SLOTS, STAGES)
    def test_opens_stages_one_after_the_other(self, slots: list[Slot], opened: Open) -> None:
        found = look(*slots, opened=opened)
        assert all(two.at - one.at >= 2 * HOUR for one, two in pairwise(found.openings))
        assert [one.number for one in found.openings] == list(
            range(opened.number + 1, opened.number + 1 + len(found.openings))
        )

    @given(SLOTS, STAGES)
    def test_says_the_same_once_they_are_moved(self, slots: list[Slot], opened: Open) -> None:
        """Who was moved as the forecast says has a turn there: nobody is moved a second time."""
        found = look(*slots, opened=opened)
        crowded = next((one for one in slots if found.turns[one.slot].aims), None)
        if crowded is None or sum(aim.hubs for aim in found.turns[crowded.slot].aims) > crowded.booked:
            return
        after = list(moved(slots, crowded, found.turns[crowded.slot].aims))
        again = look(*after, opened=opened)

        assert all(aim.at is None for aim in again.turns[crowded.slot].aims)
        for before, now in zip(slots, after, strict=True):
            came = with_turns(now.moved - before.moved)
            had = found.turns[before.slot].turns if before is not crowded else 0
            assert again.turns[before.slot].turns >= min(had + came, all_of(now)) or before is crowded


def with_turns(let_in: int) -> int:
    """Return how many of those who are let into a slot have a turn there at least; the others are substitutes."""
    return max(let_in - 1, 0) * 10 // 11


def moved(slots: Sequence[Slot], source: Slot, aims: Sequence[Aim]) -> list[Slot]:
    """Move the hubs of a slot to where they aim at."""
    after = []
    for one in slots:
        came = sum(aim.hubs for aim in aims if aim.at == one.start_at)
        went = sum(aim.hubs for aim in aims if aim.at) if one is source else 0
        after.append(
            replace(one, moved=one.moved + came, booked=one.booked - went, free=one.free - came + went)
        )
    return after


class TestAimsInOrder:
    def test_cuts_them_and_sends_the_rest_where_the_last_go(self) -> None:
        soon, late = NOW + HOUR, NOW + 2 * HOUR
        aims = [Aim(soon, 3), Aim(late, 3)]
        assert aims_in_order(aims=aims, hubs=2, otherwise=NOW) == [Aim(soon, 2)]
        assert aims_in_order(aims=aims, hubs=8, otherwise=NOW) == [Aim(soon, 3), Aim(late, 3), Aim(late, 2)]
        assert aims_in_order(aims=[], hubs=2, otherwise=NOW) == [Aim(NOW, 2)]
