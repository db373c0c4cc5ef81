"""Hubs on their way: lots, the deployments in them, the commands sent and the reports nobody expected."""

from django.db import models
from django.db.models import F, Q

from firmware.models import FirmwareRelease
from hubs.gateway import Outcome, Phase, Verdict
from hubs.models import CommunicationsHub, HubModel, Network, Supplier
from scheduling.lifecycle import FINAL, Ending, State
from scheduling.models.bookings import Booking
from scheduling.models.consents import Consent
from scheduling.models.slots import Slot

LOT_SIZE = 1_000
"""Hubs in a lot at most."""
PHASES = [int(phase) for phase in Phase]
LOT_SPAN = 2_048
"""Ids per lot: a deployment's id is its lot's id × LOT_SPAN + its position."""


class Lot(models.Model):
    """
    At most 1,000 deployments of one booking in one slot: the unit of work.

    Where its hubs are shared with another Supplier, it is the same one for all of them, and `consent` is what that
    Supplier was asked.

    The lot carries what would be dear to keep on every hub: when something is next due, the lease and
    fencing token of the worker that has it, and how many hubs are in each state. Those counts are
    moved by the database itself in the statement that moves the deployments, and always add up to
    `size`.
    """

    booking = models.ForeignKey(Booking, on_delete=models.PROTECT, related_name="lots")
    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, db_index=False, related_name="+")
    slot = models.ForeignKey(Slot, on_delete=models.PROTECT, related_name="lots")
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, db_index=False, related_name="+")
    consent = models.ForeignKey(
        Consent, on_delete=models.PROTECT, null=True, db_index=False, related_name="lots"
    )
    is_override = models.BooleanField(default=False, db_default=False)
    """DCC decided that its Suppliers' protected windows do not keep its hubs out of this slot."""
    size = models.PositiveSmallIntegerField()
    staging_from = models.DateTimeField()
    change_until = models.DateTimeField("booking and change cut-off")
    due_at = models.DateTimeField("next due", null=True)
    lease_until = models.DateTimeField(null=True)
    token = models.PositiveIntegerField(default=0)
    provisional = models.PositiveSmallIntegerField(default=0)
    booked = models.PositiveSmallIntegerField(default=0)
    staging = models.PositiveSmallIntegerField(default=0)
    staged = models.PositiveSmallIntegerField(default=0)
    activating = models.PositiveSmallIntegerField(default=0)
    succeeded = models.PositiveSmallIntegerField(default=0)
    failed = models.PositiveSmallIntegerField(default=0)
    unconfirmed = models.PositiveSmallIntegerField(default=0)
    missed = models.PositiveSmallIntegerField(default=0)
    held = models.PositiveSmallIntegerField(default=0)
    cancelled = models.PositiveSmallIntegerField(default=0)
    moved = models.PositiveSmallIntegerField("cancelled here because moved to another slot", default=0)
    waits = models.BooleanField("waits for room in flight", default=False, db_default=False)
    deaths = models.PositiveSmallIntegerField("holders that died with it", default=0, db_default=0)
    reach_from = models.PositiveSmallIntegerField(default=0, db_default=0)
    reach = models.PositiveSmallIntegerField(default=1_024, db_default=1_024)
    """A claim reaches so many places, from the place `reach_from`: fewer than all while a poisoned hub is sought."""
    halts_seen = models.PositiveIntegerField(
        "changes of the halts of its release already looked at", default=0, db_default=0
    )
    misses_seen = models.PositiveSmallIntegerField("missed hubs already looked at", default=0, db_default=0)
    """What is missed beyond these may have been missed for the second time, and is then DCC's to decide."""
    moved_from = models.DateTimeField("moved by the stages, from the slot that began then", null=True)
    turns_asked_at = models.DateTimeField("hubs without a turn last moved at", null=True)
    sealed_at = models.DateTimeField("outcomes put on record at", null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(size__gte=1, size__lte=LOT_SIZE), name="lot_of_at_most_1000"),
            models.CheckConstraint(
                condition=Q(
                    size=F("provisional")
                    + F("booked")
                    + F("staging")
                    + F("staged")
                    + F("activating")
                    + F("succeeded")
                    + F("failed")
                    + F("unconfirmed")
                    + F("missed")
                    + F("held")
                    + F("cancelled")
                ),
                name="lot_counts_add_up",
            ),
            models.CheckConstraint(condition=Q(moved__lte=F("cancelled")), name="lot_moved_are_cancelled"),
            models.CheckConstraint(
                condition=Q(misses_seen__lte=F("missed")), name="lot_misses_seen_are_missed"
            ),
        ]
        indexes = [
            models.Index(fields=["due_at", "id"], condition=Q(due_at__isnull=False), name="lot_due"),
            models.Index(fields=["release", "supplier"], name="lot_by_release_and_supplier"),
            models.Index(fields=["consent"], condition=Q(consent__isnull=False), name="lot_by_consent"),
            models.Index(
                fields=["id"], condition=Q(missed__gt=F("misses_seen")), name="lot_with_misses_unseen"
            ),
            models.Index(fields=["release", "id"], condition=Q(waits=True), name="lot_that_waits"),
            models.Index(fields=["slot", "id"], condition=Q(sealed_at=None), name="lot_not_sealed"),
        ]

    def __str__(self) -> str:
        return f"Lot {self.pk}"


