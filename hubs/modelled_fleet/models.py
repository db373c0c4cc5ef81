"""
What the modelled fleet keeps: its hubs, how its networks behave, and every command that it received.

None of it is the portal's: the command log is the judge of what the portal really did, so the portal
reads it in checks and tests and never writes it.
"""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from hubs.gateway import Outcome, Phase, Verdict
from hubs.modelled_fleet.behaviour import Profile
from hubs.models import HubModel, Network

AS_A_RULE = Profile()
SHARE = (MinValueValidator(0.0), MaxValueValidator(1.0))


def share(default: float, **options: object) -> "models.FloatField[float, float]":
    """Make a field for a share between 0 and 1."""
    return models.FloatField(default=default, validators=SHARE, **options)  # type: ignore[arg-type]


def seconds(default: float, **options: object) -> "models.FloatField[float, float]":
    """Make a field for a median number of seconds."""
    return models.FloatField(default=default, validators=[MinValueValidator(0.0)], **options)  # type: ignore[arg-type]


class NetworkProfile(models.Model):
    """How one network and its hubs behave. A command's luck is drawn from `seed`, so a run repeats."""

    network = models.OneToOneField(
        Network, on_delete=models.CASCADE, primary_key=True, related_name="profile"
    )
    seed = models.BigIntegerField(default=AS_A_RULE.seed)
    time_scale = models.FloatField(
        default=AS_A_RULE.time_scale,
        validators=[MinValueValidator(0.001)],
        help_text="How many seconds of the fleet's life pass in one: 60 makes minutes of hours.",
    )
    reachability = share(AS_A_RULE.reachability, help_text="Share of attempts that find their hub.")
    never_reached = share(AS_A_RULE.never_reached, help_text="Share of hubs that no attempt finds.")
    read_delay = seconds(AS_A_RULE.read_delay, help_text="Median seconds until a hub answers a read.")
    stage_delay = seconds(AS_A_RULE.stage_delay, help_text="Median seconds until a hub holds an image.")
    activate_delay = seconds(AS_A_RULE.activate_delay, help_text="Median seconds until a hub has rebooted.")
    verify_delay = seconds(
        AS_A_RULE.verify_delay, help_text="Median seconds until a hub answers the read after activation."
    )
    delay_spread = models.FloatField(
        default=AS_A_RULE.delay_spread,
        validators=[MinValueValidator(0.0)],
        help_text="Sigma of the delays' log-normal draw.",
    )
    transfer_failed = share(AS_A_RULE.transfer_failed)
    hash_mismatch = share(AS_A_RULE.hash_mismatch)
    verification_failed = share(AS_A_RULE.verification_failed)
    activation_failed = share(AS_A_RULE.activation_failed)
    silent_activation = share(
        AS_A_RULE.silent_activation,
        help_text="Share of activations that succeed and whose report never comes.",
    )
    report_dropped = share(AS_A_RULE.report_dropped)
    report_doubled = share(AS_A_RULE.report_doubled)
    report_delayed = share(AS_A_RULE.report_delayed)
    report_delay = seconds(
        AS_A_RULE.report_delay, help_text="Median seconds by which a delayed report is late."
    )
    stale_inventory = share(
        0.005, help_text="Share of hubs made with a running version that the inventory does not know."
    )

    def __str__(self) -> str:
        return str(self.network)


