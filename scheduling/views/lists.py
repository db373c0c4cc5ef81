"""What every page with a list has: the list as its address asks for it, and the ways to see it otherwise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.http import QueryDict

from scheduling.lists.base import AFTER, BEFORE, COLUMNS, SORT, Line, Slice, SupplierList
from scheduling.models import SavedFilter
from scheduling.queries import saved
from scheduling.tables import ListTable
from scheduling.views.base import SupplierPage


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a list, for `scheduling/list.html`."""

    of: SupplierList[Any]
    here: str
    page: Slice[Any]
    table: ListTable
    caption: str
    kept: Sequence[SavedFilter]
    """What this person keeps of the list."""

    @property
    def links(self) -> list[tuple[str, str, bool]]:
        """What is kept: name, where it is seen, and whether it is what is seen now."""
        now = self.of.query()
        return [(one.name, f"{self.here}?{one.query}", one.query == now) for one in self.kept]

    @property
    def has_lines(self) -> bool:
        """There is something to show."""
        return bool(self.page.lines)

    @property
    def shown(self) -> str:
        """What is shown, in words."""
        count = len(self.page.lines)
        return f"{count} {self.of.nouns[count != 1]} on this page, {self.of.order_words()}"

    @property
    def first(self) -> str:
        """Where the first page is, where this is none."""
        return self._at() if self.page.before is not None else ""

    @property
    def previous(self) -> str:
        """Where the page before is, if there is one."""
        return self._at(**{BEFORE: self.page.before}) if self.page.before is not None else ""

    @property
    def next(self) -> str:
        """Where the page behind is, if there is one."""
        return self._at(**{AFTER: self.page.after}) if self.page.after is not None else ""

    @property
    def is_first(self) -> bool:
        """Nothing comes before."""
        return self.page.before is None

    @property
    def whole(self) -> str:
        """Where the list is that no filter narrows."""
        return self._at(**dict.fromkeys(self.of.filters))

    @property
    def usual_columns(self) -> str:
        """Where the list is with the columns that it shows where nobody has chosen."""
        return self._at(**{COLUMNS: None})

    @property
    def choices(self) -> list[tuple[str, str, bool, bool]]:
        """The columns: name, label, whether shown, whether always."""
        return [
            (name, self.of.label(name), name in self.of.shown, place == 0)
            for place, name in enumerate(self.of.columns)
        ]

    @property
    def beside_columns(self) -> list[tuple[str, str]]:
        """What the form of the columns sends along."""
        return list(_said(self.of.query(**{COLUMNS: None})))

    @property
    def beside_filter(self) -> list[tuple[str, str]]:
        """What the form of the filter sends along."""
        return list(_said(self.of.query(**dict.fromkeys(self.of.filters))))

    def _at(self, **other: str | None) -> str:
        query = self.of.query(**other)
        return f"{self.here}?{query}" if query else self.here


def _said(query: str) -> Iterator[tuple[str, str]]:
    for name, values in QueryDict(query).lists():
        for value in values:
            yield name, value


class ListPage(SupplierPage):
    """A page with a list, which is narrowed, ordered and turned by the address."""

    list_class: ClassVar[type[SupplierList[Any]]]

    def listing(self, *, limit: int, of: Any = None, caption: str = "") -> Listing:
        """Return the page of the list that the address asks for."""
        found = self.list_class(
            supplier=self.supplier, person=self.person, now=self.now, asked=self.request.GET, of=of
        )
        page: Slice[Any] = found.page(
            after=self.request.GET.get(AFTER, ""), before=self.request.GET.get(BEFORE, ""), limit=limit
        )
        here = self.request.path
        hidden = [name for name in found.columns if name not in found.shown]
        table = found.table(page.lines, exclude=[*hidden, *self.left_out()])
        table.orders = {name: _order(found, here, name) for name in found.shown if found.columns[name].sort}
        kept = list(saved.of_person(supplier=self.supplier, person=self.person).filter(list=found.name))
        return Listing(found, here, page, table, f"{caption or found.heading()}, {found.order_words()}", kept)

    def left_out(self) -> Sequence[str]:
        """Return columns that this person has nothing from: those with what they may not do."""
        return ()


def _order(found: SupplierList[Line], here: str, name: str) -> tuple[str, str]:
    """Return where the list is by a column, the other way where it is in that order already, and which way it is."""
    is_now = found.order.column == name
    said = f"-{name}" if is_now and not found.order.is_descending else name
    wanted = None if said == str(found.usual) else said
    query = found.query(**{SORT: wanted})
    way = ("descending" if found.order.is_descending else "ascending") if is_now else ""
    return (f"{here}?{query}" if query else here), way
