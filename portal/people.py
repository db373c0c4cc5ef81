"""Where a Supplier's administrators manage their own people: who they are, and what they did."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from portal import operations, queries
from portal.forms import ColleagueForm, InviteColleagueForm, RecordForm, SecondPersonForm
from portal.ground import roles
from portal.ground.downloads import csv_response
from portal.ground.reauthentication import known_recently
from portal.ground.uk_time import LONDON
from portal.lists import RecordList
from portal.models import Invitation, User
from portal.operations import UnableToChangeRole, UnableToDeactivate, UnableToInvite
from portal.queries import Deed
from portal.tables import InvitationTable, PeopleTable
from scheduling.operations import proposals
from scheduling.queries import second_person
from scheduling.views.base import SupplierPage
from scheduling.views.lists import ListPage

SECTION = "people"
PAGE = 100
RECORD = ("When (UK time)", "Who", "E-mail address", "Acting as", "What", "About", "Reason")


class AdministratorPage(SupplierPage):
    """A page for the administrators of a Supplier alone."""

    to_see = to_change = roles.ADMINISTER


class PeopleAct(AdministratorPage):
    """A page that changes who may do what: whoever sends it has shown of late who they are."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Ask for the password again where that is too long ago; then do it."""
        known_recently(request)
        response: HttpResponse = self.act(request, *args, **kwargs)
        return response

    def act(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Judge the form, and do what it says."""
        response: HttpResponse = super().post(request, *args, **kwargs)  # type: ignore[misc]
        return response


class PeopleView(AdministratorPage, TemplateView):
    """Everybody who acts for the Supplier, and those whose invitation is open."""

    template_name = "portal/people.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask for both."""
        return super().get_context_data(
            section=SECTION,
            people=PeopleTable(queries.people_of(supplier=self.supplier)),
            standing=second_person.standing(supplier=self.supplier, person=self.person, now=self.now),
            invitations=InvitationTable(
                [(one, one.is_open(now=self.now)) for one in queries.invitations_of(supplier=self.supplier)]
            ),
            **kwargs,
        )


class InviteColleagueView(PeopleAct, FormView[InviteColleagueForm]):
    """Keep a place for a colleague."""

    template_name = "portal/invite.html"
    form_class = InviteColleagueForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what each role may."""
        return super().get_context_data(
            section=SECTION,
            roles=[
                (role.label, [one.words for one in roles.SUPPLIER_CAPABILITIES if role in one.roles])
                for role in roles.SupplierRole
            ],
            **kwargs,
        )

    def form_valid(self, form: InviteColleagueForm) -> HttpResponse:
        """Invite, or say why not."""
        email = form.cleaned_data["email"]
        try:
            operations.invite(
                email=email,
                supplier=self.supplier,
                role=form.cleaned_data["role"],
                by=self.person,
                now=self.now,
            )
        except UnableToInvite as refusal:
            form.add_error("email", str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        messages.success(self.request, f"An invitation goes to {email}. Its link works for seven days.")
        return redirect("people")


class ColleagueView(PeopleAct, FormView[ColleagueForm]):
    """One person: what they may do, and whether they have access; and both otherwise."""

    template_name = "portal/person.html"
    form_class = ColleagueForm
    colleague: User

    def find(self) -> None:
        """Fetch the person."""
        found = User.objects.select_related("supplier").filter(supplier=self.supplier)
        self.colleague = get_object_or_404(found, pk=self.kwargs["pk"])

    def get_initial(self) -> dict[str, Any]:
        """Begin with the role that they have."""
        return {"role": self.colleague.role}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Show the person, and whether it is oneself."""
        return super().get_context_data(
            section=SECTION, colleague=self.colleague, is_oneself=self.colleague == self.person, **kwargs
        )

    def form_valid(self, form: ColleagueForm) -> HttpResponse:
        """Do what the button says, or say why not."""
        typed = {
            "user": self.colleague,
            "by": self.person,
            "reason": form.cleaned_data["reason"],
            "now": self.now,
        }
        try:
            if "end" in self.request.POST:
                operations.deactivate(**typed)
                said = f"{self.colleague} has no access any more, from this moment on."
            elif "give-back" in self.request.POST:
                operations.reactivate(**typed)
                said = f"{self.colleague} has access again."
            else:
                operations.change_role(role=form.cleaned_data["role"], **typed)
                said = f"{self.colleague} has another role from the next page on."
        except (UnableToDeactivate, UnableToChangeRole) as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        messages.success(self.request, said)
        return redirect("people")


class ColleaguesInvitationView(PeopleAct, TemplateView):
    """An invitation that nobody has accepted: send another link, or withdraw it."""

    template_name = "portal/colleagues_invitation.html"
    invitation: Invitation

    def find(self) -> None:
        """Fetch the invitation."""
        self.invitation = get_object_or_404(
            queries.invitations_of(supplier=self.supplier), pk=self.kwargs["pk"]
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Show it."""
        return super().get_context_data(
            section=SECTION,
            invitation=self.invitation,
            is_open=self.invitation.is_open(now=self.now),
            **kwargs,
        )

    def act(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Do what the button says, or say why not."""
        email = self.invitation.email
        try:
            if "withdraw" in request.POST:
                if operations.withdraw(invitation=self.invitation, by=self.person, now=self.now):
                    messages.success(request, f"The invitation of {email} is withdrawn.")
                else:
                    messages.info(request, f"{email} has accepted already: end their access instead.")
            else:
                operations.invite(
                    email=email,
                    supplier=self.supplier,
                    role=self.invitation.role,
                    by=self.person,
                    now=self.now,
                )
                messages.success(request, f"A new link goes to {email}. The earlier one works no more.")
        except UnableToInvite as refusal:
            messages.error(request, str(refusal))
        return redirect("people")


class SecondPersonView(PeopleAct, FormView[SecondPersonForm]):
    """From how many hubs on an act takes a second person."""

    template_name = "portal/second_person_rule.html"
    form_class = SecondPersonForm

    def get_initial(self) -> dict[str, Any]:
        """Begin with the rule that holds."""
        return {"size": self.standing().rule.size}

    def standing(self) -> second_person.Standing:
        """Return the rule, and how many may agree beside whoever asks."""
        return second_person.standing(supplier=self.supplier, person=self.person, now=self.now)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Show the rule, what it does, and who would have to agree to another one."""
        colleagues = second_person.may_agree_to_rule(supplier=self.supplier, besides=self.person)
        return super().get_context_data(
            section=SECTION,
            standing=self.standing(),
            usual=second_person.USUAL,
            colleagues=list(colleagues),
            **kwargs,
        )

    def form_valid(self, form: SecondPersonForm) -> HttpResponse:
        """Set the rule, propose it, or say why not."""
        size = form.cleaned_data["size"]
        try:
            proposal = proposals.rule(
                supplier=self.supplier,
                size=size,
                by=self.person,
                reason=form.cleaned_data["reason"],
                now=self.now,
            )
        except proposals.UnableToRule as refusal:
            form.add_error(None, str(refusal))
            return self.render_to_response(self.get_context_data(form=form), status=409)
        if proposal:
            messages.warning(
                self.request, "The rule stays until a colleague agrees. Those who may are told by e-mail."
            )
            return redirect("scheduling:proposal", proposal.pk)
        messages.success(
            self.request,
            "One person may touch any number of hubs alone now."
            if size is None
            else f"Beyond {size:,} hub{'' if size == 1 else 's'} in 24 hours a second person has to agree now.",
        )
        return redirect("second-person-rule")


class RecordPage(AdministratorPage):
    """What asks for a Supplier's own record, as the filter narrows it."""

    def asked(self) -> tuple[RecordForm, dict[str, Any]]:
        """Return the filter, and what it asks for; what it does not understand narrows nothing."""
        form = RecordForm(self.request.GET or None, people=queries.people_of(supplier=self.supplier))
        typed = form.cleaned_data if form.is_valid() else {}
        return form, {name: typed.get(name) or None for name in ("person", "act", "first_day", "last_day")}


class RecordView(ListPage, AdministratorPage, TemplateView):
    """Who of the Supplier did what and when, newest first unless the address says otherwise."""

    template_name = "portal/record.html"
    list_class = RecordList

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Narrow by what the address asks for, and turn pages by key."""
        listing = self.listing(limit=PAGE, caption="What was done")
        return super().get_context_data(
            section=SECTION,
            listing=listing,
            export=f"{reverse('export-record')}?{listing.of.query()}",
            **kwargs,
        )


class ExportRecordView(RecordPage):
    """All of it as a file, whatever its length."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """Write it while it is sent."""
        _, asked = self.asked()
        found = queries.every_deed(supplier=self.supplier, **asked)
        return csv_response(name="record.csv", header=RECORD, rows=_rows(found))


def _rows(found: Iterable[Deed]) -> Iterator[tuple[str, ...]]:
    for deed in found:
        when = f"{deed.recorded_at.astimezone(LONDON):%Y-%m-%d %H:%M:%S %Z}"
        yield (when, deed.who, deed.email, deed.acting_as, deed.what, deed.subject, deed.reason)
