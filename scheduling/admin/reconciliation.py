"""What DCC sees of the reconciliation of the carrier's log, the commands, the deployments and the counters."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from scheduling.admin.base import ToldAdmin
from scheduling.models import Finding, Reconciliation

EXCESS, DIFFERENCE = "Excess", "Difference"


class WeightFilter(admin.SimpleListFilter):
    """By whether it is an excess."""

    title, parameter_name = "weight", "is_excess"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Offer both."""
        return [("1", EXCESS), ("0", DIFFERENCE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow to the chosen one."""
        return queryset.filter(is_excess=self.value() == "1") if self.value() in ("0", "1") else queryset


@admin.register(Finding)
class FindingAdmin(ToldAdmin):
    """What did not agree. An excess, for which every release was halted, stands out; there should be neither."""

    title = "Findings"
    told = (
        "What did not agree when the carrier's log, the commands, the deployments and the counters were held against "
        "each other; there should be nothing. An excess is something that reached a hub, or may have, and that nobody "
        "admitted: every published release was halted for it, and somebody has to find out how it came before anything "
        "is resumed. A difference is a number that is not what it counts: each reconciliation finds it again until it "
        "is mended, with the command reconcile --repair."
    )
    list_display = ("found_at", "weight", "what", "acted_at")
    list_filter = (WeightFilter, "kind")
    linked = ("reconciliation__id__exact",)
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("subject", "words")
    search_help_text = "CHF ID, the number of a deployment, lot, slot or release, or words"
    ordering = ("-id",)
    fields = ("weight", "kind", "subject", "words", "found_at", "acted_at", "reconciliation")

    @admin.display(ordering="is_excess")
    def weight(self, finding: Finding) -> str | SafeString:
        """Say whether it is an excess."""
        return format_html("<strong>{}</strong>", EXCESS) if finding.is_excess else DIFFERENCE

    @admin.display(description="what does not agree", ordering="kind")
    def what(self, finding: Finding) -> SafeString:
        """Say what does not agree, and of what, with the numbers."""
        return format_html(
            '<span class="desk-words">{}<br>{}: {}</span>',
            finding.get_kind_display(),
            finding.subject,
            finding.words,
        )


@admin.register(Reconciliation)
class ReconciliationAdmin(ToldAdmin):
    """The passes: what each has compared, and whether the carrier's log could be read."""

    title = "Reconciliations"
    told = (
        "Every two minutes a worker goes on with the pass that is under way, or begins the next one. It reads the "
        "carrier's log on from where the last pass ended, and all lots, deployments, commands and counters. Passes "
        "that found nothing are remembered for 28 days."
    )
    list_display = ("started_at", "finished", "log", "commands", "lots", "found")
    ordering = ("-id",)
    fields = ("started_at", "finished", "log", "log_from", "log_to", "commands", "lots", "found")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Count what each has found."""
        return Reconciliation.objects.annotate(
            excesses=Count("findings", filter=Q(findings__is_excess=True)),
            differences=Count("findings", filter=Q(findings__is_excess=False)),
        )

    @admin.display(description="finished at", ordering="finished_at")
    def finished(self, one: Reconciliation) -> str:
        """Say when it ended, if it has."""
        return self.shown(one.finished_at) or "under way"

    @admin.display(description="carrier's log")
    def log(self, one: Reconciliation) -> str:
        """Say whether it could be read."""
        if one.log_silent:
            return "could not be read"
        return "read" if one.log_done else "being read"

    @admin.display(description="found")
    def found(self, one: Any) -> str | SafeString:
        """Lead to what it has found."""
        if not one.excesses + one.differences:
            return "nothing" if one.finished_at else "nothing yet"
        return format_html(
            '<a href="{}?reconciliation__id__exact={}">{}</a>',
            reverse("admin:scheduling_finding_changelist"),
            one.pk,
            _found(one.excesses, one.differences),
        )


def _found(excesses: int, differences: int) -> str:
    parts = []
    if excesses:
        parts.append(f"{excesses:,} excess{'' if excesses == 1 else 'es'}")
    if differences:
        parts.append(f"{differences:,} difference{'' if differences == 1 else 's'}")
    return ", ".join(parts)
