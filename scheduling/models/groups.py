"""Hubs that a Supplier keeps together under a name of its own, to book or to protect them again and again."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from hubs.models import Supplier


class HubGroup(models.Model):
    """
    A named list of a Supplier's hubs. `hubs` counts it, so that no page has to.

    Where it `is_pilot`, its Supplier volunteers its hubs: those that are booked early may be among the first to get a
    release.
    """

    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    name = models.CharField(max_length=80)
    hubs = models.PositiveIntegerField(default=0)
    is_pilot = models.BooleanField("volunteered as pilots", default=False, db_default=False)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["supplier", "name"], name="hub_group_one_per_name"),
        ]
        indexes = [models.Index(fields=["id"], condition=Q(is_pilot=True), name="hub_group_of_pilots")]

    def __str__(self) -> str:
        return self.name


class GroupedHub(models.Model):
    """A hub of a group. As narrow as can be, since groups can be large."""

    group = models.ForeignKey(
        HubGroup, on_delete=models.CASCADE, db_index=False, db_constraint=False, related_name="members"
    )
    hub = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "hub"], name="grouped_hub_once_per_group")]

    def __str__(self) -> str:
        return f"{self.hub & 0xFFFFFFFFFFFFFFFF:016X}"
