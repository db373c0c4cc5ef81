"""Hubs that are not being updated, looked at beside those that are: where both fall silent, no release is to blame."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from hubs.models import Network


class Control(models.Model):
    """
    A hub, by CHF ID, that no release touches or has touched lately, and that is looked at again and again.

    `heard_at` is when it last answered; `misses` are the looks since then in a row in which it did not.
    """

    hub = models.BigIntegerField("CHF ID", primary_key=True)
    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="+")
    chosen_at = models.DateTimeField()
    heard_at = models.DateTimeField(null=True)
    misses = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(heard_at=None) | Q(heard_at__gte=F("chosen_at")), name="control_heard_once_chosen"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hub & 0xFFFFFFFFFFFFFFFF:016X}"


class ControlLook(models.Model):
    """
    One look at the controls of a network: of `hubs` that had answered before, `silent` have fallen silent.

    `usual` is the share that was silent at other times, `evidence` how much likelier this is of a network in trouble,
    as a natural logarithm, and `threshold` where the network is paused.
    """

    LEAST = 50
    """Fewer hubs say nothing about a network: they may stand in one street."""

    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(db_default=Now())
    hubs = models.PositiveIntegerField()
    silent = models.PositiveIntegerField()
    usual = models.FloatField()
    evidence = models.FloatField()
    threshold = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["network", "at"], name="control_look_once_a_moment"),
            models.CheckConstraint(condition=Q(silent__lte=F("hubs")), name="control_look_silent_of_hubs"),
        ]

    def __str__(self) -> str:
        return f"{self.silent} of {self.hubs} controls silent"

    @property
    def is_of_too_few(self) -> bool:
        """Whether the hubs are too few to say anything about their network."""
        return self.hubs < self.LEAST

    @property
    def share(self) -> float:
        """How much of its limit the evidence has reached, from 0; from 1 on, enough hubs pause the network."""
        return max(self.evidence, 0.0) / self.threshold
