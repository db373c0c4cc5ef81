"""Protected windows: list, week, form, file, and taking one back."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from hubs.models import Network
from portal.ground import roles
from portal.ground.downloads import csv_lines
from portal.ground.uk_time import LONDON, day_bounds
from scheduling.forms import EARLIEST_DAY, LATEST_DAY, WindowFileForm, WindowForm, window_fields
from scheduling.lists.windows import WindowList
from scheduling.models import ProtectedWindow
from scheduling.operations import uploads
from scheduling.operations import windows as acts
from scheduling.queries import groups, weeks, windows
from scheduling.queries.weeks import Entry
from scheduling.views import weeks as pictures
from scheduling.views import window_files
from scheduling.views.base import SupplierPage
from scheduling.views.lists import ListPage

SHOWN = 100
SECTION = "windows"
LISTED = 500
"""Spans that the table of a week shows."""


class WindowsView(ListPage, TemplateView):
    """The windows that are on or to come, newest first unless the address says otherwise."""

    template_name = "scheduling/windows.html"
    list_class = WindowList

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask a fixed number of questions."""
        return super().get_context_data(section=SECTION, listing=self.listing(limit=SHOWN), **kwargs)

    def left_out(self) -> Sequence[str]:
        """Leave out where a window can be changed for those who may not."""
        return () if self.person.may_act else ("acts",)


class WindowFormPage(SupplierPage, FormView[WindowForm]):
    """The form of a window, for a new one and for one that is there."""

    to_see = roles.ACT
    template_name = "scheduling/windows_new.html"
    form_class = WindowForm

    def get_form_kwargs(self) -> dict[str, Any]:
        """Give the form what can be chosen from."""
        return {
            **super().get_form_kwargs(),
            "networks": list(Network.objects.order_by("name")),
            "groups": list(groups.of_supplier(supplier=self.supplier)),
        }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Name the section."""
        return super().get_context_data(section=SECTION, **kwargs)

    def form_valid(self, form: WindowForm) -> HttpResponse:
        """Do it, or say why not."""
        try:
            said = self.act(acts.Wish(form.window, form.cleaned_data["hubs"]))
        except acts.UnableToProtect as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        messages.success(self.request, said)
        return redirect("scheduling:windows")

    def act(self, wish: acts.Wish) -> str:
        """
        Do what the form is for, and return what was done.

        :raises UnableToProtect: if it cannot be
        """
        raise NotImplementedError


class NewWindowView(WindowFormPage):
    """Keep a new window."""

    def get_initial(self) -> dict[str, Any]:
        """Begin with the group of the page that led here."""
        return {name: value for name in ("scope", "group") if (value := self.request.GET.get(name))}

    def act(self, wish: acts.Wish) -> str:
        """Keep it."""
        acts.protect(window=wish.window, supplier=self.supplier, hubs=wish.hubs, by=self.person, now=self.now)
        return "The window is kept."


class OneWindowPage(SupplierPage):
    """A page of one window, which it calls `self.window`."""

    window: ProtectedWindow

    def find(self) -> None:
        """
        Fetch the window.

        :raises Http404: if it is not this Supplier's, or does not exist
        """
        window = windows.of_supplier(supplier=self.supplier).filter(pk=self.kwargs["pk"]).first()
        if window is None:
            raise Http404
        self.window = window


class EditWindowView(OneWindowPage, WindowFormPage):
    """Change a window."""

    def find(self) -> None:
        """Fetch the hubs of its list, too; those that are no longer the Supplier's are not shown."""
        super().find()
        self.listed = windows.listed(window=self.window)

    def get_initial(self) -> dict[str, Any]:
        """Begin with what it is."""
        return window_fields(window=self.window, hubs=self.listed)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say how many hubs of its list have gone."""
        return super().get_context_data(
            window=self.window, gone=max(self.window.hubs - len(self.listed), 0), **kwargs
        )

    def act(self, wish: acts.Wish) -> str:
        """Change it."""
        acts.change(window=self.window, wish=wish, by=self.person, now=self.now)
        return "The window is changed."


class DeleteWindowView(OneWindowPage, TemplateView):
    """Take a window back."""

    to_see = roles.ACT
    template_name = "scheduling/windows_delete.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what would happen, in numbers."""
        return super().get_context_data(
            section=SECTION,
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


class WeekView(SupplierPage, TemplateView):
    """A week of windows, with what DCC closes in it: as a picture and as a table."""

    template_name = "scheduling/windows_week.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Draw the week that is asked for, or this one."""
        today = self.now.astimezone(LONDON).date()
        first = pictures.monday(
            asked=self.request.GET.get("week", ""), today=today, first=EARLIEST_DAY, last=LATEST_DAY
        )
        following = first + pictures.WEEK
        found = weeks.entries(
            supplier=self.supplier, start=day_bounds(first)[0], end=day_bounds(following)[0]
        )
        return super().get_context_data(
            section=SECTION,
            first_day=first,
            last_day=following - timedelta(days=1),
            week=pictures.draw(first=first, entries=found, today=today, edit=self.edit),
            entries=[(entry, self.edit(entry)) for entry in found[:LISTED]],
            more=max(len(found) - LISTED, 0),
            before=f"?week={first - pictures.WEEK}",
            after=f"?week={following}",
            is_now=first <= today < following,
            **kwargs,
        )

    def edit(self, entry: Entry) -> str:
        """Return where an entry can be changed; nothing where it is DCC's."""
        if entry.window is None or not self.person.may_act:
            return ""
        return reverse("scheduling:edit-window", args=[entry.window.pk])


class UploadWindowsView(SupplierPage, FormView[WindowFileForm]):
    """Keep the windows of a file, and show what became of each row."""

    to_see = roles.ACT
    template_name = "scheduling/windows_upload.html"
    form_class = WindowFileForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what a file looks like."""
        return super().get_context_data(
            section=SECTION, columns=window_files.EXPLAINED, most=window_files.MOST_ROWS, **kwargs
        )

    def form_valid(self, form: WindowFileForm) -> HttpResponse:
        """Keep what can be kept."""
        upload = form.cleaned_data["file"]
        try:
            file = window_files.read(file=upload.file, supplier=self.supplier)
        except window_files.UnreadableFile as refusal:
            form.add_error("file", str(refusal))
            return self.form_invalid(form)
        wishes = file.wishes
        reasons = acts.protect_many(
            wishes=[wish for _, wish in wishes], supplier=self.supplier, by=self.person, now=self.now
        )
        for (row, _), reason in zip(wishes, reasons, strict=True):
            row.reason = reason
        result = file.upload(file_name=upload.name or "", at=self.now, by=str(self.person))
        return redirect("scheduling:upload", uploads.keep(supplier=self.supplier, upload=result))


class ExampleWindowsView(SupplierPage):
    """A file with the header, and with rows that show how windows are written."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Send it."""
        lines = csv_lines(header=list(window_files.COLUMNS), rows=window_files.EXAMPLES)
        response = HttpResponse("".join(lines), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="windows-example.csv"'
        return response
