"""Hubs that were updated well, looked at again a day and two days later: some defects show late."""

from django.db import models
from django.db.models import Q

from firmware.models import FirmwareRelease
from hubs.models import HubModel, Network


class LateLook(models.Model):
    """
    One updated hub that is to be looked at again; gone once it has been found well twice, or bad.

    Written by the database itself when a hub succeeds: all hubs of small stages, and a sample of large ones. `looks`
    are those that found it well, and `well_epoch` is the epoch of the tally in which the last of them was; `misses` are
    those in a row, since `missed_at`, in which it did not answer.
    """

    deployment_id = models.BigIntegerField(primary_key=True)
    hub = models.BigIntegerField("CHF ID")
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
    succeeded_at = models.DateTimeField()
    looked_at = models.DateTimeField(null=True)
    looks = models.PositiveSmallIntegerField(default=0, db_default=0)
    misses = models.PositiveSmallIntegerField(default=0, db_default=0)
    missed_at = models.DateTimeField(null=True)
    well_epoch = models.PositiveIntegerField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["release", "looks", "succeeded_at"], name="late_look_by_moment"),
            models.Index(
                fields=["release", "model", "stage"], condition=Q(looks=0), name="late_look_first_of_stage"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hub & 0xFFFFFFFFFFFFFFFF:016X}"


class LateTally(models.Model):
    """
    Hubs of a release by what they were when they were last looked at: `well` or `bad`.

    Counted anew with each `epoch`: so many halts of the release, or of parts of it, had been lifted. A hub counts in
    each in which it was looked at, once.
    """

    release = models.ForeignKey(FirmwareRelease, on_delete=models.CASCADE, related_name="+")
    model = models.ForeignKey(HubModel, on_delete=models.CASCADE, related_name="+")
    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="+")
    epoch = models.PositiveIntegerField()
    well = models.IntegerField(default=0)
    bad = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["release", "model", "network", "epoch"], name="late_tally_one_per_epoch"
            )
        ]

    def __str__(self) -> str:
        return f"{self.bad} bad, {self.well} well"
