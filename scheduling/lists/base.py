"""
One machinery for all lists: what the address of a page asks for, and the page that it asks for.

The address says everything (filter, order, columns, where the page begins), so a link shows another person of the same
Supplier what one sees. What it says and the list does not know is left out, with a word about it, never an error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Model, QuerySet
from django.forms import Form
from django.http import QueryDict

from hubs.models import Supplier
from portal.ground import roles
from portal.ground.roles import SupplierCapability
from portal.ground.uk_time import LONDON
from scheduling.queries import keyset
from scheduling.queries.keyset import Mark
from scheduling.tables import ListTable

if TYPE_CHECKING:
    from portal.models import User

Line = TypeVar("Line")
Row = TypeVar("Row", bound=Model)
Text = str | int
"""A cell of a file: a number is one in a spreadsheet, and a text never anything else."""

SORT, COLUMNS, AFTER, BEFORE = "sort", "columns", "after", "before"
"""What an address says of any list, beside its own filters."""
LONGEST_KEY: Final = 400
"""Characters of a key in an address."""


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column as people choose it, and what a file says of it: its heads, and how a line is written below each.

    `sort` is by what the list can be put in its order; an extra column is shown where it is asked for.
    """

    cells: Mapping[str, Callable[[Any], Text]]
    sort: str = ""
    is_extra: bool = False


@dataclass(frozen=True, slots=True)
class Slice(Generic[Line]):
    """A page: its lines, and what to ask for its neighbours with; `is_unfinished` where the search paused."""

    lines: Sequence[Line]
    after: str | None
    before: str | None
    is_unfinished: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """By which column a list is put in order, and whether downwards."""

    column: str
    is_descending: bool

    def __str__(self) -> str:
        return f"{'-' if self.is_descending else ''}{self.column}"


@dataclass
class SupplierList(Generic[Line]):
    """
    A list of one Supplier's, as somebody of it asks for it in an address.

    `of` is what it is a list of, where it is not the Supplier's alone: a booking's hubs. `ignored` says in sentences
    what of the address was left out.
    """

    name: ClassVar[str]
    """Under which exports and saved filters know it."""
    title: ClassVar[str]
    nouns: ClassVar[tuple[str, str]]
    """What one of its lines is called, and several."""
    table: ClassVar[type[ListTable]]
    columns: ClassVar[Mapping[str, Column]]
    filters: ClassVar[tuple[str, ...]] = ()
    """What of an address narrows it."""
    usual: ClassVar[Order]
    usual_words: ClassVar[str]
    """In which order that is."""
    to_see: ClassVar[SupplierCapability] = roles.SEE

    supplier: Supplier
    person: "User"
    now: datetime
    asked: QueryDict
    of: Any = None
    ignored: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.form = self.filter_form()
        if self.form is not None and not self.form.is_valid():
            self.refused()
        self.order = self._order()
        self.shown = self._shown()

    @classmethod
    def extras(cls) -> list[str]:
        """Return the columns that are shown where they are asked for."""
        return [name for name, column in cls.columns.items() if column.is_extra]

    @classmethod
    def find(cls, *, supplier: Supplier, key: str) -> Any:
        """
        Return what a list is of, by what its address calls it; None where it is the Supplier's alone.

        :raises LookupError: if there is none, or it is another Supplier's
        """
        return None

    def key(self) -> str:
        """Return what the address calls what the list is of."""
        return ""

    def heading(self) -> str:
        """Name the list with what it is of."""
        return self.title

    def filter_form(self) -> Form | None:
        """Return the form of its filter as the address fills it in."""
        return None

    def refused(self) -> None:
        """Leave out what the filter cannot read; a list that would show what nobody asked for says so."""
        assert self.form is not None  # noqa: S101 - it is what has refused
        for name, errors in self.form.errors.items():
            said = self.form.fields[name].label or name.replace("_", " ").capitalize()
            self.ignored.append(f"{said}: {' '.join(map(str, errors))} The list is not narrowed by it.")

    def filtered(self, name: str) -> Any:
        """Return by what value of a filter the list is narrowed; None where it is not."""
        return (self.form.cleaned_data.get(name) or None) if self.form is not None else None

    def page(self, *, after: str, before: str, limit: int) -> Slice[Line]:
        """Return the lines that follow a key, or come before one, or the first ones; what is no key is ignored."""
        raise NotImplementedError

    def expected(self) -> int | None:
        """Return about how many lines there are in all, where that is known without counting."""
        return None

    # -- what the address says -----------------------------------------------------------------------------------

    def _order(self) -> Order:
        said = self.asked.get(SORT, "")
        wanted = Order(said.removeprefix("-"), said.startswith("-"))
        if not said:
            return self.usual
        if wanted.column in self.columns and self.columns[wanted.column].sort:
            return wanted
        self.ignored.append(f"The list cannot be put in order by “{said[:40]}”: it is in its usual order.")
        return self.usual

    def _shown(self) -> list[str]:
        known = [name for name in self.asked.getlist(COLUMNS) if name in self.columns]
        if len(known) < len(self.asked.getlist(COLUMNS)):
            self.ignored.append("A column that the address names is none of this list's: it is left out.")
        usual = [name for name, column in self.columns.items() if not column.is_extra]
        # a list without what its lines are called is none
        return [name for name in self.columns if name in known or name == usual[0]] if known else usual

    @property
    def is_usual(self) -> bool:
        """The columns are those that are shown where nobody has chosen."""
        return self.shown == [name for name, column in self.columns.items() if not column.is_extra]

    @property
    def is_filtered(self) -> bool:
        """Something narrows it."""
        return any(self.asked.get(name) for name in self.filters)

    def query(self, **other: str | None) -> str:
        """
        Return what an address says of the same list, without where a page begins, with something said otherwise.

        None takes something out.
        """
        said = QueryDict(mutable=True)
        for name in self.filters:
            said.setlist(name, [value for value in self.asked.getlist(name) if value])
        if self.order != self.usual:
            said[SORT] = str(self.order)
        if not self.is_usual:
            said.setlist(COLUMNS, self.shown)
        for name, value in other.items():
            said.pop(name, None)
            if value is not None:
                said[name] = value
        return said.urlencode()

    def order_words(self) -> str:
        """Say in which order the list is."""
        if self.order == self.usual:
            return self.usual_words
        head = self.label(self.order.column)
        return f"by “{head}”, {'falling' if self.order.is_descending else 'rising'}"

    def label(self, column: str) -> str:
        """Return what people call a column."""
        declared = self.table.base_columns[column]
        return str(declared.verbose_name or column.replace("_", " ").capitalize())

    # -- what a file says ----------------------------------------------------------------------------------------

    def heads(self) -> list[str]:
        """Return the heads of a file."""
        return [head for name in self.shown for head in self.columns[name].cells]

    def portion(self, *, after: str, limit: int) -> tuple[list[list[Text]], str | None]:
        """Return some lines of a file behind a key, and the key to go on with; None at the end."""
        found = self.page(after=after, before="", limit=limit)
        writers = [text for name in self.shown for text in self.columns[name].cells.values()]
        return [[text(line) for text in writers] for line in found.lines], found.after


