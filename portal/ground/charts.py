"""Pictures that a script draws from a table, and the files that have the same numbers (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Number: TypeAlias = int | float | None
FEW, SOME = 3, 8
"""Bars that lie below each other in a low picture, and in one of usual height."""


@dataclass(frozen=True, slots=True)
class Series:
    """
    One column of the table, and how it is drawn.

    `colour` is a name of the palette (static/css/components.css); `look` is a dash, a point and a filling of
    static/js/charts.js, so that nothing is told by its colour alone. `kind` is `bar` or `line`.
    """

    word: str
    colour: str
    look: str = "solid"
    kind: str = "bar"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what it is of, and a number for each series; None where there is none."""

    word: str
    values: Sequence[Number]
    words: Sequence[str] = ()
    """What the table says in place of the bare numbers, where it says more."""

    @property
    def cells(self) -> Iterator[tuple[Number, str]]:
        """Yield each number with its words, which are empty where the number speaks for itself."""
        words = self.words or [""] * len(self.values)
        yield from zip(self.values, words, strict=True)


@dataclass(frozen=True, slots=True)
class Chart:
    """
    A picture, and the table from which it is drawn.

    `key` tells it from the other pictures of a page. `first` heads the column of the rows; `unit` is that of all
    numbers. `address` is where they can be taken away. `lies` says that its bars lie, since their words are long.
    """

    key: str
    title: str
    first: str
    unit: str
    series: Sequence[Series]
    rows: Sequence[Row]
    address: str = ""
    note: str = ""
    stacked: bool = False
    lies: bool = False
    most: int | None = None
    """Where the axis of the numbers ends, if that is known."""

    @property
    def size(self) -> str:
        """Say how high it has to be for its lying bars."""
        return "few" if len(self.rows) <= FEW else "some" if len(self.rows) <= SOME else "many"

    @property
    def header(self) -> list[str]:
        """The heads of the columns, for a file."""
        return [self.first, *(series.word for series in self.series)]

    @property
    def lines(self) -> list[list[str]]:
        """The rows below them, with bare numbers."""
        return [
            [row.word, *("" if value is None else str(value) for value in row.values)] for row in self.rows
        ]
