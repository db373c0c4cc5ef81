"""Filters of lists that somebody keeps: all of them, and one to be renamed or deleted."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.generic import TemplateView

from portal import lists
from portal.ground import roles
from scheduling.models import SavedFilter
from scheduling.operations import saved as acts
from scheduling.queries import saved
from scheduling.views.base import SupplierPage


def shown_at(kept: SavedFilter) -> str:
    """Return where what is kept is seen; nowhere for a list of something that the name does not say."""
    return "" if lists.PAGES[kept.list][1] else lists.address(name=kept.list, subject="", query=kept.query)


class SavedFiltersView(SupplierPage, TemplateView):
    """What one keeps; keeping more."""

    template_name = "portal/saved_filters.html"
    to_change = roles.SEE  # it changes nothing of the Supplier's

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Find one's own."""
        found = saved.of_person(supplier=self.supplier, person=self.person)
        return super().get_context_data(
            kept=[(one, lists.EVERY[one.list].title, shown_at(one)) for one in found], **kwargs
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Keep what a list shows, and lead back to it."""
        said = request.POST
        try:
            found = lists.opened(
                name=said.get("list", ""),
                subject=said.get("of", ""),
                query=said.get("query", ""),
                supplier=self.supplier,
                person=self.person,
                now=self.now,
            )
        except LookupError:
            messages.error(
                request, "That is no list whose filter can be kept. Open the list, and keep it there."
            )
            return redirect("saved-filters")
        except PermissionDenied:
            raise Http404 from None
        try:
            kept = acts.keep(
                supplier=self.supplier,
                name=said.get("name", ""),
                of=found.name,
                query=found.query(),
                by=self.person,
                now=self.now,
            )
            messages.success(request, f"“{kept}” is kept: it stands above the list.")
        except acts.UnableToKeep as refusal:
            messages.error(request, str(refusal))
        return redirect(lists.address(name=found.name, subject=found.key(), query=found.query()))


class SavedFilterView(SupplierPage, TemplateView):
    """One that one keeps: rename or delete it."""

    template_name = "portal/saved_filter.html"
    to_change = roles.SEE
    kept: SavedFilter
    refusal = ""

    def find(self) -> None:
        """Fetch it; a colleague's is not there."""
        own = saved.of_person(supplier=self.supplier, person=self.person)
        self.kept = get_object_or_404(own, pk=self.kwargs["pk"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say of which list it is."""
        return super().get_context_data(
            kept=self.kept,
            title=lists.EVERY[self.kept.list].title,
            seen_at=shown_at(self.kept),
            name=self.request.POST.get("name", self.kept.name),
            refusal=self.refusal,
            **kwargs,
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Do what the button says."""
        if "delete" in request.POST:
            acts.delete(kept=self.kept)
            messages.success(request, f"“{self.kept}” is deleted.")
            return redirect("saved-filters")
        try:
            acts.rename(kept=self.kept, name=request.POST.get("name", ""))
        except acts.UnableToKeep as refusal:
            self.refusal = str(refusal)
            self.find()
            return self.render_to_response(self.get_context_data(**kwargs), status=409)
        messages.success(request, "The filter has its new name.")
        return redirect("saved-filters")
