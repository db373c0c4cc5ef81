"""The desk of DCC's release managers and approvers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from allauth.account.decorators import reauthentication_required
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import BaseFormSet, ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_exempt

from firmware import forms, images, queries
from firmware.models import (
    EDITABLE,
    WHOLE,
    AvailabilityPeriod,
    FirmwareRelease,
    Halt,
    Predecessor,
    ReleaseState,
    RolloutPolicy,
    SignedAct,
    Urgency,
)
from firmware.operations import decisions, releases, stored_images
from firmware.uploads import CappedUpload
from portal.ground import clock, once
from portal.ground.uk_time import LONDON

if TYPE_CHECKING:
    from portal.models import User


@dataclass(frozen=True, slots=True)
class Act:
    """A decision that a person can take on a release, as the desk offers it."""

    name: str
    label: str
    permission: str
    states: tuple[ReleaseState, ...]
    needs_reason: bool
    consequence: str
    done: str
    kind: str = "primary"
    is_sensitive: bool = False
    takes_remark: bool = False
    """Whether a reason may be given where none is needed."""
    ends_a_halt: bool = False
    """Whether it is about a halt that stands: that of the whole release, or one of a part of it."""


ACTS = {
    act.name: act
    for act in (
        Act(
            name="submit",
            label="Submit for sign-off",
            permission=decisions.CHANGE,
            states=(ReleaseState.DRAFT,),
            needs_reason=False,
            consequence="DCC approvers can sign it off. An edit takes it back to draft.",
            done="Submitted. Somebody other than you and the author can sign it off now.",
        ),
        Act(
            name="sign-off",
            label="Sign off publication",
            permission=decisions.SIGN_OFF,
            states=(ReleaseState.SUBMITTED,),
            needs_reason=False,
            consequence="You agree that exactly this revision is published to the Suppliers below.",
            done="Signed off. A release manager can publish it now.",
            is_sensitive=True,
            takes_remark=True,
        ),
        Act(
            name="publish",
            label="Publish",
            permission=decisions.PUBLISH,
            states=(ReleaseState.SUBMITTED,),
            needs_reason=False,
            consequence="The release cannot be changed any more. Suppliers see it at once and can book.",
            done="Published.",
            is_sensitive=True,
        ),
        Act(
            name="halt",
            label="Halt",
            permission=decisions.HALT,
            states=(ReleaseState.PUBLISHED,),
            needs_reason=True,
            consequence="No further command goes to any hub of what you halt until it is resumed.",
            done="Halted. No further command goes out for it.",
            kind="danger",
        ),
        Act(
            name="sign-off-resumption",
            label="Sign off resumption",
            permission=decisions.SIGN_OFF,
            states=(ReleaseState.HALTED,),
            ends_a_halt=True,
            needs_reason=True,
            consequence="You agree that the halt is lifted and commands go out again. What you leave out stays halted.",
            done="Resumption signed off. A release manager can resume it now.",
            is_sensitive=True,
        ),
        Act(
            name="resume",
            label="Resume",
            permission=decisions.PUBLISH,
            states=(ReleaseState.HALTED,),
            ends_a_halt=True,
            needs_reason=True,
            consequence="The halt is lifted: commands go out again for what is due.",
            done="Resumed.",
            is_sensitive=True,
        ),
        Act(
            name="withdraw",
            label="Withdraw",
            permission=decisions.PUBLISH,
            states=(
                ReleaseState.DRAFT,
                ReleaseState.SUBMITTED,
                ReleaseState.PUBLISHED,
                ReleaseState.HALTED,
            ),
            needs_reason=True,
            consequence="It ends for good. Everything that has not started yet is cancelled.",
            done="Withdrawn. What has not started is being cancelled.",
            kind="danger",
        ),
        Act(
            name="close",
            label="Close",
            permission=decisions.PUBLISH,
            states=(ReleaseState.PUBLISHED, ReleaseState.HALTED),
            needs_reason=False,
            consequence="It ends for good, after its last period. Its results stay.",
            done="Closed.",
        ),
    )
}


class PredecessorInline(admin.TabularInline[Predecessor, FirmwareRelease]):
    """The versions over which the release may be installed."""

    model = Predecessor
    form = forms.PredecessorForm
    formset = forms.PredecessorFormSet  # type: ignore[assignment]
    extra = 1
    verbose_name_plural = "predecessors: versions over which it may be installed"

    def get_fields(self, request: HttpRequest, obj: FirmwareRelease | None = None) -> tuple[str, str]:
        """Show the version as such where it can no longer be typed."""
        return (_typed_or(request, obj, self, "typed_version", "version"), "cpl_entry_id")


class PeriodInline(admin.TabularInline[AvailabilityPeriod, FirmwareRelease]):
    """When the release may be deployed on each network."""

    model = AvailabilityPeriod
    form = forms.PeriodForm
    extra = 1
    verbose_name_plural = "availability periods (UK time): a new row without times is none"

    def get_extra(self, request: HttpRequest, obj: FirmwareRelease | None = None, **options: Any) -> int:
        """Offer every network to a new release, and one more row to another."""
        return (
            super().get_extra(request, obj, **options) if obj else len(forms.usual_periods(now=clock.now()))
        )

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Choose among the networks, which are edited elsewhere."""
        return _without_doors(super().formfield_for_dbfield(db_field, request, **options))


