"""What a person of a Supplier wants to see of a list again and again."""

from django.conf import settings
from django.db import models

from hubs.models import Supplier


class SavedFilter(models.Model):
    """A name that somebody gave to a filter of a list, with its order and columns: the `query` of its address."""

    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    list = models.CharField(max_length=20)
    name = models.CharField(max_length=60)
    query = models.TextField(blank=True)
    made_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["person", "list", "name"], name="saved_filter_one_per_name"),
        ]

    def __str__(self) -> str:
        return self.name
