"""Saved groups of hubs: list, make, look at one, add and take out, rename, delete."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from portal.ground import roles
from scheduling.forms import FILTERED, GroupForm, ListFields, MembersForm, PilotForm, RenameForm
from scheduling.lists.hubs import MemberList, filter_choices
from scheduling.models import HubGroup
from scheduling.operations import groups as acts
from scheduling.operations import uploads
from scheduling.operations.groups import Outcome, UnableToGroup
from scheduling.queries import groups, windows
from scheduling.queries.uploads import RefusedRow, Upload
from scheduling.tables import GroupTable
from scheduling.views.base import SupplierPage
from scheduling.views.lists import ListPage

PAGE = 50
WINDOWS = 20
SECTION = "groups"


@dataclass(frozen=True, slots=True)
class Line:
    """One group in the list, with the number of windows that stand on it."""

    group: HubGroup
    windows: int


def hubs_word(hubs: int) -> str:
    """Write a number of hubs."""
    return f"{hubs:,} hub{'' if hubs == 1 else 's'}"


class GroupsView(SupplierPage, TemplateView):
    """All of a Supplier's groups."""

    template_name = "scheduling/groups.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask for the groups, and at once for the windows on all of them."""
        standing = groups.windows_by_group(supplier=self.supplier, now=self.now)
        lines = [
            Line(group, standing.get(group.pk, 0)) for group in groups.of_supplier(supplier=self.supplier)
        ]
        return super().get_context_data(
            section=SECTION, table=GroupTable(lines), has_groups=bool(lines), **kwargs
        )


class GroupingPage(SupplierPage):
    """A page that changes a group by a list."""

    def after(self, *, group: HubGroup, form: ListFields, outcome: Outcome, said: str) -> HttpResponse:
        """Say what was done; where rows were refused, show them."""
        messages.success(self.request, said)
        if not outcome.refused:
            return redirect("scheduling:group", group.pk)
        key = uploads.keep(
            supplier=self.supplier,
            upload=Upload(
                of=f"group:{group.pk}",
                file_name=form.file_name,
                at=self.now,
                by=str(self.person),
                rows=outcome.rows,
                taken=outcome.changed,
                unchanged=outcome.unchanged,
                format=outcome.layout.format,
                delimiter=outcome.layout.delimiter,
                header=outcome.layout.header,
                refused=[
                    RefusedRow(row.cells, row.refusal.label, row.refusal.way_forward)
                    for row in outcome.refused
                ],
            ),
        )
        return redirect("scheduling:upload", key)


class NewGroupView(GroupingPage, FormView[GroupForm]):
    """Make a group."""

    to_see = roles.ACT
    template_name = "scheduling/groups_new.html"
    form_class = GroupForm

    def get_form_kwargs(self) -> dict[str, Any]:
        """Give the form the values that this Supplier's hubs have."""
        return {**super().get_form_kwargs(), **filter_choices(self.supplier)}

    def get_initial(self) -> dict[str, Any]:
        """Begin with the filter of the page that led here."""
        return {name: value for name in (*FILTERED, "source") if (value := self.request.GET.get(name))}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Name the section."""
        return super().get_context_data(section=SECTION, **kwargs)

    def form_valid(self, form: GroupForm) -> HttpResponse:
        """Make it, or say why not."""
        by_list = form.cleaned_data["source"] == GroupForm.LIST
        try:
            group, outcome = acts.make(
                supplier=self.supplier,
                name=form.cleaned_data["name"],
                hubs=form.named if by_list else form.filters,
                by=self.person,
                now=self.now,
            )
        except UnableToGroup as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        said = f"The group “{group.name}” is kept, with {hubs_word(group.hubs)}."
        return self.after(group=group, form=form, outcome=outcome, said=said)


class OneGroupPage(SupplierPage):
    """A page of one group, which it calls `self.group`."""

    group: HubGroup

    def find(self) -> None:
        """
        Fetch the group.

        :raises Http404: if it is not this Supplier's, or does not exist
        """
        group = groups.of_supplier(supplier=self.supplier).filter(pk=self.kwargs["pk"]).first()
        if group is None:
            raise Http404
        self.group = group

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Name the section and the group."""
        context: dict[str, Any] = super().get_context_data(  # type: ignore[misc]  # of the view beside this
            section=SECTION, group=self.group, **kwargs
        )
        return context


