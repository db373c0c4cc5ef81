"""DCC's exceptions queue, and its exemptions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

from allauth.account.decorators import reauthentication_required
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator

from firmware.forms import UkTimeField
from firmware.models import OPEN_TO_SUPPLIERS, FirmwareRelease
from hubs.identifiers import InvalidIdentifier, format_eui64, parse_eui64
from hubs.models import HubModel, Network, PaymentMode, Supplier
from portal.ground import clock
from portal.ground.access import user_of
from portal.ground.downloads import csv_response
from portal.ground.uk_time import LONDON
from scheduling.admin.base import ReadOnlyAdmin
from scheduling.models import Decision, Exemption, HubException
from scheduling.operations import exceptions as acts
from scheduling.operations import exemptions
from scheduling.queries import exceptions, quarantine
from scheduling.queries.exceptions import Portion

PAGE = 100
LATEST = 10
LONGEST_LIST = 50_000
"""Hubs that can be typed into an exemption."""
CSV_HEADER = ("CHF ID", "Lead Supplier", "Network", "Why", "Since (UK time)", "Waits for a decision")
REASON = forms.Textarea(attrs={"rows": 3, "cols": 80})


class PortionForm(forms.Form):
    """Which open exceptions: those of a release, narrowed as far as wanted; read from an address."""

    release = forms.ModelChoiceField(FirmwareRelease.objects.order_by("-pk"))
    supplier = forms.ModelChoiceField(
        Supplier.objects.order_by("name"), required=False, empty_label="every one", label="Lead Supplier"
    )
    network = forms.ModelChoiceField(
        Network.objects.order_by("name"), required=False, empty_label="every one"
    )
    why = forms.ChoiceField(
        choices=[("", "every reason"), *HubException.Why.choices], required=False, label="Reason"
    )
    model = forms.ModelChoiceField(
        HubModel.objects.order_by("name"), required=False, empty_label="every one", label="Hub model"
    )
    payment_mode = forms.ChoiceField(
        choices=[("", "every one"), *((str(value), label) for value, label in PaymentMode.choices)],
        required=False,
    )

    @property
    def portion(self) -> Portion:
        """The portion that a valid form names."""
        typed = self.cleaned_data
        return Portion(
            release=typed["release"],
            supplier=typed["supplier"],
            network=typed["network"],
            why=HubException.Why(typed["why"]) if typed["why"] else None,
            model=typed["model"],
            payment_mode=PaymentMode(int(typed["payment_mode"])) if typed["payment_mode"] else None,
        )


def query_of(portion: Portion) -> str:
    """Return the query of an address that names a portion."""
    values = {name: getattr(value, "pk", value) for name, value in vars_of(portion).items()}
    return urlencode({name: value for name, value in values.items() if value is not None})


def vars_of(portion: Portion) -> dict[str, Any]:
    """Return what a portion names, by the fields of its form."""
    return {name: getattr(portion, name) for name in PortionForm.base_fields}


@dataclass(frozen=True, slots=True)
class Act:
    """A decision that DCC can take on a portion, as the page offers it."""

    name: str
    label: str
    consequence: str
    until: str = ""
    """What its moment means; empty where it has none."""


ACTS = {
    act.name: act
    for act in (
        Act(
            "extend",
            "Give more time",
            "The release's availability period on this network ends later, its slots are opened, and these hubs are "
            "allocated again.",
            until="New end of the period (UK time)",
        ),
        Act(
            "override",
            "Ask for an override",
            "Once another person approves it, these hubs are booked into the first slots with room, in spite of their "
            "Suppliers' protected windows and without further consent. What DCC has closed stays closed.",
        ),
        Act(
            "exempt",
            "Exempt",
            "These hubs leave the queue and are not allocated until the exemption expires. Their Supplier can still "
            "book them.",
            until="Expires (UK time)",
        ),
    )
}


class DecideForm(forms.Form):
    """What a decision needs beside the hubs: a reason, and for some a moment."""

    until = UkTimeField(required=False)
    reason = forms.CharField(widget=REASON)

    def __init__(self, *given: Any, act: Act, **named: Any) -> None:
        super().__init__(*given, **named)
        if act.until:
            self.fields["until"].label = act.until
            self.fields["until"].required = True
        else:
            del self.fields["until"]


class ReasonForm(forms.Form):
    """A reason alone."""

    reason = forms.CharField(widget=REASON)


@admin.register(HubException)
class HubExceptionAdmin(ReadOnlyAdmin):
    """Hubs about which DCC has to decide: in groups, one by one, and the decisions."""

    fields = (
        "release",
        "hub_shown",
        "why",
        "supplier",
        "network",
        "raised_at",
        "decision",
        "ended_at",
        "how",
        "decided_by",
    )

    @admin.display(description="hub")
    def hub_shown(self, exception: HubException) -> str:
        """Show the CHF ID as it is written."""
        return format_eui64(exception.hub)

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of a group, of a decision and of an override."""
        pages: list[tuple[str, str, Callable[..., HttpResponse | StreamingHttpResponse]]] = [
            ("group/", "group", self.group),
            ("csv/", "csv", self.download),
            ("decide/<slug:name>/", "decide", self.decide),
            ("override/<int:pk>/", "override", self.override),
        ]
        return [
            *(
                path(
                    route,
                    self.admin_site.admin_view(cast(Callable[[HttpRequest], HttpResponse], view)),
                    name=f"scheduling_hubexception_{name}",
                )
                for route, name, view in pages
            ),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show how many hubs wait, group by group; what waits for a second person; what was decided last."""
        self._check_view(request)
        groups = [
            (one, query_of(Portion(one.release, one.supplier, one.network, one.why)))
            for one in exceptions.groups()
        ]
        return self._page(
            request,
            "queue",
            title="Exceptions",
            groups=groups,
            hubs=sum(one.hubs for one, _ in groups),
            overrides=exceptions.overrides_to_approve(),
            latest=exceptions.latest_decisions(limit=LATEST),
            set_aside=quarantine.count(),
        )

    def group(self, request: HttpRequest) -> HttpResponse:
        """Show the hubs of a portion, page by page, and what can be decided about them."""
        self._check_view(request)
        form, portion = self._portion(request.GET)
        after = _number(request.GET.get("after", ""))
        rows = exceptions.lines(portion=portion, after=after, limit=PAGE + 1)
        query = query_of(portion)
        return self._page(
            request,
            "group",
            title=f"Exceptions of {portion.release.name}",
            form=form,
            portion=portion,
            query=query,
            count=exceptions.count(portion=portion),
            lines=[(line, format_eui64(line.hub)) for line in rows[:PAGE]],
            is_first=after is None,
            next_page=f"?{query}&after={rows[PAGE - 1].hub}" if len(rows) > PAGE else "",
            acts=ACTS.values() if request.user.has_perm(acts.MAY_DECIDE) else [],
        )

    def download(self, request: HttpRequest) -> StreamingHttpResponse:
        """Send every hub of a portion as CSV, written while it is sent."""
        self._check_view(request)
        _, portion = self._portion(request.GET)

        return csv_response(
            name=f"exceptions-{portion.release.pk}.csv",
            header=CSV_HEADER,
            rows=(
                (
                    format_eui64(line.hub),
                    line.supplier,
                    line.network,
                    line.why.label,
                    f"{line.raised_at.astimezone(LONDON):%Y-%m-%d %H:%M %Z}",
                    "yes" if line.waits else "no",
                )
                for line in exceptions.every_line(portion=portion)
            ),
        )

    def decide(self, request: HttpRequest, name: str) -> HttpResponse:
        """Say in numbers what a decision about a portion will do, then take it."""
        self._check_view(request)
        if (act := ACTS.get(name)) is None:
            raise Http404
        if not request.user.has_perm(acts.MAY_DECIDE):
            raise PermissionDenied
        _, portion = self._portion(request.GET)
        form = DecideForm(request.POST or None, act=act)
        if request.method == "POST" and form.is_valid():
            try:
                decision = self._take(request, act, portion, form)
            except acts.UnableToDecide as refusal:
                form.add_error(None, str(refusal))
            else:
                self.message_user(request, _said(decision), messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:scheduling_hubexception_changelist"))
        periods = portion.release.periods.select_related("network").order_by("network__name")
        return self._page(
            request,
            "decide",
            title=f"{act.label}: {portion.release.name}",
            act=act,
            form=form,
            portion=portion,
            query=query_of(portion),
            count=exceptions.count(portion=portion),
            periods=[period for period in periods if portion.network in (None, period.network)],
        )

    def _take(self, request: HttpRequest, act: Act, portion: Portion, form: DecideForm) -> Decision:
        typed, by, now = form.cleaned_data, user_of(request), clock.now()
        if act.name == "extend":
            return acts.extend(portion=portion, until=typed["until"], reason=typed["reason"], by=by, now=now)
        if act.name == "override":
            return acts.ask_override(portion=portion, reason=typed["reason"], by=by, now=now)
        return acts.exempt(portion=portion, expires_at=typed["until"], reason=typed["reason"], by=by, now=now)

    def override(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show an override that was asked for; approve it as the second person, or drop it."""
        self._check_view(request)
        decision = get_object_or_404(
            Decision.objects.select_related(
                "release", "supplier", "network", "asked_by", "approved_by", "dropped_by"
            ),
            pk=pk,
            kind=Decision.Kind.OVERRIDE,
        )
        if request.method == "POST" and "approve" in request.POST:
            return self._approve(request, decision)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                acts.drop_override(
                    decision=decision,
                    by=user_of(request),
                    reason=form.cleaned_data["reason"],
                    now=clock.now(),
                )
            except acts.UnableToDecide as refusal:
                self.message_user(request, str(refusal), messages.ERROR)
            else:
                self.message_user(
                    request, "Dropped. Its hubs are open for another decision.", messages.SUCCESS
                )
            return HttpResponseRedirect(reverse("admin:scheduling_hubexception_changelist"))
        waits = not (decision.approved_at or decision.dropped_at)
        is_own = decision.asked_by_id == user_of(request).pk
        may_approve = request.user.has_perm(acts.MAY_APPROVE)
        return self._page(
            request,
            "override",
            title=f"Override: {decision.release.name}",
            decision=decision,
            form=form,
            still_open=HubException.objects.filter(decision=decision, ended_at=None).count(),
            waits=waits,
            is_own=is_own,
            can_approve=waits and may_approve and not is_own,
            can_drop=waits and (may_approve or is_own),
        )

    @method_decorator(reauthentication_required)
    def _approve(self, request: HttpRequest, decision: Decision) -> HttpResponse:
        try:
            approved = acts.approve_override(decision=decision, by=user_of(request), now=clock.now())
        except acts.UnableToDecide as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
        else:
            self.message_user(
                request,
                f"Approved. Its {approved.hubs:,} hubs are booked within a minute.",
                messages.SUCCESS,
            )
        return HttpResponseRedirect(reverse("admin:scheduling_hubexception_changelist"))

    def _portion(self, query: QueryDict) -> tuple[PortionForm, Portion]:
        """
        Read a portion from an address.

        :raises Http404: if it names none
        """
        form = PortionForm(query)
        if not form.is_valid():
            raise Http404
        return form, form.portion

    def _check_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _page(self, request: HttpRequest, name: str, **context: Any) -> HttpResponse:
        return render(
            request,
            f"admin/scheduling/hubexception/{name}.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "can_decide": request.user.has_perm(acts.MAY_DECIDE),
                "can_approve_any": request.user.has_perm(acts.MAY_APPROVE),
                "now": clock.now(),
                **context,
            },
        )


