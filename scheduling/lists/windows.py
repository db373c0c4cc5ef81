"""The list of a Supplier's protected windows."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from scheduling.forms import WindowFilterForm
from scheduling.lists.base import Column, Order, RowList, uk
from scheduling.models import ProtectedWindow
from scheduling.queries import windows
from scheduling.tables import WindowTable


@dataclass(frozen=True, slots=True)
class Line:
    """One window in the list, with the number of slots of open releases that it touches."""

    window: ProtectedWindow
    when: str
    who: str
    strength: str
    blocked: int


class WindowList(RowList[Line, ProtectedWindow]):
    """The windows that are on or to come, or also those that are over."""

    name = "windows"
    title = "Protected windows"
    nouns = ("window", "windows")
    table = WindowTable
    filters = ("kind", "strength", "scope", "which")
    usual = Order("made_at", is_descending=True)
    usual_words = "newest first"
    columns = {
        "kind": Column({"What for": lambda line: line.window.get_kind_display()}, sort="kind"),
        "when": Column({"When (UK time)": lambda line: line.when}),
        "who": Column({"Which hubs": lambda line: line.who}),
        "strength": Column({"Strength": lambda line: line.strength}, sort="is_hard"),
        "blocked": Column({"Slots of open releases": lambda line: line.blocked}),
        "reason": Column({"Reason": lambda line: line.window.reason}),
        # windows are numbered as they are made
        "made_at": Column(
            {"Made (UK time)": lambda line: uk(line.window.created_at)}, sort="pk", is_extra=True
        ),
        "made_by": Column({"Made by": lambda line: str(line.window.made_by)}, is_extra=True),
    }

    def filter_form(self) -> WindowFilterForm:
        """Return the form."""
        return WindowFilterForm(self.asked)

    def rows(self) -> QuerySet[ProtectedWindow]:
        """Return the windows that the filter leaves."""
        found = (
            windows.of_supplier(supplier=self.supplier)
            if self.filtered("which")
            else windows.not_over(supplier=self.supplier, now=self.now)
        )
        if kind := self.filtered("kind"):
            found = found.filter(kind=kind)
        if scope := self.filtered("scope"):
            found = found.filter(scope=scope)
        if strength := self.filtered("strength"):
            found = found.filter(is_hard=strength == WindowFilterForm.HARD)
        return found

    def lines(self, rows: Sequence[ProtectedWindow]) -> list[Line]:
        """Say of each when it is and for whom, and how many slots it touches."""
        blocked = windows.blocked(windows=rows, now=self.now)
        return [
            Line(
                window,
                windows.when(window=window),
                windows.who(window=window),
                "Hard" if window.is_hard else "Soft",
                blocked.get(window.pk, 0),
            )
            for window in rows
        ]