class FleetHub(models.Model):
    """A hub as it really is, which the inventory may not know."""

    chf_id = models.BigIntegerField("CHF ID", primary_key=True)
    network = models.ForeignKey(
        Network, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    model = models.ForeignKey(
        HubModel, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    hardware_version = models.SmallIntegerField()
    running_version = models.BigIntegerField()
    staged_version = models.BigIntegerField(null=True)
    staged_digest = models.CharField(max_length=64, blank=True, default="", db_default="")
    activations = models.SmallIntegerField(default=0, db_default=0)
    quiet_until = models.DateTimeField(null=True)
    quiet_from = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "modelled hub"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(staged_version=None, staged_digest="")
                | models.Q(staged_version__isnull=False) & ~models.Q(staged_digest=""),
                name="fleet_hub_staged_version_with_digest",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.chf_id & 0xFFFFFFFFFFFFFFFF:016X}"


class FleetImage(models.Model):
    """
    What an image is really for, where the fleet was told.

    A command names its image by digest alone; without a row here its hubs believe the command.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    version = models.BigIntegerField()
    models_covered = models.ManyToManyField(HubModel, related_name="+")
    minimum_hardware = models.SmallIntegerField(default=0)
    maximum_hardware = models.SmallIntegerField(default=32767)

    def __str__(self) -> str:
        return f"{self.version:08X} {self.digest[:12]}"


class Defect(models.Model):
    """A fault injected into one version: what it does to its share of the hubs that activate it."""

    class Kind(models.TextChoices):
        """How the fault shows."""

        VISIBLE = "visible", "The activation fails and says so"
        SILENT = "silent", "The hub activates and is never heard of again"
        LATE = "late", "The hub activates, answers, and falls silent after a while"

    version = models.BigIntegerField(help_text="File version of the release, as a number.")
    share = share(0.05)
    kind = models.CharField(max_length=7, choices=Kind)
    late_by = seconds(10800, help_text="For a late one: after how many seconds the hub falls silent.")
    network = models.ForeignKey(Network, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    model = models.ForeignKey(HubModel, on_delete=models.CASCADE, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(share__gte=0.0, share__lte=1.0), name="defect_share_is_a_share"
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=["visible", "silent", "late"]), name="defect_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.share:.1%} of {self.version:08X}"


class Outage(models.Model):
    """A span in which nothing is heard of a share of a network's hubs, whatever they do."""

    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="+")
    share = share(0.3)
    since = models.DateTimeField("begins")
    until = models.DateTimeField("ends", null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(share__gte=0.0, share__lte=1.0), name="outage_share_is_a_share"
            ),
            models.CheckConstraint(
                condition=models.Q(until=None) | models.Q(since__lt=models.F("until")),
                name="outage_ends_after_it_begins",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.share:.0%} of {self.network} from {self.since:%d %b %Y %H:%M} UTC"


class FleetLotToken(models.Model):
    """The newest fencing token seen for a lot, and how many commands came with an older one."""

    lot = models.BigIntegerField(primary_key=True)
    token = models.BigIntegerField()
    refused = models.IntegerField(default=0, db_default=0)

    def __str__(self) -> str:
        return f"lot {self.lot}"


class CommandLog(models.Model):
    """
    The Oracle: one row per command key received with a fresh token, and what came of it.

    `outcome` without `acted_at` is foreseen: the hub would act after `valid_until`, so it will not.
    """

    deployment = models.BigIntegerField()
    phase = models.SmallIntegerField(choices=[(phase.value, phase.name.lower()) for phase in Phase])
    attempt = models.SmallIntegerField()
    hub = models.BigIntegerField()
    lot = models.BigIntegerField()
    token = models.BigIntegerField()
    digest = models.CharField(max_length=64, blank=True)
    version = models.BigIntegerField()
    received_at = models.DateTimeField()
    valid_until = models.DateTimeField()
    acts_at = models.DateTimeField()
    verdict = models.SmallIntegerField(choices=[(verdict.value, verdict.name.lower()) for verdict in Verdict])
    acted_at = models.DateTimeField(null=True)
    outcome = models.SmallIntegerField(
        choices=[(outcome.value, outcome.name.lower()) for outcome in Outcome], null=True
    )
    version_read = models.BigIntegerField(null=True)
    is_applied = models.BooleanField(default=False, db_default=False)
    repeats = models.IntegerField(default=0, db_default=0)

    class Meta:
        verbose_name = "command received"
        verbose_name_plural = "commands received"
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "phase", "attempt"], name="command_carried_out_once"
            ),
            models.CheckConstraint(
                condition=models.Q(acted_at=None) | models.Q(outcome__isnull=False),
                name="command_acted_has_outcome",
            ),
            models.CheckConstraint(
                condition=models.Q(is_applied=False) | models.Q(acts_at__lte=models.F("valid_until")),
                name="command_applied_while_valid",
            ),
        ]
        indexes = [
            # what is due, and the earlier commands that hubs must carry out first
            models.Index(
                fields=["acts_at", "id"], condition=models.Q(acted_at=None), name="command_waiting_by_time"
            ),
        ]

    def __str__(self) -> str:
        return f"{Phase(self.phase).name.lower()} {self.deployment}/{self.attempt}"


class FleetReport(models.Model):
    """A report on its way to the portal, until it is acknowledged. A doubled one is two rows."""

    deployment = models.BigIntegerField()
    phase = models.SmallIntegerField()
    attempt = models.SmallIntegerField()
    hub = models.BigIntegerField()
    outcome = models.SmallIntegerField()
    version = models.BigIntegerField(null=True)
    observed_at = models.DateTimeField()
    due_at = models.DateTimeField()

    class Meta:
        verbose_name = "report waiting"
        verbose_name_plural = "reports waiting"
        indexes = [models.Index(fields=["due_at", "id"], name="fleet_report_by_due")]

    def __str__(self) -> str:
        return f"{Phase(self.phase).name.lower()} {self.deployment}/{self.attempt}"
