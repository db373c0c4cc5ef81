"""
Pages of a list by the key of the row at their edge, in any order that an index or a small set has.

A page begins behind a row, not behind a number of rows: so it costs the same wherever it is, and rows that come and go
meanwhile neither repeat others nor hide them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from django.db.models import F, Model, Q, QuerySet

Row = TypeVar("Row")
Key = TypeVar("Key")
ModelRow = TypeVar("ModelRow", bound=Model)

Mark = tuple[Any, int]
"""Where a row stands in an order: its value there, and its primary key, by which equals are told apart."""


@dataclass(frozen=True, slots=True)
class Stretch(Generic[Row, Key]):
    """
    Some rows in the order of a list.

    `after` and `before` are what to ask for the neighbouring pages with, None where there is none.
    """

    rows: Sequence[Row]
    after: Key | None
    before: Key | None


def stretch(
    *,
    fetch: Callable[[Key | None, bool, int], Sequence[Row]],
    key_of: Callable[[Row], Key],
    after: Key | None,
    before: Key | None,
    limit: int,
) -> Stretch[Row, Key]:
    """
    Return the `limit` rows that follow the key `after`, or that come before `before`, or the first ones.

    `fetch` is given where to begin, whether it goes backwards from there, and how many rows it may return.
    """
    is_backwards = before is not None
    start = before if is_backwards else after
    found = fetch(start, is_backwards, limit + 1)
    has_more = len(found) > limit
    shown = list(found[:limit])
    if is_backwards:
        shown.reverse()
    # where we came from there was something, or nobody would have asked to start here
    first, last = (key_of(shown[0]), key_of(shown[-1])) if shown else (start, start)
    return Stretch(
        shown,
        after=last if is_backwards or has_more else None,
        before=first if (has_more if is_backwards else start is not None) else None,
    )


def page(
    *,
    rows: QuerySet[ModelRow],
    by: str,
    is_descending: bool,
    after: Mark | None,
    before: Mark | None,
    limit: int,
) -> Stretch[ModelRow, Mark]:
    """Return a page of rows in the order of a column that is never null (or `pk`), equals by their keys."""
    ordered = rows if by == "pk" else cast("QuerySet[ModelRow]", rows.annotate(_by=F(by)))

    def fetch(start: Mark | None, is_backwards: bool, most: int) -> list[ModelRow]:
        goes_down = is_descending != is_backwards
        found = ordered if start is None else ordered.filter(_beyond(by, start, "lt" if goes_down else "gt"))
        terms = ("pk",) if by == "pk" else ("_by", "pk")
        return list(found.order_by(*(f"-{term}" if goes_down else term for term in terms))[:most])

    return stretch(
        fetch=fetch, key_of=lambda row: mark(row=row, by=by), after=after, before=before, limit=limit
    )


def mark(*, row: Model, by: str) -> Mark:
    """Return where a row that `page` has fetched stands in its order."""
    return (row.pk if by == "pk" else row._by, row.pk)  # type: ignore[attr-defined]  # annotated above


def _beyond(by: str, start: Mark, direction: str) -> Q:
    value, key = start
    if by == "pk":
        return Q(**{f"pk__{direction}": key})
    # the first term says again what the others say together: an index can begin with it
    return Q(**{f"_by__{direction}e": value}) & (
        Q(**{f"_by__{direction}": value}) | Q(**{f"pk__{direction}": key})
    )
