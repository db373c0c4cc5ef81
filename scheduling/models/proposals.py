"""What a person of a Supplier proposes to do to many hubs, until a colleague agrees, and from how many hubs on."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from scheduling.models.bookings import Booking, HubSelection


class SecondPersonRule(models.Model):
    """
    How many hubs one person of a Supplier may book, move and cancel alone in 24 hours, as the Supplier says itself.

    An empty `size` means any number. A Supplier that has never said anything has no row (see
    `queries.second_person`).
    """

    supplier = models.OneToOneField(
        Supplier, on_delete=models.PROTECT, primary_key=True, related_name="+", db_index=False
    )
    size = models.PositiveIntegerField("hubs that one person may touch alone", null=True)
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    set_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(size=None) | Q(size__gte=1), name="second_person_rule_of_a_hub_or_more"
            ),
        ]

    def __str__(self) -> str:
        return "never" if self.size is None else f"over {self.size:,} hubs"


class Proposal(models.Model):
    """
    An act that waits for a colleague's word: everything that was to be done, and what it was to come to.

    It holds no place and no hub. `terms` are what the act's operation is given; the numbers are what it would have done
    when it was asked for, and only that is done. `asked_as` tells what the asker may do, and is signed in as: once that
    ends, nobody can agree any more.
    """

    class Act(models.TextChoices):
        """What is proposed."""

        BOOK = "book", "Book"
        MOVE = "move", "Move"
        CANCEL = "cancel", "Cancel"
        RULE = "rule", "Change the rule"

    class State(models.TextChoices):
        """Where it is. One that is waiting has lapsed once `until` has passed, whether or not its row says so."""

        WAITING = "waiting", "Waits for a colleague"
        AGREED = "agreed", "Agreed and done"
        DECLINED = "declined", "Declined"
        TAKEN_BACK = "taken_back", "Taken back"
        LAPSED = "lapsed", "Lapsed"

    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    act = models.CharField(max_length=6, choices=Act)
    release = models.ForeignKey(
        FirmwareRelease, on_delete=models.PROTECT, null=True, db_index=False, related_name="+"
    )
    selection = models.ForeignKey(HubSelection, on_delete=models.PROTECT, null=True, related_name="+")
    booking = models.ForeignKey(
        Booking, on_delete=models.PROTECT, null=True, db_index=False, related_name="+"
    )
    terms = models.JSONField(default=dict)
    hubs = models.PositiveIntegerField(default=0)
    slots = models.PositiveIntegerField(default=0)
    nights = models.PositiveIntegerField("UK days on which its slots begin", default=0)
    first_start = models.DateTimeField(null=True)
    last_end = models.DateTimeField(null=True)
    reason = models.TextField()
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_as = models.CharField(max_length=64)
    asked_at = models.DateTimeField()
    until = models.DateTimeField("can be agreed to until")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True)
    answer = models.TextField("why it was declined", blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(act="book", selection__isnull=False, booking=None)
                | Q(act__in=["move", "cancel"], selection=None, booking__isnull=False)
                | Q(act="rule", selection=None, booking=None),
                name="proposal_names_what_its_act_is_upon",
            ),
            models.CheckConstraint(
                condition=Q(act="rule") | Q(hubs__gt=0, first_start__isnull=False, last_end__isnull=False),
                name="proposal_of_hubs_has_its_numbers",
            ),
            models.CheckConstraint(
                condition=Q(state="waiting", decided_by=None, decided_at=None)
                | Q(state__in=["agreed", "declined"], decided_by__isnull=False, decided_at__isnull=False)
                | Q(state="taken_back", decided_by=F("asked_by"), decided_at__isnull=False)
                | Q(state="lapsed", decided_by=None, decided_at__isnull=False),
                name="proposal_waits_or_is_decided",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["agreed", "declined"]) | ~Q(decided_by=F("asked_by")),
                name="proposal_decided_by_another_person",
            ),
            models.UniqueConstraint(
                fields=["selection"], condition=Q(state="waiting"), name="proposal_one_waiting_per_selection"
            ),
            models.UniqueConstraint(
                fields=["supplier"],
                condition=Q(state="waiting", act="rule"),
                name="proposal_one_waiting_per_rule",
            ),
        ]
        indexes = [
            models.Index(fields=["supplier", "-id"], name="proposal_by_supplier"),
            models.Index(fields=["supplier", "id"], condition=Q(state="waiting"), name="proposal_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.get_act_display()} {self.hubs:,} hubs"
