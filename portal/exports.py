"""Lists as files: ask for one, see how far it is, take it away."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.views.generic import TemplateView

from portal import lists
from portal.ground import roles, workbooks
from scheduling.models import Export
from scheduling.operations import exports as acts
from scheduling.queries import exports
from scheduling.views.base import SupplierPage

SHOWN = 50
"""Exports that somebody finds again."""
KINDS = {Export.Format.CSV: "text/csv; charset=utf-8", Export.Format.XLSX: workbooks.KIND}
STOP_POLLING = 286
"""The status on which htmx stops asking."""


class ExportsView(SupplierPage, TemplateView):
    """What one has exported of late; asking for more."""

    template_name = "portal/exports.html"
    to_change = roles.SEE  # who sees a list may take it away

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Find one's own."""
        found = exports.of_person(supplier=self.supplier, person=self.person, limit=SHOWN)
        return super().get_context_data(
            exports=found,
            kept=exports.KEPT.days,
            now=self.now,
            is_any_open=any(one.is_open for one in found),
            **kwargs,
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Put one in line, and lead to it; or say why not."""
        said = request.POST
        try:
            kind = Export.Format(said.get("format", ""))
            found = lists.opened(
                name=said.get("list", ""),
                subject=said.get("of", ""),
                query=said.get("query", ""),
                supplier=self.supplier,
                person=self.person,
                now=self.now,
            )
        except (LookupError, ValueError):
            messages.error(
                request, "That is no list that can be exported. Open the list, and choose a file there."
            )
            return redirect("exports")
        except PermissionDenied:
            raise Http404 from None
        try:
            export = acts.ask(
                supplier=self.supplier,
                name=found.name,
                subject=found.key(),
                query=found.query(),
                title=found.heading(),
                kind=kind,
                expected=found.expected(),
                by=self.person,
                now=self.now,
            )
        except acts.UnableToExport as refusal:
            messages.error(request, str(refusal))
            return redirect("exports")
        return redirect("one-export", export.pk)


class OneExportPage(SupplierPage):
    """A page of one export, which it calls `self.export`: a colleague's, too, whose list one may see."""

    export: Export

    def find(self) -> None:
        """
        Fetch the export.

        :raises Http404: if it is another Supplier's, of a list that this person may not see, or does not exist
        """
        export = exports.of_supplier(supplier=self.supplier).filter(pk=self.kwargs["pk"]).first()
        if export is None or not self.person.may(lists.EVERY[export.list].to_see):
            raise Http404
        self.export = export


class OneExportView(OneExportPage, TemplateView):
    """How far an export is, and what can be done with it."""

    to_change = roles.SEE

    def get_template_names(self) -> list[str]:
        """Leave the frame out where the page asks for itself."""
        return ["portal/_export.html" if "HX-Request" in self.request.headers else "portal/export.html"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show it; once it is over, also say that there is no need to ask again."""
        response = super().get(request, *args, **kwargs)
        if "HX-Request" in request.headers and not self.export.is_open:
            response.status_code = STOP_POLLING
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say where it is."""
        export = self.export
        found = lists.EVERY[export.list]
        return super().get_context_data(
            export=export,
            list_title=found.title,
            seen_at=lists.address(name=export.list, subject=export.subject, query=export.query),
            share=min(export.rows * 100 // export.expected, 100) if export.expected else None,
            ahead=exports.ahead_of(export=export) if export.state == Export.State.WAITING else 0,
            gone_at=export.ended_at + exports.KEPT if export.ended_at else None,
            kept=exports.KEPT.days,
            now=self.now,
            **kwargs,
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Stop it, or begin it again."""
        if "stop" in request.POST:
            if not acts.stop(export=self.export, by=self.person, now=self.now):
                messages.info(request, "The export was over before it could be stopped.")
        elif "again" in request.POST and not acts.again(export=self.export, by=self.person, now=self.now):
            messages.info(request, "The export is under way, or its file is ready.")
        return redirect("one-export", self.export.pk)


class ExportFileView(OneExportPage):
    """The file of an export."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send it; lead to its page where it is not there yet, or no more."""
        export = self.export
        if not export.stored or not default_storage.exists(export.stored):
            return redirect("one-export", export.pk)
        return FileResponse(
            default_storage.open(export.stored),
            as_attachment=True,
            filename=file_name(export=export),
            content_type=KINDS[Export.Format(export.format)],
        )


def file_name(*, export: Export) -> str:
    """Name a file after its list, what it is of, and the moment (UTC) at which reading began."""
    named = "-".join(part for part in (export.list, export.subject) if part)
    moment = f"-{export.began_at:%Y%m%dT%H%M%SZ}" if export.began_at else ""
    return f"{named}{moment}.{export.format}"