class RowList(SupplierList[Line], Generic[Line, Row]):
    """A list of rows of a small table, in the order of any column of theirs that is never empty."""

    def rows(self) -> QuerySet[Row]:
        """Return all rows that the filter leaves, in no order."""
        raise NotImplementedError

    def lines(self, rows: Sequence[Row]) -> Sequence[Line]:
        """Add to the rows of a page what else is shown, at once for all of them."""
        raise NotImplementedError

    def page(self, *, after: str, before: str, limit: int) -> Slice[Line]:
        """Fetch a page of rows, by their keys."""
        rows = self.rows()
        by = self.columns[self.order.column].sort
        found = keyset.page(
            rows=rows,
            by=by,
            is_descending=self.order.is_descending,
            after=self._mark(rows, by, after),
            before=self._mark(rows, by, before),
            limit=limit,
        )
        return Slice(self.lines(found.rows), _as_text(found.after, by), _as_text(found.before, by))

    def _mark(self, rows: QuerySet[Row], by: str, text: str) -> Mark | None:
        """Read where a page begins; what is no such place is ignored."""
        key, _, value = text[:LONGEST_KEY].partition("~")
        number = integer(key)
        if number is None or by == "pk":
            return None if number is None else (number, number)
        try:
            read = _field(rows.model, by).to_python(value)
        except (ValidationError, ValueError, OverflowError):
            return None
        if isinstance(read, datetime) and read.tzinfo is None:
            return None
        if isinstance(read, int) and not isinstance(read, bool) and not -(2**31) <= read < 2**31:
            return None
        return None if read is None or "\0" in str(read) else (read, number)


def _field(model: type[Model], path: str) -> "models.Field[Any, Any]":
    first, _, rest = path.partition("__")
    found = model._meta.get_field(first)
    return _field(found.related_model, rest) if rest else found  # type: ignore[arg-type, return-value]  # a column


def _as_text(mark: Mark | None, by: str) -> str | None:
    if mark is None:
        return None
    value, key = mark
    if by == "pk":
        return str(key)
    return f"{key}~{value.isoformat() if isinstance(value, datetime) else value}"


def integer(text: str) -> int | None:
    """Read a key of a page; what is none, or beyond any, is ignored."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return None
    key = int(text)
    return key if -(2**63) <= key < 2**63 else None


def uk(moment: datetime | None) -> str:
    """Write a moment in UK time as files do."""
    return f"{moment.astimezone(LONDON):%Y-%m-%d %H:%M %Z}" if moment else ""
