"""Bad hubs one by one, and what they have in common: it warns, and halts nothing."""

from django.db import models
from django.db.models import F, Q

from firmware.models import FirmwareRelease
from hubs.models import CommunicationsHub, HubModel, Network, Supplier


class BadHub(models.Model):
    """
    A hub that speaks against a release: it failed, came back with another version, or was silent at its deadline.

    Written by the database itself, as `WarningSign` is, and gone again where a silent one turns out well. `supplier` is
    the one that booked it, `version_before` the number of what it ran before it was staged.
    """

    deployment_id = models.BigIntegerField(primary_key=True)
    hub = models.ForeignKey(
        CommunicationsHub, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
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
    supplier = models.ForeignKey(
        Supplier, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    hardware_version = models.SmallIntegerField()
    version_before = models.BigIntegerField()
    commanded_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["release", "stage"], name="bad_hub_by_stage"),
            models.Index(fields=["release", "supplier", "deployment_id"], name="bad_hub_by_supplier"),
        ]

    def __str__(self) -> str:
        return f"Deployment {self.deployment_id}"


class Cohort(models.Model):
    """
    How many hubs of a Supplier, hardware version or installed version are bad, among those watched at `seen_at`.

    `value` is the Supplier's id or the version's number. `hubs` are all of them that were commanded, and
    `is_estimate` says that they were estimated from a sample. `evidence` and `threshold` are as in `Evidence`; where
    the first reaches the second, people are warned.
    """

    class Kind(models.TextChoices):
        """What the hubs have in common."""

        SUPPLIER = "supplier", "Supplier"
        HARDWARE = "hardware", "Hardware version"
        VERSION = "version", "Version before"

    release = models.ForeignKey(
        FirmwareRelease, on_delete=models.PROTECT, db_index=False, related_name="cohorts"
    )
    kind = models.CharField(max_length=8, choices=Kind)
    value = models.BigIntegerField()
    bad = models.PositiveIntegerField()
    hubs = models.PositiveIntegerField()
    is_estimate = models.BooleanField()
    evidence = models.FloatField()
    threshold = models.FloatField()
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["release", "kind", "value"], name="cohort_once"),
            models.CheckConstraint(condition=Q(bad__lte=F("hubs")), name="cohort_bad_are_of_its_hubs"),
        ]

    def __str__(self) -> str:
        return f"{self.bad} of {self.hubs}, {self.kind} {self.value}"
