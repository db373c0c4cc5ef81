"""What nobody booked: DCC's allocations, the hubs that they found no slot for, and what DCC decides about those."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from firmware.models import FirmwareRelease
from hubs.models import Network, Supplier
from scheduling.models.bookings import HubSelection


class Decision(models.Model):
    """
    What DCC decided about hubs in its exceptions queue: who, why, and what followed.

    An override waits until a second person approves it, or either drops it. `until` is the new end of the
    network's period, or the end of the exemption.
    """

    class Kind(models.TextChoices):
        """What becomes of the hubs."""

        EXTEND = "extend", "More time"
        OVERRIDE = "override", "Override"
        EXEMPT = "exempt", "Exempt"

    kind = models.CharField(max_length=8, choices=Kind)
    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, related_name="+")
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, null=True, related_name="+")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, null=True, related_name="+")
    portion = models.CharField("which hubs", max_length=200)
    hubs = models.PositiveIntegerField(default=0)
    until = models.DateTimeField(null=True)
    reason = models.TextField()
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    approved_at = models.DateTimeField(null=True)
    dropped_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    dropped_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(approved_by=None) | ~Q(approved_by=F("asked_by")),
                name="decision_approved_by_another_person",
            ),
            models.CheckConstraint(
                condition=Q(approved_by=None, approved_at=None)
                | Q(approved_by__isnull=False, approved_at__isnull=False),
                name="decision_approved_at_with_approver",
            ),
            models.CheckConstraint(
                condition=Q(dropped_by=None, dropped_at=None)
                | Q(dropped_by__isnull=False, dropped_at__isnull=False, approved_at=None, done_at=None),
                name="decision_dropped_only_while_it_waits",
            ),
            models.CheckConstraint(
                condition=~Q(kind="override") | Q(done_at=None) | Q(approved_at__isnull=False),
                name="decision_override_done_only_when_approved",
            ),
            models.CheckConstraint(
                condition=Q(kind="override", until=None)
                | Q(kind="exempt", until__isnull=False)
                | Q(kind="extend", until__isnull=False, network__isnull=False),
                name="decision_has_what_its_kind_wants",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="decision_has_a_reason"),
        ]
        indexes = [
            # what waits for a second person
            models.Index(
                fields=["id"],
                condition=Q(kind="override", approved_at=None, dropped_at=None),
                name="decision_to_be_approved",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.portion}"


class Allocation(models.Model):
    """
    One act of DCC's default allocation: what is left of one Supplier's hubs for one release, on one UK day.

    Where DCC decided so about hubs in the exceptions queue, it is for these, and `day` is when it was decided. The row
    is there, with the selection, before anything is booked; `finished_at` is set once the hubs are booked and
    those without a slot are in the queue. In between it can be begun again as often as need be: a selection is
    booked once. Without a selection there was nothing left.
    """

    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, db_index=False, related_name="+")
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    day = models.DateField()
    decision = models.ForeignKey(
        Decision, on_delete=models.PROTECT, null=True, db_index=False, related_name="allocations"
    )
    networks = ArrayField(models.SmallIntegerField(), default=list)
    selection = models.OneToOneField(
        HubSelection, on_delete=models.PROTECT, null=True, related_name="allocation"
    )
    begun_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    hubs = models.PositiveIntegerField("hubs left to book", default=0)
    booked = models.PositiveIntegerField("hubs allocated", default=0)
    left_over = models.PositiveIntegerField("hubs without a slot", default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["release", "supplier", "day"],
                condition=Q(decision=None),
                name="allocation_once_a_day",
            ),
            models.UniqueConstraint(
                fields=["decision", "supplier"],
                condition=Q(decision__isnull=False),
                name="allocation_once_per_decision",
            ),
            models.CheckConstraint(
                condition=Q(finished_at__isnull=False) | Q(selection__isnull=False),
                name="allocation_finished_unless_it_has_a_selection",
            ),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(finished_at=None), name="allocation_under_way"),
        ]

    def __str__(self) -> str:
        return f"{self.release_id} for {self.supplier_id} on {self.day}"


class HubException(models.Model):
    """
    A hub about which DCC has to decide, for one release; narrow, since there can be many.

    Lead Supplier and network are those at `raised_at`. `decision` is what was decided about it, or what waits for
    approval; it leaves the queue with `ended_at`, and by itself when it is booked or done meanwhile.
    """

    class Why(models.TextChoices):
        """What brought it here."""

        NO_SLOT = "no_slot", "No clear slot at the default allocation"
        MISSED_TWICE = "missed_twice", "Missed twice"
        FAILED = "failed", "Failed with this release before"

    class How(models.TextChoices):
        """How it left the queue."""

        EXTENDED = "extended", "Booked after more time was given"
        OVERRIDDEN = "overridden", "Booked by an override"
        EXEMPTED = "exempted", "Exempted"
        BOOKED = "booked", "Booked meanwhile"
        DONE = "done", "Runs the release meanwhile"
        GONE = "gone", "The release is no longer for it, or it has another Lead Supplier"

    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, db_index=False, related_name="+")
    hub = models.BigIntegerField()
    why = models.CharField(max_length=12, choices=Why)
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, db_index=False, related_name="+")
    raised_at = models.DateTimeField()
    decision = models.ForeignKey(
        Decision, on_delete=models.PROTECT, null=True, db_index=False, related_name="exceptions"
    )
    ended_at = models.DateTimeField(null=True)
    how = models.CharField(max_length=10, choices=How, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, db_index=False, related_name="+"
    )

    class Meta:
        verbose_name = "exception"
        permissions = [
            ("decide_hubexception", "Can decide about exceptions"),
            ("approve_decision", "Can approve an override that another person asked for"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["release", "hub"], condition=Q(ended_at=None), name="exception_one_open_per_hub"
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None, how="", decided_by=None)
                | (Q(ended_at__isnull=False) & ~Q(how="")),
                name="exception_open_or_ended",
            ),
            models.CheckConstraint(
                condition=~Q(how__in=["extended", "overridden", "exempted"])
                | Q(decision__isnull=False, decided_by__isnull=False),
                name="exception_decided_by_somebody",
            ),
        ]
        indexes = [
            # the groups of the queue, and the pages of one of them
            models.Index(
                fields=["release", "supplier", "network", "why", "hub"],
                include=["raised_at"],
                condition=Q(ended_at=None),
                name="exception_open_by_group",
            ),
            models.Index(
                fields=["decision"],
                condition=Q(decision__isnull=False),
                name="exception_by_decision",
            ),
            # whether a hub was here before
            models.Index(fields=["hub", "release"], name="exception_by_hub"),
        ]

    def __str__(self) -> str:
        return f"{self.hub & 0xFFFFFFFFFFFFFFFF:016X}: {self.get_why_display()}"


class Exemption(models.Model):
    """
    Hubs of one Supplier that DCC does not allocate for a release, for as long as it lasts; they may still be booked.

    All its hubs, those on one network, or those of a list, of which `hubs` is the length. None is for good: it
    ends at `expires_at`, or earlier at `ended_at`, and never later than the release's last period.
    """

    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, related_name="+")
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    network = models.ForeignKey(
        Network,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
        help_text="Empty means every network.",
    )
    hubs = models.PositiveIntegerField("hubs of the list", default=0)
    reason = models.TextField()
    expires_at = models.DateTimeField("expires")
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    decision = models.ForeignKey(
        Decision, on_delete=models.PROTECT, null=True, db_index=False, related_name="+"
    )
    ended_at = models.DateTimeField("ended early at", null=True)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(reason=""), name="exemption_has_a_reason"),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("made_at")), name="exemption_expires_after_it_is_made"
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None, ended_by=None) | Q(ended_at__isnull=False, ended_by__isnull=False),
                name="exemption_ended_at_with_ended_by",
            ),
        ]
        indexes = [
            models.Index(fields=["release", "supplier"], name="exemption_by_release"),
        ]

    def __str__(self) -> str:
        return f"{self.supplier}, {self.release.name}"


class ExemptHub(models.Model):
    """A hub of an exemption's list. As narrow as can be, since lists can be long."""

    exemption = models.ForeignKey(Exemption, on_delete=models.CASCADE, db_index=False, related_name="listed")
    hub = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["exemption", "hub"], name="exempt_hub_once_per_exemption")
        ]

    def __str__(self) -> str:
        return f"{self.hub & 0xFFFFFFFFFFFFFFFF:016X}"
