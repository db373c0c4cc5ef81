"""Files of lists that a Supplier's people asked for: what was asked, how far each is, and where the file lies."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from hubs.models import Supplier


class Export(models.Model):
    """
    One list as a file, with the filter, the order and the columns that its page had.

    `query` is what the address of that page said, and `subject` what the list is of, where it is not the Supplier's
    alone. Whoever writes it holds it by `token` until `lease_until`, and has been given it `attempts` times. `rows` are
    written so far, of about `expected`. The file is `stored` until it is forgotten; the row still says what it was.
    """

    class Format(models.TextChoices):
        """What kind of file."""

        CSV = "csv", "CSV"
        XLSX = "xlsx", "XLSX"

    class State(models.TextChoices):
        """Where it is."""

        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Being written"
        DONE = "done", "Ready"
        FAILED = "failed", "Failed"
        STOPPED = "stopped", "Stopped"

    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    asked_at = models.DateTimeField()
    list = models.CharField(max_length=20)
    subject = models.CharField(max_length=40, blank=True)
    query = models.TextField(blank=True)
    title = models.CharField(max_length=200)
    format = models.CharField(max_length=4, choices=Format)
    state = models.CharField(max_length=7, choices=State, default=State.WAITING)
    rows = models.PositiveIntegerField(default=0)
    expected = models.PositiveIntegerField(null=True)
    token = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    began_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    stored = models.CharField("file in the media folder", max_length=100, blank=True)
    size = models.BigIntegerField("bytes", null=True)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state="running", lease_until__isnull=False, began_at__isnull=False)
                | (~Q(state="running") & Q(lease_until=None)),
                name="export_leased_while_running",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("waiting", "running"), ended_at=None)
                | Q(state__in=("done", "failed", "stopped"), ended_at__isnull=False),
                name="export_ended_when_it_is_over",
            ),
            models.CheckConstraint(condition=Q(stored="") | Q(state="done"), name="export_file_when_done"),
            models.CheckConstraint(
                condition=Q(state="done", size__isnull=False) | (~Q(state="done") & Q(size=None)),
                name="export_size_when_done",
            ),
            models.CheckConstraint(
                condition=(Q(state="failed") & ~Q(error="")) | (~Q(state="failed") & Q(error="")),
                name="export_error_when_failed",
            ),
        ]
        indexes = [
            models.Index(fields=["supplier", "asked_by", "-id"], name="export_latest_first"),
            models.Index(
                fields=["id"], condition=Q(state__in=("waiting", "running")), name="export_to_be_written"
            ),
            models.Index(fields=["ended_at"], condition=~Q(stored=""), name="export_with_a_file"),
        ]

    def __str__(self) -> str:
        return f"{self.title}, {self.get_format_display()}"

    @property
    def is_open(self) -> bool:
        """It waits, or is being written."""
        return self.state in (self.State.WAITING, self.State.RUNNING)
