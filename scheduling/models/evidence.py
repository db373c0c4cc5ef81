"""What speaks against a release: signs that the counters do not show, and the evidence as it grew."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from firmware.models import FirmwareRelease
from hubs.models import HubModel, Network


class WarningSign(models.Model):
    """
    So many hubs that showed a sign, or show it no longer, in one statement. Written by the database itself.

    Only ever added, as `TallyChange` is. Nothing but sums of `hubs` means anything.
    """

    class Kind(models.TextChoices):
        """What is the matter with them."""

        SILENT = "silent", "Silent at their deadline, and not read back yet"
        REFUSED = "refused", "Refused the image: its hash, or their hardware"
        BAD = "bad", "Bad, by the moment at which their activation was admitted"

    release = models.ForeignKey(
        FirmwareRelease, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    network = models.ForeignKey(
        Network, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    model = models.ForeignKey(
        HubModel, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    stage = models.SmallIntegerField()
    kind = models.CharField(max_length=7, choices=Kind)
    hubs = models.IntegerField()
    commanded_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="bad", commanded_at__isnull=False) | (~Q(kind="bad") & Q(commanded_at=None)),
                name="warning_sign_of_the_bad_says_when",
            ),
        ]
        indexes = [models.Index(fields=["release", "kind", "model", "stage"], name="warning_sign_by_stage")]

    def __str__(self) -> str:
        return f"{self.hubs:+} {self.kind}"


class Evidence(models.Model):
    """
    What a test said of the hubs of one model, or of one network, of a release at a moment: at most once a minute.

    `evidence` and `threshold` are natural logarithms of a likelihood ratio; the release stops where the first reaches
    the second. `good` to `waiting` are hubs, `tolerated` is a share of them; they were counted at `seen_at`, and `at`
    is its minute.
    """

    release = models.ForeignKey(
        FirmwareRelease, on_delete=models.PROTECT, db_index=False, related_name="evidence"
    )
    model = models.ForeignKey(HubModel, on_delete=models.PROTECT, null=True, db_index=False, related_name="+")
    network = models.ForeignKey(
        Network, on_delete=models.PROTECT, null=True, db_index=False, related_name="+"
    )
    at = models.DateTimeField()
    seen_at = models.DateTimeField(db_default=Now())
    episode = models.PositiveSmallIntegerField()
    good = models.PositiveIntegerField()
    bad = models.PositiveIntegerField()
    waiting = models.PositiveIntegerField()
    tolerated = models.FloatField()
    evidence = models.FloatField()
    threshold = models.FloatField()

    class Meta:
        verbose_name_plural = "evidence"
        constraints = [
            models.UniqueConstraint(
                fields=["release", "model", "network", "at"],
                nulls_distinct=False,
                name="evidence_once_a_minute",
            ),
            models.CheckConstraint(
                condition=Q(model=None, network__isnull=False) | Q(model__isnull=False, network=None),
                name="evidence_of_a_model_or_a_network",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.evidence:.2f} of {self.threshold:.2f}"
