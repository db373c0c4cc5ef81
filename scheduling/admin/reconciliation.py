"""What DCC sees of the reconciliation of the carrier's log, the commands, the deployments and the counters."""

from django.contrib import admin

from scheduling.admin.base import ReadOnlyAdmin
from scheduling.models import Finding, Reconciliation


@admin.register(Finding)
class FindingAdmin(ReadOnlyAdmin):
    """What did not agree. An excess, for which every release was halted, stands out; there should be neither."""

    list_display = ("found_at", "kind", "subject", "words", "is_excess", "acted_at")
    list_filter = ("is_excess", "kind")
    list_select_related = ("reconciliation",)
    ordering = ("-id",)


@admin.register(Reconciliation)
class ReconciliationAdmin(ReadOnlyAdmin):
    """The passes: what each has compared, and whether the carrier's log could be read."""

    list_display = ("started_at", "finished_at", "commands", "lots", "log_silent")
    ordering = ("-id",)
