"""What Suppliers choose and book."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from scheduling import planning
from scheduling.eligibility import Refusal
from scheduling.models.slots import Weekday


class HubSelection(models.Model):
    """
    The hubs that a person chose for a release, before choosing when.

    `eligible` maps the network's id to the number of hubs that may go; `refused` maps a `Refusal` to
    the number of hubs or rows that may not. Both are as of `created_at`, or of when a large file had been
    read; booking asks again.
    """

    class Method(models.TextChoices):
        """How the hubs were chosen."""

        ALL = "all", "All remaining hubs"
        FILTER = "filter", "By filter"
        FILE = "file", "From a file"

    class State(models.TextChoices):
        """How far it is: a large file is read after it was received."""

        READING = "reading", "Being read"
        JUDGED = "judged", "Judged"
        UNREADABLE = "unreadable", "Could not be read"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, related_name="+")
    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, related_name="+")
    chosen_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    """Nobody where the portal allocates."""
    created_at = models.DateTimeField()
    method = models.CharField(max_length=10, choices=Method)
    state = models.CharField(max_length=10, choices=State, default=State.JUDGED, db_default=State.JUDGED)
    criteria = models.JSONField(default=dict, help_text="Ids by facet: network, model, installed_version, …")
    file_name = models.CharField(max_length=255, blank=True)
    eligible = models.JSONField(default=dict)
    refused = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.get_method_display()} for {self.release}"


class SelectionFile(models.Model):
    """
    The file that a selection came from: how it is laid out, and how far it has been read.

    While it waits for its reader it lies under `stored`, which is empty once the file is gone. `last_line` is
    the line up to which every row is staged; the lease and the token are those of its reader, as on a lot.
    """

    selection = models.OneToOneField(
        HubSelection, on_delete=models.CASCADE, primary_key=True, related_name="file"
    )
    format = models.CharField(max_length=4, choices=[("csv", "CSV"), ("xlsx", "XLSX")])
    delimiter = models.CharField(max_length=1)
    header = models.TextField(null=True, help_text="As a line of CSV; null where the file has none")
    column = models.PositiveSmallIntegerField(help_text="Of the identifiers, from 0")
    width = models.PositiveSmallIntegerField("cells of the longest row", default=1)
    stored = models.CharField(max_length=255, blank=True)
    rows = models.PositiveIntegerField("rows read", default=0)
    last_line = models.PositiveIntegerField(default=0)
    doubtful = models.PositiveIntegerField("rows taken although their check digits do not hold", default=0)
    failure = models.TextField(blank=True)
    read_at = models.DateTimeField("last row staged at", null=True)
    lease_until = models.DateTimeField(null=True)
    token = models.PositiveIntegerField(default=0)
    deaths = models.PositiveSmallIntegerField("readers that died since the last row", default=0)
    forgotten_at = models.DateTimeField("rows deleted at", null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(format__in=["csv", "xlsx"]), name="selection_file_format_known"
            ),
            models.CheckConstraint(
                condition=Q(lease_until=None) | ~Q(stored=""), name="selection_file_leased_only_while_stored"
            ),
        ]
        indexes = [models.Index(fields=["token"], condition=~Q(stored=""), name="selection_file_unread")]

    def __str__(self) -> str:
        return f"{self.rows} rows of {self.selection_id}"


class SelectionRow(models.Model):
    """
    One row of an uploaded file, as a line of CSV, with what became of it.

    `hub` only where the identifier is the Supplier's; `is_doubtful` where its check digits do not hold.
    """

    # Checked by the database, the key would cost each of a million rows a quarter more.
    selection = models.ForeignKey(
        HubSelection, on_delete=models.CASCADE, related_name="rows", db_index=False, db_constraint=False
    )
    line = models.PositiveIntegerField()
    text = models.TextField()
    hub = models.BigIntegerField(null=True)
    refusal = models.SmallIntegerField(choices=Refusal, null=True)
    is_doubtful = models.BooleanField(default=False, db_default=False)
    pk = models.CompositePrimaryKey("selection_id", "line")

    def __str__(self) -> str:
        return f"line {self.line}"


class Booking(models.Model):
    """
    One act of one Supplier, or of DCC for it: this release, these hubs, these slots.

    Its places are taken in one short transaction and its deployments written in the next; in between
    it is being placed, with neither `placed_at` nor `abandoned_at`. An abandoned booking gave its places back.

    The particulars of its plan are set as the plan wants them, and empty otherwise: one slot has a start; a range
    a first and a last start; an even spread days and hours, which `hours` puts together.
    """

    class Plan(models.TextChoices):
        """How the slots are chosen."""

        ONE_SLOT = "one_slot", "One slot"
        EARLIEST = "earliest", "As early as possible"
        RANGE = "range", "Between two slots"
        SPREAD = "spread", "Spread evenly"

    class Origin(models.TextChoices):
        """Who made it, and why."""

        SUPPLIER = "supplier", "Booked by the Supplier"
        DEFAULT = "default", "Allocated by DCC"
        CARRIED_OVER = "carried_over", "Came with a change of supplier"

    reference = models.CharField(max_length=12, unique=True)
    origin = models.CharField(
        max_length=12, choices=Origin, default=Origin.SUPPLIER, db_default=Origin.SUPPLIER
    )
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    release = models.ForeignKey(FirmwareRelease, on_delete=models.PROTECT, related_name="+")
    selection = models.ForeignKey(
        HubSelection, on_delete=models.PROTECT, null=True, db_index=False, related_name="bookings"
    )
    booked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    plan = models.CharField(max_length=10, choices=Plan)
    start_at = models.DateTimeField("start of the chosen slot, or of the first", null=True)
    last_start_at = models.DateTimeField("start of the last chosen slot", null=True)
    weekdays = ArrayField(
        models.SmallIntegerField(choices=Weekday), null=True, help_text="On which the slots begin, in UK time"
    )
    opens = models.TimeField("from", null=True, help_text="UK local time")
    closes = models.TimeField("to", null=True, help_text="UK local time; up to its start: the next morning")
    first_day = models.DateField(null=True)
    last_day = models.DateField(null=True)
    hubs = models.PositiveIntegerField(default=0)
    unplaced = models.PositiveIntegerField("hubs for which no slot had room", default=0)
    created_at = models.DateTimeField()
    placed_at = models.DateTimeField(null=True)
    abandoned_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField("last hub ended at", null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(placed_at=None) | Q(abandoned_at=None), name="booking_placed_or_abandoned"
            ),
            models.CheckConstraint(
                condition=~Q(origin="supplier") | Q(booked_by__isnull=False, selection__isnull=False),
                name="booking_of_a_supplier_by_somebody",
            ),
            models.UniqueConstraint(
                fields=["selection"], condition=Q(abandoned_at=None), name="booking_one_per_selection"
            ),
            models.CheckConstraint(
                condition=Q(done_at=None) | Q(placed_at__isnull=False), name="booking_done_only_when_placed"
            ),
            models.CheckConstraint(
                condition=Q(plan="one_slot", start_at__isnull=False, last_start_at=None)
                | Q(
                    plan="range",
                    start_at__isnull=False,
                    last_start_at__isnull=False,
                    last_start_at__gte=F("start_at"),
                )
                | Q(plan__in=["earliest", "spread"], start_at=None, last_start_at=None),
                name="booking_starts_as_its_plan_wants",
            ),
            models.CheckConstraint(
                condition=Q(
                    plan="spread",
                    weekdays__isnull=False,  # a comparison with nothing is not false, so a CHECK lets it by
                    weekdays__len__gte=1,
                    weekdays__contained_by=list(range(7)),
                    opens__isnull=False,
                    closes__isnull=False,
                    first_day__isnull=False,
                    last_day__isnull=False,
                    last_day__gte=F("first_day"),
                )
                | (
                    ~Q(plan="spread")
                    & Q(weekdays=None, opens=None, closes=None, first_day=None, last_day=None)
                ),
                name="booking_hours_for_a_spread",
            ),
        ]
        indexes = [
            models.Index(fields=["supplier", "-id"], name="booking_by_supplier"),
            # what the timetable looks for: bookings being placed, and bookings that are not done
            models.Index(
                fields=["id"], condition=Q(done_at=None, abandoned_at=None), name="booking_unfinished"
            ),
        ]

    def __str__(self) -> str:
        return self.reference

    @property
    def maker(self) -> str:
        """Who made it, as its Supplier reads it."""
        if self.booked_by:
            return str(self.booked_by)
        return "DCC" if self.origin == self.Origin.DEFAULT else "the portal"

    @property
    def hours(self) -> planning.Hours | None:
        """The days and hours over which it is spread; none for another plan."""
        if self.weekdays is None:
            return None
        assert self.opens is not None  # noqa: S101 - booking_hours_for_a_spread holds all five together
        assert self.closes is not None  # noqa: S101
        assert self.first_day is not None  # noqa: S101
        assert self.last_day is not None  # noqa: S101
        return planning.Hours(tuple(self.weekdays), self.opens, self.closes, self.first_day, self.last_day)


class UnplacedHub(models.Model):
    """A hub of a booking that found no place: no open slot had room, or those that had are in a protected window."""

    class Why(models.TextChoices):
        """What kept it out."""

        NO_ROOM = "no_room", "No open slot had room"
        PROTECTED_WINDOW = "protected_window", "Not available while there was room"

    booking = models.ForeignKey(
        Booking, on_delete=models.CASCADE, db_index=False, related_name="unplaced_hubs"
    )
    hub = models.BigIntegerField()
    why = models.CharField(max_length=16, choices=Why, default=Why.NO_ROOM)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["booking", "hub"], name="unplaced_hub_once_per_booking")
        ]

    def __str__(self) -> str:
        return f"{self.hub & 0xFFFFFFFFFFFFFFFF:016X}"