class Deployment(models.Model):
    """
    One release bound for one hub. Its lot says the slot, the release, the Supplier and the booking.

    Narrow on purpose, and without foreign keys that the database checks: there are tens of millions.
    `phase` is what the hub is asked next, or was asked last; `attempt` numbers the commands of the
    deployment; `awaiting` says that an answer is still out; `next_at` is when somebody has to look at it
    again, answer or not, and every open deployment has one. The unique constraint counts empty `ended_at`
    as equal, so a hub has one open deployment and any number of ended ones, found by the same index.

    It begins provisional or booked, in a lot that is there already, and is never deleted. `model` is the hub's; it,
    the hub and the lot never change. `stage` is the one in which its activation was admitted, nought before.
    """

    id = models.BigIntegerField(primary_key=True)
    hub = models.ForeignKey(
        CommunicationsHub, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    model = models.ForeignKey(
        HubModel, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+"
    )
    state = models.CharField(max_length=11, choices=State, default=State.BOOKED)
    ending = models.CharField(max_length=19, choices=Ending, default=Ending.NONE, blank=True)
    phase = models.SmallIntegerField(
        choices=[(phase.value, phase.name) for phase in Phase], default=Phase.READ
    )
    attempt = models.SmallIntegerField(default=0)
    tries = models.SmallIntegerField("tries in this phase", default=0)
    awaiting = models.BooleanField(default=False)
    next_at = models.DateTimeField(null=True)
    first_miss_at = models.DateTimeField("first time it could not be reached", null=True)
    moved_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    stage = models.SmallIntegerField(default=0, db_default=0)
    silent = models.BooleanField("was silent at its deadline", default=False, db_default=False)
    """It had not answered its activation, or the read after it, in time. It stays so, whatever is read later."""

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["hub", "ended_at"], nulls_distinct=False, name="deployment_one_open_per_hub"
            ),
            models.CheckConstraint(condition=Q(state__in=State.values), name="deployment_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=FINAL, ended_at__isnull=False, next_at=None, awaiting=False)
                | (~Q(state__in=FINAL) & Q(ended_at=None, next_at__isnull=False)),
                name="deployment_open_or_ended",
            ),
            models.CheckConstraint(
                condition=Q(awaiting=False) | Q(state__in=[State.STAGING, State.ACTIVATING], attempt__gt=0),
                name="deployment_awaits_only_after_a_command",
            ),
            models.CheckConstraint(condition=Q(stage__gte=0), name="deployment_stage_from_0"),
            models.CheckConstraint(
                condition=Q(attempt__gte=0, tries__gte=0, phase__in=PHASES), name="deployment_counts_from_0"
            ),
            models.CheckConstraint(
                condition=Q(ending=Ending.NONE) | (Q(state__in=FINAL) & ~Q(state=State.SUCCEEDED)),
                name="deployment_ending_says_why_it_failed",
            ),
        ]

    def __str__(self) -> str:
        return f"Deployment {self.pk}"

    @property
    def lot_id(self) -> int:
        """The lot that it belongs to."""
        return self.pk // LOT_SPAN


