"""What the Supplier that books a shared hub asks of the hub's other Supplier, and what that answers."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from hubs.models import Supplier
from scheduling.models.bookings import Booking
from scheduling.models.slots import Slot


class Consent(models.Model):
    """
    What one booking asks of one other Supplier for one slot: may the hubs that we share go then?

    The hubs are those of the lots that name it, provisional until it is answered. Silence until `answer_by` is
    consent, but where `is_explicit` is set: then the slot is too near for that, and hubs that nobody agreed to
    leave it.
    """

    class State(models.TextChoices):
        """Where the question is."""

        ASKED = "asked", "To be answered"
        GIVEN = "given", "Agreed"
        LAPSED = "lapsed", "Agreed by silence"
        OBJECTED = "objected", "Objected"
        UNANSWERED = "unanswered", "Not agreed in time"
        WITHDRAWN = "withdrawn", "No longer asked"

    booking = models.ForeignKey(Booking, on_delete=models.PROTECT, related_name="consents")
    supplier = models.ForeignKey(
        Supplier, on_delete=models.PROTECT, db_index=False, related_name="+", verbose_name="asked"
    )
    slot = models.ForeignKey(Slot, on_delete=models.PROTECT, db_index=False, related_name="+")
    asked_at = models.DateTimeField()
    answer_by = models.DateTimeField()
    is_explicit = models.BooleanField("silence is not consent", default=False)
    state = models.CharField(max_length=10, choices=State, default=State.ASKED)
    answered_at = models.DateTimeField(null=True)
    answered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["asked", "given", "lapsed", "objected", "unanswered", "withdrawn"]),
                name="consent_state_known",
            ),
            models.CheckConstraint(
                condition=Q(state="asked", answered_at=None)
                | (~Q(state="asked") & Q(answered_at__isnull=False)),
                name="consent_asked_or_answered",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["given", "objected"]) | Q(answered_by__isnull=False),
                name="consent_answered_by_somebody",
            ),
            models.CheckConstraint(
                condition=~Q(state="lapsed", is_explicit=True), name="consent_never_lapses_where_explicit"
            ),
        ]
        indexes = [
            models.Index(fields=["supplier", "-id"], name="consent_by_supplier"),
            # what the timetable looks for
            models.Index(fields=["answer_by"], condition=Q(state="asked"), name="consent_to_be_answered"),
        ]

    def __str__(self) -> str:
        return f"{self.get_state_display()}: {self.booking_id} asks {self.supplier_id}"


class Objection(models.Model):
    """
    A no of the other Supplier to all or some hubs of a question, and what became of those hubs.

    `hubs` were objected to; of these `moved` went to another slot and `handed_back` to the Supplier that had
    booked them. `alternative` is the slot that the objector offered, if it did.
    """

    consent = models.ForeignKey(Consent, on_delete=models.PROTECT, related_name="objections")
    reason = models.TextField()
    alternative = models.ForeignKey(Slot, on_delete=models.PROTECT, null=True, related_name="+")
    hubs = models.PositiveIntegerField()
    moved = models.PositiveIntegerField("moved to another slot", default=0)
    handed_back = models.PositiveIntegerField(default=0)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(hubs__gt=0), name="objection_to_some_hub"),
            models.CheckConstraint(
                condition=Q(moved__lte=F("hubs") - F("handed_back")), name="objection_adds_up"
            ),
        ]

    def __str__(self) -> str:
        return f"Objection to {self.hubs} hubs"