def _said(decision: Decision) -> str:
    hubs = f"{decision.hubs:,} hub{'' if decision.hubs == 1 else 's'}"
    if decision.kind == Decision.Kind.EXTEND:
        return f"More time is given. {hubs} will be allocated again within a minute."
    if decision.kind == Decision.Kind.OVERRIDE:
        return f"The override of {hubs} is asked for. Another person has to approve it."
    return f"{hubs} exempted."


def _number(text: str) -> int | None:
    """Read a key of a page, which can be below nought; what is none is ignored."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


class ExemptionForm(forms.ModelForm[Exemption]):
    """A new exemption: of all hubs of a Supplier, those on a network, or those of a list."""

    listed = forms.CharField(
        required=False,
        label="Hubs",
        widget=forms.Textarea(attrs={"rows": 6, "cols": 40, "class": "code", "spellcheck": "false"}),
        help_text=f"CHF IDs, one to a line, at most {LONGEST_LIST:,}. Empty means all hubs of the Supplier, or all on "
        "the network.",
    )
    expires_at = UkTimeField(
        label="Expires", help_text="UK time; at the latest when the release's last availability period ends."
    )

    class Meta:
        model = Exemption
        fields = ("release", "supplier", "network", "reason")

    def clean_listed(self) -> list[int]:
        """Read the CHF IDs."""
        lines = [line.strip() for line in self.cleaned_data["listed"].splitlines() if line.strip()]
        if len(lines) > LONGEST_LIST:
            raise ValidationError(
                f"The list has {len(lines):,} lines; at most {LONGEST_LIST:,} fit. Make several exemptions, or exempt "
                "the hubs from the exceptions queue."
            )
        try:
            return [parse_eui64(line) for line in lines]
        except InvalidIdentifier as refusal:
            raise ValidationError(str(refusal)) from refusal

    def clean(self) -> dict[str, Any]:
        """Refuse what the operation would refuse, beside the fields."""
        cleaned: dict[str, Any] = super().clean() or {}
        if {"release", "supplier", "listed", "reason", "expires_at"} - cleaned.keys():
            return cleaned
        if cleaned.get("network") and cleaned["listed"]:
            raise ValidationError("Choose a network or list hubs, not both: a list says which hubs they are.")
        try:
            exemptions.check(
                release=cleaned["release"],
                supplier=cleaned["supplier"],
                hubs=cleaned["listed"],
                reason=cleaned["reason"],
                expires_at=cleaned["expires_at"],
                now=clock.now(),
            )
        except exemptions.UnableToExempt as refusal:
            raise ValidationError(str(refusal)) from refusal
        return cleaned


@admin.register(Exemption)
class ExemptionAdmin(ReadOnlyAdmin):
    """What DCC does not allocate for now, why and until when; made here or from the exceptions queue."""

    list_display = ("release", "supplier", "which", "reason", "expires_at", "ended_at")
    list_display_links = ("release",)
    list_filter = ("release", "supplier", ("ended_at", admin.EmptyFieldListFilter))
    list_select_related = ("release", "supplier", "network")
    ordering = ("-id",)
    fields = (
        "release",
        "supplier",
        "which",
        "reason",
        "expires_at",
        "maker",
        "made_at",
        "ended_at",
        "ender",
    )
    change_form_template = "admin/scheduling/exemption/change_form.html"

    @admin.display(description="which hubs")
    def which(self, exemption: Exemption) -> str:
        """Say which hubs it is for."""
        if exemption.hubs:
            return f"{exemption.hubs:,} listed hub{'' if exemption.hubs == 1 else 's'}"
        return f"all on {exemption.network}" if exemption.network else "all hubs"

    # the pages of people are not for everybody who may see this one
    @admin.display(description="made by")
    def maker(self, exemption: Exemption) -> str:
        """Name the person."""
        return str(exemption.made_by)

    @admin.display(description="ended by")
    def ender(self, exemption: Exemption) -> str:
        """Name the person, if it was one."""
        return str(exemption.ended_by or "–")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Let release managers make one."""
        return request.user.has_perm(exemptions.MAY_EXEMPT)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any
    ) -> type[forms.ModelForm[Any]]:
        """Ask for what an exemption needs."""
        if obj is None:
            options["form"] = ExemptionForm
        return super().get_form(request, obj, change, **options)

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Show other fields for a new one."""
        if obj is None:
            names = ("release", "supplier", "network", "listed", "reason", "expires_at")
            return ((None, {"fields": names}),)
        return super().get_fieldsets(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Name what is only ever shown."""
        return ("which", "maker", "ender") if obj is not None else ()

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Choose among the releases that are open to Suppliers, and among rows that are edited elsewhere."""
        if db_field.name == "release":
            options["queryset"] = FirmwareRelease.objects.filter(state__in=OPEN_TO_SUPPLIERS).order_by("-pk")
        field = super().formfield_for_dbfield(db_field, request, **options)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget  # without its links to add, change and view them
        return field

    def save_model(
        self, request: HttpRequest, obj: Exemption, form: forms.ModelForm[Exemption], change: bool
    ) -> None:
        """Make it with one call."""
        typed = form.cleaned_data
        made = exemptions.exempt(
            release=typed["release"],
            supplier=typed["supplier"],
            network=typed["network"],
            hubs=typed["listed"],
            reason=typed["reason"],
            expires_at=typed["expires_at"],
            by=user_of(request),
            now=clock.now(),
        )
        obj.pk = made.pk

    def log_addition(self, request: HttpRequest, obj: Exemption, message: Any) -> Any:
        """Leave the record to the audit."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page that ends one early."""
        end = self.admin_site.admin_view(cast(Callable[[HttpRequest], HttpResponse], self.end))
        return [path("<int:pk>/end/", end, name="scheduling_exemption_end"), *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Say whether it can be ended."""
        exemption = self.get_object(request, object_id)
        can_end = bool(
            exemption
            and exemption.ended_at is None
            and exemption.expires_at > clock.now()
            and self.has_add_permission(request)
        )
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "can_end": can_end}
        )

    def end(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask why, then end it early."""
        exemption = get_object_or_404(Exemption.objects.select_related("release", "supplier"), pk=pk)
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                exemptions.end(
                    exemption=exemption,
                    by=user_of(request),
                    reason=form.cleaned_data["reason"],
                    now=clock.now(),
                )
            except exemptions.UnableToExempt as refusal:
                self.message_user(request, str(refusal), messages.ERROR)
            else:
                self.message_user(
                    request,
                    "Ended. Its hubs are allocated like any others from the next working day.",
                    messages.SUCCESS,
                )
            return HttpResponseRedirect(reverse("admin:scheduling_exemption_change", args=[pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": "End an exemption",
            "opts": self.opts,
            "exemption": exemption,
            "which": self.which(exemption),
            "form": form,
        }
        return render(request, "admin/scheduling/exemption/end.html", context)
