"""E-mails owed, and e-mails as they were sent."""

from django.db import models
from django.db.models import Q

from hubs.models import Supplier


class Notice(models.Model):
    """
    One e-mail owed to one address. The row is written in the transaction of what it tells.

    It is claimed, sent and stamped; the words that were sent are kept with it. `subject_key` says
    what it is about, so that the same thing is never told twice to the same address.
    """

    class Kind(models.TextChoices):
        """What it tells."""

        PUBLISHED = "published", "Release published"
        FIRST_REMINDER = "first_reminder", "Slots ahead"
        LAST_REMINDER = "last_reminder", "Slots about to begin"
        DEADLINE = "deadline", "Booking deadline"
        BOOKING_MOVED = "booking_moved", "Booking moved"
        MISSED = "missed", "Hubs missed"
        BOOKING_DONE = "booking_done", "Booking done"
        CONSENT_ASKED = "consent_asked", "Objection asked"
        OBJECTED = "objected", "Objection made"
        CONSENT_LAPSED = "consent_lapsed", "Objection lapsed"
        PROPOSED = "proposed", "Second person asked"
        PROPOSAL_ANSWERED = "proposal_answered", "Second person answered"
        CARRIED_OVER = "carried_over", "Deployments came with hubs"
        ALLOCATED = "allocated", "Default allocation made"
        HALTED = "halted", "Release halted"
        RESUMED = "resumed", "Release resumed"
        WITHDRAWN = "withdrawn", "Release withdrawn"
        EXCESS = "excess", "Excess found"
        INVITATION = "invitation", "Invitation"
        ACCOUNT = "account", "Account"

    kind = models.CharField(max_length=20, choices=Kind)
    subject_key = models.CharField(max_length=120)
    address = models.EmailField()
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, null=True, related_name="+")
    context = models.JSONField(default=dict)
    owed_at = models.DateTimeField()
    next_try_at = models.DateTimeField(null=True)
    token = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True)
    message_id = models.CharField(max_length=120)
    subject = models.CharField(max_length=200, blank=True)
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
    calendar = models.TextField("calendar entry", blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject_key", "address"], name="notice_once_per_address"
            ),
            models.CheckConstraint(
                condition=Q(sent_at=None, next_try_at__isnull=False)
                | Q(sent_at__isnull=False, next_try_at=None),
                name="notice_owed_or_sent",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_try_at", "id"], condition=Q(next_try_at__isnull=False), name="notice_owed"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} to {self.address}"
