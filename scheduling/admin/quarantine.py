"""Hubs that were set aside because carrying them out kept failing, and what DCC decides about them."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html
from django.utils.safestring import SafeString

from hubs.gateway import Phase
from hubs.identifiers import InvalidIdentifier, format_eui64, parse_eui64
from portal.ground import clock
from portal.ground.access import user_of
from scheduling.admin.base import ToldAdmin
from scheduling.lifecycle import State
from scheduling.models import Quarantine
from scheduling.operations import quarantine as acts
from scheduling.operations.deployments.gate import LAST_WORD
from scheduling.operations.exceptions import MAY_DECIDE
from scheduling.queries import quarantine

PHASES = {
    Phase.READ: "Read its version, before staging",
    Phase.STAGE: "Stage the image",
    Phase.ACTIVATE: "Activate",
    Phase.VERIFY: "Read its version, after activation",
}
"""What a hub was asked last, or is asked next."""
WAITING = (
    "Carrying them out kept failing, so nobody touches these hubs, and no others wait for them, until DCC takes them "
    "back or ends them. Only those being activated hold a place in their stage and in flight: unless DCC has decided "
    "by then, they end unconfirmed when their release's silence deadline has passed, at the moment under “Ends by "
    "itself”."
)
"""What becomes of the hubs in the list."""
LAPSED = (
    "These hubs were set aside while they were being activated, and neither an answer nor a decision came before their "
    "release's silence deadline had passed. They ended unconfirmed: what they run is not known, and nothing more is "
    "asked of them. Each is kept in this list for 28 days."
)
"""What has become of those in the list about which time has decided."""
FACTS = 20
"""Hubs that a confirmation names one by one."""


class ReasonForm(forms.Form):
    """Why, in a few words."""

    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 3, "cols": 80}))


@dataclass(frozen=True, slots=True)
class Act:
    """A decision about hubs that are set aside, as the page offers it."""

    label: str
    consequence: str
    is_final: bool


TAKE_BACK = Act(
    "Take back",
    "Each hub goes on where it was, at once, by all the rules; if its slot is over by now, it is missed. If carrying "
    "it out still fails, it is set aside again.",
    is_final=False,
)
END = Act(
    "End",
    "Nothing more is asked of these hubs for this booking. Whoever booked them sees why, and can book them again.",
    is_final=True,
)


class OfLotFilter(admin.SimpleListFilter):
    """The hubs that are set aside by something that their lot says; offers only what is there."""

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Offer what some of the hubs have."""
        names = (f"{self.parameter_name}_id", f"{self.parameter_name}_name")
        found = set(quarantine.every_open().values_list(*names))
        return [(str(key), name) for key, name in sorted(found, key=lambda pair: str(pair[1]))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow to the chosen one; what is no choice narrows nothing."""
        chosen = self.value() or ""
        if chosen not in {key for key, _ in self.lookup_choices}:
            return queryset
        return queryset.filter(**{f"{self.parameter_name}_id": int(chosen)})


class ReleaseFilter(OfLotFilter):
    """By release."""

    title, parameter_name = "release", "release"


class SupplierFilter(OfLotFilter):
    """By the Supplier that booked."""

    title, parameter_name = "Supplier", "supplier"


class NetworkFilter(OfLotFilter):
    """By network."""

    title, parameter_name = "network", "network"


class DecisionFilter(admin.SimpleListFilter):
    """Those that wait for a decision, or those about which time has decided lately."""

    title, parameter_name = "decision", "decision"
    LAPSED = "lapsed"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Offer what is not shown without a choice."""
        return [(self.LAPSED, "Ended by time")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Call those that are shown without a choice by what they are."""
        waiting, *others = super().choices(changelist)
        yield {**waiting, "display": "Waits for DCC"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow to those about which time has decided, or to the others."""
        return queryset.filter(lapsed_at__isnull=self.value() != self.LAPSED)


class StateFilter(admin.SimpleListFilter):
    """By state."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Offer the states in which something is commanded."""
        return [(str(state), str(state.label)) for state in (State.STAGING, State.STAGED, State.ACTIVATING)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow to the chosen one."""
        return queryset.filter(state=self.value()) if self.value() in State.values else queryset


@admin.register(Quarantine)
class QuarantineAdmin(ToldAdmin):
    """Hubs that nobody touches until DCC decides, or time does where a stage would wait: taken back, or ended."""

    list_display = (
        "hub",
        "problem",
        "stands",
        "time_decides",
        "since",
        "release",
        "asked",
        "supplier",
        "network",
        "slot",
        "strikes",
    )
    list_filter = (DecisionFilter, ReleaseFilter, SupplierFilter, NetworkFilter, StateFilter)
    search_fields = ("error",)
    search_help_text = "CHF ID, booking reference, or words of the error"
    show_facets = admin.ShowFacets.NEVER
    ordering = ("since", "deployment_id")
    actions = ("take_back", "end")
    fields = (
        "hub",
        "release",
        "booking",
        "supplier",
        "network",
        "slot",
        "stands",
        "asked",
        "strikes",
        "problem",
        "error",
        "last_at",
        "since",
        "time_decides",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Show those that are set aside and have not ended, or that ended by time."""
        return quarantine.every_open_or_lapsed()

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer no decision about what is decided."""
        return {} if _is_over(request) else super().get_actions(request)

    def said(self, request: HttpRequest) -> tuple[str, str]:
        """Name the list by what is in it, and say what becomes of the hubs."""
        return ("Hubs set aside, ended by time", LAPSED) if _is_over(request) else ("Hubs set aside", WAITING)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find a hub by its CHF ID, however it is written, or by the booking or the error."""
        typed = search_term.strip()
        if not typed:
            return queryset, False
        wanted = Q(error__icontains=typed) | Q(reference__iexact=typed)
        with suppress(InvalidIdentifier):
            wanted |= Q(chf_id=parse_eui64(typed))
        return queryset.filter(wanted), False

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Let release managers decide."""
        return request.user.has_perm(MAY_DECIDE)

    @admin.display(description="CHF ID", ordering="chf_id")
    def hub(self, kept: Any) -> SafeString:
        """Show the CHF ID as it is written, in one piece."""
        return format_html('<span class="nowrap">{}</span>', format_eui64(kept.chf_id))

    @admin.display(ordering="release_name")
    def release(self, kept: Any) -> str:
        """Name the release."""
        return str(kept.release_name)

    @admin.display
    def booking(self, kept: Any) -> str:
        """Name the booking."""
        return str(kept.reference)

    @admin.display(description="Supplier", ordering="supplier_name")
    def supplier(self, kept: Any) -> str:
        """Name the Supplier that booked."""
        return str(kept.supplier_name)

    @admin.display(ordering="network_name")
    def network(self, kept: Any) -> str:
        """Name the network."""
        return str(kept.network_name)

    @admin.display(ordering="slot_start")
    def slot(self, kept: Any) -> str | None:
        """Show when the slot begins."""
        return self.shown(kept.slot_start)

    @admin.display(description="state", ordering="state")
    def stands(self, kept: Any) -> str:
        """Show where the deployment stands."""
        return str(State(kept.state).label)

    @admin.display(description="what it was asked")
    def asked(self, kept: Any) -> str:
        """Show what the hub was asked last, or is asked next."""
        return PHASES[Phase(kept.phase)]

    @admin.display(description="ends by itself", ordering="lapsed_at")
    def time_decides(self, kept: Any) -> str | None:
        """Show when its deployment has ended by time, or will, if DCC has not decided by then; others never do."""
        if kept.state != State.ACTIVATING:
            return self.shown(kept.lapsed_at)
        return self.shown(kept.silence.after(kept.since) + LAST_WORD)

    @admin.display(description="what keeps failing")
    def problem(self, kept: Quarantine) -> str:
        """Say it in plain words."""
        return quarantine.plain(error=kept.error)

    @admin.action(description="Take the chosen hubs back: they go on", permissions=["decide"])
    def take_back(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Let hubs go on where they were."""

        def act(chosen: list[int], reason: str, now: datetime) -> tuple[int, str]:
            hubs = acts.take_back(deployments=chosen, by=user_of(request), reason=reason, now=now)
            return hubs, f"{_hubs(hubs)} taken back, and due at once."

        return self._decide(request, queryset, TAKE_BACK, act)

    @admin.action(description="End the chosen hubs' deployments", permissions=["decide"])
    def end(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """End the deployments of hubs."""

        def act(chosen: list[int], reason: str, now: datetime) -> tuple[int, str]:
            ended = acts.end(deployments=chosen, by=user_of(request), reason=reason, now=now)
            return (
                ended.missed + ended.unconfirmed,
                f"Ended: {ended.missed:,} missed, {ended.unconfirmed:,} unconfirmed.",
            )

        return self._decide(request, queryset, END, act)

    def _decide(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        act: Act,
        take: Callable[[list[int], str, datetime], tuple[int, str]],
    ) -> HttpResponse | None:
        """Say in numbers what the decision does and ask why; once that is said, take it."""
        chosen = sorted(queryset.values_list("pk", flat=True)[: acts.MOST + 1])
        if len(chosen) > acts.MOST:
            self.message_user(
                request,
                f"A decision can be about {acts.MOST:,} hubs at most. Filter the list, and decide in several steps.",
                messages.ERROR,
            )
            return None
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        if form.is_valid():
            try:
                done, said = take(chosen, form.cleaned_data["reason"], clock.now())
            except acts.UnableToDecide as refusal:
                self.message_user(request, str(refusal), messages.ERROR)
            else:
                left = len(request.POST.getlist(ACTION_CHECKBOX_NAME)) - done
                self.message_user(request, f"{said}{_gone(left)}", messages.SUCCESS)
            return None
        counts = quarantine.by_state(deployments=chosen)
        activating = counts.get(State.ACTIVATING, 0)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{act.label}: hubs set aside",
            "opts": self.opts,
            "act": act,
            "action": request.POST.get("action", ""),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "chosen": chosen,
            "hubs": sum(counts.values()),
            "counts": sorted((str(state.label), hubs) for state, hubs in counts.items()),
            "missed": sum(counts.values()) - activating,
            "unconfirmed": activating,
            "named": [
                (format_eui64(kept.chf_id), kept.release_name, quarantine.plain(error=kept.error))
                for kept in quarantine.every_open().filter(pk__in=chosen).order_by("pk")[:FACTS]
            ],
            "more": max(sum(counts.values()) - FACTS, 0),
            "form": form,
        }
        return render(request, "admin/scheduling/quarantine/decide.html", context)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Leave the record to the audit."""


def _is_over(request: HttpRequest) -> bool:
    return request.GET.get(DecisionFilter.parameter_name) == DecisionFilter.LAPSED


def _hubs(number: int) -> str:
    return f"{number:,} hub{'' if number == 1 else 's'}"


def _gone(number: int) -> str:
    """Say how many were no longer there to be decided about."""
    if not number:
        return ""
    return f" {_hubs(number)} had been decided about or had ended meanwhile."
