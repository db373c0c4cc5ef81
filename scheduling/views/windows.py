"""Protected windows: list, form, and taking one back."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from scheduling.forms import WindowForm
from scheduling.models import ProtectedWindow
from scheduling.operations import windows as acts
from scheduling.queries import windows
from scheduling.tables import WindowTable
from scheduling.views.base import SupplierPage

SHOWN = 100


@dataclass(frozen=True, slots=True)
class Line:
    """One window in the list, with the number of slots of open releases that it touches."""

    window: ProtectedWindow
    when: str
    who: str
    strength: str
    blocked: int


class WindowsView(SupplierPage, TemplateView):
    """The windows that are on or to come, newest first."""

    template_name = "scheduling/windows.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask a fixed number of questions."""
        found = list(windows.not_over(supplier=self.supplier, now=self.now)[: SHOWN + 1])
        blocked = windows.blocked(windows=found[:SHOWN], now=self.now)
        lines = [
            Line(
                window,
                windows.when(window=window),
                windows.who(window=window),
                "Hard" if window.is_hard else "Soft",
                blocked.get(window.pk, 0),
            )
            for window in found[:SHOWN]
        ]
        return super().get_context_data(
            section="windows",
            table=WindowTable(lines),
            has_windows=bool(lines),
            has_more=len(found) > SHOWN,
            shown=SHOWN,
            **kwargs,
        )


class NewWindowView(SupplierPage, FormView[WindowForm]):
    """Keep a new window."""

    template_name = "scheduling/windows_new.html"
    form_class = WindowForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Name the section."""
        return super().get_context_data(section="windows", **kwargs)

    def form_valid(self, form: WindowForm) -> HttpResponse:
        """Keep it, or say why not."""
        try:
            acts.protect(
                window=form.window,
                supplier=self.supplier,
                hubs=form.cleaned_data["hubs"],
                by=self.person,
                now=self.now,
            )
        except acts.UnableToProtect as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        messages.success(self.request, "The window is kept.")
        return redirect("scheduling:windows")


class DeleteWindowView(SupplierPage, TemplateView):
    """Take a window back."""

    template_name = "scheduling/windows_delete.html"

    def find(self) -> None:
        """
        Fetch the window.

        :raises Http404: if it is not this Supplier's, or does not exist
        """
        window = windows.of_supplier(supplier=self.supplier).filter(pk=self.kwargs["pk"]).first()
        if window is None:
            raise Http404
        self.window = window

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what would happen, in numbers."""
        return super().get_context_data(
            section="windows",
            window=self.window,
            when=windows.when(window=self.window),
            who=windows.who(window=self.window),
            blocked=windows.blocked(windows=[self.window], now=self.now).get(self.window.pk, 0),
            **kwargs,
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Delete it."""
        acts.lift(window=self.window, by=self.person, now=self.now)
        messages.success(request, "The window is deleted; its slots are open to your bookings again.")
        return redirect("scheduling:windows")