class PolicyInline(admin.StackedInline[RolloutPolicy, FirmwareRelease]):
    """The rules of the rollout."""

    model = RolloutPolicy
    form = forms.PolicyForm
    can_delete = False
    extra = 1
    max_num = 1
    verbose_name_plural = "policy: spans such as “20 working days”, “72 hours” or “3 minutes”"
    fieldsets = (
        (
            None,
            {
                "classes": ("collapse",),
                "fields": (
                    ("notice_before_opening", "minimum_period"),
                    ("cut_off", "fair_share_until"),
                    ("objection_window", "explicit_consent_within"),
                    ("reserve_percent", "default_allocation_percent", "default_allocation_notice"),
                    ("staging_opens", "grace", "retry_interval", "silence_deadline"),
                    ("first_reminder", "last_reminder"),
                    ("stage_sizes", "soak", "tolerated_bad_percent"),
                    ("in_flight_floor", "in_flight_percent", "in_flight_ceiling"),
                ),
            },
        ),
    )


def _typed_or(
    request: HttpRequest,
    release: FirmwareRelease | None,
    inline: PredecessorInline,
    typed: str,
    shown: str,
) -> str:
    can_type = (
        inline.has_add_permission(request, release)
        if release is None
        else inline.has_change_permission(request, release)
    )
    return typed if can_type else shown


