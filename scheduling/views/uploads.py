"""What became of an uploaded list, and its refused rows to take away."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import reverse
from django.views.generic import TemplateView

from portal.ground.downloads import csv_response
from scheduling.queries import groups, uploads
from scheduling.queries.uploads import Upload
from scheduling.sheets import Format
from scheduling.views.base import SupplierPage
from scheduling.views.downloads import REASONS, widened, xlsx_response

SHOWN = 100
"""Refused rows that the page itself shows."""


class UploadPage(SupplierPage):
    """A page of one result, which it calls `self.upload`."""

    key: UUID
    upload: Upload

    def find(self) -> None:
        """
        Fetch the result.

        :raises Http404: if it is not this Supplier's, or is there no more
        """
        self.key = self.kwargs["pk"]
        upload = uploads.find(supplier=self.supplier, key=self.key)
        if upload is None:
            raise Http404
        self.upload = upload


class UploadView(UploadPage, TemplateView):
    """The counts, and the first refused rows."""

    template_name = "scheduling/upload.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what the rows were for, and where that is."""
        refused = self.upload.refused
        return super().get_context_data(
            key=self.key,
            upload=self.upload,
            refused=refused[:SHOWN],
            refused_count=len(refused),
            more=max(len(refused) - SHOWN, 0),
            **self.subject(),
            **kwargs,
        )

    def subject(self) -> dict[str, Any]:
        """Name what the rows were for; a group may be gone by now."""
        what, _, number = self.upload.of.partition(":")
        if what == "windows":
            return {
                "section": "windows",
                "unit": "window",
                "back": reverse("scheduling:windows"),
                "back_word": "Protected windows",
            }
        group = groups.of_supplier(supplier=self.supplier).filter(pk=int(number)).first()
        return {
            "section": "groups",
            "unit": "hub",
            "back": reverse("scheduling:group", args=[group.pk]) if group else reverse("scheduling:groups"),
            "back_word": group.name if group else "Groups",
        }


class UploadRefusedView(UploadPage):
    """Every refused row with its reason, in the form in which it came."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send the file."""
        upload, name = self.upload, f"refused-{self.key}"
        heads = [*widened(upload.header, upload.width), *REASONS] if upload.header else []
        if upload.format == Format.XLSX:
            return xlsx_response(name=f"{name}.xlsx", header=heads, rows=self.rows())
        return csv_response(name=f"{name}.csv", header=heads, rows=self.rows(), delimiter=upload.delimiter)

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield each row as it was written, then the reason and the way forward."""
        for row in self.upload.refused:
            yield *widened(row.cells, self.upload.width), row.reason, row.forward
