"""Pages by key: whatever the order, each row once, also where rows come and go meanwhile."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs.models import Network
from scheduling.queries import keyset
from scheduling.queries.keyset import Mark, Stretch
from tests import factories

KEYS = st.sets(st.integers(0, 60), max_size=40)
MOVES = st.lists(st.sampled_from(["on", "back"]), max_size=30)


def turned(
    rows: Sequence[int], *, after: int | None = None, before: int | None = None, limit: int
) -> Stretch[int, int]:
    """Return a page of numbers, as one fetches it from a table that has them."""

    def fetch(start: int | None, is_backwards: bool, most: int) -> list[int]:
        if is_backwards:
            return sorted((row for row in rows if start is None or row < start), reverse=True)[:most]
        return sorted(row for row in rows if start is None or row > start)[:most]

    return keyset.stretch(fetch=fetch, key_of=lambda row: row, after=after, before=before, limit=limit)


class TestStretch:
    @given(KEYS, st.integers(1, 7))
    def test_leads_past_each_row_once_there_and_back(self, rows: set[int], limit: int) -> None:
        there, page = [], turned(list(rows), limit=limit)
        assert page.before is None
        there += page.rows
        while page.after is not None:
            page = turned(list(rows), after=page.after, limit=limit)
            assert page.rows, "a page that is offered has something"
            there += page.rows
        back = list(page.rows)
        while page.before is not None:
            page = turned(list(rows), before=page.before, limit=limit)
            assert page.rows
            back = [*page.rows, *back]

        assert there == back == sorted(rows)

    @given(KEYS, KEYS, KEYS, st.integers(1, 7))
    def test_shows_what_was_there_all_the_time_once_while_others_come_and_go(
        self, stay: set[int], come: set[int], go: set[int], limit: int
    ) -> None:
        come, go = come - stay, go - stay
        seen, after = [], None
        for turn in range(100):
            page = turned([*stay, *(go if turn == 0 else come)], after=after, limit=limit)
            seen += page.rows
            after = page.after
            if after is None:
                break

        assert [row for row in seen if row in stay] == sorted(stay)
        assert all(one < other for one, other in pairwise(seen))


class TestPage:
    """The same from a table, in an order in which many are equal."""

    @pytest.mark.parametrize("is_descending", [False, True])
    @pytest.mark.parametrize("by", ["pk", "name", "carrier"])
    def test_visits_each_row_once_in_any_order(self, by: str, is_descending: bool, db: None) -> None:
        for number, carrier in enumerate("ABABBCAC"):
            factories.NetworkFactory.create(name=f"Network {9 - number}", carrier=carrier)
        expected = list(Network.objects.order_by(*(f"{'-' * is_descending}{term}" for term in (by, "pk"))))

        def page(**where: Mark | None) -> Stretch[Network, Mark]:
            beside = {"after": None, "before": None} | where
            return keyset.page(
                rows=Network.objects.all(), by=by, is_descending=is_descending, limit=5, **beside
            )

        first = page()
        second = page(after=first.after)
        third = page(after=second.after)
        back = page(before=third.before)
        middle = page(after=back.after)

        assert [*first.rows, *second.rows, *third.rows] == expected
        assert (first.before, third.after) == (None, None)
        assert (back.rows, middle.rows) == (second.rows, third.rows)
