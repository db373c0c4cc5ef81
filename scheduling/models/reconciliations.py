"""What the portal found when it held its books against the carrier's log, and against themselves."""

from django.db import models
from django.db.models import F, Q


class Mismatch(models.TextChoices):
    """What did not agree with what."""

    UNADMITTED = "unadmitted", "The carrier received a command that was never admitted"
    OTHER_HUB = "other_hub", "The carrier received a command for another hub than the one commanded"
    OTHER_IMAGE = "other_image", "The carrier received another image than the approved one"
    OUTSIDE_SLOT = "outside_slot", "An activation outside its slot"
    SECOND_ACTIVATION = "second_activation", "A second activation of the same deployment"
    LOT = "lot", "A lot's counts are not those of its deployments"
    COMMANDS = "commands", "A deployment and its commands do not agree"
    TALLY = "tally", "The tally of a release is not that of its lots"
    IN_FLIGHT = "in_flight", "What is in flight is not what is counted"
    STAGE = "stage", "A stage's counts are not those of its hubs"
    SLOT = "slot", "A slot's places are not those of its lots"
    MOVES = "moves", "The table of moves was changed"
    TRIGGER = "trigger", "A trigger that enforces a promise is missing or off"


EXCESSES = (
    Mismatch.UNADMITTED,
    Mismatch.OTHER_HUB,
    Mismatch.OTHER_IMAGE,
    Mismatch.OUTSIDE_SLOT,
    Mismatch.SECOND_ACTIVATION,
)
"""What reached a hub, or may have, that nobody admitted: it halts every release."""


class Reconciliation(models.Model):
    """
    One pass over the carrier's log, the lots with their deployments and commands, and the counters.

    It goes by portions, and says how far it has come: the log is read on from where the last pass ended, the lots
    from their beginning. `log_silent` says that the carrier keeps no log that can be read back, or did not answer.
    """

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    log_from = models.BigIntegerField("log read from")
    log_to = models.BigIntegerField("log read to")
    log_done = models.BooleanField(default=False)
    log_silent = models.BooleanField(default=False)
    commands = models.PositiveBigIntegerField("commands received, compared", default=0)
    lots_to = models.BigIntegerField("lots read to", default=0)
    lots_done = models.BooleanField(default=False)
    lots = models.PositiveBigIntegerField("lots compared", default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(finished_at=None) | Q(log_done=True, lots_done=True),
                name="reconciliation_finished_when_all_is_read",
            ),
            models.CheckConstraint(
                condition=Q(log_to__gte=F("log_from")), name="reconciliation_reads_forwards"
            ),
            models.UniqueConstraint(
                fields=["finished_at"],
                condition=Q(finished_at=None),
                nulls_distinct=False,
                name="reconciliation_one_under_way",
            ),
        ]

    def __str__(self) -> str:
        return f"Reconciliation {self.pk}"


class Finding(models.Model):
    """
    One thing that did not agree. An excess is found once; a difference once in each pass that sees it.

    An excess halts every release: `acted_at` says when that was done, and DCC told.
    """

    reconciliation = models.ForeignKey(Reconciliation, on_delete=models.PROTECT, related_name="findings")
    kind = models.CharField(max_length=17, choices=Mismatch)
    is_excess = models.BooleanField()
    subject = models.CharField(max_length=120)
    words = models.TextField()
    found_at = models.DateTimeField()
    acted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=Q(is_excess=True), name="finding_of_an_excess_once"
            ),
            models.UniqueConstraint(fields=["reconciliation", "kind", "subject"], name="finding_once_a_pass"),
            models.CheckConstraint(
                condition=Q(is_excess=True, kind__in=EXCESSES)
                | (Q(is_excess=False, acted_at=None) & ~Q(kind__in=EXCESSES)),
                name="finding_acted_on_only_in_excess",
            ),
        ]
        indexes = [
            models.Index(
                fields=["id"], condition=Q(is_excess=True, acted_at=None), name="finding_to_be_acted_on"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.subject}"