class Command(models.Model):
    """
    What the portal decided to tell a hub, and what came of it. Written by the Gate alone.

    `sent_at` is stamped, and committed, before the carrier is called: without it the command surely
    never left; with it and without a receipt it may have. A receipt is its `verdict`, or the `Handover` of all that
    were stamped with it.
    """

    pk = models.CompositePrimaryKey("deployment_id", "phase", "attempt")
    deployment_id = models.BigIntegerField()
    phase = models.SmallIntegerField(choices=[(phase.value, phase.name) for phase in Phase])
    attempt = models.SmallIntegerField()
    token = models.PositiveIntegerField()
    admitted_at = models.DateTimeField()
    valid_until = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    verdict = models.SmallIntegerField(
        choices=[(verdict.value, verdict.name) for verdict in Verdict], null=True
    )
    answered_at = models.DateTimeField(null=True)
    outcome = models.SmallIntegerField(
        choices=[(outcome.value, outcome.name) for outcome in Outcome], null=True
    )
    version = models.BigIntegerField("version reported", null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(answered_at=None, outcome=None)
                | Q(answered_at__isnull=False, outcome__isnull=False),
                name="command_answered_at_with_outcome",
            ),
            models.CheckConstraint(
                condition=Q(verdict=None) | Q(sent_at__isnull=False), name="command_receipt_only_when_sent"
            ),
            models.CheckConstraint(
                condition=Q(version=None) | Q(outcome__isnull=False),
                name="command_version_only_when_answered",
            ),
            models.CheckConstraint(
                condition=Q(valid_until__gte=F("admitted_at")), name="command_valid_after_its_admission"
            ),
            models.CheckConstraint(
                condition=Q(attempt__gte=0, phase__in=PHASES)
                & (Q(verdict=None) | Q(verdict__in=[int(verdict) for verdict in Verdict]))
                & (Q(outcome=None) | Q(outcome__in=[int(outcome) for outcome in Outcome])),
                name="command_says_what_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{Phase(self.phase).name} {self.deployment_id}/{self.attempt}"


class Handover(models.Model):
    """
    The carrier's receipt for all the commands of a lot that the Gate stamped at one moment: it took every one.

    One row, where writing the receipt to each command would write each once more.
    """

    pk = models.CompositePrimaryKey("lot_id", "token", "stamped_at")
    lot_id = models.BigIntegerField()
    token = models.PositiveIntegerField()
    stamped_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"Lot {self.lot_id}/{self.token}"


class StrayReport(models.Model):
    """A report for a command that the portal never admitted. There should be none."""

    hub = models.BigIntegerField()
    deployment_id = models.BigIntegerField()
    phase = models.SmallIntegerField()
    attempt = models.SmallIntegerField()
    outcome = models.SmallIntegerField()
    version = models.BigIntegerField(null=True)
    received_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["deployment_id", "phase", "attempt", "hub"], name="stray_report_once"
            ),
        ]

    def __str__(self) -> str:
        return f"Report for {self.deployment_id}/{self.phase}/{self.attempt}"


class ReportKind(models.TextChoices):
    """What a report was for the portal; a forged answer, to whatever was asked, is not read, and may be none."""

    ANSWER = "answer", "Answer that was awaited"
    LATE = "late", "Answer that nobody waited for any more"
    REPEATED = "repeated", "Repeated answer"
    STRAY = "stray", "Answer to nothing that was sent to its hub"
    UNREADABLE = "unreadable", "No report at all"
    FORGED = "forged", "Answer that the carrier did not sign"


class ReportCount(models.Model):
    """How many reports of a kind came on a day (UTC)."""

    day = models.DateField()
    kind = models.CharField(max_length=10, choices=ReportKind)
    reports = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "kind"], name="report_count_once_per_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.reports} {self.kind}"


class OddReport(models.Model):
    """Something that came back and could not be recorded, as printable ASCII; the same again is counted."""

    reason = models.TextField()
    text = models.TextField(unique=True)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    times = models.PositiveIntegerField()

    def __str__(self) -> str:
        return self.reason


class Reclaim(models.Model):
    """A lease that ran out before its holder handed the lot back, and was taken over."""

    lot_id = models.BigIntegerField()
    token = models.PositiveIntegerField("token of the holder that is gone")
    lease_until = models.DateTimeField()
    reclaimed_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["reclaimed_at"], name="reclaim_by_time")]

    def __str__(self) -> str:
        return f"Lot {self.lot_id}, token {self.token}"


class Quarantine(models.Model):
    """
    A deployment whose carrying out failed by itself; once it has a `since`, nobody touches it until DCC decides.

    The row goes when it is taken back, or ended. One that time has decided about, since it was being activated and
    nobody else did, has a `lapsed_at` and stays for a while, for people to read.
    """

    deployment_id = models.BigIntegerField(primary_key=True)
    strikes = models.PositiveSmallIntegerField()
    error = models.TextField()
    last_at = models.DateTimeField()
    since = models.DateTimeField("set aside since", null=True)
    lapsed_at = models.DateTimeField("ended by time", null=True)

    class Meta:
        verbose_name = "hub set aside"
        verbose_name_plural = "hubs set aside"
        constraints = [
            models.CheckConstraint(
                condition=Q(lapsed_at=None) | Q(since__isnull=False, since__lte=F("lapsed_at")),
                name="quarantine_lapses_after_it_began",
            ),
        ]
        indexes = [
            models.Index(fields=["since"], condition=Q(since__isnull=False), name="quarantine_set_aside"),
        ]

    def __str__(self) -> str:
        return f"Deployment {self.deployment_id}"


class SuccessTally(models.Model):
    """
    How many of a Supplier's hubs had succeeded with a release when the fleet was last counted.

    What has succeeded since then is in the lots' counts but not yet in the fleet's: the difference keeps a
    page from offering hubs that are done.
    """

    release = models.ForeignKey(FirmwareRelease, on_delete=models.CASCADE, related_name="+", db_index=False)
    supplier = models.ForeignKey(Supplier, on_delete=models.CASCADE, related_name="+", db_index=False)
    succeeded = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["release", "supplier"], name="success_tally_once"),
        ]

    def __str__(self) -> str:
        return f"{self.succeeded} of {self.release}"
