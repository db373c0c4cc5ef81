"""Rollouts on virtual time that DCC staff asked for: what was asked, how far each is, and what came of it."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from firmware.models import FirmwareRelease
from hubs.models import HubModel, Network


class Rehearsal(models.Model):
    """
    One rehearsal of a release, with a stated defect or none.

    `plan` says everything that it is made from, as the release was then, so that it needs no other row. `is_whole`
    sends it through the real code, in a database of its own; otherwise it goes in numbers alone. Whoever is at it holds
    it by `token` until `lease_until`, and has been given it `attempts` times. `digest` is the SHA-256 of the result,
    which is also on record.
    """

    class State(models.TextChoices):
        """Where it is."""

        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Stopped"

    class Kind(models.TextChoices):
        """How a defect shows."""

        VISIBLE = "visible", "Visible: the hub says that it failed"
        SILENT = "silent", "Silent: the hub is not heard of again"
        LATE = "late", "Late: the hub answers well, and falls silent three hours later"

    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, related_name="rehearsals")
    revision = models.PositiveIntegerField()
    is_whole = models.BooleanField("through the real code")
    hubs = models.PositiveIntegerField()
    percent = models.DecimalField("defect, % of the hubs", max_digits=6, decimal_places=3)
    kind = models.CharField(max_length=7, choices=Kind, blank=True)
    network = models.ForeignKey(Network, on_delete=models.PROTECT, null=True, related_name="+")
    model = models.ForeignKey(HubModel, on_delete=models.PROTECT, null=True, related_name="+")
    seed = models.PositiveIntegerField()
    plan = models.JSONField()
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    step = models.CharField(max_length=300, blank=True)
    progress = models.FloatField(null=True)
    token = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    began_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    result = models.JSONField(null=True)
    digest = models.CharField("SHA-256 of the result", max_length=64, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["release"],
                condition=Q(state__in=("waiting", "running")),
                name="rehearsal_one_open_per_release",
            ),
            models.UniqueConstraint(
                fields=["is_whole"], condition=Q(state="running"), name="rehearsal_one_of_each_way_at_a_time"
            ),
            models.CheckConstraint(
                condition=Q(percent__gt=0, percent__lte=100, kind__in=("visible", "silent", "late"))
                | Q(percent=0, kind="", network=None, model=None),
                name="rehearsal_kind_and_place_with_a_defect",
            ),
            models.CheckConstraint(
                condition=Q(network=None) | Q(model=None), name="rehearsal_one_place_of_a_defect"
            ),
            models.CheckConstraint(condition=Q(hubs__gte=1), name="rehearsal_of_some_hubs"),
            models.CheckConstraint(
                condition=Q(progress=None) | Q(progress__gte=0, progress__lte=1),
                name="rehearsal_progress_is_a_share",
            ),
            models.CheckConstraint(
                condition=Q(state="running", lease_until__isnull=False)
                | (~Q(state="running") & Q(lease_until=None)),
                name="rehearsal_leased_while_running",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("waiting", "running"), ended_at=None)
                | Q(state__in=("done", "failed", "cancelled"), ended_at__isnull=False),
                name="rehearsal_ended_when_it_is_over",
            ),
            models.CheckConstraint(
                condition=(Q(state="done", result__isnull=False) & ~Q(digest=""))
                | (~Q(state="done") & Q(result__isnull=True, digest="")),
                name="rehearsal_result_when_done",
            ),
            models.CheckConstraint(
                condition=(Q(state="failed") & ~Q(error="")) | (~Q(state="failed") & Q(error="")),
                name="rehearsal_error_when_failed",
            ),
        ]
        indexes = [models.Index(fields=["release", "-id"], name="rehearsal_latest_first")]

    def __str__(self) -> str:
        return f"Rehearsal {self.pk}"
