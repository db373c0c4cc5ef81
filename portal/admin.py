"""People, as DCC manages them: invited, listed, seen out; nobody sets anybody's password."""

from typing import Any

from allauth.account.models import EmailAddress
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from portal import operations
from portal.forms import InviteForm, ResetPasswordForm
from portal.ground import audit, clock
from portal.ground.access import user_of
from portal.models import Invitation, User

admin.site.unregister(EmailAddress)  # allauth's table of further addresses: a person here has one


@admin.register(User)
class UserAdmin(admin.ModelAdmin[User]):
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
        return f"{user.supplier} (administrator)" if user.is_supplier_administrator else str(user.supplier)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: see invitations."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Say no: what a person decided stays theirs."""
        return False

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Show DCC staff their groups, and a Supplier's people their Supplier."""
        names = ("email", "first_name", "last_name")
        place = (
            ("groups", "is_superuser") if obj and obj.is_staff else ("supplier", "is_supplier_administrator")
        )
        return (*names, *place, "is_active", "date_joined", "last_login")

    def get_form(
        self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any
    ) -> type[ModelForm[User]]:
        """Word the form as the portal does."""
        labels = {"is_supplier_administrator": "Supplier administrator"}
        return super().get_form(request, obj, change, labels=labels, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """Keep what defines a person, and keep people from adding to their own powers."""
        fixed = ["email", "supplier", "is_active", "date_joined", "last_login"]
        user = user_of(request)
        if not user.is_superuser or obj == user:
            fixed += ["groups", "is_superuser"]
        return fixed

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool) -> None:
        """Save, and record what was changed."""
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            audit.record(
                actor=user_of(request),
                verb="user.changed",
                subject=f"user:{obj.pk}",
                now=clock.now(),
                facts={name: _shown(form.cleaned_data[name]) for name in form.changed_data},
            )

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


def _shown(value: Any) -> Any:
    return sorted(str(one) for one in value) if isinstance(value, QuerySet) else value


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
class InvitationAdmin(admin.ModelAdmin[Invitation]):
    """Places kept for people. Inviting an address again replaces its link."""

    form = InviteForm
    fields = ("email", "supplier", "is_supplier_administrator", "groups")
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
            form = InviteForm(request.POST)
            if form.is_valid():
                try:
                    operations.invite(
                        email=form.cleaned_data["email"],
                        supplier=form.cleaned_data["supplier"],
                        is_supplier_administrator=form.cleaned_data["is_supplier_administrator"],
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
                    is_supplier_administrator=invitation.is_supplier_administrator,
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
