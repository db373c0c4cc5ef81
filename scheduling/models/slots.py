"""When a network has room: the weekly pattern that DCC keeps, and the slots made from it."""

from datetime import datetime

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from hubs.models import Network


class Weekday(models.IntegerChoices):
    """Days as `datetime.date.weekday` numbers them."""

    MONDAY = 0, "Monday"
    TUESDAY = 1, "Tuesday"
    WEDNESDAY = 2, "Wednesday"
    THURSDAY = 3, "Thursday"
    FRIDAY = 4, "Friday"
    SATURDAY = 5, "Saturday"
    SUNDAY = 6, "Sunday"


class CapacityPattern(models.Model):
    """
    How many hubs a network takes per slot, on one weekday between two UK local times.

    Slots are made from it for as long as any release is available. A change reaches the slots that
    have not begun; none drops below what is already booked.
    """

    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="capacity_patterns")
    weekday = models.SmallIntegerField(choices=Weekday)
    starts = models.TimeField("from", help_text="UK local time")
    ends = models.TimeField("to", null=True, blank=True, help_text="UK local time; empty means midnight.")
    slot_minutes = models.PositiveSmallIntegerField(
        "length of a slot, minutes", default=60, validators=[MinValueValidator(1), MaxValueValidator(1440)]
    )
    capacity = models.PositiveIntegerField("hubs per slot")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["network", "weekday", "starts"], name="pattern_once_per_time"),
            models.CheckConstraint(
                condition=Q(ends=None) | Q(starts__lt=F("ends")), name="pattern_ends_after_start"
            ),
            models.CheckConstraint(
                condition=Q(slot_minutes__gte=1, slot_minutes__lte=1440), name="pattern_slot_within_a_day"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.network}, {self.get_weekday_display()} from {self.starts:%H:%M}"


class Slot(models.Model):
    """A network, a start and an end, with room for so many hubs, whatever the release."""

    network = models.ForeignKey(Network, on_delete=models.PROTECT, db_index=False, related_name="slots")
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    capacity = models.PositiveIntegerField()
    taken = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["network", "start_at"], name="slot_one_per_network_and_start"),
            models.CheckConstraint(condition=Q(start_at__lt=F("end_at")), name="slot_ends_after_start"),
            models.CheckConstraint(condition=Q(taken__lte=F("capacity")), name="slot_never_over_capacity"),
        ]

    def __str__(self) -> str:
        return f"{self.network} {self.start_at:%d %b %Y %H:%M} UTC"

    @property
    def room(self) -> int:
        """Places not taken."""
        return self.capacity - self.taken

    def holds(self, moment: datetime) -> bool:
        """Say whether `moment` lies in the half-open span of the slot."""
        return self.start_at <= moment < self.end_at
