"""People, as DCC manages them: invited, listed, seen out; nobody sets anybody's password."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portal import operations, second_factors
from portal.forms import InviteForm, ResetPasswordForm
from portal.ground import audit, clock
from portal.ground.access import user_of
from portal.ground.reauthentication import known_recently
from portal.models import Invitation, User
from portal.reauthentication import KnownRecently

admin.site.unregister(Authenticator)  # see `portal.second_factor_desk`
admin.site.unregister(EmailAddress)  # allauth's table of further addresses: a person here has one
admin.site.unregister(Group)  # what a role may do is stated in portal.ground.roles, and nowhere else


@admin.register(User)
class UserAdmin(KnownRecently[User]):
    """Who can sign in. People come by invitation, and are deactivated, never deleted."""

    list_display = ("email", "name", "place", "is_active", "last_login")
    list_filter = ("is_active", "is_staff", "supplier", "groups")
    list_select_related = ("supplier",)
    search_fields = ("email", "first_name", "last_name")
    ordering = ("email",)
    actions = ("deactivate", "reactivate", "send_password_reset")
    filter_horizontal = ("groups",)

    @admin.display(ordering="last_name")
    def name(self, user: User) -> str:
        """Name the person."""
        return user.get_full_name()

    @admin.display(description="acts for", ordering="supplier__name")
    def place(self, user: User) -> str:
        """Say for whom the person acts."""
        if user.supplier is None:
            return "DCC"
        return f"{user.supplier} ({user.get_role_display().lower()})"

    @admin.display(description="second factor")
    def second_factor(self, user: User) -> SafeString:
        """Say whether the person has one, and lead to where it is taken away."""
        return format_html(
            '<a href="{}">{}</a>', reverse("second-factor-of", args=[user.pk]), self.has_second_factor(user)
        )

    @admin.display(description="second factor")
    def has_second_factor(self, user: User) -> str:
        """Say it to those who may not take it away."""
        return "Set up" if second_factors.is_set_up(user=user) else "None"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: see invitations."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Say no: what a person decided stays theirs."""
        return False

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Show DCC staff their groups, and a Supplier's people their Supplier."""
        names = ("email", "first_name", "last_name")
        place = ("groups", "is_superuser") if obj and obj.is_staff else ("supplier", "role")
        factor = "second_factor" if self.has_change_permission(request) else "has_second_factor"
        return (*names, *place, "is_active", factor, "date_joined", "last_login")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """Keep what defines a person, and keep people from adding to their own powers."""
        fixed = [
            "email",
            "supplier",
            "is_active",
            "second_factor",
            "has_second_factor",
            "date_joined",
            "last_login",
        ]
        user = user_of(request)
        if obj == user or not user.is_superuser:
            fixed.append("is_superuser")
        if obj == user or (obj and obj.is_superuser and not user.is_superuser):
            fixed.append("groups")
        return fixed

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Turn what an operation refuses after the form was found valid into a sentence; nothing is saved then."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except operations.UnableToChangeRole as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool) -> None:
        """Save a name, and record that; what the person may do is an operation's to change."""
        by, now = user_of(request), clock.now()
        typed = {name: form.cleaned_data[name] for name in form.changed_data}
        role, groups = typed.pop("role", None), typed.pop("groups", None)
        with transaction.atomic():
            if typed:
                obj.save(update_fields=typed)
                audit.record(actor=by, verb="user.changed", subject=f"user:{obj.pk}", now=now, facts=typed)
            if role is not None:
                operations.change_role(user=obj, role=role, by=by, now=now)
            if groups is not None:
                operations.change_groups(user=obj, groups=list(groups), by=by, now=now)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Leave the groups to the operation."""

    @admin.action(description="End access of the chosen people", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """End access at once."""
        self._each(request, queryset, act=operations.deactivate, done="Access ended")

    @admin.action(description="Give the chosen people their access back", permissions=["change"])
    def reactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Give access back."""
        self._each(request, queryset, act=operations.reactivate, done="Access given back")

    def _each(self, request: HttpRequest, queryset: QuerySet[User], *, act: Any, done: str) -> None:
        for user in queryset.order_by("pk"):
            try:
                act(user=user, by=user_of(request), now=clock.now())
            except operations.UnableToDeactivate as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"{done}: {user.email}.", messages.SUCCESS)

    @admin.action(
        description="Send the chosen people a link to choose a new password", permissions=["change"]
    )
    def send_password_reset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Let people choose a new password by themselves."""
        for user in queryset.filter(is_active=True).order_by("pk"):
            form = ResetPasswordForm(data={"email": user.email})
            if not form.is_valid():
                self.message_user(request, f"No link was sent to {user.email}.", messages.ERROR)
                continue
            form.save(request)
            audit.record(
                actor=user_of(request), verb="user.reset_sent", subject=f"user:{user.pk}", now=clock.now()
            )
            self.message_user(
                request, f"A link to choose a new password goes to {user.email}.", messages.SUCCESS
            )


class StandingFilter(admin.SimpleListFilter):
    """Invitations by whether their link still works."""

    title = "standing"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer the three."""
        return [("open", "Open"), ("accepted", "Accepted"), ("expired", "Expired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> QuerySet[Invitation]:
        """Keep those of the chosen standing."""
        now = clock.now()
        chosen = {
            "open": Q(accepted_at=None, expires_at__gt=now),
            "accepted": Q(accepted_at__isnull=False),
            "expired": Q(accepted_at=None, expires_at__lte=now),
        }
        return queryset.filter(chosen.get(self.value() or "", Q()))


@admin.register(Invitation)
class InvitationAdmin(KnownRecently[Invitation]):
    """Places kept for people. Inviting an address again replaces its link."""

    form = InviteForm
    fields = ("email", "supplier", "role", "groups")
    list_display = ("email", "place", "invited_by", "invited_at", "expires_at", "accepted_at")
    list_filter = (StandingFilter, "supplier")
    list_select_related = ("supplier", "invited_by")
    search_fields = ("email",)
    ordering = ("-invited_at", "-pk")
    actions = ("invite_again", "withdraw")

    @admin.display(description="place", ordering="supplier__name")
    def place(self, invitation: Invitation) -> str:
        """Name the Supplier, or DCC staff."""
        return str(invitation.supplier or "DCC staff")

    def has_change_permission(self, request: HttpRequest, obj: Invitation | None = None) -> bool:
        """Say no for one: an invitation is replaced, not edited. The list's actions need the permission."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Invitation | None = None) -> bool:
        """Say no: it is withdrawn, by an action that is recorded."""
        return False

    def save_model(
        self, request: HttpRequest, obj: Invitation, form: ModelForm[Invitation], change: bool
    ) -> None:
        """Leave the writing to `add_view`, which knows how to refuse."""
        raise NotImplementedError("an invitation is made by portal.operations.invite")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Invite, where the form holds."""
        if request.method == "POST" and self.has_add_permission(request):
            known_recently(request)
            form = InviteForm(request.POST)
            if form.is_valid():
                try:
                    operations.invite(
                        email=form.cleaned_data["email"],
                        supplier=form.cleaned_data["supplier"],
                        role=form.cleaned_data["role"],
                        groups=form.cleaned_data["groups"],
                        by=user_of(request),
                        now=clock.now(),
                    )
                except operations.UnableToInvite as error:
                    self.message_user(request, str(error), messages.ERROR)
                else:
                    self.message_user(
                        request, f"An invitation goes to {form.cleaned_data['email']}.", messages.SUCCESS
                    )
                return HttpResponseRedirect(reverse("admin:portal_invitation_changelist"))
        shown = {
            "title": "Invite a person",
            "show_save_and_add_another": False,
            "show_save_and_continue": False,
            **(extra_context or {}),
        }
        return super().add_view(request, form_url, shown)

    @admin.action(description="Invite the chosen people again, with a new link", permissions=["add"])
    def invite_again(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> None:
        """Replace the links that were not used."""
        for invitation in queryset.filter(accepted_at=None).select_related("supplier").order_by("pk"):
            try:
                operations.invite(
                    email=invitation.email,
                    supplier=invitation.supplier,
                    role=invitation.role,
                    groups=list(invitation.groups.all()),
                    by=user_of(request),
                    now=clock.now(),
                )
            except operations.UnableToInvite as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"A new link goes to {invitation.email}.", messages.SUCCESS)

    @admin.action(description="Withdraw the chosen invitations", permissions=["add"])
    def withdraw(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> None:
        """Make unused links worthless."""
        for invitation in queryset.order_by("pk"):
            if operations.withdraw(invitation=invitation, by=user_of(request), now=clock.now()):
                self.message_user(request, f"Withdrawn: {invitation.email}.", messages.SUCCESS)
            else:
                self.message_user(
                    request,
                    f"{invitation.email} has accepted already: end their access instead.",
                    messages.ERROR,
                )
