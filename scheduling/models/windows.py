"""When hubs must not be touched: Suppliers' protected windows, and DCC's maintenance and incidents."""

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from hubs.models import Network, PaymentMode, Supplier
from scheduling import calendar
from scheduling.models.groups import HubGroup
from scheduling.models.slots import Weekday


class ProtectedWindow(models.Model):
    """
    A span, once or week by week, in which a Supplier's hubs, or some of them, must not be touched.

    A window that comes once has `start_at` and `end_at`; a weekly one has `weekdays` (a bit for each, Monday
    the lowest), the UK local times `starts` and `ends` (at or before `starts`: on the next day), and the days on which
    it may begin. Hard refuses; soft warns, and asks for a reason to proceed.
    """

    class Kind(models.TextChoices):
        """What the hubs are kept free for."""

        CHANGE_OF_SUPPLIER = "change_of_supplier", "Change of supplier"
        TARIFF = "tariff", "Tariff or price change"
        METER_FIRMWARE = "meter_firmware", "Meter firmware job"
        HISTORY = "history", "History retrieval"
        PREPAYMENT = "prepayment", "Prepayment hours"
        OTHER = "other", "Other"

    class Scope(models.TextChoices):
        """Which of the Supplier's hubs it is for."""

        ALL = "all", "All our hubs"
        NETWORK = "network", "One network"
        PAYMENT_MODE = "payment_mode", "One payment mode"
        GROUP = "group", "A saved group of hubs"
        HUBS = "hubs", "A list of hubs"

    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=20, choices=Kind)
    is_hard = models.BooleanField(default=True)
    reason = models.TextField()
    start_at = models.DateTimeField(null=True)
    end_at = models.DateTimeField(null=True)
    weekdays = models.PositiveSmallIntegerField(null=True)
    starts = models.TimeField(null=True)
    ends = models.TimeField(null=True)
    valid_from = models.DateField(null=True)
    valid_until = models.DateField("last day on which it begins", null=True)
    scope = models.CharField(max_length=12, choices=Scope)
    network = models.ForeignKey(Network, on_delete=models.PROTECT, null=True, related_name="+")
    payment_mode = models.SmallIntegerField(choices=PaymentMode, null=True)
    group = models.ForeignKey(HubGroup, on_delete=models.PROTECT, null=True, related_name="windows")
    hubs = models.PositiveIntegerField("hubs of the list", default=0)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    start_at__isnull=False,
                    end_at__isnull=False,
                    end_at__gt=F("start_at"),
                    weekdays=None,
                    starts=None,
                    ends=None,
                    valid_from=None,
                    valid_until=None,
                )
                | Q(
                    start_at=None,
                    end_at=None,
                    weekdays__isnull=False,
                    weekdays__gte=1,
                    weekdays__lte=127,
                    starts__isnull=False,
                    ends__isnull=False,
                ),
                name="window_once_or_weekly",
            ),
            models.CheckConstraint(
                condition=Q(valid_from=None) | Q(valid_until=None) | Q(valid_until__gte=F("valid_from")),
                name="window_days_in_order",
            ),
            models.CheckConstraint(
                condition=Q(scope__in=["all", "hubs"], network=None, payment_mode=None, group=None)
                | Q(scope="network", network__isnull=False, payment_mode=None, group=None)
                | Q(scope="payment_mode", network=None, payment_mode__isnull=False, group=None)
                | Q(scope="group", network=None, payment_mode=None, group__isnull=False),
                name="window_scope_has_its_object",
            ),
            models.CheckConstraint(
                condition=Q(scope="hubs", hubs__gt=0) | (~Q(scope="hubs") & Q(hubs=0)),
                name="window_list_is_not_empty",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.reason[:40]}"

    @property
    def days(self) -> list[Weekday]:
        """The weekdays on which a weekly window begins."""
        return [day for day in Weekday if (self.weekdays or 0) >> day & 1]

    @property
    def is_of_single_hubs(self) -> bool:
        """It cannot close a slot for all of the Supplier's hubs on a network."""
        return self.scope in (self.Scope.PAYMENT_MODE, self.Scope.GROUP, self.Scope.HUBS)

    def spans(self, *, start: datetime, end: datetime) -> Sequence[calendar.Span]:
        """Return its spans that touch the half-open span from `start` to `end`, in order, in UTC."""
        if self.start_at and self.end_at:
            return [(self.start_at, self.end_at)] if self.start_at < end and self.end_at > start else []
        assert self.starts is not None  # noqa: S101 - the CHECK window_once_or_weekly holds it
        assert self.ends is not None  # noqa: S101 - the same
        weekly = calendar.Weekly(self.days, self.starts, self.ends, self.valid_from, self.valid_until)
        return weekly.spans(start=start, end=end)


class ProtectedHub(models.Model):
    """A hub of a window's list. As narrow as can be, since lists can be long."""

    window = models.ForeignKey(
        ProtectedWindow, on_delete=models.CASCADE, db_index=False, related_name="listed"
    )
    hub = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["window", "hub"], name="protected_hub_once_per_window")
        ]

    def __str__(self) -> str:
        return f"{self.hub & 0xFFFFFFFFFFFFFFFF:016X}"


class Maintenance(models.Model):
    """A span in which DCC closes a network: nothing is booked into it and nothing activated in it."""

    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="+")
    start_at = models.DateTimeField("from", help_text="UK local time")
    end_at = models.DateTimeField("to", help_text="UK local time")
    reason = models.TextField()

    class Meta:
        verbose_name_plural = "maintenance"
        constraints = [
            models.CheckConstraint(
                condition=Q(start_at__lt=F("end_at")), name="maintenance_ends_after_start"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.network}: {self.start_at:%d %b %Y %H:%M} UTC"


class Incident(models.Model):
    """
    An incident on a network. One of Category 1 or 2 closes the network as long as it is open.

    Slots after `expected_end_at` may be booked all the same; without it nobody knows of any that will be open.
    """

    CLOSING = (1, 2)

    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="+")
    category = models.PositiveSmallIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(5)], help_text="1 is the worst, 5 the least."
    )
    summary = models.TextField()
    opened_at = models.DateTimeField("from", help_text="UK local time")
    expected_end_at = models.DateTimeField(
        "expected to end", null=True, blank=True, help_text="UK local time. Later slots can be booked."
    )
    closed_at = models.DateTimeField(
        "to", null=True, blank=True, help_text="UK local time; empty while it is open."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(category__gte=1, category__lte=5), name="incident_category_known"
            ),
            models.CheckConstraint(
                condition=Q(closed_at=None) | Q(closed_at__gte=F("opened_at")),
                name="incident_closes_after_opening",
            ),
        ]

    def __str__(self) -> str:
        return f"Category {self.category} on {self.network}"
