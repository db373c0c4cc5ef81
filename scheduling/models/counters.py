"""What is under way of a release, counted by the database itself in the statements that move deployments."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Greatest, Least

from firmware.models import FirmwareRelease
from hubs.models import HubModel, Network, Supplier
from scheduling.lifecycle import Ending, State
from scheduling.models.slots import Slot


class InFlight(models.Model):
    """
    How many hubs of a release are being activated, and how many may be.

    `floor`, `percent` and `ceiling` are the policy's, which is frozen by the time that the release is published.
    `resolved` are those whose activation has an outcome. What was activated before there were stages is in neither.

    Whoever locks its row has locked the lots that it wants, and locks the release's stages and then slots afterwards.
    """

    release = models.OneToOneField(
        FirmwareRelease, on_delete=models.PROTECT, primary_key=True, related_name="in_flight"
    )
    floor = models.PositiveIntegerField("in flight at least")
    percent = models.PositiveSmallIntegerField("in flight, % of resolved")
    ceiling = models.PositiveIntegerField("in flight at most")
    activating = models.PositiveIntegerField(default=0, db_default=0)
    resolved = models.PositiveBigIntegerField(default=0, db_default=0)
    refusals_known = models.PositiveIntegerField(
        "refusals before the last resumption", default=0, db_default=0
    )
    """Whoever resumed the release knew of these; only what hubs refuse beyond them halts it again."""

    class Meta:
        verbose_name_plural = "in flight"
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    activating__lte=Least(
                        F("ceiling"), Greatest(F("floor"), F("resolved") * F("percent") / 100)
                    )
                ),
                name="in_flight_within_budget",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.activating} of {self.release}"

    @property
    def budget(self) -> int:
        """How many hubs may be in flight by now."""
        return min(self.ceiling, max(self.floor, self.resolved * self.percent // 100))


class Stage(models.Model):
    """
    So many hubs of one model with a release, after which the rollout waits until all of them have an outcome.

    `full_at` says since when no further hub was admitted; `closed_at` when the next stage took over. `step` says which
    of the policy's sizes it has; its evidence counts together with that of all stages of the same `episode`.

    `cut_at` says since when nobody is admitted to it because the release was halted meanwhile and resumed: what is in
    it was commanded before that, ends by itself, and is no evidence any more. The stage after it has the same step.

    Since its `chosen_at` only its first hubs are admitted to it.
    """

    release = models.ForeignKey(
        FirmwareRelease, on_delete=models.PROTECT, db_index=False, related_name="stages"
    )
    model = models.ForeignKey(HubModel, on_delete=models.PROTECT, db_index=False, related_name="+")
    number = models.PositiveSmallIntegerField()
    step = models.PositiveSmallIntegerField("which size of the policy", default=1, db_default=1)
    episode = models.PositiveSmallIntegerField("episode of its evidence", default=1, db_default=1)
    size = models.PositiveIntegerField("hubs, without limit where empty", null=True)
    admitted = models.PositiveIntegerField(default=0, db_default=0)
    resolved = models.PositiveIntegerField(default=0, db_default=0)
    opened_at = models.DateTimeField()
    full_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    cut_at = models.DateTimeField("cut off by a resumption", null=True)
    chosen_at = models.DateTimeField("hubs last chosen at", null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["release", "model", "number"], name="stage_once_per_model"),
            models.UniqueConstraint(
                fields=["release", "model"], condition=Q(closed_at=None), name="stage_one_open_per_model"
            ),
            models.CheckConstraint(condition=Q(number__gte=1), name="stage_numbers_begin_at_1"),
            models.CheckConstraint(
                condition=Q(step__gte=1, episode__gte=1), name="stage_steps_and_episodes_begin_at_1"
            ),
            models.CheckConstraint(
                condition=Q(size=None) | Q(admitted__lte=F("size")), name="stage_never_over_its_size"
            ),
            models.CheckConstraint(
                condition=Q(resolved__lte=F("admitted")), name="stage_resolves_what_was_admitted"
            ),
            models.CheckConstraint(
                condition=Q(full_at=None) | Q(size__isnull=False, admitted=F("size")),
                name="stage_full_at_its_size",
            ),
            models.CheckConstraint(
                condition=Q(closed_at=None) | Q(full_at__isnull=False, resolved=F("size")),
                name="stage_closed_when_all_resolved",
            ),
        ]

    def __str__(self) -> str:
        return f"Stage {self.number} of {self.release}, {self.model}"

    @property
    def room(self) -> int | None:
        """How many more hubs it admits; None where it has no limit."""
        return None if self.size is None else self.size - self.admitted


class FirstHub(models.Model):
    """
    A deployment that was chosen for a first stage: only such ones are admitted to it.

    Who leaves it, whatever the reason, is followed by others; the row stays.
    """

    pk = models.CompositePrimaryKey("stage_id", "deployment_id")
    stage = models.ForeignKey(Stage, on_delete=models.PROTECT, db_index=False, related_name="first_hubs")
    deployment_id = models.BigIntegerField()
    is_pilot = models.BooleanField("volunteered by its Supplier")
    chosen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"Deployment {self.deployment_id}"


class LotModel(models.Model):
    """How many hubs of a model a lot was made of, whatever became of them. Written by the database itself."""

    pk = models.CompositePrimaryKey("lot_id", "model_id")
    lot_id = models.BigIntegerField()
    model = models.ForeignKey(
        HubModel, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    hubs = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.hubs} hubs of lot {self.lot_id}"


class TallyChange(models.Model):
    """
    How many hubs came into a state, or left it, in one statement; not yet in the tally.

    Only ever added: two who move deployments at the same time never wait for each other here. Where the state is an
    outcome, it says of whose booking and in which slot, and why it ended so.
    """

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
    state = models.CharField(max_length=11, choices=State)
    hubs = models.IntegerField()
    supplier = models.ForeignKey(
        Supplier,
        on_delete=models.DO_NOTHING,
        null=True,
        db_index=False,
        db_constraint=False,
        related_name="+",
    )
    slot = models.ForeignKey(
        Slot, on_delete=models.DO_NOTHING, null=True, db_index=False, db_constraint=False, related_name="+"
    )
    ending = models.CharField(max_length=19, default=Ending.NONE, db_default="", blank=True)

    def __str__(self) -> str:
        return f"{self.hubs:+} {self.state}"


class Tally(models.Model):
    """How many hubs of a release, network, model and stage are in a state; the changes have the rest."""

    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, db_index=False, related_name="+")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, db_index=False, related_name="+")
    model = models.ForeignKey(HubModel, on_delete=models.PROTECT, db_index=False, related_name="+")
    stage = models.SmallIntegerField()
    state = models.CharField(max_length=11, choices=State)
    hubs = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "tallies"
        constraints = [
            models.UniqueConstraint(
                fields=["release", "model", "stage", "network", "state"], name="tally_once_of_a_stage"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hubs} {self.state}"


class OutcomeTally(models.Model):
    """
    How many hubs of a Supplier's bookings have an outcome, or are being activated, by the day (UK) of their slot.

    Written by the database itself, as changes are taken up; those that are not yet have the rest. `is_activated` tells
    what failed after its activation was admitted from what failed before.
    """

    STATES = (State.SUCCEEDED, State.FAILED, State.UNCONFIRMED, State.MISSED, State.ACTIVATING)
    """What is counted here."""

    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, db_index=False, related_name="+")
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, db_index=False, related_name="+")
    model = models.ForeignKey(
        HubModel, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    day = models.DateField()
    state = models.CharField(max_length=11, choices=State)
    ending = models.CharField(max_length=19, blank=True)
    is_activated = models.BooleanField()
    hubs = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "outcome tallies"
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "release",
                    "supplier",
                    "day",
                    "network",
                    "model",
                    "state",
                    "ending",
                    "is_activated",
                ],
                name="outcome_tally_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hubs} {self.state} on {self.day}"
