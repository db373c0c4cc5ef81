"""The filters that a person keeps."""

from typing import TYPE_CHECKING

from django.db.models import QuerySet

from hubs.models import Supplier
from scheduling.models import SavedFilter

if TYPE_CHECKING:
    from portal.models import User

MOST = 20
"""Filters of one list that a person can keep: each is a link above it."""


def of_person(*, supplier: Supplier, person: "User") -> QuerySet[SavedFilter]:
    """Return what a person keeps, list by list, by name; what they kept for another Supplier is not shown."""
    own = SavedFilter.objects.filter(supplier=supplier, person=person)
    return own.order_by("list", "name", "pk")
