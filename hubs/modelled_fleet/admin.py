"""What staff see of the modelled fleet in a demo: how it behaves, what it was told, faults to inject."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from hubs.identifiers import format_eui64
from hubs.modelled_fleet import models
from portal.ground.recorded import RecordedAdmin


class ReadOnly(admin.ModelAdmin[Any]):
    """A list to read: what happened is not edited."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: the fleet alone adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Refuse: the fleet alone changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Refuse: nothing received is forgotten."""
        return False

    @admin.display(description="CHF ID")
    def chf(self, row: Any) -> str:
        """Show the hub as people write it."""
        return format_eui64(row.hub if hasattr(row, "hub") else row.chf_id)


@admin.register(models.CommandLog)
class CommandLogAdmin(ReadOnly):
    """Every command that the fleet received, newest first."""

    list_display = ("id", "deployment", "phase", "attempt", "chf", "verdict", "outcome", "acts_at", "repeats")
    list_filter = ("phase", "outcome", "verdict")
    search_fields = ("=deployment", "=lot")
    ordering = ("-id",)


@admin.register(models.FleetReport)
class FleetReportAdmin(ReadOnly):
    """Reports that the portal has not acknowledged."""

    list_display = ("id", "deployment", "phase", "attempt", "chf", "outcome", "due_at")
    ordering = ("due_at", "id")


@admin.register(models.FleetHub)
class FleetHubAdmin(ReadOnly):
    """Hubs as they really are."""

    list_display = (
        "chf",
        "network",
        "model",
        "running_version",
        "staged_version",
        "activations",
        "quiet_until",
    )
    list_filter = ("network", "model")
    list_select_related = ("network", "model")
    ordering = ("chf_id",)


@admin.register(models.NetworkProfile)
class NetworkProfileAdmin(RecordedAdmin[models.NetworkProfile]):
    """How each network behaves."""

    list_display = ("network", "time_scale", "reachability", "stage_delay", "activate_delay")
    ordering = ("network",)


class DefectForm(forms.ModelForm[models.Defect]):
    """A fault, with its version written as everywhere: eight hexadecimal digits."""

    version = forms.RegexField(r"^[0-9A-Fa-f]{8}$", help_text="8 hexadecimal digits, such as 10020501")

    class Meta:
        model = models.Defect
        fields = ("version", "kind", "share", "late_by", "network", "model")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.instance.pk:
            self.initial["version"] = f"{self.instance.version:08X}"

    def clean_version(self) -> int:
        """Return the number that the digits stand for."""
        return int(self.cleaned_data["version"], 16)


@admin.register(models.Outage)
class OutageAdmin(RecordedAdmin[models.Outage]):
    """Spans in which hubs of a network fall silent."""

    list_display = ("network", "share", "since", "until")


@admin.register(models.Defect)
class DefectAdmin(RecordedAdmin[models.Defect]):
    """Faults to inject into a version."""

    form = DefectForm
    list_display = ("version_number", "kind", "share", "network", "model")
    ordering = ("-id",)

    @admin.display(description="version")
    def version_number(self, defect: models.Defect) -> str:
        """Show the version as image headers write it."""
        return f"{defect.version:08X}"


@admin.register(models.FleetImage)
class FleetImageAdmin(RecordedAdmin[models.FleetImage]):
    """What images are really for, where the fleet is to know better than the command."""

    list_display = ("digest", "version", "minimum_hardware", "maximum_hardware")
    ordering = ("digest",)