class GroupView(OneGroupPage, ListPage, TemplateView):
    """One group: the windows that stand on it, and its hubs, paged by key."""

    template_name = "scheduling/group.html"
    list_class = MemberList

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Fetch one page of its hubs."""
        standing = windows.not_over(supplier=self.supplier, now=self.now).filter(group=self.group)
        return super().get_context_data(
            listing=self.listing(limit=PAGE, of=self.group),
            windows=[(window, windows.when(window=window)) for window in standing[:WINDOWS]],
            windows_more=max(standing.count() - WINDOWS, 0),
            **kwargs,
        )


class MembersView(OneGroupPage, GroupingPage, FormView[MembersForm]):
    """Add hubs to a group, or take them out of it, by a list."""

    to_see = roles.ACT
    template_name = "scheduling/group_members.html"
    form_class = MembersForm

    def form_valid(self, form: MembersForm) -> HttpResponse:
        """Do it, or say why not."""
        adds = form.cleaned_data["act"] == MembersForm.ADD
        try:
            outcome = (acts.add if adds else acts.take_out)(
                group=self.group, hubs=form.named, by=self.person, now=self.now
            )
        except UnableToGroup as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        done = "added to" if adds else "taken out of"
        said = f"{hubs_word(outcome.changed)} {'was' if outcome.changed == 1 else 'were'} {done} “{self.group.name}”."
        if outcome.unchanged:
            were = "was" if outcome.unchanged == 1 else "were"
            said += f" {hubs_word(outcome.unchanged)} {were} {'in it already' if adds else 'not in it'}."
        return self.after(group=self.group, form=form, outcome=outcome, said=said)


class RenameGroupView(OneGroupPage, FormView[RenameForm]):
    """Give a group another name."""

    to_see = roles.ACT
    template_name = "scheduling/group_rename.html"
    form_class = RenameForm

    def get_initial(self) -> dict[str, Any]:
        """Begin with the name that it has."""
        return {"name": self.group.name}

    def form_valid(self, form: RenameForm) -> HttpResponse:
        """Rename it, or say why not."""
        try:
            acts.rename(group=self.group, name=form.cleaned_data["name"], by=self.person, now=self.now)
        except UnableToGroup as refusal:
            form.add_error("name", str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        messages.success(self.request, "The group has its new name.")
        return redirect("scheduling:group", self.group.pk)


class PilotView(OneGroupPage, FormView[PilotForm]):
    """Volunteer a group's hubs as pilots, or take that back."""

    to_see = roles.ACT
    template_name = "scheduling/group_pilot.html"
    form_class = PilotForm

    def get_initial(self) -> dict[str, Any]:
        """Begin with what is so now."""
        return {"is_pilot": self.group.is_pilot}

    def form_valid(self, form: PilotForm) -> HttpResponse:
        """Do it, or say why not."""
        is_pilot = form.cleaned_data["is_pilot"]
        try:
            acts.volunteer(group=self.group, is_pilot=is_pilot, by=self.person, now=self.now)
        except UnableToGroup as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        messages.success(
            self.request,
            f"The hubs of “{self.group.name}” are {'now pilots' if is_pilot else 'not pilots'}.",
        )
        return redirect("scheduling:group", self.group.pk)


class DeleteGroupView(OneGroupPage, TemplateView):
    """Delete a group."""

    to_see = roles.ACT
    template_name = "scheduling/group_delete.html"
    refusal = ""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what stands in the way."""
        return super().get_context_data(
            standing=groups.windows_on(group=self.group, now=self.now), refusal=self.refusal, **kwargs
        )

    def post(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """Delete it, or say why not."""
        try:
            acts.delete(group=self.group, by=self.person, now=self.now)
        except UnableToGroup as refusal:
            self.refusal = str(refusal)
            return self.render_to_response(self.get_context_data(**kwargs), status=409)
        messages.success(
            self.request, f"The group “{self.group.name}” is deleted; its hubs are as they were."
        )
        return redirect("scheduling:groups")