@admin.register(FirmwareRelease)
class FirmwareReleaseAdmin(admin.ModelAdmin[FirmwareRelease]):
    """Releases: uploaded, described, signed off, published, and stopped when need be."""

    form = forms.ReleaseForm
    inlines = (PredecessorInline, PeriodInline, PolicyInline)
    list_display = (
        "name",
        "cpl_entry_id",
        "version",
        "standing",
        "halt",
        "opens",
        "closes",
    )
    list_filter = ("state", "urgency", "hub_models")
    search_fields = ("name", "cpl_entry_id", "digest__startswith")
    search_help_text = "Name, CPL Entry ID, or the beginning of a CPL hash"
    actions = None
    save_on_top = False
    change_form_template = "admin/firmware/firmwarerelease/change_form.html"

    class Media:
        css = {"all": ("firmware/desk.css",)}

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Offer the halt to those who may."""
        may_halt = _user(request).has_perm(decisions.HALT)
        return tuple(name for name in self.list_display if may_halt or name != "halt")

    def get_queryset(self, request: HttpRequest) -> QuerySet[FirmwareRelease]:
        """Fetch what the list shows along with the releases."""
        return queries.release_table()

    @admin.display(description="state", ordering="state")
    def standing(self, release: FirmwareRelease) -> SafeString:
        """Show the state, and whether a submitted release is signed off."""
        return _badge(release, is_signed_off=bool(getattr(release, "is_signed_off", False)))

    @admin.display(description="first opens", ordering="opens_at")
    def opens(self, release: FirmwareRelease) -> str:
        """Show the UK day on which the first network opens."""
        return _day(getattr(release, "opens_at", None))

    @admin.display(description="last closes", ordering="closes_at")
    def closes(self, release: FirmwareRelease) -> str:
        """Show the UK day on which the last network closes."""
        return _day(getattr(release, "closes_at", None))

    @admin.display(description="")
    def halt(self, release: FirmwareRelease) -> SafeString | str:
        """Keep the halt in reach."""
        if release.state != ReleaseState.PUBLISHED:
            return ""
        return format_html(
            '<a class="btn btn-danger" href="{}">Halt<span class="visually-hidden"> {}</span></a>',
            reverse("admin:firmware_firmwarerelease_decide", args=[release.pk, "halt"]),
            release.name,
        )

    # Who may do what

    def has_change_permission(self, request: HttpRequest, obj: FirmwareRelease | None = None) -> bool:
        """Let a release be edited until it is published."""
        return super().has_change_permission(request, obj) and (obj is None or obj.state in EDITABLE)

    def has_delete_permission(self, request: HttpRequest, obj: FirmwareRelease | None = None) -> bool:
        """Say no: a release is withdrawn, and stays on record."""
        return False

    # The form

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Choose among the hub models, which are edited elsewhere."""
        return _without_doors(super().formfield_for_dbfield(db_field, request, **options))

    def get_fieldsets(self, request: HttpRequest, obj: FirmwareRelease | None = None) -> Any:
        """Ask for what was typed where the release can be edited, else show what it is."""
        entry: tuple[str, ...] = ("cpl_entry_id", "typed_version", "typed_digest")
        image: tuple[Any, ...] = (
            "file",
            "hub_models",
            ("minimum_hardware", "maximum_hardware"),
            "expected_revision",
        )
        can_type = (
            self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)
        )
        if not can_type:
            entry = ("cpl_entry_id", "version", "digest")
            image = ("size", "models_shown", "hardware_shown")
        return (
            ("Release", {"fields": ("name", *entry)}),
            ("Image", {"fields": image}),
            ("What Suppliers read", {"fields": ("notes", "known_issues", "contact")}),
            ("Urgency", {"fields": ("urgency", "urgency_reason")}),
            ("Over which versions", {"fields": ("has_no_predecessor",)}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Name what is only ever shown."""
        return ("models_shown", "hardware_shown", "size", "version", "digest")

    @admin.display(description="hub models")
    def models_shown(self, release: FirmwareRelease) -> str:
        """Name the hub models."""
        return ", ".join(model.name for model in release.hub_models.order_by("name"))

    @admin.display(description="hardware range")
    def hardware_shown(self, release: FirmwareRelease) -> str:
        """Show the range as the CPL does."""
        return f"{release.minimum_hardware:04X} to {release.maximum_hardware:04X}"

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin with whom Suppliers could ask about the last release."""
        return {"contact": queries.last_contact(), **super().get_changeform_initial_data(request)}

    def response_post_save_add(self, request: HttpRequest, obj: FirmwareRelease) -> HttpResponseRedirect:
        """Go on to the release, where its upload check is read and it is submitted."""
        return HttpResponseRedirect(reverse("admin:firmware_firmwarerelease_change", args=[obj.pk]))

    def get_formset_kwargs(
        self, request: HttpRequest, obj: Any, inline: admin.options.InlineModelAdmin[Any, Any], prefix: str
    ) -> dict[str, Any]:
        """Begin a new release with a period for every network; what comes back says all that is to be kept."""
        options = super().get_formset_kwargs(request, obj, inline, prefix)
        if isinstance(inline, PeriodInline) and obj.pk is None and request.method == "GET":
            options["initial"] = forms.usual_periods(now=clock.now())
        return options

    def get_inline_instances(self, request: HttpRequest, obj: FirmwareRelease | None = None) -> Any:
        """Fix the rows of a release that can no longer be edited."""
        instances = super().get_inline_instances(request, obj)
        if obj is not None and obj.state not in EDITABLE:
            for inline in instances:
                inline.max_num = 0
                inline.has_add_permission = _never  # type: ignore[method-assign]
                inline.has_change_permission = _never  # type: ignore[method-assign]
                inline.has_delete_permission = _never  # type: ignore[method-assign]
        return instances

    # csrf_exempt until the upload handler is in place: asking for the token reads the whole request.
    # The inherited view is csrf-protected itself.
    @method_decorator(csrf_exempt)
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the upload form, or upload."""
        request.upload_handlers = [CappedUpload(limit=settings.IMAGE_SIZE_LIMIT)]
        return super().add_view(request, form_url, extra_context)

    @method_decorator(csrf_exempt)
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a release with its upload check, its decisions and its history, or change it."""
        request.upload_handlers = [CappedUpload(limit=settings.IMAGE_SIZE_LIMIT)]
        release = self.get_object(request, object_id)
        context = extra_context or {}
        if release is not None and self.has_view_permission(request, release):
            context |= self._desk(request, release)
        return super().change_view(request, object_id, form_url, context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Turn what an operation refuses after the form was found valid into a sentence."""
        try:
            return once.claim(request=request) or super().changeform_view(
                request, object_id, form_url, extra_context
            )
        except (releases.UnableToUpload, releases.UnableToChange, stored_images.ImageUnusable) as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(
        self,
        request: HttpRequest,
        obj: FirmwareRelease,
        form: ModelForm[FirmwareRelease],
        change: bool,
    ) -> None:
        """Leave the writing to `save_related`, which knows the whole release."""

    def save_related(
        self,
        request: HttpRequest,
        form: ModelForm[FirmwareRelease],
        formsets: Sequence[BaseFormSet[Any]],
        change: bool,
    ) -> None:
        """Upload or change the release with one call."""
        by_model = {formset.model: formset for formset in formsets}  # type: ignore[attr-defined]
        typed = cast(forms.ReleaseForm, form)
        particulars = forms.particulars(
            form=typed,
            predecessors=by_model[Predecessor],
            periods=by_model[AvailabilityPeriod],
            policy=by_model[RolloutPolicy],
        )
        file = typed.cleaned_data["file"]
        if change and not typed.has_changed() and not any(formset.has_changed() for formset in formsets):
            return  # pressing the button by mistake voids no sign-off
        if change:
            releases.change(
                release=form.instance,
                revision=typed.cleaned_data["expected_revision"] or 0,
                particulars=particulars,
                content=file,
                by=_user(request),
                now=clock.now(),
            )
        else:
            form.instance.pk = releases.upload(
                particulars=particulars, content=file, author=_user(request), now=clock.now()
            ).pk

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """Say nothing: what is recorded is the audit's."""
        return []

    def log_addition(self, request: HttpRequest, obj: FirmwareRelease, message: Any) -> Any:
        """Leave the record to the audit."""

    def log_change(self, request: HttpRequest, obj: FirmwareRelease, message: Any) -> Any:
        """Leave the record to the audit."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send to the history on the release's own page."""
        address = reverse("admin:firmware_firmwarerelease_change", args=[object_id])
        return HttpResponseRedirect(f"{address}#history")

    # The desk

    def _desk(self, request: HttpRequest, release: FirmwareRelease) -> dict[str, Any]:
        reach = queries.reach(release=release)
        standing = queries.standing_halt(release=release)
        return {
            "parts": queries.parts(release=release),
            "halted_parts": [
                {"halt": halt, "acts": _acts_on_part(halt, release, request)}
                for halt in queries.halted_parts(release=release)
            ],
            "release": release,
            "badge": _badge(release, is_signed_off=bool(getattr(release, "is_signed_off", False))),
            "checks": _checks(release),
            "stored": _stored(release),
            "reach": reach,
            "halt": standing,
            "sign_offs": [
                {"signed": signed, "leaves_out": queries.left_out(signed=signed) if signed.leaves_out else []}
                for signed in release.sign_offs.select_related(
                    "signed_by", "halt__network", "halt__model", "halt__installed_version"
                ).order_by("pk")
            ],
            "acts": [act for act in ACTS.values() if act.name != "halt" and _offers(act, release, request)],
            "halt_act": ACTS["halt"] if _offers(ACTS["halt"], release, request) else None,
            "history": queries.history(release=release)[:200],
        }

    def get_urls(self) -> list[URLPattern]:
        """Add the page of each decision."""
        return [
            path(
                "<int:release_id>/decide/<slug:act>/",
                self.admin_site.admin_view(self.decide_view),
                name="firmware_firmwarerelease_decide",
            ),
            *super().get_urls(),
        ]

    def decide_view(self, request: HttpRequest, release_id: int, act: str) -> HttpResponse:
        """Say in numbers what a decision will do, then take it."""
        chosen = ACTS.get(act)
        release = self.get_object(request, str(release_id))
        if chosen is None or release is None:
            raise Http404
        if not (self.has_view_permission(request, release) and _user(request).has_perm(chosen.permission)):
            raise PermissionDenied
        if request.method == "POST":
            if chosen.is_sensitive:
                return self._decide_recently_known(request, release, chosen)
            return self._decide(request, release, chosen)
        form = forms.DecisionForm(
            initial={"revision": release.revision, "digest": release.digest},
            needs_reason=chosen.needs_reason,
            parts=queries.parts(release=release),
        )
        return self._decision_page(request, release, chosen, form)

    def _halt_of(self, request: HttpRequest, release: FirmwareRelease, act: Act) -> Halt | None:
        """Return the halt of a part that a decision is about, as the address names it; None for the whole release."""
        number = request.GET.get("halt", "")
        if not act.ends_a_halt or not number:
            return None
        if not number.isdecimal():
            raise Http404
        of_part = get_object_or_404(
            Halt.objects.select_related("network", "model", "installed_version", "halted_by"),
            pk=number,
            release=release,
        )
        return None if of_part.is_whole else of_part

    @method_decorator(reauthentication_required)
    def _decide_recently_known(
        self, request: HttpRequest, release: FirmwareRelease, act: Act
    ) -> HttpResponse:
        return self._decide(request, release, act)

    def _decide(self, request: HttpRequest, release: FirmwareRelease, act: Act) -> HttpResponse:
        form = forms.DecisionForm(
            request.POST, needs_reason=act.needs_reason, parts=queries.parts(release=release)
        )
        if not form.is_valid():
            return self._decision_page(request, release, act, form)
        typed = form.cleaned_data | {"halt": self._halt_of(request, release, act)}
        try:
            _TAKE[act.name](release, _user(request), typed)
        except decisions.UnableToDecide as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
        else:
            self.message_user(request, f"{release.name}: {act.done}", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:firmware_firmwarerelease_change", args=[release.pk]))

    def _decision_page(
        self, request: HttpRequest, release: FirmwareRelease, act: Act, form: forms.DecisionForm
    ) -> HttpResponse:
        desk = self._desk(request, release)
        of_part = self._halt_of(request, release, act)
        halt = of_part or desk["halt"]
        signed = (
            queries.standing_sign_off(release=release, act=SignedAct.RESUME, halt=halt)
            if act.name == "resume" and halt
            else None
        )
        context = {
            **self.admin_site.each_context(request),
            **desk,
            "halt": halt,
            "of_part": of_part,
            "may_leave_out": act.name == "sign-off-resumption" and of_part is None,
            "signed": signed,
            "left_out": queries.left_out(signed=signed) if signed else [],
            "title": f"{act.label}: {release.name}",
            "opts": self.opts,
            "act": act,
            "form": form,
            "periods": release.periods.select_related("network").order_by("start_at", "pk"),
        }
        return render(request, "admin/firmware/firmwarerelease/decide.html", context)


Take = Callable[[FirmwareRelease, "User", dict[str, Any]], object]
_TAKE: dict[str, Take] = {
    "submit": lambda release, by, typed: decisions.submit(release=release, by=by, now=clock.now()),
    "sign-off": lambda release, by, typed: decisions.sign_off(
        release=release,
        act=SignedAct.PUBLISH,
        revision=typed["revision"],
        digest=typed["digest"],
        by=by,
        reason=typed["reason"],
        now=clock.now(),
    ),
    "publish": lambda release, by, typed: decisions.publish(release=release, by=by, now=clock.now()),
    "halt": lambda release, by, typed: decisions.halt(
        release=release, by=by, reason=typed["reason"], now=clock.now(), part=typed["part"] or WHOLE
    ),
    "sign-off-resumption": lambda release, by, typed: decisions.sign_off(
        release=release,
        act=SignedAct.RESUME,
        revision=typed["revision"],
        digest=typed["digest"],
        by=by,
        reason=typed["reason"],
        halt=typed["halt"],
        leaves_out=() if typed["halt"] else typed["leaves_out"],
        now=clock.now(),
    ),
    "resume": lambda release, by, typed: decisions.resume(
        release=release, by=by, reason=typed["reason"], now=clock.now(), halt=typed["halt"]
    ),
    "withdraw": lambda release, by, typed: decisions.withdraw(
        release=release, by=by, reason=typed["reason"], now=clock.now()
    ),
    "close": lambda release, by, typed: decisions.close(release=release, by=by, now=clock.now()),
}


def _never(request: HttpRequest, obj: object = None) -> bool:
    return False


def _user(request: HttpRequest) -> "User":
    return cast("User", request.user)


def _offers(act: Act, release: FirmwareRelease, request: HttpRequest) -> bool:
    if release.state not in act.states or not _user(request).has_perm(act.permission):
        return False
    # what needs a sign-off is offered once it stands, and the sign-off until then
    if act.name in ("sign-off", "publish"):
        is_signed = queries.standing_sign_off(release=release, act=SignedAct.PUBLISH) is not None
        return is_signed == (act.name == "publish")
    if act.ends_a_halt:
        return _is_next(act, queries.standing_halt(release=release))
    return True


def _acts_on_part(halt: Halt, release: FirmwareRelease, request: HttpRequest) -> list[Act]:
    """Return what can be decided next about a halt of a part of a release."""
    return [
        act
        for act in ACTS.values()
        if act.ends_a_halt and _user(request).has_perm(act.permission) and _is_next(act, halt)
    ]


def _is_next(act: Act, halt: Halt | None) -> bool:
    """Say whether a sign-off of the end of a halt, or that end, comes next."""
    if halt is None:
        return False
    signed = queries.standing_sign_off(release=halt.release, act=SignedAct.RESUME, halt=halt)
    return (signed is not None) == (act.name == "resume")


def _without_doors(field: Any) -> Any:
    """Take away the links to add, change and view the rows that a field chooses from."""
    if isinstance(widget := field.widget, RelatedFieldWidgetWrapper):
        field.widget = widget.widget
    return field


def _badge(release: FirmwareRelease, *, is_signed_off: bool) -> SafeString:
    words = release.get_state_display()
    if release.state == ReleaseState.SUBMITTED:
        words = "Signed off" if is_signed_off else "Waits for sign-off"
    shown = [(release.state, words)]
    if release.urgency == Urgency.URGENT:
        shown.append(("urgent", "Urgent"))
    return format_html_join(
        " ",
        "{}",
        (
            (render_to_string("components/state.html", {"state": state, "label": label}),)
            for state, label in shown
        ),
    )


def _day(at: datetime | None) -> str:
    return f"{at.astimezone(LONDON):%-d %b %Y}" if at else "–"


def _checks(release: FirmwareRelease) -> list[images.Check]:
    """Return the upload check, asked of the stored file now; nothing where the file is no image any more."""
    claim = images.Claim(
        digest=release.digest,
        version=release.version.number,
        minimum_hardware=release.minimum_hardware,
        maximum_hardware=release.maximum_hardware,
        models=[
            images.CoveredModel(model.name, model.manufacturer, model.image_type)
            for model in release.hub_models.order_by("name")
        ],
    )
    try:
        with release.image.open("rb") as stored:
            image = images.inspect(stored, settings.IMAGE_SIZE_LIMIT)
    except (images.ImageFault, OSError):
        return []
    return images.compare(image=image, claim=claim, size_limit=settings.IMAGE_SIZE_LIMIT)


def _stored(release: FirmwareRelease) -> str:
    """Return the sentence on a stored file that is no longer the image, or nothing."""
    try:
        stored_images.verify_stored_image(release=release)
    except stored_images.ImageUnusable as changed:
        return str(changed)
    return ""
